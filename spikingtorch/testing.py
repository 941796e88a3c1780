"""Check a step's numbers and gradients: against a twin in JAX, or against finite differences of its smooth version.

    check_twin(my_step, my_twin, state, xs, params={...})      an independent implementation
    check_smooth(my_step, state, xs, params={...})             no second implementation at hand

Both compare the gradients of inputs, initial state and tensor parameters, for every output and the final state, and
raise an AssertionError that names what is off.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError
from torch.utils import _pytree as pytree

from spikingtorch.functional import scan
from spikingtorch.verification.trial import TOLERANCE, Trial, relative_error, twin_errors

__all__ = ["TOLERANCE", "assert_close", "check_smooth", "check_twin", "relative_error"]


def assert_close(got: Any, want: Any, what: str = "value") -> None:
    """Assert that two trees of tensors agree in form, shapes and dtypes, and in values to the dtype's tolerance."""
    got_leaves, got_form = pytree.tree_flatten(got)
    want_leaves, want_form = pytree.tree_flatten(want)
    assert got_form == want_form, f"{what}: the trees differ: {got_form} and {want_form}"
    assert got_leaves, f"{what}: nothing to compare"
    for index, (a, b) in enumerate(zip(got_leaves, want_leaves, strict=True)):
        name = f"{what}[{index}]" if len(got_leaves) > 1 else what
        assert a.shape == b.shape, f"{name}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
        assert a.dtype == b.dtype, f"{name}: {a.dtype}, expected {b.dtype}"
        error, allowed = relative_error(a, b), TOLERANCE[b.dtype]
        assert error <= allowed, f"{name}: relative error {error:.3g}, allowed {allowed:g}\ngot  {a}\nwant {b}"


def check_twin(
    step: Callable[..., Any],
    twin: Callable[..., Any],
    state: Any,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    twin_params: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Assert that a torch step and its JAX twin agree: outputs, final state, and every gradient.

    Args:
        step: torch step, ``(state, x, **params) -> (state, output)``.
        twin: the same in JAX. States of a type of your own serve both sides: annotate their fields with Any.
        state: initial state, tensors; float64 checks most sharply.
        xs: inputs, tensors with time first. Draw them so that no membrane lies within rounding of the threshold.
        params: keyword arguments of the step.
        twin_params: those of the twin that differ from them. What belongs to ``spikingtorch.functional`` is translated.
        seed: of the cotangents.

    Returns:
        The relative error of each quantity by its name.

    Raises:
        AssertionError: a quantity is off by more than TOLERANCE; the message lists all of them.

    >>> from spikingtorch import functional as F
    >>> from spikingtorch.functional import jax_reference as J
    >>> xs = torch.rand(17, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> errors = check_twin(F.lif_step, J.lif_step, F.zeros_state(F.LIFState, xs[0]), xs, params={"decay": 0.9})
    >>> sorted(errors)
    ['d state.v', 'd xs', 'output', 'state.v']
    """
    trial = Trial(step, twin, state, xs, params or {}, twin_params or {})
    (errors,) = twin_errors([trial], seed)
    _assert_small(errors, trial.precision, f"{_name(step)} and its twin")
    return errors


def check_smooth(
    step: Callable[..., Any],
    state: Any,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    smooth: Callable[..., Any] | None = None,
) -> None:
    """Assert that the gradients of a step's smooth version equal central finite differences.

    The smooth version has the surrogate's primitive in place of the spike: the step then is a differentiable function,
    whose gradient is the one that the spiking step uses, but for what it detaches on purpose.

    Args:
        step: torch step, ``(state, x, **params) -> (state, output)``.
        state: initial state, float64 tensors.
        xs: inputs, float64 tensors with time first, away from kinks of the primitive.
        params: keyword arguments of the step. A surrogate among them, or among the step's defaults, is replaced.
        smooth: the smooth version itself, for a step that holds its surrogate inside.

    Raises:
        AssertionError: a gradient is wrong; the message shows both Jacobians.
        TypeError: the step has no surrogate to replace and ``smooth`` is not given.

    >>> from spikingtorch import functional as F
    >>> xs = torch.rand(5, 2, dtype=torch.float64)
    >>> check_smooth(F.if_step, F.zeros_state(F.IFState, xs[0]), xs)
    """
    keywords = dict(params or {})
    if smooth is None:
        smooth, keywords = step, keywords | _primitives(step, keywords)
    leaves, form = pytree.tree_flatten((state, xs, {k: v for k, v in keywords.items() if isinstance(v, Tensor)}))

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        state, xs, tensors = pytree.tree_unflatten(inputs, form)
        return tuple(pytree.tree_leaves(scan(smooth, state, xs, params=keywords | tensors)))

    inputs = [leaf.detach().clone().requires_grad_(leaf.is_floating_point()) for leaf in leaves]
    try:
        torch.autograd.gradcheck(run, inputs)
    except GradcheckError as error:
        raise AssertionError(f"{_name(step)}: its gradient is not that of its smooth version: {error}") from None


def _primitives(step: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {name: p.default for name, p in inspect.signature(step).parameters.items()}
    found = {name: value.primitive for name, value in (defaults | dict(params)).items() if hasattr(value, "primitive")}
    if not found:
        raise TypeError(
            f"check_smooth: {_name(step)} takes no surrogate with a primitive. Pass smooth=, the same step with the "
            "smooth function in place of the spike"
        )
    return found


def _assert_small(errors: Mapping[str, float], dtype: torch.dtype, what: str) -> None:
    allowed = TOLERANCE[dtype]
    wrong = {name: error for name, error in errors.items() if not error <= allowed}
    listed = "\n".join(f"  {name:24} {error:.3g}" for name, error in errors.items())
    assert not wrong, (
        f"{what} differ in {', '.join(wrong)}; relative errors, of which {allowed:g} is allowed:\n{listed}"
    )


def _name(step: Callable[..., Any]) -> str:
    return getattr(step, "__name__", repr(step))
