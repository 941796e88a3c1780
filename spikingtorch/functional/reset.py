"""Reset rules: what a spike does to the membrane, ``rule(u, spike, threshold) -> v``.

A rule is a plain function of the membrane before the reset, the spike (0 or 1) and the threshold. The gradient flows
through the spike as well; ``detached(rule)`` stops it there.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type


class Reset(Protocol):
    """Anything callable that gives the membrane after a step."""

    def __call__(self, u: Tensor, spike: Tensor, threshold: Tensor | float, /) -> Tensor:
        """Return v, of the shape of u."""
        ...


def to_zero(u: Tensor, spike: Tensor, threshold: Tensor | float) -> Tensor:
    """Return ``(1 - spike) u``: a spike discharges the membrane, as in the older package.

    An infinite membrane is discharged as well: it counts as the largest number of its dtype.
    """
    return (1.0 - spike) * _limited(u)


@compared_by_type
class ToValue(NamedTuple):
    """The reset rule ``(1 - spike) u + spike v_reset``; made by ``to_value(v_reset)``.

    Attributes:
        v_reset: membrane after a spike, broadcastable to it; a tensor may require a gradient.
    """

    v_reset: Tensor | float

    def __call__(self, u: Tensor, spike: Tensor, threshold: Tensor | float) -> Tensor:
        """Return u without a spike, and v_reset with one."""
        return (1.0 - spike) * _limited(u) + spike * self.v_reset


def to_value(v_reset: Tensor | float) -> ToValue:
    """Return the rule ``(1 - spike) u + spike v_reset``: a spike sets the membrane to a value.

    >>> to_value(-0.5)(torch.tensor([0.8, 1.2]), torch.tensor([0.0, 1.0]), 1.0)
    tensor([ 0.8000, -0.5000])
    """
    return ToValue(v_reset)


def _limited(u: Tensor) -> Tensor:
    """Return u with the largest number of its dtype in place of infinity, because 0 times infinity is NaN."""
    return u.clamp(max=torch.finfo(u.dtype).max)


def by_subtraction(u: Tensor, spike: Tensor, threshold: Tensor | float) -> Tensor:
    """Return ``u - spike threshold``: a spike costs one threshold and the rest stays."""
    return u - spike * threshold


def none(u: Tensor, spike: Tensor, threshold: Tensor | float) -> Tensor:
    """Return ``u``: a spike does not change the membrane."""
    return u


class Detached(NamedTuple):
    """A reset rule whose spike carries no gradient; made by ``detached(rule)``."""

    rule: Reset

    def __call__(self, u: Tensor, spike: Tensor, threshold: Tensor | float) -> Tensor:
        """Return ``rule(u, stop_gradient(spike), threshold)``."""
        return self.rule(u, spike.detach(), threshold)


def detached(rule: Reset) -> Detached:
    """Return the rule with the gradient stopped through the spike (F. Zenke, T. P. Vogels, Neural Comput. 33 (2021)).

    doi:10.1162/neco_a_01367 finds that this trains better with steep surrogates.

    >>> detached(to_zero) == detached(to_zero)
    True
    """
    return rule if isinstance(rule, Detached) else Detached(rule)
