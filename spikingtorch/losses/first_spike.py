"""The time of the first spike, with a gradient, and the cross-entropy of a first-spike code."""

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.functional import scan
from spikingtorch.losses import steps
from spikingtorch.losses.entropy import cross_entropy
from spikingtorch.losses.steps import Lengths, Reduction, Valid


def first_spike_time(spikes: Tensor, lengths: Lengths = None, *, batch_first: bool = True) -> Tensor:
    """Return the step of each neuron's first spike, counted from 0, with a gradient.

        silent[t] = product over k <= t of (1 - s[k])       1 until the first spike, 0 from it on
        time      = sum over t < T[n] of silent[t]          T[n] if there is no spike

    The sum is linear in each s[k]. So its derivative by s[k] is exactly the change of the time by a spike at step k,
    with all other spikes unchanged:

        k before the first spike    k - time            a spike there would come earlier
        k at the first spike        time - time of the second spike, or time - T[n] without one
        k after it                  0

    The surrogate of the neuron passes it on to the membrane. The gradient drives a silent neuron to fire, most strongly
    at early steps, and delays a spike that comes too early. If s[k] were probabilities of independent spikes, the sum
    would be the expected time.

    Args:
        spikes: 0 or 1, floating, shape (N, T, ...). float16 and bfloat16 are computed in float32.
        lengths: number of steps T[n] of each sample, shape (N,), from 1 to T; later steps do not count.
        batch_first: False for (T, N, ...), time first.

    Returns:
        Times in steps, shape (N, ...).

    Raises:
        ValueError: a shape or a length does not fit, or a value is neither 0 nor 1.
        TypeError: spikes are not floating, or lengths not whole numbers.

    Source of surrogate gradients: E. Neftci, H. Mostafa, F. Zenke, IEEE Signal Process. Mag. 36 (2019),
    doi:10.1109/MSP.2019.2931595.

    >>> spikes = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    >>> times = first_spike_time(spikes)
    >>> times.tolist()
    [[1.0, 3.0]]
    >>> times.sum().backward()
    >>> spikes.grad[0].T.tolist()
    [[-1.0, -2.0, 0.0], [-3.0, -2.0, -1.0]]
    """
    valid = steps.valid_steps("first_spike_time", "spikes", spikes, lengths, batch_first)
    steps.check_binary("first_spike_time", "spikes", valid.x)
    return silent_steps(valid)


def first_spike_cross_entropy(
    spikes: Tensor,
    target: Tensor,
    lengths: Lengths = None,
    *,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
    batch_first: bool = True,
) -> Tensor:
    """Return the cross-entropy of a code in which the class that spikes first wins.

        loss[n] = -log softmax(-time[n] / temperature)[target[n]]           time of ``first_spike_time``

    ``spikes`` are 0 or 1, floating, of shape (N, T, classes). A class that leads by ``temperature``, a positive number
    of steps, is e times as likely. The other arguments and the result are those of ``rate_cross_entropy``.

    Raises:
        ValueError: a shape, a class, a length, temperature or the reduction does not fit; a value is neither 0 nor 1.
        TypeError: spikes are not floating, target and lengths not whole numbers, or temperature is a tensor.

    Source: J. Göltz et al., Nat. Mach. Intell. 3 (2021), doi:10.1038/s42256-021-00388-x, in continuous time.

    >>> spikes = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    >>> first_spike_cross_entropy(spikes, torch.tensor([0]))
    tensor(0.3133)
    """
    owner = "first_spike_cross_entropy"
    steps.check_classes(owner, "spikes", spikes, target, batch_first)
    steps.check_number(owner, "temperature", temperature, above=0.0)
    valid = steps.valid_steps(owner, "spikes", spikes, lengths, batch_first)
    steps.check_binary(owner, "spikes", valid.x)
    logits = -silent_steps(valid) / temperature
    checks.check_finite(owner, f"the times by temperature={temperature!r}", logits)
    return cross_entropy(owner, logits, target, reduction)


def silent_steps(valid: Valid) -> Tensor:
    """Return the number of steps before the first spike. It does not divide, so spikes of exactly 1 are safe."""
    # a scan: one pass over time forward and one backward, with products only
    silent = scan(_stay_silent, torch.ones_like(valid.x[:, 0]), valid.x, dim=1)[1]
    if valid.mask is not None:
        silent = torch.where(valid.mask, silent, 0.0)
    return silent.sum(1)


def _stay_silent(silent: Tensor, spike: Tensor) -> tuple[Tensor, Tensor]:
    silent = silent * (1.0 - spike)
    return silent, silent
