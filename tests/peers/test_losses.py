"""Losses beside those of snnTorch that they take the place of: values and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import snntorch.functional as theirs
import torch
from torch import Tensor

from spikingtorch import losses

N, T, C, K = 5, 12, 3, 4
PAIRS: dict[str, tuple[Any, Callable[[Tensor, Tensor], Tensor], int]] = {
    "ce_rate_loss": (theirs.ce_rate_loss(), losses.per_step_cross_entropy, 1),
    "ce_count_loss": (theirs.ce_count_loss(), losses.count_cross_entropy, 1),
    "ce_count_loss population": (
        theirs.ce_count_loss(population_code=True, num_classes=C),
        lambda x, y: losses.count_cross_entropy(x, y, population=K),
        K,
    ),
    "ce_max_membrane_loss": (theirs.ce_max_membrane_loss(), losses.max_over_time_cross_entropy, 1),
    "mse_count_loss": (
        theirs.mse_count_loss(correct_rate=0.75, incorrect_rate=0.25),
        lambda x, y: losses.count_mse(x, y, correct=0.75 * T, incorrect=0.25 * T) / T,
        1,
    ),
    "mse_count_loss population": (
        theirs.mse_count_loss(correct_rate=0.75, incorrect_rate=0.25, population_code=True, num_classes=C),
        lambda x, y: losses.count_mse(x, y, correct=0.75 * T * K, incorrect=0.25 * T * K, population=K) / T,
        K,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_losses_are_equal(name: str) -> None:
    loss, ours, population = PAIRS[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(T, N, C * population, generator=generator)  # time first, as theirs take it
    x = (x if "membrane" in name else (x < 0.4).float()).requires_grad_()
    y = torch.randint(C, (N,), generator=generator)
    want, found = loss(x, y).squeeze(), ours(x.transpose(0, 1), y)
    torch.testing.assert_close(found, want)
    gradients = [torch.autograd.grad(value, x)[0] for value in (found, want)]
    torch.testing.assert_close(*gradients)
