"""The interface of a target: all that the runtime asks of a device and of the language of its kernels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import Program


class Launch(ABC):
    """A kernel with the records of its arrays, for arrays that all lie in memory as recorded: the pointers are open."""

    @abstractmethod
    def __call__(self, arrays: Sequence[Tensor], scalars: Sequence[float]) -> bool:
        """Run on arrays, in the order of the records, and say whether all inputs of a forward pass are finite."""

    @abstractmethod
    def stepper(self, slices: Sequence[tuple[int, int]], scalars: Sequence[float]) -> Callable[[int], None]:
        """Return what runs the kernel on one slice of its arrays, by number.

        Args:
            slices: for each array, where slice 0 lies and how many bytes lie between two slices.
            scalars: floats of the program.
        """


class Kernel(ABC):
    """A compiled pass of a program."""

    @abstractmethod
    def launch(
        self, records: Sequence[int], pointers: Sequence[int], neuron_steps: int, device: torch.device
    ) -> Launch:
        """Return what launches the kernel.

        Args:
            records: of all arrays, one after the other, as from ``Layout``.
            pointers: where among them the pointers of the arrays that are there stand.
            neuron_steps: how many neurons there are, times the number of steps.
            device: where the arrays are.
        """


class Target(ABC):
    """Where the scans of programs run.

    Attributes:
        device: torch's type of device.
        dispatch_key: torch's name for what is registered for it.
        shortest_run: neurons that lie one after the other in memory; inputs with fewer are copied.
    """

    device: str
    dispatch_key: str
    shortest_run: int

    @abstractmethod
    def holds(self, tensors: Iterable[Any]) -> bool:
        """Say whether these are plain tensors in its memory, all of them; see ``core.modes.are_plain``."""

    @abstractmethod
    def chunk_of(self, program: Program) -> int:
        """Return how many steps lie between two states that a forward pass keeps: the backward pass computes those."""

    @abstractmethod
    def forward(self, program: str) -> Kernel:
        """Return the compiled forward pass of a program."""

    @abstractmethod
    def backward(self, program: str, wanted: tuple[bool, ...]) -> Kernel:
        """Return the compiled backward pass of a program, with the gradients of the wanted parameters."""

    @abstractmethod
    def failure(self, program: str) -> str | None:
        """Return why the forward pass of a program cannot be compiled, if it cannot."""

    @abstractmethod
    def begin_backward(self, program: str, wanted: tuple[bool, ...]) -> None:
        """Begin to compile a backward pass that is likely to come, beside the forward pass."""

    @abstractmethod
    def gathers_time(self, before: int, after: int, steps: int) -> bool:
        """Say whether time is better brought to the front, because too few neurons lie beside each other.

        Args:
            before: how many neurons the axes before time have.
            after: how many those after it have.
            steps: T.
        """

    @abstractmethod
    def settle(self, device: torch.device) -> None:
        """Make sure that what was written to a device is there for all that reads it later, on whatever stream.

        It is asked once for memory that calls share.
        """

    def ensure_compiled(self, program: str) -> None:
        """Make sure that the forward pass of a program is compiled.

        Raises:
            NotFusible: it cannot be.
        """
        failure = self.failure(program)
        if failure is not None:
            raise NotFusible(f"cannot be compiled: {failure}")

    def kept_steps(self, program: Program, steps: Any) -> Any:
        """Return how many states are kept: the first of each chunk but that of the first, which is there anyway."""
        chunk = self.chunk_of(program)
        return (steps + chunk - 1) // chunk - 1
