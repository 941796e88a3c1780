"""The states that calls inside ``torch.utils.checkpoint`` start from, kept for the calls that repeat them.

``checkpoint(function, x, use_reentrant=False)`` runs a function twice: in the forward pass, whose saved tensors it
drops, and in the backward pass, for these tensors. By then the layers have advanced to later states. So each call in
the forward pass notes the state that it starts from. The same call in the backward pass starts from this state, and
leaves the layer unchanged. The notes are attributes of the frame object that torch's checkpoint makes for both runs.
They are freed with it.
"""

from collections.abc import Hashable
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.bytecode import cells_of
from spikingtorch.functional.core.torch_private import backward_id, top_saving_hooks
from spikingtorch.functional.core.tree import tree_map

# the name of the notes at torch's object, and the note that layers are to note nothing
_NOTES, _SILENT = "_spikingtorch", "silent"


class CheckpointRun(NamedTuple):
    """One run of a function by non-reentrant checkpoint."""

    both: Any  # torch's object that both runs share
    run: Any  # torch's object of the second run only; None in the first run

    @property
    def repeats(self) -> bool:
        """True in the second run."""
        return self.run is not None

    def note(self, owner: Hashable, start: Any) -> None:
        """Note the start of a call of the first run."""
        _notes(self.both).setdefault(owner, []).append(tree_map(without_graph, start))

    def next(self, owner: Hashable) -> Any:
        """Return the start of the next call of the second run; raise if the first run did not make this call."""
        starts = _notes(self.both).get(owner, [])
        calls = _notes(self.run).get((owner, "calls"), 0)
        if calls == len(starts):
            raise RuntimeError(
                "torch.utils.checkpoint: a spiking layer is called more often in the backward pass than in the "
                "forward pass, so its start state is unknown. The function must do the same both times"
            )
        _notes(self.run)[owner, "calls"] = calls + 1
        return starts[calls]

    def repeat(self, owner: Hashable, found: Any) -> None:
        """Note a result of the second run, usually the memory of a layer."""
        _notes(self.run)[owner] = tree_map(without_graph, found)

    def knows(self, owner: Hashable) -> bool:
        """Return True if ``repeat`` has been called for this owner in this run."""
        return owner in _notes(self.run)

    def repeated(self, owner: Hashable) -> Any:
        """Return the result that ``repeat`` noted for this owner; raise if it has not been called in this run."""
        if not self.knows(owner):
            raise RuntimeError(
                "torch.utils.checkpoint: a function that reads the state of a spiking layer before it calls the layer "
                "would read another one in the backward pass. Read it outside, and hand it in as an argument"
            )
        return _notes(self.run)[owner]


def region() -> CheckpointRun | None:
    """Return the run of the checkpoint around this call, or None; also if its function notes everything by itself."""
    found = _around()
    return None if found is None or _SILENT in vars(found.both).get(_NOTES, ()) else found


def runs_twice() -> bool:
    """Return True if a checkpoint around this call runs it twice."""
    return _around() is not None


def note_nothing() -> None:
    """Let layers in the checkpoint around this call note nothing, because its function sets their start by itself."""
    if (found := _around()) is not None:
        _notes(found.both)[_SILENT] = True


def _around() -> CheckpointRun | None:
    if torch.compiler.is_dynamo_compiling():
        return None
    hooks = top_saving_hooks(True)
    if hooks is None:
        return None
    cells = _closure(hooks[0])
    if "target_frame_ref" in cells:
        return CheckpointRun(cells["target_frame_ref"](), hooks[0])
    return CheckpointRun(cells["frame"], None) if hasattr(cells.get("frame"), "recompute_fn") else None


def backward_pass() -> int:
    """Return the number of the backward pass that is running, or -1.

    A backward pass calls a layer only to repeat what the forward pass did.
    """
    return -1 if torch.compiler.is_dynamo_compiling() else backward_id()


def _notes(holder: Any) -> dict[Any, Any]:
    notes: dict[Any, Any] = vars(holder).setdefault(_NOTES, {})
    return notes


def without_graph(leaf: Any) -> Any:
    """Return a tensor without its graph, which would keep the frame alive; it requires a gradient if it did before."""
    if not isinstance(leaf, Tensor):
        return leaf
    cut = leaf.detach()
    return cut.requires_grad_() if leaf.requires_grad else cut  # transforms refuse requires_grad_, even with False


def _closure(function: Any) -> dict[str, Any]:
    """Return the closure of a hook of torch's checkpoint, by name."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if not isinstance(function, FunctionType) or function.__module__ != "torch.utils.checkpoint":
        return {}
    return dict(zip(function.__code__.co_freevars, cells_of(function), strict=True))
