"""Thresholds from activations, beside those of torch and of a search by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch.convert import to_spiking

pytestmark = pytest.mark.usefixtures("one_thread")


def numbers() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(20_000).abs() * 3.0


def threshold(values: Tensor, method: Any, steps: int = 8) -> float:
    """Return the threshold for activations, batch by batch: a weight is divided by that of its neuron."""
    ann = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    nn.init.ones_(ann.get_parameter("0.weight"))
    model = to_spiking(ann, values[:, None].split(3_000), steps=steps, method=method)
    return 1.0 / next(model.parameters()).item()


def test_quantiles_are_those_of_torch_to_one_percent() -> None:
    expected = float(torch.quantile(numbers(), 0.999))
    assert threshold(numbers(), "quantile") == pytest.approx(expected, rel=0.012)


def test_what_is_not_positive_does_not_count() -> None:
    with_others = torch.cat([numbers(), torch.zeros(50_000), -numbers()])
    assert threshold(with_others, "quantile") == threshold(numbers(), "quantile")
    assert threshold(with_others, "max") == pytest.approx(float(numbers().max()))


def error(values: Tensor, threshold: float, steps: int) -> float:
    spikes = torch.floor(steps * values / threshold + 0.5).clamp(0, steps)
    return float((values - threshold * spikes / steps).double().square().mean())


@pytest.mark.parametrize("steps", [1, 4, 32])
def test_robust_has_the_least_error(steps: int) -> None:
    values = numbers()
    found = threshold(values, "robust", steps)
    tried = [error(values, float(values.max()) * k / 300, steps) for k in range(1, 301)]
    assert error(values, found, steps) < 1.02 * min(tried)


def test_one_outlier_does_not_move_a_robust_threshold() -> None:
    values = torch.cat([numbers(), torch.tensor([200.0])])
    assert threshold(values, "robust") == pytest.approx(threshold(numbers(), "robust"), rel=0.25)
    assert threshold(values, "max") == pytest.approx(200.0)


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1e6, 1e30])
def test_tiny_and_huge_numbers_are_counted(size: float) -> None:
    for method in ("quantile", "robust"):
        assert threshold(numbers() * size, method) == pytest.approx(size * threshold(numbers(), method), rel=0.02)


def test_activations_beyond_float32_are_an_error() -> None:
    ann = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU()).double()
    nn.init.constant_(ann.get_parameter("0.weight"), 1e60)
    with pytest.raises(ValueError, match=r"'1' \(ReLU\) returns numbers above 3e38"):
        to_spiking(ann, [torch.ones(3, 1, dtype=torch.float64)], method="max")
