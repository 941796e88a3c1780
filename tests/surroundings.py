"""What a test changes around the library, threads and caches, and what it notes of calls and of saved tensors."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch.functional.core import lru


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Let torch work with so many threads, and then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next call of every step its first one, for the duration of a test."""
    for cache in lru._all:
        monkeypatch.setattr(cache, "_entries", OrderedDict())


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
