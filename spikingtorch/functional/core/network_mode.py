"""NetworkMode: a mode that sees a network's calls of torch functions, but not those of its spiking layers."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from spikingtorch.functional.core.torch_private import (
    function_mode_at,
    number_of_function_modes,
    pop_function_mode,
    push_function_mode,
)

T = TypeVar("T")
_number, _at = number_of_function_modes, function_mode_at


class NetworkMode(TorchFunctionMode):
    """The base class of modes around a network; spiking layers run their torch functions in ``aside``.

    A mode that ``sees_delays`` also sees the functions of layers that are linear but for their delays.
    """

    sees_delays = False

    def __enter__(self) -> "NetworkMode":
        push_function_mode(self)
        return self

    def __exit__(self, *error: object) -> None:
        # code that was interrupted inside ``aside`` may have left other modes there, or none
        if (number := _number()) and _at(number - 1) is self:
            pop_function_mode()

    def saw(self, func: Any, out: Any, args: Any, kwargs: Any) -> None:
        """Record the call of a function that has returned."""

    def mark(self) -> Any:
        """Return a mark to go back to if steps have to run again."""

    def rewind(self, mark: Any) -> None:
        """Forget all calls after a mark."""


class outside_network_modes:  # noqa: N801
    """A context in which torch functions run without the modes of the network around them.

    It serves code that calls many torch functions and no layers. It also serves a network inside another one, which has
    its own modes or none.
    """

    def __enter__(self) -> list[NetworkMode]:
        self._modes: list[NetworkMode] = []
        if torch.compiler.is_dynamo_compiling():
            return self._modes
        while (number := _number()) and isinstance(last := _at(number - 1), NetworkMode):
            self._modes.append(last)
            pop_function_mode()
        return self._modes

    def __exit__(self, *error: object) -> None:
        for mode in reversed(self._modes):
            push_function_mode(mode)


def run_outside(work: Callable[..., T], *args: Any) -> T:
    """Return the result of ``work``, which runs without the modes of the network around it."""
    if torch.compiler.is_dynamo_compiling() or not _number():
        return work(*args)
    with outside_network_modes():
        return work(*args)


def run_beside_counts(work: Callable[..., T], *args: Any) -> T:
    """Return the result of ``work``, which runs with those modes of the network around it that see delays."""
    if torch.compiler.is_dynamo_compiling() or not _number():
        return work(*args)
    with outside_network_modes() as modes, ExitStack() as stack:
        for mode in reversed(modes):
            if mode.sees_delays:
                push_function_mode(mode)
                stack.push(mode)
        return work(*args)


def tell_modes(func: Any, out: Any, *args: Any) -> None:
    """Tell the modes around a network that a kernel has replaced a call of a torch function."""
    if torch.compiler.is_compiling():
        return
    with outside_network_modes() as modes:
        for mode in modes:
            mode.saw(func, out, args, {})
