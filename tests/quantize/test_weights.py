"""Grids and rounded weights, by fractions, numpy and hand; rounding after training: scales, judges, reports."""

import copy
import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.quantize import changes, fold_norms, prepare_qat, quantize
from spikingtorch.quantize.grid import exponent_of, power_of_two, whole_numbers
from tests.drawn import trains
from tests.folded_layer import Coded

pytestmark = pytest.mark.usefixtures("one_thread")
Numbers = np.ndarray[Any, Any]
X = trains(16, 10, 20, seed=1)

DRAWN: dict[str, Callable[[np.random.Generator, int], Numbers]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "sparse": lambda rng, n: rng.normal(size=n) * (rng.random(n) < 0.05),
    "one large": lambda rng, n: np.r_[rng.normal(size=n - 1), 100.0],
    "one alone": lambda rng, n: np.r_[rng.normal(size=n - 1) * 0.01, 1000.0],
    "equal": lambda rng, n: np.full(n, rng.random()),
    "two heaps": lambda rng, n: rng.choice([-1, 1], n) * (1 + 0.1 * rng.normal(size=n)),
    "heavy": lambda rng, n: rng.lognormal(0, 1, n) * rng.choice([-1, 1], n),
}


def rounded(w: Numbers, k: int, bits: int) -> Numbers:
    high = 2 ** (bits - 1) - 1
    return np.asarray(np.clip(np.rint(w / 2.0**k), -high, high) * 2.0**k)


def error(w: Numbers, k: int, bits: int) -> float:
    return float(np.sqrt(np.square(rounded(w, k, bits) - w).sum()))


def drawn(name: str, n: int, seed: int) -> Numbers:
    rng = np.random.default_rng(seed)
    found = DRAWN[name](rng, n) * 2.0 ** rng.uniform(-6, 6)
    return np.asarray(found.astype(np.float32).astype(np.float64))


def prepared(w: Any, bits: int, per_channel: bool = False, scale: Any = "heuristic") -> Any:
    """Return a layer without a bias whose float weights are these."""
    weight = torch.as_tensor(w)
    layer = nn.Linear(weight.shape[1], len(weight), bias=False, dtype=weight.dtype)
    layer.weight = nn.Parameter(weight.clone())
    return prepare_qat(layer, bits, per_channel, scale=scale)


def numbers(layer: Any) -> Numbers:
    return np.asarray(layer.weight.detach().double().numpy())


@pytest.mark.parametrize("bits", range(2, 9))
def test_no_power_of_two_has_a_smaller_error(bits: int) -> None:
    """Each channel has the scale that it has alone, and weights on the grid stay as they are."""
    for n in (1, 7, 100, 3000):
        rows = np.stack([drawn(name, n, bits) for name in DRAWN])
        together = [numbers(prepared(np.float32(rows), bits, True, scale)) for scale in ("heuristic", "learned")]
        assert (together[0] == together[1]).all()
        for w, found in zip(rows, together[0], strict=True):
            least = min(error(w, other, bits) for other in range(-40, 40))
            assert np.sqrt(np.square(found - w).sum()) <= least * (1 + 1e-6) + 1e-12
            for each in (w, found):
                assert (numbers(prepared(np.float32(each[None]), bits))[0] == found).all()


def test_the_scale_is_the_same_for_every_memory_format() -> None:
    layer = nn.Conv2d(5, 6, 3)
    other = copy.deepcopy(layer).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.equal(prepare_qat(layer, 4).weight, prepare_qat(other, 4).weight)


def test_a_channel_of_zeros_has_a_scale_like_the_others() -> None:
    w = torch.randn(3, 50)
    w[1] = 0.0
    layer = prepared(w, 4, True)
    scales = layer.parametrizations.weight[0].scale(w).flatten()
    assert 0.5 <= scales[1] / scales[0] <= 2.0


@pytest.mark.parametrize("scale", ["heuristic", "learned"])
def test_weights_that_grow_are_not_held_back(scale: str) -> None:
    """A clip would stop them: the scale of the first weights is 2^-4, and they grow to a hundred times themselves.

    A learned scale ends between two powers of two, and so goes to and fro between them.
    """
    layer, target = prepared(torch.linspace(-0.4, 0.4, 9)[None], 4, scale=scale), torch.linspace(-40, 40, 9)
    of_scale = [each for name, each in layer.named_parameters() if "scale" in name]
    groups: list[Any] = [{"params": [layer.parametrizations.weight.original], "lr": 1.0}]
    optimizer = torch.optim.Adam([*groups, {"params": of_scale, "lr": 0.1}] if of_scale else groups)
    found = []
    for _ in range(250 if of_scale else 100):
        optimizer.zero_grad()
        (layer.weight[0] - target).square().sum().backward()
        optimizer.step()
        found.append(float((layer.weight[0] - target).detach().abs().max()))
    if of_scale:
        assert min(found[-50:]) <= 4.0
    else:
        assert found[-1] < 8.0  # the scale, in which 40 is 5
        assert layer.weight.abs().max() == 40.0


def test_the_gradient_passes_straight_through_a_heuristic_scale() -> None:
    cotangent = torch.randn(5, 8)
    for per_channel in (False, True):
        layer = prepared(torch.randn(5, 8), 2, per_channel)
        (found,) = torch.autograd.grad(layer.weight, layer.parametrizations.weight.original, cotangent)
        assert torch.equal(found, cotangent)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_gradient_of_a_learned_scale_is_that_of_the_paper(per_channel: bool) -> None:
    bits, high = 3, 3
    layer = prepared(torch.randn(5, 8, dtype=torch.float64), bits, per_channel, "learned")
    w, rounding = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    with torch.no_grad():
        rounding.log2_scale.sub_(0.9)  # so that some weights are clipped
    cotangent = torch.randn(5, 8, dtype=torch.float64)
    by_w, by_log2 = torch.autograd.grad(layer.weight, (w, rounding.log2_scale), cotangent)
    s = rounding.scale(w)
    q = (w / s).detach()
    inside = q.abs() <= high
    assert 0 < int(inside.sum()) < 40
    assert torch.allclose(by_w, torch.where(inside, cotangent, 0.0), rtol=1e-14)
    step = torch.where(inside, q.round() - q, q.sign() * high)
    shared = 8 if per_channel else 40
    expected = (cotangent * step * s * np.log(2.0) / np.sqrt(shared * high)).reshape(-1, shared).sum(1)
    assert torch.allclose(by_log2.flatten(), expected, rtol=1e-12)


def of(*numbers: float) -> Tensor:
    return torch.tensor([numbers])


def test_special_numbers() -> None:
    for scale in ("heuristic", "learned"):
        layer = prepared(of(1.0, 1.0, 1.0), 4, scale=scale)
        weight = layer.parametrizations.weight.original
        weight.data = of(0.0, -0.0, 0.0)
        assert layer.weight.tolist() == [[0.0, 0.0, 0.0]]
        assert not layer.weight.signbit().any()
        weight.data = of(1.0, float("nan"), 2.0)
        assert layer.weight.isnan().any()
    # a learned scale clips infinity like any other number; that of infinite weights is none
    assert prepared(of(1.0, float("inf")), 4).weight.isnan().any()
    for shape in ((3, 0), (0, 3)):
        with pytest.warns(UserWarning, match="zero-element"):
            layer = prepared(torch.zeros(shape), 8, True)
        assert layer.weight.shape == shape


TENSORS = {
    "weights": torch.randn(50, generator=torch.Generator().manual_seed(0)),
    "bfloat16": torch.randn(9, generator=torch.Generator().manual_seed(2)).bfloat16(),
    "even": torch.tensor([[-8.0, 12.0], [4.0, 0.0]]),
    "zeros": torch.tensor([0.0, -0.0]),
    "none": torch.zeros(0, 3),
    "subnormal": torch.tensor([5e-324], dtype=torch.float64),
    "large": torch.tensor([3.0 * 2.0**100]),
    "whole": torch.tensor([12, -4]),
    "view": torch.arange(24.0).reshape(4, 6).T[::2] / 4,
}


def scaled(tensor: Tensor, e: int) -> list[Fraction]:
    return [Fraction(each) * Fraction(2) ** e for each in tensor.double().flatten().tolist()]


@pytest.mark.parametrize("name", TENSORS)
def test_the_exponent_is_the_smallest_that_gives_whole_numbers(name: str) -> None:
    tensor = TENSORS[name]
    e = exponent_of(tensor)
    assert whole_numbers(tensor, e).flatten().tolist() == scaled(tensor, e)
    assert whole_numbers(tensor, e + 3).flatten().tolist() == scaled(tensor, e + 3)
    assert any(each.denominator == 2 for each in scaled(tensor, e - 1)) or not tensor.any()


def test_numbers_off_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 numbers, 0.25 for instance, are no whole numbers times 2\*\*-1"):
        whole_numbers(torch.tensor([0.5, 0.25]), 1)
    with pytest.raises(ValueError, match="no whole numbers"):
        whole_numbers(torch.tensor([2.0**-149, 1.0]), 149)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="NaN or infinities"):
            exponent_of(torch.tensor([1.0, wrong]))
        with pytest.raises(ValueError, match="no whole numbers"):
            whole_numbers(torch.tensor([1.0, wrong]), 3)


@pytest.mark.parametrize(("dtype", "least", "most"), [(torch.float32, -126, 127), (torch.float64, -1022, 1023)])
def test_powers_of_two_are_exact(dtype: torch.dtype, least: int, most: int) -> None:
    exponents = torch.arange(least, most + 1)
    assert power_of_two(exponents, dtype).tolist() == [2.0**e for e in range(least, most + 1)]
    assert power_of_two(torch.tensor([-5000, 5000]), dtype).tolist() == [2.0**least, 2.0**most]


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
