"""A network whose layers are silent, or always fire, says so once."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F

BATCHES = 8  # that a warning waits for


class Deep(nn.Module):
    """Layers in a row, by a forward that hands init on."""

    def __init__(self, depth: int = 5, width: int = 32, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.neurons = nn.ModuleList(st.LIF(**options) for _ in range(depth))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        for linear, neurons in zip(self.linears, self.neurons, strict=True):
            x = neurons(linear(x), init)
        return x


def caught(model: st.SpikingNet, batches: int, scale: float = 1.0) -> list[str]:
    """Run batches, and return what they warned of."""
    x = scale * (torch.rand(4, 10, 32, generator=torch.Generator().manual_seed(1)) < 0.3)
    x = x.to(next(model.parameters()).dtype)
    with warnings.catch_warnings(record=True, action="always") as found:
        for _ in range(batches):
            model(x)
    return [str(each.message) for each in found]


@pytest.mark.sampled
@pytest.mark.parametrize(("mode", "chunk"), [("step", None), ("step", 4), ("auto", None), ("auto", 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_five_layers_as_they_come_are_silent(dtype: torch.dtype, mode: Any, chunk: int | None) -> None:
    model = st.SpikingNet(Deep().to(dtype), 32, mode=mode, time_chunk=chunk)
    assert caught(model, BATCHES - 1) == []
    (text,) = caught(model, 1)
    assert "layer neurons.4 (LIF) has not fired once in 8 batches" in text
    assert "spikingtorch.init.to_rate_(model, x)" in text
    assert "threshold=" in text
    assert "warn_silent=False" in text
    assert caught(model, 40) == []


def test_warning_points_at_the_call() -> None:
    model = st.SpikingNet(Deep(), 32)
    caught(model, BATCHES - 1)
    with pytest.warns(RuntimeWarning) as found:
        model(torch.zeros(1, 2, 32))
    assert found[0].filename == __file__


def test_layers_that_always_fire() -> None:
    net: Any = Deep(1, v0=0.1)
    nn.init.constant_(net.linears[0].bias, 9.0)
    (text,) = caught(st.SpikingNet(net, 32), BATCHES)
    assert "layer neurons.0 (LIF) has fired in every neuron, at every step" in text


SPIKES = {
    "of both signs": ([1.0, -1.0, 0.0, 0.0], ""),
    "of both signs, always": ([1.0, -1.0, -1.0, 1.0], "has fired in every neuron"),
    "two or none": ([2.0, 0.0, 2.0, 0.0], ""),
    "none": ([0.0, 0.0, -0.0, 0.0], "has not fired once"),
    "small": ([1e-30, 0.0, 0.0, 0.0], ""),
    "numbers that are one in the mean": ([0.5, 1.5, 0.5, 1.5], ""),
}


@pytest.mark.parametrize("mode", ["step", "fold"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SPIKES)
def test_what_is_not_zero_counts(name: str, dtype: torch.dtype, mode: Any) -> None:
    """And not the sum, in which spikes of 1 and -1 are none."""
    values, says = SPIKES[name]
    model = st.SpikingNet(nn.Sequential(st.StepLayer(lambda state, x: (state, 1.0 * x), F.IFState)), mode=mode)
    x = torch.tensor(values, dtype=dtype).view(1, 2, 2).expand(3, 2, 2).contiguous()
    with warnings.catch_warnings(record=True, action="always") as found:
        for _ in range(2 * BATCHES):
            model(x)
    assert [says in str(each.message) for each in found] == ([True] if says else [])


@pytest.mark.parametrize("how", ["off", "eval", "no_grad", "alive", "now and then"])
def test_no_warning(how: str) -> None:
    model = st.SpikingNet(Deep(1 if how in ("alive", "now and then") else 5), 32, warn_silent=how != "off")
    model.train(how != "eval")
    with torch.set_grad_enabled(how != "no_grad"):
        for _ in range(8):
            assert caught(model, 5) == []
            if how == "now and then":
                assert caught(model, 3, scale=0.0) == []


def test_a_layer_that_dies_later_is_found() -> None:
    model = st.SpikingNet(Deep(1), 32)
    assert caught(model, 30) == []
    assert len(caught(model, 16 + BATCHES, scale=0.0)) == 1


def test_copies_transforms_and_calls_that_fail_count_for_nothing() -> None:
    net: Any = Deep(1, v0=99.0)
    model = st.SpikingNet(net, 32)
    assert caught(model, BATCHES - 1) == []
    assert caught(copy.deepcopy(model), BATCHES - 1) == []  # a copy counts anew
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    x = torch.zeros(1, 3, 32)
    torch.func.grad(lambda w: torch.func.functional_call(model, w, (x,)).sum())(weights)
    compiled: Any = torch.compile(model, backend="eager")
    compiled(x)
    net.neurons.append(nn.Linear(1, 1))
    for _ in range(3):
        with pytest.raises(ValueError, match="zip"):
            model(torch.zeros(4, 10, 32))
    del net.neurons[-1]
    assert len(caught(model, 1)) == 1
