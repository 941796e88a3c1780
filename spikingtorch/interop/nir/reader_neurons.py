"""Models of each reader's neurons, in float32 like the readers, for certificates without the library.

They are written from the code of the releases in ``targets`` (``snntorch/import_nir.py``,
``norse/torch/utils/import_nir.py``, ``sinabs/nir.py``, ``spikingjelly/activation_based/nir_exchange/from_nir.py``) and
of their neurons. They share no code with the export. In each equation, x is the input of a step, u the membrane at the
threshold, z the spikes and v the membrane after them. All start at zero unless stated otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any

import nir
import numpy as np
import numpy.typing as npt
import torch

from spikingtorch.interop.nir.reference_types import Cell, Given, Shape

Values = npt.NDArray[Any]
# (i, v, x) -> (i, u); u -> z, and (z, u) -> v
Charge = Callable[[Values, Values, Values], tuple[Values, Values]]
Fire = tuple[Callable[[Values], Values], Callable[[Values, Values], Values]]
Build = Callable[[Any, Shape, float], Cell]


class _Neuron:
    """A neuron: it charges its membrane, fires and resets. Without a spike function, its output is the membrane."""

    def __init__(self, charge: Charge, fire: Fire | None, start: Values | None = None) -> None:
        self.charge, self.fire = charge, fire
        self.i = self.v = np.zeros((), np.float32) if start is None else start

    def __call__(self, arriving: Values) -> Given:
        """Go one step further."""
        x = arriving.astype(np.float32)
        self.i, u = self.charge(self.i, self.v, x)
        if self.fire is None:
            self.v = u
            return Given(u)
        spikes, after = self.fire
        z: Values = spikes(u).astype(np.float32)
        self.v = after(z, u)
        return Given(z, u)


def _single(node: Any, *names: str) -> list[float]:
    """Return the parameters that a reader takes for the whole layer."""
    found = []
    for name in names:
        values = np.unique(getattr(node, name))
        _need(values.size == 1, f"{name} differs between neurons")
        found.append(float(values[0]))
    return found


def _need(holds: Any, otherwise: str) -> None:
    """Raise where a reader does so, or leaves a node out."""
    if not holds:
        raise ValueError(otherwise)


def _f32(value: Any) -> Values:
    return np.asarray(value, np.float32)


def _current_first(alpha: Values, beta: Values) -> Charge:
    """Return i = alpha i + x,  u = beta v + i."""

    def charge(i: Values, v: Values, x: Values) -> tuple[Values, Values]:
        i = alpha * i + x
        return i, beta * v + i

    return charge


# -- snnTorch: dt is 1e-4 whatever the user says

_SNNTORCH_DT = 1e-4


def _snntorch_lif(node: Any, _shape: Shape, _dt: float) -> Cell:
    """Leaky with reset_mechanism="zero", reset_delay=False.

    beta = 1 - dt / tau in [0, 1],  u = beta v + x,  z = H(u > threshold),  v = u - z u.
    The threshold is v_threshold / (r dt / tau), and its smallest value counts for all neurons.
    """
    _need(np.allclose(node.v_leak, 0.0), "v_leak is not 0")
    _single(node, "v_threshold")
    scale = node.r * _SNNTORCH_DT / node.tau
    threshold = node.v_threshold if np.allclose(scale, 1.0) else node.v_threshold / np.unique(scale)[0]
    beta = np.clip(_f32(1 - (_SNNTORCH_DT / node.tau)), 0, 1)
    return _Neuron(lambda i, v, x: (i, beta * v + x), _above_to_zero(threshold))


def _snntorch_cuba(node: Any, _shape: Shape, _dt: float) -> Cell:
    """Synaptic: i = alpha i + x,  u = beta v + i, with v reset as above and i not at all."""
    _need(np.allclose(node.v_leak, 0.0), "v_leak is not 0")
    _need(np.allclose(node.r, node.tau_mem / _SNNTORCH_DT), "r is not tau_mem / dt")
    scale = node.w_in * (_SNNTORCH_DT / node.tau_syn)
    threshold = node.v_threshold if np.allclose(scale, 1.0) else node.v_threshold / scale
    _need(np.unique(threshold).size == 1, "v_threshold over w_in dt / tau_syn differs between neurons")
    alpha, beta = (np.clip(_f32(1 - (_SNNTORCH_DT / tau)), 0, 1) for tau in (node.tau_syn, node.tau_mem))
    return _Neuron(_current_first(alpha, beta), _above_to_zero(threshold))


def _above_to_zero(threshold: Any) -> Fire:
    level = _f32(np.unique(threshold)[0])
    _need(level > 0, "a threshold is not above 0, where a reset to zero would spike again")
    return lambda u: u - level > 0, lambda z, u: u - z * u


# -- Norse


def _norse_lif(node: Any, shape: Shape, dt: float) -> Cell:
    """LIFBoxCell: u = v + dt / tau (x + v_leak - v),  z = H(u > v_threshold),  v = (1 - z) u.

    r and v_reset are ignored; v starts at v_leak.
    """
    rise, leak = np.float32(dt) * (1 / _f32(node.tau)), _f32(node.v_leak)
    start = np.broadcast_to(leak, shape)
    return _Neuron(lambda i, v, x: (i, v + rise * (x + leak - v)), _norse_fire(node), start)


def _norse_if(node: Any, _shape: Shape, _dt: float) -> Cell:
    """IAFCell: u = v + x, then as above; r is ignored."""
    return _Neuron(lambda i, v, x: (i, v + x), _norse_fire(node))


def _norse_cuba(node: Any, shape: Shape, dt: float) -> Cell:
    """LIBoxCell and LIFBoxCell: i = i + dt / tau_syn (v_leak - i + w_in x),  u = v + dt / tau_mem (r i + v_leak - v).

    i and v start at v_leak.
    """
    fall, rise = (np.float32(dt) * (1 / _f32(tau)) for tau in (node.tau_syn, node.tau_mem))
    leak, w_in, r = _f32(node.v_leak), _f32(node.w_in), _f32(node.r)

    def charge(i: Values, v: Values, x: Values) -> tuple[Values, Values]:
        i = i + fall * ((leak - i) + w_in * x)
        return i, v + rise * (r * i + leak - v)

    return _Neuron(charge, _norse_fire(node), np.broadcast_to(leak, shape))


def _norse_fire(node: Any) -> Fire:
    level = _f32(node.v_threshold)
    return lambda u: u - level > 0, lambda z, u: (1 - z) * u


# -- Sinabs: a step is 1; thresholds keep the dtype of the file, and membranes follow


def _sinabs_lif(node: Any, shape: Shape, _dt: float) -> Cell:
    """LIF, norm_input=False: u = exp(-1 / tau) v + x,  z = trunc(u / v_threshold) where u > 0,  v = u - z v_threshold.

    r and v_reset are ignored.
    """
    _need(len(shape) == 1, f"a LIF of shape {shape}, for which its check of v_leak fails")
    _need(not node.v_leak.any(), "v_leak is not 0")
    alpha = _decay(node.tau)
    return _Neuron(lambda i, v, x: (i, alpha * v + x), _sinabs_fire(node, None))


def _sinabs_if(node: Any, _shape: Shape, _dt: float) -> Cell:
    """IAF: u = v + x, as above, and v is at least -v_threshold."""
    return _Neuron(lambda i, v, x: (i, v + x), _sinabs_fire(node, -np.asarray(node.v_threshold)))


def _sinabs_li(node: Any, shape: Shape, _dt: float) -> Cell:
    """ExpLeak, norm_input=False: u = exp(-1 / tau) v + x."""
    _need(len(shape) == 1, f"an LI of shape {shape}, for which its check of v_leak fails")
    _need(not node.v_leak.any(), "v_leak is not 0")
    _need((node.r == 1).all(), "r is not 1")
    alpha = _decay(node.tau)
    return _Neuron(lambda i, v, x: (i, alpha * v + x), None)


def _decay(tau: Any) -> Values:
    decay: Values = torch.exp(-1.0 / torch.from_numpy(np.array(tau, np.float32))).numpy()
    return decay


def _sinabs_fire(node: Any, least: Values | None) -> Fire:
    level = np.asarray(node.v_threshold)

    def after(z: Values, u: Values) -> Values:
        v: Values = u - z * level
        return v if least is None else np.maximum(v - least, 0) + least

    return lambda u: (u > 0) * np.trunc(u / level), after


# -- SpikingJelly: one value for a layer


def _spikingjelly_lif(node: Any, shape: Shape, dt: float) -> Cell:
    """LIFNode: u = v + (x - (v - v_reset)) / tau if r = 1,  u = v - (v - v_reset) / tau + x if r = tau; tau in steps.

    z = H(u >= v_threshold),  v = z v_reset + (1 - z) u;  v starts at v_reset, which v_leak has to equal.
    """
    tau, r, v_leak, v_reset = _single(node, "tau", "r", "v_leak", "v_reset")
    tau = tau / dt
    _need(np.isfinite(tau) and tau > 1.0, "tau is not above dt")
    _need(_close(r, 1.0) or _close(r, tau), "r is neither 1 nor tau / dt")
    _need(_close(v_leak, v_reset), "v_leak is not v_reset")
    divisor, rest = np.float32(tau), np.float32(v_reset)
    charges: dict[bool, Charge] = {
        True: lambda i, v, x: (i, v + (x - (v - rest)) / divisor),
        False: lambda i, v, x: (i, v - (v - rest) / divisor + x),
    }
    return _Neuron(charges[_close(r, 1.0)], _spikingjelly_fire(node), np.full(shape, rest))


def _spikingjelly_if(node: Any, shape: Shape, dt: float) -> Cell:
    """IFNode: u = v + x, then as above."""
    r, v_reset = _single(node, "r", "v_reset")
    _need(_close(r, 1.0 / dt), "r is not 1 / dt")
    return _Neuron(lambda i, v, x: (i, v + x), _spikingjelly_fire(node), np.full(shape, np.float32(v_reset)))


def _spikingjelly_cuba(node: Any, shape: Shape, dt: float) -> Cell:
    """CUBALIFNode: i = (1 - dt / tau_syn) i + x,  u = (1 - dt / tau_mem) v + i, then as above; i starts at 0."""
    names = ("tau_syn", "tau_mem", "r", "w_in", "v_leak", "v_reset")
    tau_syn, tau_mem, r, w_in, v_leak, v_reset = _single(node, *names)
    _need(tau_syn >= dt and tau_mem >= dt, "a time constant is less than dt")
    _need(_close(r, tau_mem / dt), "r is not tau_mem / dt")
    _need(_close(w_in, tau_syn / dt), "w_in is not tau_syn / dt")
    _need(_close(v_leak, 0.0), "v_leak is not 0")
    alpha, beta = _f32(1.0 - dt / tau_syn), _f32(1.0 - dt / tau_mem)
    neuron = _Neuron(_current_first(alpha, beta), _spikingjelly_fire(node), np.full(shape, np.float32(v_reset)))
    neuron.i = np.zeros((), np.float32)
    return neuron


def _spikingjelly_fire(node: Any) -> Fire:
    level, rest = map(np.float32, _single(node, "v_threshold", "v_reset"))
    return lambda u: u - level >= 0, lambda z, u: z * rest + (1 - z) * u


def _close(value: float, wanted: float) -> bool:
    return bool(np.isclose(value, wanted, rtol=1e-6, atol=1e-12))


NEURONS: Mapping[str, Mapping[type, Build]] = {
    "snntorch": {nir.LIF: _snntorch_lif, nir.CubaLIF: _snntorch_cuba},
    "norse": {nir.LIF: _norse_lif, nir.IF: _norse_if, nir.CubaLIF: _norse_cuba},
    "sinabs": {nir.LIF: _sinabs_lif, nir.IF: _sinabs_if, nir.LI: _sinabs_li},
    "spikingjelly": {nir.LIF: _spikingjelly_lif, nir.IF: _spikingjelly_if, nir.CubaLIF: _spikingjelly_cuba},
}
