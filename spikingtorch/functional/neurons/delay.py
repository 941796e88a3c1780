"""A delay line: inputs come out some steps later; the number of steps may be learned."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import lift


class DelayState(NamedTuple):
    """State of ``delay_step``: past, the last inputs, the newest of them first."""

    past: tuple[Tensor, ...]


def empty_delay(longest: int, like: Tensor) -> DelayState:
    """Return an empty delay line for a number of steps.

    Args:
        longest: the longest delay, in steps.
        like: input of one step, shape (*N,).
    """
    return DelayState(tuple([lift(torch.zeros_like(like, requires_grad=False)) for _ in range(longest)]))


def delay_step(state: DelayState, x: Tensor, *, delay: Tensor | float) -> tuple[DelayState, Tensor]:
    """Advance a delay line by one step.

        out[t] = sum_k max(0, 1 - |delay - k|) x[t-k]       k = 0 .. longest

    A delay of whole steps returns the input of that many steps ago. A delay between two whole steps mixes the two
    neighbours. So a delay has a gradient and can be learned: the derivative is (x[t-k-1] - x[t-k]) for k <= delay < k +
    1, also at a whole delay.

    Args:
        state: x[t-1], x[t-2], ..., each of shape (*N,); their number is the longest delay in steps.
        x: input of this step, shape (*N,).
        delay: in steps, from 0 to the longest, broadcastable to (*N,), for instance one for each channel.

    Returns:
        The new state, with x and without the oldest input, and out[t], of shape (*N,).

    Source: I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier, "Learning delays in spiking neural networks using
    dilated convolutions with learnable spacings", ICLR 2024, arXiv:2306.17670.
    """
    line = (x, *state.past)
    delay = torch.as_tensor(delay, dtype=x.dtype, device=x.device)
    out = torch.zeros_like(x)
    for k, then in enumerate(line):
        out = out + _share(delay - k) * then
    return DelayState(line[: len(state.past)]), out


def delayed(state: DelayState, xs: Tensor, delay: Tensor | float, dim: int = 0) -> tuple[DelayState, Tensor]:
    """Compute ``scan(delay_step, state, xs, params={"delay": delay}, dim=dim)`` by shifting the inputs.

    A scan reads the whole line at each step. This function reads only the two inputs that come out.

    Args:
        state: inputs before the first step, each of shape (*N,).
        xs: inputs over time, (T, *N) for dim = 0.
        delay: in steps, from 0 to the longest, broadcastable to (*N,).
        dim: the axis of time.

    Raises:
        ValueError: delay is a number outside of the range from 0 to the longest.

    >>> delayed(empty_delay(2, torch.zeros(1)), torch.ones(4, 1), 1.5)[1].flatten()
    tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """
    longest, T = len(state.past), xs.shape[dim]
    if not isinstance(delay, Tensor) and not 0.0 <= delay <= longest:
        raise ValueError(
            f"delayed: delay={delay!r}, expected from 0 to {longest}, the steps of the line; make a longer one with "
            "empty_delay(longest, like)"
        )
    xs_lifted = lift(xs)
    past = torch.stack(state.past[::-1], dim) if longest else xs_lifted.narrow(dim, 0, 0)
    line = torch.cat([past, xs_lifted], dim)
    near, far = _taps(line, delay, longest, T, dim)
    last = line.narrow(dim, T, longest).unbind(dim)[::-1]
    return DelayState(tuple([each.clone() for each in last])), (near if far is None else near + far).to(xs.dtype)


def _taps(line: Tensor, delay: Tensor | float, longest: int, T: int, dim: int) -> tuple[Tensor, Tensor | None]:
    """Return the two inputs that come out at each step, times their shares; None for a missing input."""
    if not isinstance(delay, Tensor):
        whole = math.floor(delay)
        near = line.narrow(dim, longest - whole, T) * (1.0 - (delay - whole))
        later = 1.0 + (delay - (whole + 1.0))
        return near, line.narrow(dim, longest - whole - 1, T) * later if later > 0.0 else None
    neurons = line.select(dim, 0).shape
    delay = delay.to(line.dtype).expand(neurons).unsqueeze(dim)
    whole_delays = delay.detach().floor()
    steps = torch.arange(T, device=line.device).reshape(T, *(1,) * (line.ndim - 1)).movedim(0, dim)
    at = steps + (longest - whole_delays.long())
    later_share = (1.0 + (delay - (whole_delays + 1.0))) * (whole_delays < longest)
    near = line.gather(dim, at) * (1.0 - (delay - whole_delays))
    return near, line.gather(dim, (at - 1).clamp(min=0)) * later_share


def _share(gap: Tensor) -> Tensor:
    """Return max(0, 1 - |gap|); where it has two derivatives, use the one from the right."""
    return torch.where(gap >= 0.0, 1.0 - gap, 1.0 + gap) * ((gap >= -1.0) & (gap < 1.0)).to(gap.dtype)
