"""The signature of a scan: all that its checks, its backend and its program depend on, except numbers.

A scan is called thousands of times on tensors of one form. Checking the arguments, choosing a backend and finding the
program takes about 0.2 ms each time, more than the scan of a small layer. So a call is looked up by its signature: the
values that the step reads; the forms of the trees; the dtype and the memory layout of each tensor.
"""

import functools
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from spikingtorch.functional.core.guard import Guard
from spikingtorch.functional.core.lru import LRUCache, Memo
from spikingtorch.functional.core.modes import described, in_eager
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import LEAF, Form, flatten, types_of
from spikingtorch.functional.dispatch.call import product_of, unbound
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.trace.snapshot import is_immutable, whole_snapshot
from spikingtorch.functional.recorded import records_inside

_LIMIT, _OWN = 1024, 256
_TENSOR, _FLOAT = "tensor", "float"
# read from the arguments of each call; a scan with another kind of tensor gets no signature in the end
_LOOKED_UP: dict[type[Any], Hashable] = {float: _FLOAT, Tensor: _TENSOR, torch.nn.Parameter: _TENSOR}


class Signature(NamedTuple):
    """A scan of tensors, flattened once."""

    known: "Parameters"  # all that it depends on except tensors and top-level floats
    form: Hashable  # the rest of the key
    step: Callable[..., Any]  # the step
    params: dict[str, Any]  # its keyword arguments
    tensors: list[Tensor]  # those of the state, of the inputs and of the parameters
    floats: tuple[float, ...]  # the parameters that are floats

    @property
    def key(self) -> Hashable:
        """The key of the lookup, wherever the step comes from."""
        return self.known.key, self.form

    @property
    def valued(self) -> Hashable:
        """The key with the exact bits of the floats."""
        return self.key, tuple([value.hex() for value in self.floats])


def signature(
    step: Callable[..., Any], state: Any, xs: Any, params: dict[str, Any], dim: int, backend: str
) -> Signature | None:
    """Return the signature of a scan, or None if each such scan has to be examined anew."""
    if backend not in ("auto", "fused") or not in_eager():
        return None
    tensors, state_form = flatten(state)
    streams, xs_form = flatten(xs)
    known = known_parameters(step, params, (state_form, xs_form))
    if known is None:
        return None
    floats = known.floats_of(params)
    numbers = [*tensors, *streams, *known.tensors_of(params)]
    form = known.form((len(tensors), dim, backend), floats, numbers)
    return None if form is None else Signature(known, form, step, params, numbers, floats)


def known_parameters(step: Callable[..., Any], params: dict[str, Any], forms: tuple[Form, ...]) -> "Parameters | None":
    """Return what a scan depends on besides tensors and floats; None if each such scan has to be examined anew.

    ``forms`` are those of the trees of the state and of the inputs.
    """
    try:
        return _parameters_of(step, params, forms)
    except NotFusible:
        return None


class Parameters(NamedTuple):
    """All that a scan depends on except tensors and top-level floats."""

    # the values that the step, its parameters and the types of all trees can read; and the forms of the trees
    key: Hashable
    # the floats in the parameters, or the name of a parameter that is a float and is read at each call
    floats: tuple[str | float, ...]
    tensors: tuple[str | Tensor, ...]  # the same for the tensors
    state_form: Form  # structure of the state
    guard: Guard  # whether that holds still
    bounds: Memo[Any]  # how scans have run, by the form of their signature
    # the objects of the key, so that another object of the same id is not mistaken for one of them
    alive: tuple[Any, ...]

    def floats_of(self, params: Mapping[str, Any]) -> tuple[float, ...]:
        """Return the floats of a scan."""
        found: Any = [params[each] if type(each) is str else each for each in self.floats]
        return tuple(found)

    def tensors_of(self, params: Mapping[str, Any]) -> list[Tensor]:
        """Return the tensors among the parameters of a scan."""
        found: Any = [params[each] if type(each) is str else each for each in self.tensors]
        return list(found)

    def form(self, options: Hashable, floats: tuple[float, ...], tensors: list[Any]) -> Hashable | None:
        """Return the form of a scan, for ``bounds``; None if a tensor is no plain one."""
        forms = described(tensors)
        if forms is None or None in forms:
            return None
        zeros = 0.0 in floats and tuple([value == 0.0 for value in floats])  # a step may divide by zero
        return (options, zeros, torch.is_grad_enabled(), torch.get_default_dtype(), *forms)


_parameters: LRUCache[Parameters] = LRUCache(_LIMIT)


def _parameters_of(step: Callable[..., Any], params: dict[str, Any], forms: tuple[Form, ...]) -> Parameters:
    """Return what a scan depends on, by its objects while a guard sees no change; or raise NotFusible."""
    values = params.values()
    key = (id(step), forms, *params, *map(_LOOKED_UP.get, map(type, values), map(id, values)))
    known = _parameters.get(key)
    if known is not None and known.guard.unchanged():
        return known
    found = [step, *[value for value in values if type(value) not in _LOOKED_UP]]
    known, cache = _made(step, params, forms), _parameters  # the module has lost this name when Python shuts down
    try:
        # immutable objects are shared by all; a mutable object dies with its owner, and its entry is removed first
        alive = [each if is_immutable(each) else weakref.ref(each, lambda _: cache.drop(key)) for each in found]
    except TypeError:  # a list, say
        return known
    known = known._replace(alive=tuple(alive))
    _parameters.keep(key, known)
    return known


def _made(step: Callable[..., Any], params: dict[str, Any], forms: tuple[Form, ...]) -> Parameters:
    function, given = unbound(step, params)
    leaves, form = flatten(given)
    kinds = [_TENSOR if isinstance(leaf, Tensor) else _FLOAT if isinstance(leaf, float) else "" for leaf in leaves]
    others = [leaf for leaf, kind in zip(leaves, kinds, strict=True) if not kind]
    found = whole_snapshot(function, *[each for tree in (form, *forms) for each in types_of(tree)], *others)
    read, guard = found.key, found.guard
    step = step if product_of(step) is None else records_inside(step).step
    while isinstance(step, functools.partial) and not step.args:
        guard.watch_mapping(step.keywords)
        step = step.func
    floats: list[Any] = []
    tensors: list[Any] = []
    for name, value in given.items():
        guard.watch_tree(value)
        looked_up = name in params and type(value) in _LOOKED_UP
        for leaf in flatten(value)[0]:
            if isinstance(leaf, Tensor | float):
                # numpy's float64 is a subclass of float, and no signature takes it
                (floats if type(leaf) is float else tensors).append(name if looked_up else leaf)
    guard.watch_nothing(_has_other_nodes(form))
    return Parameters((read, tuple(kinds), form, forms), tuple(floats), tuple(tensors), forms[0], guard, Memo(_OWN), ())


def _has_other_nodes(form: Form) -> bool:
    """Return True if a tree has a node that no guard looks into."""
    if isinstance(form, pytree.TreeSpec):
        return True
    return form is not LEAF and any([_has_other_nodes(child) for child in cast(Any, form)[2:]])
