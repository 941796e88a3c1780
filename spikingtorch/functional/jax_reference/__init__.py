"""The independent twin of spikingtorch.functional, in JAX.

Written from the equations, to check the torch code against; usable on its own under jit, grad and vmap. It follows the
dtype of its inputs: float64 needs `with jax.enable_x64(True):` around the calls.
"""

from spikingtorch.functional.jax_reference.masked import Masked
from spikingtorch.functional.jax_reference.neurons.binary import McPittsState, mcpitts_step
from spikingtorch.functional.jax_reference.neurons.conductance import BioLIFInput, BioLIFState, biolif_step
from spikingtorch.functional.jax_reference.neurons.integrator import IFState, if_step
from spikingtorch.functional.jax_reference.neurons.leaky import (
    LIFState,
    LIState,
    SpikingDecayState,
    decay_from_tau,
    gain_from_tau,
    li_step,
    lif_step,
    spiking_decay_step,
)
from spikingtorch.functional.jax_reference.neurons.refractory import (
    CoarseLIFState,
    coarse_lif_step,
    refractory_gain_from_tau,
)
from spikingtorch.functional.jax_reference.norms import time_batch_norm
from spikingtorch.functional.jax_reference.recurrent import Recurrent, RecurrentState, convolution, dense, per_channel
from spikingtorch.functional.jax_reference.reset import Detached, Reset, by_subtraction, detached, none, to_zero
from spikingtorch.functional.jax_reference.scan import scan
from spikingtorch.functional.jax_reference.spike import Parameter, heaviside
from spikingtorch.functional.jax_reference.state import zeros_state
from spikingtorch.functional.jax_reference.surrogate import (
    Arctan,
    Erf,
    FastSigmoid,
    FromDerivative,
    FromPrimitive,
    Gaussian,
    PiecewiseExponential,
    Sigmoid,
    StraightThrough,
    Surrogate,
    Triangular,
)

__all__ = [
    "Arctan",
    "BioLIFInput",
    "BioLIFState",
    "CoarseLIFState",
    "Detached",
    "Erf",
    "FastSigmoid",
    "FromDerivative",
    "FromPrimitive",
    "Gaussian",
    "IFState",
    "LIFState",
    "LIState",
    "Masked",
    "McPittsState",
    "Parameter",
    "PiecewiseExponential",
    "Recurrent",
    "RecurrentState",
    "Reset",
    "Sigmoid",
    "SpikingDecayState",
    "StraightThrough",
    "Surrogate",
    "Triangular",
    "biolif_step",
    "by_subtraction",
    "coarse_lif_step",
    "convolution",
    "decay_from_tau",
    "dense",
    "detached",
    "gain_from_tau",
    "heaviside",
    "if_step",
    "li_step",
    "lif_step",
    "mcpitts_step",
    "none",
    "per_channel",
    "refractory_gain_from_tau",
    "scan",
    "spiking_decay_step",
    "time_batch_norm",
    "to_zero",
    "zeros_state",
]
