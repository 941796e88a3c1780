"""The public helpers find what is wrong, and say where."""

import contextlib
import re
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.jax.rules import RULES
from spikingtorch.testing import assert_close, check_smooth, check_twin, relative_error
from spikingtorch.verification.cases import CASES, WRAPPED, Case, by_name
from tests.drawn import uniform

# a state that serves both sides
State = namedtuple("State", ["v", "a"])


def adaptive(state: State, x: Tensor, *, decay: Tensor, rise: float, surrogate: F.Surrogate = F.Arctan()) -> Any:  # noqa: B008
    u = decay * state.v + x
    spike = surrogate(u - 1.0 - state.a)
    return State(v=(1 - spike) * u, a=decay * state.a + rise * spike), {"spike": spike, "u": u}


def twin(state: State, x: Any, *, decay: Any, rise: float, beta: float = 2.0) -> Any:
    u = decay * state.v + x
    spike = J.Arctan(beta)(u - 1.0 - state.a)
    return State(v=(1 - spike) * u, a=decay * state.a + rise * spike), {"spike": spike, "u": u}


def inputs(dtype: torch.dtype = torch.float64) -> tuple[State, Tensor, dict[str, Any]]:
    xs = uniform(17, 5, seed=3, dtype=torch.float64).to(dtype)
    return F.zeros_state(State, xs[0]), xs, {"decay": torch.full((5,), 0.9, dtype=dtype), "rise": 0.3}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_own_step_against_own_twin(dtype: torch.dtype) -> None:
    state, xs, params = inputs(dtype)
    errors = check_twin(adaptive, twin, state, xs, params=params)
    assert set(errors) == {
        *("state.v", "state.a", "output.spike", "output.u"),
        *("d xs", "d state.v", "d state.a", "d params.decay"),
    }


def wrong_value(state: State, x: Any, **params: Any) -> Any:
    state, out = twin(state, x, **params)
    return state._replace(a=state.a * (1 + 1e-9)), out


def wrong_gradient(state: State, x: Any, **params: Any) -> Any:
    return twin(state, x, **params, beta=2.001)


def nan_gradient(state: State, x: Any, **params: Any) -> Any:
    state, out = twin(state, x, **params)
    return state, out | {"u": out["u"] + 0 * jnp.sqrt(0 * x)}


def infinite_gradient(state: State, x: Any, **params: Any) -> Any:
    state, out = twin(state, x, **params)
    # whose derivative at zero is infinite, or NaN
    return state, out | {"u": out["u"] + jnp.sqrt(jnp.abs(x - jax.lax.stop_gradient(x) + 0.0))}


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("wrong", "named"),
    [(wrong_value, "state.a"), (wrong_gradient, "d xs"), (nan_gradient, "d xs"), (infinite_gradient, "d xs")],
    ids=by_name,
)
def test_a_wrong_twin_is_found(wrong: Any, named: str) -> None:
    state, xs, params = inputs()
    with pytest.raises(AssertionError, match=f"adaptive and its twin differ in .*{re.escape(named)}"):
        check_twin(adaptive, wrong, state, xs, params=params)


@pytest.mark.long
def test_a_wrong_compiled_loop_of_the_twin_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right twin, and a rule of JAX that makes another operation of it: "loop" does not see it, "fused" does."""
    state, xs, params = inputs()
    check_twin(adaptive, twin, state, xs, params=params, backend="fused")
    monkeypatch.setitem(RULES, "sub", RULES["add"])
    check_twin(adaptive, twin, state, xs, params=params)
    with pytest.raises(AssertionError, match=r"jax\.lax\.scan and the compiled loop of the twin of adaptive differ in"):
        check_twin(adaptive, twin, state, xs, params=params, backend="fused")


def mean_lif(state: F.StochasticLIFState, x: Any, *, decay: Tensor, gain: Tensor, threshold: Tensor) -> Any:
    """The neuron that fires by chance, with the probability of a spike in its place."""
    u = decay * state.v + gain * x[0]
    p = F.Sigmoid().primitive(u - threshold)
    return F.StochasticLIFState(v=F.to_zero(u, p, threshold)), p


# a decay that carries no gradient; decays, counts of spikes and grids of a chip, which gradients pass unchanged
STRAIGHT_THROUGH = {"biolif", "xylo_lif", "loihi_lif", "speck_iaf"}


@pytest.mark.sampled
@pytest.mark.parametrize("case", [*CASES, *WRAPPED], ids=by_name)
def test_smooth_version_of_every_neuron(case: Case) -> None:
    xs, params = case.draw(3)
    step: Any = case.step
    state = case.initial(xs)
    if case.name == "stochastic_lif":  # takes the primitive itself
        check_smooth(step, state, xs, params=params, smooth=mean_lif)
        return
    if case.name == "masked_lif":
        step, xs = F.Masked(F.lif_step), (xs[0], xs[1] > 0.3)
    if case.name == "refractory_lif":  # away from zero, where a neuron wakes up
        state = state._replace(left=state.left - 0.5)
    for reset in (rule for rule in case.rules() if not isinstance(rule, F.Detached)):
        keywords = params | case.options(F.Sigmoid(), reset)
        if case.lsb is not None:  # on a grid so fine that finite differences do not see it
            keywords |= {"grid": F.rounding.FixedPoint(fraction_bits=40, membrane_bits=50)}
        if case.name not in STRAIGHT_THROUGH:
            # an integrator without spikes is smooth as it is
            smooth = None if case.spikes else step
            check_smooth(step, state, xs, params=keywords, smooth=smooth)
            continue
        # finite differences see that its gradient is another one on purpose; the twin agrees with it
        with pytest.raises(AssertionError, match=f"{case.name}_step: its gradient is not that of its smooth version"):
            check_smooth(step, state, xs, params=keywords)


def resetting(rule: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    def step(state: F.LIFState, x: Tensor, *, surrogate: F.Surrogate = F.Sigmoid()) -> Any:
        u = 0.9 * state.v + x
        spike = surrogate(u - 1.0)
        return F.LIFState(rule(u, spike)), spike

    return step


def written(u: Tensor, spike: Tensor) -> Tensor:
    v = u.clone()
    v[spike > 0] = 0.0
    return v


ON_THE_SPIKE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "where": lambda u, s: torch.where(s > 0, 0.0, u),
    "where, one half": lambda u, s: torch.where(s > 0.5, 0.0, u),
    "where, one": lambda u, s: torch.where(s == 1, 0.0, u),
    "where, a side that follows": lambda u, s: torch.where(s > 0, (1 - s) * u, u),
    "masked_fill": lambda u, s: u.masked_fill(s > 0, 0.0),
    "masked_fill, bool": lambda u, s: u.masked_fill(s.bool(), 0.0),
    "product": lambda u, s: u * (1 - (s > 0).to(u.dtype)),
    "int": lambda u, s: u - s.int() * 1.0,
    "round": lambda u, s: u * (1 - s.round()),
    "sign": lambda u, s: u * (1 - torch.sign(s)),
    "relu": lambda u, s: u - torch.relu(s),
    "if": lambda u, s: u * 0.5 if (s > 0).any() else u,
    "written": written,
}
DETACHED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "detach": lambda u, s: u * (1 - s.detach()),
    "data": lambda u, s: u - s.data,
    "item": lambda u, s: u * (1 - s.detach().sum().item() / 3),
    "rule": lambda u, s: F.detached(F.to_zero)(u, s, 1.0),
}
WHOLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda u, s: u * (1 - s),
    "power": lambda u, s: u - 0.7 * s**3 + torch.exp(s),
    "clamp": lambda u, s: (u * (1 - s)).clamp(-5.0, 0.8),
    "a branch that agrees": lambda u, s: torch.where(u > 0.5, 2 * u - 0.5, u) * (1 - s),
}
SPIKE = r"state\.v does not follow the spike: the step branches on the spike"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        *((rule, SPIKE) for rule in ON_THE_SPIKE.values()),
        *((rule, "its gradient is not that of its smooth version") for rule in DETACHED.values()),
        (lambda u, s: torch.where(u >= 1.0, 0.0, u), r"state\.v of its smooth version jumps between two steps"),
        *((rule, "") for rule in WHOLE.values()),
    ],
    ids=[*ON_THE_SPIKE, *DETACHED, "on the membrane", *(f"whole, {name}" for name in WHOLE)],
)
def test_a_gradient_that_is_cut_is_found(rule: Callable[[Tensor, Tensor], Tensor], message: str) -> None:
    xs = 1.5 * torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = F.LIFState(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(AssertionError, match=message) if message else contextlib.nullcontext():
        check_smooth(resetting(rule), state, xs)


def test_a_branch_on_a_spike_in_the_state_is_found() -> None:
    def step(state: State, x: Tensor, *, surrogate: F.Surrogate = F.Sigmoid()) -> Any:
        u = torch.where(state.a > 0.5, 0.0, 0.9 * state.v) + x
        spike = surrogate(u - 1.0)
        return State(u, spike), spike

    _, xs, _ = inputs()
    with pytest.raises(AssertionError, match=r"state\.[va] of its smooth version jumps"):
        check_smooth(step, F.zeros_state(State, xs[0]), 1.5 * xs[:6])


Slopes = namedtuple("Slopes", ["decay", "gain"])


@pytest.mark.long
def test_tensors_deep_inside_params_are_compared() -> None:
    def step(state: F.LIFState, x: Tensor, *, slopes: Slopes, surrogate: F.Surrogate) -> Any:
        return F.lif_step(state, x, decay=slopes.decay, gain=slopes.gain, surrogate=surrogate)

    def deep(state: Any, x: Any, *, slopes: Slopes, surrogate: Any) -> Any:
        return J.lif_step(state, x, decay=slopes.decay, gain=slopes.gain, surrogate=surrogate)

    def broken(state: Any, x: Any, *, slopes: Slopes, surrogate: Any) -> Any:
        return deep(state, x, slopes=slopes._replace(decay=jax.lax.stop_gradient(slopes.decay)), surrogate=surrogate)

    def detaching(state: F.LIFState, x: Tensor, *, slopes: Slopes, surrogate: F.Surrogate) -> Any:
        return step(state, x, slopes=slopes._replace(decay=slopes.decay.detach()), surrogate=surrogate)

    _, xs, _ = inputs()
    rest = F.zeros_state(F.LIFState, xs[0])
    slopes = Slopes(torch.full((5,), 0.9, dtype=torch.float64), torch.full((5,), 1.1, dtype=torch.float64))
    params = {"slopes": slopes, "surrogate": F.Sigmoid(torch.tensor(5.0, dtype=torch.float64))}
    errors = check_twin(step, deep, rest, xs, params=params)
    assert {"d params.slopes.decay", "d params.slopes.gain", "d params.surrogate.beta"} <= errors.keys()
    check_smooth(step, rest, xs[:4], params=params)
    with pytest.raises(AssertionError, match=r"d params\.slopes\.decay"):
        check_twin(step, broken, rest, xs, params=params)
    with pytest.raises(AssertionError, match="detaching: its gradient"):
        check_smooth(detaching, rest, xs[:4], params=params)


Refractory = namedtuple("Refractory", ["v", "rest"])


@pytest.mark.sampled
@pytest.mark.parametrize("count", [torch.int32, torch.int64])
def test_a_counter_in_the_state_is_compared_exactly(count: torch.dtype) -> None:
    def step(state: Refractory, x: Tensor, *, surrogate: F.Surrogate = F.Arctan()) -> Any:  # noqa: B008
        u = state.v + x * (state.rest == 0)
        spike = surrogate(u - 1.0)
        left = torch.where(spike > 0, 2, (state.rest - 1).clamp(min=0)).to(count)
        return Refractory((1 - spike) * u, left), (spike, spike > 0)

    def counting(state: Refractory, x: Any, *, pause: int = 2) -> Any:
        u = state.v + x * (state.rest == 0)
        spike = J.Arctan()(u - 1.0)
        left = jnp.where(spike > 0, pause, jnp.maximum(state.rest - 1, 0)).astype(state.rest.dtype)
        return Refractory((1 - spike) * u, left), (spike, spike > 0)

    _, xs, _ = inputs()
    rest = Refractory(torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=count))
    errors = check_twin(step, counting, rest, xs)
    assert {"state.rest", "output[0]", "output[1]"} <= errors.keys()
    check_smooth(step, rest, xs[:4])
    with pytest.raises(AssertionError, match=r"state\.rest"):
        check_twin(step, lambda state, x: counting(state, x, pause=3), rest, xs[:1] + 1.0)


def test_calls_that_make_no_sense() -> None:
    state, xs, params = inputs()
    with pytest.raises(ValueError, match=r"twin_params replaces \['params\.decay'\]"):
        check_twin(adaptive, twin, state, xs, params=params, twin_params={"decay": 0.1})
    with pytest.raises(AssertionError, match=r"the step returns .*output\.spike.*, its twin .*'output'"):
        check_twin(adaptive, lambda s, x, **p: (s, twin(s, x, **p)[1]["u"]), state, xs, params=params)
    state, xs, params = inputs(torch.bfloat16)
    with pytest.raises(TypeError, match="gradients are compared in float64 or float32"):
        check_twin(adaptive, twin, state, xs, params=params)
    with pytest.raises(TypeError, match=r"finite differences need float64, and these are not: .*xs"):
        check_smooth(F.if_step, F.zeros_state(F.IFState, xs[0].float()), xs.float())
    with pytest.raises(TypeError, match="bfloat16 has no tolerance"):
        assert_close(xs, xs)


class Backward(NamedTuple):
    """A surrogate whose gradient is not that of its primitive."""

    beta: float = 5.0

    def primitive(self, u: Tensor) -> Tensor:
        return torch.sigmoid(self.beta * u)

    def __call__(self, u: Tensor) -> Tensor:
        phi = self.primitive(u)
        return F.heaviside(u) - (phi - phi.detach())


class Late(NamedTuple):
    """A surrogate that does not fire at the threshold."""

    def primitive(self, u: Tensor) -> Tensor:
        return torch.sigmoid(u)

    def __call__(self, u: Tensor) -> Tensor:
        return F.Sigmoid(1.0)(u - 0.5)


def test_smooth_looks_at_the_surrogate_too() -> None:
    xs = inputs()[1][:3]
    for surrogate, message in {
        Backward(): r"the derivative of Backward\(beta=5\.0\), which is to be that of its primitive",
        Late(): r"Late\(\) is not 0 below the threshold and 1 from it on",
    }.items():
        with pytest.raises(AssertionError, match=message):
            check_smooth(F.if_step, F.zeros_state(F.IFState, xs[0]), xs, params={"surrogate": surrogate})


def test_smooth_needs_a_surrogate() -> None:
    def hard(state: F.LIFState, x: Tensor) -> Any:
        return state, F.heaviside(x)

    xs = torch.rand(3, 2, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"hard takes no surrogate with a primitive\. Name it in params"):
        check_smooth(hard, F.LIFState(xs[0]), xs)
    check_smooth(hard, F.LIFState(xs[0]), xs, smooth=lambda state, x: (state, x.tanh()))


ONE = torch.ones(2, dtype=torch.float64)
ERRORS = [
    (ONE, ONE, 0.0),
    (1.5 * ONE, ONE, 0.5),
    (ONE, 0 * ONE, torch.inf),
    (torch.nan * ONE, ONE, torch.inf),
    (ONE, torch.nan * ONE, torch.inf),
    (ONE, torch.inf * ONE, torch.inf),
    (torch.inf * ONE, ONE, torch.inf),
    (torch.inf * ONE, torch.inf * ONE, 0.0),
    (ONE.int(), ONE.int(), 0.0),
    (ONE.int(), 2 * ONE.int(), torch.inf),
    (ONE.float(), ONE, torch.inf),
    (ONE[:1], ONE, torch.inf),
    (ONE[:0], ONE[:0], 0.0),
]


@pytest.mark.parametrize(("got", "want", "error"), ERRORS)
def test_relative_error(got: Tensor, want: Tensor, error: float) -> None:
    assert relative_error(got, want) == error


def test_assert_close() -> None:
    assert_close((ONE, ONE), (ONE, ONE))
    assert_close({"a": [1.0, ONE.int(), ONE > 0]}, {"a": [1.0, ONE.int(), ONE > 0]})
    for wrong in (ONE + 1e-9, ONE.float(), ONE[:1], torch.nan * ONE):
        with pytest.raises(AssertionError, match=r"spikes"):
            assert_close(wrong, ONE, "spikes")
    with pytest.raises(AssertionError, match="trees differ"):
        assert_close((ONE,), [ONE])
    with pytest.raises(AssertionError, match="nothing to compare"):
        assert_close((), ())
