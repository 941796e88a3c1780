"""Run a step written in JAX over time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp

from spikingtorch.functional import Explanation, jax_reference
from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.fused.errors import NotFusible, NothingCompiles, UseLoop
from spikingtorch.jax import handler, launch, primitives
from spikingtorch.jax.contract import Call, check_backend
from spikingtorch.jax.spec import ScanSpec
from spikingtorch.jax.trace import Traced, lower, trace

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
    """Run a step over time.

        state[t], out[t] = step(state[t-1], x[t], **params)         t = 0 ... T-1

    It is ``spikingtorch.functional.scan`` for JAX: it works inside ``jax.jit``, ``grad``, ``vmap``, ``jacrev``,
    ``checkpoint``, ``shard_map`` and JAX's control flow.

    The backends:

    - "loop": ``jax.lax.scan``, for every step.
    - "fused": one compiled loop over time in C, on the CPU, for elementwise steps. Forward mode and derivatives of
      second order take ``jax.lax.scan``.
    - "auto": "fused" where it is possible, else "loop". ``explain_scan`` tells which one that is.

    JAX before 0.12 has a fault that every step on the loop inherits: if a gradient through ``jax.lax.scan`` is
    differentiated again, the ``custom_jvp`` of a surrogate is lost, and second derivatives are wrong. Those of a step
    that is fused are right.

    Args:
        step: a pure function ``(state, x, **params) -> (state, out)``. Arrays that it closes over get their gradient.
        state: state before the first step, a pytree of arrays; the step returns the same structure, shapes and dtypes.
        xs: inputs, a pytree of arrays whose axis ``dim`` is time and has the same length T in all of them. At least one
            input is floating. float16 and bfloat16 are computed in float32; only ``out`` is rounded, to the dtype of
            xs.
        params: keyword arguments of every step: floats, arrays, surrogates, reset rules. Arrays get their gradient.
        dim: the axis of time, in xs and in the outputs.
        backend: "auto", "fused" or "loop", as above.

    Returns:
        The state after the last step, and the outputs with time stacked along ``dim``.

    Raises:
        ValueError: a shape, a length or the backend does not fit.
        TypeError: something is not an array, or dtypes are mixed.

    >>> import jax.numpy as jnp
    >>> from spikingtorch.jax import IFState, if_step
    >>> xs = jnp.array([[0.6], [0.6], [0.6], [0.6]])
    >>> state, spikes = scan(if_step, IFState(v=jnp.zeros(1)), xs)
    >>> spikes.flatten()
    Array([0., 1., 0., 1.], dtype=float32)
    """
    check_backend(backend)
    call = Call.of(step, state, xs, params, dim)
    traced, captured = trace(call)
    plan = _choose(call, traced, backend)
    if isinstance(plan, ScanSpec):
        launch.begin(plan, None)
        found = primitives.scan(plan, (*call.states, *call.xs, *call.params, *map(jnp.asarray, captured)))
        final = jax.tree.unflatten(call.forms[0], found[: traced.states])
        return final, jax.tree.unflatten(traced.form, found[traced.states :])
    if backend == "fused":
        raise ValueError(
            f"scan: backend='fused' cannot run {step_name(step)}, which {str(plan).rstrip('.')}. "
            "backend='auto' takes jax.lax.scan"
        )
    if isinstance(plan, NothingCompiles):
        primitives.warn_once(f"scan: neurons run by jax.lax.scan (slower) because {plan.reason}")
    elif not isinstance(plan, UseLoop):
        primitives.warn_once(f"scan: {step_name(step)} ran by jax.lax.scan (slower) because it {plan}")
    state, xs, keywords = call.arguments(call.states, call.xs, call.params)
    return jax_reference.scan(step, state, xs, params=keywords, dim=call.dim)


def explain_scan(
    step: Callable[..., tuple[S, Out]],
    state: S,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    dim: int = 0,
    backend: Backend = "auto",
) -> Explanation:
    """Explain which backend ``scan`` takes for these arguments now, and why.

    The arguments are those of ``scan``. If "fused" is requested and not possible, the explanation is that of the loop.

    >>> import jax.numpy as jnp
    >>> from spikingtorch.jax import LIFState, lif_step
    >>> found = explain_scan(lif_step, LIFState(v=jnp.zeros(3)), jnp.ones((100, 3)), params={"decay": 0.9})
    >>> found.backend, found.exactness
    ('fused', 'E')
    """
    check_backend(backend)
    call = Call.of(step, state, xs, params, dim)
    plan = _choose(call, trace(call)[0], backend)
    if isinstance(plan, NotFusible):
        return Explanation("loop", "reference", f"one step after the other in jax.lax.scan, because the step {plan}")
    if (platform := jax.default_backend()) != primitives.PLATFORM:
        return Explanation(
            "loop", "reference", f"jax.lax.scan, because kernels run on the CPU, and this is a {platform}"
        )
    kernel = "one compiled time loop; " + (
        f"equal to jax.lax.scan but for rounding, by {', '.join(plan.program.inexact)}"
        if plan.program.inexact
        else "bit-identical to spikingtorch.functional.scan"
    )
    exactness = "T" if plan.program.inexact else "E"
    return Explanation("fused", exactness, f"{kernel}. Forward mode and second derivatives run by jax.lax.scan")


def _choose(call: Call, traced: Traced, backend: str) -> ScanSpec | NotFusible:
    """Return the scan as its primitive takes it, or why it runs by ``jax.lax.scan``."""
    if backend == "loop":
        return UseLoop("was to run on the loop")
    if call.steps == 0:
        return UseLoop("runs for no step")
    try:
        if traced.closed.effects:
            raise NotFusible(f"has an effect: {', '.join(map(str, traced.closed.effects))}")
        lowered = lower(traced, call.half, [x.dtype for x in call.xs])
        spec = ScanSpec(traced, lowered.program, lowered.scalars, lowered.neurons, call.dim, call.steps)
    except NotFusible as refusal:
        return refusal
    reason = handler.why_none()
    return spec if reason is None else NothingCompiles(reason)
