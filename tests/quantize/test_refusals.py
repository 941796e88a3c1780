"""What to_integer refuses, each beside the integers that one would have written: their numbers differ."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, ExponentialIF, FixedPointIF, FixedPointLIF, SpikingNet
from spikingtorch import functional as F
from spikingtorch.quantize import proof
from spikingtorch.quantize.certificate import certify
from spikingtorch.quantize.errors import RULES, IntegerError
from spikingtorch.quantize.lower import to_integer
from spikingtorch.quantize.nodes import Linear
from tests.drawn import trains
from tests.folded_layer import Coded
from tests.quantize.float_networks import on_grid


def linear(ins: int, outs: int, bits: int = 4) -> nn.Linear:
    return on_grid(nn.Linear(ins, outs), bits)


def neurons(**options: Any) -> FixedPointLIF:
    return FixedPointLIF(decay=(7, 3), fraction_bits=6, membrane_bits=12, **options)


def calls(code: Any, bits: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return Coded(code, fc=linear(8, 8, bits), lif=neurons())


def chain(self: Any, x: Tensor, init: Any) -> Tensor:
    return self.lif(self.fc(x), init)


def test_a_bias_that_overflows_alone_is_no_refusal() -> None:
    """Inputs keep the membrane within its range; the layers are looked at with none."""
    weights = linear(1, 1)
    with torch.no_grad():
        weights.weight.fill_(-4.0)
        assert weights.bias is not None
        weights.bias.fill_(4.0)
    neuron = FixedPointLIF(decay=(7, 3), threshold=0.5, fraction_bits=4, membrane_bits=7, overflow="error")
    model, x = SpikingNet(nn.Sequential(weights, neuron)), torch.ones(2, 6, 1)
    assert certify(model, to_integer(model, x), x).equal
    with pytest.raises(OverflowError, match="a membrane from 64 to 64 does not fit into -64 to 63"):
        to_integer(model, x).run(torch.zeros(2, 6, 1, dtype=torch.int64).numpy())


def in_place(self: Any, x: Tensor, init: Any) -> Any:
    return self.lif(self.fc(x).mul_(2), init)


def before(self: Any, x: Tensor, init: Any) -> Any:
    return chain(self, 1 - x, init)


def twice(self: Any, x: Tensor, init: Any) -> Any:
    return self.lif(self.fc(self.fc(x)), init)


def readout(self: Any, x: Tensor, init: Any) -> Any:
    return self.fc(self.lif(x, init))


def in_bfloat16(self: Any, x: Tensor, init: Any) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return readout(self, x, init)


class Halved(nn.Identity):
    """A layer of torch with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return input * 0.5


def doubled(*_: Any) -> Any:
    return 2 * _[-1]


def hooked() -> nn.Linear:
    fc = linear(8, 8)
    fc.load_state_dict(FC.state_dict())
    fc.register_forward_hook(doubled)
    return fc


def merged(norm: nn.BatchNorm1d, fc: nn.Linear) -> nn.Linear:
    """Return the norm in the weights before it, rounded as one would round them."""
    mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = (norm.weight / (var + norm.eps).sqrt()).detach()
    whole = nn.Linear(fc.in_features, fc.out_features)
    whole.weight.data = fc.weight.detach() * scale[:, None]
    whole.bias.data = (fc.bias.detach() - mean) * scale + norm.bias.detach()
    return on_grid(whole, 4, scaled=False)


def normed() -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(8).eval()
    norm.get_buffer("running_mean").fill_(0.1)
    norm.get_buffer("running_var").fill_(0.3)
    return norm


def several() -> FixedPointLIF:
    return neurons(surrogate=F.MultiSpike())


def half_threshold() -> FixedPointLIF:
    return neurons(threshold=0.5)


def off_threshold() -> FixedPointLIF:
    layer = neurons(threshold=torch.full((8,), 0.5))
    layer.get_buffer("threshold").fill_(0.51)  # in place, so that the layer does not see it
    return layer


def off_decay() -> FixedPointLIF:
    layer = FixedPointLIF(decay=(torch.full((8,), 7), 3), fraction_bits=6, membrane_bits=12)
    layer.get_buffer("decay").mul_(0.9)
    return layer


def mean_of_nine() -> nn.Conv2d:
    conv = nn.Conv2d(2, 2, 3, stride=3, groups=2, bias=False)
    conv.weight.data.fill_(round(128 / 9) / 128)
    return conv


torch.manual_seed(0)
FC, FLOATS, NORM = linear(8, 8), nn.Linear(8, 8), normed()
FLOATS_ON_GRID = on_grid(copy.deepcopy(FLOATS), 8, scaled=False)
S = nn.Sequential
DECAY = FixedPointLIF(decay=(226, 8))
# what differs: the rule, words of the message, the network, and the network that one would have written in its place
CASES: dict[str, tuple[str, str, nn.Module, nn.Module]] = {
    "floating weights": ("grid", "'0': its weights", S(FLOATS, neurons()), S(FLOATS_ON_GRID, neurons())),
    "a decay that is no k / 2**m": ("neurons", "'1': LIF computes", S(FC, LIF(tau=8.0)), S(FC, DECAY)),
    "an exponential": ("neurons", "'1': ExponentialIF", S(FC, ExponentialIF()), S(FC, neurons())),
    "batch norm": ("norm", "'1': BatchNorm1d divides", S(FC, NORM, neurons()), S(merged(NORM, FC), neurons())),
    "a mean over nine": ("mean", "'0': .* by 9", S(nn.AvgPool2d(3), neurons()), S(mean_of_nine(), neurons())),
    "a threshold off the grid": ("grid", "'1': its threshold is no", S(FC, off_threshold()), S(FC, half_threshold())),
    "a decay off the grid": ("grid", "'1': its decay is no multiple of 2", S(FC, off_decay()), S(FC, neurons())),
    "a refractory period": ("neurons", "'1': it has a refractory", S(FC, neurons(refractory=2)), S(FC, neurons())),
    "several spikes a step": ("neurons", "'1': it fires by MultiSpike", S(FC, several()), S(FC, neurons())),
    "a rectifier": ("layers", "'1': there are no integers for ReLU", S(FC, nn.ReLU(), neurons()), S(FC, neurons())),
    "a function in place": ("chain", "'lif': its input is the result of mul_ ", calls(in_place), calls(chain)),
    "a function before": ("chain", "'fc': its input is the result of rsub ", calls(before), calls(chain)),
    "a layer twice": ("chain", "'fc': it is called twice", calls(twice), calls(chain)),
    "a hook": ("chain", "'1': its input is the result of .*mul.* doubled", S(hooked(), neurons()), S(FC, neurons())),
    "own forward": ("chain", "'2': its input is the result of mul ", S(FC, Halved(), neurons()), S(FC, neurons())),
    "autocast in forward": ("dtype", "'fc': .* returns torch.bfloat16", calls(in_bfloat16, 10), calls(readout, 10)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES)
def test_a_refused_network_differs_from_its_integers(case: str) -> None:
    rule, words, net, near = CASES[case]
    x = trains(4, 30, 2, 9, 9, rate=0.5) if "mean" in case else trains(4, 30, 8, rate=0.5)
    model = SpikingNet(net, mode="step", warn_silent=False).eval()
    with pytest.raises(IntegerError, match=words) as caught:
        to_integer(model, x)
    assert caught.value.rule == rule
    assert rule in RULES
    assert repr(caught.value.layer) in words or caught.value.layer == ""
    written = to_integer(SpikingNet(near, warn_silent=False), x)
    with torch.no_grad():
        wrong = model(x).double().numpy() != written.run(x).out * 2.0**-written.output_exponent
    assert wrong.any()


def two_layers(ins: int = 64, bits: int = 8) -> SpikingNet:
    torch.manual_seed(0)
    return SpikingNet(nn.Sequential(linear(ins, 8, bits), FixedPointIF(fraction_bits=8, membrane_bits=24)))


def test_sums_beyond_24_bits_are_refused_because_float32_rounds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = two_layers(2048), torch.randint(0, 1 << 15, (4, 5, 2048)).float()
    weight = model.get_parameter("net.0.weight")
    weight.data.copy_(weight.sort(1).values)  # so that sums grow before they shrink
    with pytest.raises(IntegerError, match=r"layer '0': its sums may reach \d+ of their finest unit") as caught:
        to_integer(model, x)
    assert caught.value.rule == "sums"
    assert (caught.value.bound or 0) >= 1 << 24
    monkeypatch.setattr(proof, "LIMIT", 1 << 60)
    assert not certify(model, to_integer(model, x), x).equal
    # and with fewer bits nothing differs
    small = (x / 8192).floor()
    monkeypatch.undo()
    assert certify(model, to_integer(model, small), small).equal


def test_floating_inputs_are_refused_because_rounded_ones_differ() -> None:
    model, x = two_layers(), torch.rand(4, 20, 64)
    with pytest.raises(IntegerError, match="the input has numbers that are no whole numbers of at most 16") as caught:
        to_integer(model, x)
    assert caught.value.rule == "input"
    rounded = (x * 16).round() / 16
    written = to_integer(model, rounded)
    with torch.no_grad():
        assert (model(x).double().numpy() != written.run(rounded).out).any()
    with pytest.raises(ValueError, match="which is no whole number times"):
        certify(model, written, x)


def test_other_convolutions_than_plain_sums_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv = on_grid(nn.Conv2d(64, 64, 3, padding=1), 8)
    model = SpikingNet(nn.Sequential(conv, FixedPointIF(fraction_bits=8, membrane_bits=24)))
    x = trains(16, 1, 64, 12, 12, rate=0.5)
    written = to_integer(model, x)
    assert certify(model, written, x).equal
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    for call in (lambda: to_integer(model, x), lambda: certify(model, written, x)):
        with pytest.raises(IntegerError, match="layer '0': without oneDNN") as caught:
            call()
        assert caught.value.rule == "plain"
    monkeypatch.setattr(proof, "has_plain_convolutions", lambda: True)
    assert not certify(model, written, x).equal


def test_autocast_is_refused_because_it_rounds_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = two_layers(), torch.randint(0, 16, (4, 20, 64)).float()
    written = to_integer(model, x)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(IntegerError, match="autocast rounds sums") as caught:
        certify(model, written, x)
    assert caught.value.rule == "dtype"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sums = model.get_submodule("net.0")(x[0])
    node = written.nodes[0]
    assert isinstance(node, Linear)
    assert (sums.double().numpy() != node.sums(x[0].long().numpy()) * 2.0**-node.exponent).any()


def test_half_precision_is_refused_because_it_rounds_sums() -> None:
    layers = [FixedPointIF(fraction_bits=6, membrane_bits=8), linear(64, 8, 8)]
    model, x = SpikingNet(nn.Sequential(*layers), mode="step"), trains(4, 20, 64, rate=0.5)
    written, half = to_integer(model, x), copy.deepcopy(model).bfloat16()
    with pytest.raises(IntegerError, match=r"the network has torch.bfloat16, expected float32: model.float\(\)"):
        to_integer(half, x.bfloat16())
    with torch.no_grad():
        sums = half(x.bfloat16()).double().numpy()
    assert (sums != written.run(x).out * 2.0**-written.output_exponent).any()


@pytest.mark.parametrize("place", ["input", "output"])
def test_a_hook_of_the_whole_network_is_refused(place: str) -> None:
    model, x = two_layers(), trains(4, 20, 64, rate=0.5)
    written = to_integer(model, x)
    if place == "input":
        model.register_forward_pre_hook(lambda _, given: (1 - given[0],))
    else:
        model.register_forward_hook(doubled)
    with pytest.raises(IntegerError, match=f"a forward hook changes its {place}, which integers do not know of"):
        to_integer(model, x)
    assert (model(x).detach().numpy() != written.run(x).out).any()


def test_products_that_may_be_rounded_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_precision", {"matmul": "bf16", "conv": "none"}.get)
    with pytest.raises(IntegerError, match=r"mkldnn.matmul.fp32_precision is 'bf16', .*precision\('highest'\)"):
        to_integer(two_layers(), trains(4, 20, 64, rate=0.5))


def test_units_beyond_the_exponents_of_float32_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fc, x = linear(8, 8), torch.full((1, 2, 8), 2.0**-30)
    fc.weight.data.mul_(2.0**-120)
    fc.bias.data.zero_()
    model = SpikingNet(nn.Sequential(fc, neurons()), mode="step", warn_silent=False)
    with pytest.raises(IntegerError, match=r"layer '0': its sums are in units of 2\*\*-15"):
        to_integer(model, x)
    for name in ("_MOST_EXPONENT", "_MOST_ROUNDED"):
        monkeypatch.setattr(proof, name, 1000)
    assert not certify(model, to_integer(model, x), x).equal


def test_sums_of_which_rounding_leaves_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fc, x = nn.Linear(8, 8, bias=False), trains(2, 5, 8, rate=0.5)
    fc.weight.data.fill_(-(2.0**-71))
    layers = (fc, FixedPointIF(threshold=2.0**-6, fraction_bits=6, membrane_bits=12, rounding="half_up"))
    model = SpikingNet(nn.Sequential(*layers), mode="step", warn_silent=False)
    with pytest.raises(IntegerError, match=r"layer '1': its sums are .* rounds 65 bits away, so that nothing is left"):
        to_integer(model, x)
    monkeypatch.setattr(proof, "_MOST_ROUNDED", 1000)
    assert not certify(model, to_integer(model, x), x).equal
