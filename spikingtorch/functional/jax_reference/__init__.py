"""The independent twin of spikingtorch.functional, in JAX.

Written from the equations, to check the torch code against; usable on its own under jit, grad and vmap. It follows the
dtype of its inputs: float64 needs `with jax.enable_x64(True):` around the calls.
"""

from spikingtorch.functional.jax_reference.delay import DelayState, delay_step
from spikingtorch.functional.jax_reference.firing import Fired, Graded, MultiSpike, SpikeFunction, Strict, Ternary, fire
from spikingtorch.functional.jax_reference.neurons.adaptive import ALIFState, alif_step
from spikingtorch.functional.jax_reference.neurons.binary import McPittsState, mcpitts_step
from spikingtorch.functional.jax_reference.neurons.conductance import BioLIFInput, BioLIFState, biolif_step
from spikingtorch.functional.jax_reference.neurons.euler import EulerLIFState, euler_lif_step, leak_from_w
from spikingtorch.functional.jax_reference.neurons.exponential import (
    AdExState,
    ExponentialIFState,
    adex_step,
    exponential_if_step,
)
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
from spikingtorch.functional.jax_reference.neurons.quadratic import (
    IzhikevichCurve,
    IzhikevichState,
    QuadraticIFState,
    izhikevich_step,
    quadratic_if_step,
)
from spikingtorch.functional.jax_reference.neurons.refractory import (
    CoarseLIFState,
    coarse_lif_step,
    refractory_gain_from_tau,
)
from spikingtorch.functional.jax_reference.neurons.resonate import (
    BalancedResonateAndFireState,
    ResonateAndFireState,
    balanced_resonate_and_fire_step,
    resonate_and_fire_step,
)
from spikingtorch.functional.jax_reference.neurons.sigma_delta import SigmaDeltaState, sigma_delta_step
from spikingtorch.functional.jax_reference.neurons.stochastic import (
    StochasticInput,
    StochasticLIFState,
    stochastic_lif_step,
)
from spikingtorch.functional.jax_reference.neurons.synaptic import (
    AlphaLIFState,
    CubaLIFState,
    alpha_lif_step,
    cuba_lif_step,
)
from spikingtorch.functional.jax_reference.norms import time_batch_norm
from spikingtorch.functional.jax_reference.reset import (
    Detached,
    Reset,
    ToValue,
    by_subtraction,
    detached,
    none,
    to_value,
    to_zero,
)
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
    Smooth,
    StraightThrough,
    Surrogate,
    Triangular,
)
from spikingtorch.functional.jax_reference.synapses import (
    AlphaSynapseState,
    ExponentialSynapseState,
    ShortTermPlasticityState,
    alpha_synapse_step,
    exponential_synapse_step,
    short_term_plasticity_step,
)
from spikingtorch.functional.jax_reference.wrappers import (
    Masked,
    Recurrent,
    RecurrentState,
    Refractory,
    RefractoryState,
    RelativeRefractory,
    RelativeRefractoryState,
    Returning,
    convolution,
    dense,
    per_channel,
)

__all__ = [
    "ALIFState",
    "AdExState",
    "AlphaLIFState",
    "AlphaSynapseState",
    "Arctan",
    "BalancedResonateAndFireState",
    "BioLIFInput",
    "BioLIFState",
    "CoarseLIFState",
    "CubaLIFState",
    "DelayState",
    "Detached",
    "Erf",
    "EulerLIFState",
    "ExponentialIFState",
    "ExponentialSynapseState",
    "FastSigmoid",
    "Fired",
    "FromDerivative",
    "FromPrimitive",
    "Gaussian",
    "Graded",
    "IFState",
    "IzhikevichCurve",
    "IzhikevichState",
    "LIFState",
    "LIState",
    "Masked",
    "McPittsState",
    "MultiSpike",
    "Parameter",
    "PiecewiseExponential",
    "QuadraticIFState",
    "Recurrent",
    "RecurrentState",
    "Refractory",
    "RefractoryState",
    "RelativeRefractory",
    "RelativeRefractoryState",
    "Reset",
    "ResonateAndFireState",
    "Returning",
    "ShortTermPlasticityState",
    "SigmaDeltaState",
    "Sigmoid",
    "Smooth",
    "SpikeFunction",
    "SpikingDecayState",
    "StochasticInput",
    "StochasticLIFState",
    "StraightThrough",
    "Strict",
    "Surrogate",
    "Ternary",
    "ToValue",
    "Triangular",
    "adex_step",
    "alif_step",
    "alpha_lif_step",
    "alpha_synapse_step",
    "balanced_resonate_and_fire_step",
    "biolif_step",
    "by_subtraction",
    "coarse_lif_step",
    "convolution",
    "cuba_lif_step",
    "decay_from_tau",
    "delay_step",
    "dense",
    "detached",
    "euler_lif_step",
    "exponential_if_step",
    "exponential_synapse_step",
    "fire",
    "gain_from_tau",
    "heaviside",
    "if_step",
    "izhikevich_step",
    "leak_from_w",
    "li_step",
    "lif_step",
    "mcpitts_step",
    "none",
    "per_channel",
    "quadratic_if_step",
    "refractory_gain_from_tau",
    "resonate_and_fire_step",
    "scan",
    "short_term_plasticity_step",
    "sigma_delta_step",
    "spiking_decay_step",
    "stochastic_lif_step",
    "time_batch_norm",
    "to_value",
    "to_zero",
    "zeros_state",
]
