"""Steps in the order of operations of Sinabs 3.1.3, in which a neuron may spike several times in a step.

In all of them H(0) = 1, no gradient reaches the threshold through the spikes n, and

    n[t] = spike_fn(u[t], threshold),  v[t] = max(reset_fn(n[t], u[t], threshold), min_v_mem)

    state, x             the state at t-1 and the input of this step, each of shape (*N,)
    decay, decay_syn     shares of the membrane and of the current that are kept over a step
    gain                 membrane per unit of current: 1 - decay, or 1
    spike_threshold      membrane at which the neuron fires
    spike_fn, reset_fn   number of spikes of a membrane, and what they do to it
    min_v_mem            the least membrane, None for any

Parameters are broadcastable to (*N,). A step returns the state at t and the spikes, each of shape (*N,).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.like.steps.sinabs_firing import ResetFunction, SpikeFunction, Value


class MembraneState(NamedTuple):
    """State of layers with a membrane alone: v, after the reset."""

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
    """Advance a LIF, or an IAF with decay = 1, by one step.

    u[t] = decay v[t-1] + gain x[t]
    """
    u = decay * state.v + gain * x
    n = spike_fn(u, spike_threshold)
    return MembraneState(v=_limited(reset_fn(n, u, spike_threshold), min_v_mem)), n


def lif_current_layer_step(
    state: SynapseState,
    x: Tensor,
    *,
    decay: Value,
    decay_syn: Value,
    spike_fn: SpikeFunction,
    reset_fn: ResetFunction,
    gain: Value = 1.0,
    spike_threshold: Value = 1.0,
    min_v_mem: Value | None = None,
) -> tuple[SynapseState, Tensor]:
    """Advance a LIF with a current that decays by one step.

    i[t] = decay_syn (i[t-1] + x[t]),  u[t] = decay v[t-1] + gain i[t]
    """
    i = decay_syn * (state.i + x)
    u = decay * state.v + gain * i
    n = spike_fn(u, spike_threshold)
    return SynapseState(v=_limited(reset_fn(n, u, spike_threshold), min_v_mem), i=i), n


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
    """Advance an ALIF, whose threshold rises with its spikes, by one step.

        i[t] = gain decay_syn (i[t-1] + x[t]), or gain x[t] without decay_syn;  u[t] = decay v[t-1] + i[t]
        theta[t] = spike_threshold + adapt_scale b[t-1],  which spikes and reset go by
        b[t] = decay_adapt b[t-1] + (1 - decay_adapt) n[t]

    Its own parameters:
        decay_adapt: share of the adaptation kept over a step.
        decay_syn: share of the current kept over a step, besides gain; None for no current.
        adapt_scale: threshold per unit of adaptation.
        gain: 1 - decay, or 1; the current is multiplied by it at every step anew.
        spike_threshold: threshold at rest.
    """
    i = gain * (x if decay_syn is None else decay_syn * (state.i + x))
    u = decay * state.v + i
    theta = spike_threshold + adapt_scale * state.b
    n = spike_fn(u, theta)
    b = decay_adapt * state.b + (1 - decay_adapt) * n
    return ALIFLayerState(v=_limited(reset_fn(n, u, theta), min_v_mem), i=i, b=b), n


def exp_leak_step(
    state: MembraneState, x: Tensor, *, decay: Value, gain: Value = 1.0, min_v_mem: Value | None = None
) -> tuple[MembraneState, Tensor]:
    """Advance an ExpLeak, a readout that never spikes, by one step.

        u[t] = decay v[t-1] + gain x[t],  out[t] = u[t],  v[t] = max(u[t], min_v_mem)

    Its own parameters:
        min_v_mem: the least membrane, None for any; the output may be less.

    Returns:
        The state v[t] and u[t], each of shape (*N,).
    """
    u = decay * state.v + gain * x
    return MembraneState(v=_limited(u, min_v_mem)), u
