"""Time of the first call in a process that has done nothing yet."""

import contextlib
import importlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.case import Size
from benchmarks.clock import seconds

# small, so that what is timed is the way to the kernel and not the kernel
BATCH, NEURONS = 1, 64

TRACER = "torch.fx.experimental.proxy_tensor"


def measure(T: int, preload: Sequence[str], backend: str) -> dict[str, Any]:
    """Run LIF forward and backward for the first time in this process, and for the second.

    Args:
        T: number of steps.
        preload: modules to import beforehand. If torch's tracer is among them, it traces a sine as well, since it sets
            itself up at the first trace.
        backend: backend of scan.

    Returns:
        Seconds of the import ("preload"), of the first call and of the second, and the modules that the first loaded.
    """
    from benchmarks import ours

    start = time.perf_counter()
    if TRACER in preload:
        _trace_a_sine()
    for name in preload:
        # torch puts objects among the modules that cannot be imported by their names
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    preloaded = time.perf_counter() - start
    neuron = ours.neuron("lif", Size(T, BATCH, NEURONS), backend)
    before = set(sys.modules)
    first = seconds(neuron.both)
    loaded = sorted(name for name in set(sys.modules) - before if name.startswith(("torch.", "sympy", "mpmath")))
    return {"preload": preloaded, "first": first, "second": seconds(neuron.both), "loaded": loaded}


def _trace_a_sine() -> None:
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradient(x: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(x.sin().sum(), x)[0]

    make_fx(gradient)(torch.ones(2, requires_grad=True))
