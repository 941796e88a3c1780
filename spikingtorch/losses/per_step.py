"""The cross-entropy of each step by itself."""

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.losses.steps import Lengths, Reduction, check_classes, check_number, reduced, valid_steps


def per_step_cross_entropy(
    outputs: Tensor,
    target: Tensor,
    lengths: Lengths = None,
    *,
    lamb: float = 0.0,
    phi: float = 1.0,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return the mean over time of the cross-entropy of each step's output, for temporal efficient training (TET).

        ce[n, t]  = -log softmax(outputs[n, t])[target[n]]
        mse[n, t] = mean over c of (outputs[n, t, c] - phi)^2
        loss[n]   = 1 / T[n]  sum over t < T[n] of ((1 - lamb) ce[n, t] + lamb mse[n, t])

    Unlike that of a mean over time, its gradient asks each step for the class. The squared error keeps outliers near
    phi. Its share ``lamb`` is from 0, the cross-entropy alone, to 1; ``phi``, not negative, is the output that it pulls
    to, for which the paper takes the threshold. The other arguments, what comes back and the errors are those of
    ``rate_cross_entropy``.

    Source: S. Deng et al., ICLR (2022), arXiv:2202.11946.

    >>> outputs = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    >>> per_step_cross_entropy(outputs, torch.tensor([0]))
    tensor(0.5032)
    >>> per_step_cross_entropy(outputs, torch.tensor([0]), lamb=1.0, phi=1.0)
    tensor(0.7500)
    """
    owner = "per_step_cross_entropy"
    check_classes(owner, "outputs", outputs, target, batch_first)
    check_number(owner, "lamb", lamb, most=1.0)
    check_number(owner, "phi", phi)
    x, mask, steps = valid_steps(owner, "outputs", outputs, lengths, batch_first)
    checks.check_finite(owner, "outputs", x)
    classes = target.reshape(-1, 1, 1).expand(-1, x.shape[1], 1)
    each = -torch.log_softmax(x, 2).gather(2, classes)
    if lamb != 0.0:
        each = (1.0 - lamb) * each + lamb * (x - phi).square().mean(2, keepdim=True)
    each = each if mask is None else torch.where(mask, each, 0.0)
    return reduced(owner, (each.sum(1) / steps).squeeze(1), reduction)
