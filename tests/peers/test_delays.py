"""Delays that are learned by dilated convolutions with learnable spacings (Hammouamri et al. 2024), and ours.

A connection has a weight, a delay and, while it is trained, a width: the kernel over time is a bump around the delay.

    K[k] = w c[k] / (eps + sum c),   c[k] = exp(-((k - d) / sigma)^2 / 2)

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

from spikingtorch import LI, DelayedLinear, SpikingNet, like
from tests.peers.pair import compare

T, N, INPUTS, HIDDEN, OUTPUTS = 30, 4, 6, 10, 3
STEPS = 7  # of the kernel: delays from 0 to 6
TAU = 2.0
pytestmark = pytest.mark.usefixtures("in_float64")


class Convolved(nn.Module):
    """The connections of all steps, as a convolution over time whose first steps see zeros: (T, N, C)."""

    def __init__(self, inputs: int, outputs: int, eps: float = 0.0) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(3.0 * torch.rand(outputs, inputs) - 1.0)
        self.delay = nn.Parameter((STEPS - 1.0) * torch.rand(outputs, inputs))
        self.width = nn.Parameter(0.77 + torch.rand(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        away = torch.arange(STEPS - 1, -1, -1) - self.delay[..., None]
        bump = torch.exp(-0.5 * (away / self.width[..., None]) ** 2)
        kernel = self.weight[..., None] * bump / (bump.sum(-1, keepdim=True) + self.eps)
        return F.conv1d(F.pad(x.permute(1, 2, 0), (STEPS - 1, 0)), kernel).permute(2, 0, 1)


class Theirs(nn.Module):
    """The network of the paper in multi-step mode: a hidden layer, and neurons without a spike that are read out."""

    def __init__(self) -> None:
        super().__init__()
        spike: Any = surrogate.ATan(alpha=5.0)
        self.delays1, self.delays2 = Convolved(INPUTS, HIDDEN), Convolved(HIDDEN, OUTPUTS)
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

    def __init__(self) -> None:
        super().__init__()
        spike = like.spikingjelly.ATan(alpha=5.0)
        sizes = (INPUTS, HIDDEN), (HIDDEN, OUTPUTS)
        self.delays1, self.delays2 = (
            DelayedLinear(ins, outs, STEPS - 1, torch.ones(outs, ins), learnable=True) for ins, outs in sizes
        )
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.lif = like.spikingjelly.LIFNode(tau=TAU, surrogate_function=spike, detach_reset=True)
        self.readout = LI(decay=1.0 - 1.0 / TAU)

    def forward(self, x: Tensor, init: Any) -> Any:
        spikes = self.lif(self.norm(self.delays1(x, init)), init)
        return self.readout(self.delays2(spikes, init) / TAU, init)


def spikes_in() -> Tensor:
    return (torch.rand(T, N, INPUTS) < 0.3).to(torch.get_default_dtype())


@pytest.mark.filterwarnings("ignore:load_state_dict. the checkpoint has no constants")
def test_delays_of_connections_fold() -> None:
    theirs = Theirs()
    with torch.no_grad():
        theirs.norm.bias.fill_(0.8)  # so that hidden neurons fire
    compare(theirs, SpikingNet(Ours(), batch_first=False, statistics="sequence"), spikes_in())


def test_the_kernel_is_that_of_the_package() -> None:
    modules = pytest.importorskip("DCLS.construct.modules", reason="DCLS==0.1.1 is not installed")
    own = Convolved(INPUTS, OUTPUTS, eps=1e-7)
    theirs = modules.Dcls1d(INPUTS, OUTPUTS, kernel_count=1, dilated_kernel_size=STEPS, bias=False, version="gauss")
    with torch.no_grad():  # their positions count from the middle, the newest step last, and they add 0.27 to widths
        theirs.weight.copy_(own.weight[..., None])
        theirs.P.copy_(STEPS - 1 - STEPS // 2 - own.delay[None, ..., None])
        theirs.SIG.copy_(own.width[None, ..., None] - 0.27)
    x, pull = spikes_in(), torch.randn(T, N, OUTPUTS)
    wanted = theirs(F.pad(x.permute(1, 2, 0), (STEPS - 1, 0))).permute(2, 0, 1)
    got = own(x)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-11)
    for out in (got, wanted):
        out.backward(pull)
    for name, grad in (("weight", theirs.weight.grad), ("delay", -theirs.P.grad), ("width", theirs.SIG.grad)):
        torch.testing.assert_close(own.get_parameter(name).grad, grad.reshape(OUTPUTS, INPUTS), rtol=1e-9, atol=1e-11)
