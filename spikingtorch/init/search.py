"""Search for the factor that gives a rate."""

import math
from collections.abc import Callable
from typing import NamedTuple

# the largest allowed distance from the rate, and the distance at which a search stops, as shares of the rate
TOLERANCE, CLOSE = 0.2, 0.01
# a factor lies between 4**-20 and 4**20
_POWERS = 20


class Search(NamedTuple):
    """The result of a search.

    Attributes:
        factor: the factor whose rate is the nearest.
        rate: with this factor.
        lowest: rate that was met.
        highest: rate that was met.
    """

    factor: float
    rate: float
    lowest: float
    highest: float


def near(one: float, other: float, rate: float, share: float) -> bool:
    """Return True if two rates differ by at most a share of the wanted rate."""
    return abs(one - other) <= share * rate


def search(rate_at: Callable[[float], float], rate: float, most: float = math.inf) -> Search:
    """Find the factor at which a growing function takes a value: powers of 4 up to the value, then bisection.

    Of factors that are equally close, the one nearest to 1 is taken.

    Args:
        rate_at: the function.
        rate: its value.
        most: limit of the factors.

    >>> round(search(lambda f: 0.03 * f**2, 0.12).factor, 1)
    2.0
    """
    tried = {1.0: rate_at(1.0)}
    low = high = 1.0
    grows = tried[1.0] < rate
    for _ in range(_POWERS):
        if grows and high * 4.0 > most:
            break
        low, high = (high, high * 4.0) if grows else (low / 4.0, low)
        here = high if grows else low
        tried[here] = rate_at(here)
        if (tried[here] < rate) != grows:
            break
    while tried[low] < rate <= tried[high] and high / low > 1.0 + 1e-6:
        middle = math.sqrt(low * high)
        tried[middle] = rate_at(middle)
        low, high = (middle, high) if tried[middle] < rate else (low, middle)
        if near(tried[middle], rate, rate, CLOSE / 4.0):
            break
    lowest, highest = min(tried.values()), max(tried.values())
    # if a rate is only approached, huge weights would get a little closer
    grain = CLOSE if lowest < rate <= highest else TOLERANCE / 4.0
    factor = min(tried, key=lambda f: (round(abs(tried[f] / rate - 1.0) / grain), abs(math.log(f))))
    return Search(factor, tried[factor], lowest, highest)


def hint(found: Search, rate: float, is_fed: bool, follows: bool) -> str:
    """Explain why a layer did not reach a rate, and what would help.

    Args:
        found: by the search.
        rate: the wanted rate.
        is_fed: whether the input of the layer is not zero everywhere.
        follows: whether it changes with the factor.
    """
    if not is_fed:
        return "Its input is zero at every step: look at x, and for weights that are zero"
    if not follows:
        return (
            "Its input hardly changes with the factor. Possible reasons: a normalisation without a weight, to "
            "which affine=True gives one; or another input of the layer"
        )
    if found.highest < rate:
        return (
            "Larger weights do not make more neurons fire, for instance because the others never get a positive "
            "input. A lower rate, a lower threshold or positive biases help"
        )
    if found.lowest > rate:
        return (
            "Smaller weights do not make fewer neurons fire, because something else drives them, such as a skip "
            "connection, recurrent weights or a low threshold. A higher rate or a higher threshold helps"
        )
    return "Its rate jumps over that, or does not follow the weights. More samples or steps in x make the jumps smaller"
