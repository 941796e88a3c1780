"""The library for JAX: every neuron as a pure function on JAX arrays, and ``scan``, which runs a step over time.

    scan(step, state, xs, params=...)       one compiled time loop, forward and backward, inside jit, grad and vmap
    explain_scan(...)                       which loop runs it, and why
    lif_step, LIFState, ...                 the neurons, surrogates, reset rules and wrappers of spikingtorch.functional

The names and arguments are those of ``spikingtorch.functional``. The equations are those of its twin,
``spikingtorch.functional.jax_reference``.
"""

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "jax":
        raise
    raise ModuleNotFoundError(
        'spikingtorch.jax needs the package jax: pip install "spikingtorch[jax]"', name="jax"
    ) from error

from spikingtorch.functional import Explanation, jax_reference
from spikingtorch.functional.jax_reference import *  # noqa: F403
from spikingtorch.jax.scan import Backend, explain_scan, scan

__all__ = ["Backend", "Explanation", "explain_scan", "scan"]
__all__ += jax_reference.__all__
