"""Trees of tensors: tuples, NamedTuples, lists and dicts of them, however deep.

Torch's pytree decides what is a node and what is a leaf. The kinds above are flattened here, because pytree takes as
long as a scan of few neurons. Pytree flattens every other kind.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from spikingtorch.functional.core.torch_private import pytree

Tree = TypeVar("Tree")
# of a leaf: LEAF; of a node: its kind, its keys if it has some, and the forms of its children; else pytree's form
Form: TypeAlias = Hashable
LEAF: Form = None
# tensors in a row, and their gradients: None stands for a gradient that is zero or not wanted
Tensors: TypeAlias = Sequence[Tensor]
Gradients: TypeAlias = Sequence[Tensor | None]

_LEAVES = {Tensor, torch.nn.Parameter, float, int, bool, str, type(None), FunctionType, BuiltinFunctionType}


def tree_map(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Return a tree of the same form with the function applied to its leaves and the matching leaves of ``rest``."""
    found: Tree
    if type(tree) in _LEAVES or isinstance(tree, Tensor):  # most trees are one leaf, which is mapped quickly
        found = function(tree, *rest)
    elif rest or torch.compiler.is_dynamo_compiling():
        found = pytree.tree_map(function, tree, *rest)
    else:
        leaves, form = flatten(tree)
        found = unflatten(map(function, leaves), form)
    return found


def leaves_of(tree: Any) -> list[Any]:
    """Return the leaves of a tree."""
    if type(tree) is Tensor:
        return [tree]
    return pytree.tree_leaves(tree) if torch.compiler.is_dynamo_compiling() else flatten(tree)[0]


def flatten(tree: Any) -> tuple[list[Any], Form]:
    """Return the leaves of a tree, and its form."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def unflatten(leaves: Any, form: Form) -> Any:
    """Return the tree of a form with the given leaves."""
    return _unflatten(iter(leaves), form)


def types_of(form: Form) -> Iterator[type]:
    """Yield the types of the nodes of a tree."""
    if isinstance(form, pytree.TreeSpec):
        yield from (each for each in (form.type, form.context) if isinstance(each, type))
        children = form.children()
    else:
        kind, _, *children = cast(Any, form) or (None, None)
        if kind is not None:
            yield kind
    for child in children:
        yield from types_of(child)


def _flatten(tree: Any, leaves: list[Any]) -> Form:
    kind: Any = type(tree)
    if kind in _LEAVES:
        leaves.append(tree)
        return LEAF
    if kind is dict:
        return (dict, tuple(tree), *[_flatten(child, leaves) for child in tree.values()])
    if kind is tuple or kind is list or _is_named(kind):
        return (kind, None, *[_flatten(child, leaves) for child in tree])
    if kind not in pytree.SUPPORTED_NODES:  # for instance a surrogate: pytree finds this too, in ten times as long
        leaves.append(tree)
        return LEAF
    found, spec = pytree.tree_flatten(tree)
    leaves += found
    return LEAF if spec.is_leaf() else spec


def _unflatten(leaves: Iterator[Any], form: Form) -> Any:
    if form is LEAF:
        return next(leaves)
    if type(form) is not tuple:
        spec: Any = form
        return pytree.tree_unflatten([next(leaves) for _ in range(spec.num_leaves)], spec)
    kind, keys, *children = form
    made = [next(leaves) if child is LEAF else _unflatten(leaves, child) for child in children]
    if kind is dict:
        return dict(zip(keys, made, strict=True))
    return kind(made) if kind is tuple or kind is list else kind(*made)


@lru_cache(maxsize=256)
def _is_named(kind: type) -> bool:
    return pytree.is_namedtuple_class(kind)
