"""An independent implementation of spikingtorch.functional in JAX: its twin.

It is written from the equations, to check the torch code. It also works alone, under jit, grad and vmap. It follows the
dtype of its inputs: float64 needs `with jax.enable_x64(True):` around the calls. A step takes and returns the same as
the step of the same name in ``spikingtorch.functional``.
"""

from spikingtorch.functional.jax_reference import chips, fixed_point, plasticity, rounding
from spikingtorch.functional.jax_reference.closed_forms import (
    Arctan,
    DoubleGaussian,
    Erf,
    FastSigmoid,
    Gaussian,
    PiecewiseExponential,
    Sigmoid,
    Triangular,
)
from spikingtorch.functional.jax_reference.delay import DelayState, delay_step, delayed, empty_delay
from spikingtorch.functional.jax_reference.firing import Fired, Graded, MultiSpike, Strict, Ternary, fire
from spikingtorch.functional.jax_reference.firing import SpikeFunction as SpikeFunction
from spikingtorch.functional.jax_reference.neurons.adaptive import (
    ALIFState,
    CoarseLIFState,
    SEAdLIFState,
    alif_step,
    coarse_lif_step,
    refractory_gain_from_tau,
    se_adlif_step,
)
from spikingtorch.functional.jax_reference.neurons.integrator import (
    IFState,
    McPittsState,
    SigmaDeltaState,
    if_step,
    mcpitts_step,
    sigma_delta_step,
)
from spikingtorch.functional.jax_reference.neurons.leaky import (
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
from spikingtorch.functional.jax_reference.neurons.nonlinear import (
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
from spikingtorch.functional.jax_reference.neurons.resonate import (
    BalancedResonateAndFireState,
    HarmonicResonateAndFireState,
    ResonateAndFireState,
    balanced_resonate_and_fire_step,
    harmonic_resonate_and_fire_step,
    resonate_and_fire_step,
)
from spikingtorch.functional.jax_reference.neurons.stochastic import (
    StochasticInput,
    StochasticLIFState,
    stochastic_lif_step,
)
from spikingtorch.functional.jax_reference.neurons.synaptic import (
    AlphaLIFState,
    BioLIFInput,
    BioLIFState,
    CubaLIFState,
    alpha_lif_step,
    biolif_step,
    cuba_lif_step,
)
from spikingtorch.functional.jax_reference.norms import time_batch_norm as time_batch_norm
from spikingtorch.functional.jax_reference.recorded import Recorded as Recorded
from spikingtorch.functional.jax_reference.recorded import Returning, recorded
from spikingtorch.functional.jax_reference.reset import Detached as Detached
from spikingtorch.functional.jax_reference.reset import Reset, by_subtraction, detached, none, to_value, to_zero
from spikingtorch.functional.jax_reference.reset import ToValue as ToValue
from spikingtorch.functional.jax_reference.scan import Step, lift, reset_where, time_map, zeros_state
from spikingtorch.functional.jax_reference.scan import scan as scan
from spikingtorch.functional.jax_reference.spike import Parameter as Parameter
from spikingtorch.functional.jax_reference.spike import heaviside
from spikingtorch.functional.jax_reference.surrogate import FromDerivative, FromPrimitive, StraightThrough, Surrogate
from spikingtorch.functional.jax_reference.surrogate import Smooth as Smooth
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
    convolution,
    dense,
    per_channel,
)

# names of jax: those imported as themselves are the twin's alone, scan among them, of which jax has its own
__all__ = ["Step", "lift", "reset_where", "time_map", "zeros_state"]
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
