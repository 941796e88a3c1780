"""The neurons of snnTorch 1.0.0: their names, arguments and order of operations.

A layer keeps its state by itself, so ``init_hidden``, ``output`` and similar arguments have no meaning here. A spike
function in ``spike_grad`` fires above the threshold, but not at it, like all of snnTorch's.

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

__all__ = ["Alpha", "Lapicque", "Leaky", "RLeaky", "RSynaptic", "Synaptic"]
__all__ += ["atan", "fast_sigmoid", "sigmoid", "spike_rate_escape", "straight_through_estimator", "triangular"]
