"""NetworkMode: a mode that sees the functions of torch that a network calls, and none of its spiking layers."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class NetworkMode(TorchFunctionMode):
    """The base of modes that are entered around a network; spiking layers step ``aside``."""

    def mark(self) -> Any:
        """Return what to go back to if steps have to run once more."""

    def rewind(self, mark: Any) -> None:
        """Forget what was seen after a mark."""


class aside:  # noqa: N801
    """Within it, functions of torch run without asking the modes of the network around.

    For code that calls many of them, and no layers; and for a network within another one, which has modes of its own,
    or none.
    """

    def __enter__(self) -> None:
        self._modes: list[NetworkMode] = []
        if torch.compiler.is_dynamo_compiling():
            return
        while (number := torch._C._len_torch_function_stack()) and isinstance(
            last := torch._C._get_function_stack_at(number - 1), NetworkMode
        ):
            self._modes.append(last)
            torch._C._pop_torch_function_stack()

    def __exit__(self, *error: object) -> None:
        for mode in reversed(self._modes):
            torch._C._push_on_torch_function_stack(mode)
