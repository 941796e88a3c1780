"""Numbers worked out by hand at places that drawn inputs do not reach: thresholds met exactly, infinity, saturation.

Each takes a side, torch or its twin, and what makes its arrays of a tensor, and says whether the numbers are right.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import torch

from spikingtorch import functional as F
from tests.functional import test_firing, test_neurons

Convert = Callable[[Any], Any]


def _array(convert: Convert, *numbers: float) -> Any:
    return convert(torch.tensor(numbers, dtype=torch.float64))


def _infinite_membranes(side: Any, convert: Convert) -> bool:
    u, one = _array(convert, math.inf, 2.0), _array(convert, 1.0, 1.0)
    rules = ((side.to_zero, [0.0, 0.0]), (side.to_value(-0.5), [-0.5, -0.5]))
    silent = side.to_zero(u, 0.0 * one, 1.0).tolist()
    return all([rule(u, one, 1.0).tolist() == want for rule, want in rules]) and silent[0] > 1e308 and silent[1] == 2.0


def _right(check: Callable[..., None], *given: Any) -> bool:
    check(*given)
    return True


def _saturated(side: Any, convert: Convert) -> bool:
    """The exponent stops at 20, so that u = v + leak sharpness exp(20), but for -v + x, which is 0."""
    state, x = side.ExponentialIFState(v=_array(convert, 30.0)), _array(convert, 30.0)
    params = {"leak": 0.5, "v_rheobase": 0.0, "sharpness": 1.0, "threshold": 1e12}
    v = side.exponential_if_step(state, x, **params)[0].v.tolist()[0]
    return math.isclose(v, 30.0 + 0.5 * math.exp(20.0), rel_tol=1e-12)


def _delays(side: Any, convert: Convert) -> bool:
    """Whole delays hand on what came so many steps ago, with the oldest at the longest delay."""
    past = side.DelayState((_array(convert, 2.0), _array(convert, 3.0)))
    found = [side.delay_step(past, _array(convert, 1.0), delay=delay)[1].tolist()[0] for delay in (0.0, 1.0, 2.0, 0.5)]
    return found == [1.0, 2.0, 3.0, 1.5]


def _slopes_of_delays(side: Any, convert: Convert) -> bool:
    """At a whole delay the slope is that to the right: what came a step earlier, less what came then."""
    past = side.DelayState((_array(convert, 2.0), _array(convert, 5.0)))
    slopes = [
        _slope(side, convert, delay, lambda d: side.delay_step(past, _array(convert, 1.0), delay=d)[1])
        for delay in (0.0, 1.0, 2.0)
    ]
    return slopes == [1.0, 3.0, -5.0]


_DELAYED = {0.0: [1.0, 4.0, 5.0], 1.0: [2.0, 1.0, 4.0], 2.0: [3.0, 2.0, 1.0], 0.5: [1.5, 2.5, 4.5]}


def _delayed_sequences(side: Any, convert: Convert) -> bool:
    """The same for a whole sequence, by a number, by a tensor for all neurons and by one for each."""
    past = side.DelayState((_array(convert, 2.0)[None], _array(convert, 3.0)[None]))
    xs = _array(convert, 1.0, 4.0, 5.0)[:, None, None]
    right = []
    for number, want in _DELAYED.items():
        for delay in (number, _array(convert, number)[0], _array(convert, number)):
            for dim, sequence in ((0, xs), (1, xs.swapaxes(0, 1)), (2, xs.swapaxes(0, 2))):
                state, out = side.delayed(past, sequence, delay, dim)
                right += [out.shape == sequence.shape, out.reshape(3).tolist() == want]
                right += [[each.tolist() for each in state.past] == [[[5.0]], [[4.0]]]]
    alone = [_slope(side, convert, delay, lambda d: side.delayed(past, xs, d[0])[1].sum(0)) for delay in _DELAYED]
    each = [_slope(side, convert, delay, lambda d: side.delayed(past, xs, d)[1].sum(0)) for delay in _DELAYED]
    return all(right) and alone == each == [-3.0, -1.0, -6.0, -3.0]


def _slope(side: Any, convert: Convert, at: float, function: Callable[[Any], Any]) -> float:
    if side is F:
        place = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(function(place).sum(), place)
        return float(slope.item())
    return float(jax.grad(lambda place: function(place).sum())(_array(convert, at)).item())


def _rests(side: Any, convert: Convert) -> bool:
    """A neuron rests for two steps after a spike; the length is given with the call."""
    step, params = side.Refractory(side.if_step, 1.0), {"refractory": 2.0}
    state = side.RefractoryState(side.IFState(v=_array(convert, 0.0)), _array(convert, 0.0))
    spikes = []
    for _ in range(5):
        state, out = step(state, _array(convert, 1.0), **params)
        spikes += out.tolist()
    return spikes == [1.0, 0.0, 0.0, 1.0, 0.0] and state.left.tolist() == [1.0]


EDGES: dict[str, Callable[[Any, Convert], bool]] = {
    "infinite membranes": _infinite_membranes,
    **{f"spikes {k}": partial(_right, test_firing.check_by_hand, row) for k, row in enumerate(test_firing.HAND)},
    "a saturated exponential": _saturated,
    "whole delays": _delays,
    "slopes of whole delays": _slopes_of_delays,
    "delayed sequences": _delayed_sequences,
    "detached twice": lambda side, _: side.detached(side.detached(side.none)) == side.detached(side.none) != side.none,
    "spikes by chance": partial(_right, test_neurons.check_stochastic_lif),
    "rests": _rests,
}


def _leaks() -> bool:
    pairs = [(w, 1.0 / (1.0 + math.exp(-w))) for w in (-2.0, -0.5, 0.0, 0.5, 2.0)]
    right = all([abs(F.leak_from_w(w) - want) < 1e-15 for w, want in pairs])
    return right and F.leak_from_w(-800.0) == 0.0 and F.leak_from_w(800.0) == 1.0


def _delayed(delay: Any) -> bool:
    """Compare a delay that moves its inputs with the scan of its step."""
    test_neurons.test_delayed_is_the_scan(delay, 5, -1)
    return True


_OF_EACH = torch.tensor([0.25, 3.5, 4.0], dtype=torch.float64)
# what has no twin
TORCH_ALONE: dict[str, Callable[[], bool]] = {
    **{f"delayed by {delay}": lambda delay=delay: _delayed(delay) for delay in (0.0, 0.25, 1.0, 2.25, 4.0)},  # type: ignore[misc]
    "delayed, one each": lambda: _delayed(_OF_EACH),
    "delayed, one for all": lambda: _delayed(torch.tensor(2.5, dtype=torch.float64)),
    "leaks": _leaks,
}
