"""Check a step's values and gradients, against a twin in JAX or finite differences of its smooth version.

    check_twin(my_step, my_twin, state, xs, params={...})      an independent implementation
    check_smooth(my_step, state, xs, params={...})             no second implementation at hand

Both compare the gradients of inputs, initial state and tensor parameters, for every output and the final state. They
raise an AssertionError that names the quantities that differ.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from spikingtorch.functional import Backend, scan
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.verification.branches import path_branch, spike_branch, visits
from spikingtorch.verification.trial import TOLERANCE, Trial, Way, errors_by_backend, relative_error, replaced, tensors

__all__ = ["TOLERANCE", "assert_close", "check_smooth", "check_twin", "relative_error"]


def assert_close(got: Any, want: Any, what: str = "value") -> None:
    """Assert that two trees of tensors agree in form, shapes and dtypes, and in values to the dtype's tolerance."""
    got_leaves, got_form = pytree.tree_flatten(got)
    want_leaves, want_form = pytree.tree_flatten(want)
    assert got_form == want_form, f"{what}: the trees differ: {got_form} and {want_form}"
    assert got_leaves, f"{what}: nothing to compare"
    pairs = zip(got_leaves, want_leaves, strict=True)
    for index, (a, b) in enumerate((torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs):
        name = f"{what}[{index}]" if len(got_leaves) > 1 else what
        assert a.shape == b.shape, f"{name}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
        assert a.dtype == b.dtype, f"{name}: {a.dtype}, expected {b.dtype}"
        if b.is_floating_point() and b.dtype not in TOLERANCE:
            raise TypeError(f"{name}: {b.dtype} has no tolerance; compare in float32 or float64")
        error, allowed = relative_error(a, b), TOLERANCE.get(b.dtype, 0.0)
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
    backend: Backend = "loop",
) -> dict[str, float]:
    """Assert that a torch step and its JAX twin agree: outputs, final state, and every gradient.

    Args:
        step: torch step, ``(state, x, **params) -> (state, output)``.
        twin: the same in JAX. Your own state types work on both sides if their fields are annotated with Any.
        state: initial state, tensors; float64 is the sharpest check.
        xs: inputs, tensors with time first. Draw them so that no membrane lies within rounding of the threshold.
        params: keyword arguments of the step; the gradients of all tensors in them are compared, at any depth.
        twin_params: arguments of the twin that ``to_jax`` cannot convert from params, such as your own function.
        seed: of the cotangents.
        backend: of the scan over the torch step. "fused" checks the compiled loop, and also that of the twin by
            ``spikingtorch.jax.scan``, if there is one.

    Returns:
        The relative error of each quantity by its name, the larger one if two loops are compared with the twin.

    Raises:
        AssertionError: a quantity differs by more than TOLERANCE; the message lists all such quantities.

    >>> from spikingtorch import functional as F
    >>> from spikingtorch.functional import jax_reference as J
    >>> xs = torch.rand(17, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> errors = check_twin(F.lif_step, J.lif_step, F.zeros_state(F.LIFState, xs[0]), xs, params={"decay": 0.9})
    >>> sorted(errors)
    ['d state.v', 'd xs', 'output', 'state.v']
    """
    trial = Trial(step, twin, state, xs, params or {}, twin_params or {})
    ways: tuple[Way, ...] = (backend, "jax") if backend == "fused" else (backend,)
    found = {way: each for way, (each,) in errors_by_backend([trial], ways, seed).items()}
    errors = {name: max(each.get(name, 0.0) for each in found.values()) for name in found[backend]}
    allowed = TOLERANCE[trial.precision]
    wrong = [name for name, error in errors.items() if not error <= allowed]
    listed = "\n".join(f"  {name:24} {error:.3g}" for name, error in errors.items())
    off = [way for way, each in found.items() if any([not error <= allowed for error in each.values()])]
    both = f"jax.lax.scan and the compiled loop of the twin of {_name(step)}" if off == ["jax"] else ""
    assert not wrong, (
        f"{both or f'{_name(step)} and its twin'} differ in {', '.join(wrong)}; relative errors, of which {allowed:g} "
        f"is allowed:\n{listed}"
    )
    return errors


def check_smooth(
    step: Callable[..., Any],
    state: Any,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    smooth: Callable[..., Any] | None = None,
) -> None:
    """Assert that the gradients of a step's smooth version equal finite differences, and that no branch cuts them.

    The smooth version has the surrogate's primitive in place of the spike. It is an ordinary differentiable function.
    Its local derivatives are those of the spiking step, on other trajectories. Three things are checked:

    1. The gradients of the smooth version: this finds a detach or a wrong backward pass.
    2. The spike, as a separate variable: it goes from 0 to 1 at each step of a run. No floating result may jump, and
       its derivative at 0 and 1 must be that of autograd. This finds ``torch.where(spike > 0, 0.0, u)``,
       ``masked_fill``, a product with ``(spike > 0).float()`` and an ``if``, which let no gradient through.
    3. The smooth version between two steps of a run: no result may jump. This finds a branch on the membrane, such as
       ``torch.where(u >= threshold, 0.0, u)``, if a neuron fires at only one of both steps. It also finds a branch on a
       spike in the state.

    The surrogate itself is checked as well: it is H forward, and its primitive backward.

    It does not find a branch that no input reaches. It does not find effects on later steps through whole numbers or
    bools, such as a counter. It does not find effects through a result without any gradient, which ``F.Refractory`` has
    on purpose. With ``smooth``, it does not find a branch on a spike inside of the step. Use ``check_twin`` to find an
    equation that is wrong together with its gradient.

    Args:
        step: torch step, ``(state, x, **params) -> (state, output)``.
        state: initial state; its floating tensors are float64.
        xs: inputs, float64 with time first, away from kinks of the primitive.
        params: keyword arguments of the step. A surrogate among them, or among the step's defaults, is replaced.
        smooth: a smooth version to check in place of the step, if the surrogate is not an argument of the step.

    Raises:
        AssertionError: a gradient is wrong, and the message shows both Jacobians; or the step branches on its spike; or
            the surrogate is wrong.
        TypeError: there is no surrogate to replace and ``smooth`` is not given, or a tensor is not float64.

    >>> from spikingtorch import functional as F
    >>> xs = torch.rand(5, 2, dtype=torch.float64)
    >>> check_smooth(F.if_step, F.zeros_state(F.IFState, xs[0]), xs)
    """
    tree = {"state": state, "xs": xs, "params": dict(params or {})}
    variables = {name: leaf.detach().clone().requires_grad_() for name, leaf in tensors(tree).items()}
    narrow = {name: leaf.dtype for name, leaf in variables.items() if leaf.dtype != torch.float64}
    if narrow:
        raise TypeError(f"check_smooth: finite differences need float64, and these are not: {narrow}; use .double()")
    if smooth is None:
        for surrogate in _surrogates(step, tree["params"]).values():
            _check_surrogate(surrogate)

    def run(*leaves: Tensor) -> tuple[Tensor, ...]:
        built = replaced(tree, dict(zip(variables, leaves, strict=True)))
        keywords = dict(built["params"]) if smooth else _smoothed(step, built["params"])
        results = pytree.tree_leaves(scan(smooth or step, built["state"], built["xs"], params=keywords, backend="loop"))
        return tuple(leaf for leaf in results if leaf.is_floating_point())

    try:
        torch.autograd.gradcheck(run, list(variables.values()))
    except GradcheckError as error:
        raise AssertionError(f"{_name(step)}: its gradient is not that of its smooth version: {error}") from None
    _check_branches(step, smooth, replaced(tree, {name: leaf.detach() for name, leaf in variables.items()}))


def _check_branches(step: Callable[..., Any], smooth: Callable[..., Any] | None, given: dict[str, Any]) -> None:
    """Assert that nothing jumps between two spikes, or between two steps of a run."""
    params = given["params"]
    seen = visits(step, given["state"], given["xs"], params)
    if smooth is None:
        found = spike_branch(step, seen, params, _surrogates(step, params))
        assert not found, (
            f"{_name(step)}: {found} does not follow the spike: the step branches on the spike, by torch.where, "
            "masked_fill, a comparison or an if, and no gradient comes through a branch. Write a product in its place, "
            "such as (1 - spike) * u, or v, out, number, fired = F.fire(u, threshold, surrogate, reset)"
        )
    keywords = dict(params) if smooth else _smoothed(step, params)
    found = path_branch(smooth or step, seen, keywords)
    assert not found, (
        f"{_name(step)}: {found} of its smooth version jumps between two steps of this run: it branches on the "
        "membrane or on a spike, and no gradient comes through a branch. Compute it from the spike, as (1 - spike) * u "
        "does"
    )


def _smoothed(step: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a step with primitives in place of the surrogates."""
    return dict(params) | {name: each.primitive for name, each in _surrogates(step, params).items()}


def _check_surrogate(surrogate: Any) -> None:
    """Assert that a surrogate is H forward and its primitive backward."""
    u = torch.linspace(-1.9, 2.1, 9, dtype=torch.float64, requires_grad=True)
    spikes = surrogate(u)
    assert spikes.tolist() == (u >= 0).double().tolist(), f"{surrogate!r} is not 0 below the threshold and 1 from it on"
    (got,), (want,) = (torch.autograd.grad(f(u).sum(), u) for f in (surrogate, surrogate.primitive))
    assert_close(got, want, f"the derivative of {surrogate!r}, which is to be that of its primitive,")


def _surrogates(step: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the surrogates among the keyword arguments and their defaults by name."""
    function = getattr(step, "forward", step)  # of a module, because its own signature shows no parameters
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    found = {name: value for name, value in (defaults | dict(params)).items() if hasattr(value, "primitive")}
    if not found:
        raise TypeError(
            f"check_smooth: {_name(step)} takes no surrogate with a primitive. Name it in params, or pass smooth=, the "
            "same step with the smooth function in place of the spike"
        )
    return found


def _name(step: Callable[..., Any]) -> str:
    return getattr(step, "__name__", repr(step))
