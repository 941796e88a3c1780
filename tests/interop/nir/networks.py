"""Networks that NIR can say, with the shape of a sample's input at one step."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.interop.nir.targets import dense


class Branches(nn.Module):
    """Two branches and a residual connection, functions in place of modules, and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.neurons, self.more, self.last = st.LIF(tau=3.0), st.IF(threshold=0.7), st.LIF(tau=5.0)
        self.second = nn.Conv2d(4, 4, 3, padding="same", groups=2)
        self.out = nn.Linear(4 * 3 * 3, 5)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        """Compute one step."""
        one = self.neurons(self.norm(self.first(x)), init)
        two = self.more(self.second(one), init) + one
        pooled = nn.functional.avg_pool2d(two, 2)
        return self.last(self.out(torch.flatten(pooled, 1)), init)


def branches() -> nn.Module:
    """Return the network with branches, its batch norm trained on something."""
    net = Branches()
    with torch.no_grad():
        net.norm.running_mean.normal_(0.0, 0.1)  # type: ignore[union-attr]
        net.norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        net.norm.bias.fill_(0.5)
        net.first.weight.mul_(2.0)
    return net


def _taus(*shape: int) -> Tensor:
    return 2.0 + 6.0 * torch.rand(*shape)


def _dense(neurons: nn.Module, last: nn.Module | None = None) -> nn.Sequential:
    return dense(neurons, st.LIF(tau=3.0) if last is None else last, inputs=5, scale=4.0)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lif": (lambda: _dense(st.LIF()), (5,)),
    "lif, a tau for each neuron": (lambda: _dense(st.LIF(tau=_taus(8), threshold=0.5 + torch.rand(8))), (5,)),
    "lif, learnable": (lambda: _dense(st.LIF(tau=_taus(8), learnable=True)), (5,)),
    "lif, reset to a value": (lambda: _dense(st.LIF(reset=F.to_value(-0.3))), (5,)),
    "lif, detached reset": (lambda: _dense(st.LIF(reset=F.detached(F.to_value(0.1)))), (5,)),
    "lif above its threshold": (lambda: _dense(st.LIF(surrogate=F.Strict(F.Arctan()))), (5,)),
    "lif in milliseconds": (lambda: _dense(st.LIF(tau=20.0, dt=2.5)), (5,)),
    "if": (lambda: _dense(st.IF(threshold=1.3), st.IF()), (5,)),
    "parametric lif": (lambda: _dense(st.ParametricLIF(tau=3.0, threshold=0.6)), (5,)),
    "spiking decay": (lambda: _dense(st.SpikingDecay(1.5)), (5,)),
    "cuba lif": (lambda: _dense(st.CubaLIF(tau_syn=3.0, tau=6.0)), (5,)),
    "cuba lif, equal taus": (lambda: _dense(st.CubaLIF(tau_syn=5.0, tau=5.0)), (5,)),
    "readout": (lambda: _dense(st.LIF(), st.LI(tau=6.0)), (5,)),
    "synapse": (lambda: nn.Sequential(st.ExponentialSynapse(3.0), *_dense(st.LIF())), (5,)),
    "binary": (lambda: _dense(st.McPitts(0.4)), (5,)),
    "delay": (lambda: nn.Sequential(st.Delay(torch.tensor([0.0, 1.0, 2.0, 3.0, 7.0])), *_dense(st.LIF())), (5,)),
    "recurrent": (lambda: _dense(st.LIF(recurrent=nn.Linear(8, 8, bias=False))), (5,)),
    "recurrent, each by itself": (lambda: _dense(st.IF(recurrent=0.3 * torch.randn(8))), (5,)),
    "recurrent images": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3), st.LIF(recurrent=nn.Conv2d(3, 3, 3, padding=1, bias=False)), nn.Flatten()
        ),
        (2, 6, 6),
    ),
    "one dimension": (lambda: nn.Sequential(nn.Conv1d(2, 3, 3, stride=2, dilation=2), st.LIF(tau=3.0)), (2, 12)),
    "branches": (branches, (2, 6, 6)),
    "step layer": (
        lambda: _dense(st.StepLayer(F.lif_step, F.LIFState, decay=torch.rand(8), gain=torch.rand(8), threshold=0.5)),
        (5,),
    ),
}


def made(name: str, dtype: torch.dtype, N: int = 3, T: int = 60) -> tuple[st.SpikingNet, Tensor]:
    """Return a network of a name in evaluation, and inputs that make it fire."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    model = st.SpikingNet(make().to(dtype)).eval()
    return model, (torch.rand(N, T, *shape) < 0.4).to(dtype) * 1.5
