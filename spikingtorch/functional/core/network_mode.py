"""NetworkMode: a mode that sees the functions of torch that a network calls, and none of its spiking layers."""

from collections.abc import Callable
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
    """The base of modes that are entered around a network; spiking layers step ``aside``."""

    def __enter__(self) -> "NetworkMode":
        push_function_mode(self)
        return self

    def __exit__(self, *error: object) -> None:
        # whoever was interrupted while it stepped aside has left others there, or none
        if (number := _number()) and _at(number - 1) is self:
            pop_function_mode()

    def saw(self, func: Any, out: Any, args: Any, kwargs: Any) -> None:
        """Take note of a call of a function that has returned."""

    def mark(self) -> Any:
        """Return what to go back to if steps have to run once more."""

    def rewind(self, mark: Any) -> None:
        """Forget what was seen after a mark."""


class outside_network_modes:  # noqa: N801
    """Within it, functions of torch run without asking the modes of the network around.

    For code that calls many of them, and no layers; and for a network within another one, which has modes of its own,
    or none.
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


def aside(work: Callable[..., T], *args: Any) -> T:
    """Return what work returns, which runs without asking the modes of the network around."""
    if torch.compiler.is_dynamo_compiling() or not _number():
        return work(*args)
    with outside_network_modes():
        return work(*args)


def tell_modes(func: Any, out: Any, *args: Any) -> None:
    """Tell the modes around a network of a call that a kernel has computed in the place of a function of torch."""
    if torch.compiler.is_compiling():
        return
    with outside_network_modes() as modes:
        for mode in modes:
            mode.saw(func, out, args, {})
