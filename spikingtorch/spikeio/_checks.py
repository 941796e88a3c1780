"""Checks that encoders and decoders share, and the steps that count."""

import torch
from torch import Generator, Tensor, nn

from spikingtorch import validation as checks


class Encoder(nn.Module):
    """Base of the encoders of a batch: nsteps and scale, checked."""

    def __init__(self, nsteps: int, scale: float = 1.0) -> None:
        super().__init__()
        self.nsteps = checks.check_count(type(self).__name__, "nsteps", nsteps)
        check_scale(type(self).__name__, scale)
        self.scale = scale

    def extra_repr(self) -> str:
        """Name the number of steps and the scale."""
        return f"nsteps={self.nsteps}, scale={self.scale}"


def check_scale(owner: str, scale: float) -> None:
    """Raise unless scale is a finite number, not a tensor."""
    if isinstance(scale, Tensor):
        raise TypeError(f"{owner}: scale is a Tensor, expected a number; multiply the input by it instead")
    checks.check_parameter(owner, "scale", scale)


def check_batch(owner: str, x: Tensor) -> tuple[float, float]:
    """Return (min, max) of a batch (N, ...), or raise unless it is floating and finite."""
    checks.check_floating(owner, "x", x)
    checks.check_rank(owner, "x", x, "(N, ...): a batch, as a DataLoader gives it", 1)
    return checks.value_range(owner, "x", x) or (0.0, 0.0)


def check_no_gradient(owner: str, x: Tensor, what: str, fix: str) -> None:
    """Raise where x requires a gradient that the spikes made of it do not have."""
    if torch.is_grad_enabled() and x.requires_grad:
        raise ValueError(f"{owner}: x requires a gradient, which {what} do not have. {fix}")


def check_generator(owner: str, x: Tensor, generator: Generator | None) -> None:
    """Raise unless a generator is one, or where it would draw random numbers on another device than that of x."""
    if not isinstance(generator, Generator | None):
        raise TypeError(
            f"{owner}: generator is a {type(generator).__name__}, expected a torch.Generator; of a seed, "
            "torch.Generator().manual_seed(seed) makes one"
        )
    if generator is not None and generator.device.type != x.device.type:
        raise ValueError(
            f"{owner}: the generator is on {generator.device}, x on {x.device}; make it with "
            f"torch.Generator({x.device.type!r})"
        )


def check_sequence(owner: str, s: Tensor) -> None:
    """Raise unless s is a floating sequence (N, T, ...) of one step or more."""
    checks.check_floating(owner, "the sequence", s)
    checks.check_rank(owner, "the sequence", s, "(N, T, ...)", 2)
    if s.shape[1] == 0:
        raise ValueError(f"{owner}: a sequence of shape {tuple(s.shape)} has no steps on its axis 1")


def over_time(x: Tensor, nsteps: int) -> Tensor:
    """Return a batch (N, ...) at each step, (N, T, ...), without a copy."""
    return x.unsqueeze(1).expand(x.shape[0], nsteps, *x.shape[1:])
