"""The graph of an ANN that is converted: hooks, and modules that do something else than their class."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from spikingtorch.convert import to_spiking
from tests.convert.nets import mean_of

pytestmark = pytest.mark.usefixtures("one_thread")


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "output of a weight": lambda net: net[0].register_forward_hook(lambda module, args, out: out + 1.0),
    "output of a relu": lambda net: net[1].register_forward_hook(lambda module, args, out: 2.0 * out),
    "input of a weight": lambda net: net[2].register_forward_pre_hook(lambda module, args: args[0] + 0.3),
    "output of the network": lambda net: net.register_forward_hook(lambda module, args, out: 3.0 * out),
}


@pytest.mark.parametrize("where", CHANGES)
def test_a_hook_that_changes_values_is_an_error(where: str) -> None:
    net = network()
    CHANGES[where](net)
    with pytest.raises(ValueError, match="forward hooks that change values"):
        to_spiking(net, [torch.rand(20, 6)])


def test_a_hook_that_looks_does_not_come_along() -> None:
    net, x, seen = network(), torch.rand(20, 6), list[str]()
    net[0].register_forward_hook(lambda module, args, out: seen.append("out"))
    net[1].register_forward_pre_hook(lambda module, args: seen.append("in"))
    model = to_spiking(net, [x], method="max")
    seen.clear()
    torch.testing.assert_close(mean_of(model, x, 512), net(x), rtol=0.0, atol=0.01)
    assert seen == ["out", "in"]  # of net


def test_a_module_whose_forward_was_replaced_is_an_error() -> None:
    net = network()
    forward = net[0].forward
    net[0].forward = lambda x: forward(x) + 1.0
    with pytest.raises(ValueError, match=r"node '0' \(Linear\) cannot be converted; its forward was replaced"):
        to_spiking(net, [torch.rand(20, 6)])


def test_max_pooling_that_returns_indices_is_an_error() -> None:
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.MaxPool1d(2, return_indices=True))
    with pytest.raises(ValueError, match=r"'2' \(MaxPool1d\) has return_indices=True"):
        to_spiking(net, [torch.rand(4, 2, 9)])
