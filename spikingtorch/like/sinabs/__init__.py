"""The spiking layers of Sinabs 3.1.3: their names, arguments and order of operations.

A layer here takes one step per call, (N, ...), and all steps at once inside a ``SpikingNet``. Time constants are
trained, as in Sinabs.

>>> import torch
>>> layer = IAF()
>>> [layer(torch.tensor([1.5]), init=(t == 0)).item() for t in range(4)]
[1.0, 2.0, 1.0, 2.0]
"""

from spikingtorch.like.sinabs.layers import ALIF, IAF, LIF, ExpLeak, SumPool2d
from spikingtorch.like.sinabs.recurrent import ALIFRecurrent, IAFRecurrent, LIFRecurrent
from spikingtorch.like.sinabs.spike_fn import (
    Gaussian,
    Heaviside,
    MaxSpike,
    MultiGaussian,
    MultiSpike,
    PeriodicExponential,
    SingleExponential,
    SingleSpike,
)
from spikingtorch.like.steps.sinabs import MembraneReset, MembraneSubtract

__all__ = ["ALIF", "IAF", "LIF", "ALIFRecurrent", "ExpLeak", "IAFRecurrent", "LIFRecurrent", "SumPool2d"]
__all__ += ["MaxSpike", "MembraneReset", "MembraneSubtract", "MultiSpike", "SingleSpike"]
__all__ += ["Gaussian", "Heaviside", "MultiGaussian", "PeriodicExponential", "SingleExponential"]
