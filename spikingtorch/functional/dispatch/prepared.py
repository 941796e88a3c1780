"""Scans that have run before: what was checked and chosen for one holds for the next that only differs in its numbers.

A layer is scanned thousands of times on tensors of one form. To check the arguments, choose a backend and find the
program takes some 0.2 ms each time, which is more than the scan of a small layer takes. All that these depend on is in
the key of a request: what the step reads, by value; the forms of the trees; of each tensor, its dtype and how it
lies in memory.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.modes import are_plain_cpu, in_eager
from spikingtorch.functional.core.precision import HALF
from spikingtorch.functional.core.tree import Form, flatten, types_of, unflatten
from spikingtorch.functional.dispatch.call import Call, unbound
from spikingtorch.functional.dispatch.reference import LoopReference
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.runtime.direct import DirectScan
from spikingtorch.functional.fused.runtime.memory_format import Order, in_order, order_of, out_of_order
from spikingtorch.functional.fused.trace.programs import Arguments, TracedStep
from spikingtorch.functional.fused.trace.step_key import NoStepKey, is_immutable, step_key

_LIMIT = 1024
_TENSOR, _FLOAT = "tensor", "float"


class Request(NamedTuple):
    """A scan that is asked for, of ordinary tensors.

    Attributes:
        key: what the checks, the choice and the program depend on, but for the values of floats.
        step: the step.
        params: its keyword arguments.
        tensors: of the state, of the inputs, and the parameters that are tensors.
        floats: the parameters that are floats.
        state_form: structure of the state.
        differentiates: whether autograd is to know of it.
    """

    key: Hashable
    step: Callable[..., Any]
    params: dict[str, Any]
    tensors: list[Tensor]
    floats: tuple[float, ...]
    state_form: Form
    differentiates: bool

    @property
    def valued(self) -> Hashable:
        """The key with the values of the floats, bit by bit."""
        return self.key, tuple([value.hex() for value in self.floats])


class Prepared(NamedTuple):
    """How to run a request.

    Attributes:
        scan: its program, for tensors that lie in memory as the request's do.
        literals: floats that the step holds itself.
        floats_are_inputs: whether the floats of a request are filled in before them.
        form: structure of the outputs.
        order: of the axes in memory, where that is another one than they have.
        arguments: of the step, without their numbers.
    """

    scan: DirectScan
    literals: tuple[float, ...]
    floats_are_inputs: bool
    form: Form
    order: Order | None
    arguments: Arguments

    def run(self, request: Request) -> tuple[Any, Any]:
        """Return the state after the last step, and the outputs."""
        scalars = request.floats + self.literals if self.floats_are_inputs else self.literals
        tensors = request.tensors if self.order is None else in_order(self.order, request.tensors, self.scan.counts)
        differentiates = request.differentiates
        reference = LoopReference(request.step, self.arguments) if differentiates else None
        finals, outs = self.scan(tensors, scalars, reference)
        if self.order is not None:
            finals, outs = out_of_order(self.order, finals, outs)
        return unflatten(finals, request.state_form), unflatten(outs, self.form)


class _Parameters(NamedTuple):
    """What the parameters of a step are, but for tensors and top-level floats.

    Attributes:
        read: what the step and they can read, by value.
        kinds: of each leaf, in the order of all parameters.
        form: structure of the parameters.
        parts: of each parameter, its name if it is a tensor or float to be looked up,
            else the tensors and floats in it.
        alive: values that the entry is found by, which must not be replaced by others of the same id.
    """

    read: Hashable
    kinds: tuple[str, ...]
    form: Form
    parts: tuple[str | tuple[Tensor | float, ...], ...]
    alive: Any


_prepared: LRUCache[Prepared] = LRUCache(_LIMIT)
_parameters: LRUCache[_Parameters] = LRUCache(_LIMIT)


def request(
    step: Callable[..., Any], state: Any, xs: Any, params: dict[str, Any], dim: int, backend: str
) -> Request | None:
    """Return a request, or None where each scan has to be looked at by itself."""
    if backend not in ("auto", "fused") or not in_eager():
        return None
    tensors, state_form = flatten(state)
    states = len(tensors)
    streams, xs_form = flatten(xs)
    tensors += streams
    try:
        known = _parameters_of(step, params)
        read = known.read, step_key(*_types((state_form, xs_form)))
    except (NoStepKey, NotFusible):
        return None
    floats: list[float] = []
    for part in known.parts:
        for leaf in (params[part],) if isinstance(part, str) else part:
            if isinstance(leaf, Tensor):
                tensors.append(leaf)
            else:
                floats.append(leaf)
    if not are_plain_cpu(tensors):
        return None
    differentiates = torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])
    described = [(tensor.dtype, tensor.shape, tensor.stride()) for tensor in tensors]
    forms = (state_form, xs_form, known.form)
    key = (read, known.kinds, forms, states, *described, dim, backend, differentiates, torch.get_default_dtype())
    return Request(key, step, params, tensors, tuple(floats), state_form, differentiates)


def find(request: Request) -> Prepared | None:
    """Return how to run a request, if one like it has run."""
    return _prepared.get(request.key) or (_prepared.get(request.valued) if request.floats else None)


def keep(request: Request, plan: TracedStep, call: Call, outputs: Any) -> None:
    """Remember how a request was run, unless its tensors had to be made to fit first."""
    counts = len(call.states), len(call.xs), len(call.tensor_params), plan.outputs
    first, last = counts[0], counts[0] + counts[1]
    rank = len(call.neurons())
    fit = all(x.ndim == rank + 1 for x in call.xs)
    lifted = any(tensor.dtype in HALF for tensor in (*request.tensors[:first], *request.tensors[last:]))
    if fit and not lifted:
        dim = call.dim % call.xs[0].ndim
        scan = DirectScan(plan.program, dim, plan.saves_states, plan.differentiable, counts)
        found = Prepared(
            scan, plan.literals, plan.floats_are_inputs, flatten(outputs)[1], order_of(call.xs, dim), call.arguments()
        )
        _prepared.keep(request.key if plan.floats_are_inputs else request.valued, found)


def parts_of(step: Callable[..., Any], params: dict[str, Any]) -> tuple[str | tuple[Tensor | float, ...], ...]:
    """Return where the numbers of a program are: names of parameters, and numbers that stand in the others."""
    return _parameters_of(step, params).parts


def _parameters_of(step: Callable[..., Any], params: dict[str, Any]) -> _Parameters:
    """Return what the parameters of a step are, found again by the objects themselves where these cannot change.

    Raises:
        NoStepKey, NotFusible: they have no identity.
    """
    kinds = [_kind(value) for value in params.values()]
    key = (id(step), *params, *[kind or id(value) for kind, value in zip(kinds, params.values(), strict=True)])
    known = _parameters.get(key)
    if known is None:
        known = _made(step, params)
        if is_immutable(step) and all(
            [kind or is_immutable(value) for kind, value in zip(kinds, params.values(), strict=True)]
        ):
            _parameters.keep(key, known)
    return known


def _kind(value: Any) -> str:
    """Return what kind of leaf to look up a value is, if it is one."""
    return _TENSOR if isinstance(value, Tensor) else _FLOAT if type(value) is float else ""


def _made(step: Callable[..., Any], params: dict[str, Any]) -> _Parameters:
    function, given = unbound(step, params)
    leaves, form = flatten(given)
    kinds = [_TENSOR if isinstance(leaf, Tensor) else _FLOAT if isinstance(leaf, float) else "" for leaf in leaves]
    read = step_key(function, *_types((form,)), *[leaf for leaf, kind in zip(leaves, kinds, strict=True) if not kind])
    parts: list[str | tuple[Tensor | float, ...]] = []
    for name, value in given.items():
        numbers = [leaf for leaf in flatten(value)[0] if isinstance(leaf, Tensor | float)]
        looked_up = name in params and _kind(value)
        parts.append(name if looked_up else tuple(numbers))
    alive = [value for value in params.values() if not _kind(value)]
    return _Parameters(read, tuple(kinds), form, tuple(parts), (step, alive))


@lru_cache(maxsize=256)
def _types(forms: tuple[Form, ...]) -> tuple[type, ...]:
    return tuple([each for form in forms for each in types_of(form)])
