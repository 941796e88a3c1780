"""The older package's equations, transcribed step by step in its symbols, with its kind of surrogate.

v is the membrane before the reset and s the spike of the previous step; the surrogate is an autograd Function whose
backward pass is the derivative of sigmoid(beta u), and the gradient flows through the reset. H(0) = 1.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[..., tuple[Tensor, Tensor]]


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.beta = beta
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        e = torch.exp(-ctx.beta * u.abs())
        return gradients[0] * ctx.beta * e / (1 + e) ** 2, None


def spike(u: Tensor, beta: float) -> Tensor:
    return _Spike.apply(u, beta)  # type: ignore[no-any-return, no-untyped-call]


def integrate_and_fire(v: Tensor, s: Tensor, x: Tensor, *, v0: float = 1, beta: float = 5) -> tuple[Tensor, Tensor]:
    v = (1 - s) * v + x
    return v, spike(v - v0, beta)


def lif(
    v: Tensor, s: Tensor, x: Tensor, *, tau: float = 8, v0: float = 1, beta: float = 5, decay: float | None = None
) -> tuple[Tensor, Tensor]:
    a = torch.exp(torch.tensor(-1 / tau, dtype=torch.float64)) if decay is None else decay
    b = tau * (1 - a) if decay is None else 1
    v = (1 - s) * a * v + b * x
    return v, spike(v - v0, beta)


def coarse_lif(v: Tensor, s: Tensor, x: Tensor, *, tau: float, v0: float = 1, beta: float = 5) -> tuple[Tensor, Tensor]:
    a = torch.exp(torch.tensor(-1 / tau, dtype=torch.float64))
    b = tau * (1 - a)
    c = tau * (1 - b)
    v = (1 - s) * (a * v + b * x) + s * c * x
    return v, spike(v - v0, beta)


def biolif(
    v: Tensor, s: Tensor, xe: Tensor, xi: Tensor, *, nudt: float, v0: float = 0.5, beta: float = 5
) -> tuple[Tensor, Tensor]:
    nu = 1 + xe + xi
    with torch.no_grad():
        a = torch.exp(-nudt * nu)
    v = (1 - s) * v * a + (xe / nu) * (1 - a)
    return v, spike(v - v0, beta)


def spiking_decay(
    v: Tensor, s: Tensor, x: Tensor, *, tau: float, v0: float = 1, beta: float = 5
) -> tuple[Tensor, Tensor]:
    v = (1 - s) * v / tau + x
    return v, spike(v - v0, beta)
