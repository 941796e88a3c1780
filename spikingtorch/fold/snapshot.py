"""What a module holds in its attributes, to see whether a call has changed it."""

import warnings
from collections import deque
from collections.abc import Container
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.layers.base import StatefulLayer

# attribute -> what must be the same: values of plain objects, the identity and a digest of others
Snapshot: TypeAlias = dict[str, tuple[Any, Any]]

_FIXED = (type, FunctionType, BuiltinFunctionType, ModuleType, torch.Tag)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
# of a spiking layer, which is there to change
_STATE = ("_memory", "_fold", "_activity", "_recomputation", "_overtaken", "_repeated", "_dropped", "_repetitions")
_DEPTH = 9


def snapshot(net: nn.Module, ignored: Container[int] = ()) -> Snapshot:
    """Return all attributes of all modules, and what lies inside lists, dicts and objects that are kept there.

    Args:
        net: the network.
        ignored: identities of tensors that may change.
    """
    marks: Snapshot = {}
    _mark("", net, marks, _DEPTH, {})
    return {name: (value, None if id(value) in ignored else digest) for name, (value, digest) in marks.items()}


def changed(before: Snapshot, after: Snapshot) -> str | None:
    """Return the name of an attribute that is not what it was, or None."""
    for name in before | after:
        if name not in before or name not in after or not _same(before[name], after[name]):
            hidden = ("_modules", "_parameters", "_buffers", "")
            return ".".join(part for part in name.split(".") if part not in hidden)
    return None


def _same(before: tuple[Any, Any], after: tuple[Any, Any]) -> bool:
    (was, digest), (now, other) = before, after
    if isinstance(was, _PLAIN):
        return type(was) is type(now) and (bool(was == now) or was != was)
    return was is now and digest == other


def _mark(name: str, value: Any, marks: Snapshot, depth: int, seen: dict[int, Any], *, fresh: bool = False) -> None:
    """Note a value, and what is inside it; a fresh one was made for this look, and is not the same the next time."""
    anew = (fresh or type(value) is tuple or isinstance(value, MethodType)) and not isinstance(value, _PLAIN)
    marks[name] = (type(value) if anew else value, _digest(value))
    if depth == 0 or isinstance(value, (*_FIXED, *_PLAIN, Tensor, np.ndarray)) or id(value) in seen:
        return
    seen[id(value)] = value
    inner, fresh = _inside(value, fresh)
    for key, item in inner.items():
        _mark(f"{name}.{key}", item, marks, depth - 1, seen, fresh=fresh)


def _digest(value: Any) -> Any:
    if isinstance(value, Tensor):
        version = 0 if value.is_inference() else value._version
        # writes through .data are not counted
        return version, value.detach().double().sum().item() if value.numel() and not value.is_meta else 0.0
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return len(value) if isinstance(value, (list, tuple, dict, set, frozenset, deque)) else None


def _inside(value: Any, fresh: bool) -> tuple[dict[Any, Any], bool]:
    """Return what an object holds, and whether that was made for this look."""
    if isinstance(value, dict):
        return dict(value), fresh
    if isinstance(value, (list, tuple, deque)):
        return dict(enumerate(value)), fresh
    if isinstance(value, set | frozenset):
        return {f"{{{item!r}}}": item for item in value}, fresh
    if isinstance(value, MethodType):
        return {"__self__": value.__self__}, fresh
    if isinstance(value, torch.jit.ScriptModule):
        return {}, fresh
    if isinstance(value, StatefulLayer):
        return {key: item for key, item in vars(value).items() if key not in _STATE}, fresh
    ordinary: Any = object.__reduce__
    if isinstance(value, nn.Module) or (hasattr(value, "__dict__") and type(value).__reduce__ is ordinary):
        return dict(vars(value)), fresh
    if isinstance(value, torch.Generator):
        return {"state": value.get_state().numpy().tobytes()}, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reduced = value.__reduce_ex__(4)
    except Exception:  # whatever cannot be taken apart is compared by its identity
        return {}, fresh
    return ({"state": reduced[1:3]}, True) if isinstance(reduced, tuple) else ({}, fresh)
