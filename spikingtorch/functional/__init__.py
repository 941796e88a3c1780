"""The stateless core: neurons as pure functions ``step(state, x, **params) -> (state, spike)``, and scan over time."""

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.dispatch.backend import Backend
from spikingtorch.functional.dispatch.explain import Explanation
from spikingtorch.functional.eligibility import Linearized, Partials
from spikingtorch.functional.firing import Fired, Graded, MultiSpike, Strict, Ternary, fire
from spikingtorch.functional.loop import Step
from spikingtorch.functional.masked import Masked
from spikingtorch.functional.neurons.adaptive import (
    ALIFState,
    CoarseLIFState,
    alif_step,
    coarse_lif_step,
    refractory_gain_from_tau,
)
from spikingtorch.functional.neurons.chips import (
    LoihiLIFState,
    SpeckIAFState,
    XyloLIFState,
    loihi_lif_step,
    speck_iaf_step,
    xylo_lif_step,
)
from spikingtorch.functional.neurons.delay import DelayState, delay_step, delayed, empty_delay
from spikingtorch.functional.neurons.fixed_point import (
    FixedPointCubaLIFState,
    FixedPointIFState,
    FixedPointLIFState,
    fixed_point_cuba_lif_step,
    fixed_point_if_step,
    fixed_point_lif_step,
)
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
from spikingtorch.functional.plasticity.bounds import HardBounds, SoftBounds, unbounded
from spikingtorch.functional.plasticity.factors import all_to_all, nearest
from spikingtorch.functional.plasticity.homeostasis import adapt_threshold, normalize_weight, scale_weight
from spikingtorch.functional.plasticity.reward import EligibilityTraces, RewardModulated
from spikingtorch.functional.plasticity.stdp import PairTraces, TripletTraces, pair_stdp, triplet_stdp
from spikingtorch.functional.recorded import Recorded as Recorded  # the class of ``recorded``
from spikingtorch.functional.recorded import Returning, recorded
from spikingtorch.functional.recurrent import Recurrent, RecurrentState, convolution, dense, per_channel
from spikingtorch.functional.refractory_period import (
    Refractory,
    RefractoryState,
    RelativeRefractory,
    RelativeRefractoryState,
)
from spikingtorch.functional.reset import Detached as Detached  # the class of ``detached``
from spikingtorch.functional.reset import Reset, by_subtraction, detached, none, to_value, to_zero
from spikingtorch.functional.reset import ToValue as ToValue  # the class of ``to_value``
from spikingtorch.functional.rounding import (
    FixedPoint,
    Overflow,
    Rounding,
    overflow_to_nan,
    round_floor,
    round_half_even,
    round_half_up,
    round_trunc,
    saturate,
    wrap,
)
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
from spikingtorch.functional.traces import OnlineState, OnlineStep, with_traces

__all__ = ["Backend", "Explanation", "Step", "explain_scan", "lift", "reset_where", "scan", "time_map", "zeros_state"]
__all__ += ["EulerLIFState", "IFState", "LIFState", "LIState", "McPittsState", "SigmaDeltaState", "SpikingDecayState"]
__all__ += ["euler_lif_step", "if_step", "li_step", "lif_step"]
__all__ += ["mcpitts_step", "sigma_delta_step", "spiking_decay_step"]
__all__ += ["ALIFState", "CoarseLIFState", "alif_step", "coarse_lif_step"]
__all__ += ["StochasticInput", "StochasticLIFState", "stochastic_lif_step"]
__all__ += ["AlphaLIFState", "BioLIFInput", "BioLIFState", "CubaLIFState"]
__all__ += ["alpha_lif_step", "biolif_step", "cuba_lif_step"]
__all__ += ["AdExState", "ExponentialIFState", "IzhikevichCurve", "IzhikevichState", "QuadraticIFState"]
__all__ += ["adex_step", "exponential_if_step", "izhikevich_step", "quadratic_if_step"]
__all__ += ["BalancedResonateAndFireState", "ResonateAndFireState"]
__all__ += ["balanced_resonate_and_fire_step", "resonate_and_fire_step"]
__all__ += ["LoihiLIFState", "SpeckIAFState", "XyloLIFState", "loihi_lif_step", "speck_iaf_step", "xylo_lif_step"]
__all__ += ["FixedPointCubaLIFState", "FixedPointIFState", "FixedPointLIFState"]
__all__ += ["fixed_point_cuba_lif_step", "fixed_point_if_step", "fixed_point_lif_step"]
__all__ += ["FixedPoint", "Rounding", "round_floor", "round_half_even", "round_half_up", "round_trunc"]
__all__ += ["Overflow", "overflow_to_nan", "saturate", "wrap"]
__all__ += ["AlphaSynapseState", "ExponentialSynapseState", "ShortTermPlasticityState"]
__all__ += ["alpha_synapse_step", "exponential_synapse_step", "short_term_plasticity_step"]
__all__ += ["DelayState", "delay_step", "delayed", "empty_delay"]
__all__ += ["decay_from_tau", "gain_from_tau", "leak_from_w", "refractory_gain_from_tau"]
__all__ += ["Arctan", "Erf", "FastSigmoid", "Gaussian"]
__all__ += ["PiecewiseExponential", "Sigmoid", "StraightThrough", "Triangular"]
__all__ += ["Fired", "FromDerivative", "FromPrimitive", "Surrogate", "heaviside"]
__all__ += ["Graded", "MultiSpike", "Strict", "Ternary", "fire"]
__all__ += ["Reset", "by_subtraction", "detached", "none", "to_value", "to_zero"]
__all__ += ["Recurrent", "RecurrentState", "convolution", "dense", "per_channel"]
__all__ += ["Masked", "Returning", "recorded"]
__all__ += ["Refractory", "RefractoryState", "RelativeRefractory", "RelativeRefractoryState"]
__all__ += ["PairTraces", "TripletTraces", "all_to_all", "nearest", "pair_stdp"]
__all__ += ["HardBounds", "SoftBounds", "triplet_stdp", "unbounded"]
__all__ += ["EligibilityTraces", "RewardModulated", "adapt_threshold", "normalize_weight", "scale_weight"]
__all__ += ["Linearized", "OnlineState", "OnlineStep", "Partials", "with_traces"]
__all__ += ["event_conv1d", "event_conv2d", "event_linear"]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
