"""The states that a layer's calls inside ``torch.utils.checkpoint`` start from, kept for the calls that repeat them.

``checkpoint(function, x, use_reentrant=False)`` runs a function twice: in the forward pass, whose saved tensors it
drops, and in the backward pass, for these tensors. By then the layer has gone on to later states. So each call in the
forward pass notes the memory that it starts from, with the frame of its checkpoint, and the same call in the backward
pass starts from there and leaves the layer as it is.
"""

from types import FunctionType
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from spikingtorch.functional.core.torch_private import backward_id, top_saving_hooks
from spikingtorch.functional.core.tree import tree_map

M = TypeVar("M")


class Region(NamedTuple):
    """A run of a function by non-reentrant checkpoint.

    Attributes:
        frame: what both runs have in common.
        run: what the second run has for itself; None in the first.
    """

    frame: Any
    run: Any


class _Repetition(Generic[M]):
    """How far a second run has come: the number of calls, and the memory after the last one."""

    def __init__(self) -> None:
        self.calls = 0
        self.memory: M | None = None


class Recomputation(Generic[M]):
    """The starting points of one layer. A copy of the layer, and what comes out of a pickle, has none."""

    def __init__(self) -> None:
        self._starts: WeakKeyDictionary[Any, list[M]] = WeakKeyDictionary()
        self._repetitions: WeakKeyDictionary[Any, _Repetition[M]] = WeakKeyDictionary()

    def __reduce__(self) -> Any:
        return Recomputation, ()

    def note(self, region: Region, memory: M) -> None:
        """Note the memory that a call of the first run starts from."""
        self._starts.setdefault(region.frame, []).append(tree_map(_cut, memory))

    def next(self, region: Region) -> M:
        """Return the memory that the next call of the second run starts from.

        Raises:
            RuntimeError: the second run makes calls that the first did not.
        """
        repetition = self._repetitions.setdefault(region.run, _Repetition())
        starts = self._starts.get(region.frame, [])
        if repetition.calls == len(starts):
            raise RuntimeError(
                "torch.utils.checkpoint: a spiking layer is called more often in the backward pass than in the forward "
                "pass, so nothing is known of the state that it started from. The function must do the same both times"
            )
        repetition.calls += 1
        return starts[repetition.calls - 1]

    def repeat(self, region: Region, memory: M | None) -> None:
        """Note the memory that a second run has come to."""
        self._repetitions.setdefault(region.run, _Repetition()).memory = tree_map(_cut, memory)

    def repeated(self, region: Region) -> M | None:
        """Return the memory that a second run has come to.

        Raises:
            RuntimeError: the layer has not been called in this run.
        """
        repetition = self._repetitions.get(region.run)
        if repetition is None:
            raise RuntimeError(
                "torch.utils.checkpoint: a function that reads the state of a spiking layer before it calls the layer "
                "would read another one in the backward pass. Read it outside, and hand it in as an argument"
            )
        return repetition.memory


class Repeated:
    """What a layer remembers while a backward pass calls its whole network once more."""

    def __init__(self) -> None:
        self.memory: Any = None


def region() -> Region | None:
    """Return the run of a checkpoint that calls here, or None outside of one."""
    if torch.compiler.is_dynamo_compiling():
        return None
    hooks = top_saving_hooks(True)
    if hooks is None:
        return None
    cells = _closure(hooks[0])
    if "target_frame_ref" in cells:
        return Region(cells["target_frame_ref"](), hooks[0])
    return Region(cells["frame"], None) if hasattr(cells.get("frame"), "recompute_fn") else None


def backward_pass() -> int:
    """Return the number of the backward pass that runs here, or -1 outside of one.

    A backward pass calls a layer only to repeat what the forward pass did.
    """
    return -1 if torch.compiler.is_dynamo_compiling() else backward_id()


def _cut(leaf: Any) -> Any:
    """Return a tensor without its graph, which would keep the frame alive, but watched by autograd if it was."""
    return leaf.detach().requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else leaf


def _closure(function: Any) -> dict[str, Any]:
    """Return what a hook of torch's checkpoint closes over, by name."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if not isinstance(function, FunctionType) or function.__module__ != "torch.utils.checkpoint":
        return {}
    cells = function.__closure__ or ()
    return {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, cells, strict=True)}
