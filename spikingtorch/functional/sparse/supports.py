"""Supports: the places where gradients of spikes are wanted, for the layers that read the spikes."""

import weakref
from typing import Any

from torch import Tensor

from spikingtorch.functional.sparse.c_abi import failure

# autograd's names of operations that keep all numbers in order: views, and copies to other memory
_SAME = ("ViewBackward0", "ReshapeAliasBackward0", "UnsafeViewBackward0", "CloneBackward0")


class Supports:
    """The spikes of one call of a network whose derivative is zero at some places.

    Spikes are identified by their node in the autograd graph: results computed from them, and in-place writes, have
    another node.
    """

    def __init__(self) -> None:
        self._of: dict[Any, tuple[weakref.ref[Tensor], Tensor]] = {}

    @property
    def has_readers(self) -> bool:
        """Return True if there are kernels that use this."""
        return failure() is None

    def note(self, spikes: Tensor, support: Tensor) -> None:
        """Record where the derivative of spikes is not zero, as long as their memory is alive."""
        node, base = spikes.grad_fn, spikes if spikes._base is None else spikes._base
        if node is not None:
            self._of[node] = weakref.ref(base, lambda _: self._of.pop(node, None)), support

    def of(self, x: Tensor) -> Tensor | None:
        """Return where the gradient of a tensor is wanted, if it is a view or copy of spikes; None if everywhere."""
        node: Any = x.grad_fn
        while (found := self._of.get(node)) is None and type(node).__name__ in _SAME:
            node = node.next_functions[0][0]
        return None if found is None else found[1].reshape(x.shape)

    def clear(self) -> None:
        """Forget all of them."""
        self._of.clear()
