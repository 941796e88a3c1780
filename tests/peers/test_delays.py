"""Delays that are learned by dilated convolutions with learnable spacings (Hammouamri et al. 2024), and ours.

A connection has a weight, a delay and, while it is trained, a width: the kernel over time is a bump around the delay.

    K[k] = w c[k] / (eps + sum c),   c[k] = exp(-((k - p) / sigma)^2 / 2) or max(0, 1 - |k - p|)

I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier, "Learning delays in spiking neural networks using dilated
convolutions with learnable spacings", ICLR 2024, arXiv:2306.17670. The kernel of the package DCLS 0.1.1 is compared
with this equation where the package is installed.
"""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import LI, Delay, SpikingNet, like
from tests.peers.pair import compare, same_gradients, same_pass

T, N, INPUTS, HIDDEN, OUTPUTS = 30, 4, 6, 10, 3
STEPS = 7  # of the kernel: delays from 0 to 6
TAU = 2.0
pytestmark = pytest.mark.usefixtures("in_float64")


class Spacings(nn.Module):
    """The weights (out, in), positions and widths of a kernel over time, under the names and signs of DCLS."""

    def __init__(self, inputs: int, outputs: int, version: str) -> None:
        super().__init__()
        self.version = version
        self.weight = nn.Parameter(3.0 * torch.rand(outputs, inputs, 1) - 1.0)
        self.P = nn.Parameter((STEPS - 1.0) * (torch.rand(1, outputs, inputs, 1) - 0.5))
        if version in ("gauss", "max"):
            self.SIG = nn.Parameter(0.5 + torch.rand(1, outputs, inputs, 1))

    def kernel(self) -> Tensor:
        """Return the kernel (out, in, STEPS), that of the longest delay first."""
        away = torch.arange(STEPS) - (self.P[0] + STEPS // 2)
        if self.version == "gauss":
            bump = torch.exp(-0.5 * (away / (self.SIG[0].abs() + 0.27)) ** 2)
        else:
            bump = F.relu((1.0 + self.SIG[0].abs() if self.version == "max" else 1.0) - away.abs())
        share = bump if self.version == "v0" else bump / (bump.sum(-1, keepdim=True) + 1e-7)
        return self.weight * share


class Convolved(Spacings):
    """The connections of all steps, as a convolution over time whose first steps see zeros: (T, N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        over_time = F.pad(x.permute(1, 2, 0), (STEPS - 1, 0))
        return F.conv1d(over_time, self.kernel()).permute(2, 0, 1)


class Lines(Spacings):
    """The connections of one step, as a product with what came in the last steps: (N, C)."""

    def __init__(self, inputs: int, outputs: int, version: str) -> None:
        super().__init__(inputs, outputs, version)
        self.line = Delay(torch.arange(STEPS - 1.0, -1.0, -1.0))  # one output for each delay, the longest first

    def forward(self, x: Tensor, init: Any) -> Tensor:
        past = self.line(x.unsqueeze(-1).expand(*x.shape, STEPS), init)
        return F.linear(past.flatten(1), self.kernel().flatten(1))


class Theirs(nn.Module):
    """The network of the paper in multi-step mode: a hidden layer, and neurons without a spike that are read out."""

    def __init__(self, version: str) -> None:
        super().__init__()
        spike: Any = surrogate.ATan(alpha=5.0)
        self.delays1, self.delays2 = Convolved(INPUTS, HIDDEN, version), Convolved(HIDDEN, OUTPUTS, version)
        self.norm = layer.BatchNorm1d(HIDDEN)
        self.lif = neuron.LIFNode(tau=TAU, surrogate_function=spike, detach_reset=True)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        v: Any = 0.0
        membranes = []
        for current in self.delays2(self.lif(self.norm(self.delays1(x)))):
            v = v + (current - v) / TAU
            membranes.append(v)
        return torch.stack(membranes)


class Ours(nn.Module):
    """The same in one step."""

    def __init__(self, version: str) -> None:
        super().__init__()
        spike = like.spikingjelly.ATan(alpha=5.0)
        self.delays1, self.delays2 = Lines(INPUTS, HIDDEN, version), Lines(HIDDEN, OUTPUTS, version)
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.lif = like.spikingjelly.LIFNode(tau=TAU, surrogate_function=spike, detach_reset=True)
        self.readout = LI(decay=1.0 - 1.0 / TAU)

    def forward(self, x: Tensor, init: Any) -> Any:
        spikes = self.lif(self.norm(self.delays1(x, init)), init)
        return self.readout(self.delays2(spikes, init) / TAU, init)


def spikes_in() -> Tensor:
    return (torch.rand(T, N, INPUTS) < 0.3).to(torch.get_default_dtype())


def fired(net: Theirs) -> Theirs:
    """Return a network whose hidden neurons fire."""
    with torch.no_grad():
        net.norm.bias.fill_(0.8)
    return net


@pytest.mark.parametrize("version", ["gauss", "max", "v1", "v0"])
def test_delays_of_connections_fold(version: str) -> None:
    theirs = fired(Theirs(version))
    ours = SpikingNet(Ours(version), batch_first=False, statistics="sequence")
    compare(theirs, ours, spikes_in())


class Connections(nn.Module):
    """Connections (N, in) -> (N, out), each with a delay of its own, which ``Delay`` learns."""

    def __init__(self, spacings: Spacings) -> None:
        super().__init__()
        self.weight = nn.Parameter(spacings.weight.detach().clone().squeeze(-1))
        later = STEPS - 1 - (spacings.P.detach()[0, ..., 0] + STEPS // 2)
        self.delay = Delay(later, longest=STEPS - 1, learnable="delay")

    def forward(self, x: Tensor, init: Any) -> Any:
        then = self.delay(x.unsqueeze(-2).expand(-1, len(self.weight), -1), init)
        return (self.weight * then).sum(-1)


def test_a_delay_for_each_connection_is_our_layer() -> None:
    theirs = Convolved(INPUTS, OUTPUTS, "v0")
    connections = Connections(theirs)
    ours = SpikingNet(connections, batch_first=False)
    same_pass(ours, theirs, torch.randn(T, N, INPUTS))
    assert ours.explain().mode == "fold"
    weight, position, delay = (
        each.grad for each in (theirs.weight, theirs.P, connections.delay.get_parameter("delay"))
    )
    assert weight is not None
    assert position is not None
    # a position counts from the oldest step, a delay from the newest
    torch.testing.assert_close(delay, -position[0, ..., 0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(connections.weight.grad, weight.squeeze(-1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("version", ["v0", "v1", "max", "gauss"])
def test_the_kernel_is_that_of_the_package(version: str) -> None:
    modules = pytest.importorskip("DCLS.construct.modules", reason="DCLS==0.1.1 is not installed")
    own = Convolved(INPUTS, OUTPUTS, version)
    theirs = modules.Dcls1d(*(INPUTS, OUTPUTS), kernel_count=1, dilated_kernel_size=STEPS, bias=False, version=version)
    theirs.load_state_dict(own.state_dict())
    x, pull = spikes_in(), torch.randn(T, N, OUTPUTS)
    wanted = theirs(F.pad(x.permute(1, 2, 0), (STEPS - 1, 0))).permute(2, 0, 1)
    got = own(x)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-11)
    for out in (got, wanted):
        out.backward(pull)
    same_gradients(dict(own.named_parameters()), dict(theirs.named_parameters()))
