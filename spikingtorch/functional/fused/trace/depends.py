"""On which leaves a result depends, as autograd sees it: where it has a gradient, though it may be zero."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def depends_on(result: Tensor, leaves: Sequence[Tensor]) -> tuple[bool, ...]:
    """Return for each leaf whether the result requires a gradient because the leaf does."""
    seen: set[Any] = set()
    ahead: list[Any] = [result.grad_fn]
    found = {id(result)} if result.requires_grad else set[int]()
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.add(id(getattr(node, "variable", None)))  # what a leaf's gradient is added to
            ahead += [function for function, _ in node.next_functions]
    return tuple(id(leaf) in found for leaf in leaves)
