"""Online gradients of torch beside those of the independent implementation in JAX, in float64."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import jax as SJ
from spikingtorch import learning
from spikingtorch.functional.jax_reference.influence import Neurons, online_gradient
from spikingtorch.interop import to_jax, to_torch
from tests.learning.online_nets import HIDDEN, by_bptt, data, errors, network, online_gradients

pytestmark = pytest.mark.sampled

EXACT = 1e-10
RULES: tuple[Any, ...] = ("exact", "diagonal", "presynaptic", "last_step")


class Case(NamedTuple):
    """A neuron in torch, and its step in JAX with parameters worked out here."""

    layer: Callable[[], nn.Module]
    step: Callable[..., Any]
    state: Any
    params: dict[str, Any]


DECAY = math.exp(-1 / 4.0)
LEAKY = {"decay": DECAY, "gain": 4.0 * (1 - DECAY)}  # tau is 4 steps
ADAPTIVE = LEAKY | {"decay_adaptation": math.exp(-1 / 9.0), "adaptation": 1.8}


def lif(reset: Any, twin: Any, **options: Any) -> Case:
    return Case(lambda: st.LIF(tau=4.0, reset=reset, **options), SJ.lif_step, SJ.LIFState, LEAKY | {"reset": twin})


def by_tau(state: Any, z: Any, *, tau: Any, **params: Any) -> Any:
    """Advance a LIF whose time constant is trained."""
    decay = jnp.exp(-1 / tau)
    return SJ.lif_step(state, z, decay=decay, gain=tau * (1 - decay), **params)


CASES = {
    "LIF, to zero": lif(F.to_zero, SJ.to_zero),
    "LIF, detached to zero": lif(F.detached(F.to_zero), SJ.detached(SJ.to_zero)),
    "LIF, by subtraction": lif(F.by_subtraction, SJ.by_subtraction),
    "LIF, detached subtraction": lif(F.detached(F.by_subtraction), SJ.detached(SJ.by_subtraction)),
    "ALIF": Case(lambda: st.ALIF(tau=4.0, tau_adaptation=9.0), SJ.alif_step, SJ.ALIFState, ADAPTIVE),
    "recurrent LIF": lif(F.to_zero, SJ.to_zero)._replace(
        layer=lambda: st.LIF(tau=4.0, recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False))
    ),
    "LIF, trained tau": Case(lambda: st.LIF(tau=4.0, learnable="tau"), by_tau, SJ.LIFState, {}),
}


def by_twin(model: st.SpikingNet, case: Case, depth: int, x: Tensor, y: Tensor, rule: str) -> dict[str, Tensor]:
    """Return the gradients of the twin, by the names of the network's weights."""
    owner = {f"net.{2 * k}.{name}": (k, name) for k in range(depth + 1) for name in ("weight", "bias")}
    owner |= {f"net.{2 * k + 1}.recurrent.weight": (k, "recurrent") for k in range(depth)}
    owner |= {f"net.{2 * k + 1}.tau": (k, "tau") for k in range(depth)}
    with jax.enable_x64(True):
        rest = case.state(*[jnp.zeros(HIDDEN) for _ in case.state._fields])
        layers = [Neurons(case.step, rest, case.params)] * depth
        weights: list[dict[str, Any]] = [{} for _ in range(depth + 1)]
        for name, each in model.named_parameters():
            k, key = owner[name]
            weights[k][key] = to_jax(each.detach())

        def of_sample(xs: Any, ys: Any) -> Any:
            return online_gradient(layers, weights, xs, lambda out, each: ((out - each) ** 2).sum(), ys, rule=rule)

        found = jax.jit(jax.vmap(of_sample))(to_jax(x), to_jax(y))
        summed = to_torch(jax.tree.map(lambda each: each.sum(0), found))
    return {name: summed[owner[name][0]][owner[name][1]] for name, _ in model.named_parameters()}


@pytest.mark.parametrize("neuron", CASES)
@pytest.mark.parametrize("rule", RULES)
def test_torch_is_the_twin(rule: Any, neuron: str) -> None:
    case, (x, y) = CASES[neuron], data()
    model = network(case.layer, 2)
    learner = learning.online(model, rule, approximate=rule == "presynaptic" and "detached sub" not in neuron)
    found, true = online_gradients(learner, x, y), by_twin(model, case, 2, x, y, rule)
    assert max(errors(found, true).values()) < EXACT  # errors() asserts that no gradient is zero


@pytest.mark.parametrize("neuron", ["LIF, to zero", "recurrent LIF"])
def test_the_exact_twin_is_bptt_and_the_others_are_not(neuron: str) -> None:
    case, (x, y) = CASES[neuron], data()
    model = network(case.layer, 2)
    true = by_bptt(model, x, y)
    found = {rule: errors(by_twin(model, case, 2, x, y, rule), true)["net.0.weight"] for rule in RULES}
    assert found.pop("exact") < EXACT
    assert min(found.values()) > 0.05
