"""What ``summary`` counts beside the Jacobian of each layer: an entry that is not zero is a weight that is added."""

import copy
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import spikingtorch as st

pytestmark = pytest.mark.usefixtures("one_thread")
N, T = 2, 3


def by_jacobian(layer: nn.Module, x: Tensor) -> tuple[int, int]:
    """Return the weights that reach an output, over all samples and steps, and those of inputs that are not zero."""
    positive, macs, synops = copy.deepcopy(layer).double(), 0, 0
    for parameter in positive.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    for one in x.double().flatten(0, 1):
        weights: Any = torch.autograd.functional.jacobian(lambda x: positive(x.unsqueeze(0))[0], one)
        added = (weights != 0).reshape(-1, one.numel()).sum(0)
        macs += int(added.sum())
        synops += int(added[one.flatten() != 0].sum())
    return macs, synops


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(5, 4), (5,)),
    "linear over places": (nn.Linear(5, 4), (3, 5)),
    "convolution": (nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2), (2, 7, 6)),
    "in one dimension": (nn.Conv1d(2, 3, 3, padding="same"), (2, 7)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3), (2, 5, 4)),
    "transposed, cut": (
        *(nn.ConvTranspose2d(4, 6, 3, stride=3, padding=2, output_padding=2, groups=2, dilation=2),),
        (4, 5, 4),
    ),
    "transposed, 1": (nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1), (2, 6)),
    "transposed, 3": (nn.ConvTranspose3d(1, 2, 2, stride=2), (1, 3, 2, 2)),
    "mean": (nn.AvgPool2d(2), (2, 5, 5)),
    "mean, up": (nn.AvgPool2d(2, ceil_mode=True), (2, 5, 5)),
    "mean, up and padded": (nn.AvgPool2d((3, 2), stride=2, padding=(1, 0), ceil_mode=True), (2, 6, 5)),
    "mean, 1": (nn.AvgPool1d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (2, 6)),
    "mean, 3": (nn.AvgPool3d(2, stride=1), (1, 3, 4, 3)),
    "adaptive, to one": (nn.AdaptiveAvgPool2d(1), (2, 5, 5)),
    "adaptive": (nn.AdaptiveAvgPool2d((2, None)), (2, 5, 3)),
    "adaptive, 1": (nn.AdaptiveAvgPool1d(4), (2, 7)),
    "adaptive, 3": (nn.AdaptiveAvgPool3d((2, 3, 1)), (1, 3, 4, 3)),
}


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, mode: Any) -> None:
    layer, shape = LAYERS[name]
    x = (torch.rand(N, T, *shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    found = st.summary(st.SpikingNet(nn.Sequential(layer, st.LIF()), mode=mode), x)
    assert (found.dense * N, found.acs * N) == by_jacobian(layer, x)
    assert found.unseen == ()


class Computed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("kept", torch.ones(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nnf.linear(x, self.linear.weight.abs()) + nnf.linear(x, self.get_buffer("kept"))


def old_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nn.utils.weight_norm(layer)


WEIGHTS: dict[str, Any] = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
    "weight norm by a hook": lambda: old_norm(nn.Linear(3, 4)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
    "pruned": lambda: prune.l1_unstructured(nn.Linear(3, 4), "weight", 0.5),
    "computed, and a buffer": Computed,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_no_parameters(name: str) -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(3, 3), st.IF(v0=0.0), WEIGHTS[name](), st.IF()), warn_silent=False)
    found = st.summary(model.eval(), torch.ones(N, T, 3))
    rows = {row.name: row for row in found.rows}
    assert rows["2"].dense == T * 3 * 4 * (2 if name.startswith("computed") else 1)
    assert found.dense == T * 3 * 3 + rows["2"].dense
    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert found.unseen == (("2.linear (Linear)",) if name.startswith("computed") else ())


def test_tied_weights_count_as_parameters_once_and_work_twice() -> None:
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    found = st.summary(st.SpikingNet(nn.Sequential(one, st.IF(), two, st.IF())), torch.ones(N, T, 3))
    assert [(row.parameters, row.dense) for row in found.rows[::2]] == [(12, T * 9), (3, T * 9)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_not_seen_is_named() -> None:
    net = nn.Sequential(torch.jit.script(nn.Linear(3, 4)), st.IF(), nn.Linear(4, 2), st.IF())
    found = st.summary(st.SpikingNet(net, mode="step"), torch.ones(N, T, 3))
    assert found.unseen == ("0 (Linear)",)
    assert str(found).endswith("No operation was seen of 0 (Linear).")


@pytest.mark.sampled
@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_network_is_counted(whole: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), st.IF(v0=0.1), nn.Linear(4, 2), st.IF())
    x = torch.rand(N, T, 3)
    want = st.summary(st.SpikingNet(net), x)
    compiled: Any = lambda module: torch.compile(module, backend="eager")  # noqa: E731
    model = compiled(st.SpikingNet(net)) if whole else st.SpikingNet(compiled(net))
    model(x)
    found = st.summary(model, x)
    assert [row[2:] for row in found.rows] == [row[2:] for row in want.rows]
