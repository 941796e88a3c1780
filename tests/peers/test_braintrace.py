"""Online gradients beside those of BrainTrace, whose rule D-RTRL is our rule "diagonal"."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import jax as SJ
from spikingtorch import learning
from spikingtorch.interop import to_jax, to_torch
from tests.learning.online_nets import by_bptt, data, errors, gradients, network, online_gradients

braintrace = pytest.importorskip("braintrace")
import brainstate  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

EXACT = 1e-10
DECAY = math.exp(-1 / 4.0)
GAIN = 4.0 * (1 - DECAY)
SPIKE = SJ.Sigmoid(beta=5.0)
RESETS: dict[str, tuple[Any, Any]] = {
    "to zero": (F.to_zero, SJ.to_zero),
    "detached": (F.detached(F.by_subtraction), SJ.detached(SJ.by_subtraction)),
}


class Neurons(brainstate.nn.Module):
    """A LIF whose state is the membrane before its reset, as one line of equations."""

    def __init__(self, size: int, reset: Callable[..., Any]) -> None:
        super().__init__()
        self.size, self.reset = size, reset

    def init_state(self, *_: Any, **__: Any) -> None:
        self.u = brainstate.HiddenState(jnp.zeros(self.size))

    def update(self, z: Any) -> Any:
        u = self.u.value
        self.u.value = DECAY * self.reset(u, SPIKE(u - 1.0), 1.0) + GAIN * z
        return SPIKE(self.u.value - 1.0)


class Network(brainstate.nn.Module):
    """Layers of neurons, and a linear readout."""

    def __init__(self, weights: list[tuple[Any, Any]], reset: Callable[..., Any]) -> None:
        super().__init__()
        self.linear = []
        self.neurons = [Neurons(len(bias), reset) for _, bias in weights[:-1]]
        for weight, bias in weights:
            linear = braintrace.nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight.value = {"weight": weight.T, "bias": bias}
            self.linear.append(linear)

    def update(self, x: Any) -> Any:
        for linear, neurons in zip(self.linear[:-1], self.neurons, strict=True):
            x = neurons(linear(x))
        return self.linear[-1](x)


def of_braintrace(
    model: st.SpikingNet, reset: Any, x: Tensor, loss: Any, rule: Any, **options: Any
) -> dict[str, Tensor]:
    """Return the gradients that BrainTrace sums over all steps and samples; loss is a function of output and step."""
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)]
    total: Any = None
    with jax.enable_x64(True):
        weights = [(to_jax(each.weight.detach()), to_jax(each.bias.detach())) for each in layers]
        for number, xs in enumerate(to_jax(x)):
            learner = braintrace.compile(Network(weights, reset), rule, xs[0], **options)

            def of_step(each: Any, t: Any, learner: Any = learner, number: int = number) -> Any:
                return loss(learner(each), number, t)

            found = learner.etrace_grad(xs, jnp.arange(len(xs)), step_fn=of_step, reduction="sum")
            total = found if total is None else jax.tree.map(jnp.add, total, found)
        named = {}
        for (_, number, _), each in total.items():
            named[f"net.{2 * number}.weight"] = to_torch(each["weight"].T)
            named[f"net.{2 * number}.bias"] = to_torch(each["bias"])
    return named


@pytest.mark.parametrize("reset", RESETS)
def test_diagonal_is_d_rtrl_in_all_layers_but_the_readout_to_which_braintrace_gives_none(reset: str) -> None:
    ours, theirs = RESETS[reset]
    model, (x, y) = network(lambda: st.LIF(tau=4.0, reset=ours), 2), data()
    found = online_gradients(learning.online(model, "diagonal"), x, y)
    with jax.enable_x64(True):
        targets = to_jax(y)
    other = of_braintrace(model, theirs, x, lambda out, n, t: ((out - targets[n, t]) ** 2).sum(), braintrace.D_RTRL)
    readout = {name: (found.pop(name), other.pop(name)) for name in ("net.4.weight", "net.4.bias")}
    assert max(errors(other, found).values()) < EXACT
    assert errors(found, {name: by_bptt(model, x, y)[name] for name in found})["net.0.weight"] > 0.05
    assert all(our.norm() > 1.0 and not their.any() for our, their in readout.values())


def test_presynaptic_is_es_d_rtrl_up_to_a_factor() -> None:
    """ES-D-RTRL smooths the gain of a neuron on its own: after some steps, its trace is ours divided by 1 + decay.

    A bias has one more factor, 1 - decay: its input, a one at each step, is not summed.
    """
    (ours, theirs), T = RESETS["detached"], 120
    model, (x, y) = network(lambda: st.LIF(tau=4.0, reset=ours)), data(steps=T)
    learner = learning.online(model, "presynaptic")
    out = [learner.step(x[:, t]) for t in range(T)][-1]
    learner.backward((out - y[:, -1]).square().sum())
    found = gradients(model)
    scaled = {"net.0.weight": found["net.0.weight"], "net.0.bias": (1 - DECAY) * found["net.0.bias"]}
    with jax.enable_x64(True):
        targets = to_jax(y[:, -1])

    def last(out: Any, n: int, t: Any) -> Any:
        return jnp.where(t == T - 1, ((out - targets[n]) ** 2).sum(), 0.0)

    other = of_braintrace(model, theirs, x, last, braintrace.ES_D_RTRL, decay_or_rank=DECAY)
    assert max(errors({name: (1 + DECAY) * other[name] for name in scaled}, scaled).values()) < EXACT
