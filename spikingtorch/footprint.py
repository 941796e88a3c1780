"""What a module holds in its attributes, to see whether a call has changed it."""

from collections import deque
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from spikingtorch.statefullayer import StatefulLayer

# attribute -> its value, and the number of writes on it so far
Footprint: TypeAlias = dict[str, tuple[Any, int]]

_OPAQUE = (nn.Module, type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, torch.Generator)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_STATE = ("_memory", "_fold")  # of a spiking layer, which is there to change
_DEPTH = 4


def footprint(net: nn.Module) -> Footprint:
    """Return all attributes of all modules, and what lies inside lists, dicts and objects that are kept there."""
    marks: Footprint = {}
    for path, module in net.named_modules():
        owner = f"{path}." if path else ""
        for name, value in vars(module).items():
            if name == "_modules" or (isinstance(module, StatefulLayer) and name in _STATE):
                continue
            _mark(owner + name.replace("_buffers", "").replace("_parameters", ""), value, marks, _DEPTH)
    return marks


def changed(before: Footprint, after: Footprint) -> str | None:
    """Return the name of an attribute that is not what it was, or None."""
    for name in before | after:
        if name not in before or name not in after or not _same(before[name], after[name]):
            return name.replace("..", ".").strip(".")
    return None


def _same(before: tuple[Any, int], after: tuple[Any, int]) -> bool:
    (was, writes), (now, more) = before, after
    if isinstance(was, _PLAIN) and type(was) is type(now):
        return bool(was == now) or (was != was and now != now)
    return was is now and writes == more


def _mark(name: str, value: Any, marks: Footprint, depth: int) -> None:
    counts = isinstance(value, Tensor) and not value.is_inference()
    marks[name] = (value, value._version if counts else 0)
    if depth == 0 or isinstance(value, (*_OPAQUE, *_PLAIN, Tensor)):
        return
    if isinstance(value, tuple):
        marks[name] = (len(value), 0)  # made anew with the same content, it is the same
    inner: dict[Any, Any] = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, list | tuple | deque):
        inner = dict(enumerate(value))
    elif isinstance(value, set | frozenset):
        inner = {f"{{{item!r}}}": item for item in value}
    elif hasattr(value, "__dict__"):
        inner = vars(value)
    for key, item in list(inner.items()):
        _mark(f"{name}.{key}", item, marks, depth - 1)
