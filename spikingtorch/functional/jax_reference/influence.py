"""Online rules for layers of neurons, from their equations: the influence of weights on a state, as one matrix.

Let S be the state of all layers as a vector, theta all weights as a vector, and L the sum of the losses L[t]:

    P[t]         = (K * dS[t]/dS[t-1]) P[t-1] + R * dS[t]/dtheta         * entry by entry
    dL[t]/dtheta = (dL[t]/dtheta with S[t-1] fixed) + dL[t]/dS[t-1] P[t-1]

Both Jacobians are whole matrices, by forward differentiation. K and R hold ones for what a rule keeps:

    exact      K = R = 1
    diagonal   K is 1 between the states of one neuron; R is 1 between a layer's neurons and the weights that lead to it
    last_step  K = R = 0

The last output of a layer is an entry of S of its own, which "diagonal" does not keep.

Rule "presynaptic" has no such matrix: each input has one trace, with the leak A and the gain B of a neuron at rest.

    a[t]     = A a[t-1] + B x[t]
    dL[t]/dw = (dL[t]/dw with S[t-1] fixed) + (dL[t]/dh[t-1]) a[t-1]

R. J. Williams, D. Zipser, Neural Comput. 1 (1989), doi:10.1162/neco.1989.1.2.270; G. Bellec et al., Nat. Commun. 11
(2020), doi:10.1038/s41467-020-17236-y; M. Xiao et al., arXiv:2210.04195; Q. Meng et al., arXiv:2302.14311.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

Arrays = dict[str, jax.Array]


class Neurons(NamedTuple):
    """A layer of neurons: a step, its state at rest, (neurons,), and parameters that are not trained."""

    step: Callable[..., tuple[Any, jax.Array]]
    rest: Any
    params: Mapping[str, Any]


class LayerState(NamedTuple):
    """The state of a layer's neurons, and their last spikes."""

    neurons: Any
    s: jax.Array


def advance(
    layers: Sequence[Neurons], weights: list[Arrays], states: Sequence[LayerState], x: jax.Array
) -> tuple[tuple[LayerState, ...], jax.Array]:
    """Advance all layers and a linear readout by one step, for one sample.

        z[t] = weight x[t] + bias + recurrent s[t-1]
        h[t], s[t] = step(h[t-1], z[t])               s[t] is the x[t] of the layer above

    Args:
        layers: the layers, from the input on.
        weights: for each layer, "weight", "bias", "recurrent" if it has one, and trained parameters of its step; last
            the "weight" and the "bias" of the readout.
        states: the state of each layer.
        x: input, shape (inputs,).
    """
    after = []
    for layer, own, state in zip(layers, weights, states, strict=False):
        trained = {name: each for name, each in own.items() if name not in ("weight", "bias", "recurrent")}
        z = own["weight"] @ x + own["bias"]
        if "recurrent" in own:
            z = z + own["recurrent"] @ state.s
        neurons, x = layer.step(state.neurons, z, **layer.params, **trained)
        after.append(LayerState(neurons, x))
    return tuple(after), weights[-1]["weight"] @ x + weights[-1]["bias"]


def online_gradient(
    layers: Sequence[Neurons],
    weights: list[Arrays],
    xs: jax.Array,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    ys: jax.Array,
    *,
    rule: str,
) -> Any:
    """Return the gradient of the sum of ``loss(out[t], ys[t])`` over all steps under a rule, for one sample.

    Args:
        layers: the layers, from the input on.
        weights: as ``advance`` takes them.
        xs: inputs, shape (T, inputs).
        loss: a function of the output of a step.
        ys: what the loss compares it with, shape (T, ...).
        rule: "exact", "diagonal", "presynaptic" or "last_step".
    """
    rest = tuple(LayerState(each.rest, jnp.zeros_like(jax.tree.leaves(each.rest)[0])) for each in layers)

    def of_step(theta: Any, states: Any, given: Any) -> tuple[jax.Array, Any]:
        after, out = advance(layers, theta, states, given[0])
        return loss(out, given[1]), after

    past = _Presynaptic(layers, weights) if rule == "presynaptic" else _Masked(layers, weights, rest, rule)

    def body(carry: Any, given: Any) -> tuple[Any, Any]:
        states, trace = carry
        (now, signals), after = jax.grad(of_step, argnums=(0, 1), has_aux=True)(weights, states, given)
        found = jax.tree.map(jnp.add, now, past.gradient(signals, trace))
        return (after, past.advance(trace, weights, states, given[0])), found

    _, found = jax.lax.scan(body, (rest, past.start()), (xs, ys))
    return jax.tree.map(lambda each: each.sum(0), found)


class _Masked:
    """The influence P, with ones and zeros for what a rule keeps of the Jacobians."""

    def __init__(self, layers: Sequence[Neurons], weights: list[Arrays], rest: Any, rule: str) -> None:
        self.layers = layers
        self.of_state, self.state = ravel_pytree(rest)
        self.of_weights, self.theta = ravel_pytree(weights)
        if rule != "diagonal":
            self.K, self.R = (jnp.full((), float(rule == "exact")),) * 2
            return
        # a number for each neuron, -1 for last outputs; the layer of each state and weight
        neuron, layer, at = [], [], 0
        for number, each in enumerate(rest):
            numbers = jnp.arange(at, at + each.s.size).reshape(each.s.shape)
            at += each.s.size
            neuron.append(LayerState(jax.tree.map(lambda _, own=numbers: own, each.neurons), -jnp.ones_like(numbers)))
            layer.append(jax.tree.map(lambda leaf, own=number: jnp.full(leaf.shape, own), each))
        of_weights = [
            jax.tree.map(lambda leaf, own=k: jnp.full(leaf.shape, own), each) for k, each in enumerate(weights)
        ]
        neurons, layers_of, leads_to = (ravel_pytree(each)[0] for each in (neuron, layer, of_weights))
        own = neurons >= 0
        self.K = (neurons[:, None] == neurons) & own[:, None] & own
        self.R = (layers_of[:, None] == leads_to) & own[:, None]

    def start(self) -> jax.Array:
        """Return P[0] = 0."""
        return jnp.zeros((self.of_state.size, self.of_weights.size), self.of_state.dtype)

    def advance(self, P: jax.Array, weights: Any, states: Any, x: jax.Array) -> jax.Array:
        """Return P[t]."""

        def after(flat: jax.Array, theta: jax.Array) -> jax.Array:
            return ravel_pytree(advance(self.layers, self.theta(theta), self.state(flat), x)[0])[0]

        flat, theta = ravel_pytree(states)[0], ravel_pytree(weights)[0]
        J, M = jax.jacfwd(after, argnums=(0, 1))(flat, theta)
        found: jax.Array = (self.K * J) @ P + self.R * M
        return found

    def gradient(self, signals: Any, P: jax.Array) -> Any:
        """Return dL[t]/dS[t-1] P[t-1]."""
        return self.theta(ravel_pytree(signals)[0] @ P)


class _Presynaptic:
    """A trace for each input of each layer: (tensors of the state, inputs)."""

    def __init__(self, layers: Sequence[Neurons], weights: list[Arrays]) -> None:
        self.layers, self.weights = layers, weights
        self.leaks = [self._leak(each, own) for each, own in zip(layers, weights, strict=False)]

    @staticmethod
    def _leak(layer: Neurons, own: Arrays) -> tuple[jax.Array, jax.Array]:
        """Return A and B of one neuron whose state and input are zero."""
        leaves, form = jax.tree.flatten(layer.rest)
        trained = {name: each for name, each in own.items() if name not in ("weight", "bias", "recurrent")}

        def after(state: jax.Array, z: jax.Array) -> jax.Array:
            found = layer.step(jax.tree.unflatten(form, list(state)), z, **layer.params, **trained)[0]
            return jnp.stack(jax.tree.leaves(found))

        A, B = jax.jacfwd(after, argnums=(0, 1))(
            jnp.zeros(len(leaves), leaves[0].dtype), jnp.zeros((), leaves[0].dtype)
        )
        return A, B

    def start(self) -> list[dict[str, jax.Array]]:
        """Return traces of zeros, for the inputs, for the one that a bias stands for, and for recurrent spikes."""
        found = []
        for (_, B), own in zip(self.leaks, self.weights, strict=False):
            sizes = {name: own[name].shape[1] for name in ("weight", "recurrent") if name in own} | {"bias": 1}
            found.append({name: jnp.zeros((len(B), size), B.dtype) for name, size in sizes.items()})
        return found

    def advance(self, traces: Any, weights: Any, states: Any, x: jax.Array) -> list[dict[str, jax.Array]]:
        """Return the traces after a step."""
        after, found = advance(self.layers, weights, states, x)[0], []
        for number, ((A, B), old) in enumerate(zip(self.leaks, traces, strict=True)):
            arriving = {"weight": x if number == 0 else after[number - 1].s, "recurrent": states[number].s}
            arriving["bias"] = jnp.ones(1, B.dtype)
            found.append({name: A @ each + B[:, None] * arriving[name] for name, each in old.items()})
        return found

    def gradient(self, signals: Any, traces: Any) -> Any:
        """Return (dL[t]/dh[t-1]) a[t-1]; parameters of neurons and the readout have no trace."""
        found = [jax.tree.map(jnp.zeros_like, dict(each)) for each in self.weights]
        for signal, trace, own in zip(signals, traces, found, strict=False):
            by_neuron = jnp.stack(jax.tree.leaves(signal.neurons))
            for name, each in trace.items():
                own[name] = (by_neuron.T @ each).reshape(own[name].shape)
        return found
