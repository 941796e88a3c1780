"""Spiking layers: the parameters of a neuron, and one call into ``spikingtorch.functional``; one family a file.

Each is called as ``layer(x, init)`` with x of shape (N, ...). It returns spikes of the same shape and dtype. They are 0
or 1, unless the surrogate defines other values. Parameters are floats, or tensors that broadcast to the input. Shape
(C, 1, 1) is one value per channel of images (N, C, H, W); shape (M,) is one value per neuron of (N, M). ``learnable``
names those to train. Time is in steps, or in the unit of ``dt`` if it is given. In the equations, H(0) = 1.
"""

from spikingtorch.layers.neurons.chips import LoihiLIF, SpeckIAF, XyloLIF
from spikingtorch.layers.neurons.euler import AdEx, ExponentialIF, Izhikevich, ParametricLIF, QuadraticIF
from spikingtorch.layers.neurons.fixed_point import FixedPointCubaLIF, FixedPointIF, FixedPointLIF
from spikingtorch.layers.neurons.integrator import IF, McPitts, SigmaDelta
from spikingtorch.layers.neurons.leaky import ALIF, LI, LIF, CoarseLIF, SEAdLIF, SpikingDecay
from spikingtorch.layers.neurons.leaky import SpikingLayer as SpikingLayer
from spikingtorch.layers.neurons.resonate import BalancedResonateAndFire, HarmonicResonateAndFire, ResonateAndFire
from spikingtorch.layers.neurons.stochastic import StochasticLIF
from spikingtorch.layers.neurons.synapses import AlphaSynapse, Delay, ExponentialSynapse, ShortTermPlasticity
from spikingtorch.layers.neurons.synaptic import AlphaLIF, BioLIF, CubaLIF

__all__ = ["AdEx", "ExponentialIF", "Izhikevich", "LoihiLIF", "ParametricLIF", "QuadraticIF", "SpeckIAF", "XyloLIF"]
__all__ += ["IF", "FixedPointCubaLIF", "FixedPointIF", "FixedPointLIF", "McPitts", "SigmaDelta"]
__all__ += ["ALIF", "LI", "LIF", "CoarseLIF", "SEAdLIF", "SpikingDecay", "StochasticLIF"]
__all__ += ["AlphaLIF", "AlphaSynapse", "BioLIF", "CubaLIF", "Delay", "ExponentialSynapse", "ShortTermPlasticity"]
__all__ += ["BalancedResonateAndFire", "HarmonicResonateAndFire", "ResonateAndFire"]
