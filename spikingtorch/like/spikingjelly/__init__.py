"""The nodes of SpikingJelly 2.0.0 as layers of ours: their names and arguments, their order of operations.

``step_mode`` has no meaning here: a layer takes one step a call, and all steps at once inside a ``SpikingNet``.

>>> import torch
>>> layer = LIFNode(tau=2.0)
>>> [layer(torch.tensor([1.5]), init=(t == 0)).item() for t in range(4)]
[0.0, 1.0, 0.0, 1.0]
"""

from spikingtorch.like.spikingjelly.containers import ElementWiseRecurrentContainer, LinearRecurrentContainer
from spikingtorch.like.spikingjelly.layers import SynapseFilter, VotingLayer
from spikingtorch.like.spikingjelly.nodes import CUBALIFNode, IFNode, KLIFNode, LIAFNode, LIFNode, ParametricLIFNode
from spikingtorch.like.spikingjelly.nonlinear import EIFNode, IzhikevichNode, QIFNode
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

__all__ = [
    "ATan",
    "CUBALIFNode",
    "EIFNode",
    "ElementWiseRecurrentContainer",
    "Erf",
    "IFNode",
    "IzhikevichNode",
    "KLIFNode",
    "LIAFNode",
    "LIFNode",
    "LinearRecurrentContainer",
    "ParametricLIFNode",
    "PiecewiseExp",
    "PiecewiseQuadratic",
    "QIFNode",
    "Rect",
    "Sigmoid",
    "SoftSign",
    "SuperSpike",
    "SynapseFilter",
    "VotingLayer",
]
