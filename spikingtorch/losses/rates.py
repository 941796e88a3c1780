"""Squared errors of rates and counts, and a penalty on rates outside of bounds."""

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.losses.steps import Lengths, Reduction, check_classes, check_number, count_of, rate_of, reduced


def rate_mse(
    spikes: Tensor,
    target: Tensor,
    lengths: Lengths = None,
    *,
    correct: Tensor | float,
    incorrect: Tensor | float,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return the squared error of each class's firing rate.

        r[n, c]    = 1 / T[n]  sum over t < T[n] of spikes[n, t, c]
        loss[n, c] = (r[n, c] - correct)^2 for c = target[n], (r[n, c] - incorrect)^2 for the others

    Args:
        spikes: floating, shape (N, T, classes), as SpikingNet returns them. float16 and bfloat16 are computed in
            float32, and so is the loss.
        target: class indices, int64, shape (N,).
        lengths: number of steps T[n] of each sample, shape (N,), from 1 to T; later steps do not count.
        correct: target rate of the sample's class, in spikes per step, from 0 to 1; a number, or a tensor (classes,).
        incorrect: target rate of the other classes.
        reduction: "mean" or "sum" over samples and classes, or "none".
        batch_first: False for (T, N, ...), time first.

    Returns:
        The loss, a scalar, or of shape (N, classes) with reduction "none". The mean over no samples is NaN.

    Raises:
        ValueError: a shape, a class, a length, a rate or the reduction does not fit; spikes are NaN or infinite.
        TypeError: spikes are not floating, or target and lengths not whole numbers.

    Source: S. B. Shrestha, G. Orchard, NeurIPS (2018), arXiv:1810.08646, with counts of the true and the other classes.

    >>> spikes = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    >>> rate_mse(spikes, torch.tensor([0]), correct=0.75, incorrect=0.0, reduction="none")
    tensor([[0.0625, 0.0000]])
    """
    owner = "rate_mse"
    check_classes(owner, "spikes", spikes, target, batch_first)
    rates = rate_of(owner, "spikes", spikes, lengths, batch_first)
    wanted = _wanted(owner, rates, target, {"correct": correct, "incorrect": incorrect}, 1.0)
    return reduced(owner, (rates - wanted).square(), reduction)


def count_mse(
    spikes: Tensor,
    target: Tensor,
    lengths: Lengths = None,
    *,
    correct: Tensor | float,
    incorrect: Tensor | float,
    population: int = 1,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return the squared error of each class's number of spikes; see ``rate_mse``.

        m[n, c]    = sum over t < T[n] of spikes[n, t, c]           with K = population > 1, and over K neurons of c
        loss[n, c] = (m[n, c] - correct)^2 for c = target[n], (m[n, c] - incorrect)^2 for the others

    ``correct`` and ``incorrect`` are numbers of spikes, from 0 to T, or K T, the same whatever the lengths are.
    ``population`` is the number K of neurons of each class: spikes[:, :, c K] is the first of class c. The other
    arguments, results, errors and the source are those of ``rate_mse``.

    >>> spikes = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    >>> count_mse(spikes, torch.tensor([0]), correct=2.0, incorrect=0.0, reduction="none")
    tensor([[1., 0.]])
    """
    owner = "count_mse"
    check_classes(owner, "spikes", spikes, target, batch_first, population)
    counts = count_of(owner, "spikes", spikes, lengths, batch_first, population)
    most = float(spikes.shape[int(batch_first)] * population)
    wanted = _wanted(owner, counts, target, {"correct": correct, "incorrect": incorrect}, most)
    return reduced(owner, (counts - wanted).square(), reduction)


def firing_rate_penalty(
    spikes: Tensor,
    lengths: Lengths = None,
    *,
    low: float | None = None,
    high: float | None = None,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return a penalty on neurons that fire too rarely or too often; it is zero in between.

        r[n, i]    = 1 / T[n]  sum over t < T[n] of spikes[n, t, i]
        loss[n, i] = max(0, low - r[n, i])^2 + max(0, r[n, i] - high)^2

    A bound that is not given has no term. Call it for the spikes of each layer and add the results to the loss, each
    with a weight.

    Args:
        spikes: of one layer, floating, shape (N, T, ...). float16 and bfloat16 are computed in float32, and so is the
            penalty.
        lengths: number of steps T[n] of each sample, shape (N,), from 1 to T; later steps do not count.
        low: lowest rate without a penalty, in spikes per step, from 0 to 1; None for no lower bound.
        high: highest rate without a penalty, from low to 1; None for no upper bound.
        reduction: "mean" or "sum" over samples and neurons, or "none".
        batch_first: False for (T, N, ...), time first.

    Returns:
        The penalty, a scalar, or of shape (N, ...) with reduction "none". The mean over no samples is NaN, as in torch.

    Raises:
        ValueError: a shape, a length, a bound or the reduction does not fit; both bounds are left out; spikes are NaN
            or infinite.
        TypeError: spikes are not floating, lengths are not whole numbers, or a bound is a tensor.

    Source: F. Zenke, T. P. Vogels, Neural Computation 33 (2021), doi:10.1162/neco_a_01367, with the lower bound of each
    neuron on its count.

    >>> spikes = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    >>> firing_rate_penalty(spikes, low=0.1, high=0.5, reduction="none")
    tensor([[0.2500, 0.0100]])
    """
    owner = "firing_rate_penalty"
    for name, bound in (("low", low), ("high", high)):
        if bound is not None:
            check_number(owner, name, bound, most=1.0)
    if low is None and high is None:
        raise ValueError(f"{owner}: neither low nor high came, expected a bound; give low=0.01, high=0.2 or both")
    if low is not None and high is not None and low > high:
        raise ValueError(f"{owner}: low={low!r} is above high={high!r}, expected low <= high; exchange them")
    rates = rate_of(owner, "spikes", spikes, lengths, batch_first)
    penalty = torch.zeros_like(rates) if low is None else (low - rates).clamp_min(0.0).square()
    penalty = penalty if high is None else penalty + (rates - high).clamp_min(0.0).square()
    return reduced(owner, penalty, reduction)


def _wanted(owner: str, like: Tensor, target: Tensor, values: dict[str, Tensor | float], most: float) -> Tensor:
    """Return the target of each class of each sample, (N, classes): ``correct`` for its class, else ``incorrect``."""
    C = like.shape[1]
    rows = []
    for name, value in values.items():
        checks.check_parameter(owner, name, value, least=0.0, most=most)
        checks.check_broadcast(owner, name, value, torch.Size((C,)))
        rows.append(torch.as_tensor(value, dtype=like.dtype, device=like.device))
    classes = torch.arange(C, device=like.device)
    # by indexing, which raises for a class out of range, even if Python cannot read the target
    of_class = classes == classes.expand(len(target), C).gather(1, target.unsqueeze(1))
    return torch.where(of_class, rows[0], rows[1])
