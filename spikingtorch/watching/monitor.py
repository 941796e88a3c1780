"""SpikeMonitor: how a network fires while it is trained."""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.checkpoint import backward_pass
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.network import Network, check_network

# intervals are looked at in one call of so many, and in so many of its samples
EVERY, SAMPLES = 32, 4
# the neurons whose output is the value of their surrogate, by their steps
_FIRING_STEPS = (
    *(F.if_step, F.lif_step, F.euler_lif_step, F.alif_step, F.adex_step, F.quadratic_if_step, F.exponential_if_step),
    *(F.izhikevich_step, F.cuba_lif_step, F.alpha_lif_step, F.biolif_step, F.coarse_lif_step, F.mcpitts_step),
    *(F.spiking_decay_step, F.resonate_and_fire_step, F.balanced_resonate_and_fire_step),
)


class SpikeMonitor:
    """Watches how the spiking layers of a network fire, over as many calls as it is open for.

        with SpikeMonitor(model) as monitor:
            for epoch in range(10):
                train(model)
                print(monitor.metrics())        or log them: any logger that takes a dict
                monitor.reset()

    The spikes of each neuron are added up, on the device, after each layer: nothing that the network computes changes,
    it folds as before, and no number leaves the device before ``metrics`` asks. Layers that do not fire, a readout for
    instance, are not watched.

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
        self._binary = {path for path, layer in self._layers.items() if _is_binary(layer)}
        self._names = {layer: path for path, layer in self._layers.items()}
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

    def note(self, layer: Any, output: Any, fold: FoldToken | None) -> None:
        """Count what a layer has given out: at one step, (N, ...), or at all steps of a fold, (N T, ...)."""
        if torch.compiler.is_compiling() or backward_pass() != -1 or not isinstance(output, Tensor):
            return  # a backward pass repeats what was counted
        out = output.detach()
        N, T = (out.shape[0], 1) if fold is None else (fold.N, fold.T)
        running = None if fold is None or fold.running is None else fold.running.sum()
        path = self._names[layer]
        try:
            self._counts[path].add(out, N, T, running, self._every, path in self._binary)
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
        self._calls = 0
        self._spikes: Tensor | None = None
        self._steps: Tensor | int = 0
        # number, sum and sum of squares of the intervals
        self._intervals: Tensor | None = None

    def add(self, out: Tensor, N: int, T: int, running: Tensor | None, every: int, binary: bool) -> None:
        """Add a call.

        Args:
            out: what the layer gave out, (N T, ...).
            N: number of samples.
            T: number of steps.
            running: how many steps of samples were no padding; None if all.
            every: intervals are looked at in one call of so many.
            binary: whether out holds nothing but 0 and 1.

        Raises:
            ValueError: the layer has another number of neurons than before.
        """
        # any number but zero is a spike; a comparison in place makes no bools, which would take longer
        fired = (out if binary else out.clone().ne_(0)).reshape(N * T, -1)
        # exact: a call has less than 2^24 steps of samples
        spikes = fired.sum(0, dtype=torch.promote_types(fired.dtype, torch.float32))
        if self._spikes is not None and self._spikes.shape != spikes.shape:
            raise ValueError(f"has {spikes.numel()} neurons now, and had {self._spikes.numel()}")
        self._spikes = spikes.double() if self._spikes is None else self._spikes + spikes
        self._steps = self._steps + (N * T if running is None else running)
        if T > 1 and self._calls % every == 0:
            found = _intervals(fired.view(N, T, -1)[:SAMPLES])
            self._intervals = found if self._intervals is None else self._intervals + found
        self._calls += 1

    def metrics(self) -> dict[str, float]:
        """Return the numbers of the layer by name."""
        if self._spikes is None:
            return {}
        steps = float(self._steps)
        found = {
            "rate": float(self._spikes.mean()) / steps,
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


def _is_binary(layer: StepLayer) -> bool:
    """Say whether a layer is known to give out 0 and 1 alone: a neuron of this library with a plain surrogate."""
    surrogate: Any = getattr(layer, "surrogate", None)
    plain = type(surrogate).__module__.startswith(f"{F.__name__}.") and not hasattr(surrogate, "fire")
    return plain and layer.step in _FIRING_STEPS


def _intervals(fired: Tensor) -> Tensor:
    """Return number, sum and sum of squares of the steps between two spikes of a neuron, for spikes (N, T, M)."""
    N, T, M = fired.shape
    of, times = fired.transpose(1, 2).reshape(N * M, T).nonzero(as_tuple=True)
    within = of[1:] == of[:-1]
    lengths = (times[1:] - times[:-1])[within].double()
    return torch.stack([within.sum(dtype=torch.float64), lengths.sum(), lengths.square().sum()])
