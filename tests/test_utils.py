"""ClippingNet and Clipper."""

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.utils import Clipper, ClippingNet
from tests.folded_layer import over_time


class Net(ClippingNet):
    def __init__(self) -> None:
        super().__init__()
        self.exc, self.inh = nn.Linear(3, 2), nn.Linear(3, 2, bias=False)
        self.sl = st.BioLIF(0.5)
        self.exc_weights, self.inh_weights = [self.exc], [self.inh]

    def forward(self, x: Tensor, init: bool) -> Tensor:
        return self.sl(self.exc(x), self.inh(x), init)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_defaults(net: Net) -> None:
    assert (net.wmax, net.clip_max) == (2.0, 2.0)
    assert list(net.iterate_weights()) == [net.exc, net.inh]


def test_init_weights(net: Net) -> None:
    exc, inh, bias = net.exc.weight.clone(), net.inh.weight.clone(), net.exc.bias.clone()
    net.init_weights()
    assert torch.equal(net.exc.weight, exc.abs())
    assert torch.equal(net.inh.weight, inh.abs() * 0.01)
    assert torch.equal(net.exc.bias, bias.abs())


def test_clip(net: Net) -> None:
    net.wmax = 1.5
    with torch.no_grad():
        net.exc.weight[0] = torch.tensor([-1.0, 1.0, 3.0])
        net.exc.bias[:] = torch.tensor([-1.0, 3.0])
    net.clip()
    assert net.exc.weight[0].tolist() == [0.0, 1.0, 1.5]
    assert net.exc.bias.tolist() == [0.0, 1.0]
    assert (net.inh.weight >= 0).all()


def test_get_weights_returns_copies(net: Net) -> None:
    weights = net.get_weights()
    assert [w.shape for w in weights] == [(2, 3), (2, 3)]
    weights[0][:] = 7
    assert net.exc.weight.max() < 7


def test_clipper(net: Net) -> None:
    model = st.SpikingNet(net, 2)
    net.init_weights()
    optimizer = Clipper(model, torch.optim.SGD(model.parameters(), lr=100.0))
    model(torch.rand(4, 5, 3)).sum().neg().backward()
    assert optimizer.step() is None
    for weight in (net.exc.weight, net.inh.weight):
        assert weight.min() >= 0
        assert weight.max() <= 2
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert optimizer.step(lambda: 0.25) == 0.25


def test_clipper_needs_a_clipping_net() -> None:
    with pytest.raises(TypeError, match=r"Clipper: SpikingNet has no net\.clip\(\)"):
        Clipper(over_time(st.IF()), torch.optim.SGD([torch.ones(1, requires_grad=True)]))


def test_weights_in_place_of_layers(net: Net) -> None:
    net.exc_weights = [net.exc.weight]  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"list layers, got a Parameter: write \[self\.conv1\]"):
        net.init_weights()
