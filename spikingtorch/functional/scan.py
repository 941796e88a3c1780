"""Run a step over time."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import torch

from spikingtorch.functional import compiled, parallel
from spikingtorch.functional import recompute as chunked
from spikingtorch.functional.core import contract, freed_memory
from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.precision import lift, rounded
from spikingtorch.functional.core.sharing import unshared
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.dispatch import bind, dynamo, explain
from spikingtorch.functional.dispatch.backend import Backend, check_backend, choose, is_large
from spikingtorch.functional.dispatch.call import ScanCall
from spikingtorch.functional.dispatch.explain import Explanation
from spikingtorch.functional.dispatch.no_gradient import warn_without_gradient
from spikingtorch.functional.dispatch.repeats import check_repeats
from spikingtorch.functional.dispatch.signature import Signature, signature
from spikingtorch.functional.fused.errors import NotFusible, UseLoop
from spikingtorch.functional.fused.ir import from_text
from spikingtorch.functional.fused.trace.programs import TracedStep, trace_step
from spikingtorch.functional.fused.trace.snapshot import NotHeld, SideEffect
from spikingtorch.functional.loop import Step, loop, no_steps

S = TypeVar("S")
Out = TypeVar("Out")


def scan(
    step: Step[S, Out],
    state: S,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    dim: int = 0,
    backend: Backend = "auto",
    recompute: chunked.Recompute = None,
) -> tuple[S, Out]:
    """Run a step over time.

        state[t], out[t] = step(state[t-1], x[t], **params)         t = 0 ... T-1

    The backends:

    - "loop": a Python loop over the steps. It works for every step, every transform and any order of derivative.
    - "fused": one compiled loop over time, in C on the CPU and in Triton on GPUs (not yet run on a card). It works for
      elementwise and recurrent steps. If its gradient is differentiated again, the loop computes that gradient.
    - "compile": torch.compile over 16 steps at a time, for every step and device. The first call compiles for up to a
      minute.
    - "parallel": all steps at once in a tree of depth log2 T. It works for elementwise steps whose states are linear
      functions of themselves, such as LI, and LIF without a reset. Infinite inputs and states that grow without bound
      can become NaN.
    - "auto": the faster of "loop" and "fused" that is exact here. ``explain_scan`` tells which one that is.

    Args:
        step: a pure function ``(state, x, **params) -> (state, out)``. It must not write on its arguments. A step with
            another side effect, such as appending to a list, runs on the loop.
        state: state before the first step, a tree of tensors; the step returns the same structure, shapes and dtypes.
        xs: inputs, a tree of tensors whose axis ``dim`` is time and has the same length T in all of them. At least one
            input is floating. float16 and bfloat16 are computed in float32; only ``out`` is rounded, to the dtype of
            xs.
        params: keyword arguments of every step: floats, tensors, surrogates, reset rules. Tensors get their gradient.
        dim: the axis of time, in xs and in the outputs.
        backend: "auto", "loop", "fused", "compile" or "parallel", as above.
        recompute: number of steps of a chunk, or "auto", about the square root of T. Only the states between chunks are
            kept for the backward pass, which runs each chunk again, the last first. The gradient is the same, to the
            rounding of sums. By default, everything is kept.

    Returns:
        The state after the last step, and the outputs with time stacked along ``dim``; in memory of their own. Infinite
        inputs give the same results on every backend. Gradients can differ if a result is not used, or not at every
        step. For a neuron that meets an infinity, "fused" can then give NaN gradients where "loop" gives finite ones.

    Raises:
        ValueError: a shape, a length, a device or the backend does not fit; or recompute is no number of steps, or is
            asked for inside ``torch.func``, ``torch.compile`` or forward-mode differentiation, or for a step that
            draws from a generator other than torch's own.
        TypeError: something is not a tensor, or dtypes are mixed.

    >>> from spikingtorch.functional import IFState, if_step
    >>> xs = torch.tensor([[0.6], [0.6], [0.6], [0.6]])
    >>> state, spikes = scan(if_step, IFState(v=torch.zeros(1)), xs)
    >>> spikes.flatten()
    tensor([0., 1., 0., 1.])
    """
    if not torch.compiler.is_compiling():
        freed_memory.begin_call()
    kwargs = dict(params or {})
    if recompute is not None and (size := _size_of_chunks(recompute, state, xs, kwargs, dim)) is not None:
        run = partial(scan, step, params=kwargs, dim=dim, backend=backend)
        return chunked.scan_chunks(run, lift(state), xs, dim, size, check_repeats(step, kwargs))
    signed = signature(step, state, xs, kwargs, dim, backend)
    if signed is not None and (known := bind.find(signed)) is not None:
        return known.run(signed)
    T = contract.check_inputs(state, xs, kwargs, dim)
    check_backend(backend)
    dtype = contract.output_dtype(xs)
    if T == 0:
        return unshared(lift(state), state), no_steps(step, state, xs, kwargs, dim, dtype)
    results = _chosen(step, state, xs, kwargs, dim, backend, signed)
    warn_without_gradient(step, (state, xs, kwargs), results, T)
    return results


def _size_of_chunks(recompute: chunked.Recompute, state: Any, xs: Any, kwargs: dict[str, Any], dim: int) -> int | None:
    """Return the number of steps of the chunks that run again; None if nothing has to."""
    T = contract.check_inputs(state, xs, kwargs, dim)
    size = chunked.steps_of(recompute, T)
    if size is None or size >= T or not torch.is_grad_enabled():
        return None
    chunked.check_circumstances()
    return size


def _chosen(
    step: Step[S, Out], state: S, xs: Any, kwargs: dict[str, Any], dim: int, backend: Backend, signed: Signature | None
) -> tuple[S, Out]:
    """Run a scan for the first time, after its arguments have been checked, on the chosen backend."""
    dtype = contract.output_dtype(xs)
    if backend == "compile":
        final, outputs = compiled.scan(step, lift(state), lift(xs), lift(kwargs), dim)
        return unshared(final, (state, xs, kwargs)), rounded(outputs, dtype)
    call = ScanCall.of(step, state, xs, kwargs, dim, dtype)
    if backend == "parallel":
        return parallel.scan(step, state, xs, kwargs, dim, dtype, _order_of_states(call))
    if torch.compiler.is_dynamo_compiling():
        inside = dynamo.scan(call, backend) if call.xs[0].shape[dim] > 1 else None
        return loop(step, state, xs, kwargs, dim, dtype) if inside is None else inside
    plan = choose(call, backend)
    if isinstance(plan, TracedStep):
        return bind.run(plan, call, signed)
    if backend == "fused":
        if not isinstance(plan, SideEffect | NotHeld):
            first = tree_map(lambda x: lift(x.select(dim, 0)), xs)
            contract.checked(step)(lift(state), first, **lift(kwargs))  # errors of every backend come first
        raise ValueError(
            f"scan: backend='fused' cannot run {step_name(step)}, which {str(plan).rstrip('.')}. "
            "backend='auto' takes the loop"
        )
    if signed is not None:
        bind.refuse(signed)
    results = loop(step, state, xs, kwargs, dim, dtype)
    explain.warn(step, plan)
    return results


def scan_again(step: Step[S, Out], state: S, xs: Any, params: Mapping[str, Any], dim: int) -> tuple[S, Out] | None:
    """Run a scan if a kernel has run one like it. Return None otherwise, or if an input is not finite."""
    if torch.compiler.is_compiling():
        return None
    freed_memory.begin_call()
    signed = signature(step, state, xs, dict(params), dim, "auto")
    known = None if signed is None else bind.find(signed)
    return None if signed is None or known is None else known.run_finite(signed)


def _order_of_states(call: ScanCall) -> list[int]:
    """Return the order in which the backend "parallel" solves the states; raise ValueError if the step has none."""
    name = step_name(call.step)
    try:
        program = from_text(trace_step(call.step, call.arguments()).program)
    except NotFusible as refusal:
        raise ValueError(f"scan: backend='parallel' cannot run {name}, which {str(refusal).rstrip('.')}") from None
    order = parallel.order_of_states(program)
    if order is None:
        raise ValueError(
            f"scan: backend='parallel' cannot run {name}: a state of it is no linear function of itself at the step "
            "before. It takes neurons without a reset, such as li_step, or lif_step with reset=none; "
            "backend='auto' takes every step"
        )
    x = pytree.tree_unflatten([leaf.select(call.dim, 0) for leaf in call.xs], call.forms[1])
    state = pytree.tree_unflatten(call.states, call.forms[0])
    if parallel.drops_gradients(call.step, state, x, pytree.tree_unflatten(call.params, call.forms[2])):
        raise ValueError(
            f"scan: backend='parallel' cannot run {name}: a state of it passes a detach() on its way to the next step. "
            "backend='auto' takes every step"
        )
    return order


def explain_scan(
    step: Step[S, Out],
    state: S,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    dim: int = 0,
    backend: Backend = "auto",
    recompute: chunked.Recompute = None,
) -> Explanation:
    """Explain which backend ``scan`` takes for these arguments now, and why.

    The arguments are those of ``scan``. If "fused" is requested and not possible, the explanation is that of the loop.

    >>> from spikingtorch.functional import LIFState, lif_step
    >>> print(explain_scan(lif_step, LIFState(v=torch.zeros(3)), torch.rand(100, 3), params={"decay": 0.9}))
    fused: one compiled time loop; bit-identical to the loop
    """
    kwargs = dict(params or {})
    T = contract.check_inputs(state, xs, kwargs, dim)
    check_backend(backend)
    if (size := chunked.steps_of(recompute, T)) is not None:
        found = explain_scan(step, state, xs, params=kwargs, dim=dim, backend=backend)
        return found._replace(reason=f"{found.reason}; {size} steps at a time, run again in the backward pass")
    if backend == "compile":
        return Explanation("compile", "T", f"{compiled.CHUNK} steps at a time through torch.compile, as asked for")
    call = ScanCall.of(step, state, xs, kwargs, dim, contract.output_dtype(xs))
    if backend == "parallel":
        _order_of_states(call)
        return Explanation("parallel", "T", "all steps at once, in a tree of depth log2 T, as asked for")
    return explain.explain(choose(call, backend))


def one_step(step: Step[S, Out], state: S, x: Any, params: Mapping[str, Any], *, check: bool) -> tuple[S, Out]:
    """Run one step as scan does, for callers that keep the state between steps.

    Many neurons go through scan, unless scan would take the loop: a kernel passes over memory once, the operations of
    the step once each. Inside torch.compile the step stays visible, so that the compiler fuses it with the code around
    it. The state has the precision that the step computes in. With ``check``, arguments and step are checked as scan
    does before its first step.
    """
    kwargs = dict(params)
    if not torch.compiler.is_compiling() and is_large(step, leaves_of(x)[0]):
        found = _one_of_scan(step, state, tree_map(lambda leaf: leaf.unsqueeze(0), x), kwargs)
        if found is not None:
            warn_without_gradient(step, (state, x, kwargs), found, 1)
            return found[0], tree_map(lambda leaf: leaf.squeeze(0), found[1])
    if check:
        contract.check_kinds(x, state, kwargs)
    after, out = (contract.checked(step) if check else step)(state, lift(x), **kwargs)
    warn_without_gradient(step, (state, x, kwargs), (after, out), 1)
    out, after = unshared((out, after), (state, x, kwargs))  # if state and output are one tensor, the state is the copy
    return after, rounded(out, contract.output_dtype(x))


def _one_of_scan(step: Step[S, Out], state: S, xs: Any, params: dict[str, Any]) -> tuple[S, Out] | None:
    """Run one step by scan; return None if scan is known to take the loop."""
    signed = signature(step, state, xs, params, 0, "auto")
    if signed is not None:
        if (known := bind.find(signed)) is not None:
            return known.run(signed)
        if bind.refuses(signed):
            return None
    return scan(step, state, xs, params=params)


def explain_one_step(step: Step[S, Out], state: S, xs: Any, *, params: Mapping[str, Any], dim: int) -> Explanation:
    """Explain how ``one_step`` runs a step; the arguments are those of scan, with one step of inputs."""
    if not is_large(step, leaves_of(xs)[0]):
        return explain.explain(UseLoop("has few neurons and takes one step at a time, for which no kernel is compiled"))
    return explain_scan(step, state, xs, params=params, dim=dim)
