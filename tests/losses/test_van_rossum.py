"""The van Rossum distance: the integral itself, its limits, and long sequences."""

import pytest
import torch
from torch import Generator, Tensor

from spikingtorch.losses import van_rossum_distance
from spikingtorch.testing import assert_close
from tests.losses.twins import integral_of_van_rossum


def distance(a: Tensor, b: Tensor, tau: float) -> Tensor:
    return van_rossum_distance(a, b, tau=tau, reduction="none")


def draw(T: int, C: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.rand(1, T, C, generator=Generator().manual_seed(seed)) < 0.2).to(dtype)


@pytest.mark.parametrize("tau", [0.7, 2.0])
def test_is_the_integral(tau: float) -> None:
    a, b = draw(8, 1, 2), draw(8, 1, 3)
    want = integral_of_van_rossum(a.flatten().tolist(), b.flatten().tolist(), tau)
    assert want > 0.1
    assert distance(a, b, tau).item() == pytest.approx(want, rel=1e-4)


def test_limits_of_tau() -> None:
    a, b = draw(50, 6, 0), draw(50, 6, 1)
    assert_close(distance(a, b, 1e-3), (a != b).sum(1).double() / 2)
    assert_close(distance(a, b, 1e13), (a.sum(1) - b.sum(1)).square() / 2)


@pytest.mark.parametrize("tau", [1.0, 50.0, 1e4])
def test_long_sequences_in_float32(tau: float) -> None:
    a, b = draw(20_000, 2, 0, torch.float32), draw(20_000, 2, 1, torch.float32)
    leaf = a.clone().requires_grad_()
    got = distance(leaf, b, tau)
    got.sum().backward()
    wide = a.double().requires_grad_()
    want = distance(wide, b.double(), tau)
    want.sum().backward()
    assert leaf.grad is not None
    assert wide.grad is not None
    assert_close((got.detach(), leaf.grad), (want.detach().float(), wide.grad.float()))
