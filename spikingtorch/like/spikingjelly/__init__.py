"""The nodes of SpikingJelly 2.0.0: their names, arguments and order of operations.

With ``step_mode="m"`` a call takes all steps of a sequence, (T, N, ...), and continues from the last call until
``reset()``. So SpikingJelly's own models run with these nodes. A ``SpikingNet`` runs over time by itself, and takes
nodes of step mode "s". ``backend`` is accepted and has no effect. A spike function of SpikingJelly is replaced by its
equal here.

>>> import torch
>>> layer = LIFNode(tau=2.0)
>>> [layer(torch.tensor([1.5]), init=(t == 0)).item() for t in range(4)]
[0.0, 1.0, 0.0, 1.0]
"""

from spikingtorch.like.spikingjelly.layers import (
    ElementWiseRecurrentContainer,
    LinearRecurrentContainer,
    SynapseFilter,
    VotingLayer,
)
from spikingtorch.like.spikingjelly.nodes import CUBALIFNode, IFNode, KLIFNode, LIAFNode, LIFNode, ParametricLIFNode
from spikingtorch.like.spikingjelly.nonlinear import EIFNode, IzhikevichNode, QIFNode
from spikingtorch.like.spikingjelly.replace import replace_nodes_
from spikingtorch.like.spikingjelly.surrogate import (
    ATan,
    Erf,
    PiecewiseExp,
    PiecewiseQuadratic,
    Rect,
    Sigmoid,
    SoftSign,
    SuperSpike,
)

__all__ = ["CUBALIFNode", "IFNode", "KLIFNode", "LIAFNode", "LIFNode", "ParametricLIFNode"]
__all__ += ["EIFNode", "IzhikevichNode", "QIFNode", "SynapseFilter", "VotingLayer", "replace_nodes_"]
__all__ += ["ElementWiseRecurrentContainer", "LinearRecurrentContainer"]
__all__ += ["ATan", "Erf", "PiecewiseExp", "PiecewiseQuadratic", "Rect", "Sigmoid", "SoftSign", "SuperSpike"]
