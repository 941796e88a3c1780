"""Launching a kernel on tensors that all lie in memory as others did: but for its pointers, every argument is known."""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.fused.runtime import memory
from spikingtorch.functional.fused.runtime.kernels import Kernel, c_doubles, threads_for
from spikingtorch.functional.fused.runtime.layout import AXES, Layout

# from a tensor to another one, both as somebody outside has them
Change: TypeAlias = Callable[[Tensor], Tensor] | None

_NOTHING = [0] * (3 + AXES)


class TensorSpec(NamedTuple):
    """How a tensor lies in memory."""

    shape: Sequence[int]
    strides: Sequence[int]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorSpec":
        """Return how a tensor lies in memory."""
        return cls(tensor.shape, tensor.stride(), tensor.dtype)


class ArgumentBuffer:
    """The records of a kernel's arrays, one after the other, as kernel.h has them.

    Args:
        layout: the axes of the scan.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._fields = layout.header()
        self._positions: list[int] = []  # where the pointers are

    @property
    def fields(self) -> Any:
        """The records as a kernel takes them."""
        return (ctypes.c_int64 * len(self._fields))(*self._fields)

    @property
    def positions(self) -> tuple[int, ...]:
        """Where among the fields the pointers are."""
        return tuple(self._positions)

    def add(self, tensor: Tensor | None, *, over_time: bool) -> None:
        """Add an array, in the layout; None stands for one that is not there."""
        if tensor is not None:
            self._positions.append(len(self._fields))
        record = _NOTHING
        if tensor is not None:
            record = self._layout.over_time(tensor) if over_time else self._layout.static(tensor)
        self._fields += record


class Launcher:
    """A kernel for tensors that lie in memory as those did that its records were made for: only the pointers differ.

    Args:
        kernel: the kernel; None where there are no neurons.
        neuron_steps: how many neurons there are, times the number of steps.
        buffer: the records, those of the results last.
        copies: for each given tensor, how to copy it into the layout; None if the kernel reads it where it lies.
        results: how each result lies in memory.
        changes: for each result, what is done to it afterwards; None for nothing.
    """

    def __init__(
        self,
        kernel: Kernel | None,
        neuron_steps: int,
        buffer: ArgumentBuffer,
        copies: Sequence[Change],
        results: Sequence[TensorSpec],
        changes: Sequence[Change],
    ) -> None:
        self._kernel = kernel
        self._neuron_steps = neuron_steps
        self._fields = buffer.fields
        self._kind = type(self._fields)
        self._positions = buffer.positions
        self._copies = copies if any(copies) else None
        self._changes = changes if any(changes) else None
        self.results = results

    def __call__(self, given: Sequence[Tensor | None], scalars: Sequence[float]) -> tuple[list[Tensor], bool]:
        """Return the results for tensors, and whether the inputs of a forward pass are all finite."""
        make, device = memory.empty_strided, memory.CPU
        results = [make(shape, strides, dtype=dtype, device=device) for shape, strides, dtype in self.results]
        finite = True
        if self._kernel is not None:
            fields = self._kind.from_buffer_copy(self._fields)
            if self._copies is not None:
                pairs = zip(given, self._copies, strict=True)
                given = [tensor if tensor is None or copy is None else copy(tensor) for tensor, copy in pairs]
            arrays = [tensor for tensor in (*given, *results) if tensor is not None]
            for position, tensor in zip(self._positions, arrays, strict=True):
                fields[position] = tensor.data_ptr()
            finite = self._kernel(self._neuron_steps, fields, scalars)
        if self._changes is not None:
            pairs_of = zip(results, self._changes, strict=True)
            results = [result if change is None else change(result) for result, change in pairs_of]
        return results, finite

    def parts(self) -> tuple[Any, Any, tuple[int, ...]]:
        """Return the function, the records of its arrays, and where among these the pointers are."""
        assert self._kernel is not None, "there are neurons"
        return self._kernel.launch, self._fields, self._positions

    def stepper(self, arrays: Sequence[tuple[int, int]], scalars: Sequence[float]) -> "StepLauncher":
        """Return the kernel to be run on one slice of its arrays after the other.

        Args:
            arrays: for each that is there, where slice 0 lies and how many bytes lie between two slices.
            scalars: floats of the program.
        """
        launch, records, positions = self.parts()
        fields = self._kind.from_buffer_copy(records)
        fields[0] = threads_for(self._neuron_steps)
        moving = [(position, *array) for position, array in zip(positions, arrays, strict=True)]
        return StepLauncher(launch, fields, moving, c_doubles(scalars))


class StepLauncher:
    """A kernel that runs again and again, on arrays that move through memory; see ``Launcher.stepper``."""

    def __init__(self, launch: Any, fields: Any, moving: Sequence[tuple[int, int, int]], scalars: Any) -> None:
        self._launch = launch
        self._fields = fields
        self._moving = moving
        self._scalars = scalars

    def __call__(self, index: int) -> None:
        """Run on a slice."""
        fields = self._fields
        for position, start, stride in self._moving:
            fields[position] = start + index * stride
        self._launch(fields, self._scalars)


def layouts_of(tensors: Iterable[Tensor | None]) -> list[Any]:
    """Return how tensors lie in memory, as part of a key."""
    return [None if t is None else (t.dtype, t.shape, t.stride()) for t in tensors]
