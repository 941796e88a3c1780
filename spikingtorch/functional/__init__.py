"""The stateless core: neurons as pure functions ``step(state, x, **params) -> (state, spike)``, and scan over time."""

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.dispatch.eligibility import Backend
from spikingtorch.functional.dispatch.explain import Explanation
from spikingtorch.functional.loop import Step
from spikingtorch.functional.masked import Masked
from spikingtorch.functional.neurons.binary import McPittsState, mcpitts_step
from spikingtorch.functional.neurons.conductance import BioLIFInput, BioLIFState, biolif_step
from spikingtorch.functional.neurons.integrator import IFState, if_step
from spikingtorch.functional.neurons.leaky import (
    LIFState,
    LIState,
    SpikingDecayState,
    decay_from_tau,
    gain_from_tau,
    li_step,
    lif_step,
    spiking_decay_step,
)
from spikingtorch.functional.neurons.refractory import CoarseLIFState, coarse_lif_step, refractory_gain_from_tau
from spikingtorch.functional.recurrent import Recurrent, RecurrentState, convolution, dense, per_channel
from spikingtorch.functional.reset import Detached, Reset, by_subtraction, detached, none, to_zero
from spikingtorch.functional.scan import explain_scan, scan
from spikingtorch.functional.spike import Surrogate, heaviside
from spikingtorch.functional.state import reset_where, zeros_state
from spikingtorch.functional.surrogate import (
    Arctan,
    Erf,
    FastSigmoid,
    FromDerivative,
    FromPrimitive,
    Gaussian,
    PiecewiseExponential,
    Sigmoid,
    StraightThrough,
    Triangular,
)
from spikingtorch.functional.time_map import time_map

__all__ = [
    "Arctan",
    "Backend",
    "BioLIFInput",
    "BioLIFState",
    "CoarseLIFState",
    "Detached",
    "Erf",
    "Explanation",
    "FastSigmoid",
    "FromDerivative",
    "FromPrimitive",
    "Gaussian",
    "IFState",
    "LIFState",
    "LIState",
    "Masked",
    "McPittsState",
    "PiecewiseExponential",
    "Recurrent",
    "RecurrentState",
    "Reset",
    "Sigmoid",
    "SpikingDecayState",
    "Step",
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
    "explain_scan",
    "gain_from_tau",
    "heaviside",
    "if_step",
    "li_step",
    "lif_step",
    "lift",
    "mcpitts_step",
    "none",
    "per_channel",
    "refractory_gain_from_tau",
    "reset_where",
    "scan",
    "spiking_decay_step",
    "time_map",
    "to_zero",
    "zeros_state",
]
