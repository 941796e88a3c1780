"""Plasticity: the change of a weight (O, I) from the spikes (*N, I) and (*N, O) on both of its sides."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.jax_reference.spike import Parameter

__all__ = ["EligibilityTraces", "HardBounds", "PairTraces", "RewardModulated", "SoftBounds", "TripletTraces"]
__all__ += ["adapt_threshold", "all_to_all", "nearest", "normalize_weight", "pair_stdp", "scale_weight"]
__all__ += ["triplet_stdp", "unbounded"]

Pairing = Callable[[jax.Array, jax.Array], jax.Array]
Bounds = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def all_to_all(trace: jax.Array, spike: jax.Array) -> jax.Array:
    """Return a trace to which a spike is added."""
    return trace + spike


def nearest(trace: jax.Array, spike: jax.Array) -> jax.Array:
    """Return a trace that a spike replaces."""
    return jnp.where(spike == 0, trace, spike)


def unbounded(weight: jax.Array, rise: jax.Array, fall: jax.Array) -> jax.Array:  # noqa: ARG001 - as other bounds
    """Return the change of a weight without bounds."""
    return rise - fall


class HardBounds(NamedTuple):
    """Bounds at which a weight is clipped, after its fall and after its rise."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, weight: jax.Array, rise: jax.Array, fall: jax.Array) -> jax.Array:
        """Return the change of a weight."""
        fallen = jnp.minimum(jnp.maximum(weight - fall, self.low), self.high)
        return jnp.minimum(jnp.maximum(fallen + rise, self.low), self.high) - weight


class SoftBounds(NamedTuple):
    """Bounds that scale the steps of a weight by (w - low)^power for a fall, and by (high - w)^power for a rise."""

    low: float = 0.0
    high: float = 1.0
    power: float = 1.0

    def __call__(self, weight: jax.Array, rise: jax.Array, fall: jax.Array) -> jax.Array:
        """Return the change of a weight."""
        fallen = jnp.clip(weight - fall * jnp.maximum(weight - self.low, 0.0) ** self.power, self.low, self.high)
        return jnp.clip(fallen + rise * (self.high - fallen) ** self.power, self.low, self.high) - weight


class PairTraces(NamedTuple):
    """Traces of the presynaptic spikes, (*N, I), and of the postsynaptic ones, (*N, O)."""

    pre: jax.Array
    post: jax.Array


def pair_stdp(
    traces: PairTraces,
    pre: jax.Array,
    post: jax.Array,
    weight: jax.Array,
    *,
    decay_pre: Parameter,
    decay_post: Parameter,
    rate_plus: Parameter,
    rate_minus: Parameter,
    pairing: Pairing = all_to_all,
    bounds: Bounds = unbounded,
) -> tuple[PairTraces, jax.Array]:
    """Compute the change of a weight from pairs of spikes; a presynaptic spike comes first.

    fall = rate_minus pre[t] decay_post y[t-1]
    rise = rate_plus post[t] x[t]
    """
    decayed = decay_post * traces.post
    x = pairing(decay_pre * traces.pre, pre)
    fall = jnp.einsum("...o,...i->oi", rate_minus * decayed, pre)
    rise = jnp.einsum("...o,...i->oi", rate_plus * post, x)
    return PairTraces(x, pairing(decayed, post)), bounds(weight, rise, fall)


class TripletTraces(NamedTuple):
    """Fast and slow traces of the presynaptic spikes, (*N, I), and of the postsynaptic ones, (*N, O)."""

    pre: jax.Array
    pre_slow: jax.Array
    post: jax.Array
    post_slow: jax.Array


def triplet_stdp(
    traces: TripletTraces,
    pre: jax.Array,
    post: jax.Array,
    weight: jax.Array,
    *,
    decay_pre: Parameter,
    decay_pre_slow: Parameter,
    decay_post: Parameter,
    decay_post_slow: Parameter,
    rate_plus: Parameter,
    rate_minus: Parameter,
    triplet_plus: Parameter,
    triplet_minus: Parameter,
    pairing: Pairing = all_to_all,
    bounds: Bounds = unbounded,
) -> tuple[TripletTraces, jax.Array]:
    """Compute the change of a weight from pairs and triplets of spikes; a presynaptic spike comes first.

    fall = pre[t] y1' (rate_minus + triplet_minus x2')
    rise = post[t] x1[t] (rate_plus + triplet_plus y2')
    """
    x1, x2 = decay_pre * traces.pre, decay_pre_slow * traces.pre_slow
    y1, y2 = decay_post * traces.post, decay_post_slow * traces.post_slow
    after = TripletTraces(pairing(x1, pre), pairing(x2, pre), pairing(y1, post), pairing(y2, post))
    fall = jnp.einsum("...o,...i->oi", y1, (rate_minus + triplet_minus * x2) * pre)
    rise = jnp.einsum("...o,...i->oi", (rate_plus + triplet_plus * y2) * post, after.pre)
    return after, bounds(weight, rise, fall)


class EligibilityTraces(NamedTuple):
    """The traces of a rule, and the eligibility of each weight, (O, I)."""

    rule: Any
    eligibility: jax.Array


class RewardModulated(NamedTuple):
    """A rule whose change waits in a decaying trace for a reward.

    e[t] = decay_eligibility e[t-1] + rule[t]
    change = reward[t] e[t], within bounds
    """

    rule: Callable[..., tuple[Any, jax.Array]]

    def __call__(
        self,
        traces: EligibilityTraces,
        pre: jax.Array,
        post: jax.Array,
        weight: jax.Array,
        *,
        reward: Parameter,
        decay_eligibility: Parameter,
        bounds: Bounds = unbounded,
        **params: Any,
    ) -> tuple[EligibilityTraces, jax.Array]:
        """Compute the change of a weight at one step."""
        after, change = self.rule(traces.rule, pre, post, weight, **params)
        eligibility = decay_eligibility * traces.eligibility + change
        paid = reward * eligibility
        change = bounds(weight, jnp.where(paid > 0, paid, 0.0), jnp.where(paid < 0, -paid, 0.0))
        return EligibilityTraces(after, eligibility), change


def adapt_threshold(threshold: jax.Array, spike: jax.Array, *, decay: Parameter, rise: Parameter) -> jax.Array:
    """Return the adaptive part of a threshold: theta[t] = decay theta[t-1] + rise s[t]."""
    return decay * threshold + rise * spike


def normalize_weight(weight: jax.Array, *, total: Parameter) -> jax.Array:
    """Return the weights of each neuron with a given sum of absolute values; weights that are all zero stay."""
    present = jnp.abs(weight).sum(1, keepdims=True)
    return weight * jnp.where(present > 0, total / jnp.where(present > 0, present, 1.0), 1.0)


def scale_weight(weight: jax.Array, rate: jax.Array, *, target: Parameter, speed: Parameter) -> jax.Array:
    """Return the weights of each neuron after synaptic scaling: w (1 + speed (target - rate))."""
    return weight + weight * (speed * (target - rate))[:, None]
