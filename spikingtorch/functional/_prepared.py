"""Scans that have run before: what was checked and chosen for one holds for the next that only differs in its numbers.

A layer is scanned thousands of times on tensors of one form. To check the arguments, choose a backend and find the program
takes some 0.2 ms each time, which is more than the scan of a small layer takes. All that these depend on is in the key
of a request: what the step reads, by value; the forms of the trees; of each tensor, its dtype and how it lies in memory.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional._call import HALF, Call, unbound
from spikingtorch.functional._ordinary import ordinary, undisturbed
from spikingtorch.functional._recent import Recent
from spikingtorch.functional._tree import Form, flatten, types_of, unflatten
from spikingtorch.functional.fused import autograd
from spikingtorch.functional.fused.builder import Refusal
from spikingtorch.functional.fused.identity import Unknown, identity
from spikingtorch.functional.fused.plan import Plan

_LIMIT = 1024
_TENSOR, _FLOAT, _OTHER = "tensor", "float", "other"


class Request(NamedTuple):
    """A scan that is asked for, of ordinary tensors.

    Attributes:
        key: what the checks, the choice and the program depend on, but for the values of floats.
        tensors: of the state, of the inputs, and the parameters that are tensors.
        floats: the parameters that are floats.
        state_form: structure of the state.
        differentiates: whether autograd is to know of it.
    """

    key: Hashable
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
        plan: the plan of its step.
        dim: axis of time, counted from the front.
        counts: how many states, inputs, parameters and outputs there are.
        form: structure of the outputs.
    """

    plan: Plan
    dim: int
    counts: autograd.Counts
    form: Form

    def run(self, request: Request) -> tuple[Any, Any]:
        """Return the state after the last step, and the outputs."""
        plan, (states, _, _, outs) = self.plan, self.counts
        scalars = (*(request.floats if plan.lifts_floats else ()), *plan.literals)
        results = autograd.ordinary_scan(
            plan.program,
            self.dim,
            plan.keeps,
            plan.differentiable,
            scalars,
            self.counts,
            request.tensors,
            request.differentiates,
        )
        return unflatten(results[:states], request.state_form), unflatten(results[states : states + outs], self.form)


_prepared: Recent[Prepared] = Recent(_LIMIT)


def request(
    step: Callable[..., Any], state: Any, xs: Any, params: dict[str, Any], dim: int, backend: str
) -> Request | None:
    """Return a request, or None where each scan has to be looked at by itself."""
    if backend == "loop" or not undisturbed():
        return None
    step, given = unbound(step, params)
    tensors, state_form = flatten(state)
    states = len(tensors)
    streams, xs_form = flatten(xs)
    tensors += streams
    values, params_form = flatten(given)
    floats: list[float] = []
    others: list[Any] = []
    kinds: list[str] = []
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
            kinds.append(_TENSOR)
        elif isinstance(value, float):
            floats.append(float(value))
            kinds.append(_FLOAT)
        else:
            others.append(value)
            kinds.append(_OTHER)
    if not ordinary(tensors):
        return None
    forms = (state_form, xs_form, params_form)
    try:
        read = identity(step, *_types(forms), *others)
    except (Unknown, Refusal):
        return None
    differentiates = torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])
    described = [(tensor.dtype, tensor.shape, tensor.stride()) for tensor in tensors]
    key = (
        read,
        forms,
        states,
        *kinds,
        *described,
        dim,
        backend,
        differentiates,
        torch.get_default_dtype(),
    )
    return Request(key, tensors, tuple(floats), state_form, differentiates)


def find(request: Request) -> Prepared | None:
    """Return how to run a request, if one like it has run."""
    return _prepared.get(request.key) or (_prepared.get(request.valued) if request.floats else None)


def keep(request: Request, plan: Plan, call: Call, outputs: Any) -> None:
    """Remember how a request was run, unless its tensors had to be made to fit first."""
    counts = len(call.states), len(call.xs), len(call.tensor_params), plan.outputs
    first, last = counts[0], counts[0] + counts[1]
    rank = len(call.neurons())
    fit = all(x.ndim == rank + 1 for x in call.xs)
    lifted = any(tensor.dtype in HALF for tensor in (*request.tensors[:first], *request.tensors[last:]))
    if fit and not lifted:
        found = Prepared(plan, call.dim % call.xs[0].ndim, counts, flatten(outputs)[1])
        _prepared.keep(request.key if plan.lifts_floats else request.valued, found)


@lru_cache(maxsize=256)
def _types(forms: tuple[Form, ...]) -> tuple[type, ...]:
    return tuple([each for form in forms for each in types_of(form)])
