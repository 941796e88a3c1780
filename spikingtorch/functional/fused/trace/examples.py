"""The example tensors of a trace."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.shapes import broadcast
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.fused.errors import NotFusible

# Lengths of the first, the odd and the even axes in two traces. All lengths and their products differ between the
# traces, and neighbours differ within a trace, so a view that moves neurons is noticed.
SIZES = ((2, 3, 2), (4, 2, 3))


class Spec(NamedTuple):
    """All that a trace needs of a tensor: its dtype and the axes of length one, without time."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, dtype: torch.dtype, shape: Sequence[int]) -> "Spec":
        """Return the spec of a tensor of one step: a length is 1, or 2 for any other length."""
        return cls(dtype, tuple(1 if size == 1 else 2 for size in shape))


class Examples:
    """Distinct small tensors with the ranks, dtypes and axes of length one of the real tensors."""

    def __init__(self, specs: tuple[Any, Any, Any], lift_floats: bool, sizes: tuple[int, int, int]) -> None:
        flat = [pytree.tree_flatten(tree, is_leaf=is_spec) for tree in specs]
        shapes = [leaf.shape for leaves, _ in flat for leaf in leaves if isinstance(leaf, Spec)]
        try:
            real = broadcast(shapes)
        except ValueError as error:
            raise NotFusible(str(error)) from None
        first, odd, even = sizes
        lengths = [first if axis == 0 else odd if axis % 2 else even for axis in range(len(real))]
        self.shape = tuple(1 if n == 1 else length for n, length in zip(real, lengths, strict=True))
        self.floats: list[Tensor] = []
        self.tensors: tuple[list[Tensor], ...] = ([], [], [])
        self.trees = tuple(
            pytree.tree_unflatten([self._example(leaf, kind, lift_floats) for leaf in leaves], form)
            for (leaves, form), kind in zip(flat, self.tensors, strict=True)
        )

    @property
    def leaves(self) -> list[Tensor]:
        """The states, inputs and parameters, in this order."""
        return [tensor for kind in self.tensors for tensor in kind]

    def _example(self, leaf: Any, kind: list[Tensor], lift_floats: bool) -> Any:
        if isinstance(leaf, Spec):
            ours = self.shape[len(self.shape) - len(leaf.shape) :]
            shape = [1 if n == 1 else size for n, size in zip(leaf.shape, ours, strict=True)]
            dtype = torch.float32 if leaf.dtype in (torch.float16, torch.bfloat16) else leaf.dtype
            kind.append(torch.ones(shape, dtype=dtype, device=HOST, requires_grad=dtype.is_floating_point))
            return kind[-1]
        if lift_floats and isinstance(leaf, float) and kind is self.tensors[2]:
            self.floats.append(torch.tensor(leaf, dtype=torch.float64, device=HOST))
            return self.floats[-1]
        return leaf


def is_spec(leaf: Any) -> bool:
    """Return True if a leaf of a tree stands for a tensor."""
    return isinstance(leaf, Spec)
