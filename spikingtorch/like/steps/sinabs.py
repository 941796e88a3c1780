"""Steps in Sinabs 3.1.3's order of operations; a neuron may spike several times in a step.

The classes of ``like.sinabs`` have the equations and the parameters. H(0) = 1, and no gradient reaches the threshold
through the spikes.

    state, x             the state at t-1 and the input of this step, each of shape (*N,)
    decay, decay_syn     shares of the membrane and of the current that are kept over a step; None for no current
    decay_adapt          share of the adaptation that is kept over a step
    gain                 membrane per unit of current: 1 - decay, or 1

Parameters are broadcastable to (*N,). A step returns the state at t and the spikes, or the membrane of a readout, each
of shape (*N,).
"""

from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.like.options import stopped

Value: TypeAlias = Tensor | float


class Gradient(Protocol):
    """The derivative of a spike, given by a primitive of y = u - threshold, whose value is unused."""

    def primitive(self, y: Tensor, threshold: Value, /) -> Tensor:
        """Return phi(y); only its derivative is used."""
        ...


class SpikeFunction(Protocol):
    """A function from the membrane and its threshold to a number of spikes."""

    def __call__(self, u: Tensor, threshold: Value, /) -> Tensor:
        """Return the number of spikes, of the shape of u."""
        ...


class ResetFunction(Protocol):
    """The reset of a membrane by spikes."""

    def __call__(self, spikes: Tensor, u: Tensor, threshold: Value, /) -> Tensor:
        """Return the membrane after the reset."""
        ...


@compared_by_type
class Single(NamedTuple):
    """One spike at the threshold and above it: SingleSpike; ``gradient`` is the derivative of the spike."""

    gradient: Gradient

    def __call__(self, u: Tensor, threshold: Value) -> Tensor:
        """Return 1 where u - threshold >= 0, else 0."""
        n = (u - threshold >= 0).to(u.dtype)
        return _with_gradient(n, u, threshold, self.gradient)


@compared_by_type
class Multi(NamedTuple):
    """One spike for each threshold in the membrane, at most ``most`` in a step: MultiSpike, and MaxSpike with a limit.

    ``gradient`` is the derivative of the number of spikes, the one around the first threshold.
    """

    gradient: Gradient
    most: float | None = None

    def __call__(self, u: Tensor, threshold: Value) -> Tensor:
        """Return trunc(u / threshold) where u > 0, else 0."""
        n = (u > 0).to(u.dtype) * torch.trunc(u / threshold)
        n = n if self.most is None else n.clamp(max=self.most)
        return _with_gradient(n, u, threshold, self.gradient)


def _with_gradient(n: Tensor, u: Tensor, threshold: Value, gradient: Gradient) -> Tensor:
    theta = stopped(threshold)
    phi = gradient.primitive(u - theta, theta)
    return n.detach() + (phi - phi.detach())


@compared_by_type
class MembraneSubtract(NamedTuple):
    """Subtract the threshold, or another value, for each spike.

    Args:
        subtract_value: the other value; None for the threshold.
    """

    subtract_value: float | None = None

    def __call__(self, spikes: Tensor, u: Tensor, threshold: Value) -> Tensor:
        """Return u - spikes threshold."""
        return u - spikes * (threshold if self.subtract_value is None else self.subtract_value)


@compared_by_type
class MembraneReset(NamedTuple):
    """Set a membrane that spikes to zero, and add a value to every membrane.

    Args:
        reset_value: value that is added at every step.
    """

    reset_value: float = 0.0

    def __call__(self, spikes: Tensor, u: Tensor, threshold: Value) -> Tensor:  # noqa: ARG002
        """Return u where there is no spike, else 0, plus the value."""
        return u * (spikes == 0).to(u.dtype) + self.reset_value


class MembraneState(NamedTuple):
    """State of layers with only a membrane: v, after the reset."""

    v: Tensor


class SynapseState(NamedTuple):
    """State of ``lif_current_layer_step``: v, the membrane after the reset, and i, the current."""

    v: Tensor
    i: Tensor


class ALIFLayerState(NamedTuple):
    """State of ``alif_layer_step``: v, the membrane after the reset, i, the current, and b, the adaptation."""

    v: Tensor
    i: Tensor
    b: Tensor


def _limited(v: Tensor, min_v_mem: Value | None) -> Tensor:
    return v if min_v_mem is None else torch.relu(v - min_v_mem) + min_v_mem


def lif_layer_step(
    state: MembraneState,
    x: Tensor,
    *,
    decay: Value,
    spike_fn: SpikeFunction,
    reset_fn: ResetFunction,
    gain: Value = 1.0,
    spike_threshold: Value = 1.0,
    min_v_mem: Value | None = None,
) -> tuple[MembraneState, Tensor]:
    """Advance a ``LIF``, or an ``IAF`` with decay = 1, by one step."""
    u = decay * state.v + gain * x
    n = spike_fn(u, spike_threshold)
    return MembraneState(v=_limited(reset_fn(n, u, spike_threshold), min_v_mem)), n


def lif_current_layer_step(
    state: SynapseState, x: Tensor, *, decay_syn: Value, **params: Any
) -> tuple[SynapseState, Tensor]:
    """Advance a ``LIF`` with a decaying current by one step; ``**params`` are those of ``lif_layer_step``."""
    i = decay_syn * (state.i + x)
    after, n = lif_layer_step(MembraneState(state.v), i, **params)
    return SynapseState(v=after.v, i=i), n


def alif_layer_step(
    state: ALIFLayerState,
    x: Tensor,
    *,
    decay: Value,
    decay_adapt: Value,
    spike_fn: SpikeFunction,
    reset_fn: ResetFunction,
    decay_syn: Value | None = None,
    adapt_scale: Value = 1.8,
    gain: Value = 1.0,
    spike_threshold: Value = 1.0,
    min_v_mem: Value | None = None,
) -> tuple[ALIFLayerState, Tensor]:
    """Advance an ``ALIF`` by one step."""
    i = gain * (x if decay_syn is None else decay_syn * (state.i + x))
    u = decay * state.v + i
    theta = spike_threshold + adapt_scale * state.b
    n = spike_fn(u, theta)
    b = decay_adapt * state.b + (1 - decay_adapt) * n
    return ALIFLayerState(v=_limited(reset_fn(n, u, theta), min_v_mem), i=i, b=b), n


def exp_leak_step(
    state: MembraneState, x: Tensor, *, decay: Value, gain: Value = 1.0, min_v_mem: Value | None = None
) -> tuple[MembraneState, Tensor]:
    """Advance an ``ExpLeak`` by one step; its output may be less than ``min_v_mem``."""
    u = decay * state.v + gain * x
    return MembraneState(v=_limited(u, min_v_mem)), u
