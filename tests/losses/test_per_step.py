"""The cross-entropy of each step, and what it asks of each of them."""

import numpy as np
import torch

from spikingtorch.losses import per_step_cross_entropy, rate_cross_entropy
from spikingtorch.testing import assert_close

X = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([2, 0])


def test_is_the_loss_of_the_paper() -> None:
    lamb, phi, lengths = 0.25, 0.5, (6, 4)
    x, want = X.numpy(), []
    for n, T in enumerate(lengths):
        entropies = [np.log(np.exp(x[n, t]).sum()) - x[n, t, Y[n]] for t in range(T)]
        squares = [((x[n, t] - phi) ** 2).mean() for t in range(T)]
        want.append((1 - lamb) * np.mean(entropies) + lamb * np.mean(squares))
    got = per_step_cross_entropy(X, Y, lengths, lamb=lamb, phi=phi, reduction="none")
    assert_close(got, torch.from_numpy(np.stack(want)))


def test_each_step_is_asked_for_the_class() -> None:
    x = X.clone().requires_grad_()
    (each,) = torch.autograd.grad(per_step_cross_entropy(x, Y), x)
    (mean,) = torch.autograd.grad(rate_cross_entropy(x, Y), x)
    assert_close(mean, mean[:, :1].expand_as(mean))  # of the mean over time all steps get the same
    assert not torch.allclose(each, each[:, :1].expand_as(each))
    steps = torch.stack([torch.autograd.grad(rate_cross_entropy(x[:, t : t + 1], Y), x)[0] for t in range(6)]).sum(0)
    assert_close(each, steps / 6)
