"""
Surrogates and their derivatives
================================

A spike is a step, whose derivative is zero. Training takes the derivative of another function in its place. This
picture shows those of the library, and one of your own, which needs no more than its derivative.
"""

# %%
import matplotlib.pyplot as plt
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch import plot


def boxcar(u: Tensor) -> Tensor:
    """Return a derivative of 1 near the threshold."""
    return (u.abs() < 0.5).to(u.dtype)


own = F.FromDerivative(boxcar)
surrogates: list[F.Surrogate] = [F.Sigmoid(), F.FastSigmoid(), F.Arctan(), F.Triangular(), F.Gaussian(), own]

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
plot.surrogates(surrogates, ax=ax)
plt.show()
