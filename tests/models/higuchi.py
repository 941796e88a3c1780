"""The networks of Higuchi et al. 2024 (arXiv:2402.14603) as loops over time, from the equations of the paper.

Parameters have the names of the authors' state dicts, and are taken by their absolute value.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

DT = 0.01


def density(u: Tensor, sigma: float) -> Tensor:
    return torch.exp(-0.5 * (u / sigma) ** 2) / (sigma * (2.0 * torch.pi) ** 0.5)


class Spike(torch.autograd.Function):
    """A spike above zero, whose slope is half of a double Gaussian."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u > 0.0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return cotangents[0] * 0.5 * (1.15 * density(u, 0.5) - 0.3 * density(u, 3.0))


def fires(u: Tensor) -> Tensor:
    found: Tensor = Spike.apply(u)  # type: ignore[no-untyped-call]
    return found


def network(kind: str, w: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spikes of the hidden neurons and the membranes of the readout, (N, T, ...), for inputs (N, T, ...)."""
    matrix = w["hidden.linear.weight"]
    M = len(matrix)
    z, u, v, q = (x.new_zeros(len(x), M) for _ in range(4))
    read, spikes, outputs = x.new_zeros(len(x), len(w["out.tau_mem"])), [], []
    kept = torch.exp(-1.0 / w["out.tau_mem"].abs())
    for x_t in x.unbind(1):
        current = torch.cat((x_t, z), 1) @ matrix.T
        if kind == "alif":
            alpha, rho = (torch.exp(-1.0 / w[f"hidden.tau_{name}"].abs()) for name in ("mem", "adp"))
            q = rho * q + (1.0 - rho) * z
            theta = 0.01 + 1.8 * q
            u = alpha * u + (1.0 - alpha) * current
            z = fires(u - theta)
            u = u - z * theta
        else:
            omega, offset = w["hidden.omega"].abs(), w["hidden.b_offset"].abs()
            b = -offset if kind == "rf" else (-1.0 + torch.sqrt(1.0 - (DT * omega) ** 2)) / DT - offset - q
            u, v = u + DT * (b * u - omega * v + current), v + DT * (omega * u + b * v)
            z = fires(u - 1.0 - q)
            q = q if kind == "rf" else 0.9 * q + z
        read = kept * read + (1.0 - kept) * (z @ w["out.linear.weight"].T)
        spikes.append(z)
        outputs.append(read)
    return torch.stack(spikes, 1), torch.stack(outputs, 1)
