"""Plasticity against a table by hand, a loop over events, its twin in JAX, and the gradients of both."""

from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch import jax as SJ
from spikingtorch.functional import plasticity as P
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.testing import assert_close
from spikingtorch.verification import oracles

pytestmark = pytest.mark.sampled

I, O = 3, 4  # noqa: E741
PAIR: dict[str, Any] = {"decay_pre": 0.9, "decay_post": 0.8, "rate_plus": 0.03, "rate_minus": 0.02}
SLOW: dict[str, Any] = {"decay_pre_slow": 0.95, "decay_post_slow": 0.97, "triplet_plus": 0.05, "triplet_minus": 0.01}
RULES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "pair": (P.pair_stdp, P.PairTraces, PAIR),
    "triplet": (P.triplet_stdp, P.TripletTraces, PAIR | SLOW),
}
BOUNDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "unbounded": (P.unbounded, {}),
    "hard": (P.HardBounds(0.3, 0.6), {"low": 0.3, "high": 0.6}),
    "soft": (P.SoftBounds(0.1, 0.9), {"low": 0.1, "high": 0.9, "power": 1.0}),
    "between": (P.SoftBounds(0.1, 0.9, power=0.4), {"low": 0.1, "high": 0.9, "power": 0.4}),
}


def trains(T: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    pre, post = (torch.rand(T, n, dtype=torch.double, generator=draw).lt(0.3).double() for n in (I, O))
    return pre, post, 0.15 + 0.7 * torch.rand(O, I, dtype=torch.double, generator=draw)


def at_rest(kind: Any) -> Any:
    sizes = {"pre": I, "pre_slow": I, "post": O, "post_slow": O}
    return kind(*[torch.zeros(sizes[name], dtype=torch.double) for name in kind._fields])


# before: x, y; spikes: pre, post; after: x, y, change. The order at a common step is in the last rows
TABLE = [
    ((1.0, 1.0), (0.0, 0.0), (0.5, 0.25), 0.0),
    ((1.0, 1.0), (1.0, 0.0), (1.5, 0.25), -3.0 * 0.25),
    ((1.0, 1.0), (0.0, 1.0), (0.5, 1.25), 2.0 * 0.5),
    ((1.0, 1.0), (1.0, 1.0), (1.5, 1.25), 2.0 * 1.5 - 3.0 * 0.25),
    ((0.0, 0.0), (1.0, 1.0), (1.0, 1.0), 2.0),
]


@pytest.mark.parametrize(("before", "spikes", "after", "change"), TABLE)
def test_a_step_by_hand(before: Any, spikes: Any, after: Any, change: float) -> None:
    x, y, pre, post = (torch.tensor([each]) for each in (*before, *spikes))
    params: dict[str, Any] = {"decay_pre": 0.5, "decay_post": 0.25, "rate_plus": 2.0, "rate_minus": 3.0}
    traces, found = P.pair_stdp(P.PairTraces(x, y), pre, post, torch.zeros(1, 1), **params)
    assert (float(traces.pre), float(traces.post), float(found)) == (*after, change)
    slow: dict[str, Any] = {"decay_pre_slow": 0.5, "decay_post_slow": 0.25, "triplet_plus": 0.0, "triplet_minus": 0.0}
    four, same = P.triplet_stdp(P.TripletTraces(x, x, y, y), pre, post, torch.zeros(1, 1), **params, **slow)
    assert (float(four.pre_slow), float(four.post_slow), float(same)) == (*after, change)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("pairing", [P.all_to_all, P.nearest])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("T", [1, 2, 17, 200])
def test_a_loop_over_events_agrees(rule: str, pairing: Any, bounds: str, T: int) -> None:
    step, kind, params = RULES[rule]
    bound, given = BOUNDS[bounds]
    pre, post, weight = trains(T)
    expected = oracles.stdp(pre.numpy(), post.numpy(), weight.numpy(), params, nearest=pairing is P.nearest, **given)
    traces = at_rest(kind)
    for t in range(T):
        traces, change = step(traces, pre[t], post[t], weight, pairing=pairing, bounds=bound, **params)
        weight = weight + change
    if T > 2:
        assert np.abs(expected - trains(T)[2].numpy()).max() > 0.01
    # hard and soft bounds also bring in weights that start outside; an event loop does so at the first event alone
    fired = torch.as_tensor((pre.sum(0)[None] + post.sum(0)[:, None]) > 0)
    torch.testing.assert_close(weight[fired], torch.from_numpy(expected)[fired], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_reward_pays_for_earlier_events(rule: str) -> None:
    step, kind, params = RULES[rule]
    pre, post, weight = trains(30)
    rewards = torch.randn(30, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    expected = oracles.reward_modulated_stdp(pre.numpy(), post.numpy(), params, rewards.numpy(), 0.7, weight.numpy())
    traces = P.EligibilityTraces(at_rest(kind), torch.zeros_like(weight))
    rewarded: Any = P.RewardModulated(step)
    for t in range(30):
        own = {"reward": rewards[t], "decay_eligibility": 0.7}
        traces, change = rewarded(traces, pre[t], post[t], weight, **own, **params)
        weight = weight + change
    torch.testing.assert_close(weight, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


TWINS = [
    *[(rule, pairing, bounds) for rule in RULES for pairing in ("all_to_all", "nearest") for bounds in BOUNDS],
    *[("rewarded " + rule, "all_to_all", bounds) for rule in RULES for bounds in BOUNDS],
]


@pytest.mark.parametrize(("rule", "pairing", "bounds"), TWINS)
def test_the_twin_agrees_gradients_included(rule: str, pairing: str, bounds: str) -> None:
    step, kind, params = RULES[rule.removeprefix("rewarded ")]
    draw = torch.Generator().manual_seed(2)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.double, generator=draw)

    N = 5
    pre, post = (drawn(N, n).lt(0.4).double() * drawn(N, n) for n in (I, O))
    sizes = {"pre": (N, I), "pre_slow": (N, I), "post": (N, O), "post_slow": (N, O)}
    traces, weight = kind(*[drawn(*sizes[name]) for name in kind._fields]), 0.15 + 0.7 * drawn(O, I)
    ours, theirs = step, getattr(SJ.plasticity, step.__name__)
    own: dict[str, Any] = {"bounds": BOUNDS[bounds][0], "pairing": getattr(P, pairing)}
    twins: dict[str, Any] = {"pairing": getattr(SJ.plasticity, pairing), "bounds": SJ.plasticity.unbounded}
    if bounds != "unbounded":
        twins["bounds"] = getattr(SJ.plasticity, type(own["bounds"]).__name__)(*own["bounds"])
    if rule.startswith("rewarded"):
        ours, theirs = P.RewardModulated(ours), SJ.plasticity.RewardModulated(theirs)
        traces = P.EligibilityTraces(traces, torch.randn(O, I, dtype=torch.double, generator=draw))
        params = params | {"reward": 0.4, "decay_eligibility": 0.9}
    numbers = {name: torch.tensor(each, dtype=torch.double) for name, each in sorted(params.items())}
    inputs = (traces, pre, post, weight, numbers)
    with jax.enable_x64(True):
        expected, pull = jax.vjp(lambda t, a, b, w, p: theirs(t, a, b, w, **p, **twins), *to_jax(inputs))
        found, back, *_ = torch.func.vjp(lambda t, a, b, w, p: ours(t, a, b, w, **p, **own), *inputs)
        assert_close(found, to_torch(expected))
        cotangents = tree_map(lambda leaf: drawn(*leaf.shape), found)
        assert_close(back(cotangents), to_torch(pull(to_jax(cotangents))))


def test_twins_of_homeostasis_agree() -> None:
    draw = torch.Generator().manual_seed(3)
    weight = torch.randn(O, I, dtype=torch.double, generator=draw)
    weight[1] = 0.0
    theta, spikes = (torch.rand(O, dtype=torch.double, generator=draw) for _ in range(2))
    with jax.enable_x64(True):
        table: list[tuple[str, tuple[Tensor, ...], dict[str, float]]] = [
            ("adapt_threshold", (theta, spikes), {"decay": 0.9, "rise": 0.1}),
            ("normalize_weight", (weight,), {"total": 2.0}),
            ("scale_weight", (weight, spikes), {"target": 0.2, "speed": 0.5}),
        ]
        for name, given, params in table:
            expected, pull = jax.vjp(lambda *given: getattr(SJ.plasticity, name)(*given, **params), *to_jax(given))  # noqa: B023
            found, back, *_ = torch.func.vjp(lambda *given: getattr(P, name)(*given, **params), *given)  # noqa: B023
            assert_close(found, to_torch(expected))
            if name != "normalize_weight":
                assert_close(back(torch.ones_like(found)), to_torch(pull(to_jax(torch.ones_like(found)))))
    sums = P.normalize_weight(weight, total=2.0).abs().sum(1)
    torch.testing.assert_close(sums, torch.tensor([2.0, 0.0, 2.0, 2.0], dtype=torch.double))


def test_samples_of_a_batch_are_summed_and_vmap_keeps_them_apart() -> None:
    pre, post, weight = trains(6)
    traces = P.PairTraces(torch.rand(6, I, dtype=torch.double), torch.rand(6, O, dtype=torch.double))
    change = P.pair_stdp(traces, pre, post, weight, **PAIR)[1]
    mapped = torch.func.vmap(lambda t, a, b: P.pair_stdp(t, a, b, weight, **PAIR)[1])(traces, pre, post)
    torch.testing.assert_close(mapped.sum(0), change)


def test_weights_that_are_tiny_or_zero_are_normalized_without_nan() -> None:
    weight = torch.tensor([[1e-310, 0.0, 3e-310], [0.0, 0.0, 0.0], [1.0, -1.0, 2.0]], dtype=torch.double)
    found = P.normalize_weight(weight.requires_grad_(), total=2.0)
    expected = torch.tensor([[0.5, 0.0, 1.5], [0.0, 0.0, 0.0], [0.5, -0.5, 1.0]], dtype=torch.double)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found[1:].sum(), weight)
    assert bool(slope[1:].isfinite().all())
