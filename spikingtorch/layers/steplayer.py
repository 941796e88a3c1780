"""StepLayer: a pure step as a layer that remembers its state between calls."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.functional import lift, scan, zeros_state
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.network_mode import run_outside
from spikingtorch.functional.core.precision import lifted_dtype, rounded
from spikingtorch.functional.core.surroundings import random_state
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.dispatch.backend import side_effect, without_effects
from spikingtorch.functional.dispatch.folded import FoldedStep
from spikingtorch.functional.recorded import default_of, fields_of, returning
from spikingtorch.functional.recurrent import DelayedRecurrent, DelayedRecurrentState
from spikingtorch.functional.reparametrized import Reparametrized, reparametrized
from spikingtorch.functional.scan import one_step, scan_again
from spikingtorch.functional.support import is_known, support_of, supported
from spikingtorch.layers import split
from spikingtorch.layers.attributes import Attributes, shown
from spikingtorch.layers.base import Memory
from spikingtorch.layers.checkpoint import CheckpointRun, region, runs_twice
from spikingtorch.layers.delayed_recurrence import DelayedRecurrence
from spikingtorch.layers.fold_token import FoldError, FoldToken
from spikingtorch.layers.frame import frame_of, init_and_running
from spikingtorch.layers.limits import THRESHOLD, Mirrored, limits_of
from spikingtorch.layers.options import check_arguments, warn_of_shape, warn_of_tau, warn_of_threshold
from spikingtorch.layers.padding import masked, where_running
from spikingtorch.layers.param_maps import InSteps, rest_in_steps
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.recurrent import Synapse, Weights, check_weight, synapse_of, trained, weight_of
from spikingtorch.layers.reset_value import Valued
from spikingtorch.layers.returns import OF_FIRING, Returns, accepted, check_names, fields, in_order
from spikingtorch.layers.seat import Seat
from spikingtorch.layers.split import without_views
from spikingtorch.layers.threads import this_thread

# a step and its keyword arguments
WholeStep: TypeAlias = tuple[Callable[..., tuple[Any, Any]], dict[str, Any]]
Made = TypeVar("Made")
# the modules whose classes of layers, weights and synapses compute parameters without random numbers
_NEVER_DRAW = ("spikingtorch.", "torch.nn.modules.", "torch.nn.parameter", "builtins")


class StepLayer(Attributes):
    """A step function with its parameters and its state: the base class of every layer, and of your own layers.

    Each call advances one step of time. A call with ``init=True`` starts a new sequence, and so does the first call.
    Inside a ``SpikingNet`` that runs all steps at once, a call advances all of them. The state lives between calls
    only. It is not in ``state_dict``, moves with ``.to()``, and is copied without its graph by ``deepcopy`` and
    ``pickle``.

    Args:
        step: a pure function ``(state, x, **params) -> (state, output)``.
        state_type: NamedTuple of the state's tensors, all zero at rest. For a step in ``F.Refractory`` or
            ``F.RelativeRefractory``, the type of the inner neuron's state.
        learnable: names of the parameters to train, or True for all that are floats or tensors. An ``nn.Parameter`` is
            learnable without being named.
        recurrent: recurrent weights. The layer multiplies its output by them and adds the product to its (first) input
            one step later. They can be ``nn.Linear(M, M, bias=False)``, or ``nn.Conv2d(C, C, k, padding="same",
            bias=False)`` with odd k, or Conv1d or Conv3d. They can also be a tensor that broadcasts to the neurons, for
            instance (C, 1, 1); then each neuron is connected to itself only. They are trained: a tensor becomes an
            ``nn.Parameter``. The layer reads the weight of a module; it does not call the module or its hooks.
        constrain: keep learnable parameters within their limits, for instance a time constant above zero. ``limits`` of
            the class holds them, a dict such as ``{"decay": Limits(least=0.0, most=1.0)}``, from
            ``spikingtorch.layers.limits``. A parameter without an entry has no bounds. "mirror" leaves a
            parameter where an optimizer has moved it, and computes with its mirror image, for instance with |tau|.
        refractory: refractory period after each spike. During it a neuron takes no input, and its state does not
            change. It is in steps, rounded up; with ``dt`` in its unit of time.
        returns: "spikes", the output of the step; or a tuple of names, for instance ("spikes", "v"), and a call returns
            a tuple of these values. Names can be the fields of the state after the step, as in ``layer.state``. If the
            step fires through ``functional.fire``, they can also be "u", the membrane before the reset, and
            "threshold".
        other_names: names of attributes, for messages and the repr.
        **params: keyword arguments of the step. Floats stay floats; tensors (per channel, per neuron) become buffers.
            Each is an attribute of the same name, unless ``attribute_names`` renames it. A reset rule
            ``to_value(v_reset)`` adds the parameter v_reset, which is like any other parameter. ``dt`` is the length of
            a step; the time constants then have the same unit, for instance milliseconds.

    >>> from spikingtorch.functional import LIFState, lif_step
    >>> layer = StepLayer(lif_step, LIFState, decay=0.5, threshold=1.0, learnable="decay")
    >>> layer
    StepLayer(lif_step, decay=0.5 (learnable), threshold=1.0)
    >>> layer(torch.tensor([[0.8, 0.6]]), init=True).tolist(), layer(torch.tensor([[0.8, 0.6]])).tolist()
    ([[0.0, 0.0]], [[1.0, 0.0]])
    """

    # the parameters that are times, in steps or in the unit of dt; None if dt is a parameter of the step
    times: ClassVar[tuple[str, ...] | None] = None
    synapse: Synapse | None
    # whether recurrent weights may have a bias, which the layer then adds to its input by itself
    biased: ClassVar[bool] = False
    # how all steps run, if that is not the scan of the step
    explained: ClassVar[F.Explanation | None] = None
    _outside = staticmethod(run_outside)
    _returns: str | tuple[str, ...] = SPIKES
    _unnamed: tuple[str, int] | None = None  # the argument that a constructor has noted (``options.noting``)

    def __init__(
        self,
        step: Callable[..., tuple[Any, Any]],
        state_type: type[Any],
        *,
        learnable: bool | str | Iterable[str] = (),
        recurrent: Weights | None = None,
        constrain: bool | Literal["mirror"] = True,
        refractory: Tensor | float | None = None,
        returns: Returns = SPIKES,
        other_names: Mapping[str, str] | None = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.step = step
        self.state_type = state_type
        if constrain not in (True, False, "mirror"):
            raise ValueError(f"{type(self).__name__}: constrain={constrain!r}, expected True, False or 'mirror'")
        self.constrain = constrain
        self.recurrent = recurrent
        self.memoryless = getattr(state_type, "_fields", None) == () and recurrent is None and refractory is None
        self._set_up(params, learnable, other_names or {})
        if "tau" in (self.times or ()) and "dt" not in params:
            warn_of_tau(type(self), params.get("tau"))
        threshold = self._attributes.get("threshold", "")
        if getattr(state_type, "_fields", None) and limits_of(type(self).__name__, self.limits, threshold) is THRESHOLD:
            given = (params.get(name, 0.0) for name in ("threshold", "v_rest", "surrogate"))
            warn_of_threshold(type(self).__name__, self._name(threshold), *given)
        if refractory is None:
            object.__setattr__(self, "refractory", None)
        else:
            self._keep("refractory", refractory)
        if self._inherits_params:  # other maps may need attributes that do not exist yet
            handed = [name for name in self.step_params() if name != "v_reset" or not self._sets_value]
            check_arguments(type(self), step, state_type, params, handed)
        if returns != SPIKES:
            self.returns = returns

    @property
    def returns(self) -> Returns:
        """The name or names of the values that a call returns: "spikes", or a tuple of names."""
        return self._returns

    @returns.setter
    def returns(self, returns: Returns) -> None:
        owner = type(self).__name__
        found = accepted(owner, returns)
        if found != SPIKES and self.runs_own_step:
            raise ValueError(
                f"{owner}: returns={returns!r}, but this layer runs its own step, and can only return {SPIKES!r}"
            )
        ours = (type(self).rest_state.__module__, type(self).initial_state.__module__)
        if all(each.startswith("spikingtorch.") for each in ours) and not hasattr(self.step, "at_rest"):
            rests = () if self.refractory is None else F.RefractoryState._fields[1:]
            there = (*getattr(self.state_type, "_fields", ()), *rests)
            check_names(owner, found, (*there, *self._of_firing()))
        self._returns = found

    def _of_firing(self) -> tuple[str, ...]:
        """Return the names of the values that the step reports of its firing."""
        fires = "surrogate" in self._attributes or default_of(self.step, "surrogate") is not None
        return OF_FIRING if fires else ()

    def step_params(self) -> dict[str, Any]:
        """Return the keyword arguments of the step, tensors in float32 at least.

        Override ``param_map`` if they are computed from the stored attributes; override this method if they are
        computed from something else.
        """
        params: dict[str, Any] = self._map(self._stored_params())
        if not isinstance(params, dict):
            raise TypeError(
                f"{type(self).__name__}: param_map returned a {type(params).__name__}, expected a dict of the "
                "arguments of the step"
            )
        return params

    @property
    def _map(self) -> Any:
        times = None if "dt" not in self._attributes else self.times
        found: Any = self.param_map if times is None else InSteps(self.param_map, times)
        stored = self._attributes.items()
        mirrors = tuple([(param, self._mirrors[name]) for param, name in stored if name in self._mirrors])
        return Mirrored(found, mirrors) if mirrors else found

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Compute the keyword arguments of the step from the stored attributes: a pure, elementwise function."""
        return stored

    def whole_step(self) -> WholeStep:
        """Return the step, inside its recurrence if there is one, and its keyword arguments."""
        step: Any = self._valued_step()
        params = self.step_params()
        if self.refractory is not None:
            dt: Any = getattr(self, "dt", 1.0)
            rests: Any = self.refractory
            step, params = cached_step(F.Refractory, step), params | {"refractory": rest_in_steps(rests, dt)}
        if self.synapse is None:
            return step, params
        params = params | {"recurrent_weight": lift(self._recurrent_weight())}
        if isinstance(self.recurrent, DelayedRecurrence):
            return cached_step(DelayedRecurrent, step), params | {"recurrent_spread": self.recurrent.spread()}
        return cached_step(F.Recurrent, step, self.synapse), params

    def _recurrent_weight(self) -> Tensor:
        """Return the recurrent weights."""
        return weight_of(type(self).__name__, self.recurrent, self._recurrent_name, biased=self.biased)

    def _valued_step(self) -> Any:
        return cached_step(Valued, self.step) if self._sets_value else self.step

    def _accepted_recurrent(self, value: Weights | None) -> Weights | None:
        owner = type(self).__name__
        if "memoryless" in self.__dict__ and (value is None) != (self.synapse is None):
            made = "without" if self.synapse is None else "with"
            raise ValueError(
                f"{owner}: it was made {made} recurrent weights, and this cannot change; make another layer"
            )
        self.synapse = None if value is None else self._synapse_of(value)
        if isinstance(value, nn.Module):  # torch refuses a module in the place of a parameter
            self._parameters.pop(self._recurrent_name, None)
        return trained(value)

    def _synapse_of(self, recurrent: Weights) -> Synapse:
        """Check the recurrent weights and return their synapse."""
        return synapse_of(type(self).__name__, recurrent, self._recurrent_name, biased=self.biased)

    def _clamp(self) -> None:
        super()._clamp()
        if isinstance(self.recurrent, DelayedRecurrence):
            self.recurrent.clamp_()

    def side_effect(self) -> str | None:
        """Return a phrase for what the step changes outside of itself, as far as its code shows; else None."""
        return side_effect(self.step)

    def without_effects(self, work: Callable[[], Made]) -> Made:
        """Return the result of work, which runs the step to examine it.

        Raises:
            FoldError: the step changes something outside of it. The change is undone.
        """
        found, effect = without_effects(self.step, work)
        if effect is not None:
            raise FoldError(f"holds a {type(self).__name__}, whose step {effect}")
        return cast(Made, found)

    def initial_state(self, x: Tensor) -> Any:
        """Return the state of the whole step at rest, for an input of one step like x."""
        rest = self.rest_state(x)
        if self.refractory is not None:
            rest = F.RefractoryState(rest, lift(torch.zeros_like(x, requires_grad=False)))
        if isinstance(self.recurrent, DelayedRecurrence):
            return DelayedRecurrentState(rest, F.empty_delay(self.recurrent.longest + 1, x).past)
        return rest if self.synapse is None else F.RecurrentState(rest, lift(torch.zeros_like(x, requires_grad=False)))

    def _at_rest(self, x: Tensor, *, shared: bool = False) -> Memory:
        alone = not self.track_act and self.synapse is None
        if not (shared and alone and checks.has_values(x) and self._rests_at_zero):
            return super()._at_rest(x)
        zero = lift(x.detach().new_zeros(())).expand(x.shape)
        fields: tuple[str, ...] = getattr(self.state_type, "_fields", ())
        return Memory(self.state_type(*[zero for _ in fields]), None, (), thread=this_thread())

    def forward(self, x: Tensor, init: bool | Tensor | None = None) -> Tensor:
        """Advance one step.

        Args:
            x: input, floating, shape (N, ...).
            init: True to start a new sequence, False to continue, or a bool tensor (N,), True for samples that start a
                new one. If it is left out, the layer takes the ``init`` of the ``SpikingNet`` that runs it; outside of
                a SpikingNet, False.

        Returns:
            The output of the step, usually spikes, shape (N, ...); with ``returns`` a tuple of tensors.

        Raises:
            ValueError: the shape, dtype or device of x is not that of the state, and ``init`` is false. Or x holds NaN
                or infinities, which are looked for on the CPU only, because a check is cheap there. Or a parameter does
                not broadcast to x.
            TypeError: x is not floating, its dtype is not that of the parameters, or init is no bool.
        """
        output: Tensor = self._advance(x, init)  # the usual case
        return output

    def _advance(self, inputs: Tensor | tuple[Tensor, ...], init: bool | Tensor | None) -> Any:
        frame = frame_of(self)
        planned = frame is not None and frame.planned and not torch.compiler.is_dynamo_compiling()
        if planned and (seat := self._cell.seat) is not None:
            output = seat.run(self, frame, inputs, init)
            if output is not None:
                return in_order(self._returns, output)
        if not split.is_plain(inputs):
            inputs = split.arrived(inputs)
            if split.is_split(inputs):
                return split.on_shard(self, inputs, partial(self._advance, init=init))
        return in_order(self._returns, self._outside(self._dispatch, inputs, init))

    def _dispatch(self, inputs: Tensor | tuple[Tensor, ...], given: bool | Tensor | None) -> Any:
        """Advance one step, or all steps of a fold if the network folds; monitor and activity check get the output."""
        monitor, frame = self._cell.monitor, frame_of(self)
        before = None if monitor is None else self._remembered()
        init, running = init_and_running(self, frame, given)
        if frame is not None and frame.trail is not None:
            frame.trail.note(self, "inputs", inputs, init.init if isinstance(init, FoldToken) else init)
        if frame is not None and frame.fold is not None:
            output = frame.fold.call(self, inputs, init)
        elif isinstance(init, FoldToken):
            # checkpoint repeats part of a call that is over, with the fold of that call
            if not (init.alone or ((here := region()) is not None and here.repeats)):
                init.refuse(
                    f"holds a {type(self).__name__} that is not among its submodules, so that nothing of it is "
                    "trained, saved or moved to a device",
                    "keep it in an attribute or in an nn.ModuleList",
                )
            output = self._advance_all(inputs, init)
        else:
            if frame is None:  # a network has done so before its first step
                self._clamp()
            other = None if frame is None else frame.advance
            advance = self._advance_one if other is None else partial(other, self)
            output = advance(inputs, False if init is None else init, running)
        if frame is not None and frame.activity is not None:
            frame.activity.note(self, self._spikes(output))
        if frame is not None and frame.trail is not None and not frame.trail.implied.get(self):
            frame.trail.note(self, "outputs", output)
        if monitor is not None:
            monitor.note(self, self._spikes(output), given, frame, before)
        return output

    def _spikes(self, outputs: Any) -> Any:
        """Return the spikes among the outputs of the step; they come first if there are several outputs."""
        return outputs if self._returns == SPIKES else outputs[0]

    def _returning(self) -> WholeStep:
        """Return the whole step and its keyword arguments; its outputs are all that the layer returns."""
        step, params = self.whole_step()
        step = self._with_returns(step)
        if (frame := frame_of(self)) is not None and frame.trail is not None:
            frame.trail.note_step(self, step, params)
        return step, params

    def _with_returns(self, step: Any) -> Any:
        """Return a step whose outputs are all that the layer returns."""
        names = fields(self._returns)
        return step if names is None else cached_step(returning, step, names)

    def _rehearse(self, inputs: Any) -> Any:
        self._cell.seen_shape = leaves_of(inputs)[0].shape[1:]  # of a copy, which does not warn
        return self.without_effects(partial(self._advance_one, inputs, True))

    def _advance_one(
        self, inputs: Tensor | tuple[Tensor, ...], init: bool | Tensor, running: Tensor | None = None
    ) -> Any:
        first = self._check_inputs(inputs)
        memory = self._start(first, init)
        step, params = self._returning()
        starts = self._starts(memory, params, first)
        recorder = self._recorder_here()
        step = step if recorder is None else recorder.around(step, first, 1)
        if running is None:
            state, output = one_step(step, memory.state, inputs, params, check=starts)
            output = output if recorder is None else recorder.take(output, is_step=True)
            shown = self._spikes(output)
        else:
            within, mask = cached_step(masked, step), running.view(-1, *(1,) * (first.ndim - 1))
            state, output = one_step(within, memory.state, (inputs, mask), params, check=starts)
            output = output if recorder is None else recorder.take(output, is_step=True)
            state, shown = where_running(memory, state, self._spikes(output), getattr(state, "s", None), running)
        self._remember(memory, state, shown, self._spikes(output))
        # the caller may write on this copy; the layer keeps the other one, which a gradient may need
        return tree_map(_copied, output)

    def _advance_all(self, inputs: Tensor | tuple[Tensor, ...], fold: FoldToken) -> Any:
        """Advance all steps of a fold, in one scan.

        Inputs and outputs are folded, (N T, ...). An output is contiguous, or channels-last where the input is.
        """
        leaves, size = inputs if isinstance(inputs, tuple) else (inputs,), (fold.N, fold.T)
        self._look_at_arguments(leaves[0])
        tells = self._tells_support(fold, leaves, region())
        # both runs of checkpoint take the same path, and the second one starts from a noted state: no stored scan
        ready = None if tells or runs_twice() else self._ready(fold)
        monitor = self._cell.monitor
        counts = None if monitor is None else monitor.counts_of(self)
        goes_on = ready is not None and fold.init is not True
        states = leaves_of(self._start(leaves[0][: fold.N], fold.init).state) if goes_on else []
        if ready is not None and (found := ready.run(leaves, size, states, counts)) is not None:
            return self._take_over(found, monitor)
        step, params = self._of_all(fold, self._returning)
        self._check_inputs(inputs, looks=False)
        xs = tree_map(fold.split, inputs)
        first = leaves_of(xs)[0].select(fold.dim, 0)
        memory = self._start(first, fold.init, shared=True)
        self._starts(memory, params, first)
        if ready is not None and (found := ready.first(memory.state, inputs, size, goes_on, counts)) is not None:
            return self._take_over(found, monitor)
        recorder = self._recorder_here()
        plain = fold.running is None and recorder is None and not tells
        plain = plain and type(self)._scan is StepLayer._scan
        # the kernel of a scan that has run before checks by itself that its inputs are finite
        again = scan_again(step, memory.state, xs, params, fold.dim) if plain else None
        if again is None:
            self._check_inputs(inputs)
        step = step if recorder is None else recorder.around(step, first, fold.T)
        tells = tells and is_known(step, params)
        step, support = cached_step(supported, step) if tells else step, ()
        if fold.running is None:
            state, outputs = again or self._scan(step, memory.state, xs, params, fold.dim)
            outputs, support = outputs if tells else (outputs, ())
            outputs = outputs if recorder is None else recorder.take(outputs)
            # a copy: a slice would keep the whole sequence alive
            last = tree_map(lambda out: out.select(fold.dim, -1).clone(), self._spikes(outputs))
        else:
            state, outputs, last = self._scan_padded(step, memory, xs, params, fold.running, recorder)
        self._remember(memory, state, last, self._spikes(outputs).sum(fold.dim) if self.track_act else None)
        found = without_views(self, tree_map(fold.merge, outputs))
        if isinstance(support, Tensor):
            fold.supports.note(self._spikes(found), support.flatten(0, 1))
        return found

    def _ready(self, fold: FoldToken) -> FoldedStep | None:
        """Return the step with its parameters for a folded scan; None if its last states have a gradient."""
        # a monitor counts one output
        alone = fold.plain and self._cell.recorder is None and (self._returns == SPIKES or self._cell.monitor is None)
        # the network may be compiled although the call around it is not
        if not alone or torch.compiler.is_dynamo_compiling():
            return None
        if not fold.detaches_state and torch.is_grad_enabled():
            return None
        seat = self._cell.seat
        return (None if seat is None else seat.again(self)) or self._prepared(fold)

    def _prepared(self, fold: FoldToken) -> FoldedStep | None:
        """Return the step with its parameters, and keep it for later folds with the same parameters."""
        if self.track_act or self.synapse is not None or not self._rests_at_zero:
            return None
        if not self._maps_stored:
            step, params = self._of_all(fold, self.whole_step)
            return FoldedStep.of(self._with_returns(step), self.state_type, params)
        stored, mapped, params = self._of_all(fold, self._mapped)
        found = FoldedStep.of(self._with_returns(mapped.step), self.state_type, params)
        if found is not None and self._never_draws:
            self._cell.seat = Seat.of(self, found, mapped, stored)
        return found

    def _tells_support(self, fold: FoldToken, inputs: tuple[Tensor, ...], here: CheckpointRun | None) -> bool:
        """Return True if the scan should also report where the derivatives of the spikes are not zero."""
        if fold.supports is None:
            return False
        plain = fold.running is None and self._cell.recorder is None and here is None
        narrow = plain and support_of(getattr(self, "surrogate", None)) is not None
        return bool(narrow and inputs[0].dtype == torch.float32 and fold.supports.has_readers)

    def _scan_padded(
        self, step: Any, memory: Memory, xs: Any, params: dict[str, Any], running: Tensor, recorder: Any
    ) -> Any:
        """Run the steps of padded samples, where ``running`` is True; return state, outputs and last outputs."""
        first = leaves_of(xs)[0]
        # in full precision, because a recurrent neuron continues from the last output
        state, outputs = self._scan_masked(step, memory.state, xs, params, running)
        outputs = outputs if recorder is None else recorder.take(outputs, dtype=first.dtype)
        ends = running.sum(1).sub(1).clamp(min=0)
        last = tree_map(lambda out: out[torch.arange(len(ends), device=ends.device), ends], self._spikes(outputs))
        state, last = where_running(memory, state, last, last, running.any(1))
        return state, *rounded((outputs, last), first.dtype)

    def _scan(self, step: Any, state: Any, xs: Any, params: dict[str, Any], dim: int) -> tuple[Any, Any]:
        """Run all steps of a fold, with time at axis dim."""
        return scan(step, state, xs, params=params, dim=dim)

    def _scan_masked(self, step: Any, state: Any, xs: Any, params: dict[str, Any], running: Tensor) -> tuple[Any, Any]:
        """Run all steps of padded samples, (N, T, ...), in full precision; outputs are zero where none is running."""
        mask = running.view(*running.shape, *(1,) * (leaves_of(xs)[0].ndim - 2))
        return scan(cached_step(masked, step), state, (lift(xs), mask), params=params, dim=1)

    def _take_over(self, found: Any, monitor: Any) -> Any:
        outs, last = found.outs, found.lasts[0]
        self._finish(Memory(self.state_type(*found.finals), last, (), plain=True, thread=this_thread()))
        if found.counts:
            monitor.counted(outs[0], found.fired[0], found.added)
        return outs[0] if self._returns == SPIKES else tuple(outs)

    @property
    def _maps_stored(self) -> bool:
        """True if the step's parameters are the ``param_map`` of the class, applied to the stored attributes."""
        return self._inherits_params and not self.__dict__.keys() & {"step_params", "whole_step", "param_map"}

    @property
    def _inherits_params(self) -> bool:
        kind = type(self)
        return kind.step_params is StepLayer.step_params and kind.whole_step is StepLayer.whole_step

    def _mapped(self) -> tuple[dict[str, Any], Reparametrized, dict[str, Any]]:
        """Return the stored attributes, the step, and its parameters; the step's kernel differentiates the map."""
        stored = self._stored_params()
        mapped = reparametrized(self._valued_step(), self._map, stored)
        return stored, mapped, mapped.params(stored)

    def _of_all(self, fold: FoldToken, make: Callable[[], Made]) -> Made:
        """Return a step and its parameters for all steps of a fold; end the fold if the parameters are random."""
        if torch.compiler.is_compiling() or self._never_draws:
            return make()
        (before,) = random_state(HOST)
        found = make()
        if not torch.equal(before, *random_state(HOST)):
            text = f"draws the parameters of {fold.name(self)} at random, at each step anew"
            fold.refuse(text, "draw them where a sequence starts, in rest_state")
        return found

    @property
    def _never_draws(self) -> bool:
        """True if only code of this library and of torch computes the parameters, without random numbers."""
        own, recurrent = type(self).__module__, type(self.recurrent).__module__
        ours = own.startswith(_NEVER_DRAW) and recurrent.startswith(_NEVER_DRAW)
        return ours and not self.__dict__.keys() & {"step_params", "whole_step", "param_map"}

    @property
    def is_pointwise(self) -> bool:
        """True if the layer is known to keep its neurons apart, but for recurrent weights."""
        ours = getattr(self.step, "__module__", "").startswith("spikingtorch.functional.")
        return ours and not self.runs_own_step and type(self).whole_step is StepLayer.whole_step

    @property
    def runs_own_step(self) -> bool:
        """True if the class advances in its own way, and not by ``step``."""
        return type(self)._advance_one is not StepLayer._advance_one

    @property
    def _rests_at_zero(self) -> bool:
        return self._rests_as(StepLayer)

    def _rests_as(self, kind: type["StepLayer"]) -> bool:
        """Return True if the state at rest is the one that a base class defines, and belongs to the neuron alone."""
        own = type(self).rest_state is kind.rest_state and type(self).initial_state is StepLayer.initial_state
        alone = self.refractory is None and not hasattr(self.step, "at_rest")
        return own and alone and not {"rest_state", "initial_state"} & self.__dict__.keys()

    def _check_inputs(self, inputs: Tensor | tuple[Tensor, ...], *, looks: bool = True) -> Tensor:
        """Return the first input; raise if one is not valid, or holds NaN or infinities if this ``looks`` for them."""
        owner = type(self).__name__
        leaves = inputs if isinstance(inputs, tuple) else (inputs,)
        for x in leaves:
            checks.check_floating(owner, "x", x)
            if x.is_cpu and looks:
                checks.check_finite(owner, "x", x)
            if x.shape != leaves[0].shape:
                raise ValueError(f"{owner}: inputs differ in shape: {[tuple(leaf.shape) for leaf in leaves]}")
        return leaves[0]

    def _starts(self, memory: Memory, params: dict[str, Any], x: Tensor) -> bool:
        """Return True if a sequence starts; in that case, check the parameters."""
        starts = memory.output is None
        if starts:
            self._look_at_arguments(x)
            self._check_params(params, x)
            if self._returns != SPIKES:
                neuron = memory.state if self.synapse is None else memory.state.neuron
                there = (*[name for name, _ in fields_of(neuron)], *self._of_firing())
                check_names(type(self).__name__, self._returns, there)
        return starts

    def _look_at_arguments(self, x: Tensor) -> None:
        """Warn of arguments that may be meant otherwise, at the first input of a shape."""
        if torch.compiler.is_compiling() or x.shape[1:] == self._cell.seen_shape:
            return
        unnamed, self._cell.seen_shape = self._unnamed if self._cell.seen_shape is None else None, x.shape[1:]
        values = {self._name(name): getattr(self, name) for name in (*self._names(), self._recurrent_name)}
        warn_of_shape(type(self).__name__, unnamed, values, tuple(x.shape[1:]))

    def _remember(self, memory: Memory, state: Any, output: Any, spikes: Any) -> None:
        act = memory.act + lift(spikes) if isinstance(memory.act, Tensor) else ()
        self._finish(Memory(state, output, act, thread=this_thread()))

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest for an input of one step like x. Override this if the state is not zero."""
        rest, around = zeros_state(self.state_type, x), getattr(self.step, "at_rest", None)
        return rest if around is None else around(rest, x)

    def _check_params(self, params: dict[str, Any], x: Tensor) -> None:
        """Raise unless the parameters fit the input; check the stored ones first, whose names the user knows."""
        stored = {name: getattr(self, name) for name in self._names()}
        computed = {name: value for name, value in params.items() if name not in self._attributes}
        # on another device, the host would have to wait
        if x.is_cpu and isinstance(stored.get("surrogate"), F.Ternary | F.MultiSpike):
            name = self._attributes["threshold"]
            checks.check_parameter(type(self).__name__, self._name(name), stored[name], above=0.0)
        for name, value in (stored | computed).items():
            if not isinstance(value, Tensor):
                continue
            shown = self._name(name)
            if name == "recurrent_weight" and self.synapse is not None:
                shown = self._recurrent_name
                check_weight(type(self).__name__, self.synapse, value, x.shape, shown)
            elif name != "recurrent_spread":
                checks.check_broadcast(type(self).__name__, shown, value, x.shape)
            if lifted_dtype(value) != lifted_dtype(x):
                raise TypeError(
                    f"{type(self).__name__}: mixed dtypes: x is {x.dtype} and {shown} {value.dtype}. Convert one of "
                    f"them, for instance with layer.to({x.dtype})"
                )

    def extra_repr(self) -> str:
        """Name the step's parameters."""
        own = dict(self.named_parameters(recurse=False))
        recurrent = {self._recurrent_name: shown(self.recurrent)} if isinstance(self.recurrent, Tensor) else {}
        texts = {name: shown(getattr(self, name)) for name in self._names()} | recurrent
        listed = [f"{self._name(name)}={text}{' (learnable)' if name in own else ''}" for name, text in texts.items()]
        listed += [] if self.constrain is True else [f"constrain={self.constrain!r}"]
        listed += [] if self._returns == SPIKES else [f"returns={self._returns!r}"]
        return ", ".join([shown(self.step), *listed] if type(self) is StepLayer else listed)


def _copied(output: Tensor) -> Tensor:
    """Return a copy with the memory format of the outputs of all steps: contiguous, or channels-last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(output.ndim, torch.contiguous_format)
    # inside a transform, the memory format is hidden
    if output.is_contiguous() or checks.functorch_active() or output.is_contiguous(memory_format=last):
        return output.clone()
    return output.clone(memory_format=torch.contiguous_format)
