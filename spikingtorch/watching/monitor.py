"""SpikeMonitor: how a network fires while it is trained."""

import math
import threading
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor

from spikingtorch.layers.checkpoint import backward_pass
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.network import Network, check_network

# intervals are looked at in one call of so many, and in so many of its samples
EVERY, SAMPLES = 32, 4
# steps of a neuron that surely fit into 32 bits, with a call more
_MANY = 2**30


class SpikeMonitor:
    """Watches how the spiking layers of a network fire, over as many calls as it is open for.

        with SpikeMonitor(model) as monitor:
            for epoch in range(10):
                train(model)
                print(monitor.metrics())        or log them: any logger that takes a dict
                monitor.reset()

    The spikes of each neuron are counted on the device, by the compiled time loop where there is one: nothing that the
    network computes changes, it folds as before, and no number leaves the device before ``metrics`` asks. Layers that
    do not fire, a readout for instance, are not watched, and calls within ``torch.compile`` are not counted.

    Args:
        model: the network.
        every: intervals between two spikes of a neuron are looked at in one call of so many, in four of its samples,
            for that takes longer.

    Raises:
        TypeError: model is no SpikingNet.
        ValueError: every is below 1.

    >>> from torch import nn
    >>> from spikingtorch import IF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(IF()))
    >>> with SpikeMonitor(model) as monitor:
    ...     _ = model(torch.tensor([[[0.6, 0.0, 1.0]] * 4]))
    >>> monitor.metrics()
    {'0/rate': 0.5, '0/silent': 0.333..., '0/saturated': 0.333..., '0/interval': 1.25, '0/interval_cv': 0.346...}
    """

    def __init__(self, model: Network, every: int = EVERY) -> None:
        check_network("SpikeMonitor", model)
        if every < 1:
            raise ValueError(f"SpikeMonitor: every={every!r}, expected at least 1")
        self._layers = {
            path: layer
            for path, layer in model.net.named_modules()
            if isinstance(layer, StepLayer) and hasattr(layer, "surrogate")
        }
        self._every = every
        self._names = {layer: path for path, layer in self._layers.items()}
        # by thread, what a layer has given out, and what its time loop has counted
        self._counted: dict[int, tuple[Tensor, Tensor]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was counted, at the end of an epoch for instance."""
        self._counts = {path: _Counts() for path in self._layers}

    def __enter__(self) -> "SpikeMonitor":
        for layer in self._layers.values():
            if layer._monitor is not None:
                raise RuntimeError("SpikeMonitor: another monitor is open on this network; leave it first")
        for layer in self._layers.values():
            layer._monitor = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for layer in self._layers.values():
            layer._monitor = None

    def counts_of(self, layer: Any) -> list[Tensor] | None:
        """Return what the time loop of a layer may add to; None if it is not to count.

        That is so where a backward pass repeats a call, and where something compiles it.
        """
        if torch.compiler.is_compiling() or backward_pass() != -1:
            return None
        return self._counts[self._names[layer]].to_go_on()

    def counted(self, output: Tensor, fired: Tensor) -> None:
        """Take what a time loop has counted for the call that ends now, at how many steps each neuron fired."""
        self._counted[threading.get_ident()] = output, fired

    def note(self, layer: Any, output: Any, fold: FoldToken | None) -> None:
        """Count what a layer has given out: at one step, (N, ...), or at all steps of a fold, (N T, ...)."""
        if torch.compiler.is_compiling():
            return
        known = self._counted.pop(threading.get_ident(), None)
        if backward_pass() != -1 or not isinstance(output, Tensor):
            return  # a backward pass repeats what was counted
        if is_batchedtensor(output):
            raise RuntimeError(
                f"SpikeMonitor: layer {self._names[layer]} runs inside torch.func.vmap, where spikes cannot be "
                "counted; call the network with a batch, or leave the monitor before vmap"
            )
        N, T = (output.shape[0], 1) if fold is None else (fold.N, fold.T)
        running = None if fold is None or fold.running is None else fold.running.sum()
        path, fired = self._names[layer], known[1] if known is not None and known[0] is output else None
        try:
            self._counts[path].add(output.detach(), fired, N, T, running, self._every)
        except ValueError as error:
            raise ValueError(f"SpikeMonitor: layer {path} {error}; call reset() between them") from None

    def metrics(self) -> dict[str, float]:
        """Return what was counted since the start or the last ``reset``, a flat dict for any logger.

        Returns:
            For each layer, ``"layer/rate"``, the share of neurons and steps with a spike; ``"layer/silent"``, the share
            of neurons that never fired; ``"layer/saturated"``, of those that always did; ``"layer/interval"``, the mean
            number of steps between two spikes of a neuron in a sequence; ``"layer/interval_cv"``, the standard
            deviation of it over the mean. A layer that was not called has no entries, and one whose neurons have not
            fired twice no intervals; intervals are not known of calls that step.
        """
        found: dict[str, float] = {}
        for path, counts in self._counts.items():
            found |= {f"{path}/{name}": value for name, value in counts.metrics().items()}
        return found


class _Counts:
    """The spikes of one layer."""

    def __init__(self) -> None:
        self._calls = self._neurons = 0
        # at how many steps each neuron fired, but for what is still by itself
        self._spikes: Tensor | None = None
        # by thread, the steps at which each neuron of each sample fired in its last calls, (N, ...), and of how many
        self._last: dict[int, tuple[Tensor, int]] = {}
        self._steps: Tensor | int = 0
        # number, sum and sum of squares of the intervals
        self._intervals: Tensor | None = None

    def to_go_on(self) -> list[Tensor]:
        """Return what the time loop may add to in the next call of this thread, if it fits to it."""
        fired, steps = self._last.get(threading.get_ident(), (None, 0))
        return [] if fired is None or steps > _MANY else [fired]

    def add(self, out: Tensor, fired: Tensor | None, N: int, T: int, running: Tensor | None, every: int) -> None:
        """Add a call.

        Args:
            out: what the layer gave out, (N T, ...).
            fired: at how many steps each neuron fired, (N, ...), added by its loop to ``to_go_on()`` if it is that
                tensor; None if no loop has counted.
            N: number of samples.
            T: number of steps.
            running: how many steps of samples were no padding; None if all.
            every: intervals are looked at in one call of so many.

        Raises:
            ValueError: the layer has another number of neurons than before.
        """
        if fired is None:  # any number but zero is a spike
            fired = (out != 0).unflatten(0, (N, T)).sum(1, dtype=torch.int32)
        neurons = math.prod(fired.shape[1:])
        if self._calls and self._neurons != neurons:
            raise ValueError(f"has {neurons} neurons now, and had {self._neurons}")
        self._neurons = neurons
        thread = threading.get_ident()
        steps = 0
        if (last := self._last.get(thread)) is not None:
            if last[0] is fired:
                steps = last[1]
            else:
                self._sum_up(thread)
        self._last[thread] = fired, steps + T
        self._steps = self._steps + (N * T if running is None else running)
        if T > 1 and self._calls % every == 0:
            found = _intervals(out.reshape(N, T, -1)[:SAMPLES])
            self._intervals = found if self._intervals is None else self._intervals + found
        self._calls += 1

    def metrics(self) -> dict[str, float]:
        """Return the numbers of the layer by name."""
        for thread in [*self._last]:
            self._sum_up(thread)
        if self._spikes is None:
            return {}
        steps = float(self._steps)
        found = {
            "rate": float(self._spikes.double().mean()) / steps,
            "silent": float((self._spikes == 0).double().mean()),
            "saturated": float((self._spikes >= steps).double().mean()),
        }
        if self._intervals is None:
            return found
        number, total, squares = self._intervals.tolist()
        if number:
            mean = total / number
            found |= {"interval": mean, "interval_cv": max(squares / number - mean**2, 0.0) ** 0.5 / mean}
        return found

    def _sum_up(self, thread: int) -> None:
        """Add what the last calls of a thread have counted to the sum of all."""
        fired, _ = self._last.pop(thread, (None, 0))
        if fired is not None:
            spikes = fired.sum(0).flatten()
            self._spikes = spikes if self._spikes is None else self._spikes + spikes


def _intervals(out: Tensor) -> Tensor:
    """Return number, sum and sum of squares of the steps between two spikes of a neuron, for outputs (N, T, M)."""
    N, T, M = out.shape
    of, times = out.transpose(1, 2).reshape(N * M, T).nonzero(as_tuple=True)
    within = of[1:] == of[:-1]
    lengths = (times[1:] - times[:-1])[within].double()
    return torch.stack([within.sum(dtype=torch.float64), lengths.sum(), lengths.square().sum()])
