"""SpikeMonitor: watch how a network fires while it is trained."""

import threading
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.modes import HOST
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
from spikingtorch.watching.processes import summed

# intervals are measured in one of this many sequences, and in this many of its samples
EVERY, SAMPLES = 32, 4
# the last spike of a neuron that is not known to have spiked
_NEVER = -(2**62)
# a number of steps of a neuron that fits into 32 bits, with one more call
_MANY = 2**30
# the outputs of a time loop, its counts, and whether they include the earlier counts
_Loop: TypeAlias = tuple[Tensor, Tensor, bool]


class SpikeMonitor:
    """Watch how the spiking layers of a network fire, over all calls while it is open.

    Call ``metrics`` at the end of an epoch, hand the dict to any logger, and call ``reset`` before the next one.

    The spikes of each neuron are counted on the device, by the compiled time loop if there is one. The results of the
    network do not change, it folds as before, and no number leaves the device before ``metrics`` is called. Each layer
    whose step fires is watched: the step compares or rounds a value that depends on its input. A readout, a synapse or
    a delay is not watched. A layer is also watched if this cannot be found out. Calls within ``torch.compile`` are not
    counted. A call is counted when it ends. A call that fails is not counted.

    Args:
        model: the network.
        every: intervals between two spikes of a neuron are measured in one of ``every`` sequences, in four of its
            samples, because this takes longer. A sequence may consist of several calls, with ``init=False``. In a long
            one, ``every`` calls in a row are measured, once in ``every`` such stretches.

    Raises:
        TypeError: model is not a SpikingNet.
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
        self._open: set[int] = set()  # threads with a running call
        self.reset()

    def reset(self) -> None:
        """Forget the counts, for instance at the end of an epoch; a running call counts afterwards."""
        with self._lock:
            # by layer; replaced when a call ends, and never written to, so that another thread may read them
            self._counts: dict[str, _Counts] = {}
            # memory of unused counts, because new memory costs the system time
            self._spare: dict[str, Tensor] = {}
            # the last sequence, and the number of its calls that have been counted
            self._at = 0, 0

    def __enter__(self) -> "SpikeMonitor":
        before = [(layer, layer._cell.monitor) for layer in self._names]
        if any(monitor not in (None, self) for _, monitor in before):
            raise RuntimeError("SpikeMonitor: another monitor is open on this network; leave it first")

        def undo() -> None:
            for layer, monitor in before:
                layer._cell.monitor = monitor

        self._model.alone(partial(self._watch, self), undo)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model.alone(partial(self._watch, None), partial(self._watch, None))

    def _watch(self, monitor: "SpikeMonitor | None") -> None:
        for layer in self._names:
            layer._cell.monitor = monitor

    def begin(self, init: Any) -> None:
        """Record that a call of a network begins in this thread, with its init; None for a single layer."""
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
        """Return a mark of this thread's calls, before another one begins."""
        here = self._here
        return threading.get_ident(), here.depth, here.before, here.counts

    def leave(self, before: tuple[int, int, dict[str, "_Counts"], dict[str, "_Counts"]]) -> None:
        """Go back to a mark of this thread: the call that has begun since is not counted."""
        here = self._here
        thread, depth, counted, counts = before
        if thread != threading.get_ident():  # a forked child has no record of another thread's call
            return
        here.depth, here.before, here.counts = depth, counted, counts
        here.loop = None
        if not here.depth:
            self._open.discard(threading.get_ident())

    def mark(self) -> dict[str, "_Counts"]:
        """Return the counts of this thread's running call."""
        return {**self._here.counts}

    def rewind(self, mark: dict[str, "_Counts"]) -> None:
        """Forget the counts after a mark."""
        self._here.counts = mark

    def end(self) -> None:
        """Count the outputs of a call that ends now, unless it is part of another call."""
        here = self._here
        if here.depth == 1:
            with self._lock:
                self._open.discard(threading.get_ident())
                if here.counts:
                    self._keep(here)
            here.before, here.counts = {}, {}
        here.depth -= 1

    def counts_of(self, layer: Any) -> list[Tensor] | None:
        """Return the counts that the time loop of a layer continues, if there are any; None if it must not count.

        It must not count if a backward pass repeats a call, or if the call is compiled.
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
        """Take the counts of a time loop for the call that ends now, and its outputs.

        ``fired`` has the number of steps at which each neuron fired, (N, ...), with ``added`` also those before.
        """
        self._here.loop = output, fired, added

    def note(self, layer: Any, output: Any, init: Any, frame: Frame | None, before: Memory | None) -> None:
        """Count the outputs of a layer.

        Args:
            layer: which.
            output: at one step, (N, ...), or at all steps of a fold, (N T, ...).
            init: its own init; None if it is the network's init.
            frame: of the call of the network; None for a single layer.
            before: the memory of the layer before the call.

        Raises:
            RuntimeError: the layer runs inside ``vmap``.
            ValueError: the layer has another number of neurons than before.
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
                return  # a backward pass repeats a counted call
        elif loop[2] and fold is not None and not here.looks:  # nearly every call of most networks
            known = here.counts.get(path) or here.before[path]
            steps, called = known.steps + fold.N * fold.T, known.called + fold.T
            here.counts[path] = _Counts(known.neurons, steps, known.spikes, loop[1], called, known.intervals)
            return
        if output.numel():  # without samples or neurons, no share of them can fire
            self._look_at(layer, _plain(path, output), init, frame, before, loop)

    def _note_alone(self, *what: Any) -> None:
        """Count the outputs of a single layer."""
        self.begin(None)
        self.note(*what)
        self.end()

    def _look_at(
        self, layer: Any, out: Tensor, init: Any, frame: Frame | None, before: Memory | None, loop: "_Loop | None"
    ) -> None:
        """Count the outputs that ``note`` gets, by the time loop if it has counted, else here."""
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
            if loop is None:  # any nonzero number is a spike
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

    def metrics(self, group: Any = None) -> dict[str, float]:
        """Return the counts since the start or the last ``reset``, as a flat dict for any logger.

        Args:
            group: by default, the counts are those of this process. With a process group of ``torch.distributed``, such
                as ``torch.distributed.group.WORLD``, they are those of all its processes, which have the same neurons
                and other samples. All of them call it, also one that has had no samples.

        Returns:
            Each layer has these entries:

            - ``"layer/rate"``: the share of neurons and steps with a spike.
            - ``"layer/silent"``: the share of neurons that never fired.
            - ``"layer/saturated"``: the share of neurons that always fired.
            - ``"layer/interval"``: the mean number of steps between two spikes of a neuron in a sequence.
            - ``"layer/interval_cv"``: the standard deviation of that number, divided by the mean.

            A layer that was not called, or only without samples, has no entries. A layer whose neurons have not fired
            twice has no intervals.

        Raises:
            ValueError: a layer has another number of neurons on another process.
        """
        with self._lock:
            counts = self._counts
        if group is not None:
            weight = next(self._model.net.parameters(), None)
            rows = {path: each.row() for path, each in counts.items()}
            found = summed("SpikeMonitor", group, rows, HOST if weight is None else weight.device)
            counts = {path: _Counts.of_row(row) for path, row in found.items()}
        return {
            f"{path}/{name}": value
            for path in self._names.values()
            if path in counts
            for name, value in counts[path].metrics().items()
        }

    def _keep(self, here: "_Here") -> None:
        """Store the counts of this thread's running call."""
        before, now = here.before, self._counts
        if now is not before:  # another thread may have counted, or called reset(), in the meantime
            self._counts = now | {
                path: _rest(now.get(path, _NOTHING), each, before.get(path, _NOTHING))
                for path, each in here.counts.items()
            }
            return
        self._counts = {**before, **here.counts}
        if here.at is not None:
            self._at = here.at[0], here.at[1] + 1
        if not self._open:  # no other call continues the counts of this call
            for path, each in here.counts.items():
                if (old := before.get(path)) is not None and old.fired is not None and old.fired is not each.fired:
                    self._spare[path] = old.fired


class _Here(threading.local):
    """The running calls of a thread.

    Attributes:
        depth: the number of nested calls of networks.
        before: the counts at the beginning of the outermost call.
        counts: the counts since then, by layer.
        loop: the result of the last time loop.
        at: the sequence of the call, and the number of the call in it; None for a single layer.
        looks: whether it measures intervals.
    """

    depth, looks = 0, False
    at: tuple[int, int] | None = None
    loop: _Loop | None = None

    def __init__(self) -> None:
        self.before: dict[str, _Counts] = {}
        self.counts: dict[str, _Counts] = {}


class _Counts(NamedTuple):
    """The spikes of one layer."""

    neurons: int = 0  # their number
    steps: Tensor | int = 0  # number of steps, in all samples
    # the number of steps at which each neuron fired, in all samples, except those in ``fired``; None for never
    spikes: Tensor | None = None
    # the number of steps at which each neuron of each sample fired, (N, ...), in calls whose time loops counted
    fired: Tensor | None = None
    called: int = 0  # the number of steps of a sample in these calls
    intervals: Tensor | None = None  # number, sum and sum of squares of the intervals; None if they were not measured

    def plus(self, spikes: Tensor | None) -> "_Counts":
        """Return the counts plus spikes of neurons."""
        if spikes is None:
            return self
        return self._replace(spikes=spikes.long() if self.spikes is None else self.spikes + spikes)

    def summed(self) -> "_Counts":
        """Return the same counts, summed over samples."""
        fired = None if self.fired is None else self.fired.sum(0).flatten()
        return self.plus(fired)._replace(fired=None, called=0)

    def row(self) -> Tensor:
        """Return the counts as one vector, which can be added to those of other processes."""
        spikes = self.summed().spikes
        assert spikes is not None, "there is a call"
        intervals = spikes.new_zeros(3) if self.intervals is None else self.intervals
        steps = torch.as_tensor(self.steps, device=spikes.device).reshape(1)
        return torch.cat([each.double() for each in (steps, intervals, spikes)])

    @classmethod
    def of_row(cls, row: Tensor) -> "_Counts":
        """Return the counts of a vector."""
        return cls(len(row) - 4, steps=row[0], intervals=row[1:4], spikes=row[4:])

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
    """Return counts plus those of a call: its final counts minus the counts at its start."""
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
    """Return the tensor inside the wrappers of ``torch.func`` transforms; raise RuntimeError for ``vmap``."""
    while is_functorch_wrapped_tensor(x):
        if is_batchedtensor(x):
            raise RuntimeError(
                f"SpikeMonitor: layer {path} runs inside torch.func.vmap, where spikes cannot be counted; call the "
                "network with a batch, or leave the monitor before vmap"
            )
        x = get_unwrapped(x)
    return x


def _intervals(out: Tensor, running: Tensor | None, init: Any, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return number, sum and sum of squares of the steps between two spikes, and the last spike of each neuron.

    Args:
        out: outputs of some steps, (S, T, M), the first of them step 1.
        running: the steps of the samples (and of later samples) that are not padding, (N, T) or (N,) for one step; None
            if all are.
        init: of the first step.
        last: the step of each neuron's last spike, (S, M): 0 is the step before these; None if none is known.

    Returns:
        The three numbers, and ``last`` for the next steps.
    """
    S, T, M = out.shape
    if last is None:
        last = out.new_full((S, M), _NEVER, dtype=torch.int64)
    elif isinstance(init, Tensor):
        last = last.masked_fill(init.reshape(-1, 1)[:S], _NEVER)
    # the step of the last spike stands first, in place of step 0
    spikes = torch.cat([(last != _NEVER).unsqueeze(2), (out != 0).transpose(1, 2)], 2)
    of, times = spikes.view(S * M, T + 1).nonzero(as_tuple=True)
    times = torch.where(times == 0, last.flatten()[of], times)
    ends = of.diff(append=of.new_full((1,), -1)) != 0
    lengths = times.diff()[~ends[:-1]].double()
    numbers = torch.stack([lengths.new_full((), len(lengths)), lengths.sum(), lengths.square().sum()])
    steps = T if running is None else running[:S].reshape(S, T).sum(1)[of[ends] // M]
    after = last.new_full((S * M,), _NEVER).index_put_((of[ends],), times[ends] - steps)
    return numbers, after.view(S, M)
