"""Rounding after training: scales, judges, reports, warnings."""

import copy
import re
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.quantize import changes, fold_norms, prepare_qat, quantize
from tests.drawn import trains
from tests.folded_layer import Coded

pytestmark = pytest.mark.usefixtures("one_thread")
X = trains(16, 10, 20, seed=1)


def network(*between: nn.Module, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    layers = [nn.Linear(20, 30), *between, st.LIF(threshold=0.2), nn.Linear(30, 5), st.LIF(threshold=0.2)]
    return st.SpikingNet(nn.Sequential(*layers), mode="fold")


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_scales_are_those_of_prepare_qat_and_the_model_stays(bits: int, per_channel: bool) -> None:
    model, x = network(), X
    before, expected = copy.deepcopy(model.state_dict()), model(x)
    found: Any = quantize(model, x, bits, per_channel)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(x), expected)
    assert not found.training
    assert torch.equal(found(x), prepare_qat(copy.deepcopy(model), bits, per_channel)(x))


def test_a_norm_becomes_part_of_the_weights_first() -> None:
    model, x = network(nn.BatchNorm1d(30)), X
    model(x)  # in training, for its statistics
    merged = fold_norms(copy.deepcopy(model)).eval()
    found = quantize(model, x, 3)
    assert isinstance(model.net[1], nn.BatchNorm1d)
    assert torch.equal(found(x), prepare_qat(merged, 3)(x))


def test_judged_by_outputs_no_neighbour_of_the_last_scale_is_better() -> None:
    model, x = network(), X

    @torch.no_grad()
    def differs(rounded: Any) -> float:
        return float((rounded(x).sum(1) - model(x).sum(1)).square().sum())

    found: Any = quantize(model, x, 2, by="outputs")
    by_weights = quantize(model, x, 2)
    assert differs(found) < differs(by_weights)
    log2 = found.net[2].parametrizations.weight[0].log2_scale
    for step in (1.0, -1.0):
        other = copy.deepcopy(found)
        other.net[2].parametrizations.weight[0].log2_scale.data.add_(step)
        assert differs(other) >= differs(found)
    assert log2.requires_grad


def test_batches_of_any_kind_give_the_same() -> None:
    model, x = network(), X
    expected = quantize(model, x, 2, by="outputs")(x)
    y = torch.zeros(16)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=5)
    for data in ([x], [(x, y)], loader, iter([x[:3], x[:0], x[3:]])):
        assert torch.equal(quantize(model, data, 2, by="outputs")(x), expected)


def test_time_first_and_several_outputs() -> None:
    model, x = network(), X
    expected = quantize(model, x, 2, by="outputs").state_dict()
    model.batch_first = False
    found = quantize(model, x.transpose(0, 1), 2, by="outputs").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())

    def code(net: Any, x: Tensor, init: Any) -> Any:
        return {"spikes": net.lif(net.linear(x), init), "current": net.linear(x)}

    both = st.SpikingNet(Coded(code, linear=nn.Linear(20, 4), lif=st.LIF(threshold=0.2)))
    assert changes(both, quantize(both, x, 3, by="outputs"), x).output > 0.0


def test_changes_are_those_of_the_definition() -> None:
    model, x = network().requires_grad_(False), X
    found: Any = quantize(model, x, 3)
    shown = changes(model, found, [x[:4], x[4:]])
    assert [*shown.layers] == ["0", "2"]
    assert [*shown.rates] == ["1", "3"]
    for path, layer in shown.layers.items():
        w, rounded = model.net[int(path)].weight, found.net[int(path)].weight
        assert layer.error == pytest.approx(float((rounded - w).norm() / w.norm()))
        assert (layer.bits, layer.exponents[0]) == (3, layer.exponents[1])
    y, z = model(x), found(x)
    assert shown.rates["3"] == pytest.approx((float(y.mean()), float(z.mean())))
    assert shown.output == pytest.approx(float((z.sum(1) - y.sum(1)).norm() / y.sum(1).norm()))
    assert shown.silent == []
    text = str(shown)
    assert text.startswith("Changes by rounding\n  0 ")
    assert f"3 bits  scale 2^{shown.layers['0'].exponents[0]}" in text
    with torch.no_grad():
        model.net[2].weight[1].mul_(8.0)
    assert re.search(r"2 +3 bits  scales 2\^-\d to 2\^-?\d", str(changes(model, quantize(model, x, 3, True), x)))


def test_a_layer_that_falls_silent_is_named() -> None:
    """Small weights beside one large one: all of them become zero, and with them the currents."""
    model, x = network(), X
    with torch.no_grad():
        model.net[0].weight.fill_(0.1).view(-1)[0] = -60.0
        model.net[0].bias.zero_()
    x[..., 0] = 0.0
    with pytest.warns(
        UserWarning, match=r"layer '1' fired on the data, and is silent with weights of 2 bits.*prepare_qat"
    ):
        found = quantize(model, x, 2)
    assert changes(model, found, x).silent[0] == "1"
    with warnings.catch_warnings(action="error"):
        quantize(model, x, 2, per_channel=True)


def test_wrong_arguments() -> None:
    model, x = network(), X
    given: list[Any] = ["rates", 3]
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda: quantize(model.net, x), TypeError, "quantize: model is a Sequential, expected a SpikingNet"),
        (lambda: quantize(model, x, by=given[0]), ValueError, "by='rates', expected 'weights' or 'outputs'"),
        (lambda: quantize(model, given[1]), TypeError, "data is a int, expected a tensor or batches"),
        (lambda: quantize(model, []), ValueError, "there are no data"),
        (lambda: quantize(model, [x.long()]), TypeError, "a batch of data"),
        (lambda: quantize(model, x, 9), ValueError, "weight_bits=9"),
        (lambda: quantize(prepare_qat(network()), x), ValueError, "are rounded already; call remove_qat"),
        (lambda: changes(model, model, x), ValueError, "the second network has no rounded weights"),
        (lambda: changes(model, model.net, x), TypeError, "changes: model is a Sequential"),
    ]
    for call, kind, message in wrong:
        with pytest.raises(kind, match=message):
            call()


def test_a_result_can_be_trained_on() -> None:
    model, x = network(), X
    found = quantize(model, x, 3).train()
    found(x).sum().backward()
    assert all(each.grad is not None for each in found.parameters())
