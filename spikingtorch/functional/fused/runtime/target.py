"""The interface of a target: everything that the runtime needs from a device and the language of its kernels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import Program


class Launch(ABC):
    """A kernel with the records of its arrays, for arrays of the recorded layout: the pointers are open."""

    @abstractmethod
    def __call__(self, arrays: Sequence[Tensor], scalars: Sequence[float]) -> bool:
        """Run on arrays, in the order of the records; return whether all inputs of a forward pass are finite."""

    @abstractmethod
    def stepper(self, slices: Sequence[tuple[int, int]], scalars: Sequence[float]) -> Callable[[int], None]:
        """Return a function that runs the kernel on one slice of its arrays, by number.

        For each array, ``slices`` has the address of slice 0 and the number of bytes between two slices.
        """


class Kernel(ABC):
    """A compiled pass of a program."""

    @abstractmethod
    def launch(
        self, records: Sequence[int], pointers: Sequence[int], neuron_steps: int, device: torch.device
    ) -> Launch:
        """Return the launch of the kernel on the arrays of a device.

        ``records`` are those of all arrays, one after the other, as from ``Layout``, and ``pointers`` the positions of
        the pointers of existing arrays in them.
        """


class Target(ABC):
    """A device and the language of its kernels, on which the scans of programs run."""

    device: str  # torch's type of device
    dispatch_key: str  # torch's dispatch key of its operators
    shortest_run: int  # the number of neurons that are adjacent in memory; inputs with fewer are copied

    @abstractmethod
    def holds(self, tensors: Iterable[Any]) -> bool:
        """Return True if all tensors are plain ones in its memory; see ``core.modes.are_plain``."""

    @abstractmethod
    def chunk_of(self, program: Program) -> int:
        """Return the number of steps between two states that a forward pass keeps.

        The backward pass recomputes the states between them.
        """

    @abstractmethod
    def forward(self, program: str) -> Kernel:
        """Return the compiled forward pass of a program."""

    @abstractmethod
    def backward(self, program: str, wanted: tuple[bool, ...]) -> Kernel:
        """Return the compiled backward pass of a program, with the gradients of the wanted parameters."""

    @abstractmethod
    def failure(self, program: str) -> str | None:
        """Return why the forward pass of a program cannot be compiled, or None."""

    @abstractmethod
    def begin_backward(self, program: str, wanted: tuple[bool, ...]) -> None:
        """Begin to compile a backward pass that is likely to follow, while the forward pass runs."""

    @abstractmethod
    def gathers_time(self, before: int, after: int, steps: int) -> bool:
        """Return True if time should move to the front, because too few neurons are adjacent in memory.

        ``before`` and ``after`` are the numbers of neurons on the axes before and after time.
        """

    @abstractmethod
    def settle(self, device: torch.device) -> None:
        """Make sure that all later readers, on any stream, see the data that was written to a device.

        It is called once for memory that calls share.
        """

    def ensure_compiled(self, program: str) -> None:
        """Make sure that the forward pass of a program is compiled; raise NotFusible if it cannot be."""
        failure = self.failure(program)
        if failure is not None:
            raise NotFusible(f"cannot be compiled: {failure}")

    def kept_steps(self, program: Program, steps: Any) -> Any:
        """Return the number of kept states: the first of each chunk except the first chunk."""
        chunk = self.chunk_of(program)
        return (steps + chunk - 1) // chunk - 1
