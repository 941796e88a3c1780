"""Launching a kernel on tensors that all lie in memory as others did: but for its pointers, every argument is known."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.fused.runtime.target import Launch

# from a tensor to another one, both as somebody outside has them
Change: TypeAlias = Callable[[Tensor], Tensor] | None


class TensorSpec(NamedTuple):
    """How a tensor lies in memory."""

    shape: Sequence[int]
    strides: Sequence[int]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorSpec":
        """Return how a tensor lies in memory."""
        return cls(tensor.shape, tensor.stride(), tensor.dtype)


class Launcher:
    """A launch with its results, for tensors that lie in memory as others did: only the pointers differ.

    Args:
        launch: what launches the kernel; None where there are no neurons.
        device: where the results are.
        copies: for each given tensor, how to copy it into the layout; None if the kernel reads it where it lies.
        results: how each result lies in memory.
        changes: for each result, what is done to it afterwards; None for nothing.
        counts: the places of the results for which a call may bring memory.
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
        """Return the results for tensors, and whether the inputs of a forward pass are all finite.

        Args:
            given: the tensors.
            scalars: floats of the program.
            spare: memory for the counts, which lies as they do; none for new memory.
        """
        make, device = memory.empty_strided, self._device
        results = [make(shape, strides, dtype=dtype, device=device) for shape, strides, dtype in self.results]
        for place in self._large:
            memory.take_note(results[place])
        for place, count in zip(self._counts, spare, strict=False):
            results[place] = count
        finite = True
        if self._launch is not None:
            if self._copies is not None:
                pairs = zip(given, self._copies, strict=True)
                # detached, for autograd to leave the copies alone
                given = [t if t is None or copy is None else copy(t.detach()) for t, copy in pairs]
            finite = self._launch([tensor for tensor in (*given, *results) if tensor is not None], scalars)
        if self._changes is not None:
            pairs_of = zip(results, self._changes, strict=True)
            results = [result if change is None else change(result) for result, change in pairs_of]
        return results, finite

    @property
    def launch(self) -> Launch:
        """What launches the kernel, for arrays that need no copy."""
        assert self._launch is not None, "there are neurons"
        return self._launch


def layouts_of(tensors: Iterable[Tensor | None]) -> list[Any]:
    """Return how tensors lie in memory, and in that of which device, as part of a key."""
    return [None if t is None else (t.dtype, t.shape, t.stride(), t.get_device()) for t in tensors]
