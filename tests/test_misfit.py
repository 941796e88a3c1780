"""An input without time, without a batch or of other features: the error speaks of the input, in every mode."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, SpikingNet, StepLayer
from spikingtorch import functional as F
from spikingtorch.spikeio import ConstantEncoder
from tests.folded_layer import Coded

MODES: tuple[Any, ...] = ("auto", "step", "fold")
REMEDY = (
    r"\. If x has no time, write x\.unsqueeze\(1\) for one step or ConstantEncoder\(T\)\(x\) of spikingtorch\.spikeio "
    r"for T steps; if x has no batch, write x\.unsqueeze\(0\)$"
)


def product() -> nn.Module:
    """Return a network whose product is its own code, and no module's."""
    weight = nn.Parameter(torch.ones(20, 3))
    return Coded(lambda net, x, init: net.neurons(x @ net.weight, init), weight=weight, neurons=LIF())


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 4), LIF())


CASES: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "no time, or no batch": (
        linear,
        (8, 20),
        r"x has shape \(8, 20\), taken as \(N, T, \.\.\.\): 8 samples of 20 steps without features, which layer 0 "
        r"\(Linear\) does not take: (\w+: )?mat1 and mat2",
    ),
    "other features": (
        linear,
        (5, 8, 21),
        r"x has shape \(5, 8, 21\), .* 8 steps of shape \(21,\), which layer 0 \(Linear\) does not take: (\w+: )?mat1",
    ),
    "images without time": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), LIF()),
        (8, 1, 28, 28),
        r"8 samples of 1 step of shape \(28, 28\), which layer 0 \(Conv2d\) does not take: Given groups=1.*"
        r"\. If x has no channels, write x\.unsqueeze\(2\)",
    ),
    "behind what has no weights": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 4), LIF()),
        (5, 28, 28),
        r"28 steps of shape \(28,\), which layer 1 \(Linear\) does not take: (\w+: )?mat1 and mat2",
    ),
    "an axis that is not there": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 4), LIF()),
        (5, 784),
        r"784 steps without features, which layer 0 \(Flatten\) does not take: Dimension out of range",
    ),
    "what torch checks in Python": (
        lambda: nn.Sequential(nn.BatchNorm1d(20), nn.Linear(20, 4), LIF()),
        (8, 20),
        r"20 steps without features, which layer 0 \(BatchNorm1d\) does not take: expected 2D or 3D input",
    ),
    "code of the network": (product, (8, 20), r"without features, which Coded does not take: (\w+: )?mat1 and mat2"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_the_first_line_speaks_of_the_input(case: str, mode: Any) -> None:
    make, shape, message = CASES[case]
    with pytest.raises(ValueError, match=f"^SpikingNet: .*{message}.*{REMEDY}") as caught:
        SpikingNet(make(), mode=mode)(torch.rand(shape))
    cause = caught.value.__cause__
    assert cause is not None
    assert str(cause) in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_advised_runs(mode: Any) -> None:
    x = torch.rand(8, 20)
    shapes = [SpikingNet(linear(), mode=mode)(each).shape for each in (x.unsqueeze(1), x[None], ConstantEncoder(5)(x))]
    assert shapes == [(8, 1, 4), (1, 8, 4), (8, 5, 4)]


@pytest.mark.parametrize("mode", MODES)
def test_steps_without_features_run_where_a_network_takes_them(mode: Any) -> None:
    assert SpikingNet(nn.Sequential(LIF()), mode=mode)(torch.rand(8, 20)).shape == (8, 20)


@pytest.mark.parametrize("mode", MODES)
def test_an_error_further_on_stays_torch_s_with_a_note(mode: Any) -> None:
    model = SpikingNet(nn.Sequential(nn.Linear(20, 4), LIF(), nn.Linear(5, 3)), mode=mode)
    with pytest.raises(RuntimeError, match=r"^(\w+: )?mat1 and mat2 shapes") as caught:
        model(torch.rand(3, 8, 20))
    note = "SpikingNet: x has shape (3, 8, 20), taken as (N, T, ...): 3 samples of 8 steps of shape (20,)"
    note += ". It is layer 2 (Linear) that does not take what it is given"
    assert caught.value.__notes__ == [note]


def own_error(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
    return state, x @ x


def test_errors_of_a_step_and_of_other_kinds_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match=r"^(\w+: )?mat1|^size mismatch|^The size|^1D tensors|^inconsistent") as step:
        SpikingNet(StepLayer(own_error, F.LIFState))(torch.rand(8, 20, 3))
    assert any("first step of own_error" in note for note in step.value.__notes__)

    class Failing(nn.Module):
        def forward(self, x: Tensor, init: Any) -> Tensor:
            raise RuntimeError("the pump is off")

    with pytest.raises(RuntimeError, match=r"^the pump is off$"):
        SpikingNet(Failing())(torch.rand(8, 20))
    with pytest.raises(TypeError, match="SpikingNet: x is a list"):
        SpikingNet(linear())([[0.5]])
