"""Checks that encoders and decoders share, and the steps that are not padding."""

import math
import warnings
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.functional.core.names import level_of_user


class OverTime(nn.Module):
    """Base of encoders and decoders: the order of the axes of a sequence."""

    # options for the repr, each as a format string over the module
    _shown: ClassVar[tuple[str, ...]] = ()

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = axes.check_order(type(self).__name__, batch_first)

    def described(self) -> list[str]:
        """Return the options for the repr."""
        return [option.format(self) for option in self._shown]

    def extra_repr(self) -> str:
        """Return the options, and the order of the axes if time comes first."""
        return ", ".join([*self.described(), *([] if self.batch_first else ["batch_first=False"])])


class Encoder(OverTime):
    """Base of the encoders of a batch; it checks nsteps and scale."""

    _shown: ClassVar[tuple[str, ...]] = ("nsteps={0.nsteps}", "scale={0.scale}")

    def __init__(self, nsteps: int, scale: float = 1.0, batch_first: bool = True) -> None:
        super().__init__(batch_first)
        self.nsteps = checks.check_count(type(self).__name__, "nsteps", nsteps)
        check_number(type(self).__name__, "scale", scale, "multiply the input by it instead")
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return a sequence (N, T, ...), or (T, N, ...) with ``batch_first=False``, for a batch x (N, ...)."""
        return axes.samples_first(self.encode(x), self.batch_first)

    def encode(self, x: Tensor) -> Tensor:
        """Return a sequence (N, T, ...) for a batch x (N, ...)."""
        raise NotImplementedError


def check_number(owner: str, name: str, value: float, instead: str, **limits: Any) -> None:
    """Raise unless a value is a finite number within limits; for a tensor, the text ``instead`` gives the fix."""
    if isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} is a Tensor, expected a number; {instead}")
    checks.check_parameter(owner, name, value, **limits)


def check_batch(owner: str, x: Tensor) -> tuple[float, float]:
    """Return (min, max) of a batch (N, ...), or raise unless it is floating and finite."""
    checks.check_floating(owner, "x", x)
    checks.check_rank(owner, "x", x, "(N, ...): a batch, as a DataLoader gives it", 1)
    return checks.value_range(owner, "x", x) or (0.0, 0.0)


def warn_above_one(owner: str, scale: float, bounds: tuple[float, float], says: str) -> None:
    """Warn in these words, which take the largest input, if inputs times their scale exceed 1."""
    highest = max(scale * bound for bound in bounds)
    if highest > 1.0 and not math.isclose(highest, 1.0, rel_tol=1e-3):
        text = f"{owner}: {says.format(highest)}. Divide the input by its maximum, or lower scale"
        warnings.warn(text, stacklevel=level_of_user())


def check_no_gradient(owner: str, x: Tensor, what: str, fix: str) -> None:
    """Raise if x requires a gradient, which its spikes do not have."""
    if torch.is_grad_enabled() and x.requires_grad:
        raise ValueError(f"{owner}: x requires a gradient, which {what} do not have. {fix}")


def check_generator(owner: str, x: Tensor, generator: Generator | None) -> None:
    """Raise if a generator is not a torch.Generator, or is on another device than x."""
    if not isinstance(generator, Generator | None):
        raise TypeError(
            f"{owner}: generator is a {type(generator).__name__}, expected a torch.Generator; "
            "torch.Generator().manual_seed(seed) makes one from a seed"
        )
    if generator is not None and generator.device.type != x.device.type:
        raise ValueError(
            f"{owner}: the generator is on {generator.device}, x on {x.device}; make it with "
            f"torch.Generator({x.device.type!r})"
        )


def check_sequence(owner: str, s: Tensor, batch_first: bool) -> Tensor:
    """Return a sequence as (N, T, ...); raise unless it is floating and has one step or more."""
    checks.check_floating(owner, "the sequence", s)
    checks.check_rank(owner, "the sequence", s, axes.named(batch_first), 2)
    if axes.sizes(s, batch_first)[1] == 0:
        raise ValueError(f"{owner}: a sequence of shape {tuple(s.shape)} has no steps on its axis {int(batch_first)}")
    return axes.samples_first(s, batch_first)


def over_time(x: Tensor, nsteps: int) -> Tensor:
    """Return a batch (N, ...) at each step, (N, T, ...), without a copy."""
    return x.unsqueeze(1).expand(x.shape[0], nsteps, *x.shape[1:])
