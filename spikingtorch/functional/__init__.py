"""The stateless core: neurons as pure functions ``step(state, x, **params) -> (state, spike)``, and scan over time."""

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.dispatch.eligibility import Backend
from spikingtorch.functional.dispatch.explain import Explanation
from spikingtorch.functional.eligibility import Linearized, Partials
from spikingtorch.functional.firing import Fired, Graded, MultiSpike, Strict, Ternary, fire
from spikingtorch.functional.loop import Step
from spikingtorch.functional.masked import Masked
from spikingtorch.functional.neurons.adaptive import ALIFState, alif_step
from spikingtorch.functional.neurons.delay import DelayState, delay_step, delayed, empty_delay
from spikingtorch.functional.neurons.integrator import (
    IFState,
    McPittsState,
    SigmaDeltaState,
    if_step,
    mcpitts_step,
    sigma_delta_step,
)
from spikingtorch.functional.neurons.leaky import (
    EulerLIFState,
    LIFState,
    LIState,
    SpikingDecayState,
    decay_from_tau,
    euler_lif_step,
    gain_from_tau,
    leak_from_w,
    li_step,
    lif_step,
    spiking_decay_step,
)
from spikingtorch.functional.neurons.nonlinear import (
    AdExState,
    ExponentialIFState,
    IzhikevichCurve,
    IzhikevichState,
    QuadraticIFState,
    adex_step,
    exponential_if_step,
    izhikevich_step,
    quadratic_if_step,
)
from spikingtorch.functional.neurons.refractory import CoarseLIFState, coarse_lif_step, refractory_gain_from_tau
from spikingtorch.functional.neurons.resonate import (
    BalancedResonateAndFireState,
    ResonateAndFireState,
    balanced_resonate_and_fire_step,
    resonate_and_fire_step,
)
from spikingtorch.functional.neurons.stochastic import StochasticInput, StochasticLIFState, stochastic_lif_step
from spikingtorch.functional.neurons.synapses import (
    AlphaSynapseState,
    ExponentialSynapseState,
    ShortTermPlasticityState,
    alpha_synapse_step,
    exponential_synapse_step,
    short_term_plasticity_step,
)
from spikingtorch.functional.neurons.synaptic import (
    AlphaLIFState,
    BioLIFInput,
    BioLIFState,
    CubaLIFState,
    alpha_lif_step,
    biolif_step,
    cuba_lif_step,
)
from spikingtorch.functional.online import Online, OnlineState, online
from spikingtorch.functional.plasticity.bounds import HardBounds, SoftBounds, unbounded
from spikingtorch.functional.plasticity.factors import all_to_all, nearest
from spikingtorch.functional.plasticity.homeostasis import adapt_threshold, normalize_weight, scale_weight
from spikingtorch.functional.plasticity.reward import EligibilityTraces, RewardModulated
from spikingtorch.functional.plasticity.stdp import PairTraces, TripletTraces, pair_stdp, triplet_stdp
from spikingtorch.functional.recorded import Recorded, Returning, recorded
from spikingtorch.functional.recurrent import Recurrent, RecurrentState, convolution, dense, per_channel
from spikingtorch.functional.refractory_period import (
    Refractory,
    RefractoryState,
    RelativeRefractory,
    RelativeRefractoryState,
)
from spikingtorch.functional.reset import Detached, Reset, ToValue, by_subtraction, detached, none, to_value, to_zero
from spikingtorch.functional.scan import explain_scan, scan
from spikingtorch.functional.sparse.layers import event_conv1d, event_conv2d, event_linear
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
    "ALIFState",
    "AdExState",
    "AlphaLIFState",
    "AlphaSynapseState",
    "Arctan",
    "Backend",
    "BalancedResonateAndFireState",
    "BioLIFInput",
    "BioLIFState",
    "CoarseLIFState",
    "CubaLIFState",
    "DelayState",
    "Detached",
    "EligibilityTraces",
    "Erf",
    "EulerLIFState",
    "Explanation",
    "ExponentialIFState",
    "ExponentialSynapseState",
    "FastSigmoid",
    "Fired",
    "FromDerivative",
    "FromPrimitive",
    "Gaussian",
    "Graded",
    "HardBounds",
    "IFState",
    "IzhikevichCurve",
    "IzhikevichState",
    "LIFState",
    "LIState",
    "Linearized",
    "Masked",
    "McPittsState",
    "MultiSpike",
    "Online",
    "OnlineState",
    "PairTraces",
    "Partials",
    "PiecewiseExponential",
    "QuadraticIFState",
    "Recorded",
    "Recurrent",
    "RecurrentState",
    "Refractory",
    "RefractoryState",
    "RelativeRefractory",
    "RelativeRefractoryState",
    "Reset",
    "ResonateAndFireState",
    "Returning",
    "RewardModulated",
    "ShortTermPlasticityState",
    "SigmaDeltaState",
    "Sigmoid",
    "SoftBounds",
    "SpikingDecayState",
    "Step",
    "StochasticInput",
    "StochasticLIFState",
    "StraightThrough",
    "Strict",
    "Surrogate",
    "Ternary",
    "ToValue",
    "Triangular",
    "TripletTraces",
    "adapt_threshold",
    "adex_step",
    "alif_step",
    "all_to_all",
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
    "delayed",
    "dense",
    "detached",
    "empty_delay",
    "euler_lif_step",
    "event_conv1d",
    "event_conv2d",
    "event_linear",
    "explain_scan",
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
    "lift",
    "mcpitts_step",
    "nearest",
    "none",
    "normalize_weight",
    "online",
    "pair_stdp",
    "per_channel",
    "quadratic_if_step",
    "recorded",
    "refractory_gain_from_tau",
    "reset_where",
    "resonate_and_fire_step",
    "scale_weight",
    "scan",
    "short_term_plasticity_step",
    "sigma_delta_step",
    "spiking_decay_step",
    "stochastic_lif_step",
    "time_map",
    "to_value",
    "to_zero",
    "triplet_stdp",
    "unbounded",
    "zeros_state",
]
