"""The stateless core: neurons as pure functions ``step(state, x, **params) -> (state, spike)``, and scan over time."""

from spikingtorch.functional import chips, fixed_point, plasticity, rounding
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
    SEAdLIFState,
    alif_step,
    coarse_lif_step,
    refractory_gain_from_tau,
    se_adlif_step,
)
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
from spikingtorch.functional.neurons.resonate import (
    BalancedResonateAndFireState,
    HarmonicResonateAndFireState,
    ResonateAndFireState,
    balanced_resonate_and_fire_step,
    harmonic_resonate_and_fire_step,
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
from spikingtorch.functional.scan import explain_scan, scan
from spikingtorch.functional.sparse.connections import Connections
from spikingtorch.functional.sparse.delayed import delayed_linear
from spikingtorch.functional.sparse.edges import sparse_linear
from spikingtorch.functional.sparse.layers import event_conv1d, event_conv2d, event_linear
from spikingtorch.functional.spike import Surrogate, heaviside
from spikingtorch.functional.state import reset_where, zeros_state
from spikingtorch.functional.surrogate import (
    Arctan,
    DoubleGaussian,
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
__all__ += ["chips", "fixed_point", "plasticity", "rounding"]
__all__ += ["EulerLIFState", "IFState", "LIFState", "LIState", "McPittsState", "SigmaDeltaState", "SpikingDecayState"]
__all__ += ["euler_lif_step", "if_step", "li_step", "lif_step"]
__all__ += ["mcpitts_step", "sigma_delta_step", "spiking_decay_step"]
__all__ += ["ALIFState", "CoarseLIFState", "SEAdLIFState", "alif_step", "coarse_lif_step", "se_adlif_step"]
__all__ += ["StochasticInput", "StochasticLIFState", "stochastic_lif_step"]
__all__ += ["AlphaLIFState", "BioLIFInput", "BioLIFState", "CubaLIFState"]
__all__ += ["alpha_lif_step", "biolif_step", "cuba_lif_step"]
__all__ += ["AdExState", "ExponentialIFState", "IzhikevichCurve", "IzhikevichState", "QuadraticIFState"]
__all__ += ["adex_step", "exponential_if_step", "izhikevich_step", "quadratic_if_step"]
__all__ += ["BalancedResonateAndFireState", "HarmonicResonateAndFireState", "ResonateAndFireState"]
__all__ += ["balanced_resonate_and_fire_step", "harmonic_resonate_and_fire_step", "resonate_and_fire_step"]
__all__ += ["AlphaSynapseState", "ExponentialSynapseState", "ShortTermPlasticityState"]
__all__ += ["alpha_synapse_step", "exponential_synapse_step", "short_term_plasticity_step"]
__all__ += ["DelayState", "delay_step", "delayed", "empty_delay"]
__all__ += ["decay_from_tau", "gain_from_tau", "leak_from_w", "refractory_gain_from_tau"]
__all__ += ["Arctan", "DoubleGaussian", "Erf", "FastSigmoid", "Gaussian"]
__all__ += ["PiecewiseExponential", "Sigmoid", "StraightThrough", "Triangular"]
__all__ += ["Fired", "FromDerivative", "FromPrimitive", "Surrogate", "heaviside"]
__all__ += ["Graded", "MultiSpike", "Strict", "Ternary", "fire"]
__all__ += ["Reset", "by_subtraction", "detached", "none", "to_value", "to_zero"]
__all__ += ["Recurrent", "RecurrentState", "convolution", "dense", "per_channel"]
__all__ += ["Masked", "Returning", "recorded"]
__all__ += ["Refractory", "RefractoryState", "RelativeRefractory", "RelativeRefractoryState"]
__all__ += ["Linearized", "OnlineState", "OnlineStep", "Partials", "with_traces"]
__all__ += ["Connections", "delayed_linear", "event_conv1d", "event_conv2d", "event_linear", "sparse_linear"]


def __getattr__(name: str) -> object:
    """Say where a name is that has moved into a module."""
    there = [each.__name__ for each in (chips, fixed_point, plasticity, rounding) if name in each.__all__]
    found = f"; there is {there[0]}.{name}" if there else ""
    raise AttributeError(f"module 'spikingtorch.functional' has no attribute {name!r}{found}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
