"""Checksums of what the layers of a network got and gave, by which two runs of the same steps are compared."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CellType, FunctionType, NoneType
from typing import Any

from torch import Tensor, nn

from spikingtorch.functional.checksum import checksum
from spikingtorch.functional.core.bytecode import module_of
from spikingtorch.functional.core.tree import flatten, types_of

_PLAIN = {tuple, list, dict, Tensor, nn.Parameter, bool, int, float, str, NoneType}
_METHODS = {"rest_state", "initial_state", "step_params", "whole_step", "param_map"}
_THEMSELVES = (bool, int, float, complex, str, bytes, NoneType, type, FunctionType, BuiltinFunctionType, nn.Module)


@dataclass
class Trail:
    """The checksums of a run, in the order of its calls."""

    # for each note, the layer, what of it was noted, and what tells it from others. The layer is None for the network
    notes: list[tuple[Any, str, list[Any]]] = field(default_factory=list)
    # for each layer, whether its outputs follow from what was noted, because code of this library alone computes them;
    # they then need no note
    implied: dict[Any, bool] = field(default_factory=dict)

    def note(self, layer: Any, what: str, *trees: Any) -> None:
        """Note the values of some trees. Objects count with what they hold."""
        self.notes.append((layer, what, _contents(trees)))

    def note_step(self, layer: Any, step: Any, params: Mapping[str, Any]) -> None:
        """Note the step of a layer and its parameters."""
        leaves, form = flatten((step, params))
        self.notes.append((layer, "parameters", [form, *map(_content, leaves)]))
        kinds = {each for each in type(layer).__mro__ if issubclass(each, nn.Module)} - {nn.Module}
        codes = [each if isinstance(each, FunctionType) and not each.__closure__ else type(each) for each in leaves]
        ours = all(each in _PLAIN or module_of(each) == "spikingtorch" for each in (*kinds, *types_of(form), *codes))
        ours = ours and layer.is_pointwise and not _METHODS & vars(layer).keys()
        self.implied[layer] = ours and self.implied.get(layer, True)

    def mark(self) -> int:
        """Return a mark: the number of notes."""
        return len(self.notes)

    def rewind(self, mark: int) -> None:
        """Forget the notes after a mark."""
        del self.notes[mark:]

    def end(self, layers: Iterable[Any], memories: Mapping[Any, Any], outputs: Any) -> None:
        """Note the states of the layers after the run, and the outputs of the network."""
        for layer in layers:
            if (memory := memories.get(layer)) is not None:
                self.note(layer, "states", memory.state, memory.act)
        self.note(None, "outputs", outputs)

    def check(self, again: "Trail", net: nn.Module, why: str) -> None:
        """Raise RuntimeError unless a second run has left the same trail.

        For the message, ``why`` says who runs the steps of the network twice.
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


def _contents(tree: Any, depth: int = 3) -> list[Any]:
    """Return the form of a tree, and the contents of its leaves."""
    leaves, form = flatten(tree)
    return [form, *(_content(leaf, depth) for leaf in leaves)]


def _content(leaf: Any, depth: int = 3) -> Any:
    """Return what tells a leaf from others; what objects in objects hold counts down to a depth."""
    if isinstance(leaf, Tensor):
        return checksum(leaf)
    if isinstance(leaf, FunctionType) and leaf.__closure__ is None and module_of(leaf) == "spikingtorch":
        return leaf
    if isinstance(leaf, FunctionType) and depth:  # one that each call makes anew is the same if it holds the same
        held: Any = [leaf.__defaults__, leaf.__kwdefaults__, [*map(_cell, leaf.__closure__ or ())]]
        return leaf.__code__, _contents(held, depth - 1)
    if depth and not isinstance(leaf, _THEMSELVES) and (held := _held(leaf)) is not None:
        return type(leaf), _contents(held, depth - 1)
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
