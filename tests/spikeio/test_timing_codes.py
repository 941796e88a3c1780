"""Latency, delta, population and regular codes beside numpy loops written from their equations."""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from spikingtorch import spikeio as io
from spikingtorch.functional import IFState, by_subtraction, if_step, none, scan, to_zero
from spikingtorch.testing import assert_close

F16, F32, F64, BF16 = torch.float16, torch.float32, torch.float64, torch.bfloat16
every_dtype = pytest.mark.parametrize("dtype", [F32, F64, F16, BF16])
EPS = {F32: 2.0**-23, F64: 2.0**-52, F16: 2.0**-23, BF16: 2.0**-23}  # half precision is computed in float32


def uniform(*shape: int, dtype: torch.dtype = F64, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=F64, generator=Generator().manual_seed(seed)).to(dtype)


def regular(nsteps: int, scale: float = 1.0) -> io.PeriodicEncoder:
    return io.PeriodicEncoder(nsteps, scale, reset=by_subtraction)


# each from a number of steps, and what axes it adds
ENCODERS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {
    "Poisson": (io.PoissonEncoder, ()),
    "Markov": (lambda nsteps: partial(io.markov_spikes, nsteps=nsteps), ()),  # type: ignore[dict-item, return-value]
    "constant": (io.ConstantEncoder, ()),
    "periodic": (io.PeriodicEncoder, ()),
    "regular": (regular, ()),
    "linear": (io.LatencyEncoder, ()),
    "logarithmic": (lambda nsteps: io.LatencyEncoder(nsteps, code="logarithmic"), ()),
    "population": (lambda nsteps: io.PopulationEncoder(nsteps, 5), (5,)),
}
DRAWN = [ENCODERS[name][0] for name in ("Poisson", "Markov")]
every_encoder = pytest.mark.parametrize(("make", "more"), ENCODERS.values(), ids=ENCODERS)


@pytest.mark.sampled
@every_encoder
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 1, 4, 4), (5, 2, 3, 4, 2), (0, 3), (1, 1)])
@pytest.mark.parametrize("nsteps", [1, 2, 6])
def test_shapes_dtypes_and_views(
    make: Callable[[int], nn.Module], more: tuple[int, ...], shape: tuple[int, ...], nsteps: int
) -> None:
    for dtype in (F32, F16, BF16, F64):
        x = uniform(*shape, dtype=dtype)
        torch.manual_seed(0)
        train = make(nsteps)(x)
        assert train.shape == (shape[0], nsteps, *shape[1:], *more)
        assert train.dtype == dtype
        assert train.is_contiguous()
        assert {*train.unique().tolist()} <= {0.0, 1.0} or make is io.ConstantEncoder
        strided = torch.stack([x, -x], -1)[..., 0]
        assert strided.numel() < 2 or not strided.is_contiguous()
        torch.manual_seed(0)
        assert torch.equal(make(nsteps)(strided), train)


@every_encoder
def test_transforms_of_torch(make: Callable[[int], nn.Module], more: tuple[int, ...]) -> None:
    if make not in DRAWN:
        x = uniform(3, 4, 2)
        assert torch.equal(torch.vmap(make(6))(x), torch.stack([make(6)(each) for each in x]))


# --- periodic with a reset by subtraction --------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("T", [1, 10, 1000, 20000])
def test_regular_counts_are_exact_for_rates_that_are_fractions(dtype: torch.dtype, T: int) -> None:
    rates = [Fraction(p, q) for q in range(1, 41) for p in range(q + 1) if math.gcd(p, q) == 1]
    spikes = regular(T)(torch.tensor([float(r) for r in rates], dtype=F64).to(dtype)[None])[0]
    assert spikes.sum(0).tolist() == [math.floor(r * T) for r in rates]
    for r, train in zip(rates[::7], spikes.T[::7], strict=True):
        times = [math.ceil(k / r) - 1 for k in range(1, math.floor(r * T) + 1)] if r else []
        assert train.nonzero().flatten().tolist() == times


def test_regular_counts_do_not_drift_over_a_million_steps() -> None:
    rates = [Fraction(7, 10), Fraction(1, 3), Fraction(1, 7), Fraction(999, 1000), Fraction(1)]
    T = 1_000_000
    spikes = regular(T)(torch.tensor([[float(r) for r in rates]]))[0]
    assert spikes.sum(0, dtype=F64).tolist() == [math.floor(r * T) for r in rates]


@every_dtype
def test_regular_counts_of_random_rates(dtype: torch.dtype) -> None:
    x = uniform(2000, dtype=dtype)
    for T in (7, 400):
        counts = regular(T)(x).double().sum(1).tolist()
        for value, count in zip(map(Fraction, x.tolist()), counts, strict=True):
            tolerance = value * T * Fraction(8 * EPS[dtype])
            assert math.floor(value * T) <= count <= math.floor(value * T + tolerance)


def test_regular_encoder_below_zero_and_above_one() -> None:
    spikes = regular(6)(torch.tensor([[-0.5, 0.0, 1.0, 1.5, 3.0]]))[0]
    assert spikes.sum(0).tolist() == [0, 0, 6, 6, 6]
    assert torch.equal(regular(9, scale=0.25)(torch.tensor([1.6])), regular(9)(torch.tensor([0.4])))


@pytest.mark.parametrize("reset", [to_zero, by_subtraction])
def test_periodic_encoders_have_the_gradient_of_an_integrate_and_fire_neuron(reset: Any) -> None:
    x = (0.02 + 0.9 * uniform(50, 3)).requires_grad_()
    got = io.PeriodicEncoder(40, reset=reset)(x)
    run = scan(if_step, IFState(torch.zeros_like(x)), x.expand(40, 50, 3), params={"reset": reset})
    want = run[1].transpose(0, 1)
    assert torch.equal(got, want)
    cotangent = torch.randn(got.shape, dtype=F64, generator=Generator().manual_seed(1))
    assert_close(torch.autograd.grad(got, x, cotangent), torch.autograd.grad(want, x, cotangent))


def test_periodic_encoder_takes_two_resets() -> None:
    assert io.PeriodicEncoder(10)(torch.tensor([0.4])).sum() == 3
    assert regular(10)(torch.tensor([0.4])).sum() == 4
    assert "reset=by_subtraction" in repr(regular(10))
    assert io.PeriodicEncoder(10).reset is to_zero
    with pytest.raises(ValueError, match="reset=none, expected to_zero or by_subtraction"):
        io.PeriodicEncoder(10, reset=none)


# --- latency ------------------------------------------------------------------------------------------------------


def late(i: float, T: int, code: str, threshold: float) -> float:
    """Return the step of the spike, before it is rounded."""
    i = min(i, 1.0)
    if code == "linear":
        return (T - 1) * (1 - i) / (1 - threshold)
    return (T - 1) * math.log(i) / math.log(threshold)


@every_dtype
@pytest.mark.parametrize("T", [1, 2, 17, 500])
@pytest.mark.parametrize(
    ("code", "threshold"), [("linear", 0.0), ("linear", 0.3), ("logarithmic", 0.01), ("logarithmic", 0.5)]
)
def test_latency_by_a_loop(code: Any, threshold: float, T: int, dtype: torch.dtype) -> None:
    x = torch.cat([uniform(300), torch.tensor([0.0, 1.0, 1.0005, threshold, -0.5])]).to(dtype)
    spikes = io.LatencyEncoder(T, code=code, threshold=threshold)(x).double().numpy()
    least = torch.tensor(threshold, dtype=F64 if dtype == F64 else F32).item()
    for i, train in zip(x.tolist(), spikes, strict=True):
        if i < least:
            assert train.sum() == 0
            continue
        assert train.sum() == 1
        # as exact as float32, that is but for times that lie between two steps
        assert abs(int(train.argmax()) - late(i, T, code, threshold)) <= 0.5 + 1e-3
    if T > 1 and dtype == F64:
        ends = io.LatencyEncoder(T, code=code, threshold=threshold)(torch.tensor([1.0, threshold], dtype=dtype))
        assert ends.argmax(1).tolist() == [0, T - 1]


def test_latency_by_hand() -> None:
    x = torch.tensor([[0.0, 0.1, 0.25, 0.5, 0.9, 1.0]])
    assert io.LatencyEncoder(5)(x)[0].argmax(0).tolist() == [4, 4, 3, 2, 0, 0]
    steps = io.LatencyEncoder(4, code="logarithmic", threshold=0.001)(torch.tensor([1.0, 0.1, 0.01, 0.001, 0.0009]))
    assert [train.nonzero().flatten().tolist() for train in steps] == [[0], [1], [2], [3], []]
    assert torch.equal(io.LatencyEncoder(9, scale=0.5)(2 * x), io.LatencyEncoder(9)(x))


# --- delta --------------------------------------------------------------------------------------------------------


def step_forward(x: np.ndarray[Any, Any], threshold: float) -> np.ndarray[Any, Any]:
    """Return off and on spikes (T, 2) of one channel (T,); the level is exact."""
    level, spikes = Fraction(float(x[0])), np.zeros((len(x), 2))
    for t, value in enumerate(map(Fraction, x.tolist())):
        if value >= level + Fraction(threshold):
            spikes[t, 1], level = 1, level + Fraction(threshold)
        elif value <= level - Fraction(threshold):
            spikes[t, 0], level = 1, level - Fraction(threshold)
    return spikes


@every_dtype
@pytest.mark.parametrize("T", [1, 2, 17, 300])
def test_delta_by_a_loop(T: int, dtype: torch.dtype) -> None:
    steps = torch.randint(-8, 9, (3, T, 4), generator=Generator().manual_seed(0))
    x = (steps.cumsum(1).remainder(64) / 8).to(dtype)  # exact in every dtype, with many changes of exactly a threshold
    spikes = io.DeltaEncoder(0.5)(x)
    assert spikes.shape == (3, T, 2, 4)
    assert spikes.dtype == dtype
    for n in range(3):
        for c in range(4):
            want = step_forward(x[n, :, c].double().numpy(), 0.5)
            assert np.array_equal(spikes[n, :, :, c].double().numpy(), want)


def test_delta_level_follows_the_signal_without_drift() -> None:
    t = torch.arange(20000.0)
    x = torch.sin(t / 300.0)[None, :, None]
    off, on = io.DeltaEncoder(0.1)(x).unbind(2)
    level = x[:, :1] + 0.1 * (on - off).cumsum(1)
    assert ((x - level).abs() <= 0.1 + 1e-5).all()
    assert (on * off).sum() == 0


def test_delta_of_images_views_and_nobody() -> None:
    x = uniform(2, 6, 3, 4, 5).cumsum(1)
    spikes = io.DeltaEncoder(0.7)(x)
    assert spikes.shape == (2, 6, 2, 3, 4, 5)
    assert torch.equal(io.DeltaEncoder(0.7)(x.permute(4, 1, 2, 3, 0).contiguous().permute(4, 1, 2, 3, 0)), spikes)
    assert torch.equal(io.DeltaEncoder(0.7)(x[..., 0, 0, 0]), spikes[..., 0, 0, 0])
    assert torch.equal(io.DeltaEncoder(0.7)(-x), spikes.flip(2))
    assert io.DeltaEncoder(0.7)(x[:0]).shape == (0, 6, 2, 3, 4, 5)
    assert torch.equal(torch.vmap(io.DeltaEncoder(0.7))(x[None]), spikes[None])


# --- population ---------------------------------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize(
    ("T", "M", "low", "high", "beta"), [(10, 5, 0.0, 1.0, 1.5), (1, 3, -2.0, 3.0, 1.0), (33, 12, 4.0, 5.0, 2.0)]
)
def test_population_by_a_loop(T: int, M: int, low: float, high: float, beta: float, dtype: torch.dtype) -> None:
    x = (low + (high - low) * uniform(40)).to(dtype).clamp(low, high)
    encoder = io.PopulationEncoder(T, np.int64(M), low, high, beta=beta)  # type: ignore[arg-type]
    spikes, responses = encoder(x).double(), encoder.responses(x).double()
    sigma = (high - low) / (beta * (M - 2))
    assert encoder.sigma == pytest.approx(sigma)
    centres = [low + (2 * m - 3) / 2 * (high - low) / (M - 2) for m in range(1, M + 1)]
    assert encoder.centres.tolist() == pytest.approx(centres)
    for n, value in enumerate(x.tolist()):
        for m in range(1, M + 1):
            centre = low + (2 * m - 3) / 2 * (high - low) / (M - 2)
            g = math.exp(-((value - centre) ** 2) / (2 * sigma**2))
            assert responses[n, m - 1].item() == pytest.approx(g, rel=1e-4, abs=1e-6)
            train = spikes[n, :, m - 1]
            if abs(g - 0.1) > 1e-4:
                assert train.sum() == (g >= 0.1)
            if train.any():
                assert abs(int(train.argmax()) - (T - 1) * (1 - g) / 0.9) <= 0.5 + 1e-2


def test_responses_differentiate() -> None:
    x = uniform(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(io.PopulationEncoder(4, 5).responses, x)
    assert io.PopulationEncoder(4, 5).responses(x.detach().half()).dtype == F32


# --- bad input ----------------------------------------------------------------------------------------------------

ONE_HALF = torch.full((2, 3), 0.5)


@pytest.mark.parametrize("make", [ENCODERS[name][0] for name in ("linear", "logarithmic", "population")])
def test_gradients_are_refused(make: Callable[[int], nn.Module]) -> None:
    x = ONE_HALF.clone().requires_grad_()
    with pytest.raises(ValueError, match=r"x requires a gradient, which .*x\.detach\(\)"):
        make(4)(x)
    with torch.no_grad():
        assert torch.equal(make(4)(x), make(4)(ONE_HALF))


def test_inputs_beyond_the_range_get_a_warning() -> None:
    with pytest.warns(UserWarning, match="LatencyEncoder: inputs reach 255, and all above 1 spike at step 0") as caught:
        assert io.LatencyEncoder.forward(io.LatencyEncoder(4), torch.tensor([255.0]))[0].tolist() == [1, 0, 0, 0]
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"inputs reach from -1 to 0\.5, outside of the range from low=0 to high=1"):
        spikes = io.PopulationEncoder(4, 5)(torch.tensor([-1.0, 0.5]))
    assert spikes[0].sum() == 0
