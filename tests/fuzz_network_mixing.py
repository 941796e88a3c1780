"""A block for what makes a network step, or has to be seen when it begins to."""

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.fuzz_network_blocks import Shape, Timed


class Mixing(Timed):
    """What makes a network step, or has to be seen when it begins to."""

    def __init__(self, option: str, shape: Shape, *inside: Any) -> None:
        super().__init__(option, shape, *inside)
        self.n, self.on, self.strength = 0, False, 0.0
        self.last: Any = None
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, h: Tensor, init: Any) -> Tensor:
        mixed: Tensor = MIXES[self.option](self, h, init)
        return mixed


def _count(block: Any, h: Tensor, init: Any) -> Tensor:
    block.n += 1
    mixed: Tensor = h * (1 + 0.1 * (block.n % 3))
    return mixed


def _previous(block: Any, h: Tensor, init: Any) -> Tensor:
    last, block.last = block.last, h.detach().clone()
    mixed: Tensor = h if last is None or last.shape != h.shape else h + 0.3 * last
    return mixed


def _running(block: Any, h: Tensor, init: Any) -> Tensor:
    block.mean.mul_(0.9).add_(0.1 * h.detach().mean() if h.numel() else 0.0)
    mixed: Tensor = h - block.mean
    return mixed


def _membrane(block: Any, h: Tensor, init: Any) -> Tensor:
    mixed: Tensor = block.layer(h, init) + 0.1 * block.layer.v
    return mixed


MIXES: dict[str, Callable[[Any, Tensor, Any], Tensor]] = {
    "centre": lambda block, h, init: h - h.mean(0),
    "roll": lambda block, h, init: h.roll(1, 0),
    "size": lambda block, h, init: h * (1 + 1 / (1 + h.shape[0])),
    "count": _count,
    "previous": _previous,
    "running": _running,
    "init": lambda block, h, init: h if init else 0.9 * h,
    "value": lambda block, h, init: h if h.sum() > 0 else -h,
    "membrane": _membrane,
    "twice": lambda block, h, init: block.layer(0.7 * block.layer(h, init), False),
    "without init": lambda block, h, init: block.layer(h),
    "always new": lambda block, h, init: block.layer(h, True),
    "noisy": lambda block, h, init: block.layer(h, init),
    "python": lambda block, h, init: h * random.random(),
    "torch": lambda block, h, init: h * torch.rand((), dtype=h.dtype),
    # folds
    "training": lambda block, h, init: block.layer(h, init) if block.training else h,
    # these fold until an attribute is set
    "switch": lambda block, h, init: h - h.mean(0) if block.on else h,
    "strength": lambda block, h, init: h - block.strength * h.mean(0),
}
