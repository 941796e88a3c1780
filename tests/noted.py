"""What a test notes of the calls that the library makes, and of the tensors that autograd saves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor


def calls_of(
    patch: pytest.MonkeyPatch, owner: Any, name: str, note: Callable[..., Any] = lambda result, *args: args
) -> list[Any]:
    """Let a function run as it does, and return a list that each of its calls adds a note to.

    Args:
        patch: takes this back.
        owner: the module or class that has the function.
        name: of the function.
        note: makes a note of the result and the arguments of a call.
    """
    notes: list[Any] = []
    run = getattr(owner, name)

    def noted(*args: Any, **options: Any) -> Any:
        result = run(*args, **options)
        notes.append(note(result, *args))
        return result

    patch.setattr(owner, name, noted)
    return notes


def saved_by(run: Callable[[], Any]) -> list[Tensor]:
    """Return the tensors that autograd saves while something runs."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return kept
