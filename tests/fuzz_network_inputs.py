"""What one call of the fuzzer is: its input, what is differentiated, and what happens besides."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

LAYOUTS = ("plain", "plain", "time first", "strided", "expanded", "channels last", "computed", "with NaN")
INITS = ("new", "new", "on", "some", "all")
GRADS = ("all", "all", "weights", "input", "nothing", "inference")
THENS = ("", "write on input", "write on output", "call again", "backward twice", "backward", "saved", "checkpoint")


class Run(NamedTuple):
    """A call of a model, or several that belong together.

    Attributes:
        way: one of WAYS.
        N: number of samples.
        T: number of steps.
        seed: of the input and the cotangents.
        layout: of the input, one of LAYOUTS.
        init: "new" sequences, "on" with the last ones, or "some" or "all" new ones in a tensor.
        grad: what is differentiated, one of GRADS.
        then: what happens besides, one of THENS.
    """

    way: str = "call"
    N: int = 2
    T: int = 5
    seed: int = 0
    layout: str = "plain"
    init: str = "new"
    grad: str = "all"
    then: str = ""

    def __repr__(self) -> str:
        given = {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}
        return f"Run({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def recording(self) -> AbstractContextManager[Any]:
        if self.grad == "inference":
            return torch.inference_mode()
        if self.grad == "nothing":
            return torch.no_grad()
        return torch.autograd.graph.save_on_cpu() if self.then == "saved" else nullcontext()

    def train(self, shape: tuple[int, ...], salt: int = 0) -> Tensor:
        """Return currents or spikes, (N, T, ...)."""
        generator = torch.Generator().manual_seed(100 * self.seed + salt)
        x = 3.0 * torch.rand(self.N, self.T, *shape, generator=generator, dtype=torch.float64) - 0.8
        x = (x > 0.5).double() if self.seed % 2 else x
        x = laid_out(x, self.layout)
        x.requires_grad = self.grad in ("all", "input")
        return 1.0 * x if self.layout == "computed" else x

    def starts(self) -> bool | Tensor:
        """Return init."""
        if self.init in ("some", "all"):
            return torch.arange(self.N) % (2 if self.init == "some" else 1) == 0
        return self.init == "new"


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return the numbers of x in another layout."""
    if layout == "time first":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "strided":
        return torch.stack([x, x + 1], -1).select(-1, 0)
    if layout == "with NaN":
        return torch.where(x > 2.0, torch.nan, x)
    if layout == "expanded" and len(x):
        return x[:1].expand_as(x)
    if layout == "channels last" and x.ndim == 5:
        image: Tensor = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
        return image
    return x


def cotangent(root: Tensor, seed: int) -> Tensor:
    """Return random numbers, those of the last step only, ones that share a place, or numbers in another layout."""
    drawn = torch.randn(root.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(root)
    if seed % 4 == 1 and root.ndim > 1:
        drawn[:, :-1] = 0.0
    elif seed % 4 == 2:
        return torch.ones((), dtype=root.dtype).expand_as(root)
    elif seed % 4 == 3:
        return drawn.transpose(0, -1).contiguous().transpose(0, -1)
    return drawn
