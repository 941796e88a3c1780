"""Thresholds from activations, beside those of torch and of a search by hand."""

import pytest
import torch
from torch import Tensor, nn

from spikingtorch.convert import to_spiking
from spikingtorch.convert.thresholds import Histogram, Method

pytestmark = pytest.mark.usefixtures("one_thread")


def numbers() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(20_000).abs() * 3.0


def filled(values: Tensor) -> Histogram:
    found = Histogram()
    for part in values.split(3_000):
        found.add(part)
    return found


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99, 0.999])
def test_quantiles_are_those_of_torch_to_one_percent(share: float) -> None:
    expected = float(torch.quantile(numbers(), share))
    assert filled(numbers()).quantile(share) == pytest.approx(expected, rel=0.012)


def test_what_is_not_positive_does_not_count() -> None:
    with_others = torch.cat([numbers(), torch.zeros(50_000), -numbers()])
    assert filled(with_others).quantile(0.99) == filled(numbers()).quantile(0.99)
    assert filled(with_others).largest == float(numbers().max())


def error(values: Tensor, threshold: float, steps: int) -> float:
    spikes = torch.floor(steps * values / threshold + 0.5).clamp(0, steps)
    return float((values - threshold * spikes / steps).double().square().mean())


@pytest.mark.parametrize("steps", [1, 4, 32])
def test_robust_has_the_least_error(steps: int) -> None:
    values = numbers()
    found = filled(values).threshold(steps, "robust")
    tried = [error(values, float(values.max()) * k / 300, steps) for k in range(1, 301)]
    assert error(values, found, steps) < 1.02 * min(tried)


def test_one_outlier_does_not_move_a_robust_threshold() -> None:
    values = torch.cat([numbers(), torch.tensor([200.0])])
    assert filled(values).threshold(8, "robust") == pytest.approx(filled(numbers()).threshold(8, "robust"), rel=0.25)
    assert filled(values).threshold(8, "max") == 200.0


def test_methods_are_named_in_the_weights() -> None:
    ann = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    nn.init.ones_(ann.get_parameter("0.weight"))
    x = numbers()[:, None]
    methods: tuple[Method, ...] = ("max", "quantile", "robust")
    for method in methods:
        model = to_spiking(ann, [x], steps=8, method=method)
        expected = filled(x.flatten()).threshold(8, method)
        assert next(model.parameters()).item() == pytest.approx(1.0 / expected)


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1e6, 1e30])
def test_tiny_and_huge_numbers_are_counted(size: float) -> None:
    found = filled(numbers() * size)
    assert found.quantile(0.9) == pytest.approx(size * float(torch.quantile(numbers(), 0.9)), rel=0.012)
    assert found.threshold(8, "robust") == pytest.approx(size * filled(numbers()).threshold(8, "robust"), rel=0.02)


def test_activations_beyond_float32_are_an_error() -> None:
    ann = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU()).double()
    nn.init.constant_(ann.get_parameter("0.weight"), 1e60)
    with pytest.raises(ValueError, match=r"'1' \(ReLU\) returns numbers above 3e38"):
        to_spiking(ann, [torch.ones(3, 1, dtype=torch.float64)], method="max")
