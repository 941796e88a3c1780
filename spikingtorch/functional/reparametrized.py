"""A step whose parameters are computed from others: tau in place of a decay and a gain, say."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core.compare import typed
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.names import step_name

Step: TypeAlias = Callable[..., tuple[Any, Any]]
Map: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
# begins the name of a parameter that others are computed from
_SOURCE = "from_"


def reparametrized(step: Step, function: Map, params: Mapping[str, Any]) -> tuple[Step, dict[str, Any]]:
    """Return a step and its parameters, computed from others once for all steps.

        p = function(q),  dL/dq = sum_t dL/dp[t] * dp/dq

    The values p are torch's, bit by bit. Their graph costs more than the scan of a small layer, so the step is given p
    without one, and q besides: a kernel of the step has the derivative of the function in it.

    Args:
        step: a pure step with parameters p.
        function: returns p for q, a pure elementwise function; what it does not change it hands on.
        params: q.
    """
    if not (torch.is_grad_enabled() and any([isinstance(q, Tensor) and q.requires_grad for q in params.values()])):
        return step, function({**params})
    with torch.no_grad():
        values = function({**params})
    same = tuple([name for name, value in params.items() if values.get(name) is value])
    sources = tuple([name for name in params if name not in same])
    given = {_SOURCE + name: params[name] for name in sources}
    if not any([isinstance(q, Tensor) and q.requires_grad for q in given.values()]):
        # one that is handed on may be what others are computed from as well
        computed = [p for name, p in function({**params}).items() if name not in same]
        if not any([isinstance(p, Tensor) and p.requires_grad for p in computed]):
            return step, values
    return _with_sources(step, function, sources, same), values | given


_made: LRUCache[Step] = LRUCache(128)


def _with_sources(step: Step, function: Map, sources: tuple[str, ...], same: tuple[str, ...]) -> Step:
    """Return the step, one object for equal arguments, so that a scan of it is found again."""
    key = typed((step, function, sources, same))
    known = _made.get(key)
    if known is None:
        known = _making(step, function, sources, same)
        _made.keep(key, known)
    return known


def _making(step: Step, function: Map, sources: tuple[str, ...], same: tuple[str, ...]) -> Step:
    def with_sources(state: Any, x: Any, **params: Any) -> tuple[Any, Any]:
        given = {name: params.pop(_SOURCE + name) for name in sources}
        computed = function({**given, **{name: params[name] for name in same}})
        changed = {name: _with_value(params[name], p) for name, p in computed.items() if name not in same}
        return step(state, x, **(params | changed))

    with_sources.__name__ = step_name(step)
    return with_sources


def _with_value(value: Any, computed: Any) -> Any:
    """Return a value with the gradient of what was computed anew to be the same."""
    if not (isinstance(computed, Tensor) and isinstance(value, Tensor)):
        return value
    found: Tensor = _WithValue.apply(value, computed)  # type: ignore[no-untyped-call]
    return found


class _WithValue(Function):
    """``apply(value, computed)``: the value, whose gradient is that of computed."""

    @staticmethod
    def forward(value: Tensor, computed: Tensor) -> Tensor:
        """Return the value."""
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Hand the gradient on to what was computed."""
        return None, cotangents[0]
