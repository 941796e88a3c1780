"""Numbers worked out by hand at places that drawn inputs do not reach: thresholds met exactly, infinity, saturation.

Each takes a side, torch or its twin, and what makes its arrays of a tensor, and says whether the numbers are right.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import torch

from spikingtorch import functional as F

Convert = Callable[[Any], Any]
HALVES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.5)


def _array(convert: Convert, *numbers: float) -> Any:
    return convert(torch.tensor(numbers, dtype=torch.float64))


def _infinite_membranes(side: Any, convert: Convert) -> bool:
    u, one = _array(convert, math.inf, 2.0), _array(convert, 1.0, 1.0)
    rules = ((side.to_zero, [0.0, 0.0]), (side.to_value(-0.5), [-0.5, -0.5]))
    silent = side.to_zero(u, 0.0 * one, 1.0).tolist()
    return all([rule(u, one, 1.0).tolist() == want for rule, want in rules]) and silent[0] > 1e308 and silent[1] == 2.0


def _fires(side: Any, convert: Convert, kind: Any, v: list[float], out: list[float], reset: Any) -> bool:
    found = side.fire(_array(convert, *HALVES), 1.0, kind, reset)
    spikes = [float(each != 0.0) for each in out]
    counts = found.number.tolist() == spikes == found.fired.tolist() or isinstance(kind, side.MultiSpike)
    return bool(found.v.tolist() == v and found.out.tolist() == out and counts)


def _plain(side: Any, convert: Convert) -> bool:
    spikes = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    v = [-2.0, -1.0, -0.5, 0.0, 0.5, 0.0, 1.0, 1.5]
    return _fires(side, convert, side.Sigmoid(), v, spikes, side.by_subtraction)


def _strict(side: Any, convert: Convert) -> bool:
    v, spikes = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    return _fires(side, convert, side.Strict(side.Sigmoid()), v, spikes, side.to_zero)


def _graded(side: Any, convert: Convert) -> bool:
    v, out = [-2.0, -1.0, -0.5, 0.0, 0.5, 0.0, 1.0, 1.5], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.5]
    return _fires(side, convert, side.Graded(side.Sigmoid()), v, out, side.by_subtraction)


def _ternary(side: Any, convert: Convert) -> bool:
    v, out = [-1.0, 0.0, -0.5, 0.0, 0.5, 0.0, 1.0, 1.5], [-1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    return _fires(side, convert, side.Ternary(side.Sigmoid()), v, out, side.by_subtraction)


def _several(side: Any, convert: Convert) -> bool:
    v, out = [-2.0, -1.0, -0.5, 0.0, 0.5, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0]
    once = [*v[:5], 0.25, 0.25, 0.25]
    kind = side.MultiSpike(side.Sigmoid())
    found = side.fire(_array(convert, *HALVES), 1.0, kind, side.none)
    counted = found.number.tolist() == out and found.fired.tolist() == [min(n, 1.0) for n in out]
    rules = ((v, side.by_subtraction), (once, side.to_value(0.25)))
    return counted and all([_fires(side, convert, kind, want, out, rule) for want, rule in rules])


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


def _slope(side: Any, convert: Convert, at: float, function: Callable[[Any], Any]) -> float:
    if side is F:
        place = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(function(place).sum(), place)
        return float(slope.item())
    return float(jax.grad(lambda place: function(place).sum())(_array(convert, at)).item())


def _by_chance(side: Any, convert: Convert) -> bool:
    """At a probability of one half, a random number of one half is no spike, and one below it is."""
    state, zeros = side.StochasticLIFState(v=_array(convert, 1.0, 1.0)), _array(convert, 0.0, 0.0)
    out = side.stochastic_lif_step(state, (zeros, _array(convert, 0.5, 0.4375)), decay=1.0)[1]
    return bool(out.tolist() == [0.0, 1.0])


def _rests(side: Any, convert: Convert) -> bool:
    """A neuron rests for two steps after a spike; in torch, the length may be given with the call."""
    step = side.Refractory(side.if_step, 1.0 if side is F else 2.0)
    params = {"refractory": 2.0} if side is F else {}
    state = side.RefractoryState(side.IFState(v=_array(convert, 0.0)), _array(convert, 0.0))
    spikes = []
    for _ in range(5):
        state, out = step(state, _array(convert, 1.0), **params)
        spikes += out.tolist()
    return spikes == [1.0, 0.0, 0.0, 1.0, 0.0] and state.left.tolist() == [1.0]


def _sends(side: Any, convert: Convert) -> bool:
    """A change that equals the threshold is sent."""
    state = side.SigmaDeltaState(v=_array(convert, 0.0, 1.0), sent=_array(convert, 0.0, 1.0))
    state, out = side.sigma_delta_step(state, _array(convert, 0.5, -0.25), threshold=0.5)
    return bool(out.tolist() == [0.5, 0.0] and state.sent.tolist() == [0.5, 1.0])


EDGES: dict[str, Callable[[Any, Convert], bool]] = {
    "infinite membranes": _infinite_membranes,
    "plain spikes": _plain,
    "strict spikes": _strict,
    "graded spikes": _graded,
    "ternary spikes": _ternary,
    "several spikes": _several,
    "a saturated exponential": _saturated,
    "whole delays": _delays,
    "slopes of whole delays": _slopes_of_delays,
    "spikes by chance": _by_chance,
    "rests": _rests,
    "a change sent": _sends,
}


def _delayed(delay: Any) -> bool:
    """Say whether a delay that moves its inputs is the scan of its step, with all gradients."""
    draw = torch.Generator().manual_seed(0)
    xs, past = torch.rand(5, 2, 3, dtype=torch.float64, generator=draw), torch.rand(4, 2, 3, dtype=torch.float64)
    learns = isinstance(delay, torch.Tensor)
    found = []
    for moves in (True, False):
        leaves = [xs.movedim(0, 2).clone().requires_grad_(), past.clone().requires_grad_()]
        d = delay.clone().requires_grad_() if learns else delay
        before = F.DelayState(tuple(leaves[1].unbind(0)))
        if moves:
            state, out = F.delayed(before, leaves[0], d, 2)
        else:
            state, out = F.scan(F.delay_step, before, leaves[0], params={"delay": d}, dim=2, backend="loop")
        pulls = [torch.cos(torch.arange(each.numel())).reshape(each.shape).double() for each in (out, *state.past)]
        wanted = [*leaves, d] if learns else leaves
        found.append([out, *state.past, *torch.autograd.grad((out, *state.past), wanted, pulls)])
    return all([torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(*found, strict=True)])


def _leaks() -> bool:
    pairs = [(w, 1.0 / (1.0 + math.exp(-w))) for w in (-2.0, -0.5, 0.0, 0.5, 2.0)]
    right = all([abs(F.leak_from_w(w) - want) < 1e-15 for w, want in pairs])
    return right and F.leak_from_w(-800.0) == 0.0 and F.leak_from_w(800.0) == 1.0


_OF_EACH = torch.tensor([0.25, 3.5, 4.0], dtype=torch.float64)
# what has no twin
TORCH_ALONE: dict[str, Callable[[], bool]] = {
    **{f"delayed by {delay}": lambda delay=delay: _delayed(delay) for delay in (0.0, 0.25, 1.0, 2.25, 4.0)},  # type: ignore[misc]
    "delayed, one each": lambda: _delayed(_OF_EACH),
    "delayed, one for all": lambda: _delayed(torch.tensor(2.5, dtype=torch.float64)),
    "leaks": _leaks,
    "detached twice": lambda: F.detached(F.detached(F.none)) == F.detached(F.none) != F.none,
}
