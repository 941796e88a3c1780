"""The neurons of snnTorch 1.0.0 as layers of ours: their names and arguments, their order of operations.

States are handed by the layer itself, so that ``init_hidden``, ``output`` and the like have no meaning here. A spike
function that is given as ``spike_grad`` fires above the threshold, and not at it, as all of theirs do.

>>> import torch
>>> layer = Leaky(beta=0.5)
>>> [layer(torch.tensor([0.8]), init=(t == 0)).item() for t in range(4)]
[0.0, 1.0, 0.0, 0.0]
"""

from spikingtorch.like.snntorch.leaky import Alpha, Lapicque, Leaky, Synaptic
from spikingtorch.like.snntorch.recurrent import RLeaky, RSynaptic
from spikingtorch.like.snntorch.spike_grad import (
    atan,
    fast_sigmoid,
    sigmoid,
    spike_rate_escape,
    straight_through_estimator,
    triangular,
)

__all__ = [
    "Alpha",
    "Lapicque",
    "Leaky",
    "RLeaky",
    "RSynaptic",
    "Synaptic",
    "atan",
    "fast_sigmoid",
    "sigmoid",
    "spike_rate_escape",
    "straight_through_estimator",
    "triangular",
]
