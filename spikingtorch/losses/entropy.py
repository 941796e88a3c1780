"""Cross-entropy of a network's outputs: of rates, counts, the largest or the last membrane, or each step."""

import math

import torch
from torch import Tensor

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.losses import steps
from spikingtorch.losses.steps import Lengths, Reduction


def cross_entropy(owner: str, logits: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
    """Return -log softmax(logits)[target]. Unlike torch's, it skips no index: each index is a class."""
    losses = -torch.log_softmax(logits, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    return steps.reduced(owner, losses, reduction)


def rate_cross_entropy(
    outputs: Tensor,
    target: Tensor,
    lengths: Lengths = None,
    *,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return the cross-entropy of mean outputs over time.

        z[n, c] = scale / T[n]  sum over t < T[n] of outputs[n, t, c]
        loss[n] = -log softmax(z[n])[target[n]]                             T[n] = lengths[n], or T

    Rates lie between 0 and 1, so with scale = 1 the loss of C classes cannot fall below log(1 + (C - 1) / e), which is
    1.46 for ten. A larger scale lowers this limit.

    Args:
        outputs: spikes or any other output, floating, shape (N, T, classes), as SpikingNet returns them. float16 and
            bfloat16 are computed in float32, and so is the loss.
        target: class indices, int64, shape (N,).
        lengths: number of steps of each sample, shape (N,), from 1 to T; later steps do not count.
        scale: factor of the rates, not negative.
        reduction: "mean" or "sum" over the samples, or "none".
        batch_first: False for (T, N, ...), time first.

    Returns:
        The loss, a scalar, or of shape (N,) with reduction "none". The mean of zero samples is NaN, as in torch.

    Raises:
        ValueError: a shape, a class, a length or the reduction does not fit; outputs are NaN or infinite.
        TypeError: outputs are not floating, or target and lengths not whole numbers.

    Source: J. K. Eshraghian et al., Proc. IEEE 111 (2023), doi:10.1109/JPROC.2023.3308088, for counts.

    >>> spikes = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    >>> rate_cross_entropy(spikes, torch.tensor([0]))
    tensor(0.3133)
    """
    owner = "rate_cross_entropy"
    steps.check_classes(owner, "outputs", outputs, target, batch_first)
    steps.check_number(owner, "scale", scale)
    logits = scale * steps.rate_of(owner, "outputs", outputs, lengths, batch_first)
    checks.check_finite(owner, f"scale={scale!r} times the mean of outputs over time", logits)
    return cross_entropy(owner, logits, target, reduction)


def count_cross_entropy(
    outputs: Tensor,
    target: Tensor,
    lengths: Lengths = None,
    *,
    population: int = 1,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return the cross-entropy of outputs summed over time; sums of spikes are counts.

        z[n, c] = sum over t < T[n] of outputs[n, t, c]             with K = population > 1, and over K neurons of c
        loss[n] = -log softmax(z[n])[target[n]]

    ``population`` is the number K of neurons of each class: outputs[:, :, c K] is the first of class c. The other
    arguments, results and errors are those of ``rate_cross_entropy``.

    Source: J. K. Eshraghian et al., Proc. IEEE 111 (2023), doi:10.1109/JPROC.2023.3308088.

    >>> spikes = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    >>> count_cross_entropy(spikes, torch.tensor([0]))
    tensor(0.1269)
    >>> count_cross_entropy(spikes, torch.tensor([0]), lengths=[1])
    tensor(0.3133)
    >>> votes = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]])  # two neurons of each class
    >>> count_cross_entropy(votes, torch.tensor([0]), population=2)
    tensor(0.1269)
    """
    owner = "count_cross_entropy"
    steps.check_classes(owner, "outputs", outputs, target, batch_first, population)
    counts = steps.count_of(owner, "outputs", outputs, lengths, batch_first, population)
    return cross_entropy(owner, counts, target, reduction)


def max_over_time_cross_entropy(
    outputs: Tensor, target: Tensor, lengths: Lengths = None, *, reduction: Reduction = "mean", batch_first: bool = True
) -> Tensor:
    """Return the cross-entropy of each class's largest output over time, for membranes of a readout such as LI.

        z[n, c] = max over t < T[n] of outputs[n, t, c]
        loss[n] = -log softmax(z[n])[target[n]]

    Steps that share the largest value share its gradient evenly. Arguments, results and errors are those of
    ``rate_cross_entropy``. But outputs may hold -inf if it is not the largest value.

    Source: B. Cramer et al., IEEE TNNLS 33 (2022), doi:10.1109/TNNLS.2020.3044364.

    >>> membrane = torch.tensor([[[0.0, 1.0], [2.0, 0.5]]])
    >>> max_over_time_cross_entropy(membrane, torch.tensor([0]))
    tensor(0.3133)
    """
    owner = "max_over_time_cross_entropy"
    steps.check_classes(owner, "outputs", outputs, target, batch_first)
    valid = steps.valid_steps(owner, "outputs", outputs, lengths, batch_first)
    logits = (valid.x if valid.mask is None else valid.x.masked_fill(~valid.mask, -math.inf)).amax(1)
    checks.check_finite(owner, "the maximum of outputs over time", logits)
    return cross_entropy(owner, logits, target, reduction)


def last_step_cross_entropy(
    outputs: Tensor, target: Tensor, lengths: Lengths = None, *, reduction: Reduction = "mean", batch_first: bool = True
) -> Tensor:
    """Return the cross-entropy of the output at the last step of each sample, for membranes of a readout such as LI.

        loss[n] = -log softmax(outputs[n, T[n] - 1])[target[n]]

    Arguments, results and errors are those of ``rate_cross_entropy``. But outputs may hold NaN and infinite values at
    steps before the last one.

    Source: B. Cramer et al., IEEE TNNLS 33 (2022), doi:10.1109/TNNLS.2020.3044364.

    >>> membrane = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [float("nan"), 0.0]]])
    >>> last_step_cross_entropy(membrane, torch.tensor([0]), lengths=[2])
    tensor(0.3133)
    """
    owner = "last_step_cross_entropy"
    steps.check_classes(owner, "outputs", outputs, target, batch_first)
    x, _, counted = steps.valid_steps(owner, "outputs", outputs, lengths, batch_first)
    N, T, C = x.shape
    if isinstance(counted, Tensor):
        last = (counted - 1).clamp(0, T - 1).unsqueeze(1).expand(N, 1, C)
        logits = x.gather(1, last).squeeze(1)
    else:
        logits = x[:, -1]
    checks.check_finite(owner, "the last step of outputs", logits)
    return cross_entropy(owner, logits, target, reduction)


def per_step_cross_entropy(
    outputs: Tensor,
    target: Tensor,
    lengths: Lengths = None,
    *,
    lamb: float = 0.0,
    phi: float = 1.0,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return the mean over time of the cross-entropy of each step's output, for temporal efficient training (TET).

        ce[n, t]  = -log softmax(outputs[n, t])[target[n, t]], or that of target[n]
        mse[n, t] = mean over c of (outputs[n, t, c] - phi)^2
        loss[n]   = 1 / T[n]  sum over t < T[n] of ((1 - lamb) ce[n, t] + lamb mse[n, t])

    Its gradient trains each step to give the class, unlike the gradient of a mean over time. The squared error keeps
    outliers near phi. Its share ``lamb`` is from 0, the cross-entropy alone, to 1. ``phi``, not negative, is the output
    that it pulls to; the paper takes the threshold.

    ``target`` has one class for each sample, (N,), or for each step, (N, T), or (T, N) if time comes first. In the
    padding it may hold anything. ``label_smoothing``, in [0, 1], is the share of the cross-entropy with all classes
    alike, as in torch. The other arguments, results and errors are those of ``rate_cross_entropy``.

    Source: S. Deng et al., ICLR (2022), arXiv:2202.11946.

    >>> outputs = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    >>> per_step_cross_entropy(outputs, torch.tensor([0]))
    tensor(0.5032)
    >>> per_step_cross_entropy(outputs, torch.tensor([0]), lamb=1.0, phi=1.0)
    tensor(0.7500)
    """
    owner = "per_step_cross_entropy"
    steps.check_classes(owner, "outputs", outputs, target, batch_first, each_step=True)
    steps.check_number(owner, "lamb", lamb, most=1.0)
    steps.check_number(owner, "phi", phi)
    steps.check_number(owner, "label_smoothing", label_smoothing, most=1.0)
    x, mask, counted = steps.valid_steps(owner, "outputs", outputs, lengths, batch_first)
    checks.check_finite(owner, "outputs", x)
    classes = target.reshape(-1, 1, 1).expand(-1, x.shape[1], 1)
    if target.ndim == 2:
        classes = axes.samples_first(target, batch_first).unsqueeze(2)
        classes = classes if mask is None else torch.where(mask, classes, 0)
        steps.check_range(owner, "outputs", classes, x.shape[2])
    scores = torch.log_softmax(x, 2)
    each = -scores.gather(2, classes)
    if label_smoothing != 0.0:
        each = (1.0 - label_smoothing) * each - label_smoothing * scores.mean(2, keepdim=True)
    if lamb != 0.0:
        each = (1.0 - lamb) * each + lamb * (x - phi).square().mean(2, keepdim=True)
    each = each if mask is None else torch.where(mask, each, 0.0)
    return steps.reduced(owner, (each.sum(1) / counted).squeeze(1), reduction)
