"""Trees of tensors: tuples, NamedTuples, lists and dicts of them, however deep."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor
from torch.utils import _pytree as pytree

Tree = TypeVar("Tree")


def tree_map(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """Return a tree of the same form with the function applied to its leaves, and to those of the rest beside them."""
    if isinstance(tree, Tensor):  # as most are, and a tree of one leaf is quickly mapped
        return cast(Tree, function(tree, *rest))
    return cast(Tree, pytree.tree_map(function, tree, *rest))
