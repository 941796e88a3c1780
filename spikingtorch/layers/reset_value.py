"""Reset rules that set the membrane to a value: the layer stores the value as a parameter, apart from the rule."""

from collections.abc import Callable
from typing import Any, NamedTuple

from spikingtorch import functional as F
from spikingtorch.layers.options import Value

_OPEN: Any = F.to_value  # a rule that needs its value


def value_of(owner: str, rule: Any) -> Value | None:
    """Return the value that a reset rule sets the membrane to, or None."""
    inner = rule.rule if isinstance(rule, F.Detached) else rule
    if is_open(rule):
        raise TypeError(f"{owner}: reset={shown_rule(rule)} lacks the value; write to_value(0.0) for instance")
    return inner.v_reset if isinstance(inner, F.ToValue) else None


def is_open(rule: Any) -> bool:
    """Return True if a reset rule needs a value."""
    return rule is _OPEN or (isinstance(rule, F.Detached) and rule.rule is _OPEN)


def opened(rule: Any) -> Any:
    """Return a reset rule without its value, which the layer stores separately."""
    return F.Detached(_OPEN) if isinstance(rule, F.Detached) else _OPEN


def with_value(rule: Any, v_reset: Value) -> Any:
    """Return a reset rule with its value; a rule without a value is returned unchanged."""
    if not is_open(rule):
        return rule
    return F.to_value(v_reset) if rule is _OPEN else F.Detached(F.to_value(v_reset))


class Valued(NamedTuple):
    """A step whose reset value is a separate parameter."""

    step: Callable[..., tuple[Any, Any]]  # with a parameter ``reset``

    def __call__(self, state: Any, x: Any, *, reset: Any, v_reset: Value, **params: Any) -> tuple[Any, Any]:
        """Advance one step."""
        return self.step(state, x, reset=with_value(reset, v_reset), **params)


def shown_rule(rule: Any) -> str:
    """Return a reset rule as text for messages."""
    if isinstance(rule, F.Detached):
        return f"detached({shown_rule(rule.rule)})"
    return getattr(rule, "__name__", repr(rule))
