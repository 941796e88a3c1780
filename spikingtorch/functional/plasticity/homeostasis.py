"""Homeostasis: thresholds and weights that keep neurons from firing always or never."""

import torch
from torch import Tensor


def adapt_threshold(threshold: Tensor, spike: Tensor, *, decay: Tensor | float, rise: Tensor | float) -> Tensor:
    """Return the adaptive part of a threshold after one step: it rises with each spike and decays.

        theta[t] = decay theta[t-1] + rise s[t]

    Args:
        threshold: theta[t-1], shape (*N,).
        spike: spikes of this step, shape (*N,).
        decay: share kept over a step, in [0, 1], broadcastable to (*N,).
        rise: rise for each spike, in units of the membrane, broadcastable to (*N,).

    Source: P. U. Diehl, M. Cook, Front. Comput. Neurosci. 9:99 (2015), doi:10.3389/fncom.2015.00099.

    >>> adapt_threshold(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0]), decay=0.5, rise=0.25)
    tensor([0.5000, 0.7500])
    """
    return decay * threshold + rise * spike


def normalize_weight(weight: Tensor, *, total: Tensor | float) -> Tensor:
    """Return the weights of each neuron, scaled so that their absolute values have a given sum.

        w'[o, i] = w[o, i] total / sum_j |w[o, j]|

    A neuron whose weights are all zero keeps them.

    Args:
        weight: shape (O, I).
        total: the sum for each neuron, positive, broadcastable to (O, 1).

    Source: P. U. Diehl, M. Cook, Front. Comput. Neurosci. 9:99 (2015), doi:10.3389/fncom.2015.00099.

    >>> normalize_weight(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), total=2.0)
    tensor([[0.5000, 1.5000],
            [0.0000, 0.0000]])
    """
    present = weight.abs().sum(1, keepdim=True)
    # at zero, a gradient goes through both branches of where
    return torch.where(present > 0.0, weight / torch.where(present > 0.0, present, 1.0) * total, weight)


def scale_weight(weight: Tensor, rate: Tensor, *, target: Tensor | float, speed: Tensor | float) -> Tensor:
    """Return the weights of each neuron after synaptic scaling towards a target rate.

        w'[o, i] = w[o, i] (1 + speed (target - rate[o]))

    Args:
        weight: shape (O, I).
        rate: mean spikes per step of each postsynaptic neuron, shape (O,).
        target: the rate that each neuron is to reach, broadcastable to (O,).
        speed: share by which a weight grows for each unit of missing rate, broadcastable to (O,).

    Source: M. C. W. van Rossum, G. Q. Bi, G. G. Turrigiano, J. Neurosci. 20 (2000),
    doi:10.1523/JNEUROSCI.20-23-08812.2000.

    >>> scale_weight(torch.ones(2, 1), torch.tensor([0.0, 0.5]), target=0.25, speed=0.4)
    tensor([[1.1000],
            [0.9000]])
    """
    return weight * (1.0 + speed * (target - rate)).unsqueeze(1)
