"""SpikingNet: an ordinary module, run over time."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.axes import samples_first
from spikingtorch.fold.guard import modules_of
from spikingtorch.fold.hooks import only_looking
from spikingtorch.fold.judge import taught_rules
from spikingtorch.fold.policy import FoldPolicy, Mode, Plan, SmallProducts, Version
from spikingtorch.fold.report import Report, report
from spikingtorch.functional.core.freed_memory import NetworkCall
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.core.network_mode import NetworkMode, outside_network_modes
from spikingtorch.functional.core.surroundings import random_state, set_random_state
from spikingtorch.functional.core.torch_private import number_of_function_modes, top_saving_hooks, tracing_state
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.core.undo import raise_interrupt
from spikingtorch.functional.sparse.automatic import Automatic, Note, automatic
from spikingtorch.layers.activity import Activity
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.batch_norm import StatisticsOfSteps, scripted_norm, takes_statistics
from spikingtorch.layers.checkpoint import region, runs_twice
from spikingtorch.layers.fold_token import FoldError, FoldToken, TimeFirst
from spikingtorch.layers.frame import Frame
from spikingtorch.layers.padding import Lengths, check_norms_of_padded, padded, without_padding
from spikingtorch.layers.passed_init import call, pass_init_on
from spikingtorch.layers.split import without_views
from spikingtorch.layers.streams import memories_of, state_of
from spikingtorch.layers.threads import CallLock
from spikingtorch.spikingnet.chunks import Chunk, TimeChunk, chunks
from spikingtorch.spikingnet.errors import misfit, name_layer
from spikingtorch.spikingnet.inputs import (
    check_exporter,
    check_form,
    check_input,
    check_start,
    first_calls_of,
    of_other_libraries,
)
from spikingtorch.spikingnet.options import OPTIONS, EventDriven, Statistics, check_options
from spikingtorch.spikingnet.outputs import check_outputs, joined, unshared
from spikingtorch.spikingnet.parts import Parts, layers_of, monitors_of
from spikingtorch.spikingnet.plan import CallKey, CallPlan, key_of_call, objection
from spikingtorch.spikingnet.recompute import Copies, Start, check_can_recompute, twice
from spikingtorch.spikingnet.trail import Trail

T = TypeVar("T")
# the errors of a network that cannot fold. Not Exception: checkpoint ends its second run with an exception of its own,
# and warnings may be errors
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
_NOTHING = nullcontext()
_TWICE = "SpikingNet: recompute=True has run the steps again for the backward pass"
# ways to run a network besides stepping, which is 0: folded, and folded with batch norm in training by step
_FOLDING, _NORMALISING = 1, 2


class SpikingNet(nn.Module):
    """Run a network over time.

        out[:, t] = net(x[:, t], init)          init is True at t = 0 and False after it

    The network is called once per step, or once for all steps, which is faster. In one call for all steps, the steps
    become one batch of N T samples. ``init`` then tells the spiking layers to split the batch into steps again. Mode
    "auto" does this if it provably makes no difference: a copy of the network runs on a few samples, and each operation
    is checked. ``explain`` reports the result. Dropout draws a mask for each step and sample in both modes; the same
    seed gives different masks in the two.

    Args:
        net: a module whose ``forward(self, x, init)`` takes one step of a batch, (N, ...). It passes ``init`` to each
            of its spiking layers, and returns (N, *Nout), or a tuple, list or dict of such tensors. A layer that is
            called without ``init`` takes the network's, so net may be an ``nn.Sequential``. In an ``nn.Sequential``,
            other modules whose forward takes ``init`` get it as well.
        Nout: shape of the output of one sample at one step: a tuple, or an int for one axis. It is checked. If it is
            left out, the network may return any shape, or a tree of tensors, and Nout gives the shape after a call.
        mode: "auto"; "step", one call of net per step; or "fold", one call for all steps, without a proof.
        time_chunk: number of steps per chunk; the state is carried from chunk to chunk. Without gradients, the memory
            is that of one chunk. "auto": the square root of the number of steps, or more for few neurons: so many that
            a chunk takes longer to run than to begin. The first call begins with the square root, because it does not
            know yet how many neurons there are.
        truncate: with time_chunk, cut the graph between two chunks: truncated back-propagation through time.
        recompute: with time_chunk, keep only the states between chunks for the backward pass, which runs each chunk
            again, the last first. The gradient is the same, to the rounding of sums. The memory is that of one chunk
            and these states, and a call with its backward pass takes about half as long again. Random numbers
            repeat, those of generators that modules hold as well. The modules are, for each second run, as they were:
            running statistics and counters in Python count once. Anything else that ``forward`` changes, such as a
            global variable or a list of a hook, changes twice. If the second run computes other numbers than the first
            one, ``backward`` raises.
        carry_graph: keep the state of the layers attached to its graph when a call ends, so that the next call, with
            ``init=False``, differentiates through it. By default, a call detaches the state.
        statistics: the statistics of batch norm in training. "step": separate for each step, as with one call of net
            per step. "sequence": over batch and time together, as in SpikingJelly's multi-step layers. "sequence" needs
            all steps in one call: in training, a network that cannot fold is then an error.
        fold_rules: the behaviour of operations that mode "auto" does not know, such as ``torch.ops.mylib.smooth`` of
            your own library. "pointwise": each entry is computed from the entries in its place. "rows": each index of
            the first axis is computed separately.
        hooks: "step": hooks of modules are called at each step, so a network with hooks runs step by step. "sequence":
            forward hooks only observe, and a fold calls them once, with all steps: (N T, ...).
        warn_silent: warn, once, if a layer is silent, or fires at every step, in several batches of training.
        event_driven: whether ``nn.Linear``, ``nn.Conv1d``, ``nn.Conv2d`` and their functions skip the zeros of their
            inputs. "auto": if so few inputs are not zero that skipping is faster; results then differ from torch's in
            the last digits. "off": never. "on": wherever kernels exist, faster or not. ``explain`` says which layers
            skip zeros.
        batch_first: False for inputs, outputs and records (T, N, ...), time first. In both orders, ``lengths`` and
            masks of samples are (N,), and the net gets (N, ...).

    Calls from several threads wait for each other. A sequence belongs to the thread that has begun it: while this
    thread lives, a call with ``init=False`` from another thread is an error.

    Raises:
        TypeError: net is no module, its ``forward`` takes no ``init`` and holds no spiking layer, or fold_rules names
            no operation.
        ValueError: there is no such mode or rule, time_chunk is below 1, or truncate or recompute is asked for without
            it.

    >>> from spikingtorch import IF
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.neurons = IF()
    ...     def forward(self, x, init):
    ...         return self.neurons(x, init)
    >>> model = SpikingNet(Net(), (1,))
    >>> model(torch.full((1, 4, 1), 0.6)).flatten()
    tensor([0., 1., 0., 1.])
    """

    def __init__(
        self,
        net: nn.Module,
        Nout: int | Sequence[int] | None = None,
        mode: Mode = "auto",
        time_chunk: TimeChunk = None,
        *,
        truncate: bool = False,
        recompute: bool = False,
        carry_graph: bool = False,
        statistics: Statistics = "step",
        fold_rules: Mapping[Any, Literal["pointwise", "rows"]] | None = None,
        hooks: Literal["step", "sequence"] = "step",
        warn_silent: bool = True,
        event_driven: EventDriven = "auto",
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self._settle(net)
        self.net = net
        self.Nout: Any = None if Nout is None else checks.check_shape("SpikingNet", "Nout", Nout)
        self._finds_Nout = Nout is None
        self.mode: Mode = mode
        self.time_chunk: TimeChunk = time_chunk
        self.truncate = truncate
        self.recompute = recompute
        self.carry_graph = carry_graph
        self.statistics: Statistics = statistics
        self.hooks: Literal["step", "sequence"] = hooks
        self.warn_silent = warn_silent
        self.event_driven: EventDriven = event_driven
        self.batch_first = batch_first
        check_options(vars(self))
        self._skipping: Automatic | None = None
        self._watching: NetworkMode | None = None
        self._policy = FoldPolicy(taught_rules(fold_rules), hooks == "sequence", statistics == "sequence")
        self._activity = Activity()
        self._lock = CallLock()
        # of ``_advance_layers``: the steps whose products are all too small for kernels, by their form
        self._small_steps: dict[Any, SmallProducts] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OPTIONS and "_policy" in self.__dict__:
            check_options({**self.__dict__, name: value})
        super().__setattr__(name, value)
        if name in ("hooks", "statistics") and "_policy" in self.__dict__:
            self._policy = self._policy.anew(self.hooks == "sequence", self.statistics == "sequence")

    def _settle(self, net: nn.Module) -> None:
        """Find out how the current network takes init, and let its modules pass init on."""
        if isinstance(net, SpikingNet):
            raise TypeError(
                "SpikingNet: net is a SpikingNet, which runs over time by itself; call it, or hand its net over"
            )
        modules = modules_of(net) if isinstance(net, nn.Module) else []
        self._takes_init: checks.TakesInit = checks.check_takes_init(net, bool(layers_of(modules)))
        pass_init_on(net)
        self._parts = Parts.of(net, modules)
        self._others = of_other_libraries(net)

    def forward(self, x: Tensor, init: bool | Tensor = True, lengths: Lengths | None = None) -> Any:
        """Run the network over a sequence.

        Args:
            x: floating, shape (N, T, ...), as the encoders return it, or (T, N, ...) with ``batch_first=False``. T is
                at least 1; N may be 0.
            init: True to start a new sequence, False to continue the last one. A bool tensor (N,) is True for samples
                that start a new one.
            lengths: for a padded batch, the number of steps of each sample, (N,), each from 1 to T. After its last
                step, a sample keeps its state, and its outputs are zero. The values of x at padded steps do not matter,
                not even NaN. Batch norm in training takes its statistics over the samples that are still running.

        Returns:
            The output at each step, shape (N, T, *Nout), or (T, N, *Nout). If net returns a tree, a tree of such
            tensors.

        Raises:
            ValueError: x has a wrong rank, no steps, or axes that the network does not take; or it is on another device
                than the network. Or x holds NaN or infinities, which are looked for on the CPU only, because a check is
                cheap there. Or a length is out of range. Or the network returns another shape than Nout. Or a sequence
                is continued inside a ``torch.func`` transform. Or mode is "fold", and the network does something that
                only makes sense one step at a time.
            TypeError: x is not floating, or has another dtype than the network; or the network returns something other
                than tensors.
            RuntimeError: the call continues a sequence that another thread has begun.
        """
        if torch.compiler.is_compiling():
            return self._call(x, init, lengths, None, compiles=True)
        key = key_of_call(self, x, init, lengths)
        if key is not None and (out := self._by_plan(key, x, init)) is not None:
            return out
        return self._named(partial(self._call, x, init, lengths, key), x)

    def _by_plan(self, key: CallKey, x: Tensor, init: Any) -> Tensor | None:
        """Return the outputs of a call by the plan under its key; None if the call has to be decided anew."""
        net: Any = self._modules["net"]  # in a third of the time of ``self.net``
        with self._lock:
            # a call that was interrupted has to be undone first
            known = None if self._lock.has_to_undo else self._policy.known(net)
            plan: CallPlan | None = None if known is None else known.calls.get(key)
            if plan is None:
                return None
            with NetworkCall():
                return self._lock.run_plain(partial(plan.run, self, x, init), torch.is_grad_enabled())

    def _named(self, work: Callable[[], T], x: Tensor) -> T:
        """Return the result of a call on x, one call at a time; an error names the layer and the axes."""
        handled = sys.exception()
        try:
            with NetworkCall():
                return self._lock.run(work)
        except Exception as error:
            raise_interrupt(error, handled)
            name_layer(error, self.net)
            if (found := misfit(error, self.net, x, self.batch_first)) is not None:
                raise found from error
            raise

    def _advance_layers(
        self,
        x: Tensor,
        init: bool | Tensor,
        memories: Mapping[Any, Any],
        advance: Callable[..., Any] | None,
        hides: dict[str, str],
        trail: Trail | None = None,
    ) -> tuple[Any, dict[Any, Any]]:
        """Run one step in which a function advances the layers, for rules of learning; the network keeps its own state.

        Args:
            x: input of one step, shape (N, ...).
            init: as in ``forward``.
            memories: the memories of the layers before the step; those of layers at rest are missing.
            advance: a function of a layer and the arguments of its ``_advance_one``.
            hides: see ``Frame``.
            trail: see ``Frame``.

        Returns:
            The output of the step, and the memories after it.
        """

        def work() -> tuple[Any, dict[Any, Any]]:
            xs, parts = check_form(x.unsqueeze(1), True), self._parts_now(None, False)
            if type(init) is not bool:
                check_start(init, xs)
            check_input(x, parts.weighted, in_eager())
            for layer in parts.layers:
                layer._clamp()
            frame = Frame(parts.layers, parts.places, is_pure=True, eager=in_eager())
            frame.advance, frame.hides, frame.trail = advance, hides, trail
            frame.memories.update(memories)
            self._begin(parts, frame, xs, init)
            form = (x.shape, x.dtype, x.device, torch.is_grad_enabled())
            with frame:
                skipping = self._begin_skipping(parts, frame, self._small_steps.get(form))
                frame.tell(init)
                out = self._first_step(x, init, parts, frame)
            if skipping is not None and not skipping.gains:
                self._small_steps = {form: (parts.weights(), dict(skipping.notes))}
            for monitor in frame.monitors:
                monitor.end()
            return out, frame.memories

        return self._named(work, x.unsqueeze(1))

    def _call(
        self, x: Tensor, init: bool | Tensor, lengths: Lengths | None, key: CallKey | None, compiles: bool = False
    ) -> Any:
        """Decide how to run a call, run it, and make a plan under its key, if it can have one."""
        if compiles or tracing_state() is not None:
            check_exporter(self.mode)
        known = None if compiles or self.mode != "auto" else self._policy.known(self.net)
        x, net = check_form(x, self.batch_first), self.net
        if type(init) is not bool:
            check_start(init, x)
        running, T = None, x.shape[1]
        if lengths is not None:
            check_norms_of_padded(net)
            x, running = without_padding(x, lengths)
        parts, eager = self._parts_now(known, compiles), not compiles and in_eager()
        check_input(x, parts.weighted, eager)
        for layer in parts.layers:
            layer._clamp()
        frame = Frame(parts.layers, parts.places, init is True, self.carry_graph, compiles=compiles, eager=eager)
        if not compiles:
            self._begin(parts, frame, x, init)
        with frame:
            outputs = out = self._run_chunks(x, init, running, parts, frame, known)
        for monitor in frame.monitors:
            monitor.end()
        if frame.activity is not None:
            self._activity.end(net)
        if running is not None:
            out = tree_map(lambda leaf: padded(leaf, running, T), out)
        out = out if self.batch_first else tree_map(lambda leaf: samples_first(leaf, batch_first=False), out)
        out = without_views(self, out)
        frame.commit()
        if not compiles:
            self._policy.decides = objection(self, frame, key is not None, outputs)
            made = None if key is None or self._policy.decides else CallPlan.of(self, x, frame, outputs)
            if made is not None:
                made.version.plan(key, made)
        return out

    def _begin(self, parts: Parts, frame: Frame, x: Tensor, init: bool | Tensor) -> None:
        """Start the monitors and the activity check, and register how to undo the call."""
        frame.monitors = monitors_of(parts.layers)
        self._lock.undo_by(self._policy.forget_change)
        for monitor in frame.monitors:
            self._lock.undo_by(partial(monitor.leave, monitor.here()))
            monitor.begin(init)
        watches = self.warn_silent and self.training and not (frame.is_pure or frame.repeats)
        if watches and self._activity.begin(x):
            frame.activity = self._activity

    def _parts_now(self, known: Version | None, compiles: bool) -> Parts:
        """Return the parts of the current network; if it has changed, find out again how it takes init.

        While torch.compile or torch.export traces the call, nothing may be stored.
        """
        before = self._parts
        if known is not None and before.modules is known.look.modules:
            return before
        parts = Parts.of(self.net)
        if compiles:
            return parts
        if parts.modules != before.modules:  # the network has changed
            self._settle(self.net)
            parts = self._parts
        if known is not None:
            parts = parts._replace(modules=known.look.modules)
        object.__setattr__(self, "_parts", parts)  # not nn.Module's __setattr__, which first checks for a parameter
        return parts

    def _run_chunks(
        self, x: Tensor, init: bool | Tensor, running: Tensor | None, parts: Parts, frame: Frame, known: Version | None
    ) -> Any:
        """Run all steps, chunk by chunk, and return their outputs."""
        if init is not True and checks.functorch_active() and not all(map(frame.memories.get, parts.layers)):
            raise ValueError(
                "SpikingNet: init is not True inside a torch.func transform, where no call leaves a state to go on "
                "from. Give the transform the whole sequence at once, or call spikingtorch.run, which returns the state"
            )
        if not frame.compiles:
            self._policy.note_input(x, init)
        recomputes = self.recompute and torch.is_grad_enabled()
        if recomputes:
            check_can_recompute(self.net, frame.compiles)
            self._note_start(frame, parts)
            init = init.clone() if isinstance(init, Tensor) else init  # the caller may write on it
        outputs: list[Any] = []
        copies = Copies()
        numbers = (lambda: 0) if self.truncate else partial(_numbers, parts, frame)
        for chunk in chunks(x, init, running, self.time_chunk, numbers):
            if outputs and self.truncate:
                frame.detach()
            if chunk.x.shape[1] < x.shape[1] and self._needs_sequence(parts):
                raise ValueError(
                    f"SpikingNet: statistics='sequence' takes the statistics of all steps, and time_chunk="
                    f"{self.time_chunk} runs them in parts. In training, leave out time_chunk, or take "
                    "statistics='step'"
                )
            way = self._choose(chunk, parts, frame, None if outputs else known)
            # the backward pass begins with the last chunk, unless the next call goes on with the graph
            if recomputes and (frame.keeps_graph or not chunk.last):
                outputs.append(self._run_twice(chunk, parts, frame, way, copies))
            else:
                outputs.append(self._run(chunk, parts, frame, way))
        return outputs[0] if len(outputs) == 1 else joined(torch.cat, outputs)

    def _needs_sequence(self, parts: Parts) -> bool:
        """Return True if batch norm may take its statistics over all steps of this call."""
        return self.statistics == "sequence" and (self.net.training or any(map(takes_statistics, parts.modules)))

    def _note_start(self, frame: Frame, parts: Parts) -> None:
        """Note what the layers start from for a checkpoint around this call; in its second run, take it over."""
        here = region()
        if here is None:
            return
        if here.repeats:
            frame.memories = dict(zip(parts.layers, here.next((self, "start")), strict=True))
        else:
            here.note((self, "start"), [frame.memories.get(layer) for layer in parts.layers])

    def _choose(self, chunk: Chunk, parts: Parts, frame: Frame, known: Version | None) -> int:
        """Return how a chunk runs: step by step, folded, or folded with batch norm in training."""
        if self.mode == "fold":
            return _NORMALISING if self.statistics == "step" and self._policy.may_normalise(self.net) else _FOLDING
        if self.mode == "step" or checks.is_traced():
            return 0
        way = self._way(parts.net, chunk.x, chunk.init, known)
        exports = frame.compiles and torch.compiler.is_exporting()
        return 0 if way == _NORMALISING and exports else way

    def _run_twice(self, chunk: Chunk, parts: Parts, frame: Frame, way: int, copies: Copies) -> Any:
        """Run a chunk now, and again in the backward pass, which needs what it computes."""
        start, trail = Start(parts, frame, chunk.x.device, copies, (self, OPTIONS)), Trail()

        def now() -> Any:
            frame.trail = trail
            try:
                outputs = self._run(chunk, parts, frame, way)
                trail.end(parts.layers, frame.memories, outputs)
            finally:
                frame.trail = None
            start.skips_zeros = self._skipping is not None
            return outputs

        def again(x: Tensor) -> Any:
            repeated, notes = start.frame(), self._policy.notes
            repeated.trail = Trail()
            try:
                with NetworkCall(), start.restored(), repeated:
                    outputs = self._run(chunk._replace(x=x), parts, repeated, way)
                    repeated.trail.end(parts.layers, repeated.memories, outputs)
                    trail.check(repeated.trail, self.net, _TWICE)
                    return outputs
            finally:
                self._policy.notes = notes

        return twice(now, lambda x: self._lock.run(partial(again, x)), chunk.x)

    def _run(self, chunk: Chunk, parts: Parts, frame: Frame, way: int) -> Any:
        """Run the steps of one chunk, folded or step by step."""
        if self.mode == "fold":
            try:
                return self._run_folded(chunk, parts, frame, way)
            except FoldError as error:
                raise ValueError(
                    f"SpikingNet: mode='fold' cannot run {type(self.net).__name__} because it {error}. mode='auto' "
                    "runs it step by step"
                ) from error
        if self.mode == "step" or checks.is_traced():
            return self._run_steps(chunk, parts, frame)
        if frame.compiles:
            return self._run_folded(chunk, parts, frame, way) if way else self._run_steps(chunk, parts, frame)
        outputs, failure = self._try_folded(chunk, parts, frame, way) if way else (None, None)
        if not way or failure is not None:
            outputs = self._run_steps(chunk, parts, frame)  # raises the errors that both ways have
        if failure is not None:
            self._policy.revoke(failure)
        self._policy.warn(parts.net)
        return outputs

    def _try_folded(self, chunk: Chunk, parts: Parts, frame: Frame, way: int) -> tuple[Any, Exception | None]:
        """Return the outputs of a folded chunk; or undo it and return the error that it raised."""
        plan, device = (None if frame.repeats else self._policy.plan), chunk.x.device
        # if no call of this form draws random numbers, the random state needs no copy
        drawn = random_state(device) if plan is None or plan.draws else None
        takers: list[Any] = [layer._cell.recorder for layer in parts.layers if layer._cell.recorder is not None]
        takers += [each for each in (*frame.monitors, frame.trail, self._watching) if each is not None]
        marks, handled = [taker.mark() for taker in takers], sys.exception()
        memories, frame.memories = frame.memories, dict(frame.memories)
        try:
            outputs = self._run_folded(chunk, parts, frame, way, plan)
        except _FAILURES as error:
            raise_interrupt(error, handled)
            if self._policy.talks:  # other processes do not know of the error, and do not step
                if isinstance(error, FoldError):
                    raise ValueError(
                        f"SpikingNet: {type(self.net).__name__} {error}, and so cannot run all steps at once. Its "
                        "modules exchange weights with other processes, which do not know of this. Pass mode='step'"
                    ) from error
                raise
            for taker, mark in zip(takers, marks, strict=True):
                taker.rewind(mark)
            frame.memories = memories
            if drawn is not None:
                set_random_state(device, drawn)
            if not self._needs_sequence(parts):
                return None, error
            if isinstance(error, FoldError):
                raise self._sequence_error(str(error)) from error
            raise
        if plan is not None and drawn is not None:
            plan.draws = plan.decision.draws or not all(map(torch.equal, drawn, random_state(device)))
        return outputs, None

    def _way(self, net: nn.Module, x: Tensor, init: bool | Tensor, known: Version | None) -> int:
        """Return how mode "auto" runs the network on x: step by step, folded, or folded with batch norm in training."""
        here = region()
        if here is not None and here.repeats:
            self._policy.plan = None
            way: int = here.next(self)  # checkpoint repeats a call, which must take the same path again
            return way
        folds = self._policy.folds(net, x, init, known)
        way = folds and (_NORMALISING if self._policy.normalises else _FOLDING)
        if here is not None:
            here.note(self, way)
        return way

    # torch.compile calls this while it traces, and takes the answer as a constant; it guards by itself what the network
    # reads. The attribute is that of torch.compiler.assume_constant_result, without importing the compiler
    _way._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def _run_folded(self, chunk: Chunk, parts: Parts, frame: Frame, way: int, plan: Plan | None = None) -> Any:
        """Run all steps of a chunk in one call of the network."""
        x, fold = chunk.x, self._fold_of(chunk, frame)
        norms = self._norms(fold, way, parts.modules)
        hooks = only_looking(parts.modules, fold) if self.hooks == "sequence" else None
        if hooks is not None and not frame.compiles:
            self._lock.undo_by(hooks.put_back)
        skipping = self._begin_skipping(parts, frame, None if plan is None else plan.small)
        try:
            frame.tell(fold, fold=fold)
            if skipping is not None and self.mode == "auto" and self.hooks == "step":
                # only layers see the gradients of spikes: the proof has excluded hooks and kept tensors
                fold.supports = skipping.asks()
            flat = fold.rows(x)
            if norms is None and hooks is None:
                out = self._call_net(flat, fold, parts, frame)
            else:
                with norms or _NOTHING, hooks or _NOTHING:
                    out = self._call_net(flat, fold, parts, frame)
            if fold.refusal is not None:
                raise fold.refusal
            fold.check_saved()
            self._check_output(out, fold.N * fold.T)
            if norms is not None:
                norms.commit()
        except BaseException as error:
            if norms is not None and type(error).__name__ == "_StopRecomputationError":
                norms.commit()  # checkpoint repeats a call only as far as it needs; batch norm counts this part as well
            elif norms is not None:
                norms.undo()
            raise
        finally:
            if fold.supports is not None:
                fold.supports.clear()
        if norms is not None and way == _NORMALISING and not frame.repeats:
            self._policy.note_norms(self.net, norms.met)
        if plan is not None and skipping is not None and not skipping.gains:
            plan.small = parts.weights(), dict(skipping.notes)
        frame.owns = (found := unshared(out, x, frame.eager)) is out
        return tree_map(fold.steps, found)

    def _fold_of(self, chunk: Chunk, frame: Frame) -> FoldToken:
        """Return the init of a chunk that runs in one call of the network."""
        x, init, running, complete, _ = chunk
        detaches_state = complete and not (frame.keeps_graph or frame.compiles)
        exported = frame.compiles and running is None and torch.compiler.is_exporting() and not self.training
        kind, (N, T) = TimeFirst if exported else FoldToken, x.shape[:2]
        return kind(N, T, init, detaches_state, complete, running, frame.eager)

    def _begin_skipping(self, parts: Parts, frame: Frame, small: SmallProducts | None) -> Automatic | None:
        """Start and return the mode that skips zeros in inputs; None if it is off or all layers are too small."""
        if small is not None and self.event_driven == "auto" and small[0] == parts.weights():
            skipping, notes = None, small[1]
        elif frame.skips_zeros is False:
            skipping, notes = None, {}
        else:
            hooks = top_saving_hooks(True) if runs_twice() and region() is None else None
            skipping = automatic(self.event_driven, parts.modules, hooks) if frame.eager else None
            notes = {} if skipping is None else skipping.notes
        if not frame.compiles:
            # not nn.Module's __setattr__, which first checks for a parameter
            object.__setattr__(self, "_skipping", skipping)
            self._policy.notes = notes
        return skipping

    def _norms(self, fold: FoldToken, way: int, modules: list[nn.Module]) -> StatisticsOfSteps | None:
        """Return the mode that takes the statistics of batch norm in a fold, if torch's own would differ."""
        # without normalisation by step, no batch norm is in training, or its statistics are over all steps
        if way != _NORMALISING and (fold.running is None or self.statistics == "step"):
            return None
        if scripted := scripted_norm(self.net):
            fold.refuse(f"holds {scripted}, a scripted batch norm, whose statistics are out of reach")
        return StatisticsOfSteps(fold, modules, merged=way != _NORMALISING)

    def _sequence_error(self, why: str) -> ValueError:
        return ValueError(
            "SpikingNet: statistics='sequence' takes the statistics of batch norm over all steps, in one call, and "
            f"{type(self.net).__name__} runs step by step because it {why}"
        )

    def _run_steps(self, chunk: Chunk, parts: Parts, frame: Frame) -> Any:
        """Run the steps of a chunk, with one call of the network for each step."""
        x, init, running, *_ = chunk
        if x.shape[0] and self._needs_sequence(parts):
            raise self._sequence_error("is traced" if checks.is_traced() else self._policy.objection)
        self._begin_skipping(parts, frame, None)
        if running is not None:
            return joined(torch.stack, self._run_padded_steps(x, init, running, parts, frame))
        first, *others = x.unbind(1)
        frame.tell(init)
        outputs = [self._first_step(first, init, parts, frame)]
        frame.tell(False)
        outputs += [self._call_net(x_t, False, parts, frame) for x_t in others]
        return joined(torch.stack, outputs)

    def _run_padded_steps(
        self, x: Tensor, init: bool | Tensor, running: Tensor, parts: Parts, frame: Frame
    ) -> list[Any]:
        outputs: list[Any] = []
        for x_t, here in zip(x.unbind(1), running.unbind(1), strict=True):
            start, step = (False, self._call_net) if outputs else (init, self._first_step)
            fold = FoldToken(x.shape[0], 1, start, running=here[:, None])
            frame.tell(start, here)
            try:
                with StatisticsOfSteps(fold, parts.modules, merged=True):
                    outputs.append(step(x_t, start, parts, frame))
            except FoldError as error:
                raise ValueError(
                    f"SpikingNet: cannot run {type(self.net).__name__} with lengths: it {error}"
                ) from error
        return outputs

    def _first_step(self, x: Tensor, init: bool | Tensor, parts: Parts, frame: Frame) -> Any:
        looks = self._others and init is not False and not frame.compiles
        with first_calls_of(self._others) if looks else _NOTHING:
            out = self._call_net(x, init, parts, frame)
        self._check_output(out, x.shape[0])
        return out

    def _call_net(self, x: Tensor, init: Any, parts: Parts, frame: Frame) -> Any:
        """Call the network once, on one step or on all steps of a fold."""
        if frame.compiles:
            return call(parts.net, self._takes_init, x, init)
        if self._skipping is None and self._watching is None and not number_of_function_modes():
            return call(parts.net, self._takes_init, x, init)
        with outside_network_modes(), self._skipping or _NOTHING, self._watching or _NOTHING:
            return call(parts.net, self._takes_init, x, init)

    def watched(self, mode: NetworkMode, work: Callable[[], T]) -> T:
        """Return the result of work; meanwhile, a mode sees the functions that the network calls, and no others.

        The mode does not see the functions that proofs and spiking layers call. Unlike hooks, it does not make the
        network step.
        """

        def run() -> T:
            self._watching = mode
            found = work()
            stop()
            return found

        def stop() -> None:
            self._watching = None

        return self.alone(run, stop)

    def alone(self, work: Callable[[], T], undo: Callable[[], object] | None = None) -> T:
        """Return the result of work, while calls of other threads wait; undo it if it raises or is interrupted."""

        def run() -> T:
            self._lock.undo_by(*([] if undo is None else [undo]))
            return work()

        return self._lock.run(run)

    def explain(self, x: Tensor | None = None) -> Report:
        """Report how the network runs, which backend each spiking layer uses, and why.

        Args:
            x: an example input, (N, T, ...), or (T, N, ...) with ``batch_first=False``; if it is left out, the last
                input of a call.

        Raises:
            ValueError: x is left out before the first call.
        """
        if x is not None:
            x = check_form(x, self.batch_first)
            check_input(x, modules_of(self.net))
        notes: dict[int, Note] = {}
        for module in self.modules():  # networks inside this one have their own notes
            notes |= module._policy.notes if isinstance(module, SpikingNet) else {}

        def look() -> Report:
            if x is not None:
                self._policy.note_input(x)
            return report(self._policy, self.net, self.mode, notes, self.batch_first, self.statistics)

        return self._lock.run(look)

    def reset(self) -> None:
        """Forget the state of every spiking layer."""
        for layer in self._layers():
            layer.reset()

    def get_state(self) -> dict[str, Tensor]:
        """Return the state from which the next call with ``init=False`` starts.

        Returns:
            A flat dict of copies, by layer and field: ``{"l1.v": (N, ...), ...}``; with their graph if ``carry_graph``.
            It can be saved, moved, indexed and concatenated along the samples:
            ``{name: each[:4] for name, each in state.items()}``. Empty before the first call; a layer that no call has
            reached has an entry of shape (N, 0).
        """
        return self._lock.run(partial(state_of, self.net, self.carry_graph))

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Let the next call with ``init=False`` continue from a state that ``get_state`` returned.

        Raises:
            TypeError: the state holds other values than tensors.
            ValueError: the state is that of another network: names, shapes or dtypes differ.
        """

        def take() -> None:
            memories = memories_of(self.net, dict(state))
            frame = Frame([*memories], is_pure=True)
            for layer in memories:
                layer._refuse_in_fold("set_state()")
            frame.memories.update(memories)
            frame.commit()

        self._lock.run(take)

    def detach_(self) -> None:
        """Cut the state of every spiking layer from the graph that computed it."""
        for layer in self._layers():
            layer.detach_()

    def _layers(self) -> list[StatefulLayer]:
        return layers_of(modules_of(self.net))

    def _check_output(self, out: Any, N: int) -> None:
        """Raise unless the output has the shape Nout; without Nout, note the shape of the output."""
        check_outputs(out, N, None if self._finds_Nout else self.Nout)
        if self._finds_Nout and not torch.compiler.is_compiling():
            self.Nout = tree_map(lambda leaf: tuple(leaf.shape[1:]), out)

    def extra_repr(self) -> str:
        """Name the output shape and the options that differ from their defaults."""
        chosen = [f"mode={self.mode!r}"] if self.mode != "auto" else []
        chunk = self.time_chunk
        chosen += (
            [] if chunk is None else [f"time_chunk={chunk!r}" if isinstance(chunk, str) else f"time_chunk={chunk}"]
        )
        chosen += [f"event_driven={self.event_driven!r}"] if self.event_driven != "auto" else []
        chosen += [f"{name}=True" for name in ("truncate", "recompute", "carry_graph") if getattr(self, name)]
        chosen += [] if self.batch_first else ["batch_first=False"]
        return ", ".join([f"Nout={self.Nout}", *chosen])


def _numbers(parts: Parts, frame: Frame) -> int:
    """Return how many numbers the states of a sample have, in this call or else in the last one; 0 if unknown."""
    memories = [frame.memories.get(layer) or layer._cell.memory for layer in parts.layers]
    leaves = leaves_of([None if memory is None else memory.state for memory in memories])
    known = all(memories) and all(leaf.ndim and len(leaf) for leaf in leaves)
    return sum(leaf.numel() // len(leaf) for leaf in leaves) if known else 0
