"""Modules of other libraries that would take one step for several ones, or forget their state, by stand-ins."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.folded_layer import Coded
from tests.test_foreign import IAF, LIF, IFNode, Squeezed, of


class LIFCell(nn.Module):
    """A neuron in the way of Norse, which is handed its state."""

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = x if state is None else 0.9 * state + x
        return (u > 1.0).to(x.dtype), u


class SNN(LIFCell):
    """What makes a neuron of Norse run over time."""


class LIFs(SNN):
    """A neuron of Norse that takes all steps."""


of("norse.torch.module.snn", SNN)
of("norse.torch.module.lif", LIFCell)
LIFs.__name__ = "LIF"
of("norse.torch.module.lif", LIFs, "LIF")


def first(neuron: nn.Module) -> nn.Module:
    """Return a network that calls a neuron of Norse and does not hand its state on."""
    return Coded(lambda net, x, init: net.ours(net.neuron(x)[0], init), neuron=neuron, ours=LIF())


def test_a_neuron_of_norse_keeps_no_state() -> None:
    said = (
        r"holds neuron, the LIFCell of Norse, whose state forward has to hand on from step to step\. .*like\.norse\.LIF"
    )
    with pytest.warns(RuntimeWarning, match=said):
        st.SpikingNet(first(LIFCell()))(torch.rand(2, 5, 3))


@pytest.mark.filterwarnings("ignore:SpikingNet. .* runs step by step")
@pytest.mark.parametrize(
    ("theirs", "steps", "said"),
    [
        (first(LIFs()), 2, r"layer neuron is the LIF of Norse, .* \(T, N, \.\.\.\), .*; take like\.norse\.LIFCell\("),
        (
            nn.Sequential(IAF(), LIF()),
            3,
            r"layer 0 is the IAF of Sinabs, .* \(N, T, \.\.\.\), .*; take like\.sinabs\.IAF\(",
        ),
        (
            nn.Sequential(Squeezed(1), LIF()),
            2,
            r"layer 0 is the Squeezed of Sinabs, which takes all steps, \(N T, \.\.\.\)",
        ),
        (nn.Sequential(Squeezed(-1, 4), LIF()), 4, "layer 0 is the Squeezed of Sinabs"),
    ],
)
def test_a_step_is_not_taken_for_several_ones(theirs: nn.Module, steps: int, said: str) -> None:
    model, step = st.SpikingNet(theirs), rf"takes one step of shape \(2, 3\) as {steps} steps"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"(?=.*{step}){said}"):
            model(torch.rand(2, 5, 3))


@pytest.mark.filterwarnings("ignore:SpikingNet. Coded runs step by step")
def test_a_step_with_an_axis_of_one_step_is_taken() -> None:
    net = Coded(lambda net, x, init: net.ours(net.theirs(x[:, None])[:, 0], init), theirs=IAF(), ours=LIF())
    assert st.SpikingNet(net)(torch.rand(2, 5, 3)).shape == (2, 5, 3)


def test_a_network_of_their_neurons_alone_is_told_ours() -> None:
    said = r"holds no spiking layer of ours, and 1 is the IFNode of SpikingJelly, .*; take like\.spikingjelly\.IFNode\("
    with pytest.raises(TypeError, match=said):
        st.SpikingNet(nn.Sequential(nn.Linear(3, 4), IFNode()))


def test_a_module_in_multi_step_mode_has_no_place_in_a_network() -> None:
    theirs: Any = IFNode()
    theirs.step_mode = "m"
    model = st.SpikingNet(nn.Sequential(theirs, LIF()))
    with pytest.raises(
        ValueError, match=r"layer 0 is the IFNode of SpikingJelly in step mode 'm'.*set_step_mode\(net, 's'\)"
    ):
        model(torch.rand(2, 5, 3))
