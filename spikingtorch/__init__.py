"""spikingtorch: spiking neural networks in PyTorch, on a stateless core whose gradients can be checked.

    model = SpikingNet(net, (Nout,))        an ordinary module, run over time
    IF, LIF, ...                            spiking layers, called as layer(x, init)
    run(model, state, x)                    a whole network as a pure function, for torch.func
    MultiStep(layer)                        a spiking layer over all steps, (T, N, ...), without a SpikingNet
    spikingtorch.spikeio                    encoders and decoders
    spikingtorch.data                       data sets: heartbeats, spoken digits
    spikingtorch.learning                   plasticity: weights that change by the spikes on both of their sides
    spikingtorch.init                       weights with which every layer fires
    spikingtorch.losses, .metrics           what to train on, and how well it went
    record, summary, SpikeMonitor           spikes and membranes of every layer; sizes, rates, operations and energy
    spikingtorch.convert                    a trained ANN as a spiking network
    spikingtorch.quantize                   weights of few bits, and networks as the integers of a chip
    spikingtorch.models                     trained networks, by name, and those of papers
    spikingtorch.plot, .report              pictures of what a network does, and one page of it all
    spikingtorch.interop.nir                networks of other libraries, and ours in theirs
    spikingtorch.functional                 the same neurons as pure functions, and scan over time
    spikingtorch.jax                        these functions for JAX

Start with the README.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from spikingtorch import functional, layers, losses, metrics, spikeio, utils
from spikingtorch.foreign import packages_with as _packages_with
from spikingtorch.layers import neurons as _neurons
from spikingtorch.layers.delayed import DelayedLinear
from spikingtorch.layers.delayed_recurrence import DelayedRecurrence
from spikingtorch.layers.dropout import SequenceDropout
from spikingtorch.layers.multi_step import MultiStep
from spikingtorch.layers.neurons import *  # noqa: F403 - the names of its __all__
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.time_norm import ThresholdDependentBatchNorm, TimeBatchNorm1d, TimeBatchNorm2d
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.pure import run
from spikingtorch.watching.monitor import SpikeMonitor
from spikingtorch.watching.recording import Recording, record
from spikingtorch.watching.summary import Summary, summary

__version__ = "1.0.0rc1"

__all__ = [
    "DelayedLinear",
    "DelayedRecurrence",
    "MultiStep",
    "Recording",
    "SequenceDropout",
    "SpikeMonitor",
    "SpikingNet",
    "StepLayer",
    "Summary",
    "ThresholdDependentBatchNorm",
    "TimeBatchNorm1d",
    "TimeBatchNorm2d",
    "functional",
    "layers",
    "losses",
    "metrics",
    "record",
    "run",
    "spikeio",
    "summary",
    "utils",
]
__all__ += _neurons.__all__


# their dependencies, such as matplotlib, may be missing
_ON_DEMAND = (
    "convert",
    "data",
    "init",
    "interop",
    "jax",
    "learning",
    "like",
    "models",
    "performance",
    "plot",
    "quantize",
    "report",
    "testing",
)

_INSTEAD = {"GradedLIF": "LIF(surrogate=functional.Graded())"}

if not TYPE_CHECKING:  # a type checker would accept every name

    def __getattr__(name: str) -> object:
        """Return a module that is imported on demand; for a name that is elsewhere, say where."""
        if name in _ON_DEMAND:
            return import_module(f"spikingtorch.{name}")
        modules = functional, losses, metrics, spikeio, utils
        there = [_INSTEAD[name]] if name in _INSTEAD else []
        there += [f"{each.__name__}.{name}" for each in modules if name in vars(each)]
        there += [f"spikingtorch.like.{package}.{name}" for package in _packages_with(name)]
        found = f"; there is {' and '.join(there)}" if there else ""
        raise AttributeError(f"module 'spikingtorch' has no attribute {name!r}{found}")


def __dir__() -> list[str]:
    """Return the public names, including the modules that are imported on demand."""
    return sorted([*__all__, "__version__", *_ON_DEMAND])
