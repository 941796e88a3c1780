"""Spike-timing-dependent plasticity: from pairs, and from triplets of spikes."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.plasticity.bounds import Bounds, unbounded
from spikingtorch.functional.plasticity.factors import (
    Decay,
    Pairing,
    Trace,
    TwoTraces,
    all_to_all,
    pair_post,
    pair_pre,
    products,
    triplet_post,
    triplet_pre,
)


class PairTraces(NamedTuple):
    """Traces of ``pair_stdp``: of the presynaptic spikes, (*N, I), and of the postsynaptic ones, (*N, O)."""

    pre: Tensor
    post: Tensor


def pair_stdp(
    traces: PairTraces,
    pre: Tensor,
    post: Tensor,
    weight: Tensor,
    *,
    decay_pre: Decay,
    decay_post: Decay,
    rate_plus: Decay,
    rate_minus: Decay,
    pairing: Pairing = all_to_all,
    bounds: Bounds = unbounded,
) -> tuple[PairTraces, Tensor]:
    """Compute the change of a weight at one step from pairs of spikes.

        x' = decay_pre x[t-1]
        y' = decay_post y[t-1]
        fall = rate_minus pre[t] y'
        x[t] = pairing(x', pre[t])
        rise = rate_plus post[t] x[t]
        y[t] = pairing(y', post[t])
        change = bounds(w, rise, fall)

    If both sides fire at the same step, the presynaptic spike comes first: the weight rises by the whole of rate_plus,
    because a presynaptic spike can cause a postsynaptic one at its own step. It does not fall for that pair. This is
    the order of Brian2, which runs ``on_pre`` before ``on_post``:

        dx/dt = -x / tau_pre, dy/dt = -y / tau_post
        on_pre:  x += 1; w = clip(w - rate_minus y, low, high)
        on_post: y += 1; w = clip(w + rate_plus x, low, high)

    Args:
        traces: x[t-1], shape (*N, I), and y[t-1], shape (*N, O); zero before the first spike.
        pre: presynaptic spikes of this step, shape (*N, I).
        post: postsynaptic spikes of this step, shape (*N, O).
        weight: w before this step, shape (O, I). The arguments do not change.
        decay_pre: share of the presynaptic trace kept over a step, in [0, 1], broadcastable to (*N, I); see
            ``decay_from_tau``.
        decay_post: that of the postsynaptic trace, broadcastable to (*N, O).
        rate_plus: rise of a weight for a postsynaptic spike and a trace of 1, broadcastable to (*N, O).
        rate_minus: fall of a weight for a presynaptic spike and a trace of 1, broadcastable to (*N, O).
        pairing: ``all_to_all`` or ``nearest``.
        bounds: ``unbounded``, ``HardBounds(low, high)`` or ``SoftBounds(low, high)``.

    Returns:
        The traces x[t] and y[t], and the change of the weight, (O, I). Rise and fall are summed over the samples before
        they meet the bounds.

    Source: A. Morrison, M. Diesmann, W. Gerstner, Biol. Cybern. 98 (2008), doi:10.1007/s00422-008-0233-1.

    >>> import torch
    >>> traces = PairTraces(pre=torch.tensor([1.0, 0.0]), post=torch.tensor([0.5]))
    >>> spikes = torch.tensor([0.0, 1.0]), torch.tensor([1.0])
    >>> params = {"decay_pre": 0.5, "decay_post": 0.5, "rate_plus": 1.0, "rate_minus": 1.0}
    >>> pair_stdp(traces, *spikes, torch.zeros(1, 2), **params)
    (PairTraces(pre=tensor([0.5000, 1.0000]), post=tensor([1.2500])), tensor([[0.5000, 0.7500]]))
    """
    (x,), of_pre = pair_pre(Trace(traces.pre), pre, decay_pre=decay_pre, pairing=pairing)
    own = {"decay_post": decay_post, "rate_plus": rate_plus, "rate_minus": rate_minus}
    (y,), of_post = pair_post(Trace(traces.post), post, **own, pairing=pairing)
    return PairTraces(x, y), bounds(weight, *products(of_post, of_pre))


class TripletTraces(NamedTuple):
    """Traces of ``triplet_stdp``: fast and slow, of the presynaptic spikes, (*N, I), and the postsynaptic, (*N, O)."""

    pre: Tensor
    pre_slow: Tensor
    post: Tensor
    post_slow: Tensor


def triplet_stdp(
    traces: TripletTraces,
    pre: Tensor,
    post: Tensor,
    weight: Tensor,
    *,
    decay_pre: Decay,
    decay_pre_slow: Decay,
    decay_post: Decay,
    decay_post_slow: Decay,
    rate_plus: Decay,
    rate_minus: Decay,
    triplet_plus: Decay,
    triplet_minus: Decay,
    pairing: Pairing = all_to_all,
    bounds: Bounds = unbounded,
) -> tuple[TripletTraces, Tensor]:
    """Compute the change of a weight at one step from pairs and triplets of spikes.

        x1' = decay_pre x1[t-1]
        x2' = decay_pre_slow x2[t-1]
        y1' = decay_post y1[t-1]
        y2' = decay_post_slow y2[t-1]
        fall = pre[t] y1' (rate_minus + triplet_minus x2')
        x1[t] = pairing(x1', pre[t])
        x2[t] = pairing(x2', pre[t])
        rise = post[t] x1[t] (rate_plus + triplet_plus y2')
        y1[t] = pairing(y1', post[t])
        y2[t] = pairing(y2', post[t])
        change = bounds(w, rise, fall)

    The slow traces are read before the spike of their own neuron. At a common step the presynaptic spike comes first,
    as in ``pair_stdp``. In the letters of the paper: x1 = r1, x2 = r2, y1 = o1, y2 = o2, rate_plus = A2+,
    rate_minus = A2-, triplet_plus = A3+, triplet_minus = A3-. Without the last two, the rule is ``pair_stdp``.

    Args:
        traces: x1, x2, y1 and y2 after the last step, shapes (*N, I) and (*N, O); zero before the first spike.
        pre: presynaptic spikes of this step, shape (*N, I).
        post: postsynaptic spikes of this step, shape (*N, O).
        weight: w before this step, shape (O, I). The arguments do not change.
        decay_pre: share of x1 kept over a step, in [0, 1], broadcastable to (*N, I).
        decay_pre_slow: that of x2.
        decay_post: share of y1 kept over a step, broadcastable to (*N, O).
        decay_post_slow: that of y2.
        rate_plus: rise for a pair, broadcastable to (*N, O).
        rate_minus: fall for a pair, broadcastable to (*N, I).
        triplet_plus: rise for a triplet post, pre, post, broadcastable to (*N, O).
        triplet_minus: fall for a triplet pre, post, pre, broadcastable to (*N, I).
        pairing: ``all_to_all`` or ``nearest``.
        bounds: ``unbounded``, ``HardBounds(low, high)`` or ``SoftBounds(low, high)``.

    Returns:
        The traces after this step, and the change of the weight, (O, I), as in ``pair_stdp``.

    Source: J.-P. Pfister, W. Gerstner, J. Neurosci. 26 (2006), doi:10.1523/JNEUROSCI.1425-06.2006.

    >>> import torch
    >>> traces = TripletTraces(*torch.tensor([[1.0], [0.0], [0.0], [1.0]]).unbind())
    >>> decays = dict.fromkeys(["decay_pre", "decay_pre_slow", "decay_post", "decay_post_slow"], 0.5)
    >>> rates = {"rate_plus": 1.0, "rate_minus": 1.0, "triplet_plus": 2.0, "triplet_minus": 0.0}
    >>> triplet_stdp(traces, torch.zeros(1), torch.ones(1), torch.zeros(1, 1), **decays, **rates)[1]
    tensor([[1.]])
    """
    own = {"decay_pre": decay_pre, "decay_pre_slow": decay_pre_slow}
    own |= {"rate_minus": rate_minus, "triplet_minus": triplet_minus}
    x, of_pre = triplet_pre(TwoTraces(traces.pre, traces.pre_slow), pre, **own, pairing=pairing)
    own = {"decay_post": decay_post, "decay_post_slow": decay_post_slow}
    own |= {"rate_plus": rate_plus, "triplet_plus": triplet_plus}
    y, of_post = triplet_post(TwoTraces(traces.post, traces.post_slow), post, **own, pairing=pairing)
    return TripletTraces(*x, *y), bounds(weight, *products(of_post, of_pre))
