"""Decoders beside a loop over samples in plain Python, with lengths, gradients and errors."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, SpikingNet
from spikingtorch import spikeio as io
from spikingtorch.testing import assert_close
from spikingtorch.validation import check_lengths

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


def first_spike(train: list[float]) -> int:
    return next((t for t, s in enumerate(train) if s == 1.0), len(train))


ORACLES: dict[str, Callable[[list[float]], float]] = {
    "sum": lambda train: sum(train) - len(train) / 2,
    "sum, scaled": lambda train: 0.7 * (sum(train) - len(train) / 2),
    "count": sum,
    "rate": lambda train: sum(train) / len(train),
    "first spike": first_spike,
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
    for form in (lengths, tuple(lengths), np.array(lengths), torch.tensor(lengths, dtype=torch.int32)):
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


@every_decoder
def test_a_length_out_of_range_is_nan_where_it_cannot_be_read(make: Callable[[int], nn.Module]) -> None:
    decode, s, lengths = make(T), spikes(5, T, 1), torch.tensor([0, T + 1, -2, T, 1])
    torch._dynamo.reset()
    ways: list[Callable[..., Tensor]] = [
        lambda s, lengths: torch.vmap(decode)(s[:, None], lengths[:, None])[:, 0],
        torch.compile(decode, backend="eager", fullgraph=True),
    ]
    for transformed in ways:
        out = transformed(s, lengths)
        assert out.flatten().isnan().tolist() == [True, True, True, False, False]
        assert_close(out[3:], decode(s[3:], lengths[3:]))
    with pytest.raises(ValueError, match="lengths"):
        decode(s, lengths)


def test_nan_in_steps_that_count_is_handed_on() -> None:
    s = torch.zeros(2, T, 1)
    s[0, 2] = torch.nan
    for name in ("sum", "rate", "largest"):
        assert DECODERS[name](T)(s, [4, 4]).isnan().flatten().tolist() == [True, False]


# --- gradients of one decoder -----------------------------------------------------------------------------------------


def test_first_spike_has_the_derivative_of_its_polynomial() -> None:
    s = spikes(40, T, 1, rate=0.25).requires_grad_()
    out = io.FirstSpikeDecoder()(s)
    (got,) = torch.autograd.grad(out.sum(), s)
    for n, train in enumerate(s.detach()[..., 0].int().tolist()):
        f = first_spike([float(each) for each in train])
        g = next((t for t in range(f + 1, T) if train[t]), T)
        assert got[n, :, 0].tolist() == [-(f - j) if j < f else -(g - f) if j == f else 0 for j in range(T)]
    # the polynomial is linear in each spike: flipping one changes the time by the gradient
    for j in range(T):
        flipped = s.detach().clone()
        flipped[:, j] = 1 - flipped[:, j]
        change = io.FirstSpikeDecoder()(flipped) - out
        assert torch.equal(change, got[:, j] * (1 - 2 * s.detach()[:, j]))


def test_first_spike_moves_the_weights_of_a_network() -> None:
    torch.manual_seed(0)
    model, x = SpikingNet(nn.Sequential(nn.Linear(4, 3), LIF()), 3), spikes(8, 20, 4, dtype=F32)
    decode, optimizer = io.FirstSpikeDecoder(), torch.optim.Adam(model.parameters(), lr=0.05)
    before = decode(model(x))
    for _ in range(20):
        loss = decode(model(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert decode(model(x)).mean() < before.mean() - 1


def test_largest_shares_its_gradient_between_equals() -> None:
    y = torch.tensor([[[1.0], [3.0], [3.0], [5.0]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(io.MaxMembraneDecoder()(y, [3]).sum(), y)
    assert gradient.flatten().tolist() == [0.0, 0.5, 0.5, 0.0]


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


BAD_LENGTHS = [
    ([0, 3], ValueError, r"lengths\[0\] is 0, expected at least 1 step"),
    ([3, -2], ValueError, r"lengths\[1\] is -2, expected at least 1 step"),
    ([3, 10], ValueError, r"lengths\[1\] is 10, expected at most T = 9"),
    ([3], ValueError, r"shape \(1,\), expected \(2,\)"),
    ([[3, 4]], ValueError, r"shape \(1, 2\), expected \(2,\)"),
    (3, ValueError, r"shape \(\), expected \(2,\)"),
    (torch.tensor(3), ValueError, r"shape \(\), expected \(2,\)"),
    ([3.0, 4.0], TypeError, r"dtype torch\.float64, expected whole numbers.*lengths\.long\(\)"),
    (torch.tensor([True, True]), TypeError, r"dtype torch\.bool.*mask\.sum\(1\)"),
    ("ab", TypeError, "lengths is a str"),
    ([3, "a"], TypeError, "a list of 2 whole numbers"),
    ([3, [4]], TypeError, "a list of 2 whole numbers"),
    ({3, 4}, TypeError, "lengths is a set"),
]


@every_decoder
@pytest.mark.parametrize(("lengths", "error", "message"), BAD_LENGTHS)
def test_bad_lengths(make: Callable[[int], nn.Module], lengths: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(T)(spikes(2, T, 3), lengths)


def test_lengths_as_arrays_of_any_memory() -> None:
    fixed = np.array([2, 9])
    fixed.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (np.array([9, 2])[::-1], np.array([2, 9], ">i8"), np.array([2, 0, 9])[::2], fixed):
            assert check_lengths("Decoder", given, 2, T).tolist() == [2, 9]


def test_check_lengths() -> None:
    got = check_lengths("Decoder", np.array([1, 9], np.uint16), 2, T)
    assert got.dtype == torch.int64
    assert got.tolist() == [1, 9]
    assert check_lengths("Decoder", [], 0, T).shape == (0,)
    with pytest.raises(TypeError, match="Decoder: lengths is a NoneType"):
        check_lengths("Decoder", None, 2, T)  # type: ignore[arg-type]


@every_decoder
def test_bad_sequences(make: Callable[[int], nn.Module]) -> None:
    decode = make(4)
    for s, error, message in (
        (torch.zeros(4), ValueError, r"has shape \(4,\), expected \(N, T, \.\.\.\)"),
        (torch.tensor(0.0), ValueError, r"has shape \(\), expected"),
        (torch.zeros(2, 0, 3), ValueError, "has no steps on its axis 1"),
        (torch.zeros(2, 4, 3).long(), TypeError, r"dtype torch\.int64, expected a floating one"),
    ):
        with pytest.raises(error, match=message):
            decode(s)
