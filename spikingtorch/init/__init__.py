"""Initialisation: scale weights so that every spiking layer of a network fires."""

from numbers import Real

import torch
from torch import Tensor

from spikingtorch.axes import samples_first
from spikingtorch.functional.core.torch_private import is_shard
from spikingtorch.init.trial import Trial
from spikingtorch.layers.padding import Lengths
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.validation import check_floating

__all__ = ["to_rate_"]


def to_rate_(model: SpikingNet, x: Tensor, rate: float = 0.1, *, lengths: Lengths | None = None) -> dict[str, float]:
    """Scale the weights of a network, in place, until each of its spiking layers fires at a rate.

        r(f) = mean over samples, steps and neurons of s[n, t, ...], for weights f weight and biases f bias
        weight <- f weight,  bias <- f bias  with r(f) = rate, one layer after the other in the order of their calls

    On each path to a layer, the last module with weights after the previous spiking layer feeds it. That is a
    ``Linear``, or a batch norm after it, which would undo a factor of the ``Linear``. Weights that feed several layers,
    through a skip connection, are scaled for the first of these layers. Recurrent weights do not change. Layers whose
    outputs are not spikes, such as LI, and the weights before them do not change either.

    The search runs on a copy, in the mode (training or evaluation) of the model. ``nn.Dropout`` and ``SequenceDropout``
    drop nothing in it; other random numbers are the same in each run. The copy calls the hooks of your modules. In the
    model itself, only weights and biases change, at the very end and only without an error. States, running statistics,
    gradients and random generators do not change.

    Args:
        model: the network.
        x: a typical batch, floating, as the network takes it. A layer can be set well if it gives some hundred spikes
            at the rate.
        rate: mean rate to reach, in spikes per step, above 0 and below 1.
        lengths: for a padded batch, the number of steps of each sample, (N,); later steps do not count.

    Returns:
        The rate of each spiking layer on x, by its path in the network, in the order of the calls.

    Raises:
        TypeError: model is not a SpikingNet, or x is not floating.
        ValueError: rate is not between 0 and 1, or x holds no samples, or NaN. No layer spikes. A layer is fed by no
            weight, or only by weights that feed an earlier layer. A layer does not come within 20 % of the rate.
            Weights are split over processes.

    >>> from torch import nn
    >>> from spikingtorch import LIF
    >>> _ = torch.manual_seed(0)
    >>> model = SpikingNet(nn.Sequential(*[layer for _ in range(3) for layer in (nn.Linear(100, 100), LIF())]))
    >>> x = (torch.rand(16, 20, 100) < 0.3).float()
    >>> model(x).sum().item()  # silent, as PyTorch initialises it
    0.0
    >>> {path: round(reached, 2) for path, reached in to_rate_(model, x).items()}
    {'1': 0.1, '3': 0.1, '5': 0.1}
    """
    if not isinstance(model, SpikingNet):
        raise TypeError(f"to_rate_: model is a {type(model).__name__}, expected a SpikingNet: SpikingNet(net)")
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0.0 < rate < 1.0:
        raise ValueError(f"to_rate_: rate={rate!r}, expected a number above 0 and below 1, in spikes a step")
    if any(map(is_shard, model.parameters())):
        raise ValueError(
            "to_rate_: weights of the network are split over processes. Call it before you split them, on one process "
            "or on each with the same x"
        )
    check_floating("to_rate_", "x", x)
    x = samples_first(x, model.batch_first or x.ndim < 2)
    if x.ndim > 0 and x.shape[0] == 0:
        raise ValueError(f"to_rate_: x has shape {tuple(x.shape)}, which holds no samples to measure a rate on")
    with torch.inference_mode(False):
        trial = Trial(model, x.detach().clone(), lengths)
        reached = trial.reach(float(rate))
        scaled = trial.scaled()
    with torch.no_grad():
        for name, value in scaled.items():
            model.net.get_parameter(name).copy_(value)
    torch.clear_autocast_cache()
    return reached
