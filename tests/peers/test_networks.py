"""Public networks of other libraries, written anew: outputs and gradients are those of theirs, and they fold."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import snntorch as snn
import snntorch.functional as snn_functional
import torch
from norse.torch.models.conv import ConvNet
from snntorch import surrogate, utils
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import SpikingNet, like, losses
from spikingtorch.functional import FastSigmoid
from tests.peers.compared import compare, same_gradients
from tests.peers.pair import spike_in_dtype

T, N = 6, 3


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


CLASSES = 10


def of_events(neuron: Callable[..., nn.Module], **last: Any) -> nn.Sequential:
    """Return the network that a tutorial of snnTorch trains on recordings of digits, 2 polarities of 34 x 34 pixels."""
    return nn.Sequential(
        *(nn.Conv2d(2, 12, 5), nn.MaxPool2d(2), neuron(beta=0.5)),
        *(nn.Conv2d(12, 32, 5), nn.MaxPool2d(2), neuron(beta=0.5)),
        *(nn.Flatten(), nn.Linear(32 * 5 * 5, CLASSES), neuron(beta=0.5, **last)),
    )


class OfEvents(nn.Module):
    """A network of snnTorch in a loop over time, whose neurons hold their states; the last has two outputs."""

    def __init__(self) -> None:
        super().__init__()
        spike: Any = spike_in_dtype(FastSigmoid(25.0).primitive)
        self.net = of_events(partial(snn.Leaky, spike_grad=spike, init_hidden=True), output=True)

    def forward(self, x: Tensor) -> Tensor:
        utils.reset(self.net)
        return torch.stack([self.net(events)[0] for events in x])


@pytest.mark.usefixtures("in_float64")
def test_convolutions_of_snntorch_on_events() -> None:
    theirs = OfEvents()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.mul_(4.0)  # so that all layers fire
    spike = like.snntorch.fast_sigmoid(slope=25)
    ours = SpikingNet(of_events(partial(like.snntorch.Leaky, spike_grad=spike)), batch_first=False)
    x, classes = (torch.rand(T, N, 2, 34, 34) < 0.1).double(), torch.randint(CLASSES, (N,))
    compare(theirs, ours, x, {key: key.removeprefix("net.") for key in theirs.state_dict()})
    for net in (theirs, ours):
        net.zero_grad()
    wanted = snn_functional.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)(theirs(x), classes)
    rates: Any = {"correct": int(0.8 * T), "incorrect": int(0.2 * T)}  # whole spikes, as there
    found = losses.count_mse(ours(x), classes, **rates, batch_first=False) / T
    torch.testing.assert_close(found, wanted)
    for loss in (wanted, found):
        loss.backward()
    same_gradients(dict(ours.net.named_parameters()), dict(theirs.net.named_parameters()))


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
