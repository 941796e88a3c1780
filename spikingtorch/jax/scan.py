"""Run a step written in JAX over time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from spikingtorch.functional import jax_reference

S = TypeVar("S")
Out = TypeVar("Out")
Backend = Literal["auto", "fused", "loop"]


def scan(
    step: Callable[..., tuple[S, Out]],
    state: S,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    dim: int = 0,
    backend: Backend = "auto",
) -> tuple[S, Out]:
    """Run a step over time, with the arguments and results of ``spikingtorch.functional.scan``, on JAX arrays."""
    del backend
    return jax_reference.scan(step, state, xs, params=params, dim=dim)
