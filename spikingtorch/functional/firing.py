"""Firing: the one place that compares a membrane with its threshold, and spike functions with other rules.

A plain surrogate, such as ``Strict``, maps ``u - threshold`` to spikes of 0 and 1. ``Graded``, ``Ternary`` and
``MultiSpike`` return other numbers. They need the membrane and the threshold separately, so they have a method
``fire``. Every neuron takes them all in place of its surrogate.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.reset import Detached, Reset, by_subtraction, none
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class Fired(NamedTuple):
    """The results of firing.

    Attributes:
        v: membrane after the reset, shape (*N,).
        out: output of the neuron, shape (*N,).
        number: number of spikes, for adaptation, 0 or more, shape (*N,).
        fired: 1 where there is a spike and 0 elsewhere, shape (*N,).
    """

    v: Tensor
    out: Tensor
    number: Tensor
    fired: Tensor


def fire(u: Tensor, threshold: Tensor | float, surrogate: Surrogate, reset: Reset) -> Fired:
    """Return the results of firing at a threshold.

        s = surrogate(u - threshold)
        v = reset(u, s, threshold)

    Args:
        u: membrane before the reset, shape (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function; a method ``fire(u, threshold, reset)`` of it replaces this rule.
        reset: what a spike does to the membrane.

    >>> import torch
    >>> fire(torch.tensor([0.5, 1.5]), 1.0, Sigmoid(), by_subtraction).v
    tensor([0.5000, 0.5000])
    """
    if type(surrogate) is Watched:
        fired = fire(u, threshold, surrogate.inside, reset)
        surrogate.met.append(FireRecord(u, threshold, fired.out))
        return fired
    own = getattr(surrogate, "fire", None)
    if own is not None:
        found: Fired = own(u, threshold, reset)
        return found
    s = surrogate(u - threshold)
    return Fired(reset(u, s, threshold), s, s, s)


class FireRecord(NamedTuple):
    """A membrane before the reset and its threshold, as recorded by ``Watched``.

    ``out`` is the output of the neuron, None if it is unknown. ``resting`` says where the neuron rests, so that its
    membrane met no threshold; None if it never rests.
    """

    u: Tensor
    threshold: Tensor | float
    out: Tensor | None = None
    resting: Tensor | None = None


class Watched:
    """A surrogate around another one that records which membranes meet which thresholds, for the records of a step.

    A step that inspects its surrogate sees the one inside; ``fire`` and ``meets`` recognise this object by its type.
    """

    def __init__(self, inside: Any) -> None:
        self.inside = inside
        self.met: list[FireRecord] = []

    def __call__(self, u: Tensor) -> Tensor:
        """Return the result of the surrogate."""
        out: Tensor = self.inside(u)
        return out

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        # isinstance reads it; torch.compile does so before a surrogate is inside
        return type(self.__dict__["inside"]) if "inside" in self.__dict__ else Watched

    def __getattr__(self, name: str) -> Any:
        if name in ("inside", "met"):
            raise AttributeError(name)
        return getattr(self.inside, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.inside == other)

    def __hash__(self) -> int:
        return hash(self.inside)

    def __iter__(self) -> Any:
        return iter(self.inside)

    def __len__(self) -> int:
        return len(self.inside)

    def __getitem__(self, index: Any) -> Any:
        return self.inside[index]


def meets(u: Tensor, threshold: Tensor | float, surrogate: Any) -> None:
    """Record that a membrane meets its threshold, for a step that does not call ``fire``."""
    if type(surrogate) is Watched:
        surrogate.met.append(FireRecord(u, threshold))


def rests(resting: Tensor, surrogate: Any) -> None:
    """Record which neurons of a step rest, whatever the step inside has recorded."""
    if type(surrogate) is Watched and surrogate.met:
        surrogate.met[-1] = surrogate.met[-1]._replace(resting=resting)


@compared_by_type
class Strict(NamedTuple):
    """A spike above the threshold, but not at it: the comparison of snnTorch and of NIR.

        s = 1 where u > threshold, else 0;  derivative as that of the surrogate

    Args:
        surrogate: a plain surrogate.

    >>> import torch
    >>> Strict(Sigmoid())(torch.tensor([-0.1, 0.0, 0.1]))
    tensor([0., 0., 1.])
    """

    surrogate: Surrogate = Sigmoid()

    def primitive(self, u: Tensor) -> Tensor:
        """Return phi(u) of the surrogate."""
        found: Tensor = self.surrogate.primitive(u)  # type: ignore[attr-defined]
        return found

    def __call__(self, u: Tensor) -> Tensor:
        """Return 1 where ``u > 0``, with the derivative of the surrogate."""
        s = self.surrogate(u)
        return (u > 0).to(u.dtype) + (s - s.detach())


@compared_by_type
class Graded(NamedTuple):
    """A spike that carries the membrane: its height before the reset (graded spikes, as Loihi 2 sends them).

        e = surrogate(u - threshold)
        v = reset(u, e, threshold),  out = e u

    Args:
        surrogate: a plain surrogate.

    Source: G. Orchard et al., "Efficient neuromorphic signal processing with Loihi 2", IEEE SiPS 2021,
    doi:10.1109/SiPS52927.2021.00053.
    """

    surrogate: Surrogate = Sigmoid()

    def __call__(self, _: Tensor) -> Tensor:
        """Raise: membrane and threshold are needed apart."""
        return _apart(self)

    def fire(self, u: Tensor, threshold: Tensor | float, reset: Reset) -> Fired:
        """Return the results of firing at a threshold."""
        e = self.surrogate(u - threshold)
        return Fired(reset(u, e, threshold), e * u, e, e)


@compared_by_type
class Ternary(NamedTuple):
    """A spike of 1 from the threshold upwards and of -1 from minus the threshold downwards.

        up = surrogate(u - threshold),  down = surrogate(-u - threshold)
        out = up - down;  a spike of -1 resets as the mirror image of one of 1

    Args:
        surrogate: a plain surrogate.

    Source: Y. Guo et al., "Ternary spike", AAAI 2024, doi:10.1609/aaai.v38i11.29114.

    >>> import torch
    >>> fire(torch.tensor([-1.5, 0.5, 1.5]), 1.0, Ternary(), by_subtraction)[:2]
    (tensor([-0.5000,  0.5000,  0.5000]), tensor([-1.,  0.,  1.]))
    """

    surrogate: Surrogate = Sigmoid()

    def __call__(self, _: Tensor) -> Tensor:
        """Raise: membrane and threshold are needed apart."""
        return _apart(self)

    def fire(self, u: Tensor, threshold: Tensor | float, reset: Reset) -> Fired:
        """Return the results of firing at two thresholds."""
        up, down = self.surrogate(u - threshold), self.surrogate(-u - threshold)
        v = -reset(-reset(u, up, threshold), down, threshold)
        return Fired(v, up - down, up + down, up + down)


@compared_by_type
class MultiSpike(NamedTuple):
    """One spike for each threshold that fits into the membrane, the default of Sinabs.

        n = floor(u / threshold) where u >= threshold, else 0
        dn/du = phi'(u - k threshold) at the nearest multiple, k = max(1, round(u / threshold)), which is held constant

    ``by_subtraction`` subtracts n thresholds. A rule that replaces the membrane does so once.

    Args:
        surrogate: a plain surrogate.

    >>> import torch
    >>> fire(torch.tensor([0.5, 1.0, 3.5]), 1.0, MultiSpike(), by_subtraction)[:2]
    (tensor([0.5000, 0.0000, 0.5000]), tensor([0., 1., 3.]))
    """

    surrogate: Surrogate = Sigmoid()

    def __call__(self, _: Tensor) -> Tensor:
        """Raise: membrane and threshold are needed apart."""
        return _apart(self)

    def fire(self, u: Tensor, threshold: Tensor | float, reset: Reset) -> Fired:
        """Return the results of firing at the multiples of a threshold."""
        ratio = (u / threshold).detach()
        nearest = ratio.round().clamp(min=1.0)
        s = self.surrogate(u - nearest * threshold)
        n = ratio.floor().clamp(min=0.0) + (s - s.detach())
        once = n.clamp(max=1.0)
        rule = reset.rule if isinstance(reset, Detached) else reset
        counts = rule is by_subtraction or rule is none
        return Fired(reset(u, n if counts else once, threshold), n, n, once)


def spike_count(u: Tensor, threshold: Tensor | float, surrogate: Surrogate, most: float | None = None) -> Tensor:
    """Return the number of thresholds that fit into a membrane of whole numbers, exactly, with the gradient of spikes.

        n = floor(u / threshold) where u >= threshold, else 0;  n <= most
        dn/du = phi'(u - k threshold) at the nearest multiple, k from 1 to most, which is held constant

    Args:
        u: membrane before the reset, shape (*N,); u and threshold are multiples of one unit, below 2^24 units.
        threshold: membrane per spike, positive, broadcastable to (*N,).
        surrogate: a plain spike function.
        most: the greatest number; None if there is none.
    """
    ratio = (u / threshold).detach()
    s = surrogate(u - _between(ratio.round(), 1.0, most) * threshold)
    whole = torch.floor(ratio)
    # a quotient that was rounded up to a whole number, and one that was rounded down below it
    whole = torch.where(whole * threshold > u, whole - 1.0, whole)
    whole = torch.where((whole + 1.0) * threshold <= u, whole + 1.0, whole)
    return _between(whole, 0.0, most).detach() + (s - s.detach())


def _between(count: Tensor, least: float, most: float | None) -> Tensor:
    # not clamp, which takes no tensor for one of two bounds: a parameter of a kernel may be one
    count = torch.where(count < least, least, count)
    return count if most is None else torch.where(count > most, most, count)


def _apart(surrogate: Any) -> Tensor:
    name = type(surrogate).__name__
    raise TypeError(
        f"{name} needs the membrane and the threshold apart. In your step, write "
        "`v, out, number, fired = F.fire(u, threshold, surrogate, reset)` in place of surrogate(u - threshold)"
    )
