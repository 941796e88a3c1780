"""A step whose parameters are computed from others, for instance a decay and a gain from tau."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core.compare import cached_step
from spikingtorch.functional.core.names import step_name

Step: TypeAlias = Callable[..., tuple[Any, Any]]
Map: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
# prefix of the name of a parameter from which others are computed
_SOURCE = "from_"


class Reparametrized(NamedTuple):
    """A step, and the function that computes its parameters from others."""

    step: Step  # with sources, one that has the derivative of the function in it
    function: Map  # returns p for q
    sources: tuple[str, ...]  # names of q that the step gets besides p, for their gradients

    def params(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of the step for q."""
        if not self.sources:
            return self.function({**given})
        with torch.no_grad():
            values = self.function({**given})
        return values | {_SOURCE + name: given[name] for name in self.sources}


def reparametrized(step: Step, function: Map, params: Mapping[str, Any]) -> Reparametrized:
    """Return a step whose parameters are computed from others once for all steps.

        p = function(q),  dL/dq = sum_t dL/dp[t] * dp/dq

    The values p are torch's, bit by bit. Their autograd graph costs more than the scan of a small layer. So the step
    gets p without a graph, and q as well: a kernel of the step contains the derivative of the function.

    Args:
        step: a pure step with parameters p.
        function: returns p for q, a pure elementwise function; it passes on unchanged parameters.
        params: q.
    """
    plain = Reparametrized(step, function, ())
    if not (torch.is_grad_enabled() and any([_learns(q) for q in params.values()])):
        return plain
    values = function({**params})
    same = tuple([name for name, value in params.items() if values.get(name) is value])
    # others may be computed from a parameter that is passed on
    if not any([_learns(p) for name, p in values.items() if name not in same]):
        return plain
    sources = tuple([name for name in params if name not in same])
    return Reparametrized(cached_step(_WithSources, step, function, sources, same), function, sources)


def _learns(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


class _WithSources(NamedTuple):
    """A step that uses the values p, with the gradient of the same values computed from q."""

    step: Step
    function: Map
    sources: tuple[str, ...]
    same: tuple[str, ...]

    @property
    def __name__(self) -> str:
        """Name of the step."""
        return step_name(self.step)

    def __call__(self, state: Any, x: Any, **params: Any) -> Any:
        """Advance by one step."""
        given = {name: params.pop(_SOURCE + name) for name in self.sources}
        computed = self.function({**given, **{name: params[name] for name in self.same}})
        changed = {name: _with_value(params[name], p) for name, p in computed.items() if name not in self.same}
        return self.step(state, x, **(params | changed))


def _with_value(value: Any, computed: Any) -> Any:
    """Return a value with the gradient of the recomputed value."""
    if not (isinstance(computed, Tensor) and isinstance(value, Tensor)):
        return value
    found: Tensor = _WithValue.apply(value, computed)  # type: ignore[no-untyped-call]
    return found


class _WithValue(Function):
    """``apply(value, computed)``: the value, with the gradient of computed."""

    @staticmethod
    def forward(value: Tensor, computed: Tensor) -> Tensor:
        """Return the value."""
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Pass the gradient on to the computed value."""
        return None, cotangents[0]
