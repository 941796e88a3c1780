"""Convert a spiking layer to a node of NIR: turn the numbers of its step into time constants and resistances."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import nir
import numpy as np
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.reset import ToValue
from spikingtorch.interop.nir import neurons
from spikingtorch.interop.nir.discretise import Array, cuba
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.for_reader import for_reader
from spikingtorch.interop.nir.like_neurons import as_ours
from spikingtorch.interop.nir.values import as_array, just_below
from spikingtorch.interop.nir.writing import Writing
from spikingtorch.layers.reset_value import with_value
from spikingtorch.layers.steplayer import StepLayer


def neuron_of(layer: StepLayer, writing: Writing) -> Any:
    """Return the node of a layer, without its recurrent weights; raise NIRError if there is none."""
    step, params = layer.step, _defaults(layer.step) | layer.step_params()
    if not hasattr(layer, "input_weights"):  # which a node of a neuron does not hold
        step, params = as_ours(step, params, writing)
    make = _NODES.get(step)
    if make is None:
        nearest = _NEAREST.get(step)
        kind = step_name(step)
        if nearest is None:
            raise NIRError(
                f"layer {writing.name!r} ({type(layer).__name__}, step {kind}) is a neuron without a primitive of NIR, "
                "and none is near to it. Those that have one: IF, LIF, ParametricLIF, LI, CubaLIF, McPitts, Delay, "
                "SpikingDecay, ExponentialSynapse, and the layers of spikingtorch.like with their equations, which "
                "docs/nir.md lists"
            )
        writing.lose(f"is a neuron without a primitive ({kind})", nearest[0])
        make = nearest[1]
    if layer.refractory is not None:
        writing.lose("rests after its spikes (refractory)", "the same neuron without rest")
    _check_rest(layer, writing)
    try:
        node = make(params, writing)
        return node if writing.target is None else for_reader(node, writing, writing.target)
    except NIRError:
        raise
    except ValueError as error:
        raise NIRError(f"layer {writing.name!r}: {error}") from error


def _defaults(step: Callable[..., Any]) -> dict[str, Any]:
    """Return the optional parameters of a step."""
    given = inspect.signature(step).parameters.values()
    return {each.name: each.default for each in given if each.default is not each.empty}


def _check_rest(layer: StepLayer, writing: Writing) -> None:
    """Raise if a sequence does not start from zero."""
    rest = layer.rest_state(torch.zeros(1, *writing.shape, dtype=writing.dtype))
    if any(bool((leaf != 0).any()) for leaf in leaves_of(rest) if isinstance(leaf, Tensor)):
        writing.lose("does not start at zero", "the same neuron, started at zero")


class _Membrane(NamedTuple):
    """``u = decay v + gain x + offset``, as floats or tensors."""

    decay: Any
    gain: Any
    offset: Any = 0.0


def _lif(membrane: _Membrane, params: dict[str, Any], writing: Writing) -> Any:
    threshold, v_reset = _firing(params, writing)
    decay, gain, offset = map(writing.array, membrane)
    if (decay == 1.0).all() and not offset.any():
        return nir.IF(r=gain / writing.dt, v_threshold=threshold, v_reset=v_reset)
    tau, rise = writing.tau(membrane.decay), 1.0 - decay
    return nir.LIF(tau=tau, r=gain / rise, v_leak=offset / rise, v_threshold=threshold, v_reset=v_reset)


def _li(membrane: _Membrane, writing: Writing) -> Any:
    decay, gain, offset = map(writing.array, membrane)
    if (decay == 1.0).all() and not offset.any():
        return nir.I(r=gain / writing.dt)
    rise = 1.0 - decay
    return nir.LI(tau=writing.tau(membrane.decay), r=gain / rise, v_leak=offset / rise)


def _cuba_lif(params: dict[str, Any], writing: Writing) -> Any:
    """Write ``i' = b i + x, u = a v + g i' + offset``, with the equations solved one after the other."""
    if writing.discretisation == "exact":
        raise NIRError(
            f"layer {writing.name!r}: it solves the equations of its current and its membrane one after the "
            'other, unlike discretisation="exact"; leave it out, or pass "exponential"'
        )
    decay, decay_syn, gain = (writing.array(params[name]) for name in ("decay", "decay_syn", "gain"))
    common: dict[str, Any] = {
        "tau_syn": writing.tau(params["decay_syn"]),
        "tau_mem": writing.tau(params["decay"]),
        "r": gain / (1.0 - decay),
        "v_leak": writing.array(params.get("offset", 0.0)) / (1.0 - decay),
        "w_in": 1.0 / (1.0 - decay_syn),
    }
    if "threshold" not in params:
        return nir.CubaLI(**common)
    threshold, v_reset = _firing(params, writing)
    return nir.CubaLIF(**common, v_threshold=threshold, v_reset=v_reset)


def _imported_cuba(params: dict[str, Any], writing: Writing, spiking: bool = True) -> Any:
    """Write the step of an imported CubaLIF or CubaLI, in the discretisation of its import.

    ``carry`` is r (1 - a) times the mean share of the current left over a step; r follows from it.
    """
    decay, carry, offset = (writing.array(params[name]) for name in ("decay", "carry", "offset"))
    tau_mem, tau_syn = writing.tau(params["decay"]), writing.tau(params["decay_syn"])
    zeros, ones = np.zeros(writing.shape), np.ones(writing.shape)
    unit = cuba(tau_syn, tau_mem, ones, zeros, ones, writing.dt, writing.discretisation)
    r, w_in = carry / unit.carry, writing.array(params["gain_syn"]) / unit.gain_syn
    if not np.allclose(unit.gain * r * w_in, writing.array(params["gain"]), rtol=1e-5, atol=0.0):
        raise NIRError(
            f"layer {writing.name!r} was read in another discretisation than {writing.discretisation!r}; pass "
            "discretisation= as it was given to from_nir"
        )
    common: dict[str, Any] = {"tau_syn": tau_syn, "tau_mem": tau_mem, "r": r, "w_in": w_in}
    common["v_leak"] = offset / (1.0 - decay)
    if not spiking:
        return nir.CubaLI(**common)
    threshold, v_reset = _firing(params, writing)
    return nir.CubaLIF(**common, v_threshold=threshold, v_reset=v_reset)


def _firing(params: dict[str, Any], writing: Writing) -> tuple[Array, Array]:
    """Return the threshold above which the neuron fires, and the membrane after a spike."""
    threshold, surrogate = params["threshold"], params["surrogate"]
    if writing.target is not None and writing.target.counts:
        return _counting(params, writing)
    if isinstance(surrogate, F.Graded | F.Ternary | F.MultiSpike):
        writing.lose(f"fires by {type(surrogate).__name__}, with other numbers than 0 and 1", "spikes of 0 and 1")
    return _above(threshold, surrogate, writing), _reset(params, writing)


def _counting(params: dict[str, Any], writing: Writing) -> tuple[Array, Array]:
    """Return threshold and reset of a neuron that fires once for each threshold in its membrane."""
    if not isinstance(params["surrogate"], F.MultiSpike):
        writing.lose("fires once in a step at most", "as many spikes as the membrane holds thresholds, F.MultiSpike()")
    rule = _plain(params["reset"])
    if rule is not F.by_subtraction:
        writing.lose(f"resets {_name(rule)}", "reset by subtraction, F.by_subtraction")
    return _above(params["threshold"], params["surrogate"], writing), np.zeros(writing.shape)


def _above(threshold: Any, surrogate: Any, writing: Writing) -> Array:
    """Return v_threshold such that ``v > v_threshold`` equals the layer's comparison, in its dtype."""
    here = as_array(threshold, writing.shape, writing.dtype)
    # a layer of this library also fires at its threshold, unlike NIR
    return here if isinstance(surrogate, F.Strict) else just_below(here, writing.dtype)


def _reset(params: dict[str, Any], writing: Writing) -> Array:
    rule = params["reset"]
    if "v_reset" in params:
        rule = with_value(rule, params["v_reset"])
    rule = _plain(rule)
    if isinstance(rule, ToValue):
        return writing.array(rule.v_reset)
    if rule is not F.to_zero:
        writing.lose(f"resets {_name(rule)}, and not to a value", "reset to zero, F.to_zero")
    return np.zeros(writing.shape)


def _plain(rule: Any) -> Any:
    """Return a reset rule without its treatment of the gradient, which changes no spike."""
    return rule.rule if isinstance(rule, F.Detached) else rule


def _name(rule: Any) -> str:
    return getattr(rule, "__name__", repr(rule))


_NODES: dict[Any, Callable[[dict[str, Any], Writing], Any]] = {
    F.if_step: lambda p, w: _lif(_Membrane(1.0, 1.0), p, w),
    F.lif_step: lambda p, w: _lif(_Membrane(p["decay"], p["gain"]), p, w),
    F.euler_lif_step: lambda p, w: _lif(_Membrane(1.0 - p["leak"], p["leak"], p["leak"] * p["v_rest"]), p, w),
    F.spiking_decay_step: lambda p, w: _lif(_Membrane(1.0 / p["tau"], 1.0), p, w),
    neurons.leaky_step: lambda p, w: _lif(_Membrane(p["decay"], p["gain"], p["offset"]), p, w),
    F.li_step: lambda p, w: _li(_Membrane(p["decay"], p["gain"]), w),
    F.exponential_synapse_step: lambda p, w: _li(_Membrane(p["decay"], 1.0), w),
    neurons.leaky_readout_step: lambda p, w: _li(_Membrane(p["decay"], p["gain"], p["offset"]), w),
    F.cuba_lif_step: _cuba_lif,
    neurons.cuba_step: _imported_cuba,
    neurons.cuba_readout_step: lambda p, w: _imported_cuba(p, w, spiking=False),
    F.mcpitts_step: lambda p, w: nir.Threshold(threshold=_above(p["threshold"], p["surrogate"], w)),
    F.delay_step: lambda p, w: _delay(p, w),
}
# neurons without a primitive, and their form in an approximate export
_NEAREST: dict[Any, tuple[str, Callable[[dict[str, Any], Writing], Any]]] = {
    F.alif_step: ("LIF without adaptation", _NODES[F.lif_step]),
    F.stochastic_lif_step: ("LIF without noise", _NODES[F.lif_step]),
    F.coarse_lif_step: ("LIF with one gain", _NODES[F.lif_step]),
    F.alpha_lif_step: ("CubaLIF, whose current rises at once", _cuba_lif),
}


def _delay(params: dict[str, Any], writing: Writing) -> Any:
    steps = writing.array(params["delay"])
    if (steps != np.round(steps)).any():
        writing.lose("delays by shares of a step", "whole steps")
    return nir.Delay(delay=np.round(steps) * writing.dt)
