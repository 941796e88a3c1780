"""Find the independent JAX implementation (twin) of a step: in the library, or beside the user's step."""

import sys
from collections.abc import Callable
from typing import Any

from spikingtorch import functional as F
from spikingtorch.interop import to_jax
from spikingtorch.layers.reset_value import Valued

Twin = Callable[..., Any]
_OURS = "spikingtorch.functional."


def has_jax() -> bool:
    """Return True if JAX is installed."""
    try:
        import jax  # noqa: F401
    except ImportError:
        return False
    return True


def is_foreign(value: Any) -> bool:
    """Return True if a surrogate holds a function that is not from the library, and therefore has no twin.

    >>> import torch
    >>> is_foreign(F.Strict(F.Sigmoid())), is_foreign(F.FromPrimitive(torch.tanh))
    (False, True)
    """
    if isinstance(value, tuple):
        return any([is_foreign(each) for each in value]) or not type(value).__module__.startswith(_OURS)
    return callable(value) and not str(getattr(value, "__module__", "")).startswith(_OURS)


def twin_of(step: Any) -> Twin | None:
    """Return the JAX implementation of a step, including its wrappers; None if there is none.

    The implementation of a user's step is ``<step>_twin`` in the module of the step.
    """
    if isinstance(step, F.Recurrent | F.Refractory | F.RelativeRefractory | Valued):
        inner = twin_of(step.step)
        if inner is None:
            return None
        return _valued(inner) if isinstance(step, Valued) else _namesake(step._replace(step=inner))
    return _namesake(step) if str(getattr(step, "__module__", "")).startswith(_OURS) else beside(step, "twin")


def beside(step: Any, kind: str) -> Twin | None:
    """Return ``<step>_<kind>`` of the module of a step, if there is one."""
    name = getattr(step, "__name__", None)
    found = getattr(sys.modules.get(str(getattr(step, "__module__", ""))), f"{name}_{kind}", None)
    return found if callable(found) else None


def _namesake(step: Any) -> Twin | None:
    try:
        found: Twin = to_jax(step)
    except TypeError:
        return None
    return None if found is step else found


def _valued(inner: Twin) -> Twin:
    """Return the twin of a step whose reset rule has its value beside it."""
    from spikingtorch.functional import jax_reference as J

    def twin(state: Any, x: Any, *, reset: Any, v_reset: Any, **params: Any) -> Any:
        rule: Any = J.to_value(v_reset)
        return inner(state, x, reset=J.detached(rule) if isinstance(reset, J.Detached) else rule, **params)

    return twin
