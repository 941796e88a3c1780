"""SpikingNet: an ordinary module, run over time."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.fold.guard import modules_of, parameter_of
from spikingtorch.fold.hooks import only_looking
from spikingtorch.fold.policy import MODES, FoldPolicy, Mode
from spikingtorch.fold.report import Report, report
from spikingtorch.fold.rng import random_state, set_random_state
from spikingtorch.fold.rules import taught_rules
from spikingtorch.layers.activity import Activity
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.batch_norm import StatisticsOfSteps, scripted_norm
from spikingtorch.layers.checkpoint import Recomputation, Repeated, backward_pass, region
from spikingtorch.layers.fold_token import FoldError, FoldToken, participating
from spikingtorch.layers.threads import CallLock

# what a network raises that cannot fold. Not every Exception: checkpoint ends a second run with one of its own, and
# warnings may be errors
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


# how a network runs; stepping is false
_FOLDING, _NORMALISING = 1, 2
Statistics: TypeAlias = Literal["step", "sequence"]


class SpikingNet(nn.Module):
    """Run a network over time.

        out[:, t] = net(x[:, t], init)          init is True at t = 0 and False after it

    The network is called once a step or, which is faster, once for all steps: they become one batch of N T
    samples, and ``init`` tells the spiking layers to take it apart again. In mode "auto" that happens where it is
    proven to make no difference: a copy is run on a few samples, and each operation judged; ``explain`` says what was
    found.
    Dropout draws a mask for each step and sample either way; one seed gives other masks in one way than in the other.

    Args:
        net: a module whose ``forward(self, x, init)`` takes one step of a batch, (N, ...), hands ``init`` to each of
            its spiking layers, and returns (N, *Nout).
        Nout: shape of the output of one sample at one step; a tuple, or an int for one axis.
        mode: "auto"; "step", one call of net a step; or "fold", one call for all steps, whatever the network is.
        time_chunk: run so many steps at a time, the state carried on. Without gradients, memory is that of a chunk.
        truncate: with time_chunk, cut the graph between two chunks: truncated back-propagation through time.
        carry_graph: keep the state of the layers attached to its graph when a call ends, so that the next one, with
            ``init=False``, differentiates through it. By default a call leaves plain numbers behind.
        statistics: what batch norm in training normalises: "step", each step by itself, as one call of net a step does;
            or, with mode="fold", "sequence", batch and time together.
        fold_rules: what mode "auto" is to take for granted of operations that it does not know, such as those of a
            library of your own, ``torch.ops.mylib.smooth``: "pointwise", each entry is computed from the entries in its
            place; or "rows", each index of the first axis by itself.
        hooks: "step", hooks of modules are called at each step, so that a network with hooks steps; or "sequence",
            forward hooks only look, and in a fold are called once, with all steps: (N T, ...).
        warn_silent: warn, once, when a layer has been silent, or has always fired, for several batches of training.

    Calls from several threads wait for each other. A sequence that one thread has begun is continued by that thread: a
    call with ``init=False`` from another one is an error as long as the first lives.

    Raises:
        TypeError: net is no module, its ``forward`` takes no ``init``, or fold_rules names no operation.
        ValueError: there is no such mode or rule, time_chunk is below 1, or truncate is asked for without it.

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
        Nout: int | Sequence[int],
        mode: Mode = "auto",
        time_chunk: int | None = None,
        *,
        truncate: bool = False,
        carry_graph: bool = False,
        statistics: Statistics = "step",
        fold_rules: Mapping[Any, Literal["pointwise", "rows"]] | None = None,
        hooks: Literal["step", "sequence"] = "step",
        warn_silent: bool = True,
    ) -> None:
        super().__init__()
        checks.check_takes_init(net)
        if mode not in MODES:
            raise ValueError(f"SpikingNet: mode={mode!r} is not one of {', '.join(map(repr, MODES))}")
        if time_chunk is not None:
            time_chunk = checks.check_count("SpikingNet", "time_chunk", time_chunk)
        elif truncate:
            raise ValueError(
                "SpikingNet: truncate=True cuts the graph between chunks; say how long one is, with time_chunk=K"
            )
        for name, value in (("statistics", statistics), ("hooks", hooks)):
            if value not in ("step", "sequence"):
                raise ValueError(f"SpikingNet: {name}={value!r} is not one of 'step', 'sequence'")
        if statistics == "sequence" and mode != "fold":
            raise ValueError(
                f"SpikingNet: statistics='sequence' needs the whole sequence in one call, and mode={mode!r} may run it "
                "step by step; pass mode='fold'"
            )
        self.net = net
        self.Nout = checks.check_shape("SpikingNet", "Nout", Nout)
        self.mode: Mode = mode
        self.time_chunk = time_chunk
        self.truncate = truncate
        self.carry_graph = carry_graph
        self.statistics: Statistics = statistics
        self.hooks: Literal["step", "sequence"] = hooks
        self.warn_silent = warn_silent
        self._policy = FoldPolicy(taught_rules(fold_rules), hooks == "sequence")
        self._activity = Activity()
        self._lock = CallLock()
        self._decisions: Recomputation[int] = Recomputation()

    def forward(self, x: Tensor, init: bool | Tensor = True) -> Tensor:
        """Run the network over a sequence.

        Args:
            x: floating, shape (N, T, ...), as the encoders make it; T is at least 1, N may be 0.
            init: True to start a new sequence, False to go on with the last one, or a bool tensor (N,) of the samples
                that start anew.

        Returns:
            The output at each step, shape (N, T, *Nout).

        Raises:
            ValueError: x has a wrong rank, no steps, NaN or infinities, or lies on another device than the network; the
                network returns another shape than Nout; a stream is to go on inside a ``torch.func`` transform; mode is
                "fold" and the network does what makes sense one step at a time only.
            TypeError: x is not floating, or of another dtype than the network.
            RuntimeError: a stream is to go on that another thread has begun.
        """
        if torch.compiler.is_compiling():
            return self._call(x, init)
        with self._lock:
            return self._call(x, init)

    def _call(self, x: Tensor, init: bool | Tensor) -> Tensor:
        modules = modules_of(self.net)
        self._check_input(x, modules)
        layers = [module for module in modules if isinstance(module, StatefulLayer)]
        before = [layer._memory for layer in layers]
        repeats = backward_pass() != -1
        if repeats:  # checkpoint calls once more, and the layers stay as they are
            for layer in layers:
                layer._repeated = Repeated()
        watches = self.warn_silent and self.training and not repeats and checks.has_values(x)
        watches = watches and self._activity.begin(layers)
        try:
            out = self._forward(x, init, layers)
        except BaseException:
            for layer, memory in zip(layers, before, strict=True):
                layer._memory, layer._activity = memory, None
            raise
        finally:
            for layer in layers if repeats else ():
                layer._repeated = None
        if watches:
            self._activity.end(self.net, layers, stacklevel=6)
        return out

    def _forward(self, x: Tensor, init: bool | Tensor, layers: list[StatefulLayer]) -> Tensor:
        if init is True:
            for layer in layers:  # for one that is not handed init as well
                layer.reset()
        elif checks.functorch_active() and any(layer._memory is None for layer in layers):
            raise ValueError(
                "SpikingNet: init is not True inside a torch.func transform, where no call leaves a state to go on "
                "from. Give the transform the whole sequence at once, or use functional.scan, which returns the state"
            )
        elif not self.carry_graph:
            self.detach_()
        if not torch.compiler.is_compiling():
            self._policy.note_input(x, init)
        outputs: list[Tensor] = []
        for chunk in (x,) if self.time_chunk is None else x.split(self.time_chunk, 1):
            if outputs and self.truncate:
                self.detach_()
            outputs.append(self._run(chunk, False if outputs else init, layers))
        if not self.carry_graph or checks.functorch_active():
            for layer in layers:
                layer._end_of_sequence()
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)

    def _run(self, x: Tensor, init: bool | Tensor, layers: list[StatefulLayer]) -> Tensor:
        """Run the steps of one chunk, in the way that the mode and the network ask for."""
        if self.mode == "fold":
            try:
                return self._run_folded(x, init, layers, self.statistics == "step" and self._policy.may_normalise())
            except FoldError as error:
                raise ValueError(
                    f"SpikingNet: mode='fold' cannot run {type(self.net).__name__} because it {error}. mode='auto' "
                    "runs it step by step"
                ) from error
        if self.mode == "step" or checks.is_traced():
            return self._run_steps(x, init)
        if torch.compiler.is_compiling():
            way = self._way(x, init)
            folds = way == _FOLDING or (way == _NORMALISING and not torch.compiler.is_exporting())
            return self._run_folded(x, init, layers, way == _NORMALISING) if folds else self._run_steps(x, init)
        if way := self._way(x, init):
            memories, drawn = [layer._memory for layer in layers], random_state(x.device)
            try:
                return self._run_folded(x, init, layers, way == _NORMALISING)
            except _FAILURES as error:
                for layer, memory in zip(layers, memories, strict=True):
                    layer._memory = memory
                set_random_state(x.device, drawn)
                outputs = self._run_steps(x, init)  # raises what is wrong either way
                self._policy.revoke(error)
        else:
            outputs = self._run_steps(x, init)
        self._policy.warn(self.net)
        return outputs

    def _way(self, x: Tensor, init: bool | Tensor) -> int:
        """Return how mode "auto" runs the network on x: step by step, folded, or folded with batch norm in training."""
        here = region()
        if here is not None and here.run is not None:
            return self._decisions.next(here)  # checkpoint repeats a call, which has to go the same way again
        way = self._policy.folds(self.net, x, init) and (_NORMALISING if self._policy.normalises else _FOLDING)
        if here is not None:
            self._decisions.note(here, way)
        return way

    # torch.compile asks this while it traces, and takes the answer for granted; it looks by itself at what the network
    # reads. The mark is that of torch.compiler.assume_constant_result, without importing the compiler
    _way._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def _run_folded(self, x: Tensor, init: bool | Tensor, layers: list[StatefulLayer], normalises: bool) -> Tensor:
        N, T = x.shape[:2]
        whole = init is True and self.time_chunk is None and not self.carry_graph and not torch.compiler.is_compiling()
        fold = FoldToken(N, T, init, whole)
        if normalises and (scripted := scripted_norm(self.net)):
            fold.refuse(f"holds {scripted}, a scripted batch norm, whose statistics of each step are out of reach")
        norms = StatisticsOfSteps(fold, modules_of(self.net)) if normalises else None
        hooks = only_looking(modules_of(self.net), fold) if self.hooks == "sequence" else nullcontext()
        try:
            with participating(fold, layers), norms or nullcontext(), hooks:
                out: Tensor = self.net(x.flatten(0, 1), fold)
            if fold.refusal is not None:
                raise fold.refusal
            fold.check_saved()
            self._check_output(out, N * T)
        except BaseException:
            if norms is not None:
                norms.undo()
            raise
        if norms is not None:
            norms.commit()
            self._policy.note_norms(self.net, norms.met)
        # step by step, the output never is a view of the input
        return fold.split(out.clone() if checks.share_memory(out, x) else out)

    def _run_steps(self, x: Tensor, init: bool | Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for x_t in x.unbind(1):
            out = self._first_step(x_t, init) if not outputs else self.net(x_t, False)
            outputs.append(out)
        return torch.stack(outputs, 1)

    def _first_step(self, x: Tensor, init: bool | Tensor) -> Tensor:
        try:
            out: Tensor = self.net(x, init)
        except RuntimeError as error:
            error.add_note(
                f"SpikingNet: raised in the first step, where net saw a batch of shape {tuple(x.shape)}. "
                "SpikingNet takes (N, T, ...); an encoder adds the steps"
            )
            raise
        self._check_output(out, x.shape[0])
        return out

    def explain(self, x: Tensor | None = None) -> Report:
        """Say how the network runs, which backend each spiking layer takes, and why.

        Args:
            x: an input like those to come, (N, T, ...); without it, the last one counts.

        Raises:
            ValueError: x is left out before the first call.
        """
        if x is not None:
            self._check_input(x, modules_of(self.net))
            self._policy.note_input(x)
        return report(self._policy, self.net, self.mode)

    def reset(self) -> None:
        """Forget the state of every spiking layer."""
        for layer in self._layers():
            layer.reset()

    def detach_(self) -> None:
        """Cut the state of every spiking layer from the graph that computed it."""
        for layer in self._layers():
            layer.detach_()

    def _layers(self) -> list[StatefulLayer]:
        return [module for module in modules_of(self.net) if isinstance(module, StatefulLayer)]

    def _check_input(self, x: Tensor, modules: Sequence[nn.Module]) -> None:
        checks.check_floating("SpikingNet", "x", x)
        checks.check_rank("SpikingNet", "x", x, "(N, T, ...): samples, steps, features; an encoder adds the steps", 2)
        if x.shape[1] == 0:
            raise ValueError(f"SpikingNet: x has shape {tuple(x.shape)}, which has no steps; T must be 1 or more")
        checks.check_finite("SpikingNet", "x", x)
        weight = parameter_of(modules)
        if weight is None:
            return
        if x.device != weight.device:
            raise ValueError(
                f"SpikingNet: x is on {x.device}, the network on {weight.device}. Move one of them with .to(device)"
            )
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"SpikingNet: x is {x.dtype}, the network {weight.dtype}. Convert one of them with .to(dtype)"
            )

    def _check_output(self, out: Tensor, N: int) -> None:
        if not isinstance(out, Tensor):
            raise TypeError(f"SpikingNet: net returned a {type(out).__name__}, expected a tensor")
        if out.shape != (N, *self.Nout):
            raise ValueError(
                f"SpikingNet: net returned shape {tuple(out.shape)}, expected (N, *Nout) = {(N, *self.Nout)}. "
                "Change Nout, or flatten what forward returns"
            )

    def extra_repr(self) -> str:
        """Name the output shape and what is not as by default."""
        chosen = [f"mode={self.mode!r}"] if self.mode != "auto" else []
        chosen += [f"time_chunk={self.time_chunk}"] if self.time_chunk is not None else []
        chosen += [f"{name}=True" for name in ("truncate", "carry_graph") if getattr(self, name)]
        return ", ".join([f"Nout={self.Nout}", *chosen])
