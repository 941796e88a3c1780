"""Public networks of other libraries, written anew: outputs and gradients are those of theirs, and they fold."""

from typing import Any

import pytest
import snntorch as snn
import torch
from norse.torch.models.conv import ConvNet
from snntorch import surrogate
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import SpikingNet, like

T, N = 6, 3


def compare(theirs: nn.Module, ours: SpikingNet, x: Tensor, names: dict[str, str] | None = None) -> None:
    """Compare outputs (T, N, ...), the gradients of all weights by random output gradients, and running statistics.

    Args:
        theirs: a network that takes (T, N, ...).
        ours: the same, whose weights become those of theirs.
        x: the input, (T, N, ...).
        names: for weights of theirs, what they are called in ours.
    """
    named = {key: (names or {}).get(key, key) for key in theirs.state_dict()}
    ours.net.load_state_dict({named[key]: value for key, value in theirs.state_dict().items()})
    for trains in (True, False):
        theirs.train(trains)
        ours.train(trains)
        wanted, got = theirs(x), ours(x)
        assert ours.explain().mode == "fold"
        assert 0 < wanted.count_nonzero() < wanted.numel() or not bool((wanted == wanted.round()).all())
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
        cotangent = torch.randn_like(wanted)
        for net, out in ((theirs, wanted), (ours, got)):
            net.zero_grad()
            out.backward(cotangent)
        for name, weight in theirs.named_parameters():
            grad: Any = ours.net.get_parameter(named[name]).grad
            scale = 0.0 if weight.grad is None else float(weight.grad.abs().max())
            assert scale > 0.0, f"{name} has no gradient"
            assert float((grad - weight.grad).abs().max()) <= 1e-3 * scale, name
        functional.reset_net(theirs)
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            torch.testing.assert_close(ours.net.get_buffer(named[name]), buffer)


class NorsesConvNet(nn.Module):
    """Two convolutions and a linear layer of LIF neurons, and a leaky integrator that reads them out."""

    def __init__(self) -> None:
        super().__init__()
        p = like.norse.LIFParameters(method="super", alpha=100.0)
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.fc1, self.linear = nn.Linear(800, 500), nn.Linear(500, 10, bias=False)
        self.lif0, self.lif1, self.lif2 = (like.norse.LIFCell(p) for _ in range(3))
        self.out = like.norse.LICell()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        z = F.max_pool2d(self.lif0(self.conv1(x), init), 2)
        z = F.max_pool2d(self.lif1(10 * self.conv2(z), init), 2)
        z = self.lif2(self.fc1(z.flatten(1)), init)
        voltages: Tensor = self.out(self.linear(F.relu(z)), init)
        return voltages


def test_convolutions_of_norse() -> None:
    torch.manual_seed(0)
    theirs = ConvNet()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.mul_(3.0)  # so that all layers fire
    ours = SpikingNet(NorsesConvNet(), batch_first=False)
    compare(theirs, ours, 20.0 * torch.rand(10, N, 1, 28, 28), {"out.input_weights": "linear.weight"})


class Snntorchs(nn.Module):
    """Two convolutions and a linear layer of Leaky neurons, over time."""

    def __init__(self) -> None:
        super().__init__()
        spike = surrogate.fast_sigmoid(slope=25)
        self.conv1, self.conv2, self.fc1 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 8, 5), nn.Linear(8 * 4 * 4, 10)
        self.lif1, self.lif2, self.lif3 = (snn.Leaky(beta=0.5, spike_grad=spike) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2, mem3 = (each.reset_mem() for each in (self.lif1, self.lif2, self.lif3))
        membranes = []
        for image in x:
            spk1, mem1 = self.lif1(F.max_pool2d(self.conv1(image), 2), mem1)
            spk2, mem2 = self.lif2(F.max_pool2d(self.conv2(spk1), 2), mem2)
            _, mem3 = self.lif3(self.fc1(spk2.flatten(1)), mem3)
            membranes.append(mem3)
        return torch.stack(membranes)


class SnntorchsHere(nn.Module):
    """The same in one step."""

    def __init__(self) -> None:
        super().__init__()
        leaky = like.snntorch.Leaky
        spike = like.snntorch.fast_sigmoid(slope=25)
        self.conv1, self.conv2, self.fc1 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 8, 5), nn.Linear(8 * 4 * 4, 10)
        self.lif1, self.lif2 = (leaky(beta=0.5, spike_grad=spike) for _ in range(2))
        self.lif3 = leaky(beta=0.5, spike_grad=spike, returns=("spikes", "v"))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        spk1 = self.lif1(F.max_pool2d(self.conv1(x), 2), init)
        spk2 = self.lif2(F.max_pool2d(self.conv2(spk1), 2), init)
        membranes: Tensor = self.lif3(self.fc1(spk2.flatten(1)), init)[1]
        return membranes


def test_convolutions_of_snntorch() -> None:
    torch.manual_seed(0)
    theirs = Snntorchs()
    with torch.no_grad():
        for weight in (theirs.conv1.weight, theirs.conv2.weight):
            weight.mul_(4.0)
    compare(theirs, SpikingNet(SnntorchsHere(), batch_first=False), torch.rand(T, N, 1, 28, 28))


class Padded(nn.Module):
    """A batch norm, and a border of what it makes of zeros: read from its running statistics."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.bn: Any = norm

    def forward(self, x: Tensor) -> Tensor:
        out, bn = self.bn(x), self.bn
        zero = (bn.bias - bn.running_mean * bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach()
        border: Tensor = zero.view(-1, 1, 1).expand(*out.shape[:-2], out.shape[-2] + 2, out.shape[-1] + 2).clone()
        border[..., 1:-1, 1:-1] = out
        return border


def branch(conv: Any, norm: Any, node: nn.Module) -> nn.Sequential:
    """Return a branch that becomes one convolution for inference, as in the Spike-driven Transformer V2."""
    shapes = (conv(3, 8, 1, bias=False), Padded(norm(8)), conv(8, 8, 3, groups=8, bias=False), norm(8))
    return nn.Sequential(*shapes, node)


def test_a_branch_that_reads_running_statistics() -> None:
    torch.manual_seed(0)
    theirs = branch(layer.Conv2d, layer.BatchNorm2d, neuron.LIFNode(detach_reset=True))
    functional.set_step_mode(theirs, "m")
    node = like.spikingjelly.LIFNode(detach_reset=True)
    ours = SpikingNet(branch(nn.Conv2d, nn.BatchNorm2d, node), batch_first=False, statistics="sequence")
    with torch.no_grad():
        theirs.get_parameter("3.weight").fill_(3.0)  # so that the neurons fire
        theirs(torch.randn(T, N, 3, 8, 8))
    functional.reset_net(theirs)
    compare(theirs, ours, torch.randn(T, N, 3, 8, 8))


@pytest.fixture(autouse=True)
def _nothing_is_random() -> Any:
    with torch.random.fork_rng():
        yield
