"""Messages for what plasticity does not take."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from spikingtorch import LI, LIF, Delay, SpikingNet, learning
from spikingtorch import functional as F
from spikingtorch.functional import plasticity
from tests.folded_layer import Coded
from tests.functional.test_plasticity import PAIR


def net(*layers: nn.Module) -> SpikingNet:
    return SpikingNet(nn.Sequential(*(layers or (nn.Linear(4, 3), LIF(tau=4.0)))), warn_silent=False)


V, T = ValueError, TypeError
BETWEEN = nn.Linear(4, 3), nn.ReLU(), LIF(tau=4.0)
MADE: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (nn.Linear(4, 3), {}, T, r"STDP: model is a Linear, expected a SpikingNet"),
    (net(), {"rule": F.lif_step}, V, r"rule=lif_step, expected pair_stdp or triplet_stdp of functional.plasticity"),
    (net(), {"rule": plasticity.triplet_stdp}, T, r"triplet_stdp needs decay_pre_slow, .*; it takes decay_pre, "),
    (net(), {"tau": 3.0}, T, r"pair_stdp has no parameter tau; it takes decay_pre, "),
    (net(), {"reduction": "max"}, V, r"reduction='max', expected 'mean' or 'sum' over the samples"),
    (net(), {"bounds": plasticity.HardBounds}, T, r"bounds=.*, expected HardBounds\(0.0, 1.0\)"),
    (net(), {"total": 0.0}, V, r"total=0.0, expected a finite value above 0"),
    (net(), {"total": "1"}, T, r"total is a str, expected a float"),
    (net(), {"decay_pre": 20.0}, V, r"STDP: decay_pre=20.0, expected a finite value at least 0 and at most 1"),
    (net(), {"decay_post": torch.tensor([0.5, 1.5])}, V, r"decay_post has values from 0.5 to 1.5, expected"),
    (net(), {"rate_plus": float("nan")}, V, r"rate_plus=nan, expected a finite value"),
    (net(), {"rate_minus": None}, T, r"rate_minus is a NoneType, expected a float"),
    (net(), {"pairing": "nearest"}, T, r"pairing='nearest', expected all_to_all or nearest of functional.pla"),
    (net(), {"bounds": plasticity.HardBounds(1.0, 0.0)}, V, r"bounds=HardBounds.*numbers with low at most high"),
    (net(), {"bounds": plasticity.HardBounds(float("nan"), 0.0)}, V, r"expected numbers with low at most high"),
    (net(), {"bounds": plasticity.SoftBounds(power=-1.0)}, V, r"the power of bounds=-1.0, expected a finite value"),
    (net(), {"bounds": plasticity.SoftBounds(-float("inf"))}, V, r"expected finite numbers; HardBounds takes"),
    (net(), {"bounds": plasticity.SoftBounds(), "rate_plus": -0.1}, V, r"rate_plus is negative, and SoftBounds scales"),
    (net(), {"layers": "0"}, T, r"layers='0', expected a list of names"),
    (net(), {"layers": ["7"]}, V, r"there is no layer '7'; there are '0'"),
    (net(), {"layers": {"0": "0"}}, V, r"'0', which '0' is to feed, is no spiking layer"),
    (net(nn.Linear(4, 3), LI(tau=4.0)), {"layers": {"0": "1"}}, V, r"'1', which '0' is to feed, is no spiking layer"),
    (net(nn.Linear(4, 3), Delay(2)), {}, V, r"no nn.Linear with a spiking layer right behind"),
    (net(*BETWEEN), {}, V, r"no nn.Linear with a spiking layer right behind"),
    (net(*BETWEEN), {"layers": ["0"]}, V, r"no spiking layer comes right behind '0'; name it: layers=\{'0': 'lif'\}"),
    (
        net(nn.Conv2d(1, 2, 3), LIF(tau=4.0)),
        {"layers": {"0": "1"}},
        V,
        r"'0' is a Conv2d, expected an nn.Linear. Its weights are shared between places",
    ),
    (
        net(parametrizations.weight_norm(nn.Linear(4, 3)), LIF(tau=4.0)),
        {"layers": {"0": "1"}},
        V,
        r"the weight of '0' is computed by a parametrization",
    ),
]


@pytest.mark.parametrize(("model", "options", "kind", "message"), MADE)
def test_a_rule_refuses(model: Any, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        learning.STDP(model, **PAIR | options)


def test_shared_weights_are_refused() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    with pytest.raises(ValueError, match="'2' and '0' share their weights; give each its own"):
        learning.STDP(net(first, LIF(tau=4.0), second, LIF(tau=4.0)), **PAIR)


def test_a_call_refuses() -> None:
    twice = Coded(lambda net, x, i: net.lif(net.weights(net.weights(x)), i), weights=nn.Linear(4, 4), lif=LIF(tau=4.0))
    with pytest.raises(ValueError, match=r"uses the weight of 'weights' in 10 calls for 5 steps"):
        learning.STDP(SpikingNet(twice, mode="step"), layers={"weights": "lif"}, **PAIR)(torch.rand(2, 5, 4))
    with pytest.raises(ValueError, match=r"'0' gets inputs of shape \(10, 6, 4\), expected \(N, features\)"):
        learning.STDP(net(), **PAIR)(torch.rand(2, 5, 6, 4))
    parts = {"up": nn.Linear(4, 4), "lif": LIF(tau=4.0), "other": nn.Linear(4, 4), "idle": LIF(tau=4.0)}
    idle = SpikingNet(Coded(lambda net, x, init: net.lif(net.up(x) + net.other(x), init), **parts), warn_silent=False)
    for layers, said in (
        (
            {"up": "lif", "other": "idle"},
            "STDP: the network did not call 'idle', which 'other' is to feed; name others",
        ),
        ({"other": "idle"}, "record: the network called none of the layers 'idle'"),
    ):
        with pytest.raises(ValueError, match=said):
            learning.STDP(idle, layers=layers, **PAIR)(torch.rand(2, 5, 4))
    deep = net(nn.Linear(4, 3), LIF(tau=4.0), nn.Linear(3, 2), LIF(tau=4.0))
    with pytest.raises(ValueError, match=r"'0' has 3 outputs, but '3' has neurons of shape \(2,\)"):
        learning.STDP(deep, layers={"0": "3"}, **PAIR)(torch.rand(2, 5, 4))


@pytest.mark.parametrize("mode", ["auto", "step"])
def test_synapses_follow_the_order_of_calls_and_are_no_guess_where_torch_fx_does_not_see_it(mode: Any) -> None:
    def run(net: Any, x: Any, init: Any, seen: bool = True) -> Any:
        spikes = net.below(net.first(x), init)
        return net.above(net.second(spikes) + net.skip(spikes), init) if seen or len(x) else spikes

    parts = {
        "first": nn.Linear(4, 4),
        "second": nn.Linear(4, 4),
        "below": LIF(),
        "skip": nn.Linear(4, 4),
        "above": LIF(),
    }
    model, x = SpikingNet(Coded(run, **parts), mode=mode, time_chunk=2, warn_silent=False), torch.rand(2, 5, 4)
    rule = learning.STDP(model, **PAIR)
    assert rule.synapses == {"first": "below", "second": "above", "skip": "above"}
    rule(x)
    rule.step()
    hidden = SpikingNet(Coded(partial(run, seen=False), **parts), mode=mode, time_chunk=2, warn_silent=False)
    with pytest.raises(ValueError, match=r"'below' comes behind 'second' .*layers=\{'second': 'lif'\}"):
        learning.STDP(hidden, **PAIR)(x)


def test_rewards_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"decay_eligibility=1.5, expected a finite value at least 0 and at most 1"):
        learning.RewardModulatedSTDP(net(), decay_eligibility=1.5, **PAIR)
    rule = learning.RewardModulatedSTDP(net(), decay_eligibility=0.5, **PAIR)
    with pytest.raises(RuntimeError, match=r"RewardModulatedSTDP: step\(\) has no spikes to learn from"):
        rule.step(1.0)
    rule(torch.rand(2, 5, 4))
    with pytest.raises(ValueError, match=r"reward has shape \(3,\), expected a number, or one for each of the 2"):
        rule.step(torch.ones(3))
    with pytest.raises(ValueError, match="expected finite numbers"):
        rule.step(float("nan"))


def test_thresholds_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"make one by LIF\(threshold=torch.ones\(neurons\)\). There are none"):
        learning.AdaptiveThreshold(net(), rise=0.1)
    model = net(nn.Linear(4, 3), LIF(tau=4.0, threshold=torch.ones(3)))
    with pytest.raises(ValueError, match=r"\['0'\] names no spiking layers.*There are '1'"):
        learning.AdaptiveThreshold(model, ["0"], rise=0.1)
    with pytest.raises(ValueError, match=r"decay=2.0, expected a finite value at least 0 and at most 1"):
        learning.AdaptiveThreshold(model, rise=0.1, decay=2.0)
    homeostasis = learning.AdaptiveThreshold(model, rise=0.1)
    with pytest.raises(ValueError, match="there are no spikes of '1'; there are those of \\['0'\\]"):
        homeostasis.step({"0": torch.zeros(1, 1, 3)})
    with pytest.raises(ValueError, match=r"have shape \(1, 1, 2\), expected \(N, T, 3\)"):
        homeostasis.step({"1": torch.zeros(1, 1, 2)})
    with pytest.raises(TypeError, match=r"threshold of '1' is torch.bfloat16.*layer.float\(\)"):
        learning.AdaptiveThreshold(copy.deepcopy(model).bfloat16(), rise=0.1).step({"1": torch.zeros(1, 1, 3)})
    computed = net(nn.Linear(4, 3), LIF(tau=4.0, threshold=torch.ones(3), learnable="threshold"))
    parametrize.register_parametrization(computed.net[1], "v0", nn.Softplus())  # type: ignore[index]
    with pytest.raises(ValueError, match=r"There are none"):
        learning.AdaptiveThreshold(computed, rise=0.1)
    with pytest.raises(ValueError, match=r"the state is of layers \['x'\], expected those of this object, \['1'\]"):
        homeostasis.load_state_dict({"x": torch.zeros(3)})
