"""The library for JAX: neurons as pure functions, and ``scan``, which runs a step over time in one compiled loop."""

from spikingtorch.functional.jax_reference import IFState, LIFState, if_step, lif_step
from spikingtorch.jax.scan import Backend, scan

__all__ = ["Backend", "IFState", "LIFState", "if_step", "lif_step", "scan"]
