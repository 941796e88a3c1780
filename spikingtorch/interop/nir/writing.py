"""Writing: the target and the options for one layer that becomes a node."""

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
    """The options for writing one layer."""

    name: str  # of the layer in the network
    shape: tuple[int, ...]  # of the neurons of a sample
    dt: float  # length of a step, in seconds
    discretisation: Discretisation  # of the equations
    dtype: torch.dtype  # of the network
    approximate: bool  # whether properties that NIR cannot express may be left out
    lost: list[str]  # the properties that have been left out
    target: Target | None = None  # the library of the reader; None for NIR's own equations
    floored: bool = False  # whether the layer keeps its membrane above -threshold

    def lose(self, what: str, nearest: str) -> None:
        """Note a lost property; raise NIRError if nothing may be lost."""
        if not self.approximate:
            cannot = "NIR cannot say" if self.target is None else f"{self.target.reader} does not compute"
            raise NIRError(
                f"layer {self.name!r} {what}, which {cannot}. Nearest to it: {nearest}. approximate=True exports "
                "that, and notes it in the metadata"
            )
        self.lost.append(f"{what}; exported: {nearest}")

    def array(self, value: Tensor | float) -> Array:
        """Return a parameter as in the step, rounded to the network's dtype, with one value per neuron."""
        return as_array(value, self.shape, self.dtype).astype(np.float64)

    def tau(self, decay: Tensor | float) -> Array:
        """Return the time constant of a decay of the step, in seconds."""
        return tau_of(self.array(decay), self.dt, self.discretisation)
