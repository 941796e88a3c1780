"""The fused backend has the loop's bits where it says so, stays within a bound elsewhere, and has its gradients."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from spikingtorch import functional as F
from spikingtorch.testing import relative_error
from spikingtorch.verification.cases import CASES, LENGTHS, LEVELS, RESETS, TWINS, WRAPPED, Case, by_name
from tests.fused import Scan, assert_same_bits, check, draw, special
from tests.gpu_text.compare import agree

SURROGATES: list[Any] = [surrogate for surrogate, _ in TWINS]
EVERY_SPIKE: list[Any] = [*SURROGATES, *(surrogate for surrogate, _ in LEVELS)]  # of several levels, too
# exp and cos stand in the value of these spikes, where they amount to 0 or NaN
INEXACT = (F.PiecewiseExponential, F.FromDerivative)
FLOATS = [torch.float32, torch.float64]
# neurons with exp, a sigmoid or a square root on the way to their state
TRANSCENDENTAL = {"biolif", "exponential_if", "adex", "balanced_resonate_and_fire", "stochastic_lif"}
# its steps amplify the rounding of a gradient up to a million times
ILL = {"izhikevich"}
B, N = 3, 21  # neurons: not a multiple of any vector
pytestmark = pytest.mark.usefixtures("poisoned")


def lif(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, **params: Any) -> Scan:
    """Return a scan of LIF neurons from a state that is not zero; decay and threshold are tensors, a value a neuron."""
    own = {
        "decay": draw(shape[-1], dtype=dtype, low=0.5, high=0.98, seed=seed),
        "gain": 0.9,
        "threshold": draw(shape[-1], dtype=dtype, low=0.5, high=1.2, seed=seed + 1),
    }
    v = draw(*shape[1:], dtype=dtype, low=-0.3, high=0.6, seed=seed + 2)
    x = draw(*shape, dtype=dtype, low=-0.6, high=1.4, seed=seed + 3)
    return Scan(F.lif_step, F.LIFState(v), x, own | params)


def of_case(case: Case, T: int, dtype: torch.dtype, dim: int = 0) -> Scan:
    """Return a scan of a neuron with a parameter for each neuron, and with a batch where time is not the first axis."""
    if dim:
        case = case._replace(shape=(B, 7))
    xs, params = case.draw(T, dtype=dtype)
    moved = tree_map_only(Tensor, lambda x: x.movedim(0, dim).contiguous(), xs)
    return Scan(case.step, case.initial(xs), moved, params, dim)


def of_surrogate(surrogate: Any, turn: int, T: int) -> Scan:
    """Return a scan with a surrogate: each meets three reset rules, and each rule several surrogates."""
    dtype = FLOATS[turn == 2]
    rule = RESETS[(EVERY_SPIKE.index(surrogate) + turn) % len(RESETS)]
    # what a membrane is reset to has the dtype of the neurons
    reset = tree_map_only(Tensor, lambda value: value.to(dtype), rule)
    return lif(T, B, N, dtype=dtype, surrogate=surrogate, reset=reset)


@pytest.mark.sampled
@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)
def test_lif(surrogate: Any, turn: int) -> None:
    """Not every pair of a surrogate and a rule, because a kernel for each takes long."""
    scans = [of_surrogate(surrogate, turn, T) for T in LENGTHS]
    for scan in scans:
        check(scan, exact=not isinstance(surrogate, INEXACT))
    assert 0.05 < scans[-1].run("fused")[1].mean() < 0.95


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", [*CASES, *WRAPPED], ids=by_name)
def test_every_neuron(case: Case, dtype: torch.dtype) -> None:
    for T in (*LENGTHS, 33):
        scan = of_case(case, T, dtype)
        if case.name in TRANSCENDENTAL | ILL:
            agree(scan, exact=case.name not in TRANSCENDENTAL, well_posed=case.name not in ILL)
        else:
            check(scan)


def test_learnable_slope() -> None:
    slope = draw(N, low=2.0, high=6.0)
    for T in LENGTHS:
        check(lif(T, B, N, dtype=torch.float64, surrogate=F.FastSigmoid(slope)))
        check(lif(T, B, N, dtype=torch.float64, surrogate=F.Sigmoid(slope[0])))


def with_a_float(decay: Any) -> Scan:
    """Return a scan with (1 - d) v and d / v: other bits in float32 if d = 0.9 is rounded first, or divided at once."""

    def step(state: Tensor, x: Tensor, *, decay: Any) -> tuple[Tensor, Tensor]:
        v = state + (1 - decay) * (x - state)
        return v, decay / (1.0 + v * v)

    return Scan(step, draw(50, dtype=torch.float32), draw(17, 50, dtype=torch.float32), {"decay": decay})


@pytest.mark.parametrize("decay", [0.9, torch.tensor(0.9)], ids=["float", "tensor"])
def test_a_float_is_not_rounded_first(decay: Any) -> None:
    check(with_a_float(decay))


# --- long runs --------------------------------------------------------------------------------------------------------

LONG_OF_T = ("adex", "balanced_resonate_and_fire", "exponential_if")  # of class T
LONG = {
    "to zero": lif(1000, 8, reset=F.to_zero, surrogate=F.FastSigmoid(), seed=1),
    "by subtraction": lif(1000, 8, reset=F.by_subtraction, surrogate=F.FastSigmoid(), seed=1),
    **{case.name: of_case(case, 1000, torch.float32) for case in CASES if case.name in LONG_OF_T},
    "ten thousand steps": lif(10_000, 40),
}


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.parametrize("name", LONG)
def test_long_runs_in_float32_are_as_near_to_float64_as_the_loop(name: str) -> None:
    scan, exact = LONG[name], LONG[name].converted(torch.float64)
    assert scan.exactness == ("T" if name in LONG_OF_T else "E")
    if name not in LONG_OF_T:
        assert_same_bits(scan.run("fused"), scan.run("loop"))
    spikes = [scan.run("fused")[1], scan.run("loop")[1], exact.run("loop")[1]]
    assert torch.equal(spikes[1].double(), spikes[2]), "draw other inputs: a spike moved"
    assert torch.equal(spikes[0], spikes[1])
    got, loop, best = scan.gradients("fused"), scan.gradients("loop"), exact.gradients("loop")
    for key, want in best.items():
        error, allowed = relative_error(got[key].double(), want), 2 * relative_error(loop[key].double(), want)
        assert error <= max(allowed, 1e-6), f"{key}: {error:.3g}, and {allowed:.3g} is twice the loop's error"
    for key in ("['state'].v", "['xs']") if name == "ten thousand steps" else ():
        assert relative_error(got[key], loop[key]) <= 1e-5


# --- special numbers --------------------------------------------------------------------------------------------------


def specials(dtype: torch.dtype, **params: Any) -> Scan:
    """Return a scan in which every special number meets every other as input, state, decay and threshold."""
    numbers = special(dtype)
    count = len(numbers)
    x = torch.stack([numbers.roll(k) for k in (0, 3, 7)])[:, :, None, None].expand(3, count, count, 2 * count)
    v = numbers[:, None].expand(count, count, 2 * count)
    ones = torch.ones(count, dtype=dtype)
    own = {"decay": torch.cat([numbers, ones * 0.9]), "gain": 0.9, "threshold": torch.cat([ones * 0.7, numbers])}
    return Scan(F.lif_step, F.LIFState(v), x.contiguous(), own | params)


@pytest.mark.sampled
@pytest.mark.parametrize("reset", RESETS[:3], ids=by_name)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)
def test_special_numbers(surrogate: Any, reset: F.Reset) -> None:
    for dtype in FLOATS if surrogate in (F.FastSigmoid(), F.Gaussian()) and reset is F.to_zero else FLOATS[:1]:
        scan = specials(dtype, surrogate=surrogate, reset=reset)
        state, spikes = scan.run("fused")
        assert_same_bits((state, spikes), scan.run("loop"))
        assert spikes.isnan().any()
        assert 0.2 < spikes[~spikes.isnan()].mean() < 0.8


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_special_inputs_of_every_neuron(case: Case) -> None:
    numbers = special(torch.float32)
    scan = of_case(case, 3, torch.float32)
    count = len(numbers)

    def stream(shift: int) -> Tensor:
        rolled = torch.stack([numbers.roll(k + shift) for k in (0, 3, 7)])
        return rolled[:, :, None].expand(3, count, 8).contiguous()

    xs = tuple(stream(k) for k in range(len(scan.xs))) if isinstance(scan.xs, tuple) else stream(0)
    leaves, form = tree_flatten(scan.state)
    state = tree_unflatten([numbers.roll(5 * k)[:, None].expand(count, 8) for k in range(len(leaves))], form)
    got, want = (Scan(scan.step, state, xs, scan.params).run(backend) for backend in ("fused", "loop"))
    if case.name in TRANSCENDENTAL:
        assert torch.equal(got[1].nan_to_num(7.0), want[1].nan_to_num(7.0))
        for a, b in zip(got[0], want[0], strict=True):
            # what is left of a difference of large numbers is as inexact as these are
            largest = b[b.isfinite()].abs().max().item()
            assert torch.allclose(a, b, rtol=1e-6, atol=4 * torch.finfo(b.dtype).eps * largest, equal_nan=True)
    else:
        assert_same_bits(got, want)


@pytest.mark.sampled
@pytest.mark.parametrize("bound", [math.nan, 0.0, -0.0, 0.5, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bounds_that_are_the_same_for_all(dtype: torch.dtype, bound: float) -> None:
    """Floats, and tensors of one number, are bounds of every operation that has some, on either side."""

    def step(state: F.IFState, x: Tensor, *, low: Any, limit: Tensor) -> tuple[F.IFState, tuple[Tensor, ...]]:
        limits = torch.minimum(limit, x), torch.maximum(limit, x), torch.minimum(x, limit), torch.maximum(x, limit)
        clamps = torch.clamp(x, min=low), torch.clamp(x, max=low), torch.clamp(state.v, low, low)
        return F.IFState(state.v + x), (*limits, *clamps)

    numbers = special(dtype)
    params = {"low": bound, "limit": torch.tensor(bound, dtype=dtype)}
    scan = Scan(step, F.IFState(numbers.flip(0)), torch.stack([numbers, numbers.roll(3)]), params)
    got, want = scan.run("fused"), scan.run("loop")
    assert_same_bits(got[1][4:], want[1][4:])
    # which zero minimum and maximum choose depends on how torch's own loop is cut
    assert_same_bits(*[tree_map_only(Tensor, lambda leaf: leaf + 0.0, found) for found in (got, want)])


@pytest.mark.sampled
@pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)
def test_gradients_at_special_numbers(surrogate: Any) -> None:
    """Each special number drives a neuron of its own; where the loop's gradient is finite, so is ours, and equal."""
    numbers = special(torch.float64)
    state = F.LIFState(torch.full_like(numbers, 0.25))
    scan = Scan(F.lif_step, state, numbers[None], {"decay": 0.9, "threshold": 0.7, "surrogate": surrogate})
    got, want = scan.gradients("fused"), scan.gradients("loop")
    for name, gradient in want.items():
        finite = gradient.isfinite()
        assert finite.sum() >= len(numbers) - 5
        assert torch.equal(got[name].isnan(), gradient.isnan()), name
        assert torch.allclose(got[name][finite], gradient[finite], rtol=1e-10, atol=1e-15), name


def scaled(state: Tensor, x: Tensor, *, gain: Any) -> tuple[Tensor, Tensor]:
    return state, gain * x


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_gradients_of_inputs_are_not_subnormal(dtype: torch.dtype) -> None:
    """Where they are computed; float16 has other subnormal numbers, which stay."""
    computed = torch.promote_types(dtype, torch.float32)
    tiny = torch.finfo(computed).tiny
    numbers = [0.0, tiny, tiny / 2, tiny / 3, 2 * tiny, tiny * torch.finfo(computed).eps, 1e-6, 1.0, math.inf, math.nan]
    pull = torch.tensor([*numbers, *[-number for number in numbers]], dtype=torch.float64).to(dtype)[None]
    for gain in (1.0, torch.tensor(0.75, dtype=computed), draw(pull.shape[1], dtype=computed, low=0.5, high=2.0)):
        x = torch.ones_like(pull).requires_grad_()
        out = F.scan(scaled, torch.zeros(pull.shape[1], dtype=computed), x, params={"gain": gain}, backend="fused")[1]
        exact = pull.to(computed) * gain
        want = torch.where(exact.abs() < tiny, 0.0, exact).to(dtype)
        assert torch.equal(torch.autograd.grad(out, x, pull)[0].nan_to_num(7.0), want.nan_to_num(7.0))


@pytest.mark.sampled
@pytest.mark.parametrize("value", [math.inf, -math.inf])
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_infinity_gives_nan_gradients_where_the_loop_does_unless_a_result_is_not_used(case: Case, value: float) -> None:
    for t in range(3):
        scan = of_case(case, 3, torch.float64)
        first = scan.xs[0] if isinstance(scan.xs, tuple) else scan.xs
        first[t, 0] = value
        got, want = (scan.run(backend) for backend in ("fused", "loop"))
        assert torch.allclose(got[1], want[1], rtol=0.0, atol=1e-12, equal_nan=True)
        for of in (None, ("out",)):
            ours, theirs = (scan.gradients(backend, of=of) for backend in ("fused", "loop"))
            for name, gradient in theirs.items():
                # every parameter is one number a neuron, so the other neurons have nothing to do with the infinity
                # what the gradient is a difference of
                scale = max(1.0, gradient[..., 1:].abs().max().item(), case.at_rest**2)
                assert torch.allclose(ours[name][..., 1:], gradient[..., 1:], rtol=1e-10, atol=1e-15 * scale), name
                assert of is not None or torch.equal(ours[name].isfinite(), gradient.isfinite()), name
