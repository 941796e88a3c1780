"""Steps in snnTorch 1.0.0's order of operations, which resets a membrane one step after its spike.

The classes of ``like.snntorch`` have the equations and the parameters. A spike has the gradient of the surrogate.
If a step only defines u, ``fired`` does the rest; it takes ``**firing``: threshold, surrogate and reset_mechanism.

    state, x        the state at t-1 and the input of this step, each of shape (*N,)
    factor          height of a spike, graded_spikes_factor
    weight          weight of a neuron's own last spike, V
    r, inverse      R and 1 / (R C) of a circuit; keep is 1 - time_step / (R C)
    scale           log(alpha) / (log(beta) - log(alpha)) + 1

Parameters are broadcastable to (*N,). A step returns the state at t and its output, each of shape (*N,).
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.firing import Strict
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Arctan

Mechanism: TypeAlias = Literal["subtract", "zero", "none"]
Value: TypeAlias = Tensor | float
ATAN: Surrogate = Strict(Arctan(alpha=2.0))


class LeakyState(NamedTuple):
    """State of ``leaky_step`` and ``lapicque_step``: v, the membrane before the reset."""

    v: Tensor


class SynapticState(NamedTuple):
    """State of ``synaptic_step``: v, the membrane before the reset, and i, the synaptic current."""

    v: Tensor
    i: Tensor


class AlphaState(NamedTuple):
    """State of ``alpha_step``: v, the membrane, and e and n, the exciting and the inhibiting current."""

    v: Tensor
    e: Tensor
    n: Tensor


def reset_due(v: Tensor, threshold: Value, surrogate: Surrogate) -> Tensor:
    """Return r[t], 1 where the membrane was above the threshold one step before; no gradient."""
    return surrogate(v - threshold).detach()


def delayed_reset(u: Tensor, r: Tensor, threshold: Value, reset_mechanism: Mechanism) -> Tensor:
    """Return u with the delayed reset: u - r threshold, u - r u, or u unchanged."""
    if reset_mechanism == "subtract":
        return u - r * threshold
    return u - r * u if reset_mechanism == "zero" else u


def fired(
    before: Tensor,
    u: Tensor,
    threshold: Value = 1.0,
    surrogate: Surrogate = ATAN,
    reset_mechanism: Mechanism = "subtract",
) -> tuple[Tensor, Tensor]:
    """Return the membrane u with the reset that v[t-1], before, makes due, v[t], and its spikes s[t].

    subtract:  v[t] = u - r[t] threshold,    zero:  v[t] = u - r[t] u,    none:  v[t] = u
    """
    v = delayed_reset(u, reset_due(before, threshold, surrogate), threshold, reset_mechanism)
    return v, surrogate(v - threshold)


def leaky_step(
    state: LeakyState,
    x: Tensor,
    *,
    beta: Value,
    threshold: Value = 1.0,
    surrogate: Surrogate = ATAN,
    reset_mechanism: Mechanism = "subtract",
    factor: Value = 1.0,
) -> tuple[LeakyState, Tensor]:
    """Advance a ``Leaky`` neuron by one step."""
    r = reset_due(state.v, threshold, surrogate)
    if reset_mechanism == "zero":
        u = beta * ((1 - r) * state.v) + x
    else:
        u = delayed_reset(beta * state.v + x, r, threshold, reset_mechanism)
    return LeakyState(v=u), surrogate(u - threshold) * factor


def lapicque_step(
    state: LeakyState, x: Tensor, *, r: Value, inverse: Value, time_step: Value, keep: Value, **firing: Any
) -> tuple[LeakyState, Tensor]:
    """Advance a ``Lapicque`` neuron by one step."""
    v, s = fired(state.v, x * r * inverse * time_step + keep * state.v, **firing)
    return LeakyState(v), s


def synaptic_step(
    state: SynapticState, x: Tensor, *, alpha: Value, beta: Value, **firing: Any
) -> tuple[SynapticState, Tensor]:
    """Advance a ``Synaptic`` neuron by one step."""
    i = alpha * state.i + x
    v, s = fired(state.v, beta * state.v + i, **firing)
    return SynapticState(v, i), s


def alpha_step(
    state: AlphaState,
    x: Tensor,
    *,
    alpha: Value,
    beta: Value,
    scale: Value,
    threshold: Value = 1.0,
    surrogate: Surrogate = ATAN,
    reset_mechanism: Mechanism = "zero",
) -> tuple[AlphaState, Tensor]:
    """Advance an ``Alpha`` neuron by one step."""
    r = reset_due(state.v, threshold, surrogate)
    e = alpha * state.e + x
    n = beta * state.n - x
    u = scale * (e + n)
    if reset_mechanism == "zero":
        e, n, u = e - e * r, n - n * r, u - u * r
    elif reset_mechanism == "subtract":
        e, n, u = e - threshold * r, n - n * r, u - (-state.n) * r
    return AlphaState(v=u, e=e, n=n), surrogate(u - threshold)


class RLeakyState(NamedTuple):
    """State of ``rleaky_step``: v, the membrane before the reset, and s, the output."""

    v: Tensor
    s: Tensor


class RSynapticState(NamedTuple):
    """State of ``rsynaptic_step``: v, the membrane before the reset, i, the current, and s, the output."""

    v: Tensor
    i: Tensor
    s: Tensor


def fed_leaky_step(state: LeakyState, x: Tensor, *, beta: Value, **firing: Any) -> tuple[LeakyState, Tensor]:
    """Advance an ``RLeaky`` neuron, whose reset to zero removes its input as well; recurrent currents are part of x."""
    v, s = fired(state.v, beta * state.v + x, **firing)
    return LeakyState(v), s


def rleaky_step(
    state: RLeakyState, x: Tensor, *, beta: Value, weight: Value, **firing: Any
) -> tuple[RLeakyState, Tensor]:
    """Advance an ``RLeaky`` neuron with ``all_to_all=False`` by one step."""
    v, s = fired(state.v, beta * state.v + x + state.s * weight, **firing)
    return RLeakyState(v, s), s


def rsynaptic_step(
    state: RSynapticState, x: Tensor, *, alpha: Value, beta: Value, weight: Value, **firing: Any
) -> tuple[RSynapticState, Tensor]:
    """Advance an ``RSynaptic`` neuron with ``all_to_all=False`` by one step."""
    i = alpha * state.i + x + state.s * weight
    v, s = fired(state.v, beta * state.v + i, **firing)
    return RSynapticState(v, i, s), s


@compared_by_type
class Undelayed(NamedTuple):
    """A step of snnTorch with ``reset_delay=False``: a spike resets at once, and the gradient flows through it.

        v, out = step(...)
        d = out / factor - r[t]
        subtract:  v[t] = v - d threshold,    zero:  v[t] = v - d v,    none:  v[t] = v

    A membrane that is above the threshold after its reset is reset once more in the next step: that is r[t].
    """

    step: Callable[..., tuple[Any, Tensor]]

    def __call__(
        self,
        state: Any,
        x: Tensor,
        *,
        threshold: Value = 1.0,
        surrogate: Surrogate = ATAN,
        reset_mechanism: Mechanism = "subtract",
        **params: Any,
    ) -> tuple[Any, Tensor]:
        """Advance one step, with the parameters of the step."""
        params |= {"threshold": threshold, "surrogate": surrogate, "reset_mechanism": reset_mechanism}
        after, out = self.step(state, x, **params)
        due = out / params.get("factor", 1.0) - reset_due(state.v, threshold, surrogate)
        return after._replace(v=delayed_reset(after.v, due, threshold, reset_mechanism)), out
