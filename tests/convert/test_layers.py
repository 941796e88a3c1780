"""ClipFloor, ShiftedIF and CountMaxPool by their equations; thresholds beside torch's and those of a search by hand."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch import SpikingNet
from spikingtorch.convert import ClipFloor, CountMaxPool, Scale, ShiftedIF, to_spiking
from tests.convert.nets import repeated

pytestmark = pytest.mark.usefixtures("one_thread")


def over_time(layer: nn.Module, mode: str = "fold") -> SpikingNet:
    return SpikingNet(nn.Sequential(layer), mode=mode)  # type: ignore[arg-type]


def spikes_of(layer: nn.Module, x: Tensor, T: int, mode: str = "fold") -> Tensor:
    return over_time(layer, mode)(repeated(x, T))


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("T", [1, 2, 7, 17, 64])
def test_a_constant_current_makes_the_nearest_number_of_spikes(T: int, threshold: float, mode: str) -> None:
    x = torch.arange(-64, 129)[None] / 64 * threshold  # no sum of them rounds
    counts = spikes_of(ShiftedIF(threshold), x, T, mode).sum(1)
    assert torch.equal(counts, torch.floor(T * x / threshold + 0.5).clamp(0, T))


def test_a_threshold_for_each_channel() -> None:
    thresholds = torch.tensor([0.5, 2.0])
    x = torch.tensor([[0.25, 0.25]])
    assert spikes_of(ShiftedIF(thresholds), x, 8).sum(1).tolist() == [[4.0, 1.0]]


@pytest.mark.parametrize("levels", [1, 2, 4, 16])
@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_clip_floor_is_what_neurons_make_of_a_constant_current(levels: int, threshold: float) -> None:
    x = torch.arange(-64, 129)[None] / 64 * threshold
    y = ClipFloor(levels, threshold)(x)
    assert torch.equal(y, threshold * (torch.floor(x * levels / threshold + 0.5) / levels).clamp(0.0, 1.0))
    assert torch.equal(y, threshold * spikes_of(ShiftedIF(threshold), x, levels).mean(1))


def test_clip_floor_has_the_gradient_of_its_docstring() -> None:
    clip = ClipFloor(4, threshold=2.0)
    x = torch.tensor([-1.0, 0.2, 0.9, 1.9, 3.0], requires_grad=True)
    for place, expected in enumerate([0.0, 1.0, 1.0, 1.0, 0.0]):
        y = clip(x)
        gradient, of_threshold = torch.autograd.grad(y[place], (x, clip.threshold))
        assert gradient[place] == expected
        inside = float((y[place] - x[place]).detach() / 2.0)
        torch.testing.assert_close(float(of_threshold), [0.0, inside, inside, inside, 1.0][place])


def test_clip_floor_of_many_levels_is_a_clipped_relu() -> None:
    x = torch.linspace(-1.0, 5.0, 200, dtype=torch.float64)
    y = ClipFloor(2**20, threshold=3.0).double()(x)
    torch.testing.assert_close(y, x.clamp(0.0, 3.0), rtol=0.0, atol=2e-6)


def test_the_threshold_of_clip_floor_stays_positive_and_may_be_a_buffer() -> None:
    clip = ClipFloor(4, threshold=0.1)
    with torch.no_grad():
        clip.threshold.fill_(-1.0)
    y = clip(torch.tensor([1.0]))
    assert 0.0 < y.item() < 1e-5
    y.sum().backward()
    assert clip.threshold.grad is not None
    fixed = ClipFloor(4, 2.0, learnable=False)
    assert not list(fixed.parameters())
    assert set(fixed.state_dict()) == {"threshold"}
    with torch.no_grad():
        clip.threshold.fill_(math.nan)
    with pytest.raises(ValueError, match="diverged"):
        _ = clip.value


def test_clip_floor_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="levels=0"):
        ClipFloor(0)
    with pytest.raises(ValueError, match="threshold=0"):
        ClipFloor(4, threshold=0.0)
    with pytest.raises(ValueError, match=r"threshold has shape \(2,\), expected one number"):
        ClipFloor(4, threshold=torch.ones(2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="float"):
        ClipFloor(4)(torch.tensor([1]))
    assert repr(ClipFloor(8, 2.0)) == "ClipFloor(levels=8, threshold=2)"


POOLS = [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((2, 3), 1, ceil_mode=True), nn.MaxPool2d(2, dilation=2)]


@pytest.mark.parametrize("pool", POOLS, ids=repr)
@pytest.mark.parametrize("T", [1, 2, 17])
def test_the_mean_of_pooled_spikes_is_the_pooled_mean(pool: nn.MaxPool2d, T: int) -> None:
    torch.manual_seed(0)
    spikes = (torch.rand(3, T, 2, 9, 8) < torch.rand(3, 1, 2, 9, 8)).float()
    out = over_time(CountMaxPool(pool))(spikes)
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    for t in range(T):
        assert torch.equal(out[:, : t + 1].sum(1), pool(spikes[:, : t + 1].sum(1)))
    assert torch.equal(over_time(CountMaxPool(pool), "step")(spikes), out)


def test_pooling_of_signals_and_of_currents() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 12, 2, 10, dtype=torch.float64)
    out = over_time(CountMaxPool(nn.MaxPool1d(3)))(x)
    torch.testing.assert_close(out.sum(1), nnf.max_pool1d(x.sum(1), 3))


def test_the_gradient_of_pooling_is_that_of_the_equation() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 1, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, 1, 2, dtype=torch.float64)
    gradients: list[Tensor] = []
    for mode in ("fold", "step"):
        out = over_time(CountMaxPool(nn.MaxPool1d(2)), mode)(x)
        gradients += torch.autograd.grad((weights * out).sum(), x)
    pooled = nnf.max_pool1d(x.cumsum(1).flatten(0, 1), 2).unflatten(0, (2, 5))
    expected = torch.diff(pooled, dim=1, prepend=torch.zeros_like(pooled[:, :1]))
    (by_hand,) = torch.autograd.grad((weights * expected).sum(), x)
    for found in gradients:
        torch.testing.assert_close(found, by_hand)


def test_pooling_says_what_is_wrong() -> None:
    with pytest.raises(TypeError, match="AvgPool2d"):
        CountMaxPool(nn.AvgPool2d(2))
    with pytest.raises(ValueError, match="return_indices"):
        CountMaxPool(nn.MaxPool2d(2, return_indices=True))


def test_one_step_of_many_neurons_is_pooled_without_a_warning() -> None:
    x = (torch.rand(64, 1, 8, 64, 64) < 0.5).float()
    out = over_time(CountMaxPool(nn.MaxPool2d(2)), "step")(x)
    assert torch.equal(out[:, 0], nnf.max_pool2d(x[:, 0], 2))


def test_scale_keeps_its_factor_in_the_state_dict() -> None:
    scale = Scale(0.5)
    assert scale(torch.tensor([3.0])).tolist() == [1.5]
    assert list(scale.state_dict()) == ["factor"]
    assert repr(scale) == "Scale(0.5)"


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
