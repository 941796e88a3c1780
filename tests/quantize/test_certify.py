"""What a certificate says of a float network and its integers; test_integer_oracle.py has random networks."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from spikingtorch import FixedPointIF, FixedPointLIF, SpikingNet
from spikingtorch import functional as F
from spikingtorch.quantize import IntegerError, RoundedInput, certify, prepare_qat, to_integer
from tests.quantize.float_networks import on_grid

pytestmark = pytest.mark.sampled


def small(**options: Any) -> SpikingNet:
    torch.manual_seed(0)
    layers = [on_grid(nn.Linear(6, 5), 4), FixedPointLIF(decay=(7, 3), fraction_bits=6, membrane_bits=12, **options)]
    return SpikingNet(nn.Sequential(*layers), mode="step", warn_silent=False)


X = (torch.rand(3, 20, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()


@pytest.mark.parametrize("what", ["weight", "threshold", "rounding"])
def test_a_certificate_shows_the_first_difference(what: str) -> None:
    model = small(rounding="floor")
    integer = to_integer(model, X)
    other = small(rounding="trunc" if what == "rounding" else "floor")
    if what == "weight":
        other.get_parameter("net.0.weight").data[2, 3] += 2.0**-3
    if what == "threshold":
        other.get_submodule("net.1").threshold = 1 + 2.0**-6  # type: ignore[assignment]
    found: Any = certify(other, integer, X)
    assert not found.equal
    assert found.first.name == "1"
    first = found.first.first
    if first.step:  # nothing of the layer differs before
        with pytest.raises(IntegerError, match="although nothing differs on this input"):
            certify(other, integer, X[:, : first.step])
    assert "different first at 1: " in str(found)
    assert f"sample {first.sample}, step {first.step} is" in str(found)


def test_a_network_with_more_layers_than_its_integers_is_no_network_of_theirs() -> None:
    model = small()
    integer = to_integer(model, X)
    longer = nn.Sequential(*model.net.children(), on_grid(nn.Linear(5, 5), 4), FixedPointIF(threshold=0.25))
    with pytest.raises(IntegerError, match="layer '1': its spikes are not the output of the network"):
        certify(SpikingNet(longer, mode="step", warn_silent=False), integer, X)
    with pytest.raises(TypeError, match="integer is a str, expected an IntegerModel"):
        certify(model, "net.npz", X)  # type: ignore[arg-type]


def test_numbers_that_the_input_does_not_show_are_compared() -> None:
    model = small()
    x = X * torch.tensor([1.0, 1, 1, 0, 1, 1])
    integer = to_integer(model, x)
    assert certify(model, integer, torch.zeros_like(x)).equal
    model.get_parameter("net.0.weight").data[2, 3] += 2.0**-3
    with pytest.raises(IntegerError, match="layer '0': its numbers in the network are not those of the integers"):
        certify(model, integer, x)


def test_a_certificate_is_a_table() -> None:
    model = small()
    text = str(certify(model, to_integer(model, X), X))
    assert "equal, bit for bit (3 samples of 20 steps; torch" in text
    assert "float32 on the CPU, 1 threads" in text or "threads, oneDNN on, autocast off" in text
    silent = small(threshold=30.0)
    assert "equal, bit for bit, but 1 never fired" in str(certify(silent, to_integer(silent, X), X))


def test_a_trained_network_with_rounded_weights_and_inputs_becomes_integers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 9), FixedPointLIF(fraction_bits=8), nn.Dropout(0.5), nn.Linear(9, 3), FixedPointIF()
    )
    model = prepare_qat(SpikingNet(net, mode="step", warn_silent=False), weight_bits=4, inputs=3)
    x = torch.rand(3, 20, 6)
    for each in model.parameters():
        each.data.mul_(2.5)
    integer = to_integer(model, x)
    with torch.inference_mode():
        assert certify(model, to_integer(model, x), x).equal
    assert integer.input_range == (0, 7)
    assert integer.input_exponent == 3
    assert [node.name for node in integer.nodes] == ["0", "1", "3", "4"]
    assert certify(model.eval(), integer, x).equal
    first = nn.Sequential(RoundedInput(3), *copy.deepcopy(net))
    again = SpikingNet(first, mode="step", warn_silent=False)
    assert certify(again, to_integer(again, x), x).equal


def test_recurrent_weights_that_are_a_tensor_become_integers() -> None:
    back = nn.Parameter(torch.linspace(-1, 1, 5))
    model = prepare_qat(small(recurrent=back, threshold=0.5), weight_bits=4)
    assert certify(model, to_integer(model, X), X).equal


def test_neurons_may_be_all_of_a_sample() -> None:
    model = SpikingNet(FixedPointLIF(threshold=0.5), mode="step", warn_silent=False)
    assert certify(model, to_integer(model, X[..., 0]), X[..., 0]).equal


def test_a_readout_without_neurons_gives_sums() -> None:
    layers = [*small().net.children(), on_grid(nn.Linear(5, 2), 4)]
    model = SpikingNet(nn.Sequential(*layers), mode="step", warn_silent=False)
    integer = to_integer(model, X)
    assert torch.equal(torch.tensor(integer.run(X).out * 2.0**-integer.output_exponent).float(), model(X))
    found = certify(model, integer, X)
    assert found.equal
    assert found.rows[-1].kind == "sums"


@pytest.mark.parametrize("batch_first", [True, False])
def test_both_orders_of_axes(batch_first: bool) -> None:
    model = small()
    model.batch_first = batch_first
    x = X if batch_first else X.transpose(0, 1)
    integer = to_integer(model, x)
    assert certify(model, integer, x).equal
    assert (integer.run(X).out == certify_spikes(model, x, batch_first)).all()


def certify_spikes(model: SpikingNet, x: torch.Tensor, batch_first: bool) -> Any:
    out = model(x)
    return (out if batch_first else out.transpose(0, 1)).detach().numpy()


def test_other_lengths_batches_and_layouts_give_the_same_numbers() -> None:
    model = small()
    integer = to_integer(model, X[:1, :2])
    for x in (X[:1, :1], X[:, :17], torch.cat([X] * 9), X.double(), X.transpose(0, 2).contiguous().transpose(0, 2)):
        own = copy.deepcopy(model).to(x.dtype)
        assert certify(own, integer, x).equal


def test_the_options_of_neurons_arrive() -> None:
    model = small(
        reset=F.detached(F.to_value(-0.25)), surrogate=F.Strict(F.Sigmoid()), overflow="wrap", rounding="half_up"
    )
    node: Any = to_integer(model, X).nodes[1]
    assert (node.kind, node.decay, node.threshold, node.strict) == ("lif", (7, 3), 64, True)
    assert (node.reset, node.v_reset, node.overflow, node.rounding) == ("value", -16, "wrap", "half_up")
    assert (node.low, node.high, node.fraction_bits) == (-2048, 2047, 6)


def test_bad_inputs_are_refused() -> None:
    model = small()
    with pytest.raises(IntegerError, match="NaN or infinities"):
        to_integer(model, X / 0)
    with pytest.raises(IntegerError, match=r"input_range is \(0, 1\), and x reaches from 0 to 3"):
        to_integer(model, X * 3, (0, 1))
    for given, words in ((3, "expected two whole numbers"), ((0, 1.5), "expected two whole"), ((0,), "expected two")):
        with pytest.raises(TypeError, match=words):
            to_integer(model, X, given)  # type: ignore[arg-type]
    with pytest.raises(IntegerError, match="expected numbers below 2"):
        to_integer(model, X, (0, 1 << 62))  # whose sums wrap round in int64
    with pytest.raises(TypeError, match=r"x is a ndarray, expected a tensor \(N, T, ...\)"):
        to_integer(model, X.numpy())  # type: ignore[arg-type]
    with pytest.raises(IntegerError, match=r"the input is torch.uint8, expected float32: x.float\(\)"):
        to_integer(model, X.byte())
    integer = to_integer(model, X)
    for call in (lambda: to_integer(model, X[:0]), lambda: certify(model, integer, X[:0])):
        with pytest.raises(IntegerError, match=r"the input of shape \(0, 20, 6\) is empty"):
            call()
    assert (integer.run(X.bfloat16()).out == integer.run(X.byte()).out).all()
    with pytest.raises(ValueError, match="the input reaches from 0 to 3, and the bounds were proven for 0 to 1"):
        certify(model, integer, X * 3)
    with pytest.raises(ValueError, match=r"the input has shape \(3, 20, 5\), expected \(N, T, 6\)"):
        integer.run(X[..., :5])
    assert to_integer(model, X, (0, 7)).input_range == (0, 7)
