"""The signature of a scan: all that its checks, its backend and its program depend on, but for numbers.

A scan is called thousands of times on tensors of one form. To check the arguments, to choose a backend and to find the
program takes some 0.2 ms each time, which is more than the scan of a small layer takes. So a call is looked up by its
signature: what the step reads, by value; the forms of the trees; of each tensor, its dtype and how it lies in memory.
"""

import functools
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from spikingtorch.functional.core.guard import Guard
from spikingtorch.functional.core.lru import LRUCache, Memo
from spikingtorch.functional.core.modes import described, in_eager
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import LEAF, Form, flatten, types_of
from spikingtorch.functional.dispatch.call import unbound
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.runtime.targets import target_of
from spikingtorch.functional.fused.trace.snapshot import held, is_immutable

_LIMIT, _OWN = 1024, 64
_TENSOR, _FLOAT = "tensor", "float"
# what is looked up in the arguments of each call; a scan with another kind of tensor has no signature in the end
_LOOKED_UP: dict[type[Any], Hashable] = {float: _FLOAT, Tensor: _TENSOR, torch.nn.Parameter: _TENSOR}


class Signature(NamedTuple):
    """A scan of tensors, flattened once.

    Attributes:
        known: what it depends on but for tensors and top-level floats.
        form: what else it is looked up by.
        step: the step.
        params: its keyword arguments.
        tensors: of the state unless it is at rest, of the inputs, and the parameters that are tensors.
        floats: the parameters that are floats.
        differentiates: whether autograd is to know of it.
    """

    known: "_Parameters"
    form: Hashable
    step: Callable[..., Any]
    params: dict[str, Any]
    tensors: list[Tensor]
    floats: tuple[float, ...]
    differentiates: bool

    @property
    def key(self) -> Hashable:
        """What it is looked up by, wherever its step comes from."""
        return self.known.key, self.form

    @property
    def state_form(self) -> Form:
        """Structure of the state."""
        return self.known.state_form

    @property
    def is_plain(self) -> bool:
        """Whether its tensors are plain ones, on a device with a target: what has run before is known to be so."""
        return target_of(self.tensors) is not None

    @property
    def valued(self) -> Hashable:
        """The key with the values of the floats, bit by bit."""
        return self.key, tuple([value.hex() for value in self.floats])


def signature(
    step: Callable[..., Any], state: Any, xs: Any, params: dict[str, Any], dim: int, backend: str
) -> Signature | None:
    """Return the signature of a scan, or None if each such scan has to be looked at by itself."""
    if backend not in ("auto", "fused") or not in_eager():
        return None
    tensors, state_form = flatten(state)
    streams, xs_form = flatten(xs)
    known = _known(step, params, (state_form, xs_form))
    if known is None:
        return None
    return _signed(known, step, params, [*tensors, *streams], (len(tensors), dim, backend))


class FoldedStep(NamedTuple):
    """A step with its parameters, as folded scans take it where nothing traces or transforms them.

    Attributes:
        step: the step.
        params: its keyword arguments.
        known: what such a scan depends on but for tensors and top-level floats.
    """

    step: Callable[..., Any]
    params: dict[str, Any]
    known: "_Parameters"

    @classmethod
    def of(cls, step: Callable[..., Any], state_type: type[Any], params: dict[str, Any]) -> "FoldedStep | None":
        """Return a step with its parameters, or None if each of its scans has to be looked at by itself.

        Args:
            step: the step.
            state_type: NamedTuple of the state's tensors, all of which are zero at first.
            params: keyword arguments of the step.
        """
        form = (state_type, None, *[LEAF] * len(getattr(state_type, "_fields", ())))
        known = _known(step, params, (form, LEAF))
        return None if known is None else cls(step, params, known)

    def signature(self, xs: Sequence[Tensor], fold: tuple[int, int], states: Sequence[Tensor] = ()) -> Signature | None:
        """Return the signature of a scan over inputs (N T, ...), or None if they are no plain tensors.

        Args:
            xs: the inputs.
            fold: N samples and T steps.
            states: the leaves of the first state; none for a scan from rest.
        """
        return _signed(self.known, self.step, self.params, [*states, *xs], (len(states), len(xs), fold))


def _known(step: Callable[..., Any], params: dict[str, Any], forms: tuple[Any, ...]) -> "_Parameters | None":
    try:
        return _parameters_of(step, params, forms)
    except NotFusible:
        return None


def _signed(
    known: "_Parameters", step: Callable[..., Any], params: dict[str, Any], tensors: list[Any], options: Hashable
) -> Signature | None:
    floats: Any = tuple([params[each] if type(each) is str else each for each in known.floats])
    tensors += [params[each] if type(each) is str else each for each in known.tensors]
    forms = described(tensors)
    if forms is None or None in forms:
        return None
    differentiates = torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])
    zeros = 0.0 in floats and tuple([value == 0.0 for value in floats])  # which a step may divide by
    form = (options, zeros, differentiates, torch.get_default_dtype(), *forms)
    return Signature(known, form, step, params, tensors, floats, differentiates)


class _Parameters(NamedTuple):
    """What a scan depends on but for tensors and top-level floats.

    Attributes:
        key: of the step, of what its parameters and the types of all trees can read, by value; and the trees' forms.
        floats: the floats in the parameters, or the name of a parameter that is one and is looked up at each call.
        tensors: the same of the tensors.
        state_form: structure of the state.
        guard: whether that holds still.
        bounds: how scans have run, by the form of their signature.
        alive: what the entry was found by, so that an object of the same id is not taken for it.
    """

    key: Hashable
    floats: tuple[str | float, ...]
    tensors: tuple[str | Tensor, ...]
    state_form: Form
    guard: Guard
    bounds: Memo[Any]
    alive: tuple[Any, ...]


_parameters: LRUCache[_Parameters] = LRUCache(_LIMIT)


def _parameters_of(step: Callable[..., Any], params: dict[str, Any], forms: tuple[Form, ...]) -> _Parameters:
    """Return what a scan depends on, found by the objects themselves while a guard sees no change.

    Raises:
        NotFusible: they have no key.
    """
    values = params.values()
    key = (id(step), forms, *params, *map(_LOOKED_UP.get, map(type, values), map(id, values)))
    known = _parameters.get(key)
    if known is not None and known.guard.unchanged():
        return known
    found = [step, *[value for value in values if type(value) not in _LOOKED_UP]]
    known, cache = _made(step, params, forms), _parameters  # which has no name any more when Python ends
    try:
        # what cannot change is shared by all, and what can dies with its owner: the entry goes first
        alive = [each if is_immutable(each) else weakref.ref(each, lambda _: cache.drop(key)) for each in found]
    except TypeError:  # a list, say
        return known
    known = known._replace(alive=tuple(alive))
    _parameters.keep(key, known)
    return known


def _made(step: Callable[..., Any], params: dict[str, Any], forms: tuple[Form, ...]) -> _Parameters:
    function, given = unbound(step, params)
    leaves, form = flatten(given)
    kinds = [_TENSOR if isinstance(leaf, Tensor) else _FLOAT if isinstance(leaf, float) else "" for leaf in leaves]
    others = [leaf for leaf, kind in zip(leaves, kinds, strict=True) if not kind]
    found = held(function, *[each for tree in (form, *forms) for each in types_of(tree)], *others)
    read, guard = found.key, found.guard
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
                # numpy's float64 is a float of another kind, and no signature takes it
                (floats if type(leaf) is float else tensors).append(name if looked_up else leaf)
    guard.watch_nothing(_has_other_nodes(form))
    return _Parameters(
        (read, tuple(kinds), form, forms), tuple(floats), tuple(tensors), forms[0], guard, Memo(_OWN), ()
    )


def _has_other_nodes(form: Form) -> bool:
    """Say whether there is a node in a tree that no guard looks into."""
    if isinstance(form, pytree.TreeSpec):
        return True
    return form is not LEAF and any([_has_other_nodes(child) for child in cast(Any, form)[2:]])
