"""The one rule about memory: a state that is kept shares it with nothing that the caller can write on."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.torch_private import get_unwrapped, is_alias_of, is_functorch_wrapped_tensor
from spikingtorch.functional.core.tree import leaves_of, tree_map

Tree = TypeVar("Tree")
Copied = TypeVar("Copied", bound=nn.Module)


def unshared(kept: Tree, others: Any) -> Tree:
    """Return a tree whose tensors share memory with none of the others, and not with each other: copies where they did.

    A step may return its input, its old state, a parameter or its output as the new state. Whoever writes on one of
    these in place, as ``nn.ReLU(inplace=True)`` does and a buffer that is filled again, would write on the state.

    Args:
        kept: a tree of tensors.
        others: a tree that may hold anything; its tensors belong to somebody else.
    """
    if torch.compiler.is_compiling():  # where no tensor has an address; the compiler leaves out a copy of no use
        return tree_map(torch.clone, kept)
    taken = [plain(leaf) for leaf in leaves_of(others) if isinstance(leaf, Tensor)]

    def own(leaf: Tensor) -> Tensor:
        mine = plain(leaf)
        if any([mine is other or is_alias_of(mine, other) for other in taken]):
            leaf = leaf.clone()
        taken.append(plain(leaf))
        return leaf

    return tree_map(own, kept)


def plain(tensor: Tensor) -> Tensor:
    """Return the tensor that the wrappers of ``torch.func`` are around."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor


def copied(module: Copied) -> Copied:
    """Return a deep copy of a module, without the graph of what is part of one and could not be copied.

    That are outputs that are kept, and weights that torch's hooks compute, which the copy computes anew.
    """
    values = [value for each in module.modules() for value in leaves_of(vars(each)) if isinstance(value, Tensor)]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in values if value.grad_fn is not None})
