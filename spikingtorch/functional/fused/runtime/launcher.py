"""Launch a kernel on tensors of a known layout in memory: every argument is known except the pointers."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.fused.runtime.target import Launch

# from a tensor to another one, both in the layout of the caller
Change: TypeAlias = Callable[[Tensor], Tensor] | None


class TensorSpec(NamedTuple):
    """The layout of a tensor in memory."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorSpec":
        """Return the layout of a tensor in memory."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)


class Launcher:
    """A launch with its results, for tensors of a known layout in memory: only the pointers differ.

    Args:
        launch: the launch of the kernel; None if there are no neurons.
        device: where the results are.
        copies: for each given tensor, how to copy it into the layout; None if the kernel reads it in place.
        results: the layout of each result in memory.
        changes: for each result, the change afterwards; None for no change.
        counts: the positions of the results for which a call may provide memory.
    """

    def __init__(
        self,
        launch: Launch | None,
        device: torch.device,
        copies: Sequence[Change],
        results: Sequence[TensorSpec],
        changes: Sequence[Change],
        counts: Sequence[int] = (),
    ) -> None:
        self._launch, self._device, self._counts = launch, device, counts
        self._copies = copies if any(copies) else None
        self._changes = changes if any(changes) else None
        self.results = results
        sizes = [math.prod(shape) * dtype.itemsize for shape, _, dtype in results]
        self._large = [place for place, size in enumerate(sizes) if size >= memory.LARGE]

    def __call__(
        self, given: Sequence[Tensor | None], scalars: Sequence[float], spare: Sequence[Tensor] = ()
    ) -> tuple[list[Tensor], bool]:
        """Return the results for tensors, and whether all inputs of a forward pass are finite.

        Args:
            given: the tensors.
            scalars: floats of the program.
            spare: memory for the counts, in their layout; empty for new memory.
        """
        results = memory.allocated(self.results, self._device)
        for place in self._large:
            memory.take_note(results[place])
        for place, count in zip(self._counts, spare, strict=False):
            results[place] = count
        finite = True
        if self._launch is not None:
            if self._copies is not None:
                pairs = zip(given, self._copies, strict=True)
                # detached, so that autograd ignores the copies
                given = [t if t is None or copy is None else copy(t.detach()) for t, copy in pairs]
            finite = self._launch([tensor for tensor in (*given, *results) if tensor is not None], scalars)
        if self._changes is not None:
            pairs_of = zip(results, self._changes, strict=True)
            results = [result if change is None else change(result) for result, change in pairs_of]
        return results, finite

    @property
    def launch(self) -> Launch:
        """The launch of the kernel, for arrays that need no copy."""
        assert self._launch is not None, "there are neurons"
        return self._launch


def layouts_of(tensors: Iterable[Tensor | None]) -> list[Any]:
    """Return the layout and the device of tensors, as part of a key."""
    return [None if t is None else (t.dtype, t.shape, t.stride(), t.get_device()) for t in tensors]
