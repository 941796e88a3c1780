"""The one rule about memory: a kept state shares no memory with tensors that the caller can write to."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.torch_private import get_unwrapped, is_alias_of, is_functorch_wrapped_tensor
from spikingtorch.functional.core.tree import leaves_of, tree_map

Tree = TypeVar("Tree")
Copied = TypeVar("Copied", bound=nn.Module)


def unshared(kept: Tree, others: Any) -> Tree:
    """Return a tree whose tensors share no memory with the others or with each other; copy those that do.

    A step may return its input, its old state, a parameter or its output as the new state. An in-place write on one of
    these, by ``nn.ReLU(inplace=True)`` or by refilling a buffer, would change the state as well.
    """
    if torch.compiler.is_compiling():  # tensors have no address there; the compiler removes a useless copy
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
    """Return the tensor inside the wrappers of ``torch.func``."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor


def copied(module: Copied) -> Copied:
    """Return a deep copy of a module; tensors that are part of an autograd graph are copied without it.

    Such tensors are stored outputs, and weights that torch's hooks compute; the copy computes these anew.
    """
    values = [value for each in module.modules() for value in leaves_of(vars(each)) if isinstance(value, Tensor)]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in values if value.grad_fn is not None})


def version_of(tensor: Tensor) -> int:
    """Return the version counter of a tensor; 0 for inference tensors, which have no counter."""
    return 0 if tensor.is_inference() else tensor._version
