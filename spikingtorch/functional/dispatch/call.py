"""A scan taken apart: its tensors in lists, and the forms of the trees that they came in."""

import functools
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import HALF, lift
from spikingtorch.functional.core.shapes import broadcast, without_time
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.fused.trace.examples import Spec
from spikingtorch.functional.fused.trace.programs import Arguments
from spikingtorch.functional.recorded import records_inside
from spikingtorch.functional.recurrent import PRODUCTS, Recurrent


class ScanCall(NamedTuple):
    """A scan to run: its arguments are lifted and checked."""

    step: Any  # the step, without the arguments that are bound to it
    states: list[Tensor]  # tensors of the state before the first step
    xs: list[Tensor]  # tensors of the inputs
    params: list[Any]  # every keyword argument of the step, defaults included: tensors, floats and all other values
    forms: tuple[pytree.TreeSpec, pytree.TreeSpec, pytree.TreeSpec]  # the structures of state, inputs and parameters
    dim: int  # axis of time in the inputs and outputs
    half: torch.dtype | None  # the dtype that float32 outputs are rounded to; None if they are not rounded

    @classmethod
    def of(
        cls, step: Callable[..., Any], state: Any, xs: Any, params: Mapping[str, Any], dim: int, dtype: torch.dtype
    ) -> "ScanCall":
        """Return a call. Its parameters include bound arguments and the defaults of the step."""
        step, given = unbound(step, params)
        states, state_form = pytree.tree_flatten(state)
        streams, xs_form = pytree.tree_flatten(xs)
        values, params_form = pytree.tree_flatten(given)
        forms = (state_form, xs_form, params_form)
        half = dtype if dtype in HALF else None
        found = cls(step, list(map(lift, states)), streams, list(map(lift, values)), forms, dim, half)
        return found._replace(xs=found._lifted_inputs()) if half or any([x.dtype in HALF for x in streams]) else found

    def _lifted_inputs(self) -> list[Tensor]:
        """Return the inputs; those in half precision that several neurons or a product read become float32.

        The gradient of such an input is a sum over these neurons, and it is rounded once.
        """
        if product_of(self.step) is not None:
            return [lift(x) for x in self.xs]
        try:
            shape = self.neurons()
        except ValueError:  # the checks of shapes raise the error
            return self.xs
        return [x if self.without_time(x) == shape else lift(x) for x in self.xs]

    @property
    def tensor_params(self) -> list[Tensor]:
        """The parameters that are tensors."""
        return [leaf for leaf in self.params if isinstance(leaf, Tensor)]

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor of the call."""
        return [*self.states, *self.xs, *self.tensor_params]

    @property
    def floats(self) -> list[float]:
        """The parameters that are floats."""
        return [float(leaf) for leaf in self.params if isinstance(leaf, float)]

    def neurons(self) -> tuple[int, ...]:
        """Return the shape of the neurons of one step, of a recurrence that of its last output; or raise ValueError."""
        if product_of(self.step) is not None:
            return tuple(self.states[-1].shape)
        return broadcast([*(t.shape for t in (*self.states, *self.tensor_params)), *map(self.without_time, self.xs)])

    def without_time(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape of one step of an input."""
        return without_time(x.shape, self.dim)

    def arguments(self) -> Arguments:
        """Return the call without its numbers."""
        return Arguments(
            tuple([Spec.of(state.dtype, state.shape) for state in self.states]),
            tuple([Spec.of(x.dtype, self.without_time(x)) for x in self.xs]),
            tuple([Spec.of(p.dtype, p.shape) if isinstance(p, Tensor) else p for p in self.params]),
            self.forms,
            None if self.rounds else self.half,
        )

    @property
    def rounds(self) -> torch.dtype | None:
        """The dtype that outputs are rounded to after the scan: a recurrence feeds back what is not rounded yet."""
        return None if product_of(self.step) is None else self.half

    def streams(self) -> "Streams":
        """Return how to reshape inputs: all axes of the neurons, with time on the same axis in all of them."""
        rank = len(self.neurons())
        dim = self.dim if self.dim >= 0 else rank + 1 + self.dim
        return Streams(len(self.states), self.dim, dim, rank, tuple([x.dtype for x in self.xs]))


class Streams(NamedTuple):
    """Make the tensors of a call fit a kernel, by operations that autograd sees."""

    states: int  # the number of states, which come first
    own: int  # axis of time in the inputs as given; may be negative
    dim: int  # axis of time in inputs with all axes of the neurons
    rank: int  # the number of axes of the neurons
    dtypes: tuple[torch.dtype, ...]  # of the inputs

    def aligned(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return states, inputs and parameters in the precision and with the axes that a kernel needs."""
        first, last = self.states, self.states + len(self.dtypes)
        xs = [x.to(dtype) for x, dtype in zip(tensors[first:last], self.dtypes, strict=True)]
        aligned = [_aligned(x, self.own % x.ndim, self.dim, self.rank) for x in xs]
        return [*map(lift, tensors[:first]), *aligned, *map(lift, tensors[last:])]

    def fit(self, tensors: Sequence[Tensor]) -> bool:
        """Return True if the tensors already fit."""
        return all(map(is_, self.aligned(tensors), tensors))


def product_of(step: Any) -> str | None:
    """Return the name of the product between the steps of a recurrence; None if the step is elementwise."""
    step = records_inside(step)
    return PRODUCTS.get(step.synapse) if isinstance(step, Recurrent) else None


def multiplies(step: Any) -> bool:
    """Return True if a step, or one that it wraps, says that it multiplies by matrices, which takes the loop."""
    return getattr(step, "multiplies", False) or (hasattr(step, "step") and multiplies(step.step))


def unbound(step: Any, params: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a step without its bound arguments, and all its parameters; defaults count as parameters.

    The neuron of a recurrence with a product is a step as well, and its records are inside of the recurrence.
    """
    given = dict(params)
    if product_of(step) is not None:
        recurrent = records_inside(step)
        neuron, given = unbound(recurrent.step, given)
        return Recurrent(neuron, recurrent.synapse), given
    while isinstance(step, functools.partial) and not step.args:
        given = {**step.keywords, **given}
        step = step.func
    if isinstance(step, FunctionType) and not torch.compiler.is_dynamo_compiling():
        names, defaults = _names(step.__code__), step.__defaults__
        if names and defaults:
            defaults = defaults[-len(names) :]
            given = {**dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)), **given}
        if step.__kwdefaults__:
            given = {**step.__kwdefaults__, **given}
    return step, given


@functools.lru_cache(maxsize=256)
def _names(code: CodeType) -> tuple[str, ...]:
    """Return the arguments after state and input that can be passed by name and by position."""
    return code.co_varnames[max(2, code.co_posonlyargcount) : code.co_argcount]


def _aligned(x: Tensor, own: int, dim: int, rank: int) -> Tensor:
    """Return an input with all axes of the neurons, and time on the same axis as in the other inputs."""
    if x.ndim == rank + 1 and own == dim:
        return x
    first = x.movedim(own, 0)
    return first[(slice(None), *(None,) * (rank + 1 - x.ndim))].movedim(0, dim)
