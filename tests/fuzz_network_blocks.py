"""Parts of the networks that the fuzzer runs: modules as people write them, and some that make a network step."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spikingtorch.layers.steplayer import StepLayer

Shape = tuple[int, ...]


class Timed(nn.Module):
    """A block that hands init on."""

    def __init__(self, option: str, shape: Shape, layer: StepLayer | None, parts: Iterable[nn.ModuleList]) -> None:
        super().__init__()
        self.option = option
        self.layer: Any = layer
        self.parts: Any = nn.ModuleList(parts)


def run(parts: Iterable[nn.Module], h: Tensor, init: Any) -> Tensor:
    for part in parts:
        h = part(h, init) if isinstance(part, Timed | StepLayer) else part(h)
    return h


class Excited(Timed):
    """A layer of two inputs."""

    def forward(self, h: Tensor, init: Any) -> Tensor:
        out: Tensor = self.layer(h.abs(), 0.5 * h.clamp(min=0.0), init)
        return out


class Both(Timed):
    """A layer that gives out more than spikes."""

    def forward(self, h: Tensor, init: Any) -> Tensor:
        spike, u, large = self.layer(h, init)
        mixed: Tensor = spike + 0.1 * u * large
        return mixed


class Residual(Timed):
    """A shortcut around blocks."""

    def forward(self, h: Tensor, init: Any) -> Tensor:
        inner = run(self.parts[0], h, init)
        if self.option == "h = h + f(h)":
            h = h + inner
        elif self.option == "h += f(h)":
            h += inner
        elif self.option == "f(h) += h":
            inner += h
            h = inner
        elif self.option == "h *= 0.5":
            h *= 0.5
            h = h + inner
        else:
            h = h * inner
        return h


class Branches(Timed):
    """Two ways side by side."""

    def __init__(self, option: str, shape: Shape, *inside: Any) -> None:
        super().__init__(option, shape, *inside)
        self.mix = weights((2 * shape[0], *shape[1:]), shape) if option == "cat" else None

    def forward(self, h: Tensor, init: Any) -> Tensor:
        a, b = (run(part, h, init) for part in self.parts)
        mixed: Tensor = a - 0.5 * b if self.mix is None else self.mix(torch.cat([a, b], 1))
        return mixed


class Checkpointed(Timed):
    """Blocks that are run once more for their gradients."""

    def forward(self, h: Tensor, init: Any) -> Tensor:
        out: Tensor = checkpoint(lambda h: run(self.parts[0], h, init), h, use_reentrant=False)
        return out


class Sharing(Timed):
    """A weight that two layers use, before and after a spiking layer; or two layers of one parameter."""

    def __init__(self, option: str, shape: Shape, *inside: Any) -> None:
        super().__init__(option, shape, *inside)
        self.l = weights(shape, shape)
        self.other: Any = None
        if option == "parameters":
            self.other = copy.deepcopy(self.layer)
            for name, value in self.layer.named_parameters(recurse=False):
                setattr(self.other, name, value)
            self.other.recurrent = self.layer.recurrent

    def forward(self, h: Tensor, init: Any) -> Tensor:
        h = self.layer(self.l(h), init)
        out: Tensor = self.l(h) if self.other is None else self.other(h - 0.3, init=init)
        return out


class InPlace(nn.Module):
    """Something in place, on whatever comes before it."""

    def __init__(self, option: str) -> None:
        super().__init__()
        self.option = option

    def forward(self, h: Tensor) -> Tensor:
        if self.option == "mul_":
            h.mul_(0.7)
        elif self.option == "clamp_":
            h.clamp_(-0.6, 0.6)
        else:
            h[:, 0] = 0.5 * h[:, 1]
        return h


class Layout(nn.Module):
    """What comes before it in another layout, or with numbers that share a place."""

    def __init__(self, option: str) -> None:
        super().__init__()
        self.option = option

    def forward(self, h: Tensor) -> Tensor:
        if self.option == "transposed":
            return h.transpose(0, -1).contiguous().transpose(0, -1)
        if self.option == "sliced":
            return torch.cat([h, h], -1)[..., : h.shape[-1]]
        if self.option == "expanded":
            return h.mean(1, keepdim=True).expand_as(h)
        return h.flip(-1)


class View(nn.Module):
    """What people write in place of nn.Flatten."""

    def forward(self, h: Tensor) -> Tensor:
        return h.reshape(h.size(0), -1)


class Attention(nn.Module):
    """Attention over the places of a sample."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.l = nn.Linear(C, 3 * C, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.l(h.flatten(2).transpose(1, 2)).chunk(3, -1)
        attended: Tensor = nn.functional.scaled_dot_product_attention(q, k, v)
        return attended.transpose(1, 2).reshape(h.shape)


class Squashing(nn.Module):
    """A module for TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.5))

    def forward(self, h: Tensor) -> Tensor:
        return torch.tanh(self.slope * h)


def weights(given: Shape, shape: Shape, *, bias: bool = True) -> nn.Module:
    """Return a matrix or a convolution from one shape to another of the same rank, so large that neurons spike."""
    kinds: tuple[Any, ...] = (nn.Linear, nn.Conv1d, nn.Conv2d)
    sizes: tuple[Any, ...] = () if len(shape) == 1 else (3,)
    options: dict[str, Any] = {} if len(shape) == 1 else {"padding": "same"}
    layer: nn.Module = kinds[len(shape) - 1](given[0], shape[0], *sizes, bias=bias, **options)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(2.0)
    return layer


class GroupNorm(nn.GroupNorm):
    """That of torch, whose backward pass ends the process for channels-last images that need no gradient."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.contiguous())


class Largest(nn.Module):
    """A maximum over windows, of which no two values are the same whatever the input is."""

    offset: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.pool = (nn.MaxPool1d, nn.MaxPool2d)[len(shape) - 2](2)
        self.register_buffer("offset", 0.01 * torch.rand(shape))

    def forward(self, h: Tensor) -> Tensor:
        largest: Tensor = self.pool(h + self.offset)
        return largest
