"""The records of a kernel's arrays, as kernel.h has them, made once for all tensors that lie in memory alike."""

import copy
import ctypes
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.fused.runtime import memory
from spikingtorch.functional.fused.runtime.kernels import Kernel, c_doubles, threads_for
from spikingtorch.functional.fused.runtime.layout import AXES, Layout

_NOTHING = [0] * (3 + AXES)


class ArgumentBuffer:
    """The records of arrays, one after the other.

    Args:
        layout: the axes of the scan.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._fields = layout.header()
        self._tensors: list[Tensor] = []  # those that are pointed into, some of them copies
        self._positions: list[int] = []  # where the pointers are

    @property
    def fields(self) -> Any:
        """The records as a kernel takes them."""
        return (ctypes.c_int64 * len(self._fields))(*self._fields)

    @property
    def positions(self) -> tuple[int, ...]:
        """Where among the fields the pointers are."""
        return tuple(self._positions)

    def static(self, tensors: Iterable[Tensor | None]) -> None:
        """Add arrays without time; None stands for one that is not there."""
        for tensor in tensors:
            self._add(*((_NOTHING, None) if tensor is None else self._layout.static(tensor)))

    def over_time(self, tensors: Iterable[Tensor | None]) -> None:
        """Add arrays over time; None stands for one that is not there."""
        for tensor in tensors:
            self._add(_NOTHING if tensor is None else self._layout.over_time(tensor), tensor)

    def _add(self, record: list[int], tensor: Tensor | None) -> None:
        if tensor is not None:
            self._positions.append(len(self._fields))
            self._tensors.append(tensor)
        self._fields += record

    def point_to(self, tensors: Iterable[Tensor | None]) -> bool:
        """Say whether the arrays are these tensors themselves, in this order, and no copies."""
        given = [tensor for tensor in tensors if tensor is not None]
        return len(given) == len(self._tensors) and all(map(lambda a, b: a is b, given, self._tensors))


class TensorSpec(NamedTuple):
    """How a tensor lies in memory."""

    shape: Sequence[int]
    strides: Sequence[int]
    dtype: torch.dtype


class Launcher:
    """A kernel for tensors that lie in memory as those did that its records were made for: only the pointers differ.

    Args:
        kernel: the kernel.
        neuron_steps: how many neurons there are, times the number of steps.
        records: the records, those of the results last.
        results: a tensor like each result.
    """

    def __init__(self, kernel: Kernel, neuron_steps: int, records: ArgumentBuffer, results: Sequence[Tensor]) -> None:
        self._kernel = kernel
        self._neuron_steps = neuron_steps
        self._fields = records.fields
        self._kind = type(self._fields)
        self._positions = records.positions
        self._results = [TensorSpec(result.shape, result.stride(), result.dtype) for result in results]

    def into(self, results: Sequence[TensorSpec]) -> "Launcher":
        """Return it with other axes for the first results, in memory that is theirs all the same."""
        other = copy.copy(self)
        other._results = [*results, *self._results[len(results) :]]
        return other

    def parts(self) -> tuple[Any, Any, tuple[int, ...]]:
        """Return the function, the records of its arrays, and where among these the pointers are."""
        return self._kernel.launch, self._fields, self._positions

    def stepper(self, arrays: Sequence[tuple[int, int]], scalars: Sequence[float]) -> "StepLauncher":
        """Return the kernel to be run on one slice of its arrays after the other.

        Args:
            arrays: for each that is there, where slice 0 lies and how many bytes lie between two slices.
            scalars: floats of the program.
        """
        fields = self._kind.from_buffer_copy(self._fields)
        fields[0] = threads_for(self._neuron_steps)
        moving = [(position, *array) for position, array in zip(self._positions, arrays, strict=True)]
        return StepLauncher(self._kernel.launch, fields, moving, c_doubles(scalars))

    def __call__(self, given: Iterable[Tensor | None], scalars: Sequence[float]) -> list[Tensor]:
        """Return the results for tensors; None stands for one that is not there."""
        return self.run(given, scalars)[0]

    def run(self, given: Iterable[Tensor | None], scalars: Sequence[float]) -> tuple[list[Tensor], bool]:
        """Return the results for tensors, and whether the inputs of a forward pass are all finite."""
        make, device = memory.empty_strided, memory.CPU
        results = [make(shape, strides, dtype=dtype, device=device) for shape, strides, dtype in self._results]
        fields = self._kind.from_buffer_copy(self._fields)
        arrays = [tensor for tensor in (*given, *results) if tensor is not None]
        for position, tensor in zip(self._positions, arrays, strict=True):
            fields[position] = tensor.data_ptr()
        return results, self._kernel(self._neuron_steps, fields, scalars)


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
