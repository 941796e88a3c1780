"""Convert the continuous equations of NIR to steps of length dt, and back.

Each neuron of NIR is a linear differential equation between its spikes. So each discretisation gives an affine step,
and only the numbers differ. The input is constant during a step.

    "exact"         the solution of the whole equation at the end of the step
    "exponential"   each equation solved in turn: first the current, which is then held, and with it the membrane
    "euler"         one step of Euler's method for each equation in turn, as simulators do

The first two differ only for neurons with a synaptic current. Euler's method has the decay 1 - dt / tau in place of
exp(-dt / tau), an error of O(dt / tau) in a step. The exponential method has an error of O(dt / tau_syn) in the
contribution of a current.
"""

from numbers import Real
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from spikingtorch.interop.nir.errors import NIRError

Array: TypeAlias = npt.NDArray[np.float64]
Discretisation: TypeAlias = Literal["exact", "exponential", "euler"]
DISCRETISATIONS: tuple[str, ...] = get_args(Discretisation)


class Leaky(NamedTuple):
    """A membrane with one variable: ``u = decay v + gain x + offset``."""

    decay: Array
    gain: Array
    offset: Array


class Cuba(NamedTuple):
    """A membrane behind a current: ``i' = decay_syn i + gain_syn x``, ``u = decay v + carry i + gain x + offset``.

    The membrane takes the current of the step before, i, and the input that changes it to i'.
    """

    decay_syn: Array
    gain_syn: Array
    decay: Array
    carry: Array
    gain: Array
    offset: Array


def check_time(owner: str, dt: float, discretisation: str) -> None:
    """Raise NIRError unless the discretisation exists and dt is a length of a step."""
    if not isinstance(dt, Real) or isinstance(dt, bool) or not 0.0 < dt < 1e300:
        raise NIRError(
            f"{owner}: dt={dt!r} ({type(dt).__name__}), expected the length of a step in seconds, a number above zero: "
            "dt=1e-4 for instance"
        )
    if discretisation not in DISCRETISATIONS:
        listed = ", ".join(map(repr, DISCRETISATIONS))
        raise NIRError(f"{owner}: discretisation={discretisation!r} is not one of {listed}")


def integrator(r: Any, dt: float) -> Leaky:
    """Return the step of ``v' = r x``, the same for all discretisations."""
    gain = np.asarray(r, dtype=np.float64) * dt
    return Leaky(np.ones_like(gain), gain, np.zeros_like(gain))


def leaky(tau: Any, r: Any, v_leak: Any, dt: float, discretisation: Discretisation) -> Leaky:
    """Return the step of ``tau v' = v_leak - v + r x``.

    decay = exp(-dt / tau), by Euler's method 1 - dt / tau;  gain = (1 - decay) r,  offset = (1 - decay) v_leak
    """
    decay, rise = _decay_and_rise(tau, dt, discretisation)
    zeros = np.zeros(np.broadcast_shapes(np.shape(tau), np.shape(r), np.shape(v_leak)))
    return Leaky(decay + zeros, rise * r + zeros, rise * v_leak + zeros)


def cuba(tau_syn: Any, tau_mem: Any, r: Any, v_leak: Any, w_in: Any, dt: float, discretisation: Discretisation) -> Cuba:
    """Return the step of ``tau_syn i' = w_in x - i``, ``tau_mem v' = v_leak - v + r i``.

    With a and b the decays of membrane and current:

        in turn     i' = b i + (1 - b) w_in x,   u = a v + (1 - a) (r i' + v_leak)
        exact       the current relaxes from i to w_in x within the step, and what i adds to the membrane is
                    r / tau_mem int_0^dt exp(-(dt - s) / tau_mem) exp(-s / tau_syn) ds
    """
    decay, rise = _decay_and_rise(tau_mem, dt, discretisation)
    decay_syn, rise_syn = _decay_and_rise(tau_syn, dt, discretisation)
    if discretisation == "exact":
        # exp(-dt / tau_mem) times the integral of exp(s (1 / tau_mem - 1 / tau_syn)), which has no pole at equal taus
        z = dt / np.asarray(tau_mem, dtype=np.float64) - dt / np.asarray(tau_syn, dtype=np.float64)
        carry = r * decay * (dt / np.asarray(tau_mem, dtype=np.float64)) * _mean_growth(z)
        gain = w_in * (rise * r - carry)
    else:
        carry = rise * r * decay_syn
        gain = rise * r * rise_syn * w_in
    zeros = np.zeros(np.broadcast_shapes(*map(np.shape, (tau_syn, tau_mem, r, v_leak, w_in))))
    return Cuba(*[each + zeros for each in (decay_syn, rise_syn * w_in, decay, carry, gain, rise * v_leak)])


def tau_of(decay: Any, dt: float, discretisation: Discretisation) -> Array:
    """Return the time constant of a membrane's share kept over a step; raise ValueError if there is none."""
    decay = np.asarray(decay, dtype=np.float64)
    if not ((decay > 0.0) & (decay < 1.0)).all():
        wrong = decay[~((decay > 0.0) & (decay < 1.0))].flat[0]
        raise ValueError(f"a membrane that keeps {wrong:g} of itself at each step has no time constant")
    return np.asarray(dt / (1.0 - decay) if discretisation == "euler" else -dt / np.log(decay), dtype=np.float64)


def _decay_and_rise(tau: Any, dt: float, discretisation: Discretisation) -> tuple[Array, Array]:
    """Return the share that is kept over a step, and 1 minus this share."""
    ratio = dt / np.asarray(tau, dtype=np.float64)
    return (1.0 - ratio, ratio) if discretisation == "euler" else (np.exp(-ratio), -np.expm1(-ratio))


def _mean_growth(z: Array) -> Array:
    """Return the mean of exp(z s) for s from 0 to 1: (exp(z) - 1) / z, and 1 at z = 0."""
    safe = np.where(z == 0.0, 1.0, z)
    return np.where(z == 0.0, 1.0, np.expm1(safe) / safe)
