"""The spike H(u), the one expression that differentiates it, and the protocol of surrogates."""

from typing import Protocol

from torch import Tensor


class Surrogate(Protocol):
    """Anything callable that maps ``u = membrane - threshold`` to spikes of the same shape and dtype."""

    def __call__(self, u: Tensor, /) -> Tensor:
        """Return H(u), with the gradient of the surrogate."""
        ...


def heaviside(u: Tensor) -> Tensor:
    """Return 1 where ``u >= 0`` and 0 elsewhere, in the dtype of u; no gradient."""
    return (u >= 0).to(u.dtype)


def spike(u: Tensor, phi: Tensor) -> Tensor:
    """Return H(u), differentiated as phi = phi(u)."""
    return heaviside(u) + (phi - phi.detach())
