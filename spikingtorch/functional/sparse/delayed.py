"""Linear layers whose connections have delays: for each, a kernel over time that skips the zeros of its input."""

import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.functional.core.precision import lift, without_autocast
from spikingtorch.functional.sparse.layers import event_linear, spikes_or_dense


def delayed_linear(x: Tensor, weight: Tensor, delay: Tensor, width: Tensor | float, longest: int) -> Tensor:
    """Multiply inputs by weights, each after a delay of its own that has a gradient.

        y[t, n, o] = sum over i and k of K[o, i, k] x[t - k, n, i],      k = 0 .. longest
        K[o, i, k] = weight[o, i] c[k] / sum c,      c[k] = exp(-((k - delay[o, i]) / width)^2 / 2)

    The source divides by 1e-7 + sum c, so that a narrow kernel halfway between two steps vanishes. This one keeps its
    whole weight: sum c is never zero, because the shares are a softmax. Otherwise both differ by 1e-7 / sum c. In eager
    mode, in float32 on the CPU, zeros are skipped as by ``event_conv1d``, and a part of a sequence has the bits of the
    whole. Of graded inputs, torch convolves those of which more than a quarter is not zero; it differs by rounding.

    Args:
        x: inputs over time, shape (T, N, I), zero before the first step.
        weight: shape (O, I).
        delay: in steps, from 0 to longest, shape (O, I); or (I,), to delay inputs before one product.
        width: of the Gaussian in steps: a positive number, or a tensor that broadcasts to delay. 0 rounds delays to
            whole steps: a kernel is the weight at one step, and exactly zero elsewhere.
        longest: the longest delay, in steps.

    Source: I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier, "Learning delays in spiking neural networks using
    dilated convolutions with learnable spacings", ICLR 2024, arXiv:2306.17670.

    >>> x = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)
    >>> delayed_linear(x, torch.tensor([[2.0]]), torch.tensor([[0.5]]), 0.01, longest=2).flatten()
    tensor([1., 1., 0.])
    """
    line = nnf.pad(lift(x).movedim(0, 1), (0, 0, longest, 0))
    return through_line(line, **kernels(lift(weight), lift(delay), lift(width), longest)).movedim(1, 0).to(x.dtype)


def kernels(weight: Tensor, delay: Tensor, width: Tensor | float, longest: int) -> dict[str, Tensor]:
    """Return ``kernel`` and ``weight`` as ``through_line`` takes them."""
    steps = torch.arange(longest, -1, -1, dtype=delay.dtype, device=delay.device)
    if not isinstance(width, Tensor) and width == 0.0:
        kernel = (steps == delay.detach().round().clamp(0.0, longest).unsqueeze(-1)).to(delay.dtype)
    else:
        away = (steps - delay.unsqueeze(-1)) / (width.unsqueeze(-1) if isinstance(width, Tensor) else width)
        kernel = (-0.5 * away.square()).softmax(-1)
    return {"kernel": weight.unsqueeze(-1) * kernel} if delay.ndim == 2 else {"kernel": kernel, "weight": weight}


def through_line(line: Tensor, kernel: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the outputs (N, T, O) of a line (N, L - 1 + T, I), which begins with the inputs before the first step.

    Kernels begin with the longest delay: (O, I, L), or (I, L) for inputs that meet the weights (O, I) after it.
    """
    with without_autocast(line.device):
        if weight is None:
            return spikes_or_dense(line.transpose(1, 2), kernel).transpose(1, 2)
        late, T = torch.zeros_like(line[:, kernel.shape[1] - 1 :]), line.shape[1] - kernel.shape[1] + 1
        for k, share in enumerate(kernel.unbind(1)):  # in this order also for a single step
            late = late + share * line.narrow(1, k, T)
        return event_linear(late, weight)
