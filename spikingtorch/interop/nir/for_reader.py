"""Convert a neuron node of NIR to the node with which a library's reader computes the same spikes.

The unit of a membrane is free. Neuron and reader spike alike if the reader's membrane and threshold are s times ours,
and if both rest at zero and reset to zero. So s is the effect of an input of 1 on the reader's membrane, divided by its
effect on ours, for each neuron. The weights do not change.
"""

from collections.abc import Callable, Mapping
from typing import Any

import nir
import numpy as np

from spikingtorch.interop.nir import discretise
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.targets import Target
from spikingtorch.interop.nir.values import Array
from spikingtorch.interop.nir.writing import Writing

# time constant of an integrator, in steps: in float32, 1 - 1 / _ENDLESS and exp(-1 / _ENDLESS) are 1
_ENDLESS = 2.0**40


def for_reader(node: Any, writing: Writing, target: Target) -> Any:
    """Return NIR's neuron in the form of a target's reader; raise NIRError if the reader has no such neuron."""
    made = _NODES[target.name].get(type(node))
    if made is None:
        known = ", ".join(sorted(kind.__name__ for kind in _NODES[target.name]))
        raise NIRError(
            f"layer {writing.name!r} becomes {type(node).__name__} in NIR, which {target.reader} does not compute; its "
            f"neurons are {known}. Export the network without this layer, or choose another target"
        )
    _check_at_zero(node, writing)
    return made(node, writing, target)


def _check_at_zero(node: Any, writing: Writing) -> None:
    """Raise if a membrane that starts at zero leaves zero by itself or after a spike."""
    for field, what in (("v_leak", "leaks towards"), ("v_reset", "is reset to")):
        values = np.ravel(getattr(node, field, 0.0))
        if (values != 0.0).any():
            writing.lose(f"starts at 0 and {what} {values[values != 0.0][0]:g}", f"{field} = 0")


def _gain(node: Any, writing: Writing) -> Array:
    """Return how much an input of 1 adds to a membrane in a step of NIR; raise NIRError unless above zero."""
    how = (writing.dt, writing.discretisation)
    gain: Array
    if isinstance(node, nir.CubaLIF):
        gain = discretise.cuba(node.tau_syn, node.tau_mem, node.r, node.v_leak, node.w_in, *how).gain
    elif isinstance(node, nir.IF):
        gain = discretise.integrator(node.r, writing.dt).gain
    else:
        gain = discretise.leaky(node.tau, node.r, node.v_leak, *how).gain
    if not (gain > 0.0).all():
        raise NIRError(
            f"layer {writing.name!r} multiplies its input by {gain.min():g} (gain), and {_reader(writing)} by a number "
            "above zero; put the factor into the weights before it"
        )
    return gain


def _threshold(node: Any, scale: Array | float, writing: Writing, target: Target) -> Array:
    """Return the threshold of scaled membranes, in float32 like the readers."""
    # the node fires above its threshold, that is from the next number of the network's dtype
    above = np.asarray(node.v_threshold)
    fires = (np.nextafter(above, np.array(np.inf, above.dtype)).astype(np.float64) * scale).astype(np.float32)
    if not (fires > 0.0).all():
        raise NIRError(f"layer {writing.name!r} has a threshold of {fires.min():g}, expected one above zero")
    below: Array = np.nextafter(fires, np.float32(-np.inf))
    return fires if target.at_threshold else below


def _same(what: str, values: Array, writing: Writing) -> Array:
    """Return the common value of all neurons of a layer; raise NIRError if they differ."""
    if np.unique(values).size > 1:
        raise NIRError(
            f"layer {writing.name!r} has neurons of different {what} ({values.min():g} to {values.max():g}), and "
            f"{_reader(writing)} takes one for a layer; use one for all neurons, or a layer for each"
        )
    return values


def _reader(writing: Writing) -> str:
    return "NIR" if writing.target is None else writing.target.reader


def _fields(writing: Writing, r: Array, threshold: Array, **taus: Array) -> dict[str, Any]:
    zeros = np.zeros(writing.shape)
    return {**taus, "r": r + zeros, "v_leak": zeros, "v_threshold": threshold, "v_reset": zeros}


# -- snnTorch: u = (1 - dt / tau) v + x, one threshold for a layer


def _snntorch_lif(node: Any, writing: Writing, target: Target) -> Any:
    tau = node.tau if isinstance(node, nir.LIF) else np.full(writing.shape, writing.dt * _ENDLESS)
    threshold = _threshold(node, 1.0 / _gain(node, writing), writing, target)
    return nir.LIF(**_fields(writing, tau / writing.dt, _same(_OVER_GAIN, threshold, writing), tau=tau))


def _whole_cuba(node: Any, writing: Writing, target: Target) -> Any:
    """Write ``i' = (1 - dt / tau_syn) i + x, u = (1 - dt / tau_mem) v + i'``."""
    threshold = _same(_OVER_GAIN, _threshold(node, 1.0 / _gain(node, writing), writing, target), writing)
    fields = _fields(writing, node.tau_mem / writing.dt, threshold, tau_mem=node.tau_mem, tau_syn=node.tau_syn)
    return nir.CubaLIF(**fields, w_in=node.tau_syn / writing.dt)


_OVER_GAIN = "threshold over gain"


# -- Norse: LIF with r = 1, IF without r, CubaLIF as NIR


def _norse_lif(node: Any, writing: Writing, target: Target) -> Any:
    scale = writing.dt / node.tau / _gain(node, writing)
    return nir.LIF(**_fields(writing, np.ones(1), _threshold(node, scale, writing, target), tau=node.tau))


def _whole_if(node: Any, writing: Writing, target: Target) -> Any:
    """Write ``u = v + x``: r = 1 / dt."""
    zeros, threshold = np.zeros(writing.shape), _threshold(node, 1.0 / _gain(node, writing), writing, target)
    return nir.IF(r=np.ones(1) / writing.dt + zeros, v_threshold=threshold, v_reset=zeros)


def _norse_cuba(node: Any, writing: Writing, target: Target) -> Any:
    threshold = _threshold(node, 1.0, writing, target)
    return nir.CubaLIF(
        **_fields(writing, node.r, threshold, tau_mem=node.tau_mem, tau_syn=node.tau_syn), w_in=node.w_in
    )


# -- Sinabs: u = exp(-1 / tau) v + x in steps, LIF of one axis alone, IF kept above -threshold, r = 1 in all files


def _sinabs_lif(node: Any, writing: Writing, target: Target) -> Any:
    if len(writing.shape) != 1:
        raise NIRError(
            f"layer {writing.name!r} is a LIF of neurons of shape {writing.shape}, and {target.reader} takes LIF of "
            "one axis; flatten before it, or use an IF"
        )
    tau = node.tau if isinstance(node, nir.LIF) else np.full(writing.shape, _ENDLESS)
    threshold = _threshold(node, 1.0 / _gain(node, writing), writing, target)
    return nir.LIF(**_fields(writing, np.ones(1), threshold, tau=tau))


def _sinabs_if(node: Any, writing: Writing, target: Target) -> Any:
    if len(writing.shape) == 1 and not writing.floored:
        return _sinabs_lif(node, writing, target)  # there is no lower bound
    if not writing.floored:
        writing.lose("lets its membrane fall below -threshold", "IF that is kept above it")
    return _whole_if(node, writing, target)


def _sinabs_li(node: Any, writing: Writing, target: Target) -> Any:
    gain = _gain(node, writing)
    if not np.allclose(gain, 1.0, rtol=1e-6, atol=0.0):
        raise NIRError(
            f"layer {writing.name!r} multiplies its input by {gain.min():g} (gain), and LI in {target.reader} by 1; "
            "put the factor into the weights before it, and use ExponentialSynapse"
        )
    return nir.LI(tau=node.tau, r=np.ones(writing.shape), v_leak=np.zeros(writing.shape))


# -- SpikingJelly: one value for a layer, r = 1 or tau / dt


def _spikingjelly_lif(node: Any, writing: Writing, target: Target) -> Any:
    gain, rise = _gain(node, writing), writing.dt / node.tau
    tau = _same("tau", node.tau, writing)
    if not (tau > writing.dt).all():
        raise NIRError(f"layer {writing.name!r} keeps nothing of its membrane, and {target.reader} needs tau > dt")
    shared = np.allclose(gain, rise, rtol=1e-6, atol=0.0)
    threshold = _threshold(node, rise / gain if shared else 1.0 / gain, writing, target)
    r = np.ones(1) if shared else tau / writing.dt
    return nir.LIF(**_fields(writing, r, _same(_OVER_GAIN, threshold, writing), tau=tau))


def _spikingjelly_if(node: Any, writing: Writing, target: Target) -> Any:
    made = _whole_if(node, writing, target)
    _same(_OVER_GAIN, made.v_threshold, writing)
    return made


def _spikingjelly_cuba(node: Any, writing: Writing, target: Target) -> Any:
    _same("tau_syn", node.tau_syn, writing)
    _same("tau", node.tau_mem, writing)
    return _whole_cuba(node, writing, target)


_NODES: Mapping[str, Mapping[type, Callable[[Any, Writing, Target], Any]]] = {
    "snntorch": {nir.IF: _snntorch_lif, nir.LIF: _snntorch_lif, nir.CubaLIF: _whole_cuba},
    "norse": {nir.IF: _whole_if, nir.LIF: _norse_lif, nir.CubaLIF: _norse_cuba},
    "sinabs": {nir.IF: _sinabs_if, nir.LIF: _sinabs_lif, nir.LI: _sinabs_li},
    "spikingjelly": {nir.IF: _spikingjelly_if, nir.LIF: _spikingjelly_lif, nir.CubaLIF: _spikingjelly_cuba},
}
