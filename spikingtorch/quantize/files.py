"""Networks in whole numbers as files: NumPy's npz, with the arrays and one text that describes the nodes."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from spikingtorch.quantize.integer import IntegerModel
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Flatten, Linear, Neuron, SumPool2d

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Conv2d, Diagonal, Flatten, Linear, Neuron, SumPool2d)}
# tells files of this library from others, and later forms from this one
_FORMAT = "spikingtorch.quantize 1"


def save(integer: IntegerModel, path: str | Path) -> None:
    """Write a network to a file, which ``load`` reads."""
    arrays: dict[str, Any] = {}
    text = {each.name: _packed(getattr(integer, each.name), arrays) for each in fields(integer) if each.init}
    with Path(path).open("wb") as file:
        np.savez(file, network=np.array(json.dumps({"format": _FORMAT, **text})), **arrays)


def load(path: str | Path) -> IntegerModel:
    """Return the network of a file; nothing in the file is run.

    Raises:
        ValueError: the file is none of ``save``, or its nodes do not fit.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as found:
            text = json.loads(str(found["network"]))
            if text.pop("format") == _FORMAT:
                return IntegerModel(**{name: _unpacked(value, found) for name, value in text.items()})
    except OSError:
        raise
    except Exception as error:  # any error of zipfile, NumPy, json or a node for what stands in the file
        raise ValueError(f"{path} is damaged, or no network of IntegerModel.save ({error})") from error
    raise ValueError(f"{path} is a network of a newer spikingtorch")


def _packed(value: Any, arrays: dict[str, Any]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, tuple):
        return [_packed(each, arrays) for each in value]
    if type(value).__name__ in _KINDS:
        own = {each.name: _packed(getattr(value, each.name), arrays) for each in fields(value)}
        return {"node": type(value).__name__, **own}
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(each, arrays) for each in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    own = {name: _unpacked(each, arrays) for name, each in value.items() if name != "node"}
    return _KINDS[value["node"]](**own)
