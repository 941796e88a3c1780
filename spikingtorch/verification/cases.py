"""One record for each neuron: the table for the tests and ``python -m spikingtorch verify``."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax
from spikingtorch.verification import oracles
from spikingtorch.verification.case import BINDING, MARGIN, ORACLE_RESETS, RESETS, Case

__all__ = ["BINDING", "CASES", "LENGTHS", "MARGIN", "ORACLE_RESETS", "RESETS", "WRAPPED", "Case", "by_name"]

LENGTHS = (1, 2, 17)
SURROGATES = (
    F.Sigmoid(),
    F.FastSigmoid(),
    F.Arctan(),
    F.Triangular(),
    F.Gaussian(),
    F.DoubleGaussian(),
    F.Erf(),
    F.PiecewiseExponential(),
    F.StraightThrough(),
)
# every surrogate with its twin, including those from users' functions
TWINS: tuple[tuple[F.Surrogate, Any], ...] = (
    *((surrogate, to_jax(surrogate)) for surrogate in (*SURROGATES, F.Strict())),
    (F.FromPrimitive(torch.tanh), J.FromPrimitive(jnp.tanh)),
    (F.FromDerivative(torch.cos), J.FromDerivative(jnp.cos)),
)
# spike functions with other values than 0 and 1
LEVELS: tuple[tuple[F.Surrogate, Any], ...] = tuple(
    (surrogate, to_jax(surrogate)) for surrogate in (F.Graded(), F.Ternary(), F.MultiSpike())
)
COEFFICIENTS = (
    (F.decay_from_tau, J.decay_from_tau),
    (F.gain_from_tau, J.gain_from_tau),
    (F.refractory_gain_from_tau, J.refractory_gain_from_tau),
    (F.leak_from_w, J.leak_from_w),
)

_THRESHOLD = {"threshold": (0.5, 1.2)}
_LEAK = {"decay": (0.5, 0.98), "gain": (0.5, 1.2)}
_LEAKY = _LEAK | _THRESHOLD
_COARSE = _LEAK | {"refractory_gain": (0.3, 0.6)} | _THRESHOLD
_BIO = {"nudt": (0.2, 0.9), "threshold": (0.2, 0.4)}
_CONDUCTANCES = ((0.0, 3.0), (0.0, 1.0))
_SYNAPSE = {"decay_syn": (0.3, 0.8), "decay": (0.5, 0.95), "gain": (0.3, 0.8)}
_RISE = {"decay_rise": (0.2, 0.6), "gain_rise": (0.4, 0.9)}
_ADAPTS = {"decay_adaptation": (0.7, 0.98), "adaptation": (0.5, 2.0)}
_DECAYS = {"decay": (0.5, 0.98), "decay_w": (0.7, 0.99)}
_FOLLOWS = {"a": (0.0, 1.0), "b": (0.0, 2.0), "q": (0.2, 2.0)}
_EULER = {"leak": (0.1, 0.6), "v_rest": (-0.2, 0.2)}
_UPSTROKE = {"v_rheobase": (0.3, 0.7), "sharpness": (0.2, 0.5)}
_PARABOLA = {"v_critical": (0.5, 0.9), "curvature": (0.5, 1.5)}
_IZHIKEVICH = {"a": (0.02, 0.1), "b": (0.2, 0.26), "d": (2.0, 8.0), "v_recovery": (-2.0, 2.0)}
_OSCILLATES = {"omega": (2.0, 5.0), "dt": (0.05, 0.15)} | _THRESHOLD
_WHOLE = {"decay": (0.5, 0.98)} | _THRESHOLD
_LSB = F.rounding.FixedPoint().lsb
# the share of steps at which a masked neuron does not run
_IDLE = 0.3
_CHIP: dict[str, Any] = {"resets": (), "levels": False, "lsb": _LSB}
_V_MILLIVOLT = F.to_value(torch.tensor(-65.0, dtype=torch.float64))
_IN_MILLIVOLT = (_V_MILLIVOLT, F.detached(_V_MILLIVOLT))
NO_RESET: tuple[F.Reset, ...] = ()


Ranges = dict[str, tuple[float, float]]


def _neuron(name: str, state_type: type[Any], oracle: Any, params: Ranges, **more: Any) -> Case:
    """Return the record of a step with the same name on both sides."""
    return Case(name, step_of(F, name), step_of(J, name), state_type, oracle, params, **more)


def step_of(library: Any, name: str) -> Any:
    """Return the step of a neuron, which the library or one of its modules has."""
    modules = library, library.chips, library.fixed_point
    return next(vars(each)[f"{name}_step"] for each in modules if f"{name}_step" in vars(each))


def _filter(name: str, state_type: type[Any], oracle: Any, params: Ranges, **more: Any) -> Case:
    """Return the record of a step without spikes."""
    return _neuron(name, state_type, oracle, params, resets=NO_RESET, spikes=False, **more)


CASES = (
    _neuron("if", F.IFState, oracles.integrate_and_fire, _THRESHOLD),
    _neuron("lif", F.LIFState, oracles.leaky, _LEAK | _THRESHOLD),
    _neuron("coarse_lif", F.CoarseLIFState, oracles.coarse_lif, _COARSE),
    _neuron("biolif", F.BioLIFState, oracles.biolif, _BIO, inputs=_CONDUCTANCES),
    _neuron("mcpitts", F.McPittsState, oracles.mcpitts, _THRESHOLD, resets=NO_RESET),
    _neuron("spiking_decay", F.SpikingDecayState, oracles.spiking_decay, {"tau": (1.2, 8.0)} | _THRESHOLD),
    _filter("li", F.LIState, oracles.leaky_integrator, _LEAK),
    _neuron("euler_lif", F.EulerLIFState, oracles.euler, _EULER | _THRESHOLD, inputs=((-0.6, 3.0),)),
    _neuron("cuba_lif", F.CubaLIFState, oracles.cuba_lif, _SYNAPSE | _THRESHOLD, inputs=((-0.5, 1.1),)),
    _neuron("alpha_lif", F.AlphaLIFState, oracles.alpha_lif, _RISE | _SYNAPSE | _THRESHOLD, inputs=((-0.6, 1.0),)),
    _neuron("alif", F.ALIFState, oracles.adaptive_leaky, _LEAK | _ADAPTS | _THRESHOLD),
    _neuron(
        *("se_adlif", F.SEAdLIFState, oracles.adapting_leaky, _DECAYS | _FOLLOWS | _THRESHOLD), inputs=((-2.0, 9.0),)
    ),
    _neuron(
        *("exponential_if", F.ExponentialIFState, oracles.exponential_if, _EULER | _UPSTROKE | _THRESHOLD),
        inputs=((-0.5, 2.1),),
        resets=BINDING,
    ),
    _neuron(
        *("adex", F.AdExState, oracles.adex),
        _EULER | _UPSTROKE | _THRESHOLD | {"leak_w": (0.02, 0.2), "a": (0.0, 0.5), "b": (0.0, 0.3)},
        inputs=((-0.6, 2.0),),
        resets=BINDING,
    ),
    _neuron(
        *("quadratic_if", F.QuadraticIFState, oracles.quadratic_if, _EULER | _PARABOLA | _THRESHOLD),
        inputs=((-0.6, 2.4),),
        resets=BINDING,
    ),
    _neuron(
        *("izhikevich", F.IzhikevichState, oracles.izhikevich),
        _IZHIKEVICH | {"dt": (0.5, 1.0), "threshold": (25.0, 35.0)},
        inputs=((0.0, 60.0),),
        resets=_IN_MILLIVOLT,
        at_rest=-65.0,
        levels=False,
    ),
    _neuron(
        *("resonate_and_fire", F.ResonateAndFireState, oracles.resonate_and_fire),
        _OSCILLATES | {"damping": (-1.0, -0.2)},
        inputs=((-4.0, 9.0),),
    ),
    _neuron(
        *("balanced_resonate_and_fire", F.BalancedResonateAndFireState, oracles.balanced_resonate_and_fire),
        _OSCILLATES | {"offset": (0.2, 1.0), "decay_refractory": (0.7, 0.95)},
        inputs=((-4.0, 9.0),),
        resets=NO_RESET,
    ),
    _neuron(
        *("harmonic_resonate_and_fire", F.HarmonicResonateAndFireState, oracles.harmonic_resonate_and_fire),
        _OSCILLATES | {"offset": (0.2, 1.0), "decay_refractory": (0.7, 0.95)},
        inputs=((-4.0, 9.0),),
        resets=NO_RESET,
    ),
    _neuron(
        *("sigma_delta", F.SigmaDeltaState, oracles.sigma_delta, {"threshold": (0.1, 0.5)}),
        inputs=((-0.6, 0.8),),
        resets=NO_RESET,
        levels=False,
    ),
    _neuron(
        *("stochastic_lif", F.StochasticLIFState, oracles.stochastic_leaky, _LEAK | _THRESHOLD),
        inputs=((-0.6, 1.4), (0.0, 1.0)),
        levels=False,
    ),
    _filter("exponential_synapse", F.ExponentialSynapseState, oracles.exponential_synapse, {"decay": (0.3, 0.9)}),
    _filter("alpha_synapse", F.AlphaSynapseState, oracles.alpha_synapse, _RISE | {"decay": (0.3, 0.9)}),
    _filter(
        *("short_term_plasticity", F.ShortTermPlasticityState, oracles.short_term_plasticity),
        {"release": (0.1, 0.6), "decay_facilitation": (0.5, 0.95), "decay_recovery": (0.5, 0.95)},
        inputs=((0.0, 1.0),),
    ),
    _filter(
        *("delay", F.DelayState, partial(oracles.delay, longest=4), {"delay": (0.2, 3.8)}),
        make_rest=partial(F.empty_delay, 4),
    ),
    _neuron("fixed_point_if", F.fixed_point.FixedPointIFState, oracles.fixed_point_if, _THRESHOLD, lsb=_LSB),
    _neuron("fixed_point_lif", F.fixed_point.FixedPointLIFState, oracles.fixed_point_lif, _WHOLE, lsb=_LSB),
    _neuron(
        *("fixed_point_cuba_lif", F.fixed_point.FixedPointCubaLIFState, oracles.fixed_point_cuba_lif),
        {"decay_syn": (0.3, 0.8)} | _WHOLE,
        inputs=((-0.5, 1.1),),
        lsb=_LSB,
    ),
    _neuron(
        *("xylo_lif", F.chips.XyloLIFState, oracles.xylo_lif),
        {"leak_syn": (0.2, 0.6), "leak": (0.1, 0.5), "bias": (-0.1, 0.1)} | _THRESHOLD,
        **_CHIP,
    ),
    _neuron(
        *("loihi_lif", F.chips.LoihiLIFState, oracles.loihi_lif),
        {"decay_syn": (0.3, 0.8), "decay": (0.5, 0.98), "bias": (-0.1, 0.1)} | _THRESHOLD,
        **_CHIP,
    ),
    _neuron(*("speck_iaf", F.chips.SpeckIAFState, oracles.speck_iaf, {"v_min": (-0.6, -0.1)} | _THRESHOLD), **_CHIP),
)
# synapses, each with a shape of the neurons and of the weights
SYNAPSES: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("dense", (8,), (8, 8)),
    ("per_channel", (2, 4), (2, 1)),
    ("convolution", (2, 4), (2, 2, 3)),
)
RECURRENT = tuple(case.recurrent(*synapse) for case in CASES for synapse in SYNAPSES)
SPIKING = tuple(case for case in CASES if case.spikes)
WITH_RESETS = tuple((case, reset) for case in CASES for reset in case.rules())


def by_name(value: object) -> str:
    """Name a neuron, a surrogate or a reset rule."""
    rule = getattr(value, "rule", None)
    if rule is not None:
        return f"{by_name(rule)}, detached"
    if isinstance(value, F.ToValue):
        return "to_value"
    return str(getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__)


def _masked_step(state: Any, x: Any, **params: Any) -> Any:
    return F.Masked(F.lif_step)(state, (x[0], x[1] >= _IDLE), **params)


def _masked_twin(state: Any, x: Any, **params: Any) -> Any:
    return J.Masked(J.lif_step)(state, (x[0], x[1] >= _IDLE), **params)


def _at_rest(state_type: type[Any], x: Tensor) -> Any:
    """Return the state of a leaky neuron with one more tensor."""
    return state_type(F.LIFState(torch.zeros_like(x)), torch.zeros_like(x))


def masked_leaky(x: Any, **params: Any) -> oracles.Result:
    """Return the outputs of each neuron for only the inputs of its running steps."""
    current, chance = x
    out, last = np.zeros_like(current), np.zeros_like(current[0])
    for n in range(current.shape[1]):
        runs = chance[:, n] >= _IDLE
        if not runs.any():
            continue
        own: dict[str, Any] = {
            name: value[n : n + 1] if isinstance(value, np.ndarray) else value for name, value in params.items()
        }
        spikes, state = oracles.leaky(current[runs, n : n + 1], **own)
        out[runs, n], last[n] = spikes[:, 0], state["v"][0]
    return out, {"v": last}


def _returning_leaky(x: oracles.Array, **params: Any) -> Any:
    """Return spikes and membranes; the membrane after a step is the membrane after a sequence that ends there."""
    spikes, last = oracles.leaky(x, **params)
    v = np.stack([oracles.leaky(x[: t + 1], **params)[1]["v"] for t in range(len(x))])
    return (spikes, v), last


_RESTS: tuple[Any, Any] = (F.Refractory(F.lif_step, 2.0), J.Refractory(J.lif_step, 2.0))
_RISES: tuple[Any, Any] = (F.RelativeRefractory(F.lif_step, 0.6, 0.7), J.RelativeRefractory(J.lif_step, 0.6, 0.7))
_RETURNS: tuple[Any, Any] = (F.Returning(F.lif_step, ("v",)), J.Returning(J.lif_step, ("v",)))

# wrappers around the step of the leaky neuron: rests, masks, and fields of the state as outputs
WRAPPED = (
    Case(
        *("refractory_lif", *_RESTS, F.RefractoryState, partial(oracles.refractory_leaky, steps=2.0), _LEAKY),
        make_rest=partial(_at_rest, F.RefractoryState),
    ),
    Case(
        *("relative_refractory_lif", *_RISES, F.RelativeRefractoryState),
        partial(oracles.relative_refractory_leaky, jump=0.6, decay_threshold=0.7),
        _LEAKY,
        make_rest=partial(_at_rest, F.RelativeRefractoryState),
    ),
    Case("masked_lif", _masked_step, _masked_twin, F.LIFState, masked_leaky, _LEAKY, ((-0.6, 1.4), (0.0, 1.0))),
    Case("returning_lif", *_RETURNS, F.LIFState, _returning_leaky, _LEAKY, levels=False),
)
