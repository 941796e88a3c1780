"""The cells of Norse 1.1.0 as layers: their names, parameters and order of operations.

Numbers in the parameters become tensors of one float32 number, like Norse's defaults. The numbers of IzhikevichCell
stay floats, as in Norse.

>>> import torch
>>> layer = LIFBoxCell(LIFBoxParameters(tau_mem_inv=500.0))
>>> [layer(torch.tensor([1.5]), init=(t == 0)).item() for t in range(4)]
[0.0, 1.0, 0.0, 1.0]
"""

from spikingtorch.like.norse.cells import (
    IAFCell,
    IzhikevichCell,
    LIBoxCell,
    LICell,
    LIFAdExCell,
    LIFAdExRefracCell,
    LIFBoxCell,
    LIFCell,
    LIFExCell,
    LIFRefracCell,
    LSNNCell,
)
from spikingtorch.like.norse.parameters import (
    IAFParameters,
    IzhikevichParameters,
    IzhikevichSpikingBehavior,
    IzhikevichState,
    LIBoxParameters,
    LIFAdExParameters,
    LIFAdExRefracParameters,
    LIFBoxParameters,
    LIFExParameters,
    LIFParameters,
    LIFRefracParameters,
    LIParameters,
    LSNNParameters,
    create_izhikevich_spiking_behavior,
    threshold,
)
from spikingtorch.like.norse.recurrent import (
    IzhikevichRecurrentCell,
    LIFAdExRecurrentCell,
    LIFAdExRefracRecurrentCell,
    LIFExRecurrentCell,
    LIFRecurrentCell,
    LIFRefracRecurrentCell,
    LSNNRecurrentCell,
)
from spikingtorch.like.steps.norse import reset_subtract, reset_value

__all__ = ["IAFCell", "LIBoxCell", "LICell", "LIFBoxCell", "LIFCell", "LIFRefracCell", "LSNNCell"]
__all__ += ["IzhikevichCell", "LIFAdExCell", "LIFAdExRefracCell", "LIFExCell"]
__all__ += ["IzhikevichRecurrentCell", "LIFAdExRecurrentCell", "LIFAdExRefracRecurrentCell", "LIFExRecurrentCell"]
__all__ += ["LIFRecurrentCell", "LIFRefracRecurrentCell", "LSNNRecurrentCell"]
__all__ += ["IAFParameters", "LIBoxParameters", "LIFAdExParameters", "LIFAdExRefracParameters", "LIFBoxParameters"]
__all__ += ["LIFExParameters", "LIFParameters", "LIFRefracParameters", "LIParameters", "LSNNParameters"]
__all__ += ["IzhikevichParameters", "IzhikevichSpikingBehavior", "IzhikevichState"]
__all__ += ["create_izhikevich_spiking_behavior", "reset_subtract", "reset_value", "threshold"]
