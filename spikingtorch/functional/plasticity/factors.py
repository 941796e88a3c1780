"""The traces of a neuron, and what each side of a synapse gives to its change.

The change of a weight at one step is a product of a factor of the postsynaptic and one of the presynaptic neuron:

    rise[o, i] = post.rise[o] pre.rise[i]           fall[o, i] = post.fall[o] pre.fall[i]

The factors of a side depend on its own spikes alone. They are elementwise steps, which ``scan`` compiles, and the
changes of many steps are one matrix product.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Decay: TypeAlias = Tensor | float
# a trace before the spikes of a step, and these spikes, to the trace after them
Pairing: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def all_to_all(trace: Tensor, spike: Tensor) -> Tensor:
    """Return a trace after a spike that adds to it: a spike is paired with all spikes of the other side.

    Args:
        trace: the trace before the spike, shape (*N,).
        spike: spikes of this step, shape (*N,).
    """
    return trace + spike


def nearest(trace: Tensor, spike: Tensor) -> Tensor:
    """Return a trace after a spike that replaces it: a spike is paired with the last spike of the other side alone.

    This is the symmetric scheme of nearest neighbours: each presynaptic spike with the last postsynaptic one, and each
    postsynaptic spike with the last presynaptic one.

    Args:
        trace: the trace before the spike, shape (*N,).
        spike: spikes of this step, shape (*N,).

    Source: A. Morrison, M. Diesmann, W. Gerstner, Biol. Cybern. 98 (2008), doi:10.1007/s00422-008-0233-1.
    """
    return torch.where(spike != 0.0, spike, trace)


class Trace(NamedTuple):
    """A trace of a neuron's spikes, after those of this step."""

    fast: Tensor


class TwoTraces(NamedTuple):
    """A fast and a slow trace of a neuron's spikes, after those of this step."""

    fast: Tensor
    slow: Tensor


class Factors(NamedTuple):
    """What a side gives to the rise and to the fall of a weight."""

    rise: Tensor
    fall: Tensor


def pair_pre(traces: Trace, pre: Tensor, *, decay_pre: Decay, pairing: Pairing) -> tuple[Trace, Factors]:
    """Advance the presynaptic side of ``pair_stdp``."""
    x = pairing(decay_pre * traces.fast, pre)
    return Trace(x), Factors(rise=x, fall=pre + 0.0)


def pair_post(
    traces: Trace, post: Tensor, *, decay_post: Decay, rate_plus: Decay, rate_minus: Decay, pairing: Pairing
) -> tuple[Trace, Factors]:
    """Advance the postsynaptic side of ``pair_stdp``."""
    y = decay_post * traces.fast
    return Trace(pairing(y, post)), Factors(rise=rate_plus * post, fall=rate_minus * y)


def triplet_pre(
    traces: TwoTraces,
    pre: Tensor,
    *,
    decay_pre: Decay,
    decay_pre_slow: Decay,
    rate_minus: Decay,
    triplet_minus: Decay,
    pairing: Pairing,
) -> tuple[TwoTraces, Factors]:
    """Advance the presynaptic side of ``triplet_stdp``."""
    slow = decay_pre_slow * traces.slow
    x = pairing(decay_pre * traces.fast, pre)
    return TwoTraces(x, pairing(slow, pre)), Factors(rise=x, fall=pre * (rate_minus + triplet_minus * slow))


def triplet_post(
    traces: TwoTraces,
    post: Tensor,
    *,
    decay_post: Decay,
    decay_post_slow: Decay,
    rate_plus: Decay,
    triplet_plus: Decay,
    pairing: Pairing,
) -> tuple[TwoTraces, Factors]:
    """Advance the postsynaptic side of ``triplet_stdp``."""
    slow = decay_post_slow * traces.slow
    y = decay_post * traces.fast
    after = TwoTraces(pairing(y, post), pairing(slow, post))
    return after, Factors(rise=post * (rate_plus + triplet_plus * slow), fall=y)


def products(post: Factors, pre: Factors) -> tuple[Tensor, Tensor]:
    """Return rise and fall of the weights, (O, I), summed over samples (and steps): factors (*N, O) and (*N, I)."""
    return _product(post.rise, pre.rise), _product(post.fall, pre.fall)


def _product(post: Tensor, pre: Tensor) -> Tensor:
    return post.reshape(-1, post.shape[-1]).mT @ pre.reshape(-1, pre.shape[-1])
