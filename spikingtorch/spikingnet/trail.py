"""Checksums of what the layers of a network got and gave, by which two runs of the same steps are compared."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CellType, FunctionType, NoneType
from typing import Any

from torch import Tensor, nn

from spikingtorch.functional.checksum import checksum
from spikingtorch.functional.core.bytecode import module_of
from spikingtorch.functional.core.tree import flatten, leaves_of, types_of

_OURS = {"spikingtorch", "torch", "builtins", ""}
_THEMSELVES = (bool, int, float, complex, str, bytes, NoneType, type, FunctionType, BuiltinFunctionType, nn.Module)


@dataclass
class Trail:
    """The checksums of a run, in the order of its calls.

    Attributes:
        notes: for each note, the layer, what of it was noted, and what tells it from others. The layer is None for the
            network.
        implied: for each layer, whether its outputs and states follow from what was noted, because code of this library
            alone computes them; they then need no note.
    """

    notes: list[tuple[Any, str, list[Any]]] = field(default_factory=list)
    implied: dict[Any, bool] = field(default_factory=dict)

    def note(self, layer: Any, what: str, *trees: Any) -> None:
        """Note the values of some trees. Objects count with what they hold."""
        self.notes.append((layer, what, [_content(leaf) for tree in trees for leaf in leaves_of(tree)]))

    def note_step(self, layer: Any, step: Any, params: Mapping[str, Any]) -> None:
        """Note the step of a layer and its parameters."""
        leaves, form = flatten((step, params))
        self.notes.append((layer, "parameters", [*map(_content, leaves)]))
        ours = layer.is_pointwise and {*map(module_of, (type(layer), *types_of(form), *leaves))} <= _OURS
        self.implied[layer] = ours and self.implied.get(layer, True)

    def end(self, layers: Iterable[Any], memories: Mapping[Any, Any], outputs: Any) -> None:
        """Note the states of the layers after the run, and the outputs of the network."""
        for layer in layers:
            if (memory := memories.get(layer)) is not None and not self.implied.get(layer):
                self.note(layer, "states", memory.state, memory.act)
        self.note(None, "outputs", outputs)

    def check(self, again: "Trail", net: nn.Module, why: str) -> None:
        """Raise unless a second run has left the same trail.

        Args:
            again: the trail of the second run.
            net: the network.
            why: who runs its steps twice, for the message.

        Raises:
            RuntimeError: it has not.
        """
        notes, others = self.notes, again.notes
        at = next((at for at, (one, other) in enumerate(zip(notes, others, strict=False)) if one != other), None)
        if at is None and len(notes) == len(others):
            return
        longer = max(notes, others, key=len)
        layer, what, _ = longer[min(len(notes), len(others))] if at is None else notes[at]
        path = next((path for path, module in net.named_modules() if module is layer), "")
        who = f"{path} ({type(layer).__name__})" if path else type(net if layer is None else layer).__name__
        raise RuntimeError(
            f"{why}, and the {what} of {who} are not those of the first run. The network depends on something that is "
            "not put back for the second run: a global variable, a generator or an iterator outside of its modules, or "
            "memory written through .data. Keep it in a buffer or an attribute of a module"
        )


def _content(leaf: Any, depth: int = 3) -> Any:
    """Return something hashable that tells a leaf from others; what objects in objects hold counts down to a depth."""
    if isinstance(leaf, Tensor):
        return checksum(leaf)
    if isinstance(leaf, FunctionType) and leaf.__closure__ is None and module_of(leaf) == "spikingtorch":
        return leaf
    if isinstance(leaf, FunctionType) and depth:  # one that each call makes anew is the same if it holds the same
        held: Any = [leaf.__defaults__, leaf.__kwdefaults__, [*map(_cell, leaf.__closure__ or ())]]
        return leaf.__code__, *(_content(each, depth - 1) for each in leaves_of(held))
    if depth and not isinstance(leaf, _THEMSELVES) and (held := _held(leaf)) is not None:
        return type(leaf), *(_content(each, depth - 1) for each in leaves_of(held))
    return leaf if isinstance(leaf, Hashable) else id(leaf)


def _held(thing: Any) -> list[Any] | None:
    """Return the attributes of an object, and what pickle would keep of it; None where there is neither."""
    attributes = getattr(thing, "__dict__", None)
    try:
        kept = thing.__reduce_ex__(4)
    except Exception:  # any error of the object's class
        return None if attributes is None else [attributes]
    return [attributes, *([*each] if isinstance(each, Iterator) else each for each in kept)]


def _cell(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable without a value yet
        return None
