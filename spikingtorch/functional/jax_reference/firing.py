"""Firing, common to all neurons: from the membrane before the reset to the spikes and the membrane after it.

A spike function is a surrogate f, alone or inside Strict, Graded, Ternary or MultiSpike.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, cast

import jax
import jax.numpy as jnp

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.jax_reference.closed_forms import Sigmoid
from spikingtorch.functional.jax_reference.reset import Detached, Reset, by_subtraction, none
from spikingtorch.functional.jax_reference.spike import Parameter, spike, widened
from spikingtorch.functional.jax_reference.surrogate import Smooth, Surrogate


class Fired(NamedTuple):
    """The results of firing at the end of a step, each of shape (*N,).

    Attributes:
        v: membrane after the reset.
        out: the output of the neuron.
        number: of its spikes, at least 0.
        fired: 1 where there is a spike, else 0.
    """

    v: jax.Array
    out: jax.Array
    number: jax.Array
    fired: jax.Array


@compared_by_type
class Strict(NamedTuple):
    """Surrogate that spikes above the threshold only, not at it; its derivative is that of the surrogate."""

    surrogate: Surrogate = Sigmoid()

    @widened
    def __call__(self, u: jax.Array) -> jax.Array:
        """Return 1 where u > 0, else 0."""
        return spike(jnp.where(u > 0, u, -1.0), (self.surrogate(u),), (1.0,))

    def primitive(self, u: jax.Array) -> jax.Array:
        """Return phi of the surrogate."""
        return cast(Smooth, self.surrogate).primitive(u)

    def derivative(self, u: jax.Array) -> jax.Array:
        """Return phi' of the surrogate."""
        return cast(Smooth, self.surrogate).derivative(u)


@compared_by_type
class Graded(NamedTuple):
    """Spikes that carry the membrane u."""

    surrogate: Surrogate = Sigmoid()

    def __call__(self, _: jax.Array) -> jax.Array:
        """Raise a TypeError: membrane and threshold are needed apart."""
        _apart(self)

    def fire(self, u: jax.Array, threshold: Parameter, reset: Reset) -> Fired:
        """Return out = e u, for e = f(u - threshold)."""
        e = self.surrogate(u - threshold)
        return Fired(v=reset(u, e, threshold), out=e * u, number=e, fired=e)


@compared_by_type
class Ternary(NamedTuple):
    """Spikes of both signs, +1 from threshold > 0 upwards and -1 from -threshold downwards."""

    surrogate: Surrogate = Sigmoid()

    def __call__(self, _: jax.Array) -> jax.Array:
        """Raise a TypeError: membrane and threshold are needed apart."""
        _apart(self)

    def fire(self, u: jax.Array, threshold: Parameter, reset: Reset) -> Fired:
        """Return out = up - down, for up = f(u - threshold) and down = f(-u - threshold).

        A negative spike resets like a positive spike of the neuron with the opposite sign: v = -reset(-v1, down,
        threshold), where v1 = reset(u, up, threshold).
        """
        up, down = self.surrogate(u - threshold), self.surrogate(-u - threshold)
        v1 = reset(u, up, threshold)
        fired = up + down
        return Fired(v=-reset(-v1, down, threshold), out=up - down, number=fired, fired=fired)


@compared_by_type
class MultiSpike(NamedTuple):
    """Several spikes in a step: one for each threshold > 0 that fits into the membrane u."""

    surrogate: Surrogate = Sigmoid()

    def __call__(self, _: jax.Array) -> jax.Array:
        """Raise a TypeError: membrane and threshold are needed apart."""
        _apart(self)

    def fire(self, u: jax.Array, threshold: Parameter, reset: Reset) -> Fired:
        """Return out = n = floor(u / threshold) where u >= threshold, else 0.

        Its derivative is phi'(y), y = u - threshold m the distance from the nearest multiple of the threshold, whose
        index m = max(1, round(u / threshold)) is held constant. Subtraction removes n thresholds from the membrane; the
        other rules act on fired = min(n, 1).
        """
        n = self._number(u, threshold)
        # Not jnp.minimum, which halves the gradient at n = 1.
        fired = jnp.where(n <= 1, n, 1)
        return Fired(v=reset(u, n if _counts(reset) else fired, threshold), out=n, number=n, fired=fired)

    def _number(self, u: jax.Array, threshold: Parameter) -> jax.Array:
        hold = jax.lax.stop_gradient
        m = hold(jnp.maximum(1, jnp.round(u / threshold)))
        nearest = self.surrogate(u - threshold * m)
        n = hold(self.surrogate(u - threshold) * jnp.maximum(1, jnp.floor(u / threshold)))
        # The bracket is exactly zero: it adds only its derivative.
        return n + (nearest - hold(nearest))


SpikeFunction = Surrogate | Graded | Ternary | MultiSpike


def fire(u: jax.Array, threshold: Parameter, surrogate: SpikeFunction, reset: Reset) -> Fired:
    """Let neurons fire, and reset those that do.

        s[t] = f(u[t] - threshold)
        v[t] = reset(u[t], s[t], threshold)

    A method ``fire(u, threshold, reset)`` of the surrogate replaces this rule, as Graded, Ternary and MultiSpike
    describe theirs. Arguments and results are those of ``spikingtorch.functional.fire``.
    """
    own: Callable[..., Fired] | None = getattr(surrogate, "fire", None)
    if own is not None:
        return own(u, threshold, reset)
    s = surrogate(u - threshold)
    return Fired(v=reset(u, s, threshold), out=s, number=s, fired=s)


class Watched:
    """A spike function around another one that notes which membranes meet which thresholds, for records."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside
        self.met: list[tuple[jax.Array, Parameter]] = []

    def __call__(self, u: jax.Array) -> jax.Array:
        """Return the spikes of the one inside."""
        spikes: jax.Array = self.inside(u)
        return spikes

    def fire(self, u: jax.Array, threshold: Parameter, reset: Reset) -> Fired:
        """Return the results of the one inside."""
        self.met.append((u, threshold))
        return fire(u, threshold, self.inside, reset)

    def __getattr__(self, name: str) -> Any:
        if name in ("inside", "met"):
            raise AttributeError(name)
        return getattr(self.inside, name)


def meets(u: jax.Array, threshold: Parameter, surrogate: Any) -> None:
    """Note that a membrane meets its threshold, for a step that fires without ``fire``."""
    if isinstance(surrogate, Watched):
        surrogate.met.append((u, threshold))


def _apart(surrogate: Any) -> NoReturn:
    name = type(surrogate).__name__
    raise TypeError(
        f"{name} needs the membrane and the threshold apart. In your step, write "
        "`v, out, number, fired = fire(u, threshold, surrogate, reset)` in place of surrogate(u - threshold)"
    )


def _counts(reset: Reset) -> bool:
    """Return True if the rule takes a number of spikes."""
    while isinstance(reset, Detached):
        reset = reset.rule
    return reset is by_subtraction or reset is none
