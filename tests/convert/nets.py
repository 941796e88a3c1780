"""Networks to convert, one for each kind of node."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch import SpikingNet
from spikingtorch.convert import ClipFloor


class Block(nn.Module):
    """A residual block whose ReLU is called twice, writes in place, and whose sum is one in place."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels, affine=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class Functions(nn.Module):
    """Everything that has a functional form, called as one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.l1 = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nnf.max_pool2d(nnf.relu(self.conv1(x)), 2)
        x = nnf.dropout(x, 0.5, self.training)
        y = self.conv2(x)
        x = nnf.avg_pool2d(torch.relu(torch.add(y, y.relu())), 1)
        x = nnf.adaptive_avg_pool2d(torch.max_pool2d(x, 2, 1), 1).flatten(1)
        return self.l1(x)


class Write(nn.Module):
    """What reads a tensor after a write in place reads what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.l1(x)
        nnf.relu(h, inplace=True)
        return self.l2(h) + h


def sequence(*ins: nn.Module) -> nn.Sequential:
    return nn.Sequential(*ins)


IMAGES, SIGNALS, ROWS = (1, 8, 8), (2, 16), (6,)
# a network, and the shape of a sample
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: sequence(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)), ROWS),
    "no bias": (lambda: sequence(nn.Linear(6, 20, bias=False), nn.ReLU(), nn.Linear(20, 3, bias=False)), ROWS),
    "linear and norm": (lambda: sequence(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3)), ROWS),
    "norm without weights": (
        lambda: sequence(nn.Linear(6, 20), nn.BatchNorm1d(20, affine=False), nn.ReLU(), nn.Linear(20, 3)),
        ROWS,
    ),
    "clip floor": (lambda: sequence(nn.Linear(6, 20), ClipFloor(64, threshold=2.0), nn.Linear(20, 3)), ROWS),
    "relu last": (lambda: sequence(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3), nn.ReLU()), ROWS),
    "relu first": (lambda: sequence(nn.ReLU(), nn.Linear(6, 3)), ROWS),
    "write": (Write, ROWS),
    "conv1d": (
        lambda: sequence(
            *(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 3, 3), nn.ReLU()),
            *(nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(3, 2)),
        ),
        SIGNALS,
    ),
    "conv2d": (
        lambda: sequence(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.Dropout2d(0.5)),
            *(nn.Conv2d(4, 4, 3, groups=2), nn.MaxPool2d(2), nn.ReLU(), nn.Identity(), nn.AvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(4, 2)),
        ),
        IMAGES,
    ),
    "residual": (
        lambda: sequence(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), Block(), Block()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        ),
        IMAGES,
    ),
    "functions": (Functions, IMAGES),
}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    """Return a network in evaluation whose batch norm has seen data, and inputs (N, ...)."""
    torch.manual_seed(0)
    make, shape = NETS[name]
    net, x = make().to(dtype), torch.rand(30, *shape, dtype=dtype)
    with torch.no_grad():
        for _ in range(20):
            net(torch.rand(30, *shape, dtype=dtype))
    return net.eval(), x


def repeated(x: Tensor, T: int) -> Tensor:
    """Return the same input at each step, (N, T, ...)."""
    return x.unsqueeze(1).expand(-1, T, *x.shape[1:])


@torch.no_grad()
def mean_of(model: SpikingNet, x: Tensor, T: int) -> Any:
    """Return the mean over T steps of what a network makes of a constant input."""
    return model(repeated(x, T)).mean(1)
