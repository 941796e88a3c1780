"""A delay line: inputs come out some steps later, the number of which may be learned."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import lift


class DelayState(NamedTuple):
    """State of ``delay_step``: past, the last inputs, the newest of them first."""

    past: tuple[Tensor, ...]


def empty_delay(longest: int, like: Tensor) -> DelayState:
    """Return a delay line of so many steps without anything in it.

    Args:
        longest: the longest delay, in steps.
        like: input of one step, shape (*N,).
    """
    return DelayState(tuple([lift(torch.zeros_like(like, requires_grad=False)) for _ in range(longest)]))


def delay_step(state: DelayState, x: Tensor, *, delay: Tensor | float) -> tuple[DelayState, Tensor]:
    """Advance a delay line by one step.

        out[t] = sum_k max(0, 1 - |delay - k|) x[t-k]       k = 0 .. longest

    A whole delay hands on what came so many steps ago. One in between takes a share of both neighbours, by which it has
    a gradient and can be learned: (x[t-k-1] - x[t-k]) for k <= delay < k + 1, at a whole delay too.

    Args:
        state: x[t-1], x[t-2], ..., each of shape (*N,); as many as the longest delay has steps.
        x: input of this step, shape (*N,).
        delay: in steps, from 0 to the longest, broadcastable to (*N,): one for each channel, say.

    Returns:
        The state, which x has entered and the oldest input has left, and out[t], of shape (*N,).

    Source: I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier, "Learning delays in spiking neural networks using
    dilated convolutions with learnable spacings", ICLR 2024, arXiv:2306.17670.
    """
    line = (x, *state.past)
    delay = torch.as_tensor(delay, dtype=x.dtype, device=x.device)
    out = torch.zeros_like(x)
    for k, then in enumerate(line):
        out = out + _share(delay - k) * then
    return DelayState(line[: len(state.past)]), out


def _share(gap: Tensor) -> Tensor:
    """Return max(0, 1 - |gap|), with the derivative from the right where there are two."""
    return torch.where(gap >= 0.0, 1.0 - gap, 1.0 + gap) * ((gap >= -1.0) & (gap < 1.0)).to(gap.dtype)
