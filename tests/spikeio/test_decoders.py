"""Decoders beside a loop over samples in plain Python, with lengths, gradients and errors."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikingtorch import spikeio as io
from spikingtorch.testing import assert_close

F16, F32, F64, BF16 = torch.float16, torch.float32, torch.float64, torch.bfloat16
T = 9
DECODERS: dict[str, Callable[[int], nn.Module]] = {
    "sum": io.SumDecoder,
    "sum, scaled": lambda nsteps: io.SumDecoder(nsteps, 0.7),
    "count": lambda nsteps: io.SumDecoder(nsteps, offset=False),
    "rate": lambda nsteps: io.RateDecoder(),
    "first spike": lambda nsteps: io.FirstSpikeDecoder(),
    "largest": lambda nsteps: io.MaxMembraneDecoder(),
}
every_decoder = pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)


ORACLES: dict[str, Callable[[list[float]], float]] = {
    "sum": lambda train: sum(train) - len(train) / 2,
    "sum, scaled": lambda train: 0.7 * (sum(train) - len(train) / 2),
    "count": sum,
    "rate": lambda train: sum(train) / len(train),
    "first spike": lambda train: next((t for t, s in enumerate(train) if s == 1.0), len(train)),
    "largest": max,
}


def spikes(*shape: int, dtype: torch.dtype = F64, seed: int = 0, rate: float = 0.3) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).to(dtype)


def numbers(like: Tensor, seed: int = 1) -> Tensor:
    return torch.randn(like.shape, dtype=F64, generator=torch.Generator().manual_seed(seed)).to(like.dtype)


def inputs(name: str, N: int, dtype: torch.dtype = F64) -> Tensor:
    s = spikes(N, T, 3, dtype=dtype)
    return s if name == "first spike" else numbers(s)


@pytest.mark.parametrize("dtype", [F32, F64, F16, BF16])
@pytest.mark.parametrize("name", DECODERS)
def test_values_by_a_loop_over_samples(name: str, dtype: torch.dtype) -> None:
    s, lengths = spikes(7, T, 3, dtype=dtype), torch.tensor([1, T, 2, 5, 9, 3, 1])
    for given in (None, lengths):
        got = DECODERS[name](T)(s, given)
        want = [
            [ORACLES[name](s[n, : T if given is None else int(given[n]), c].tolist()) for c in range(3)]
            for n in range(7)
        ]
        assert got.dtype == dtype
        tolerance = 2 * torch.finfo(dtype).eps
        assert np.allclose(got.double().numpy(), np.array(want), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("padding", [0.0, 1.0, -3.0, torch.nan, torch.inf])
def test_lengths_give_outputs_and_gradients_of_each_sample_alone(name: str, padding: float) -> None:
    lengths = torch.tensor([1, T, 4, 2, 8])
    s = inputs(name, 5)
    s[torch.arange(T) >= lengths[:, None]] = padding
    s.requires_grad_()
    out = DECODERS[name](T)(s, lengths)
    cotangent = numbers(out)
    (gradient,) = torch.autograd.grad(out, s, cotangent)
    for n, length in enumerate(lengths.tolist()):
        alone = s.detach()[n : n + 1, :length].clone().requires_grad_()
        want = DECODERS[name](length)(alone)
        assert_close(out[n : n + 1], want)
        assert_close(gradient[n : n + 1, :length], torch.autograd.grad(want, alone, cotangent[n : n + 1])[0])
        assert not gradient[n, length:].any()


@every_decoder
def test_shapes_views_and_forms_of_lengths(make: Callable[[int], nn.Module]) -> None:
    decode, s = make(T), spikes(4, T, 2, 3)
    lengths = [3, T, 1, 5]
    want = decode(s, torch.tensor(lengths))
    assert want.shape == (4, 2, 3)
    fixed = np.array(lengths)
    fixed.setflags(write=False)
    forms = [lengths, tuple(lengths), fixed, fixed[::-1].copy()[::-1], np.repeat(fixed, 2)[::2]]
    with warnings.catch_warnings(action="error"):
        for form in (*forms, fixed.astype(">i8"), fixed.astype(np.uint16), torch.tensor(lengths, dtype=torch.int32)):
            assert torch.equal(decode(s, form), want)
    view = s.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0)
    assert not view.is_contiguous()
    assert torch.equal(decode(view, lengths), want)
    assert torch.equal(decode(s, [T] * 4), decode(s))
    assert torch.equal(decode(s[:, :, 0, 0], lengths), want[:, 0, 0])
    assert decode(s[:0], []).shape == decode(s[:0]).shape == (0, 2, 3)
    one = make(1)
    assert torch.equal(one(s[:, :1], [1] * 4), one(s[:, :1]))


@every_decoder
def test_transforms_of_torch(make: Callable[[int], nn.Module]) -> None:
    decode, s, lengths = make(T), spikes(2, 4, T, 3), torch.tensor([3, T, 1, 5])
    want = torch.stack([decode(each, lengths) for each in s])
    assert_close(torch.vmap(lambda each: decode(each, lengths))(s), want)
    lengths_of_each = torch.stack([lengths, lengths.flip(0)])
    got = torch.vmap(decode)(s, lengths_of_each)
    assert_close(got, torch.stack([decode(*pair) for pair in zip(s, lengths_of_each, strict=True)]))


def test_a_length_out_of_range_is_nan_where_it_cannot_be_read() -> None:
    decoders = [make(T) for make in DECODERS.values()]
    s, lengths = spikes(5, T, 1), torch.tensor([0, T + 1, -2, T, 1])

    def all_of_them(s: Tensor, lengths: Tensor) -> list[Tensor]:
        return [decode(s, lengths) for decode in decoders]

    ways: list[Callable[..., list[Tensor]]] = [
        lambda s, lengths: torch.vmap(all_of_them)(s[:, None], lengths[:, None]),
        torch.compile(all_of_them, backend="eager", fullgraph=True),
    ]
    for transformed in ways:
        for decode, out in zip(decoders, transformed(s, lengths), strict=True):
            assert out.flatten().isnan().tolist() == [True, True, True, False, False]
            assert_close(out[3:].flatten(), decode(s[3:], lengths[3:]).flatten())
            with pytest.raises(ValueError, match="lengths"):
                decode(s, lengths)


def test_nan_in_steps_that_count_is_handed_on() -> None:
    s = torch.zeros(2, T, 1)
    s[0, 2] = torch.nan
    for name in ("sum", "rate", "largest"):
        assert DECODERS[name](T)(s, [4, 4]).isnan().flatten().tolist() == [True, False]


# --- gradients of one decoder -----------------------------------------------------------------------------------------


def test_largest_shares_its_gradient_between_equals() -> None:
    y = torch.tensor([[[1.0], [3.0], [3.0], [5.0]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(io.MaxMembraneDecoder()(y, [3]).sum(), y)
    assert gradient.flatten().tolist() == [0.0, 0.5, 0.5, 0.0]


@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64])
def test_sum_counts_in_full_precision_before_it_subtracts(dtype: torch.dtype) -> None:
    s = torch.arange(5000)[:, None] < torch.tensor([2499, 2500, 2501, 2460])
    decoded = io.SumDecoder(5000)(s[None].to(dtype))
    assert decoded.tolist() == [[-1.0, 0.0, 1.0, -40.0]]
    assert decoded.dtype == dtype


@pytest.mark.parametrize("decoder", [io.SumDecoder(4, 2.0), io.RateDecoder()])
def test_sum_and_rate_differentiate(decoder: nn.Module) -> None:
    assert torch.autograd.gradcheck(decoder, torch.rand(2, 4, 3, dtype=F64, requires_grad=True))


def test_sum_is_no_count_by_default() -> None:
    s = torch.tensor([1.0, 0, 0, 1, 0, 1, 0, 0]).reshape(1, 8, 1)
    assert io.SumDecoder(8)(s).item() == -1.0
    assert io.SumDecoder(8, offset=False)(s).item() == 3.0
    assert io.RateDecoder(8)(s).item() == io.RateDecoder()(s).item() == 0.375
    assert "SumDecoder(8)" not in repr(io.RateDecoder(8))
    assert repr(io.RateDecoder(8)) == "RateDecoder(nsteps=8)"


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [io.SumDecoder, io.RateDecoder])
def test_another_number_of_steps(make: Any) -> None:
    message = r"\(2, 9, 3\) has 9 steps.*expected 3.*Decoder\(9\)\. nsteps is the number of steps, not of outputs"
    with pytest.raises(ValueError, match=message):
        make(3)(spikes(2, T, 3))
    assert make(3)(spikes(2, T, 3), [4, 9]).shape == (2, 3)
    with pytest.raises(ValueError, match="nsteps=0, expected a whole number of steps"):
        make(0)


def test_first_spike_wants_spikes() -> None:
    for value in (0.5, torch.nan, 2.0, -1.0):
        s = torch.zeros(1, 4, 1)
        s[0, 2] = value
        with pytest.raises(ValueError, match=r"other values than 0 and 1, expected spikes.*MaxMembraneDecoder\(\)"):
            io.FirstSpikeDecoder()(s)
        assert io.FirstSpikeDecoder()(s, [2]).item() == 2
