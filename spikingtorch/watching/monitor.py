"""SpikeMonitor: how a network fires while it is trained."""

import threading
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.torch_private import (
    OutsideTransforms,
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
)
from spikingtorch.functional.core.undo import run_or_undo
from spikingtorch.layers.base import Memory
from spikingtorch.layers.checkpoint import backward_pass
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.frame import Frame
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.fires import fires
from spikingtorch.watching.network import Network, check_network

# intervals are looked at in one sequence of so many, and in so many of its samples
EVERY, SAMPLES = 32, 4
# the step at which a neuron spiked last that is not known to have spiked
_NEVER = -(2**62)
# steps of a neuron that surely fit into 32 bits, with a call more
_MANY = 2**30
# what a time loop has given out, what it has counted, and whether this includes what was counted before
_Loop: TypeAlias = tuple[Tensor, Tensor, bool]


class SpikeMonitor:
    """Watches how the spiking layers of a network fire, over as many calls as it is open for.

        with SpikeMonitor(model) as monitor:
            for epoch in range(10):
                train(model)
                print(monitor.metrics())        or log them: any logger that takes a dict
                monitor.reset()

    The spikes of each neuron are counted on the device, by the compiled time loop where there is one: nothing that the
    network computes changes, it folds as before, and no number leaves the device before ``metrics`` asks. Watched is
    each layer whose step fires, that is compares or rounds what it computes of its input, and not a readout, a synapse
    or a delay; one of which that cannot be found out is watched. Calls within ``torch.compile`` are not counted. A call
    is counted when it ends, and not at all if it fails.

    Args:
        model: the network.
        every: intervals between two spikes of a neuron are looked at in one sequence of so many, in four of its
            samples, for that takes longer. A sequence may be one of several calls, with ``init=False``; of many calls,
            so many on end are looked at, in one stretch of so many.

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
        self._model, self._every = model, every
        self._names = {
            layer: path for path, layer in model.net.named_modules() if isinstance(layer, StepLayer) and fires(layer)
        }
        self._here = _Here()
        self._lock = Lock()
        self._open: set[int] = set()  # threads with a call that is running
        self.reset()

    def reset(self) -> None:
        """Forget what was counted, at the end of an epoch for instance; a call that is running counts after it."""
        with self._lock:
            # by layer; replaced when a call ends, and never written on, so that another thread may read them
            self._counts: dict[str, _Counts] = {}
            # memory of counts that nobody reads any more: fresh memory takes the system a while
            self._spare: dict[str, Tensor] = {}
            # the sequence that was begun last, and how many calls of it have been counted
            self._at = 0, 0

    def __enter__(self) -> "SpikeMonitor":
        before = [(layer, layer._monitor) for layer in self._names]
        if any(monitor not in (None, self) for _, monitor in before):
            raise RuntimeError("SpikeMonitor: another monitor is open on this network; leave it first")

        def undo() -> None:
            for layer, monitor in before:
                layer._monitor = monitor

        self._model.alone(partial(self._watch, self), undo)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model.alone(partial(self._watch, None), partial(self._watch, None))

    def _watch(self, monitor: "SpikeMonitor | None") -> None:
        for layer in self._names:
            layer._monitor = monitor

    def begin(self, init: Any) -> None:
        """Note that a call of a network begins in this thread, with its init; None for a layer by itself."""
        here = self._here
        here.depth += 1
        if here.depth > 1:
            return
        with self._lock:
            self._open.add(threading.get_ident())
            here.before, here.counts = self._counts, {}
            sequence, calls = self._at
        if calls and init is True:
            sequence, calls = sequence + 1, 0
        here.at, every = None if init is None else (sequence, calls), self._every
        here.looks = init is not None and sequence % every == 0 and calls // every % every == 0

    def here(self) -> tuple[int, int, dict[str, "_Counts"], dict[str, "_Counts"]]:
        """Return how far the calls of this thread are, before another one begins."""
        here = self._here
        return threading.get_ident(), here.depth, here.before, here.counts

    def leave(self, before: tuple[int, int, dict[str, "_Counts"], dict[str, "_Counts"]]) -> None:
        """Go back to where this thread was: the call that has begun since counts for nothing."""
        here = self._here
        thread, depth, counted, counts = before
        if thread != threading.get_ident():  # of one that a forked child does not have, there is nothing left
            return
        here.depth, here.before, here.counts = depth, counted, counts
        here.loop = None
        if not here.depth:
            self._open.discard(threading.get_ident())

    def mark(self) -> dict[str, "_Counts"]:
        """Return what the call that runs in this thread has come to."""
        return {**self._here.counts}

    def rewind(self, mark: dict[str, "_Counts"]) -> None:
        """Forget what it has counted after a mark."""
        self._here.counts = mark

    def end(self) -> None:
        """Count what a call has given out that ends now, unless it is part of another one."""
        here = self._here
        if here.depth == 1:
            with self._lock:
                self._open.discard(threading.get_ident())
                if here.counts:
                    self._keep(here)
            here.before, here.counts = {}, {}
        here.depth -= 1

    def counts_of(self, layer: Any) -> list[Tensor] | None:
        """Return what the time loop of a layer goes on counting from, if there is anything; None if it is not to count.

        That is so where a backward pass repeats a call, and where something compiles it.
        """
        if torch.compiler.is_compiling() or backward_pass() != -1:
            return None
        here, path = self._here, self._names[layer]
        known = here.counts.get(path) or here.before.get(path)
        if known is None or known.fired is None or known.called > _MANY:
            return []
        spare = self._spare.pop(path, None)
        return [known.fired] if spare is None else [known.fired, spare]

    def counted(self, output: Tensor, fired: Tensor, added: bool) -> None:
        """Take what a time loop has counted for the call that ends now.

        Args:
            output: what the layer gives out.
            fired: at how many steps each neuron fired, (N, ...).
            added: whether that includes what it went on from.
        """
        self._here.loop = output, fired, added

    def note(self, layer: Any, output: Any, init: Any, frame: Frame | None, before: Memory | None) -> None:
        """Count what a layer has given out.

        Args:
            layer: which.
            output: at one step, (N, ...), or at all steps of a fold, (N T, ...).
            init: what it was handed; None if that is the network's.
            frame: of the call of the network; None for a layer by itself.
            before: what the layer remembered before the call.

        Raises:
            RuntimeError: the layer runs inside ``vmap``.
            ValueError: it has another number of neurons than before.
        """
        if torch.compiler.is_compiling():
            return
        here, path = self._here, self._names[layer]
        if not here.depth:  # outside of a network
            run_or_undo(partial(self._note_alone, layer, output, init, frame, before), partial(self.leave, self.here()))
            return
        fold: FoldToken | None = None if frame is None else frame.fold
        loop, here.loop = here.loop, None
        if loop is None or loop[0] is not output:
            loop = None
            if backward_pass() != -1 or not isinstance(output, Tensor):
                return  # a backward pass repeats what was counted
        elif loop[2] and fold is not None and not here.looks:  # nearly every call of most networks
            known = here.counts.get(path) or here.before[path]
            steps, called = known.steps + fold.N * fold.T, known.called + fold.T
            here.counts[path] = _Counts(known.neurons, steps, known.spikes, loop[1], called, known.intervals)
            return
        if output.numel():  # without samples, or neurons, there is no share that fires
            self._look_at(layer, _plain(path, output), init, frame, before, loop)

    def _note_alone(self, *what: Any) -> None:
        """Count what a layer has given out by itself."""
        self.begin(None)
        self.note(*what)
        self.end()

    def _look_at(
        self, layer: Any, out: Tensor, init: Any, frame: Frame | None, before: Memory | None, loop: "_Loop | None"
    ) -> None:
        """Count what ``note`` is told of a layer, by its time loop if that has counted, else here."""
        here, path, N, T, running = self._here, self._names[layer], out.shape[0], 1, None
        if frame is not None and frame.fold is None:
            running, init = frame.running, frame.init if init is None else init
        elif frame is not None:
            fold = frame.fold
            N, T, running, init = fold.N, fold.T, fold.running, fold.init
        known, neurons = here.counts.get(path) or here.before.get(path, _NOTHING), out.numel() // (N * T)
        if known.neurons not in (0, neurons):
            raise ValueError(
                f"SpikeMonitor: layer {path} has {neurons} neurons now, and had {known.neurons}; call reset() between "
                "them"
            )
        with OutsideTransforms():
            steps = known.steps + (N * T if running is None else _plain(path, running).sum())
            if loop is None:  # any number but zero is a spike
                known = known.plus((out != 0).sum(0, dtype=torch.int32).flatten())
            elif loop[2]:
                known = known._replace(fired=loop[1], called=known.called + T)
            else:
                known = known.summed()._replace(fired=loop[1], called=T)
            intervals = known.intervals
            if here.looks:
                goes_on = isinstance(init, Tensor) or not init
                last = before.spiked if goes_on and before is not None else None
                found, last = _intervals(out.reshape(N, T, -1)[:SAMPLES], running, init, last)
                intervals = found if intervals is None else intervals + found
                if (memory := layer._remembered()) is not None:
                    layer._finish(memory._replace(spiked=last))
        here.counts[path] = known._replace(neurons=neurons, steps=steps, intervals=intervals)

    def metrics(self) -> dict[str, float]:
        """Return what was counted since the start or the last ``reset``, a flat dict for any logger.

        Returns:
            For each layer, ``"layer/rate"``, the share of neurons and steps with a spike; ``"layer/silent"``, the share
            of neurons that never fired; ``"layer/saturated"``, of those that always did; ``"layer/interval"``, the mean
            number of steps between two spikes of a neuron in a sequence; ``"layer/interval_cv"``, the standard
            deviation of it over the mean. A layer that was not called, or with no samples alone, has no entries, and
            one whose neurons have not fired twice no intervals.
        """
        with self._lock:
            counts = self._counts
            return {
                f"{path}/{name}": value
                for path in self._names.values()
                if path in counts
                for name, value in counts[path].metrics().items()
            }

    def _keep(self, here: "_Here") -> None:
        """Keep what the call that runs in this thread has come to."""
        before, now = here.before, self._counts
        if now is not before:  # meanwhile another thread has counted, or called reset()
            self._counts = now | {
                path: _rest(now.get(path, _NOTHING), each, before.get(path, _NOTHING))
                for path, each in here.counts.items()
            }
            return
        self._counts = {**before, **here.counts}
        if here.at is not None:
            self._at = here.at[0], here.at[1] + 1
        if not self._open:  # no other call goes on from what this one has
            for path, each in here.counts.items():
                if (old := before.get(path)) is not None and old.fired is not None and old.fired is not each.fired:
                    self._spare[path] = old.fired


class _Here(threading.local):
    """What runs in a thread.

    Attributes:
        depth: how many calls of networks, one within the other.
        before: what had been counted when the outermost of them began.
        counts: by layer, what it has come to since.
        loop: what the time loop has done that ran last.
        at: the sequence that the call belongs to, and which of its calls it is; None for a layer by itself.
        looks: whether it looks at intervals.
    """

    depth, looks = 0, False
    at: tuple[int, int] | None = None
    loop: _Loop | None = None

    def __init__(self) -> None:
        self.before: dict[str, _Counts] = {}
        self.counts: dict[str, _Counts] = {}


class _Counts(NamedTuple):
    """The spikes of one layer.

    Attributes:
        neurons: their number.
        steps: number of steps, in all samples.
        spikes: at how many steps each neuron fired, in all samples, but for ``fired``; None for never.
        fired: at how many steps each neuron of each sample fired, (N, ...), in the calls whose time loops counted.
        called: how many steps a sample had in these.
        intervals: number, sum and sum of squares of the intervals; None if nobody looked.
    """

    neurons: int = 0
    steps: Tensor | int = 0
    spikes: Tensor | None = None
    fired: Tensor | None = None
    called: int = 0
    intervals: Tensor | None = None

    def plus(self, spikes: Tensor | None) -> "_Counts":
        """Return the counts with spikes of neurons added."""
        if spikes is None:
            return self
        return self._replace(spikes=spikes.long() if self.spikes is None else self.spikes + spikes)

    def summed(self) -> "_Counts":
        """Return the same counts, all of them by neuron alone."""
        fired = None if self.fired is None else self.fired.sum(0).flatten()
        return self.plus(fired)._replace(fired=None, called=0)

    def metrics(self) -> dict[str, float]:
        """Return the numbers of the layer by name."""
        steps, spikes = float(self.steps), self.summed().spikes
        assert spikes is not None, "there is a call"
        found = {
            "rate": float(spikes.double().mean()) / steps,
            "silent": float((spikes == 0).double().mean()),
            "saturated": float((spikes >= steps).double().mean()),
        }
        if self.intervals is None:
            return found
        number, total, squares = self.intervals.tolist()
        if number:
            mean = total / number
            found |= {"interval": mean, "interval_cv": max(squares / number - mean**2, 0.0) ** 0.5 / mean}
        return found


_NOTHING = _Counts()


def _rest(now: "_Counts", all_of_it: "_Counts", before: "_Counts") -> "_Counts":
    """Return counts, and with them those of a call: what it has come to, without what it started from."""
    own, known = all_of_it.summed(), before.summed()
    found = now.plus(own.spikes).plus(None if known.spikes is None else -known.spikes)
    intervals = [now.intervals, own.intervals, None if known.intervals is None else -known.intervals]
    some = [each for each in intervals if each is not None]
    return found._replace(
        neurons=own.neurons,
        steps=now.steps + own.steps - known.steps,
        intervals=torch.stack(some).sum(0) if some else None,
    )


def _plain(path: str, x: Tensor) -> Tensor:
    """Return a tensor as it is outside of any ``torch.func`` transform; RuntimeError for that of ``vmap``."""
    while is_functorch_wrapped_tensor(x):
        if is_batchedtensor(x):
            raise RuntimeError(
                f"SpikeMonitor: layer {path} runs inside torch.func.vmap, where spikes cannot be counted; call the "
                "network with a batch, or leave the monitor before vmap"
            )
        x = get_unwrapped(x)
    return x


def _intervals(out: Tensor, running: Tensor | None, init: Any, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return number, sum and sum of squares of the steps between two spikes of a neuron, and when each spiked last.

    Args:
        out: outputs of some steps, (S, T, M), the first of them step 1.
        running: which steps of the samples, and of others behind them, are no padding, (N, T) or (N,) for one step;
            None if all are.
        init: of the first step.
        last: the step at which each neuron spiked last, (S, M): 0 is the step before these; None if none is known.

    Returns:
        The three numbers, and last for the steps to come.
    """
    S, T, M = out.shape
    if last is None:
        last = out.new_full((S, M), _NEVER, dtype=torch.int64)
    elif isinstance(init, Tensor):
        last = last.masked_fill(init.reshape(-1, 1)[:S], _NEVER)
    # the step of the last spike comes first, in the place of step 0
    spikes = torch.cat([(last != _NEVER).unsqueeze(2), (out != 0).transpose(1, 2)], 2)
    of, times = spikes.view(S * M, T + 1).nonzero(as_tuple=True)
    times = torch.where(times == 0, last.flatten()[of], times)
    ends = of.diff(append=of.new_full((1,), -1)) != 0
    lengths = times.diff()[~ends[:-1]].double()
    numbers = torch.stack([lengths.new_full((), len(lengths)), lengths.sum(), lengths.square().sum()])
    steps = T if running is None else running[:S].reshape(S, T).sum(1)[of[ends] // M]
    after = last.new_full((S * M,), _NEVER).index_put_((of[ends],), times[ends] - steps)
    return numbers, after.view(S, M)
