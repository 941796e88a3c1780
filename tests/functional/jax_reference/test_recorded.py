"""Steps with records, and steps around a step, against their twins: values and gradients, in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax
from spikingtorch.testing import TOLERANCE, check_twin
from spikingtorch.verification.cases import CASES, SURROGATES, Case, by_name
from spikingtorch.verification.trial import Trial, errors_by_backend

pytestmark = pytest.mark.sampled

T, N = 17, 5
ALLOWED = TOLERANCE[torch.float64]


def with_records(step: Any, twin: Any, *names: str) -> tuple[Any, Any]:
    return F.recorded(step, *names), J.recorded(twin, *names)


def recorded_trial(case: Case) -> tuple[Trial, list[str]]:
    """Return the comparison of a neuron with all records that it has, and their names."""
    surrogate = SURROGATES[2]
    plain = case.trial(T, surrogate, to_jax(surrogate), case.rules()[0])
    names = [name for name in plain.state._fields if isinstance(getattr(plain.state, name), Tensor)]
    names += ["u", "threshold"] if case.spikes else []
    step, twin = with_records(case.step, case.twin, *names)
    return plain._replace(step=step, twin=twin), names


@pytest.mark.sampled
@pytest.mark.parametrize("case", [case for case in CASES if case.name != "delay"], ids=by_name)  # it has a tuple alone
def test_every_step_with_records(case: Case) -> None:
    trial, names = recorded_trial(case)
    for (errors,) in errors_by_backend([trial], ("loop", "jax")).values():
        assert {"output[0]", *(f"output[1].{name}" for name in names)} <= errors.keys()
        assert {what: error for what, error in errors.items() if not error <= ALLOWED} == {}


def sequence() -> Tensor:
    return torch.rand(T, N, dtype=torch.double, generator=torch.Generator().manual_seed(0)) * 1.5


LIF: dict[str, Any] = {"decay": torch.linspace(0.5, 0.9, N, dtype=torch.double), "threshold": 0.7}
REST = F.LIFState(v=torch.full((N,), 0.1, dtype=torch.double))
LEFT = torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0], dtype=torch.double)
WEIGHT = {"recurrent_weight": torch.linspace(-0.3, 0.3, N * N, dtype=torch.double).reshape(N, N)}
NAMES = ("v", "u", "threshold")
RESTING: tuple[Any, Any] = (F.Refractory(F.lif_step, 2.0), J.Refractory(J.lif_step, 2.0))
AROUND: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "resting": (*RESTING, F.RefractoryState(REST, LEFT), LIF),
    "resting, one period each": (
        *(F.Refractory(F.lif_step), J.Refractory(J.lif_step), F.RefractoryState(REST, LEFT)),
        LIF | {"refractory": torch.tensor([1.0, 2.0, 3.0, 1.0, 0.0], dtype=torch.double)},
    ),
    "rising": (
        *(F.RelativeRefractory(F.lif_step), J.RelativeRefractory(J.lif_step)),
        *(F.RelativeRefractoryState(REST, 0.1 * LEFT), LIF),
    ),
    "recurrent": (F.Recurrent(F.lif_step), J.Recurrent(J.lif_step), F.RecurrentState(REST, LEFT), LIF | WEIGHT),
    "recurrent, resting": (
        *(F.Recurrent(RESTING[0]), J.Recurrent(RESTING[1])),
        *(F.RecurrentState(F.RefractoryState(REST, LEFT), LEFT), LIF | WEIGHT),
    ),
    "its own surrogate": (F.lif_step, J.lif_step, REST, LIF | {"surrogate": F.Ternary(F.Arctan())}),
}


@pytest.mark.parametrize("around", AROUND)
def test_records_of_a_step_around_a_step(around: str) -> None:
    step, twin, state, params = AROUND[around]
    errors = check_twin(*with_records(step, twin, *NAMES), state, sequence(), params=params)
    assert {"output[0]", "output[1].u", "output[1].v", "output[1].threshold"} <= errors.keys()
    returning: tuple[Any, Any] = (F.Returning(step, NAMES), J.Returning(twin, NAMES))
    check_twin(*returning, state, sequence(), params=params)


@pytest.mark.parametrize("around", AROUND)
def test_states_at_rest(around: str) -> None:
    step, twin, state, _ = AROUND[around]
    if not hasattr(step, "at_rest"):
        assert not hasattr(twin, "at_rest")
        return
    for ours, theirs in ((step, twin), (F.recorded(step, "v"), J.recorded(twin, "v"))):
        want = ours.at_rest(state.neuron, torch.ones(N, dtype=torch.bfloat16))
        like = jnp.ones(N, jnp.bfloat16)
        with jax.enable_x64(True):
            got = theirs.at_rest(to_jax(state.neuron), like)
            assert str(got) == str(to_jax(want))


def test_records_by_hand() -> None:
    resting: Any = J.Refractory(J.if_step, 1.0)
    step: Any = J.recorded(resting, "u", "v", "left", "threshold")
    rest = J.RefractoryState(J.IFState(v=jnp.zeros(1)), left=jnp.zeros(1))
    spikes, records = J.scan(step, rest, jnp.full((4, 1), 0.75))[1]
    assert spikes.ravel().tolist() == [0.0, 1.0, 0.0, 0.0]
    assert records["u"].ravel().tolist() == [0.75, 1.5, 0.0, 0.75]
    assert records["v"].ravel().tolist() == [0.75, 0.0, 0.0, 0.75]
    assert records["left"].ravel().tolist() == [0.0, 1.0, 0.0, 0.0]
    assert records["threshold"].ravel().tolist() == [1.0] * 4


def hides(state: J.LIFState, x: jax.Array) -> Any:
    s = (0.5 * state.v + x >= 1.0).astype(x.dtype)
    return J.LIFState(x * (1 - s)), s


def run(step: Any, state: Any, **params: Any) -> Any:
    return J.scan(step, state, jnp.ones((3, 5)), params=params)[1]


def test_errors_are_those_of_torch() -> None:
    rest = J.LIFState(jnp.zeros(5))
    with pytest.raises(ValueError, match=r"recorded: hides has no state 'u'; it has v\. .*fires through fire\("):
        run(J.recorded(hides, "u"), rest)
    with pytest.raises(ValueError, match=r"recorded: lif_step has no state 'w'; it has v\n"):
        run(J.Returning(J.lif_step, ("w",)), rest, decay=0.5)
    with pytest.raises(ValueError, match="it has none that are arrays in a NamedTuple"):
        run(J.recorded(lambda state, x: (state, x), "v"), jnp.zeros(5))
    with pytest.raises(TypeError, match=r"recorded: names=\(\); expected names of records"):
        J.recorded(hides)
    resting: Any = J.Refractory(J.mcpitts_step, 2)
    state = resting.at_rest(J.McPittsState(), jnp.zeros(5))
    assert (run(J.recorded(resting, "threshold"), state, threshold=1.0)[1]["threshold"] == 1.0).all()
    with pytest.raises(ValueError, match=r"has no state 'u'.*its state needs a v"):
        run(J.recorded(resting, "u"), state, threshold=1.0)


def test_what_is_not_known_can_be_left_out() -> None:
    step = J.Recorded(J.lif_step, ("v", "w"), strict=False)
    assert {*run(step, J.LIFState(jnp.zeros(5)), decay=0.5)[1]} == {"v"}


@pytest.mark.parametrize("kind", [J.Graded, J.Ternary, J.MultiSpike], ids=by_name)
def test_levels_need_the_threshold(kind: Any) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__} needs the membrane and the threshold apart"):
        kind()(jnp.ones(3))


def test_a_spike_function_of_ones_own() -> None:
    """As in torch, its method ``fire`` replaces the rule."""

    class Twice:
        def fire(self, u: jax.Array, threshold: Any, reset: J.Reset) -> J.Fired:
            s = 2 * J.heaviside(u - threshold)
            return J.Fired(reset(u, s / 2, threshold), s, s, s / 2)

    own: Any = Twice()
    assert J.fire(jnp.array([0.5, 1.0]), 1.0, own, J.to_zero).out.tolist() == [0.0, 2.0]
