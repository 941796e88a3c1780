"""Plasticity of a network against the pure functions, step by step."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, SpikingNet, learning, record
from spikingtorch import functional as F
from spikingtorch.functional import plasticity
from spikingtorch.learning.synapses import Inputs
from tests import drawn
from tests.folded_layer import Coded
from tests.functional.test_plasticity import PAIR, SLOW
from tests.functional.test_plasticity import RULES as BY_HAND

pytestmark = pytest.mark.sampled

N, T, SIZES = 3, 9, (5, 4, 2)
RULES: dict[str, tuple[Any, Any, dict[str, Any]]] = BY_HAND | {
    "nearest": (plasticity.triplet_stdp, plasticity.TripletTraces, PAIR | SLOW | {"pairing": plasticity.nearest}),
}
LENGTHS = torch.tensor([9, 2, 6])


def network(**options: Any) -> SpikingNet:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for ins, outs in itertools.pairwise(SIZES):
        layers += [nn.Linear(ins, outs, bias=False, dtype=torch.double), LIF(tau=4.0, threshold=0.6)]
        nn.init.uniform_(layers[-2].weight, 0.2, 0.8)  # type: ignore[arg-type]
    return SpikingNet(nn.Sequential(*layers), warn_silent=False, **options)


def spikes() -> Tensor:
    return drawn.trains(N, T, SIZES[0], seed=1).double()


def weights(model: SpikingNet) -> list[Tensor]:
    return [model.net.get_submodule(path).weight.detach().clone() for path in ("0", "2")]  # type: ignore[operator]


def at_rest(kind: Any, layer: int) -> Any:
    sizes = {"pre": SIZES[layer], "post": SIZES[layer + 1]}
    return kind(*[torch.zeros(N, sizes[name.removesuffix("_slow")], dtype=torch.double) for name in kind._fields])


def trains(model: SpikingNet, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the spikes before and behind both layers, (N, T, ...), computed layer by layer."""
    with torch.no_grad():
        hidden = SpikingNet(model.net[:2], mode="step", warn_silent=False)(x)  # type: ignore[index]
        out = SpikingNet(model.net[2:], mode="step", warn_silent=False)(hidden)  # type: ignore[index]
    return [(x, hidden), (hidden, out)]


def alone(rule: str, layer: int, pre: Tensor, post: Tensor, weight: Tensor) -> tuple[Any, Tensor]:
    """Return the last traces of one sample by the pure function, and the sum of its changes."""
    step, kind, params = RULES[rule]
    traces, total = kind(*[each[0] for each in at_rest(kind, layer)]), torch.zeros_like(weight)
    for one, other in zip(pre, post, strict=True):
        traces, change = step(traces, one, other, weight, **params)
        total = total + change
    return traces, total


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("bounds", [plasticity.HardBounds(0.3, 0.6), plasticity.SoftBounds(0.0, 1.0)])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_at_a_time_is_the_pure_function(rule: str, bounds: Any, reduction: Any) -> None:
    step, kind, params = RULES[rule]
    model, x = network(), spikes()
    plastic = learning.STDP(model, step, bounds=bounds, reduction=reduction, **params)
    traces, before = [at_rest(kind, 0), at_rest(kind, 1)], weights(model)
    expected = list(before)
    for t in range(T):
        plastic(x[:, t : t + 1], init=t == 0)
        post = [plastic.spikes[path][:, 0] for path in ("1", "3")]
        pre = [x[:, t], post[0]]
        share = 1.0 if reduction == "sum" else 1.0 / N
        own = params | {name: params[name] * share for name in params if name.startswith(("rate", "triplet"))}
        for layer in (0, 1):
            given = traces[layer], pre[layer], post[layer], expected[layer]
            traces[layer], change = step(*given, bounds=bounds, **own)
            expected[layer] = expected[layer] + change
        plastic.step()
        for ours, theirs in zip(weights(model), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert all(float((a - b).abs().max()) > 0.01 for a, b in zip(before, expected, strict=True))


WAYS: dict[str, dict[str, Any]] = {
    "auto": {},
    "fold": {"mode": "fold"},
    "step": {"mode": "step"},
    "chunks": {"time_chunk": 4},
    "events": {"event_driven": "on"},
    "time first": {"batch_first": False},
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rule", RULES)
def test_a_call_over_time_sums_the_changes_of_its_steps(rule: str, way: str, padded: bool) -> None:
    (step, _, params), model, x = RULES[rule], network(**WAYS[way]), spikes()
    plain = weights(model)
    expected, ends = list(plain), LENGTHS if padded else torch.full((N,), T)
    for layer, (pre, post) in enumerate(trains(model, x)):
        for n, end in enumerate(ends):
            expected[layer] = expected[layer] + alone(rule, layer, pre[n, :end], post[n, :end], plain[layer])[1] / N
    options: dict[str, Any] = {"lengths": LENGTHS} if padded else {}
    given = torch.where(torch.arange(T)[:, None] < ends[:, None, None], x, torch.nan)
    given = given if model.batch_first else given.transpose(0, 1).contiguous()
    out = copy.deepcopy(model)(given, **options)
    plastic = learning.STDP(model, step, bounds=plasticity.unbounded, **params)
    found = plastic(given, **options)
    assert torch.equal(found, out)
    assert not found.requires_grad
    plastic.step()
    for ours, theirs, before in zip(weights(model), expected, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        assert not torch.equal(theirs, before)


def test_a_sequence_starts_with_traces_of_zero() -> None:
    found = []
    for times in (1, 2):
        model = network()
        plastic = learning.STDP(model, bounds=plasticity.unbounded, **PAIR)
        before = weights(model)
        for _ in range(times):
            plastic(spikes())
        plastic.step()
        found.append([(after - each) / times for after, each in zip(weights(model), before, strict=True)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_the_traces_of_a_sample_stay_after_its_end(rule: str) -> None:
    (step, _, params), model, x = RULES[rule], network(), spikes()
    plastic = learning.STDP(model, step, **params)
    plastic(x, lengths=LENGTHS)
    (pre, post), _ = trains(model, x)
    for n, end in enumerate(LENGTHS):
        traces, _ = alone(rule, 0, pre[n, :end], post[n, :end], weights(model)[0])
        sides = plastic.state_dict()["traces"]["0"]
        torch.testing.assert_close([leaf[n] for side in sides for leaf in side], list(traces))


def test_steps_that_run_again_count_once() -> None:
    weight, x = torch.rand(4, 5), torch.rand(3, 5)
    inputs = Inputs({id(weight): "0"})
    with inputs:
        torch.nn.functional.linear(x, weight)
        mark = inputs.mark()
        torch.nn.functional.linear(2.0 * x, weight)
        inputs.rewind(mark)
        torch.nn.functional.linear(3.0 * x, weight=weight)
    torch.testing.assert_close(inputs.found, {"0": [x, 3.0 * x]})


def writes(net: Any, x: Tensor, init: Any) -> Tensor:
    """Write on the spikes between the layers after they have been used."""
    hidden = net.layers[1](net.layers[0](x), init)
    out: Tensor = net.layers[3](net.layers[2](hidden), init)
    hidden.zero_()
    return out


@pytest.mark.parametrize("mode", ["step", "fold"])
def test_spikes_that_the_network_overwrites_count(mode: Any) -> None:
    plastic = learning.STDP(SpikingNet(Coded(writes, layers=network().net), mode=mode, warn_silent=False), **PAIR)
    plastic(spikes())
    found = plastic.state_dict()["rise"]["layers.2"]
    plain = learning.STDP(network(), **PAIR)
    plain(spikes())
    torch.testing.assert_close(found, plain.state_dict()["rise"]["2"], rtol=1e-12, atol=1e-12)
    assert float(found.max()) > 0.0


def test_samples_start_again_one_by_one() -> None:
    model, x = network(), spikes()
    plastic = learning.STDP(model, **PAIR)
    plastic(x)
    first = plastic.state_dict()["traces"]["0"][0][0]
    plastic(torch.zeros_like(x[:, :1]), init=torch.tensor([True, False, True]))
    after = plastic.state_dict()["traces"]["0"][0][0]
    torch.testing.assert_close(after, first * torch.tensor([[0.0], [0.9], [0.0]], dtype=torch.double))
    assert float(first[1].max()) > 0.0


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_rewards_of_samples_are_those_of_the_pure_rule(rule: str, padded: bool) -> None:
    step, kind, params = RULES[rule]
    model, x = network(), spikes()
    before, rewards = weights(model), torch.tensor([1.0, -0.5, 2.0], dtype=torch.double)
    ends = LENGTHS if padded else torch.full((N,), T)
    expected = list(before)
    for layer, (pre, post) in enumerate(trains(model, x)):
        for n in range(N):
            traces = plasticity.EligibilityTraces(
                kind(*[each[n] for each in at_rest(kind, layer)]), torch.zeros_like(before[layer])
            )
            rewarded: Any = plasticity.RewardModulated(step)
            for t in range(int(ends[n])):
                last = {"reward": float(rewards[n]) if t == ends[n] - 1 else 0.0, "decay_eligibility": 0.7}
                traces, change = rewarded(traces, pre[n, t], post[n, t], before[layer], **last, **params)
                expected[layer] = expected[layer] + change / N
    plastic = learning.RewardModulatedSTDP(model, step, decay_eligibility=0.7, bounds=plasticity.unbounded, **params)
    if padded:
        plastic(x, lengths=LENGTHS)
    else:
        plastic(x[:, :5])
        plastic(x[:, 5:], init=False)
    plastic.step(rewards)
    for ours, theirs in zip(weights(model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert float((expected[0] - before[0]).abs().max()) > 1e-3


def test_one_reward_is_that_of_every_sample() -> None:
    found = []
    for reward in (0.5, torch.tensor([0.5, 0.5, 0.5])):
        model = network()
        plastic = learning.RewardModulatedSTDP(model, decay_eligibility=0.7, reduction="sum", **PAIR)
        plastic(spikes())
        plastic.step(reward)
        found.append(weights(model))
    torch.testing.assert_close(found[0], found[1])


def test_a_state_that_is_saved_goes_on() -> None:
    made: list[Any] = [(learning.STDP, {}), (learning.RewardModulatedSTDP, {"decay_eligibility": 0.9})]
    for kind, options in made:
        model, x = network(), spikes()
        plastic = kind(model, **options, **PAIR)
        plastic(x[:, :5])
        copied = copy.deepcopy(model)
        again = kind(copied, **options, **PAIR)
        again.load_state_dict(plastic.state_dict())
        for each in (plastic, again):
            each(x[:, 5:], init=False)
            each.step(*[1.0] * len(options))
        torch.testing.assert_close(weights(model), weights(copied), rtol=0, atol=0)
        with pytest.raises(ValueError, match="take the state of a rule like this one"):
            kind(model, layers=["0"], **options, **PAIR).load_state_dict(plastic.state_dict())
        with pytest.raises(ValueError, match="take the state of a rule like this one"):
            kind(model, plasticity.triplet_stdp, **options, **PAIR, **SLOW).load_state_dict(plastic.state_dict())


def test_bounds_total_and_zero() -> None:
    model, x = network(), spikes()
    fast: dict[str, Any] = PAIR | {"rate_plus": 10.0}
    plastic = learning.STDP(model, bounds=plasticity.HardBounds(0.35, 0.65), **fast)
    plastic(x)
    plastic.zero()
    before = weights(model)
    with pytest.raises(RuntimeError, match=r"call the rule first: rule\(x\)"):
        plastic.step()
    plastic(x)
    plastic.step()
    assert all(float(each.min()) >= 0.35 and float(each.max()) == 0.65 for each in weights(model))
    assert not torch.equal(weights(model)[0], before[0])
    scaled = learning.STDP(model, total=2.0, **PAIR)
    scaled(x)
    scaled.step()
    torch.testing.assert_close(weights(model)[0].sum(1), torch.full((4,), 2.0, dtype=torch.double))
    scaled.reset()
    assert not scaled.state_dict()["traces"]


def test_a_call_that_fails_leaves_the_traces() -> None:
    model, x = network(), spikes()
    plastic = learning.STDP(model, **PAIR)
    plastic(x)
    before = plastic.state_dict()
    with pytest.raises(ValueError, match="NaN"):
        plastic(x * torch.nan)
    after = plastic.state_dict()
    torch.testing.assert_close(after["traces"], before["traces"], rtol=0, atol=0)
    torch.testing.assert_close(after["rise"], before["rise"], rtol=0, atol=0)


def of_events() -> Any:
    """Return a network that calls its weight as a function, and its modules in another order."""
    parts = {"out": LIF(tau=4.0, threshold=0.6), "weights": nn.Linear(5, 4, bias=False)}
    nn.init.uniform_(parts["weights"].weight, 0.2, 0.8)  # type: ignore[arg-type]
    return Coded(lambda net, x, init: net.out(F.event_linear(x, net.weights.weight), init), **parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_of_event_linear_learns(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = of_events().to(dtype)
    plastic = learning.STDP(SpikingNet(net), layers={"weights": "out"}, **PAIR)
    before = net.weights.weight.detach().clone()
    plastic(spikes().to(dtype))
    plastic.step()
    assert net.weights.weight.dtype == dtype
    assert not torch.equal(before, net.weights.weight)


def test_thresholds_rise_and_decay() -> None:
    model, x = SpikingNet(LIF(tau=4.0, threshold=torch.full((5,), 0.8)), warn_silent=False), spikes().float()
    homeostasis = learning.AdaptiveThreshold(model, rise=0.25, decay=0.75)
    out, theta = model(x), torch.zeros(5)
    for t in range(T):
        theta = plasticity.adapt_threshold(theta, out[:, t].mean(0), decay=0.75, rise=0.25)
    homeostasis.step({"": out})
    layer: Any = model.net
    torch.testing.assert_close(layer.threshold, 0.8 + theta)
    again = learning.AdaptiveThreshold(model, rise=0.25, decay=0.75)
    again.load_state_dict(homeostasis.state_dict())
    again.step({"": torch.zeros_like(out)})
    torch.testing.assert_close(layer.threshold, 0.8 + theta * 0.75**T)


def test_thresholds_from_records_of_time_first() -> None:
    found: list[Tensor] = []
    for batch_first in (True, False):
        model = SpikingNet(LIF(tau=4.0, threshold=torch.ones(3)), batch_first=batch_first, warn_silent=False)
        x = 2.0 * torch.rand(7, 5, 3, generator=torch.Generator().manual_seed(1))
        homeostasis = learning.AdaptiveThreshold(model, rise=0.1, decay=0.9)
        homeostasis.step(record(model, x if batch_first else x.transpose(0, 1)))
        found.append(model.net.threshold)  # type: ignore[arg-type]
    assert bool((found[0] > 1.0).any())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("kind", [plasticity.HardBounds, plasticity.SoftBounds])
def test_a_bound_for_each_weight(kind: Any) -> None:
    """One of the bounds is a tensor, the other a number; those of numbers are the oracle."""
    weight = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.double)
    low, high = torch.tensor([[0.1, 0.4, 0.0]], dtype=torch.double), torch.tensor([[0.6, 0.7, 1.0]], dtype=torch.double)
    rise, fall = (
        torch.tensor([[0.3, 0.4, 0.5]], dtype=torch.double),
        torch.tensor([[0.2, 0.3, 0.1]], dtype=torch.double),
    )
    for bounds in ((low, 1.0), (0.0, high), (low, high)):
        each = [[float(torch.as_tensor(side).expand(1, 3)[0, at]) for side in bounds] for at in range(3)]
        columns = [(weight[:, [at]], rise[:, [at]], fall[:, [at]]) for at in range(3)]
        expected = torch.cat([kind(*pair)(*column) for pair, column in zip(each, columns, strict=True)], 1)
        torch.testing.assert_close(kind(*bounds)(weight, rise, fall), expected, rtol=0.0, atol=0.0)
    model = network()
    rule = learning.STDP(model, layers=["0"], bounds=kind(torch.full((4, 1), 0.3).double(), 0.6), **PAIR)
    rule(spikes())
    rule.step()
    assert bool(((weights(model)[0] >= 0.3) & (weights(model)[0] <= 0.6)).all())


def test_no_samples_change_nothing() -> None:
    model = network()
    before, rewarded = weights(model), learning.RewardModulatedSTDP(model, decay_eligibility=0.9, **PAIR)
    rule = learning.STDP(model, **PAIR)
    for each in (rule, rewarded):
        each(spikes()[:0])
    rule.step()
    rewarded.step(1.0)
    assert all(map(torch.equal, weights(model), before))
