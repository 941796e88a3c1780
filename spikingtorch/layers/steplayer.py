"""StepLayer: a pure step as a layer that remembers its state between calls."""

from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.functional import lift, scan, zeros_state
from spikingtorch.functional.core.compare import typed
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.precision import lifted_dtype, rounded
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.dispatch import folded
from spikingtorch.functional.dispatch.eligibility import side_effect
from spikingtorch.functional.reparametrized import reparametrized
from spikingtorch.functional.scan import one_step
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.checkpoint import region
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.limits import ANY, COMMON, Range, may_write
from spikingtorch.layers.param_maps import InSteps, rest_in_steps
from spikingtorch.layers.recurrent import Weights, check_weight, synapse_of, trained
from spikingtorch.layers.reset_value import Valued, is_open, opened, shown_rule, value_of, with_value
from spikingtorch.layers.threads import this_thread

# a step and its keyword arguments
WholeStep: TypeAlias = tuple[Callable[..., tuple[Any, Any]], dict[str, Any]]
# where the classes of layers, weights and synapses are defined that compute parameters without random numbers
# options that a layer is made with or without, and that others may depend on
_CHECKED = ("dt", "refractory", "longest")
_NEVER_DRAW = ("spikingtorch.", "torch.nn.modules.", "torch.nn.parameter", "builtins")


class StepLayer(StatefulLayer):
    """A step function with its parameters and its state: the base of every layer, and the way to make your own.

    Each call advances one step of time. ``init`` true starts a new sequence; a first call starts one as well. Inside a
    ``SpikingNet`` that runs all steps at once, a call advances all of them. The state lives between calls only: it is
    no part of ``state_dict``, moves with ``.to()``, and is copied by ``deepcopy`` and ``pickle`` without its graph.

    Args:
        step: a pure function ``(state, x, **params) -> (state, output)``.
        state_type: NamedTuple of the state's tensors, all zero at rest; for a step in ``F.Refractory`` or
            ``F.RelativeRefractory`` that of the neuron inside.
        learnable: names of the parameters to train, or True for all that are floats or tensors. An ``nn.Parameter`` is
            learnable without being named.
        recurrent: weights through which the output comes back to the layer one step later, added to its (first) input:
            ``nn.Linear(M, M, bias=False)``; ``nn.Conv2d(C, C, k, padding="same", bias=False)`` with odd k, or Conv1d or
            Conv3d; or a tensor that broadcasts to the neurons, for instance (C, 1, 1), each of which then feeds back to
            itself alone. They are trained: a tensor becomes an ``nn.Parameter``.
        constrain: keep parameters that learn within their limits, those in ``limits``: a time constant above zero, say.
        refractory: for how long a neuron rests after each of its spikes: it takes no input, and its state does not
            move. In steps, rounded up; with ``dt`` in its unit of time.
        other_names: of attributes, by which messages and the repr call them.
        **params: keyword arguments of the step. Floats stay floats; tensors (per channel, per neuron) become buffers.
            Each is an attribute of the same name, but for those that ``attribute_names`` renames. A reset rule
            ``to_value(v_reset)`` brings v_reset with it, as a parameter like any other. ``dt`` is the length of a step:
            the layers of this library take time constants in units of it, in milliseconds say.

    >>> from spikingtorch.functional import LIFState, lif_step
    >>> layer = StepLayer(lif_step, LIFState, decay=0.5, threshold=1.0, learnable="decay")
    >>> layer
    StepLayer(lif_step, decay=0.5 (learnable), threshold=1.0)
    >>> layer(torch.tensor([[0.8, 0.6]]), init=True).tolist(), layer(torch.tensor([[0.8, 0.6]])).tolist()
    ([[0.0, 0.0]], [[1.0, 0.0]])
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"reset": "reset_rule"}
    # what the attributes may be, in the constructor and later
    limits: Mapping[str, Any] = {}
    # attributes that cannot change, because others depend on them
    fixed: ClassVar[tuple[str, ...]] = ()
    # the parameters that are times, in steps or in units of dt; None where dt is a parameter of the step
    times: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self,
        step: Callable[..., tuple[Any, Any]],
        state_type: type[Any],
        *,
        learnable: bool | str | Iterable[str] = (),
        recurrent: Weights | None = None,
        constrain: bool = True,
        refractory: Tensor | float | None = None,
        other_names: Mapping[str, str] | None = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.step = step
        self.state_type = state_type
        self.constrain = constrain
        self._other_names = other_names or {}
        self._apart: tuple[str, ...] = ()  # attributes that are no parameters of the step
        self._ranges: dict[str, Range] = {}  # of the parameters that learn and have limits
        self.synapse = None if recurrent is None else synapse_of(type(self).__name__, recurrent)
        self.recurrent = trained(recurrent)
        self.memoryless = getattr(state_type, "_fields", None) == () and recurrent is None and refractory is None
        self._sets_value = value_of(type(self).__name__, params.get("reset")) is not None
        if self._sets_value:
            params |= {"v_reset": value_of(type(self).__name__, params["reset"]), "reset": opened(params["reset"])}
        attributes = {name: self.attribute_names.get(name, name) for name in params}
        values = {attributes[name]: value for name, value in params.items()}
        trainable = {name for name, value in values.items() if isinstance(value, Real | Tensor) and name != "dt"}
        given = {self._name(name): name for name in trainable}
        either = attributes | given  # the threshold has two names
        named = trainable if learnable is True else chosen_names(learnable)
        chosen = {either.get(name, name) for name in named}
        if not chosen <= trainable:
            raise ValueError(
                f"{type(self).__name__}: learnable names {sorted(chosen - trainable)}; choose from {sorted(given)}"
            )
        for name, value in values.items():
            self._store(name, value, name in chosen)
        self._attributes = attributes
        if refractory is None:
            object.__setattr__(self, "refractory", None)
        else:
            self._keep("refractory", refractory)

    def _keep(self, name: str, value: Tensor | float) -> None:
        """Store an attribute that is no parameter of the step, and so cannot be learned."""
        if isinstance(value, Tensor) and value.requires_grad:
            raise ValueError(f"{type(self).__name__}: {name} cannot be learned; give it {name}.detach()")
        self._apart = (*self._apart, name)
        self._store(name, value, False)

    def _name(self, attribute: str) -> str:
        """Return the name by which the user knows an attribute."""
        return self._other_names.get(attribute, attribute)

    def _names(self) -> list[str]:
        """Return the attributes that say what the layer computes."""
        return [*self._attributes.values(), *self._apart]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKED and "_attributes" in self.__dict__:
            self._check_given(name, value)
        if name == "threshold":
            name = self.attribute_names.get(name, name)  # which may be the older one
        if "_attributes" in self.__dict__ and name in self._names():
            self._check_limits(name, value, isinstance(value, nn.Parameter))
            if name == "reset_rule":
                value = self._opened(value)
        super().__setattr__(name, value)

    def _check_given(self, name: str, value: Any) -> None:
        """Raise where an option changes that the layer was made without, or that other attributes depend on."""
        owner = type(self).__name__
        if name not in self._names() and (self.limits or name == "refractory"):
            raise ValueError(
                f"{owner}: it was made without {name}; give it to the constructor: {owner}(..., {name}={value!r})"
            )
        if name in self.fixed and value != getattr(self, name, value):
            raise ValueError(
                f"{owner}: {name} is {getattr(self, name)!r} for good, because other attributes depend on it, and not "
                f"{value!r}; make another layer"
            )

    def _opened(self, rule: Any) -> Any:
        """Return a reset rule without its value, which the layer takes over if there is one."""
        if self._sets_value and is_open(rule):
            return rule
        v_reset = value_of(type(self).__name__, rule)
        if self._sets_value:
            delattr(self, "v_reset")
            del self._attributes["v_reset"]
        self._sets_value = v_reset is not None
        if v_reset is None:
            return rule
        self._store("v_reset", v_reset, False)
        self._attributes["v_reset"] = "v_reset"
        return opened(rule)

    def _check_limits(self, name: str, value: Any, learns: bool) -> None:
        """Raise unless a value is within its limits; note the range of one that learns."""
        limits = self.limits.get(name) or COMMON.get(name)
        if limits is None and self.limits and isinstance(value, Real | Tensor):
            limits = ANY  # a number of one of our own layers
        if limits is None:
            return
        limits.check(type(self).__name__, self._name(name), with_value(value, 0.0), learns and self.constrain)
        if learns and self.constrain:
            self._ranges[name] = limits.kept_within()
        else:
            self._ranges.pop(name, None)

    def _put_back(self) -> None:
        """Put parameters that an optimizer has moved out of their limits back to the nearest value within."""
        if not self._ranges or torch.compiler.is_compiling():
            return
        for name, within in self._ranges.items():
            parameter: Any = self._parameters.get(name)
            if may_write(parameter):
                within.put_back(type(self).__name__, self._name(name), parameter)

    def _store(self, name: str, value: Any, learnable: bool) -> None:
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__}: parameter {name!r} would hide the layer's attribute of that name")
        self._check_limits(name, value, learnable or isinstance(value, nn.Parameter))
        if isinstance(value, Real):
            value = float(value)
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        elif learnable:
            tensor = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value)
            self.register_parameter(name, nn.Parameter(tensor))
        elif isinstance(value, Tensor):
            if value.requires_grad:
                raise ValueError(
                    f"{type(self).__name__}: {name} requires a gradient but is no nn.Parameter, so no optimizer would "
                    f"find it. Wrap it in nn.Parameter, or pass learnable={name!r}"
                )
            self.register_buffer(name, value.clone())  # a copy: two layers made from one tensor share nothing
        else:
            setattr(self, name, value)

    def step_params(self) -> dict[str, Any]:
        """Return the keyword arguments of the step, tensors in float32 at least.

        Override ``param_map`` where they are computed from what the layer stores, or this where from something else.
        """
        params: dict[str, Any] = self._map(self._stored_params())
        return params

    @property
    def _map(self) -> Any:
        return (
            self.param_map
            if self.times is None or "dt" not in self._attributes
            else InSteps(self.param_map, self.times)
        )

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of the step for those that the layer stores: a pure, elementwise function."""
        return stored

    def _stored_params(self) -> dict[str, Any]:
        values = [
            (name, self._within(attribute, getattr(self, attribute))) for name, attribute in self._attributes.items()
        ]
        return {name: value if type(value) is float else lift(value) for name, value in values}

    def _within(self, name: str, value: Any) -> Any:
        """Return a parameter within its limits, where it could not be put back."""
        within = self._ranges.get(name)
        return value if within is None or may_write(value) else within.within(value)

    def whole_step(self) -> WholeStep:
        """Return the step and its keyword arguments, with the recurrence around it if there is one."""
        step: Any = self._valued_step()
        params = self.step_params()
        if self.refractory is not None:
            dt: Any = getattr(self, "dt", 1.0)
            rests: Any = self.refractory
            step, params = once(F.Refractory, step), params | {"refractory": rest_in_steps(rests, dt)}
        if self.synapse is None:
            return step, params
        weight = self.recurrent.weight if isinstance(self.recurrent, nn.Module) else self.recurrent
        step = once(F.Recurrent, step, self.synapse)
        return step, params | {"recurrent_weight": lift(weight)}

    def _valued_step(self) -> Any:
        return once(Valued, self.step) if self._sets_value else self.step

    def side_effect(self) -> str | None:
        """Return what the step changes outside of itself, as far as its code tells; None for a pure function."""
        return side_effect(self.step)

    def initial_state(self, x: Tensor) -> Any:
        """Return the state of the whole step at rest, for an input of one step like x."""
        rest, zeros = self.rest_state(x), lift(torch.zeros_like(x, requires_grad=False))
        if self.refractory is not None:
            rest = F.RefractoryState(rest, zeros)
        return rest if self.synapse is None else F.RecurrentState(rest, zeros.clone())

    def forward(self, x: Tensor, init: bool | Tensor | None = None) -> Tensor:
        """Advance one step.

        Args:
            x: input, floating, shape (N, ...).
            init: True to start a new sequence, False to go on, or a bool tensor (N,) of the samples that start anew.
                Left out, it is that of the ``SpikingNet`` that runs the layer; outside of one, False.

        Returns:
            The output of the step, spikes as a rule, shape (N, ...).

        Raises:
            ValueError: x is not like the state (shape, dtype, device) and ``init`` is false, holds NaN or infinities
                (looked for on the CPU, where looking costs little), or a parameter does not broadcast to it.
            TypeError: x is not floating, its dtype is not that of the parameters, or init is no bool.
        """
        output: Tensor = self._advance(x, init)
        return output

    def _advance(self, inputs: Tensor | tuple[Tensor, ...], init: bool | Tensor | None) -> Any:
        output = self._called(inputs, init)
        if self._activity is not None:
            self._activity.note(self, output)
        return output

    def _called(self, inputs: Tensor | tuple[Tensor, ...], init: bool | Tensor | None) -> Any:
        init, running = self._given.take(init)
        init = False if init is None else init
        if (own := self._fold_of_this_thread()) is not None:
            return own.call(self, inputs, init)
        if isinstance(init, FoldToken):
            # the fold of a call that is over comes back when checkpoint repeats a part of it
            if not ((here := region()) is not None and here.run is not None):
                init.refuse(
                    f"holds a {type(self).__name__} that is not among its submodules; keep layers in attributes or in "
                    "an nn.ModuleList"
                )
            return self._advance_all(inputs, init)
        if self._given.init is None:  # a network does so before its first step
            self._put_back()
        return self._advance_one(inputs, init, running)

    def _rehearse(self, inputs: Any) -> Any:
        return self._advance_one(inputs, True)

    def _advance_one(
        self, inputs: Tensor | tuple[Tensor, ...], init: bool | Tensor, running: Tensor | None = None
    ) -> Any:
        first = self._check_inputs(inputs)
        memory = self._start(first, init)
        step, params = self.whole_step()
        starts = self._starts(memory, params, first)
        if running is None:
            state, output = one_step(step, memory.state, inputs, params, check=starts)
            shown = output
        else:
            masked, mask = once(_masked, step), running.view(-1, *(1,) * (first.ndim - 1))
            state, output = one_step(masked, memory.state, (inputs, mask), params, check=starts)
            state, shown = _held(memory, state, output, getattr(state, "s", None), running)
        self._remember(memory, state, shown, output)
        # a copy, to be written on: the layer shows the other one, and its gradient may need it
        return tree_map(torch.clone, output)

    def _advance_all(self, inputs: Tensor | tuple[Tensor, ...], fold: FoldToken) -> Any:
        """Advance all steps of a fold, in one scan.

        Args:
            inputs: folded inputs, shape (N T, ...).
            fold: number of samples and of steps, and the ``init`` of the first step.

        Returns:
            The folded output, shape (N T, ...), contiguous, or channels-last where the input is.
        """
        leaves, size = inputs if isinstance(inputs, tuple) else (inputs,), (fold.N, fold.T)
        # inside checkpoint, where both runs have to go the same way, one of them goes on from a state that was noted
        rests = (
            fold.whole
            and fold.running is None
            and not self.track_act
            and self.synapse is None
            and self._rests_at_zero
            and region() is None
        )
        mapped = rests and self._is_mapped
        step, params = self._of_all(fold, self._mapped_step if mapped else self.whole_step)
        signed = folded.signature(step, self.state_type, leaves, params, size) if rests else None
        if signed is not None and (found := folded.run(signed)) is not None:
            return self._take_over(found)
        if mapped:
            step, params = self._of_all(fold, self.whole_step)
        self._check_inputs(inputs)
        xs = tree_map(fold.split, inputs)
        first = leaves_of(xs)[0].select(1, 0)
        memory = self._start(first, fold.init)
        self._starts(memory, params, first)
        if signed is not None and (found := folded.first(signed, memory.state, xs, size)) is not None:
            return self._take_over(found)
        if fold.running is None:
            state, outputs = self._scan(step, memory.state, xs, params)
            # a copy: a slice would keep the whole sequence alive
            last = tree_map(lambda out: out.select(1, -1).clone(), outputs)
        else:
            mask = fold.running.view(*fold.running.shape, *(1,) * (first.ndim - 1))
            # in full precision, for the output that a recurrent neuron goes on from
            state, outputs = scan(once(_masked, step), memory.state, (lift(xs), mask), params=params, dim=1)
            ends = fold.running.sum(1).sub(1).clamp(min=0)
            last = tree_map(lambda out: out[torch.arange(fold.N, device=ends.device), ends], outputs)
            state, last = _held(memory, state, last, last, fold.running.any(1))
            outputs, last = rounded((outputs, last), first.dtype)
        self._remember(memory, state, last, outputs.sum(1) if self.track_act else None)
        return tree_map(lambda out: out.flatten(0, 1), outputs)

    def _scan(self, step: Any, state: Any, xs: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        """Run all steps of a fold, (N, T, ...)."""
        return scan(step, state, xs, params=params, dim=1)

    def _take_over(self, found: folded.Folded) -> Tensor:
        self._finish(Memory(found.state, found.last, (), plain=True, thread=this_thread()))
        return found.outs

    @property
    def _is_mapped(self) -> bool:
        """Whether the parameters of the step are what ``param_map`` returns for those that are stored."""
        kind, own = type(self), self.__dict__
        inherits = kind.step_params is StepLayer.step_params and kind.whole_step is StepLayer.whole_step
        maps = (kind.param_map is not StepLayer.param_map or "dt" in self._attributes) and "param_map" not in own
        return maps and inherits and "step_params" not in own and "whole_step" not in own

    def _mapped_step(self) -> WholeStep:
        """Return the step and its parameters; the gradients of those that are stored are part of its kernel."""
        return reparametrized(self._valued_step(), self._map, self._stored_params())

    def _of_all(self, fold: FoldToken, make: Callable[[], WholeStep]) -> WholeStep:
        """Return a step and its parameters for all steps of a fold; end the fold if each step draws parameters anew."""
        if torch.compiler.is_compiling():
            return make()
        kinds = type(self).__module__, type(self.recurrent).__module__
        if all([kind.startswith(_NEVER_DRAW) for kind in kinds]) and "step_params" not in self.__dict__:
            return make()
        before = torch.get_rng_state()
        found = make()
        if not torch.equal(before, torch.get_rng_state()):
            text = f"draws the parameters of {fold.name(self)} at random, at each step anew"
            fold.refuse(text, "draw them where a sequence starts, in rest_state")
        return found

    @property
    def _rests_at_zero(self) -> bool:
        return self._rests_as(StepLayer)

    def _rests_as(self, kind: type["StepLayer"]) -> bool:
        """Say whether the state at rest is that of a kind of layers, and of the neuron alone."""
        own = type(self).rest_state is kind.rest_state and type(self).initial_state is StepLayer.initial_state
        alone = self.refractory is None and not hasattr(self.step, "at_rest")
        return own and alone and not {"rest_state", "initial_state"} & self.__dict__.keys()

    def _check_inputs(self, inputs: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Return the first of the inputs; raise where one cannot be computed with."""
        owner = type(self).__name__
        leaves = inputs if isinstance(inputs, tuple) else (inputs,)
        for x in leaves:
            checks.check_floating(owner, "x", x)
            if x.is_cpu:
                checks.check_finite(owner, "x", x)
            if x.shape != leaves[0].shape:
                raise ValueError(f"{owner}: inputs differ in shape: {[tuple(leaf.shape) for leaf in leaves]}")
        return leaves[0]

    def _starts(self, memory: Memory, params: dict[str, Any], x: Tensor) -> bool:
        """Say whether a sequence starts, with which the parameters are checked."""
        starts = memory.output is None
        if starts:
            self._check_params(params, x)
        return starts

    def _remember(self, memory: Memory, state: Any, output: Any, spikes: Any) -> None:
        act = memory.act + lift(spikes) if isinstance(memory.act, Tensor) else ()
        self._finish(Memory(state, output, act, thread=this_thread()))

    def rest_state(self, x: Tensor) -> Any:
        """Return the state at rest for an input of one step like x; override where that is not zero."""
        rest, around = zeros_state(self.state_type, x), getattr(self.step, "at_rest", None)
        return rest if around is None else around(rest, x)

    def _check_params(self, params: dict[str, Any], x: Tensor) -> None:
        """Raise unless the parameters fit to the input: first those that are stored, which the user knows."""
        stored = {name: getattr(self, name) for name in self._names()}
        computed = {name: value for name, value in params.items() if name not in self._attributes}
        if isinstance(stored.get("surrogate"), F.Ternary | F.MultiSpike):
            name = self._attributes["threshold"]
            checks.check_parameter(type(self).__name__, self._name(name), stored[name], above=0.0)
        for name, value in (stored | computed).items():
            if not isinstance(value, Tensor):
                continue
            shown = self._name(name)
            if name == "recurrent_weight" and self.synapse is not None:
                shown = "recurrent"
                check_weight(type(self).__name__, self.synapse, value, x.shape)
            else:
                checks.check_broadcast(type(self).__name__, shown, value, x.shape)
            if lifted_dtype(value) != lifted_dtype(x):
                raise TypeError(
                    f"{type(self).__name__}: mixed dtypes: x is {x.dtype} and {shown} {value.dtype}. Convert one of "
                    f"them, for instance with layer.to({x.dtype})"
                )

    def _constants(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names()}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._put_back()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _check_loaded(self) -> None:
        for name, value in self._constants().items():
            if isinstance(value, Tensor):
                self._check_limits(name, value, name in self._ranges)

    def extra_repr(self) -> str:
        """Name the step's parameters."""
        own = dict(self.named_parameters(recurse=False))
        recurrent = {"recurrent": _shown(self.recurrent)} if isinstance(self.recurrent, Tensor) else {}
        shown = {name: _shown(getattr(self, name)) for name in self._names()} | recurrent
        listed = [f"{self._name(name)}={text}{' (learnable)' if name in own else ''}" for name, text in shown.items()]
        listed += [] if self.constrain else ["constrain=False"]
        return ", ".join([_shown(self.step), *listed] if type(self) is StepLayer else listed)


def _masked(step: Any) -> Any:
    """Return the step for samples of which some have come to their end."""
    if isinstance(step, F.Recurrent):
        neuron: Any = F.Masked(step.step)
        return F.Recurrent(neuron, step.synapse)
    return F.Masked(step)


def _held(memory: Memory, state: Any, output: Any, s: Any, running: Tensor) -> tuple[Any, Any]:
    """Return state and last output after some steps: of the samples that had none of these, those before.

    Args:
        memory: before the steps.
        state: after them.
        output: of the last step that each sample had.
        s: the same, in full precision.
        running: which samples had a step, (N,).
    """
    if isinstance(state, F.RecurrentState):
        state = state._replace(s=F.reset_where(running, memory.state.s, s))
    return state, output if memory.output is None else F.reset_where(running, memory.output, output)


_made: LRUCache[Any] = LRUCache(256)


def once(make: Callable[..., Any], *parts: Any) -> Any:
    """Return a step around others as one object for equal ones, by which its scans are found again."""
    if torch.compiler.is_compiling():
        return make(*parts)
    key = make, typed(parts)
    try:
        known = _made.get(key)
    except TypeError:  # a step without a hash
        return make(*parts)
    if known is None:
        known = make(*parts)
        _made.keep(key, known)
    return known


def chosen_names(learnable: bool | str | Iterable[str]) -> set[str]:
    """Return the names in ``learnable``; none for False."""
    if isinstance(learnable, bool):
        return set()
    return {learnable} if isinstance(learnable, str) else set(learnable)


def _shown(value: Any) -> str:
    if isinstance(value, F.Detached):
        return shown_rule(value)
    if isinstance(value, Tensor):
        scalar = value.ndim == 0 and checks.has_values(value)
        return f"{value.item():g}" if scalar else f"<{'x'.join(map(str, value.shape))}>"
    return getattr(value, "__name__", repr(value))
