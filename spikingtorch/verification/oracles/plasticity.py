"""Plasticity of one synapse as a loop over events, from the equations of Brian2's documentation."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikingtorch.verification.oracles.spikes import Array


class _Trace:
    """A trace that is known at its last event, and decays exactly from there."""

    def __init__(self, decay: float, *, replaces: bool) -> None:
        self._decay, self._replaces = decay, replaces
        self._value, self._time = 0.0, 0

    def at(self, t: int) -> float:
        return self._value * self._decay ** (t - self._time)

    def spike(self, t: int) -> None:
        self._value = 1.0 if self._replaces else self.at(t) + 1.0
        self._time = t


def stdp(
    pre: Array,
    post: Array,
    weight: Array,
    params: Mapping[str, float],
    *,
    nearest: bool = False,
    low: float = -np.inf,
    high: float = np.inf,
    power: float | None = None,
) -> Array:
    """Return the weights (O, I) after spikes (T, I) and (T, O), by pairs, or by triplets if there are their rates.

    The events of a synapse come in the order of time, a presynaptic one before a postsynaptic one of the same time. A
    weight is clipped after each of them. With a power, its steps are scaled by the distance to the bound.

        on_pre:  r1 += 1; r2 += 1; w = clip(w - o1 (A2_minus + A3_minus r2_before))
        on_post: o1 += 1; o2 += 1; w = clip(w + r1 (A2_plus + A3_plus o2_before))
    """
    after = np.array(weight)
    for o, i in np.ndindex(*after.shape):
        r1, r2 = (_trace(params, f"decay_pre{slow}", nearest) for slow in ("", "_slow"))
        o1, o2 = (_trace(params, f"decay_post{slow}", nearest) for slow in ("", "_slow"))
        events = [(int(t), 0) for t in np.flatnonzero(pre[:, i])] + [(int(t), 1) for t in np.flatnonzero(post[:, o])]
        w = float(after[o, i])
        for t, is_post in sorted(events):
            if is_post:
                step = r1.at(t) * (params["rate_plus"] + params.get("triplet_plus", 0.0) * o2.at(t))
                w += step if power is None else step * (high - w) ** power
                o1.spike(t)
                o2.spike(t)
            else:
                step = o1.at(t) * (params["rate_minus"] + params.get("triplet_minus", 0.0) * r2.at(t))
                w -= step if power is None else step * (w - low) ** power
                r1.spike(t)
                r2.spike(t)
            w = min(max(w, low), high)
        after[o, i] = w
    return after


def _trace(params: Mapping[str, Any], name: str, nearest: bool) -> _Trace:
    return _Trace(params.get(name, 0.0), replaces=nearest)


def reward_modulated_stdp(
    pre: Array, post: Array, params: Mapping[str, float], rewards: Array, decay_eligibility: float, weight: Array
) -> Array:
    """Return the weights (O, I) after spikes and a reward at each step, (T,), from the double sum over pairs of events.

    Each event before or at a reward, at t', adds the change that ``stdp`` has for it, times decay^(t - t').
    """
    steps = len(rewards)
    changes = [
        stdp(pre[: t + 1], post[: t + 1], 0.0 * weight, params) - stdp(pre[:t], post[:t], 0.0 * weight, params)
        for t in range(steps)
    ]
    after = np.array(weight)
    for t in range(steps):
        for before in range(t + 1):
            after += rewards[t] * decay_eligibility ** (t - before) * changes[before]
    return after
