"""Warn once about a step whose output has no gradient, though its input requires one.

The usual reason is a comparison without a surrogate. The weights before such a step get no gradient and do not learn.
Torch is silent about it as long as another output of the network has a gradient.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.core.names import level_of_user, step_name
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.functional.support import is_known, is_ours


def warn_without_gradient(
    step: Callable[..., Any], inputs: tuple[Any, Any, Mapping[str, Any]], results: tuple[Any, Any], T: int
) -> None:
    """Warn if the outputs of a step have no gradient though its inputs or parameters require one.

    ``inputs`` are state, inputs and parameters, and ``results`` the state after T steps, and the outputs.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or _requires(results[1]):
        return
    state, xs, params = inputs
    required = "its input requires" if _requires(xs) else None
    if required is None and any([isinstance(each, Tensor) and each.requires_grad for each in params.values()]):
        required = "its parameters require"
    # A path from an input to an output passes through each state at most once. If the same states have a gradient
    # before and after a step, no further path exists.
    if required is None or not (len(leaves_of(state)) < T or _flags(state) == _flags(results[0])):
        return
    if in_eager() and not is_known(step, params):
        _warn_once(step, params, required)


def _flags(tree: Any) -> list[bool]:
    return [leaf.requires_grad for leaf in leaves_of(tree) if isinstance(leaf, Tensor)]


def _requires(tree: Any) -> bool:
    return tree.requires_grad if isinstance(tree, Tensor) else any(_flags(tree))


# by the code of a function, because a function that is created anew at each call keeps its code, or by the name of an
# object
_warned: LRUCache[bool] = LRUCache(256)


def _warn_once(step: Any, params: Mapping[str, Any], required: str) -> None:
    name, surrogate = step_name(step), params.get("surrogate")
    blamed: Any = _innermost(step)
    if is_ours(blamed) and surrogate is not None:
        name, blamed = f"{name} with surrogate={step_name(surrogate)}", surrogate
    key = (blamed.__code__, blamed.__code__.co_filename) if isinstance(blamed, FunctionType) else name
    if _warned.get(key):
        return
    _warned.keep(key, True)
    warnings.warn(
        f"{name}: its output has no gradient, though {required} one, so layers before it do not learn. A "
        "comparison, (u > threshold).float(), has none; write surrogate(u - threshold) with a surrogate of "
        "spikingtorch.functional, surrogate = Arctan(). If no gradient is wanted, pass x.detach()",
        RuntimeWarning,
        stacklevel=level_of_user(),
    )


def _innermost(step: Any) -> Any:
    """Return the function of a step without its wrappers."""
    if isinstance(step, partial):
        return _innermost(step.func)
    if isinstance(step, MethodType):
        return step.__func__
    inside = getattr(step, "step", None)
    return _innermost(inside) if is_ours(type(step)) and callable(inside) else step
