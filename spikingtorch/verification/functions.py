"""Compare single functions with their JAX twins: surrogates, and the coefficients that follow from tau."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikingtorch.interop import to_jax, to_torch
from spikingtorch.verification.trial import relative_error

# on both sides of the threshold, near it and far from it, but not at kinks of the primitives
POINTS = torch.tensor([-2.5, -0.7, -0.3, -1e-3, 1e-3, 0.2, 0.6, 1.7], dtype=torch.float64)


def surrogate_errors(surrogate: Any, twin: Any) -> dict[str, float]:
    """Return the relative errors of value, primitive, derivatives, and gradient of the parameter if there is one."""
    import jax

    with jax.enable_x64(True):
        theirs = to_torch(_twin_values(twin, to_jax(POINTS)))
    ours = _torch_values(surrogate, POINTS)
    assert ours.keys() == theirs.keys(), f"{surrogate!r} has {sorted(ours)}, its twin {sorted(theirs)}"
    return {name: relative_error(value, theirs[name]) for name, value in ours.items()}


def coefficient_errors(function: Callable[[Any], Any], twin: Callable[[Any], Any]) -> dict[str, float]:
    """Return the relative errors of a coefficient of tau: its values, also for floats, and its derivative."""
    import jax

    tau = torch.tensor([0.3, 0.9, 1.0, 1.1, 4.0, 20.0], dtype=torch.float64, requires_grad=True)
    value = function(tau)
    (slope,) = torch.autograd.grad(value.sum(), tau)
    with jax.enable_x64(True):
        taus = to_jax(tau.detach())
        want = to_torch((twin(taus), jax.vmap(jax.grad(twin))(taus)))
    floats = torch.tensor([function(each) for each in tau.tolist()], dtype=torch.float64)
    return {
        "value": max(relative_error(value.detach(), want[0]), relative_error(floats, want[0])),
        "derivative": relative_error(slope, want[1]),
    }


def _torch_values(surrogate: Any, points: Tensor) -> dict[str, Tensor]:
    u = points.clone().requires_grad_()
    s = surrogate(u)
    (first,) = torch.autograd.grad(s.sum(), u, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), u, materialize_grads=True) if first.requires_grad else (0.0 * u,)
    values = {"value": s, "derivative": first, "second derivative": second}
    if hasattr(surrogate, "primitive"):
        values["primitive"] = surrogate.primitive(u)
    parameters = [torch.tensor(p, dtype=u.dtype, requires_grad=True) for p in surrogate if isinstance(p, float)]
    if parameters:
        (values["gradient of the parameter"],) = torch.autograd.grad(
            (type(surrogate)(*parameters)(u) * u.cos()).sum(), parameters
        )
    return {name: value.detach() for name, value in values.items()}


def _twin_values(twin: Any, u: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    def total(twin: Any) -> Any:
        return (twin(u) * jnp.cos(u)).sum()

    values = {
        "value": twin(u),
        "derivative": twin.derivative(u),
        "second derivative": jax.vmap(jax.grad(jax.grad(twin)))(u),
    }
    if hasattr(twin, "primitive"):
        values["primitive"] = twin.primitive(u)
    if any(isinstance(p, float) for p in twin):
        (values["gradient of the parameter"],) = jax.grad(total)(type(twin)(*(jnp.asarray(p) for p in twin)))
    return values
