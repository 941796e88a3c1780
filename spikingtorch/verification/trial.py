"""One comparison of a torch step with its JAX twin: outputs, final state, and every gradient by random cotangents."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch.functional import scan
from spikingtorch.functional._tree import tree_map
from spikingtorch.interop import to_jax, to_torch

# largest max|a - b| / max|b| over a tensor
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


# a program runs once here: compiling it faster matters, running it faster does not
_QUICK: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}


class Trial(NamedTuple):
    """One comparison of a torch step with its JAX twin.

    Attributes:
        step: the torch step.
        twin: the JAX step.
        state: initial state, tensors.
        xs: inputs, tensors with time first.
        params: keyword arguments of the step; gradients are compared for the tensors among them.
        twin_params: keyword arguments of the twin where ``to_jax`` cannot translate those of the step.
    """

    step: Callable[..., Any]
    twin: Callable[..., Any]
    state: Any
    xs: Any
    params: Mapping[str, Any]
    twin_params: Mapping[str, Any] = {}

    @property
    def precision(self) -> torch.dtype:
        """The dtype that the trial computes in."""
        dtypes: list[torch.dtype] = [x.dtype for x in pytree.tree_leaves(self.xs) if x.is_floating_point()]
        return dtypes[0]


def relative_error(got: Tensor, want: Tensor) -> float:
    """Return ``max|got - want| / max|want|``: 0 where both vanish, infinite for NaN and unequal shapes or dtypes."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return torch.inf
    if got.numel() == 0:
        return 0.0
    error, scale = (got - want).abs().max().item(), want.abs().max().item()
    if error == 0.0:
        return 0.0
    return error / scale if scale > 0.0 and error == error else torch.inf


def twin_errors(trials: Sequence[Trial], seed: int = 0) -> list[dict[str, float]]:
    """Return the relative errors of each trial. All twins are compiled as one program, which is where the time goes."""
    import jax

    draw = torch.Generator().manual_seed(seed)
    ours = [_torch_results(trial, draw) for trial in trials]
    wide = any(trial.precision == torch.float64 for trial in trials)
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        jobs = [_twin_job(trial, cotangents) for trial, (_, cotangents) in zip(trials, ours, strict=True)]
        run = jax.jit(lambda arguments: [job(*a) for (job, _), a in zip(jobs, arguments, strict=True)])
        compiled = run.lower([a for _, a in jobs]).compile(_QUICK)
        theirs = to_torch(compiled([a for _, a in jobs]))
    return [
        {name: relative_error(value, want[name]) for name, value in got.items()}
        for (got, _), want in zip(ours, theirs, strict=True)
    ]


def _torch_results(trial: Trial, draw: torch.Generator) -> tuple[dict[str, Tensor], Any]:
    """Return outputs, final state and gradients by name, and the cotangents that made them."""
    given = {"state": trial.state, "xs": trial.xs, "params": _tensors(trial.params)}
    named = {name: leaf for name, leaf in _named(given).items() if leaf.is_floating_point()}
    inputs = tree_map(lambda leaf: leaf.detach().clone().requires_grad_(leaf.is_floating_point()), given)
    state, out = scan(trial.step, inputs["state"], inputs["xs"], params=dict(trial.params) | inputs["params"])
    results = {"state": state, "output": out}
    cotangents = tree_map(lambda leaf: torch.randn(leaf.shape, generator=draw, dtype=leaf.dtype), results)
    variables = [leaf for leaf in pytree.tree_leaves(inputs) if leaf.requires_grad]
    gradients = torch.autograd.grad(
        pytree.tree_leaves(results),
        variables,
        pytree.tree_leaves(cotangents),
        allow_unused=True,
        materialize_grads=True,
    )
    values = {name: leaf.detach() for name, leaf in _named(results).items()}
    return values | {f"d {name}": g for name, g in zip(named, gradients, strict=True)}, cotangents


def _twin_job(trial: Trial, cotangents: Any) -> tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]:
    """Return a function that computes the same names in JAX, and its arguments."""
    import jax

    from spikingtorch.functional.jax_reference import scan as twin_scan

    fixed = to_jax({name: v for name, v in trial.params.items() if not isinstance(v, Tensor)}) | dict(trial.twin_params)

    def job(given: dict[str, Any], cotangents: dict[str, Any]) -> dict[str, Any]:
        def run(given: dict[str, Any]) -> dict[str, Any]:
            state, out = twin_scan(trial.twin, given["state"], given["xs"], params=fixed | given["params"])
            return {"state": state, "output": out}

        results, pull_back = jax.vjp(run, given)
        (gradients,) = pull_back(cotangents)
        floating = {f"d {name}": g for name, g in _named(gradients).items() if g.dtype != jax.dtypes.float0}
        return _named(results) | floating

    given = {"state": trial.state, "xs": trial.xs, "params": _tensors(trial.params)}
    return job, (to_jax(tree_map(torch.Tensor.detach, given)), to_jax(cotangents))


def _tensors(params: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in params.items() if isinstance(value, Tensor)}


def _named(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the leaves of a dict of trees by names such as state.v, xs[0] and params.tau."""
    leaves, _ = pytree.tree_flatten_with_path(tree)
    return {pytree.keystr(path).replace("['", ".").replace("']", "").removeprefix("."): leaf for path, leaf in leaves}
