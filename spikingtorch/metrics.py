"""Metrics: accuracy by rate and by first spike, and firing rates. They have no gradient.

Both accuracies treat ties fairly; ties are common with few steps. If k classes share the first place and the target is
one of them, the sample counts 1 / k, the mean score of a random choice among the k. So a network that is silent, or
always fires, scores 1 / classes, and the order of the classes does not matter. ``argmax`` takes the lowest index
instead, so such a network would score the share of class 0.
"""

import torch
from torch import Tensor

from spikingtorch.losses import steps
from spikingtorch.losses.first_spike import silent_steps
from spikingtorch.losses.steps import Lengths, Reduction

__all__ = ["firing_rate", "first_spike_accuracy", "rate_accuracy"]


@torch.no_grad()
def rate_accuracy(
    outputs: Tensor, target: Tensor, lengths: Lengths = None, *, reduction: Reduction = "mean", batch_first: bool = True
) -> Tensor:
    """Return the share of samples whose class has the largest sum of outputs over time (the highest rate).

        m[n, c] = sum over t < T[n] of outputs[n, t, c]
        hit[n]  = 1 / k if m[n, target[n]] is the largest, shared by k classes, or else 0

    Args:
        outputs: spikes or any other output, floating, shape (N, T, classes), as SpikingNet returns them.
        target: class indices, int64, shape (N,).
        lengths: number of steps T[n] of each sample, shape (N,), from 1 to T; later steps do not count.
        reduction: "mean", "sum" (to add up batches) or "none".
        batch_first: False for (T, N, ...), time first.

    Returns:
        The accuracy in [0, 1], a scalar, or hits of shape (N,). The mean over no samples is NaN.

    Raises:
        ValueError: a shape, a class, a length or the reduction does not fit; outputs are NaN or infinite.
        TypeError: outputs are not floating, or target and lengths not whole numbers.

    >>> spikes = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    >>> rate_accuracy(spikes, torch.tensor([0, 0]), reduction="none")  # the second sample is silent
    tensor([1.0000, 0.5000])
    """
    steps.check_classes("rate_accuracy", "outputs", outputs, target, batch_first)
    counts = steps.count_of("rate_accuracy", "outputs", outputs, lengths, batch_first)
    return steps.reduced("rate_accuracy", _hits(counts, target), reduction)


@torch.no_grad()
def first_spike_accuracy(
    spikes: Tensor, target: Tensor, lengths: Lengths = None, *, reduction: Reduction = "mean", batch_first: bool = True
) -> Tensor:
    """Return the share of samples whose class spikes first.

        hit[n] = 1 / k if no class spikes before target[n], and k classes spike at its step, or else 0

    A class that does not spike comes last, after the last step; if none does, all of them share the first place. The
    spikes are 0 or 1, floating, of shape (N, T, classes). The other arguments and the result are those of
    ``rate_accuracy``.

    Raises:
        ValueError: a shape, a class, a length or the reduction does not fit, or a value is neither 0 nor 1.
        TypeError: spikes are not floating, or target and lengths not whole numbers.

    >>> spikes = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    >>> first_spike_accuracy(spikes, torch.tensor([0]))
    tensor(1.)
    """
    owner = "first_spike_accuracy"
    steps.check_classes(owner, "spikes", spikes, target, batch_first)
    valid = steps.valid_steps(owner, "spikes", spikes, lengths, batch_first)
    steps.check_binary(owner, "spikes", valid.x)
    return steps.reduced(owner, _hits(-silent_steps(valid), target), reduction)


@torch.no_grad()
def firing_rate(spikes: Tensor, lengths: Lengths = None, *, batch_first: bool = True) -> Tensor:
    """Return the spikes per step of each sample and neuron; ``firing_rate(s).mean()`` is the rate of a layer.

        r[n, i] = 1 / T[n]  sum over t < T[n] of spikes[n, t, i]

    Args:
        spikes: floating, shape (N, T, ...).
        lengths: number of steps T[n] of each sample, shape (N,), from 1 to T; later steps do not count.
        batch_first: False for (T, N, ...), time first.

    Returns:
        Rates in spikes per step, shape (N, ...), at least float32.

    Raises:
        ValueError: a shape or a length does not fit; spikes are NaN or infinite.
        TypeError: spikes are not floating, or lengths not whole numbers.

    >>> firing_rate(torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]))
    tensor([[1.0000, 0.5000]])
    """
    return steps.rate_of("firing_rate", "spikes", spikes, lengths, batch_first)


def _hits(scores: Tensor, target: Tensor) -> Tensor:
    """Return 1 / k for each sample whose target is among the k classes with the largest score, else 0."""
    first = (scores == scores.amax(1, keepdim=True)).to(scores.dtype)
    # scores that are NaN, after a length out of range inside a transform, stay NaN: 0 / 0
    return first.gather(1, target.unsqueeze(1)).squeeze(1) / first.sum(1)
