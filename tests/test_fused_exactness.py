"""The fused backend has the loop's bits where it says so, stays within a bound elsewhere, and has its gradients."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.fused.trace.examples import SIZES, Examples, Spec
from spikingtorch.testing import relative_error
from spikingtorch.verification.cases import CASES, LENGTHS, RESETS, TWINS, Case, by_name
from tests.fused import Scan, assert_same_bits, bits, check, check_gradients, check_values, draw, special

SURROGATES: list[Any] = [surrogate for surrogate, _ in TWINS]
# exp and cos stand in the value of these spikes, where they amount to 0 or NaN
INEXACT = (F.PiecewiseExponential, F.FromDerivative)
DETERMINISTIC: Any = torch.utils.deterministic
FLOATS = [torch.float32, torch.float64]
HALVES = [torch.float16, torch.bfloat16]
B, N = 3, 21  # neurons: not a multiple of any vector


def lif(
    *shape: int,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    dim: int = 0,
    neurons: int | None = None,
    **params: Any,
) -> Scan:
    """Return a scan of LIF neurons from a state that is not zero; decay and threshold are tensors, a value a neuron."""
    last = shape[-1] if dim != len(shape) - 1 else shape[-2]
    own = {
        "decay": draw(last, dtype=dtype, low=0.5, high=0.98, seed=seed),
        "gain": 0.9,
        "threshold": draw(last, dtype=dtype, low=0.5, high=1.2, seed=seed + 1),
    }
    state = list(shape)
    del state[dim]
    v = draw(*state, dtype=dtype, low=-0.3, high=0.6, seed=seed + 2)
    x = draw(*shape, dtype=dtype, low=-0.6, high=1.4, seed=seed + 3)
    return Scan(F.lif_step, F.LIFState(v), x, own | params, dim)


def of_case(case: Case, T: int, dtype: torch.dtype, **options: Any) -> Scan:
    xs, params = case.draw(T, dtype=dtype)
    return Scan(case.step, case.initial(xs), xs, params | case.options(**options))


# --- neurons, surrogates, reset rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", RESETS, ids=by_name)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)
def test_lif(surrogate: Any, reset: F.Reset) -> None:
    scans = [lif(T, B, N, surrogate=surrogate, reset=reset) for T in LENGTHS]
    for scan in scans:
        check(scan, exact=not isinstance(surrogate, INEXACT))
    spikes = scans[-1].run("fused")[1].mean()
    assert 0.05 < spikes < 0.95


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(case: Case, dtype: torch.dtype) -> None:
    for T in LENGTHS:
        scan = of_case(case, T, dtype)
        if case.name == "biolif":  # its decay is an exp
            check_gradients(scan)
            (got_state, got), (state, want) = scan.run("fused"), scan.run("loop")
            assert torch.equal(got, want)
            assert all(relative_error(a, b) < 4 * torch.finfo(dtype).eps for a, b in zip(got_state, state, strict=True))
        else:
            check(scan)


@pytest.mark.parametrize("surrogate", [F.FastSigmoid(), F.Gaussian(), F.FromDerivative(torch.cos)], ids=by_name)
def test_float64(surrogate: Any) -> None:
    check(lif(17, B, N, dtype=torch.float64, surrogate=surrogate), exact=not isinstance(surrogate, INEXACT))


def test_ten_thousand_steps() -> None:
    scan = lif(10_000, 40)
    check_values(scan)
    got, want, best = (
        s.gradients(backend)
        for s, backend in ((scan, "fused"), (scan, "loop"), (scan.converted(torch.float64), "loop"))
    )
    assert_same_bits(scan.converted(torch.float64).run("loop")[1].float(), scan.run("fused")[1])
    for name in ("['state'].v", "['xs']"):
        assert relative_error(got[name], want[name]) <= 1e-5
    for name, exact in best.items():
        assert relative_error(got[name].double(), exact) <= max(2 * relative_error(want[name].double(), exact), 1e-6)


# --- where the arrays lie ---------------------------------------------------------------------------------------------


def _dim(dim: int) -> Callable[[int], tuple[Tensor, int]]:
    def make(T: int) -> tuple[Tensor, int]:
        shape = [B, N]
        shape.insert(dim, T)
        return draw(*shape, high=1.4), dim

    return make


# name: a function of T that gives inputs in some layout, and the axis of time
LAYOUTS: dict[str, Callable[[int], tuple[Tensor, int]]] = {
    "time first": _dim(0),
    "time second": _dim(1),
    "time last": _dim(2),
    "time last, negative": lambda T: (draw(B, N, T, high=1.4), -1),
    "time second, negative": lambda T: (draw(B, T, N, high=1.4), -2),
    "transposed neurons": lambda T: (draw(T, N, B, high=1.4).transpose(1, 2), 0),
    "time first in memory, second outside": lambda T: (draw(T, B, N, high=1.4).transpose(0, 1), 1),
    "time second in memory, first outside": lambda T: (draw(B, T, N, high=1.4).transpose(0, 1), 0),
    "time last in memory, first outside": lambda T: (draw(B, N, T, high=1.4).movedim(-1, 0), 0),
    "all axes reversed": lambda T: (draw(N, B, T, high=1.4).permute(2, 1, 0), 0),
    "every second neuron": lambda T: (draw(T, B, 2 * N, high=1.4)[..., ::2], 0),
    "every second row": lambda T: (draw(T, 2 * B, N, high=1.4)[:, ::2], 0),
    "every second step": lambda T: (draw(2 * T, B, N, high=1.4)[::2], 0),
    "every second step, time second": lambda T: (draw(B, 2 * T, N, high=1.4)[:, 1::2], 1),
    "behind an offset": lambda T: (draw(T + 2, B + 1, N + 5, high=1.4)[2:, 1:, 5:], 0),
    "one row for all": lambda T: (draw(T, 1, N, high=1.4).expand(T, B, N), 0),
    "one neuron for all": lambda T: (draw(T, B, 1, high=1.4).expand(T, B, N), 0),
    "one step for all": lambda T: (draw(1, B, N, high=1.4).expand(T, B, N), 0),
    "one step for all, time second": lambda T: (draw(B, 1, N, high=1.4).expand(B, T, N), 1),
    "one number a step": lambda T: (draw(T, 1, 1, high=1.4).expand(T, B, N), 0),
    "one number": lambda T: (torch.full((1, 1, 1), 0.4, dtype=torch.float64).expand(T, B, N), 0),
    "few neurons, time second": lambda T: (draw(40, T, 2, high=1.4), 1),
    "several blocks": lambda T: (draw(T, 2, 301, high=1.4), 0),
    "several blocks, time second": lambda T: (draw(2, T, 301, high=1.4), 1),
    "a whole block": lambda T: (draw(T, 256, high=1.4), 0),
    "one neuron": lambda T: (draw(T, 1, 1, high=1.4).expand(T, 1, 2)[..., :1], 0),
    "windows that overlap": lambda T: (draw(T + N - 1, high=1.4).as_strided((T, 1, N), (1, 0, 1)).expand(T, B, N), 0),
    "no rows": lambda T: (draw(T, 0, N), 0),
    "no neurons": lambda T: (draw(T, B, 0), 0),
    "no rows, time second": lambda T: (draw(0, T, N), 1),
    "eight axes": lambda T: (draw(2, 1, 2, T, 2, 1, 2, 3, high=1.4), 3),
    "time the eighth axis": lambda T: (draw(2, 1, 2, 2, 1, 2, 3, T, high=1.4), 7),
    "eight axes, scattered": lambda T: (
        draw(2, 1, 2, 1, 2, 1, 2, T, 3, high=1.4).permute(7, 6, 5, 4, 3, 2, 1, 0, 8),
        0,
    ),
}


def placed(x: Tensor, dim: int, dtype: torch.dtype = torch.float64) -> Scan:
    """Return a scan over an input whose layout stays as it is."""
    assert dtype == torch.float64 or x.dtype == dtype
    neurons = list(x.shape)
    del neurons[dim]
    v = draw(*neurons, low=-0.3, high=0.6)
    params = {
        "decay": draw(neurons[-1], low=0.5, high=0.98),
        "gain": 0.9,
        "threshold": draw(neurons[-1], low=0.5, high=1.2),
    }
    return Scan(F.lif_step, F.LIFState(v), x, params, dim)


@pytest.mark.parametrize("T", [*LENGTHS, 33])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, T: int) -> None:
    x, dim = LAYOUTS[layout](T)
    scan = placed(x, dim)
    check_values(scan)
    check_gradients(scan)


def test_the_trace_of_many_axes_is_small() -> None:
    def step(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return state + x, x

    check(Scan(step, draw(*[2] * 8), draw(3, *[2] * 8)))
    one = Spec.of(torch.float32, [2] * 12)
    assert all(math.prod(Examples((one, one, {}), False, sizes).shape) < 100_000 for sizes in SIZES)


def test_no_axes() -> None:
    x, v = draw(17, high=1.4), draw(1)[0]
    check(Scan(F.lif_step, F.LIFState(v), x, {"decay": 0.9, "threshold": torch.tensor(0.8, dtype=torch.float64)}))


# name: a tensor of the shape (B, N) in some layout
RESTS: dict[str, Callable[[], Tensor]] = {
    "contiguous": lambda: draw(B, N),
    "transposed": lambda: draw(N, B).T,
    "every second": lambda: draw(B, 2 * N)[:, ::2],
    "rows apart": lambda: draw(B, N + 3)[:, :N],
    "one row for all": lambda: draw(1, N).expand(B, N),
    "one number a row": lambda: draw(B, 1).expand(B, N),
    "one number": lambda: draw(1, 1).expand(B, N),
}


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("name", RESTS)
def test_layouts_of_states_and_parameters(name: str, dim: int) -> None:
    x, _ = _dim(dim)(17)
    params = {"decay": 0.5 + 0.4 * RESTS[name](), "gain": 0.9, "threshold": RESTS[name]() + 0.3}
    for state in (RESTS[name](), RESTS["contiguous"]()):
        scan = Scan(F.lif_step, F.LIFState(state), x, params, dim)
        check_values(scan)
        check_gradients(scan)


SHAPES: dict[str, tuple[int, ...] | None] = {
    "float": None,
    "no axes": (),
    "one number": (1,),
    "one number, all axes": (1, 1, 1),
    "a neuron": (5,),
    "a row": (4, 1),
    "a channel": (3, 1, 1),
    "a channel and neuron": (3, 1, 5),
    "all": (3, 4, 5),
    "all, more axes of length one": (1, 4, 5),
}


@pytest.mark.parametrize("dim", [0, 1, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_parameters(name: str, dim: int) -> None:
    shape = SHAPES[name]

    def number(low: float, high: float, seed: int) -> Any:
        return (low + high) / 2 if shape is None else draw(*shape, low=low, high=high, seed=seed)

    neurons = [3, 4, 5]
    neurons.insert(dim, 17)
    params = {"decay": number(0.5, 0.98, 1), "gain": number(0.5, 1.2, 2), "threshold": number(0.5, 1.2, 3)}
    scan = Scan(F.lif_step, F.LIFState(draw(3, 4, 5)), draw(*neurons, low=-0.6, high=1.4), params, dim)
    check(scan)
    check(scan.converted(torch.float32))


@pytest.mark.parametrize("decay", [0.9, torch.tensor(0.9)], ids=["float", "tensor"])
def test_a_float_is_not_rounded_first(decay: Any) -> None:
    # (1 - d) v with d = 0.9 has other bits in float32 when d is rounded to float32 before the subtraction
    def step(state: Tensor, x: Tensor, *, decay: Any) -> tuple[Tensor, Tensor]:
        v = state + (1 - decay) * (x - state)
        return v, v

    check(Scan(step, draw(50, dtype=torch.float32), draw(17, 50, dtype=torch.float32), {"decay": decay}))


def test_learnable_slope() -> None:
    slope = draw(N, low=2.0, high=6.0)
    for T in LENGTHS:
        check(lif(T, B, N, dtype=torch.float64, surrogate=F.FastSigmoid(slope)))
        check(lif(T, B, N, dtype=torch.float64, surrogate=F.Sigmoid(slope[0])))


# --- gradients --------------------------------------------------------------------------------------------------------


LEAVES = ("['state'].v", "['xs']", "['params']['decay']", "['params']['threshold']")


@pytest.mark.parametrize("T", [*LENGTHS, 33])
@pytest.mark.parametrize("of", [("out",), ("state",), None], ids=["outputs", "final state", "both"])
@pytest.mark.parametrize("only", [*[(leaf,) for leaf in LEAVES], LEAVES[2:], LEAVES[:2]], ids=str)
def test_some_gradients_of_some_results(only: tuple[str, ...], of: Any, T: int) -> None:
    check_gradients(lif(T, B, N, dtype=torch.float64), only=only, of=of)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_layouts_of_cotangents(dim: int) -> None:
    x, _ = _dim(dim)(33)
    scan, leaves = placed(x, dim).watched()

    def gradients(backend: str, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        state, out = scan.run(backend)
        return torch.autograd.grad(function(out) + function(state.v), list(leaves.values()))

    functions: list[Callable[[Tensor], Tensor]] = [
        lambda y: y.sum(),
        lambda y: (y.mT * draw(*y.mT.shape)).sum(),
        lambda y: (y[..., ::2] * 1.5).sum(),
        lambda y: (y.sum(0) * draw(*y.shape[1:])).sum(),
        lambda y: (y.sum(-1) * draw(*y.shape[:-1])).sum(),
    ]
    for function in functions:
        for got, want in zip(gradients("fused", function), gradients("loop", function), strict=True):
            assert relative_error(got, want) <= 1e-10


@pytest.mark.parametrize("reset", RESETS[:2], ids=by_name)
def test_gradients_of_long_float32_runs(reset: F.Reset) -> None:
    scan = lif(1000, 8, reset=reset, surrogate=F.FastSigmoid(), seed=1)
    exact = scan.converted(torch.float64)
    assert torch.equal(scan.run("loop")[1].double(), exact.run("loop")[1]), "draw other inputs: a spike moved"
    got, loop, best = scan.gradients("fused"), scan.gradients("loop"), exact.gradients("loop")
    for name, want in best.items():
        error, allowed = relative_error(got[name].double(), want), 2 * relative_error(loop[name].double(), want)
        assert error <= max(allowed, 1e-6), f"{name}: {error:.3g}, and {allowed:.3g} is twice the loop's error"


def test_gradients_accumulate_over_two_backward_passes() -> None:
    scan, leaves = lif(17, B, N, dtype=torch.float64).watched()
    _, out = scan.run("fused")
    first = torch.autograd.grad(out.sum(), list(leaves.values()), retain_graph=True)
    assert_same_bits(torch.autograd.grad(out.sum(), list(leaves.values())), first)


# --- class T ----------------------------------------------------------------------------------------------------------


class Nonlinear(NamedTuple):
    """State of a step with many inexact operations."""

    v: Tensor
    w: Tensor


def nonlinear(state: Nonlinear, x: Tensor, *, tau: Any, rate: Any) -> tuple[Nonlinear, tuple[Tensor, Tensor]]:
    w = torch.exp(-1 / tau) * state.w + 0.1 * torch.sigmoid(3 * x) - 0.05 * torch.sin(state.v)
    drive = torch.log1p(x.abs()) * torch.tanh(x) + torch.pow(x.abs() + 0.1, rate) * 0.3 + torch.erf(x) * 0.1
    u = torch.lerp(state.v, drive, 0.3) + torch.addcmul(drive, state.w, x, value=-0.2) * 0.5
    spike = F.FastSigmoid()(u - 0.8)
    return Nonlinear(u * (1 - spike), w), (spike, u)


def inexact(T: int, dtype: torch.dtype, shape: tuple[int, ...] = (B, N)) -> Scan:
    state = Nonlinear(draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=1))
    params = {
        "tau": draw(shape[-1], dtype=dtype, low=2.0, high=20.0),
        "rate": draw(shape[-1], dtype=dtype, low=0.5, high=3.0),
    }
    return Scan(nonlinear, state, draw(T, *shape, dtype=dtype, low=-1.0, high=2.0), params)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 4e-15)], ids=["f32", "f64"])
def test_class_t_is_within_a_bound(dtype: torch.dtype, bound: float) -> None:
    scan = inexact(100, dtype, (10, 100))
    assert scan.exactness == "T"
    _, (spike, u) = scan.run("fused")
    _, (want, exact) = scan.converted(torch.float64).run("loop")
    differ = spike.double() != want
    # from a spike that differs on, a neuron is another one
    same = differ.cumsum(0) == 0
    before = torch.cat([torch.ones_like(same[:1]), same[:-1]])
    assert (u.double() - exact).abs()[before].max() <= bound
    first = differ & before
    assert ((exact - 0.8).abs()[first] <= bound).all()
    assert first.sum() <= 5
    assert 0.1 < want.mean() < 0.9


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gradients_of_class_t(dtype: torch.dtype) -> None:
    for T in LENGTHS:
        check_gradients(inexact(T, dtype))


def test_gradients_of_long_class_t_runs() -> None:
    scan = inexact(1000, torch.float32, (8,))
    exact = scan.converted(torch.float64)
    assert torch.equal(scan.run("loop")[1][0].double(), exact.run("loop")[1][0]), "draw other inputs: a spike moved"
    got, loop, best = scan.gradients("fused"), scan.gradients("loop"), exact.gradients("loop")
    for name, want in best.items():
        assert relative_error(got[name].double(), want) <= max(2 * relative_error(loop[name].double(), want), 1e-6)


# --- special numbers --------------------------------------------------------------------------------------------------


def specials(dtype: torch.dtype, **params: Any) -> Scan:
    """Return a scan in which every special number meets every other as input, state, decay and threshold."""
    numbers = special(dtype)
    count = len(numbers)
    x = torch.stack([numbers.roll(k) for k in (0, 3, 7)])[:, :, None, None].expand(3, count, count, 2 * count)
    v = numbers[:, None].expand(count, count, 2 * count)
    ones = torch.ones(count, dtype=dtype)
    own = {
        "decay": torch.cat([numbers, ones * 0.9]),
        "gain": 0.9,
        "threshold": torch.cat([ones * 0.7, numbers]),
    }
    return Scan(F.lif_step, F.LIFState(v), x.contiguous(), own | params)


@pytest.mark.parametrize("reset", RESETS[:3], ids=by_name)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)
def test_special_numbers(surrogate: Any, reset: F.Reset) -> None:
    scan = specials(torch.float32, surrogate=surrogate, reset=reset)
    state, spikes = scan.run("fused")
    assert_same_bits((state, spikes), scan.run("loop"))
    assert spikes.isnan().any()
    assert 0.2 < spikes[~spikes.isnan()].mean() < 0.8


@pytest.mark.parametrize("surrogate", [F.FastSigmoid(), F.Gaussian()], ids=by_name)
def test_special_numbers_in_float64(surrogate: Any) -> None:
    scan = specials(torch.float64, surrogate=surrogate)
    assert_same_bits(scan.run("fused"), scan.run("loop"))


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_special_inputs_of_every_neuron(case: Case) -> None:
    numbers = special(torch.float32)
    scan = of_case(case, 3, torch.float32)
    count = len(numbers)

    def stream(shift: int) -> Tensor:
        rolled = torch.stack([numbers.roll(k + shift) for k in (0, 3, 7)])
        return rolled[:, :, None].expand(3, count, 8).contiguous()

    xs = tuple(stream(k) for k in range(len(scan.xs))) if isinstance(scan.xs, tuple) else stream(0)
    state = type(scan.state)(*(numbers.roll(5 * k)[:, None].expand(count, 8) for k in range(len(scan.state))))
    got, want = (Scan(scan.step, state, xs, scan.params).run(backend) for backend in ("fused", "loop"))
    if case.name == "biolif":
        assert torch.equal(got[1].nan_to_num(7.0), want[1].nan_to_num(7.0))
        for a, b in zip(got[0], want[0], strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-38, equal_nan=True)
    else:
        assert_same_bits(got, want)


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


@pytest.mark.parametrize("t", [0, 1, 2])
@pytest.mark.parametrize("value", [math.inf, -math.inf])
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_an_infinity_gives_nan_gradients_where_the_loop_does_unless_a_result_is_not_used(
    case: Case, value: float, t: int
) -> None:
    scan = of_case(case, 3, torch.float64)
    first = scan.xs[0] if isinstance(scan.xs, tuple) else scan.xs
    first[t, 0] = value
    got, want = (scan.run(backend) for backend in ("fused", "loop"))
    assert torch.allclose(got[1], want[1], rtol=0.0, atol=1e-12, equal_nan=True)
    for of in (None, ("out",)):
        ours, theirs = (scan.gradients(backend, of=of) for backend in ("fused", "loop"))
        for name, gradient in theirs.items():
            # every parameter is one number a neuron, so the other neurons have nothing to do with the infinity
            assert torch.allclose(ours[name][..., 1:], gradient[..., 1:], rtol=1e-10, atol=1e-15), name
            assert of is not None or torch.equal(ours[name].isfinite(), gradient.isfinite()), name


# --- memory that nobody wrote -----------------------------------------------------------------------------------------


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fill every fresh tensor with NaN."""
    before = torch.are_deterministic_algorithms_enabled(), DETERMINISTIC.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    DETERMINISTIC.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before[0])
    DETERMINISTIC.fill_uninitialized_memory = before[1]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("T", [1, 2, 16, 17, 33])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_poisoned_memory(layout: str, T: int) -> None:
    scan = placed(*LAYOUTS[layout](T))
    assert_same_bits(scan.run("fused"), scan.run("loop"))
    for of in (None, ("out",), ("state",)):
        check_gradients(scan, of=of)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_poisoned_memory_of_every_neuron(case: Case) -> None:
    for T in (1, 33):
        check_gradients(of_case(case, T, torch.float64))


# --- half precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half(dtype: torch.dtype, dim: int) -> None:
    scan = Scan(
        F.lif_step, F.LIFState(draw(B, N, dtype=torch.float32)), _dim(dim)(33)[0].to(dtype), {"decay": 0.9}, dim
    )
    params = {"decay": draw(N, low=0.5, high=0.98).to(dtype), "threshold": draw(1).to(dtype)}
    for own in (scan, scan._replace(params=params), scan._replace(state=F.LIFState(scan.state.v.to(dtype)))):
        assert own.exactness == "E"
        state, out = own.run("fused")
        assert (state.v.dtype, out.dtype) == (torch.float32, dtype)
        check_values(own)
        got, want = own.gradients("fused"), own.gradients("loop")
        for name, gradient in want.items():
            assert got[name].dtype == gradient.dtype
            # one rounding to the dtype on either side
            assert relative_error(got[name].float(), gradient.float()) <= 2 * torch.finfo(gradient.dtype).eps + 1e-5


def passing(state: Tensor, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    return state + x, (x, state * 0.1 + x)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half_number_goes_in_and_out(dtype: torch.dtype) -> None:
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).reshape(1, -1)
    state = torch.linspace(-1.0, 1.0, 2**16)
    check_scan = Scan(passing, state, x)
    got, want = check_scan.run("fused"), check_scan.run("loop")
    assert_same_bits(got, want)
    finite = ~torch.isnan(x)
    assert torch.equal(bits(got[1][0])[finite], bits(x)[finite])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_outputs_are_rounded_to_half_as_torch_does(dtype: torch.dtype) -> None:
    # a state of any bits, so that outputs overflow, underflow and lie half way between two numbers
    generator = torch.Generator().manual_seed(0)
    state = torch.randint(-(2**31), 2**31, (2**16,), generator=generator).to(torch.int32).view(torch.float32)
    middle = (torch.arange(2**15, dtype=torch.int32) * 2**16 + 2**15).view(torch.float32)
    state = torch.cat([state, middle, middle.nextafter(torch.tensor(0.0))])

    def step(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return state, state + x

    scan = Scan(step, state, torch.zeros(1, 1, dtype=dtype))
    assert_same_bits(scan.run("fused"), scan.run("loop"))


def test_half_and_float32_streams_give_float32() -> None:
    xs = (draw(17, 5, dtype=torch.bfloat16, high=3.0), draw(17, 5, dtype=torch.float32))
    scan = Scan(passing_two, draw(5, dtype=torch.float32), xs)
    check_values(scan)
    assert scan.run("fused")[1].dtype == torch.float32
    assert scan.gradients("fused")["['xs'][0]"].dtype == torch.bfloat16


def passing_two(state: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    v = 0.5 * state + x[0] * x[1]
    return v, v


# --- trees ------------------------------------------------------------------------------------------------------------


class Traced(NamedTuple):
    """Outputs of a step."""

    spike: Tensor
    membrane: Tensor
    rest: dict[str, Any]


def everything(state: dict[str, Any], x: dict[str, Any], *, decay: Any) -> tuple[dict[str, Any], Traced]:
    current = x["current"] * x["pair"][0] + x["pair"][1]
    u = decay * state["v"] + current
    spike = F.FastSigmoid()(u - 1.0)
    fired = spike > 0
    count = state["pair"][0] + fired.to(torch.int64)
    after = {"v": torch.where(fired, 0.0, u), "pair": (count, state["pair"][1])}
    return after, Traced(spike, u, {"fired": fired, "list": [count, x["current"], state["pair"][1], 2 * count + 1]})


@pytest.mark.parametrize("dim", [0, 1])
def test_trees_of_states_inputs_and_outputs(dim: int) -> None:
    for T in LENGTHS:
        shape = (T, B, N) if dim == 0 else (B, T, N)
        x = draw(*shape, high=1.4)
        state: dict[str, Any] = {"v": draw(B, N), "pair": (torch.arange(B * N).reshape(B, N), draw(B, N, seed=1))}
        xs = {"current": x, "pair": (x > 0.5, (10 * draw(*shape, seed=2)).to(torch.int32) - 4)}
        scan = Scan(everything, state, xs, {"decay": draw(N)}, dim)
        check(scan)
        after, out = scan.run("fused")
        assert isinstance(out, Traced)
        assert (out.rest["fired"].dtype, out.rest["list"][0].dtype) == (torch.bool, torch.int64)
        assert torch.equal(out.rest["list"][1], x)
        assert torch.equal(after["pair"][1], state["pair"][1])
        assert out.membrane.shape == shape


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_streams_that_are_not_floating(dtype: torch.dtype) -> None:
    def step(state: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        v = 0.9 * state + x[0] * x[1]
        return v, (v, x[1].to(torch.float32))

    low = 0 if dtype in (torch.bool, torch.uint8) else -3
    whole = draw(17, N, low=low, high=4).floor().to(dtype)
    check(Scan(step, draw(N), (draw(17, N), whole)))


# name: the shapes of the second stream beside the first of (T, B, N)
BROADCAST: dict[str, tuple[int, ...]] = {
    "one number a step": (17,),
    "one number a step, one axis": (17, 1),
    "one number a step, all axes": (17, 1, 1),
    "one number a row": (17, B, 1),
    "one number a neuron": (17, 1, N),
    "a neuron, fewer axes": (17, N),
}


@pytest.mark.parametrize("name", BROADCAST)
def test_streams_that_broadcast(name: str) -> None:
    scan = Scan(passing_two, draw(B, N), (draw(17, B, N), draw(*BROADCAST[name])))
    check(scan)
    check(scan._replace(xs=scan.xs[::-1]))


def test_one_number_a_step_drives_all_neurons() -> None:
    check(lif(17, B, N, dtype=torch.float64)._replace(xs=draw(17, 1, high=1.4)))
    check(lif(17, B, N, dtype=torch.float64)._replace(xs=draw(17, 1, 1, high=1.4)))


def test_no_state() -> None:
    def step(state: tuple[()], x: Tensor, *, threshold: Any) -> tuple[tuple[()], Tensor]:
        return state, F.FastSigmoid()(x - threshold) * x

    for T in LENGTHS:
        check(Scan(step, (), draw(T, B, N, dtype=torch.float32), {"threshold": draw(N, dtype=torch.float32)}))


def test_a_state_that_is_handed_on_and_one_that_is_forgotten() -> None:
    def step(state: tuple[Tensor, Tensor, Tensor], x: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        kept, last, swapped = state
        return (kept, x, last + swapped), kept * x + last

    for T in LENGTHS:
        check(Scan(step, (draw(N), draw(N, seed=1), draw(N, seed=2)), draw(T, N)))


def test_states_that_swap_places() -> None:
    def step(state: tuple[Tensor, Tensor], x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return (state[1], state[0] * 0.5 + x), state

    for T in LENGTHS:
        check(Scan(step, (draw(N), draw(N, seed=1)), draw(T, N)))


def test_the_same_tensor_twice() -> None:
    def step(state: tuple[Tensor, Tensor], x: tuple[Tensor, Tensor], *, a: Any, b: Any) -> tuple[Any, Tensor]:
        return (a * state[0] + x[0], b * state[1] - 2 * x[1]), state[0] * state[1]

    v, x, a = draw(N), draw(17, N), draw(N, seed=1)
    scan = Scan(step, (v, v), (x, x), {"a": a, "b": a})
    check(scan)

    def gradients(backend: str) -> tuple[Tensor, ...]:
        leaves = [leaf.clone().requires_grad_() for leaf in (v, x, a)]
        params = {"a": leaves[2], "b": leaves[2]}
        state, out = Scan(step, (leaves[0],) * 2, (leaves[1],) * 2, params).run(backend)
        return torch.autograd.grad((out * out).sum() + (state[0] * state[1]).sum(), leaves)

    for got, want in zip(gradients("fused"), gradients("loop"), strict=True):
        assert relative_error(got, want) <= 1e-10


def test_an_output_twice() -> None:
    def step(state: Tensor, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        v = 0.5 * state + x
        return v, (v, v, x)

    check(Scan(step, draw(N), draw(17, N)))


def test_outputs_that_depend_on_no_input() -> None:
    def step(state: Tensor, x: Tensor, *, bias: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return state * 0.5, (torch.zeros_like(x), bias * torch.ones_like(x))

    scan = Scan(step, draw(N), draw(17, N), {"bias": draw(N)})
    check_values(scan)
    check_gradients(scan)


def test_a_surrogate_without_a_state_on_its_way() -> None:
    scan = Scan(F.mcpitts_step, F.McPittsState(), draw(17, N), {"threshold": draw(N)})
    check(scan)
