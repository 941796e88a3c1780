"""Writing: for whom and how one layer is written as a node."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from spikingtorch.interop.nir.discretise import Array, Discretisation, tau_of
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.targets import Target
from spikingtorch.interop.nir.values import as_array


@dataclasses.dataclass
class Writing:
    """How one layer is written.

    Attributes:
        name: of the layer in the network.
        shape: of the neurons of a sample.
        dt: length of a step, in seconds.
        discretisation: of the equations.
        dtype: of the network.
        approximate: whether what cannot be said may be left out.
        lost: what has been.
        target: the library for whose reader it is written; None for NIR's own equations.
    """

    name: str
    shape: tuple[int, ...]
    dt: float
    discretisation: Discretisation
    dtype: torch.dtype
    approximate: bool
    lost: list[str]
    target: Target | None = None

    def lose(self, what: str, nearest: str) -> None:
        """Note what is left out; raise NIRError if nothing may be."""
        if not self.approximate:
            cannot = "NIR cannot say" if self.target is None else f"{self.target.reader} does not compute"
            raise NIRError(
                f"layer {self.name!r} {what}, which {cannot}. Nearest to it: {nearest}. approximate=True exports "
                "that, and notes it in the metadata"
            )
        self.lost.append(f"{what}; exported: {nearest}")

    def array(self, value: Tensor | float) -> Array:
        """Return a parameter as the step computes with it, rounded to the network's dtype, one value a neuron."""
        return as_array(value, self.shape, self.dtype).astype(np.float64)

    def tau(self, decay: Tensor | float) -> Array:
        """Return the time constant of a decay, as the step computes with it, in seconds."""
        return tau_of(self.array(decay), self.dt, self.discretisation)
