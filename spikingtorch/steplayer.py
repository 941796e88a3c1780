"""StepLayer: a pure step as a layer that remembers its state between calls."""

from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikingtorch import _checks as checks
from spikingtorch.functional import lift, reset_where, zeros_state
from spikingtorch.functional._tree import tree_map
from spikingtorch.functional.scan import one_step
from spikingtorch.functional.state import lifted_dtype


class _Memory(NamedTuple):
    """What a layer keeps between two calls."""

    state: Any
    output: Tensor | None  # None at rest
    act: Tensor | tuple[()]  # outputs summed since the last init; a tree without leaves where nobody asked


class StepLayer(nn.Module):
    """A step function with its parameters and its state: the base of every layer, and the way to make your own.

    Each call advances one step of time. ``init`` true starts a new sequence; a first call starts one as well. The state
    lives between calls only: it is no part of ``state_dict``, moves with ``.to()``, and is copied by ``deepcopy`` and
    ``pickle`` without its graph.

    Args:
        step: a pure function ``(state, x, **params) -> (state, output)``.
        state_type: NamedTuple of the state's tensors, all zero at rest.
        learnable: names of the parameters to train, or True for all that are floats or tensors. An ``nn.Parameter`` is
            learnable without being named.
        **params: keyword arguments of the step. Floats stay floats; tensors (per channel, per neuron) become buffers.
            Each is an attribute of the same name, but for those that ``attribute_names`` renames.

    >>> from spikingtorch.functional import LIFState, lif_step
    >>> layer = StepLayer(lif_step, LIFState, decay=0.5, threshold=1.0, learnable="decay")
    >>> layer
    StepLayer(lif_step, decay=0.5 (learnable), threshold=1.0)
    >>> layer(torch.tensor([[0.8, 0.6]]), init=True).tolist(), layer(torch.tensor([[0.8, 0.6]])).tolist()
    ([[0.0, 0.0]], [[1.0, 0.0]])
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"reset": "reset_rule"}
    track_act = False
    keeps_state = True

    def __init__(
        self,
        step: Callable[..., tuple[Any, Any]],
        state_type: type[Any],
        *,
        learnable: bool | str | Iterable[str] = (),
        **params: Any,
    ) -> None:
        super().__init__()
        self.step = step
        self.state_type = state_type
        self._memory: _Memory | None = None
        self._attributes = {name: self.attribute_names.get(name, name) for name in params}
        values = {self._attributes[name]: value for name, value in params.items()}
        trainable = {name for name, value in values.items() if isinstance(value, Real | Tensor)}
        chosen = trainable if learnable is True else chosen_names(learnable)
        if not chosen <= trainable:
            raise ValueError(
                f"{type(self).__name__}: learnable names {sorted(chosen - trainable)}; choose from {sorted(trainable)}"
            )
        for name, value in values.items():
            self._store(name, value, name in chosen)

    def _store(self, name: str, value: Any, learnable: bool) -> None:
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__}: parameter {name!r} would hide the layer's attribute of that name")
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

        Override where they are computed from what the layer stores.
        """
        return {name: lift(getattr(self, attribute)) for name, attribute in self._attributes.items()}

    def forward(self, x: Tensor, init: bool | Tensor = False) -> Tensor:
        """Advance one step.

        Args:
            x: input, floating, shape (N, ...).
            init: True to start a new sequence, False to go on, or a bool tensor (N,) of the samples that start anew.

        Returns:
            The output of the step, spikes as a rule, shape (N, ...).

        Raises:
            ValueError: x is not like the state (shape, dtype, device) and ``init`` is false, holds NaN or infinities
                (looked for on the CPU, where looking costs little), or a parameter does not broadcast to it.
            TypeError: x is not floating, its dtype is not that of the parameters, or init is no bool.
        """
        return self._advance(x, init)

    def _advance(self, inputs: Tensor | tuple[Tensor, ...], init: bool | Tensor) -> Tensor:
        owner = type(self).__name__
        leaves = inputs if isinstance(inputs, tuple) else (inputs,)
        for x in leaves:
            checks.check_floating(owner, "x", x)
            if x.is_cpu:
                checks.value_range(owner, "x", x)
            if x.shape != leaves[0].shape:
                raise ValueError(f"{owner}: inputs differ in shape: {[tuple(leaf.shape) for leaf in leaves]}")
        memory = self._resume(leaves[0], init)
        params = self.step_params()
        starts = memory.output is None
        if starts:
            self._check_params(params, leaves[0])
        output: Tensor
        state, output = one_step(self.step, memory.state, inputs, params, check=starts)
        self._memory = _Memory(state, output, memory.act + lift(output) if isinstance(memory.act, Tensor) else ())
        return output

    def _resume(self, x: Tensor, init: bool | Tensor) -> _Memory:
        """Return the memory that the step starts from; at rest, it holds no output yet."""
        if not isinstance(init, bool | np.bool_ | Tensor):
            raise TypeError(
                f"{type(self).__name__}: init={init!r} is a {type(init).__name__}, expected a bool, or a bool tensor "
                "with one value for each sample"
            )
        memory = None if not isinstance(init, Tensor) and init else self._live_memory()
        if memory is None:
            return self._at_rest(x)
        self._check_continues(memory.state, x)
        if not isinstance(init, Tensor):
            return memory
        if init.dtype != torch.bool or init.shape not in ((), x.shape[:1]):
            raise ValueError(
                f"{type(self).__name__}: init is a tensor of {init.dtype} and shape {tuple(init.shape)}, expected "
                f"torch.bool and shape {tuple(x.shape[:1])}, one for each sample"
            )
        state, act = reset_where(init, (memory.state, memory.act))
        return memory._replace(state=state, act=act)

    def _at_rest(self, x: Tensor) -> _Memory:
        act = lift(torch.zeros_like(x, requires_grad=False)) if self.track_act else ()
        return _Memory(zeros_state(self.state_type, x), None, act)

    def _check_params(self, params: dict[str, Any], x: Tensor) -> None:
        for name, value in params.items():
            shown = self._attributes.get(name, name)
            checks.check_broadcast(type(self).__name__, shown, value, x.shape)
            if isinstance(value, Tensor) and value.dtype != lifted_dtype(x):
                raise TypeError(
                    f"{type(self).__name__}: mixed dtypes: x is {x.dtype} and {shown} {value.dtype}. Convert one of "
                    f"them, for instance with layer.to({x.dtype})"
                )

    def _check_continues(self, state: Any, x: Tensor) -> None:
        for leaf in pytree.tree_leaves(state):
            if leaf.shape != x.shape or leaf.device != x.device or leaf.dtype != lifted_dtype(x):
                raise ValueError(
                    f"{type(self).__name__} holds the state of inputs of shape {tuple(leaf.shape)} ({leaf.dtype}, "
                    f"{leaf.device}) and got {tuple(x.shape)} ({x.dtype}, {x.device}). "
                    "Pass init=True to start a new sequence, or call reset() first"
                )

    def _live_memory(self) -> _Memory | None:
        """Return the memory, or None if it belongs to a ``torch.func`` transform that has ended."""
        if torch.compiler.is_compiling() or self._memory is None:
            return self._memory
        leaves = [leaf for leaf in pytree.tree_leaves(self._memory) if isinstance(leaf, Tensor)]
        if any(checks.outlived_transform(leaf) for leaf in leaves):
            self._memory = None
        elif not torch.is_inference_mode_enabled() and any(leaf.is_inference() for leaf in leaves):
            self._map_tensors(torch.Tensor.clone)  # autograd takes no tensor that was made in inference mode
        return self._memory

    @property
    def v(self) -> Tensor | None:
        """The membrane after the reset, or None before the first step and for a neuron without one."""
        memory = self._live_memory()
        return None if memory is None else getattr(memory.state, "v", None)

    @property
    def s(self) -> Tensor | None:
        """The last output, or None before the first step."""
        memory = self._live_memory()
        return None if memory is None else memory.output

    def reset(self, x: Tensor | None = None) -> None:
        """Forget the state; with x, take the state at rest for inputs like x instead."""
        self._memory = None if x is None else self._at_rest(x)

    def detach_(self) -> None:
        """Cut the state from the graph that computed it, for truncated back-propagation through time."""
        self._live_memory()
        self._map_tensors(torch.Tensor.detach)

    def _end_of_sequence(self) -> None:
        """Keep the state as plain numbers for a later call; ``act`` stays differentiable, for the loss."""
        if torch.compiler.is_exporting() or (checks.functorch_active() and not self.track_act):
            self._memory = (
                None  # an exported program keeps nothing between calls, and no wrapper outlives its transform
            )
        elif self._memory is not None:
            act = self._memory.act
            self.detach_()
            self._memory = self._memory._replace(act=act)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        if self._memory is not None:
            self._memory = tree_map(lambda x: function(x) if isinstance(x, Tensor) else x, self._memory)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "StepLayer":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._live_memory()
        self._map_tensors(fn)
        if self._memory is not None:
            self._memory = self._memory._replace(state=lift(self._memory.state))
        return self

    def __getstate__(self) -> dict[str, Any]:
        attached = self._live_memory()
        self.detach_()
        copied = self.__dict__.copy()
        self._memory = attached
        return copied

    def extra_repr(self) -> str:
        """Name the step's parameters."""
        own = dict(self.named_parameters(recurse=False))
        shown = {name: _shown(getattr(self, name)) for name in self._attributes.values()}
        listed = [f"{name}={text}{' (learnable)' if name in own else ''}" for name, text in shown.items()]
        return ", ".join([_shown(self.step), *listed] if type(self) is StepLayer else listed)


def chosen_names(learnable: bool | str | Iterable[str]) -> set[str]:
    """Return the names in ``learnable``; none for False."""
    if isinstance(learnable, bool):
        return set()
    return {learnable} if isinstance(learnable, str) else set(learnable)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        scalar = value.ndim == 0 and checks.has_values(value)
        return f"{value.item():g}" if scalar else f"<{'x'.join(map(str, value.shape))}>"
    return getattr(value, "__name__", repr(value))
