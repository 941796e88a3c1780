"""Spike functions, of 0 and 1 or more, and their derivatives; reset rules, and what becomes of infinity."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import surrogate as surrogate_module
from spikingtorch.testing import assert_close
from spikingtorch.verification import oracles
from spikingtorch.verification.cases import LEVELS, MARGIN, RESETS, SURROGATES, by_name
from tests.functional.test_neurons import NAMED

# phi' by hand, from the definitions and not from the code, at one more slope than the default
BY_HAND: list[tuple[F.Surrogate, Callable[[float], float]]] = [
    (F.Sigmoid(5.0), lambda u: 5 / (4 * math.cosh(2.5 * u) ** 2)),
    (F.Sigmoid(2.0), lambda u: 2 / (4 * math.cosh(u) ** 2)),
    (F.FastSigmoid(10.0), lambda u: (1 + 10 * abs(u)) ** -2),
    (F.FastSigmoid(3.0), lambda u: (1 + 3 * abs(u)) ** -2),
    (F.Arctan(2.0), lambda u: 1 / (1 + (math.pi * u) ** 2)),
    (F.Arctan(3.0), lambda u: 1.5 / (1 + (1.5 * math.pi * u) ** 2)),
    (F.Triangular(1.0), lambda u: max(0.0, 1 - abs(u))),
    (F.Triangular(2.0), lambda u: 2 * max(0.0, 1 - 2 * abs(u))),
    (F.Gaussian(0.5), lambda u: math.exp(-2 * u * u) / (0.5 * math.sqrt(2 * math.pi))),
    (F.Gaussian(1.0), lambda u: math.exp(-u * u / 2) / math.sqrt(2 * math.pi)),
    (F.DoubleGaussian(), lambda u: (2.3 * math.exp(-2 * u * u) - 0.1 * math.exp(-u * u / 18)) / math.sqrt(8 * math.pi)),
    (F.Erf(2.0), lambda u: 2 * math.exp(-4 * u * u) / math.sqrt(math.pi)),
    (F.Erf(1.0), lambda u: math.exp(-u * u) / math.sqrt(math.pi)),
    (F.PiecewiseExponential(1.0), lambda u: 0.5 * math.exp(-abs(u))),
    (F.PiecewiseExponential(3.0), lambda u: 1.5 * math.exp(-3 * abs(u))),
    (F.StraightThrough(), lambda _: 1.0),
    # one family with Gaussian
    (F.Erf(3.0), lambda u: math.exp(-9 * u * u) * 3 / math.sqrt(math.pi)),
    (F.Gaussian(1 / (3 * math.sqrt(2))), lambda u: math.exp(-9 * u * u) * 3 / math.sqrt(math.pi)),
    # of the user's own
    (F.FromPrimitive(torch.tanh), lambda u: 1 - math.tanh(u) ** 2),
    (F.FromDerivative(lambda u: torch.exp(-u.abs())), lambda u: math.exp(-abs(u))),
]
POINTS = torch.tensor([-2.5, -0.7, -0.3, -1e-3, 0.0, 1e-3, 0.2, 0.6, 1.7], dtype=torch.float64)
every_surrogate = pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)


def derivative(surrogate: F.Surrogate, u: Tensor) -> Tensor:
    u = u.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(surrogate(u).sum(), u)
    return gradient


@pytest.mark.parametrize(("surrogate", "hand"), BY_HAND, ids=range(len(BY_HAND)))
def test_derivative_by_hand_and_value_heaviside(surrogate: F.Surrogate, hand: Callable[[float], float]) -> None:
    want = torch.tensor([hand(u) for u in POINTS.tolist()], dtype=torch.float64)
    assert_close(derivative(surrogate, POINTS), want)
    assert surrogate(POINTS).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert surrogate(torch.tensor([-0.0])).item() == 1.0


def test_every_surrogate_is_tested() -> None:
    module = vars(surrogate_module).values()
    defined = {cls for cls in module if isinstance(cls, type) and cls.__module__ == surrogate_module.__name__}
    assert {type(surrogate) for surrogate, _ in BY_HAND} == defined - {F.Surrogate}
    assert {type(each) for each in SURROGATES} == defined - {F.Surrogate, F.FromPrimitive, F.FromDerivative}


@every_surrogate
def test_first_and_second_derivatives_of_the_primitive(surrogate: Any) -> None:
    # away from the kinks at u = 0 and, for the triangle, |u| = 1 / beta
    u = torch.tensor([-2.5, -0.7, -0.3, 0.2, 0.6, 1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(surrogate.primitive, u)
    assert torch.autograd.gradgradcheck(surrogate.primitive, u)

    def second(function: Callable[[Tensor], Tensor]) -> Any:
        return torch.func.vmap(torch.func.grad(torch.func.grad(function)))(u[1:5].detach())

    assert_close(second(surrogate), second(surrogate.primitive))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("surrogate", [*SURROGATES, F.Sigmoid(100.0), F.FastSigmoid(100.0)], ids=repr)
def test_no_overflow(surrogate: F.Surrogate, dtype: torch.dtype) -> None:
    u = torch.tensor([-1e4, -1e2, 0.0, 1e2, 1e4], dtype=dtype)
    assert surrogate(u).tolist() == [0, 0, 1, 1, 1]
    assert surrogate(u).dtype == dtype
    slope = derivative(surrogate, u)
    assert slope.isfinite().all()
    assert (slope >= 0).all() or isinstance(surrogate, F.DoubleGaussian)
    assert slope[2] > 0


def test_fast_sigmoid_keeps_its_tail_in_float32() -> None:
    u = torch.tensor([-1e4, 1e4])
    assert_close(derivative(F.FastSigmoid(10.0), u), (1 + 10 * u.abs()).pow(-2))


def test_immutable_and_hashable() -> None:
    assert len({F.Sigmoid(5.0), F.Sigmoid(5.0), F.Sigmoid(4.0)}) == 2
    assert F.Arctan(2.0) == F.Arctan(2.0)
    plain: tuple[object, object] = F.Arctan(2.0), F.Erf(2.0)
    assert plain[0] != plain[1]
    assert len({F.Arctan(2.0), F.Erf(2.0), F.Gaussian(2.0)}) == 3
    with pytest.raises(AttributeError):
        F.Sigmoid().beta = 3.0  # type: ignore[misc]


def test_nan_stays_visible() -> None:
    assert F.Sigmoid()(torch.tensor([torch.nan])).isnan().all()


def test_slope_may_be_a_tensor() -> None:
    beta = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F.Sigmoid(beta)(POINTS).sum(), beta)
    s = torch.sigmoid(5 * POINTS)
    assert_close(slope, (POINTS * s * (1 - s)).sum())


EDGE = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.7, 1.0, 3.0, torch.tensor([1.0, 4.0] * 12 + [2.0])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_is_no_slope_outside_of_the_support(beta: Any, dtype: torch.dtype) -> None:
    beta = beta.to(dtype) if isinstance(beta, Tensor) else beta
    edges = EDGE.to(dtype) / torch.as_tensor(beta, dtype=dtype) * torch.ones(25)
    near = torch.cat([edges, torch.nextafter(edges, torch.zeros_like(edges)), torch.nextafter(edges, 2 * edges)])
    for u in (torch.linspace(-2.0, 3.0, 600, dtype=dtype).view(24, 25), near.to(dtype)):
        inside = F.Triangular(beta).support(u)
        assert torch.equal(inside & ((beta * u).abs() != 1), derivative(F.Triangular(beta), u) != 0)
        assert bool(inside[(beta * u).abs() == 1].all())


LIF = NAMED["lif"]
Row = tuple[Any, Any, list[float], list[float], list[float]]
HALVES = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.5]
# spike function, reset, membranes before the reset, outputs and membranes after it; every number is exact in binary and
# one of each row meets the threshold of 1, or a multiple of it, exactly
HAND: list[Row] = [
    (F.Sigmoid(), F.by_subtraction, HALVES, [0, 0, 0, 0, 0, 1, 1, 1], [-2.0, -1.0, -0.5, 0.0, 0.5, 0.0, 1.0, 1.5]),
    (F.Graded(), F.by_subtraction, HALVES, [0, 0, 0, 0, 0, 1, 2, 2.5], [-2.0, -1.0, -0.5, 0.0, 0.5, 0.0, 1.0, 1.5]),
    (F.Ternary(), F.by_subtraction, HALVES, [-1, -1, 0, 0, 0, 1, 1, 1], [-1.0, 0.0, -0.5, 0.0, 0.5, 0.0, 1.0, 1.5]),
    (F.MultiSpike(), F.by_subtraction, [-3.5, 0.5, 1.0, 1.75, 3.25], [0, 0, 1, 1, 3], [-3.5, 0.5, 0.0, 0.75, 0.25]),
    (F.Strict(), F.to_zero, [0.5, 1.0, 1.25], [0, 0, 1], [0.5, 1.0, 0.0]),
    (F.Strict(F.Arctan()), F.by_subtraction, [0.5, 1.0, 1.25], [0, 0, 1], [0.5, 1.0, 0.25]),
    (F.Graded(), F.to_zero, [0.5, 1.0, 1.25], [0, 1.0, 1.25], [0.5, 0.0, 0.0]),
    (F.Graded(F.Strict()), F.by_subtraction, [0.5, 1.0, 1.25], [0, 0, 1.25], [0.5, 1.0, 0.25]),
    (F.Ternary(), F.to_zero, [-1.25, -1.0, -0.5, 1.0], [-1, -1, 0, 1], [0.0, 0.0, -0.5, 0.0]),
    (F.Ternary(), F.to_value(0.25), [-1.25, 1.25], [-1, 1], [-0.25, 0.25]),
    (F.MultiSpike(), F.to_zero, [0.5, 1.0, 3.25], [0, 1, 3], [0.5, 0.0, 0.0]),
    (F.MultiSpike(), F.to_value(-0.5), [0.5, 1.0, 3.25], [0, 1, 3], [0.5, -0.5, -0.5]),
    (F.MultiSpike(), F.none, [0.5, 3.25], [0, 3], [0.5, 3.25]),
    (F.Sigmoid(), F.to_value(-0.5), [0.5, 1.0, 1.25], [0, 1, 1], [0.5, -0.5, -0.5]),
]


def check_by_hand(row: Row, side: Any = F, convert: Callable[[Any], Any] = lambda given: given) -> None:
    """Assert that torch, or its twin, has the numbers of a row; its arrays are made of tensors by a function."""
    surrogate, reset, us, outs, vs = row
    fired = side.fire(convert(torch.tensor(us, dtype=torch.float64)), 1.0, convert(surrogate), convert(reset))
    assert fired.out.tolist() == outs
    assert fired.v.tolist() == vs
    assert fired.fired.tolist() == [float(out != 0) for out in outs]
    counts = isinstance(surrogate, F.MultiSpike)
    assert fired.number.tolist() == [abs(out) if counts else float(out != 0) for out in outs]


@pytest.mark.parametrize("row", HAND, ids=range(len(HAND)))
def test_hand_table(row: Row) -> None:
    check_by_hand(row)


@pytest.mark.parametrize("surrogate", [surrogate for surrogate, _ in LEVELS], ids=by_name)
@pytest.mark.parametrize("reset", RESETS[:4], ids=by_name)
def test_lif_against_numpy(surrogate: Any, reset: Any) -> None:
    rule = {F.to_zero: oracles.to_zero, F.by_subtraction: oracles.by_subtraction, F.none: oracles.none}
    levels: Any = {F.Graded: "graded", F.Ternary: "ternary", F.MultiSpike: "multi"}[type(surrogate)]
    for T in (1, 2, 17):
        assert LIF.is_robust(T, surrogate, reset), MARGIN
        xs, params = LIF.draw(T)
        xs = 2.0 * xs
        state, out = F.scan(F.lif_step, LIF.rest(xs), xs, params=params | LIF.options(surrogate, reset))
        arrays = {name: value.numpy() for name, value in params.items()}
        want, last = oracles.leaky(xs.numpy(), **arrays, reset=rule.get(reset, oracles.to_value(-0.25)), levels=levels)
        torch.testing.assert_close(out, torch.tensor(want))
        torch.testing.assert_close(state.v, torch.tensor(last["v"]))


def test_derivative_of_several_spikes() -> None:
    # at the middle between two multiples the nearer of them counts, to even; the slope of Triangular is 1 - |y|
    u = torch.tensor([0.25, 1.0, 1.75, 2.0, 3.25], dtype=torch.float64, requires_grad=True)
    threshold = torch.ones(5, dtype=torch.float64, requires_grad=True)
    n = F.fire(u, threshold, F.MultiSpike(F.Triangular()), F.none).out
    du, dthreshold = torch.autograd.grad(n.sum(), (u, threshold))
    assert du.tolist() == [0.25, 1.0, 0.75, 1.0, 0.75]
    assert dthreshold.tolist() == [-0.25, -1.0, -1.5, -2.0, -2.25]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("reset", "value"), [(F.to_zero, 0.0), (F.to_value(-0.5), -0.5)], ids=["zero", "value"])
def test_infinity_is_discharged(reset: Any, value: float, dtype: torch.dtype) -> None:
    u = torch.tensor([torch.inf, 2.0, -torch.inf], dtype=dtype, requires_grad=True)
    v = F.fire(u, 1.0, F.Sigmoid(), reset).v
    assert v.tolist() == [value, value, -torch.inf]
    (du,) = torch.autograd.grad(v[:2].sum(), u)
    assert du[:2].isfinite().all()
    ran: list[Tensor] = []
    for backend in ("loop", "fused"):
        xs = torch.tensor([[torch.inf], [0.5], [0.25]], dtype=dtype)
        run: Any = backend
        ran.append(F.scan(F.if_step, F.zeros_state(F.IFState, xs[0]), xs, params={"reset": reset}, backend=run)[1])
    assert ran[0].tolist() == ran[1].tolist()
    assert ran[0].flatten().tolist()[0] == 1.0
    assert not ran[0].isnan().any()


@pytest.mark.parametrize("surrogate", [F.Graded(), F.Ternary(), F.MultiSpike()], ids=by_name)
def test_a_step_that_takes_spikes_of_0_and_1_alone(surrogate: Any) -> None:
    with pytest.raises(TypeError, match=r"needs the membrane and the threshold apart.*F\.fire\(u, threshold"):
        F.sigma_delta_step(F.zeros_state(F.SigmaDeltaState, torch.ones(1)), torch.ones(1), surrogate=surrogate)


@pytest.mark.parametrize(
    "looks",
    [
        lambda s: isinstance(s, F.Arctan),
        lambda s: s == F.Arctan(3.0),
        lambda s: not hasattr(s, "fire"),
        lambda s: s.alpha == 3.0,
        lambda s: len(s) == 1 and s[0] == 3.0 and [*s] == [3.0],
        lambda s: hash(s) == hash(F.Arctan(3.0)),
        lambda s: s._replace(alpha=1.0) == F.Arctan(1.0),
    ],
)
@pytest.mark.filterwarnings("ignore:scan. .*on the Python loop")
@pytest.mark.parametrize("backend", ["loop", "auto"])
def test_what_is_recorded_does_not_depend_on_being_recorded(looks: Any, backend: Any) -> None:
    """A step sees the surrogate that it was given."""

    def step(state: Any, x: Tensor, surrogate: Any) -> Any:
        fired = F.fire(state.v + (x if looks(surrogate) else 2 * x), 1.0, surrogate, F.to_zero)
        return F.IFState(fired.v), fired.out

    xs, params = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)), {"surrogate": F.Arctan(3.0)}
    plain = F.scan(F.if_step, F.IFState(torch.zeros(3)), xs, params=params)[1]
    want = F.scan(step, F.IFState(torch.zeros(3)), xs, params=params, backend="loop")[1]
    assert torch.equal(want, plain)
    recording: Any = F.recorded(step, "u")
    out, records = F.scan(recording, F.IFState(torch.zeros(3)), xs, params=params, backend=backend)[1]
    assert torch.equal(out, want)
    assert torch.equal(records["u"] >= 1.0, want == 1.0)


# --- reset rules: values and both gradients, by hand ------------------------------------------------------------------

# rule, v, dv/du, dv/dspike at u = 3, spike = 1, threshold = 2
RESET_TABLE = [
    (F.to_zero, 0.0, 0.0, -3.0),
    (F.by_subtraction, 1.0, 1.0, -2.0),
    (F.none, 3.0, 1.0, 0.0),
    (F.detached(F.to_zero), 0.0, 0.0, 0.0),
    (F.detached(F.by_subtraction), 1.0, 1.0, 0.0),
]


@pytest.mark.parametrize(("rule", "v", "du", "ds"), RESET_TABLE, ids=by_name)
def test_reset_rules(rule: F.Reset, v: float, du: float, ds: float) -> None:
    u, spike = torch.tensor(3.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    got = rule(u, spike, 2.0)
    gradients = torch.autograd.grad(got, (u, spike), materialize_grads=True)
    assert (got.item(), gradients[0].item(), gradients[1].item()) == (v, du, ds)
    # without a spike nothing happens
    assert rule(torch.tensor(0.75), torch.tensor(0.0), 1.0).item() == 0.75


def test_detached_is_hashable_by_value() -> None:
    assert len({F.detached(F.to_zero), F.detached(F.to_zero), F.detached(F.none)}) == 2
