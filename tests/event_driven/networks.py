"""A network with layers that skip zeros, its inputs, and what comes out of it."""

from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

import spikingtorch as st
from tests.drawn import trains


class Net(nn.Module):
    """Layers of each kind, as modules and as functions; their weights are so round that every order sums them alike."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 5, 3, stride=2, padding=1), nn.Conv2d(5, 8, 3, padding="same", bias=False)
        self.kernel = nn.Parameter(torch.empty(6, 8, 3))
        self.out = nn.Linear(6 * 14, 3)
        self.l1, self.l2, self.l3 = st.LIF(), st.LIF(), st.LIF()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randint(-8, 12, weight.shape, generator=generator) / 8)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.l1(self.conv1(x), init)
        h = self.l2(self.conv2(h), init).flatten(2)
        h = self.l3(nnf.conv1d(h, weight=self.kernel, padding=(0,)), init)
        return nnf.linear(input=h.flatten(1), weight=self.out.weight, bias=self.out.bias)


SMALL = "is too small for skipping zeros to pay"
KINDS = {"conv1": "Conv2d", "conv2": "Conv2d", "out": "Linear", "kernel": "weights"}


def spikes(density: float = 0.3, T: int = 4) -> Tensor:
    return trains(3, T, 2, 8, 8, rate=density)


def outcome(model: st.SpikingNet, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = model(x)
    g = torch.randint(-4, 5, out.shape, generator=torch.Generator().manual_seed(2)) / 4
    return [out.detach(), *torch.autograd.grad(out, [x, *model.parameters()], g.to(out.dtype))]


def model_of(event_driven: Any = "on", net: nn.Module | None = None, **options: Any) -> st.SpikingNet:
    return st.SpikingNet(Net() if net is None else net, event_driven=event_driven, **options)


def reasons(model: st.SpikingNet) -> dict[str, str | None]:
    return {line.path: line.reason for line in model.explain().products}
