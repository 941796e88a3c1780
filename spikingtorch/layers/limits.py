"""Limits of the parameters of neurons: the values they may have, and the range in which learnable ones are kept.

The parameter itself is stored, not a function of it. An optimizer may move it anywhere. Before a layer computes with
the parameter, it sets the parameter to the nearest value in the range (projected gradient descent). If code is traced
or transformed, nothing may be written. The layer then computes the same value, with the gradient of the parameter,

    p = clamp(q, low, high),   dL/dq = dL/dp

With ``constrain="mirror"`` nothing is written. The layer computes with the mirror image of a parameter that is out of
the range, and the gradient changes its sign there. For a positive parameter that is

    p = |q|,   dL/dq = sign(q) dL/dp
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.torch_private import part_of
from spikingtorch.validation import check_parameter, check_reset, check_surrogate, has_values, value_range

# the least value of a positive learnable parameter: about one millionth, exact in every floating dtype
FLOOR = 2.0**-20


class Limits(NamedTuple):
    """The values that a parameter may have."""

    above: float | None = None  # a lower bound that is itself excluded
    least: float = -math.inf
    most: float = math.inf
    learned: "Limits | None" = None  # of a learnable parameter, if they are narrower
    test: Callable[[str, Any], None] | None = None  # of what is no number: raises for a value that is not valid

    def check(self, owner: str, name: str, value: Any, learns: bool) -> None:
        """Raise unless the value of a parameter, a float or a tensor, is within the limits."""
        if self.test is not None:
            self.test(owner, value)
            return
        check_parameter(owner, name, value, above=self.above, least=self.least, most=self.most)
        if learns and self.learned is not None:
            try:
                self.learned.check(owner, name, value, False)
            except ValueError as error:
                raise ValueError(f"{error}, since it learns. constrain=False lets it go") from None

    def clamp(self, owner: str, name: str, parameter: nn.Parameter) -> None:
        """Clamp a parameter to the limits, in place, if it may be written on.

        On the CPU, a parameter within the limits is not written on, so that graphs that hold it stay valid. A graph
        that holds a clamped parameter raises in its backward pass, as after any write in place. On other devices, a
        check would make the host wait. So the parameter is always clamped, and autograd does not count the write. If
        several processes have parts of a parameter, each clamps its own. NaN and infinities raise ValueError.
        """
        here = part_of(parameter)
        if not here.is_cpu:
            if has_values(here):
                here.data.clamp_(self.least, self.most)
        elif (bounds := value_range(owner, name, here)) and not (self.least <= bounds[0] and bounds[1] <= self.most):
            with torch.no_grad():
                here.clamp_(self.least, self.most)

    def mirrored(self, value: Tensor) -> Tensor:
        """Return the value, reflected at a limit that it is beyond; the rest as ``within``."""
        inner = self.learned or self
        low = next((each for each in (self.above, inner.above) if each is not None), inner.least)
        if low > -math.inf:
            value = torch.where(value < low, 2.0 * low - value, value)
        if inner.most < math.inf:
            value = torch.where(value > inner.most, 2.0 * inner.most - value, value)
        return inner.within(value)

    def within(self, value: Tensor) -> Tensor:
        """Return the nearest value within the limits, with the gradient of the value."""
        return value.detach().clamp(self.least, self.most) + (value - value.detach())


FLOORED = Limits(above=0.0, least=FLOOR)
POSITIVE = Limits(above=0.0, learned=FLOORED)
SHARE = Limits(least=0.0, most=1.0)
THRESHOLD = Limits(learned=FLOORED)
DIVISOR = Limits(above=0.0, learned=Limits(least=1.0))
DAMPING = Limits(most=0.0)
ANY = Limits()
# the parameters that every layer may have besides those of its neuron
COMMON = {"dt": POSITIVE, "refractory": Limits(least=0.0)}


class Mirrored(NamedTuple):
    """A map of parameters, of which some are reflected at their limits first."""

    map: Callable[[dict[str, Any]], dict[str, Any]]
    limits: tuple[tuple[str, Limits], ...]

    def __call__(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of the step."""
        return self.map(stored | {name: limits.mirrored(stored[name]) for name, limits in self.limits})


def limits_of(owner: str, limits: Any, name: str) -> Limits | None:
    """Return the limits of a parameter in those of its layer, or None; raise TypeError if they are no limits."""
    instead = f"limits = {{{name!r}: Limits(least=0.0, most=1.0)}}"
    if not isinstance(limits, Mapping):
        raise TypeError(
            f"{owner}: limits is a {type(limits).__name__}, expected a dict from names of parameters to Limits of "
            f"spikingtorch.layers.limits: {instead}"
        )
    found = limits.get(name)
    if found is None or isinstance(found, Limits):
        return found
    raise TypeError(f"{owner}: limits[{name!r}] is {found!r}, expected Limits of spikingtorch.layers.limits: {instead}")


KINDS = {"surrogate": Limits(test=check_surrogate), "reset_rule": Limits(test=check_reset)}
FIRES: dict[str, Any] = {"threshold": THRESHOLD, **KINDS}
