"""Compare a torch step with its JAX twin: outputs, final state, and every gradient by random cotangents."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional import Backend, scan
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.interop import to_jax, to_torch

# largest max|a - b| / max|b| over a tensor
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
# a backend of the step in torch; or "jax", its twin as a compiled loop
Way: TypeAlias = Backend | Literal["jax"]
# a program runs only once here, so its compile time matters, and its run time does not
_QUICK: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}


class Trial(NamedTuple):
    """One comparison of a torch step with its JAX twin."""

    step: Callable[..., Any]  # the torch step
    twin: Callable[..., Any]  # the JAX step
    state: Any  # initial state, tensors
    xs: Any  # inputs, tensors with time first
    # keyword arguments of the step; the gradients of all tensors in them are compared, at any depth
    params: Mapping[str, Any]
    # keyword arguments of the twin that ``to_jax`` cannot convert from those of the step
    twin_params: Mapping[str, Any] = {}

    @property
    def precision(self) -> torch.dtype:
        """The dtype that the trial computes in; TypeError if it has no tolerance."""
        dtypes: list[torch.dtype] = [x.dtype for x in pytree.tree_leaves(self.xs) if x.is_floating_point()]
        if not dtypes or dtypes[0] not in TOLERANCE:
            raise TypeError(f"gradients are compared in float64 or float32, and xs is {dtypes}; use xs.double()")
        return dtypes[0]

    def arguments(self) -> dict[str, Any]:
        """Return state, xs and params as one tree, detached from any graph."""
        given = {"state": self.state, "xs": self.xs, "params": dict(self.params)}
        return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, given)


def relative_error(got: Tensor, want: Tensor) -> float:
    """Return ``max|got - want| / max|want|``, never NaN.

    It is 0 if both are equal, including infinities. It is infinite if shapes or dtypes differ, if there is a NaN, or if
    whole numbers or bools differ.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return torch.inf
    if torch.equal(got, want):
        return 0.0
    if not got.is_floating_point():
        return torch.inf
    ratio = ((got - want).abs().max() / want.abs().max()).item()
    return ratio if ratio == ratio else torch.inf


def errors_by_backend(
    trials: Sequence[Trial], backends: Sequence[Way], seed: int = 0
) -> dict[Way, list[dict[str, float]]]:
    """Return the relative errors of each trial on each backend, all against one run of the twins by ``jax.lax.scan``.

    All twins are compiled as one program, because compilation takes most of the time.

    Args:
        trials: what is compared.
        backends: those of the step in torch, one at least, and "jax", the twin as one compiled loop by
            ``spikingtorch.jax.scan``. There are no errors on "jax" of a twin that is not fused.
        seed: of the cotangents.

    Raises:
        AssertionError: a twin returns other names or shapes than its step.
        ValueError: ``twin_params`` replaces a tensor, whose gradient could then not be compared; or the backend cannot
            run the step.
    """
    draw = torch.Generator().manual_seed(seed)
    cotangents = [draw_cotangents(trial, draw) for trial in trials]
    ours: dict[Way, list[dict[str, Tensor]]] = {
        backend: [torch_results(trial, given, backend) for trial, given in zip(trials, cotangents, strict=True)]
        for backend in backends
        if backend != "jax"
    }
    given = list(zip(trials, cotangents, next(iter(ours.values())), strict=True))
    theirs, ours["jax"] = _twin_results(given, kernels="jax" in backends)
    return {
        backend: [
            {name: relative_error(value, want[name]) for name, value in got.items()}
            for got, want in zip(ours[backend], theirs, strict=True)
        ]
        for backend in backends
    }


def backend_errors(trial: Trial, reference: Backend, backend: Backend, seed: int = 0) -> dict[str, float]:
    """Return the relative errors of a step on one backend against the same step on another."""
    cotangents = draw_cotangents(trial, torch.Generator().manual_seed(seed))
    want, got = (torch_results(trial, cotangents, each) for each in (reference, backend))
    return {name: relative_error(value, want[name]) for name, value in got.items()}


def draw_cotangents(trial: Trial, draw: torch.Generator) -> dict[str, Tensor]:
    """Draw a cotangent for each floating result."""
    arguments = trial.arguments()
    with torch.no_grad():
        state, out = scan(trial.step, arguments["state"], arguments["xs"], params=arguments["params"], backend="loop")
    results = tensors({"state": state, "output": out})
    return {name: torch.randn(leaf.shape, generator=draw, dtype=leaf.dtype) for name, leaf in results.items()}


def torch_results(trial: Trial, cotangents: dict[str, Tensor], backend: Backend) -> dict[str, Tensor]:
    """Return outputs, final state and gradients by name."""
    arguments = trial.arguments()
    variables = {name: leaf.clone().requires_grad_() for name, leaf in tensors(arguments).items()}
    built = replaced(arguments, variables)
    state, out = scan(trial.step, built["state"], built["xs"], params=built["params"], backend=backend)
    results = named({"state": state, "output": out})
    attached = [name for name in cotangents if results[name].requires_grad]
    gradients = torch.autograd.grad(
        [results[name] for name in attached],
        list(variables.values()),
        [cotangents[name] for name in attached],
        allow_unused=True,
        materialize_grads=True,
    )
    values = {name: leaf.detach() for name, leaf in results.items()}
    return values | {f"d {name}": g for name, g in zip(variables, gradients, strict=True)}


def _twin_results(
    given: Sequence[tuple[Trial, dict[str, Tensor], dict[str, Tensor]]], kernels: bool
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Return the results of each twin by ``jax.lax.scan``, and with ``kernels`` those as a compiled loop, if it is one.

    Trials are given with their cotangents, and their results in torch.
    """
    import jax

    from spikingtorch.functional import jax_reference
    from spikingtorch.jax import scan

    wide = any(trial.precision == torch.float64 for trial, *_ in given)
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        jobs = [_twin_job(*each, jax_reference.scan) for each in given]
        fused = [k for k, (trial, *_) in enumerate(given) if kernels and twin_fuses(trial)]
        jobs += [_twin_job(*given[k], partial(scan, backend="fused")) for k in fused]
        run = jax.jit(lambda arguments: [job(*a) for (job, _), a in zip(jobs, arguments, strict=True)])
        compiled = run.lower([a for _, a in jobs]).compile(_QUICK)
        found = to_torch(compiled([a for _, a in jobs]))
    by_kernel = dict(zip(fused, found[len(given) :], strict=True))
    return found[: len(given)], [by_kernel.get(k, {}) for k in range(len(given))]


def twin_fuses(trial: Trial) -> bool:
    """Return True if ``spikingtorch.jax.scan`` runs the twin of a trial as one compiled loop."""
    import jax

    from spikingtorch.jax import explain_scan

    with jax.enable_x64(True) if trial.precision == torch.float64 else contextlib.nullcontext():
        given = to_jax(trial.arguments())
        params = given["params"] | dict(trial.twin_params)
        return explain_scan(trial.twin, given["state"], given["xs"], params=params).backend == "fused"


def _twin_job(
    trial: Trial, cotangents: dict[str, Tensor], ours: dict[str, Tensor], twin_scan: Callable[..., Any]
) -> tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]:
    """Return a function that computes the same names in JAX by a scan, and its arguments."""
    import jax

    arguments = trial.arguments()
    variables = tensors(arguments)
    fixed = to_jax(arguments)
    fixed["params"] |= trial.twin_params
    replacing = tensors({"params": {name: v for name, v in arguments["params"].items() if name in trial.twin_params}})
    if replacing:
        raise ValueError(f"twin_params replaces {sorted(replacing)}, whose gradients are to be compared; leave it out")
    shapes = {name: tuple(leaf.shape) for name, leaf in ours.items() if not name.startswith("d ")}

    def run(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        built = replaced(fixed, values)
        state, out = twin_scan(trial.twin, built["state"], built["xs"], params=built["params"])
        results = named({"state": state, "output": out})
        theirs = {name: leaf.shape for name, leaf in results.items()}
        assert theirs == shapes, f"the step returns {shapes}, its twin {theirs}"
        return {n: results[n] for n in cotangents}, {n: results[n] for n in results.keys() - cotangents.keys()}

    def job(values: dict[str, Any], cotangents: dict[str, Any]) -> dict[str, Any]:
        floating, pull_back, others = jax.vjp(run, values, has_aux=True)
        (gradients,) = pull_back(cotangents)
        return floating | others | {f"d {name}": g for name, g in gradients.items()}

    return job, (to_jax(variables), to_jax(cotangents))


def named(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves of a dict of trees by names such as state.v, xs[0] and params.tau."""
    leaves, _ = pytree.tree_flatten_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves}


def tensors(tree: dict[str, Any]) -> dict[str, Tensor]:
    """Return the floating tensors among the leaves, at any depth, by name."""
    return {name: x for name, x in named(tree).items() if isinstance(x, Tensor) and x.is_floating_point()}


def replaced(tree: dict[str, Any], leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree with other leaves for these names."""
    found, form = pytree.tree_flatten_with_path(tree)
    built: dict[str, Any] = pytree.tree_unflatten([leaves.get(_name(path), leaf) for path, leaf in found], form)
    return built


def _name(path: Any) -> str:
    return pytree.keystr(path).replace("['", ".").replace("']", "").removeprefix(".")
