"""Random numbers, the same for each seed, and the gradients that a random one of an output gives."""

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return numbers of mean 0 and variance 1."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def trains(*shape: int, seed: int = 0, rate: float = 0.3) -> Tensor:
    """Return spike trains: ones at a part of the places, zeros elsewhere."""
    return (uniform(*shape, seed=seed) < rate).float()


def outcome(out: Tensor, leaves: Sequence[Tensor], seed: int = 1) -> list[Tensor]:
    """Return an output, and the gradients of leaves for a random one of it: zeros of leaves that it does not need."""
    # drawn in float32, so that an output in float64 has the same one, and rounding has no part in a difference
    pull = normal(*out.shape, seed=seed, dtype=torch.float32).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, pull, materialize_grads=True)]
