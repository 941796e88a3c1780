"""Checks of the numbers that plasticity is given, in words."""

from collections.abc import Mapping
from typing import Any

import torch

from spikingtorch import functional as F
from spikingtorch import validation as checks


def check_bounds(owner: str, bounds: Any, params: Mapping[str, Any]) -> None:
    """Raise unless bounds hold weights between them.

    Raises:
        TypeError: they are no function, or no numbers.
        ValueError: the lowest weight is above the highest one, the exponent is not positive, or soft bounds meet a
            negative rate, which would scale a fall as if it were a rise.
    """
    if not callable(bounds) or isinstance(bounds, type):
        raise TypeError(
            f"{owner}: bounds={bounds!r}, expected functional.HardBounds(0.0, 1.0), SoftBounds(0.0, 1.0) or unbounded"
        )
    if not isinstance(bounds, F.HardBounds | F.SoftBounds):
        return
    low, high = (torch.as_tensor(each, dtype=torch.float64).cpu() for each in bounds[:2])
    if not bool((low <= high).all()):  # nor NaN
        raise ValueError(f"{owner}: bounds={bounds!r}, expected numbers with low at most high")
    if isinstance(bounds, F.HardBounds):
        return
    checks.check_parameter(owner, "the power of bounds", bounds.power, above=0.0)
    if not bool(low.isfinite().all() and high.isfinite().all()):
        raise ValueError(f"{owner}: bounds={bounds!r}, expected finite numbers; functional.HardBounds takes infinity")
    for name, value in params.items():
        if name.startswith(RATES) and not bool((torch.as_tensor(value) >= 0.0).all()):
            raise ValueError(
                f"{owner}: {name} is negative, and SoftBounds scales it by the distance to the wrong bound. Pass "
                "functional.HardBounds or unbounded"
            )


# how the names of rates begin
RATES = ("rate_", "triplet_")


def check_params(owner: str, params: Mapping[str, Any]) -> None:
    """Raise unless the parameters of a rule are shares, rates and a pairing.

    Raises:
        TypeError: a parameter is no number and no tensor, or the pairing is no function.
        ValueError: a share that a trace keeps is not in [0, 1], or a number is not finite.
    """
    for name, value in params.items():
        if name.startswith("decay"):
            checks.check_parameter(owner, name, value, least=0.0, most=1.0)
        elif name.startswith(RATES):
            checks.check_parameter(owner, name, value)
        elif not callable(value):
            raise TypeError(f"{owner}: {name}={value!r}, expected functional.all_to_all or functional.nearest")
