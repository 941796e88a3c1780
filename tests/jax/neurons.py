"""Numbers for every neuron in every layout, for JAX and torch; what transformations and small tests are tried on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax
from spikingtorch.verification.case import Case, Seen
from spikingtorch.verification.cases import CASES
from tests.jax.oracle import Scan, cotangents, weighted

# the shape of the neurons, and the axis of time
LAYOUTS: dict[str, tuple[tuple[int, ...], int]] = {
    "(T, N)": ((5,), 0),
    "(T,)": ((), 0),
    "(T, B, N)": ((2, 3), 0),
    "(B, T, N)": ((2, 3), 1),
    "(B, N, T)": ((2, 3), -1),
    "(T, C, N)": ((3, 1, 4), -4),
    "(T, many)": ((300,), 0),
    "(B, T, many)": ((2, 131), 1),
}
# the axes that a parameter has of those of the neurons; a number has none and is no array
FORMS = ["number", "0-d", "per neuron", "per channel", "full", "mixed", "static"]


class Draw(NamedTuple):
    """Arguments of a scan: tensors in float64, time where dim says."""

    case: Case
    state: Any
    xs: Any
    params: dict[str, Any]
    dim: int
    form: str

    def torch_arguments(self) -> tuple[Any, Any, dict[str, Any]]:
        """Return state, xs and params; a number is a tensor, so that it has a gradient."""
        return self.state, self.xs, {n: torch.as_tensor(p, dtype=torch.float64) for n, p in self.params.items()}

    def arguments(self, dtype: Any = jnp.float64) -> tuple[Any, Any, dict[str, Any]]:
        """Return state, xs and params in JAX, in a dtype; states and parameters in float32 at least."""
        wide = jnp.promote_types(dtype, jnp.float32)

        def cast(tree: Any, to: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf.astype(to) if isinstance(leaf, jax.Array) else leaf, tree)

        state, xs, params = to_jax((self.state, self.xs, self.params))
        return cast(state, wide), cast(xs, dtype), cast(params, wide)

    def margin(self, options: dict[str, Any]) -> float:
        """Return the smallest distance of a membrane from the threshold."""
        seen = Seen()
        chosen = options | ({"surrogate": seen} if self.case.spikes else {})
        state, xs, params = self.torch_arguments()
        F.scan(self.case.step, state, xs, params=params | chosen, dim=self.dim, backend="loop")
        noise = xs[1].unbind(self.dim) if seen.probabilities else ()
        chances = [(p - n).abs() for p, n in zip(seen.probabilities, noise, strict=True)]
        return min([u.abs().min().item() for u in (*seen.membranes, *chances)], default=np.inf)


def on_grid(case: Case, numbers: Any) -> Any:
    """Return numbers as whole multiples of the unit of a neuron that has one."""
    return numbers if case.lsb is None else numbers // case.lsb * case.lsb


def draw(case: Case, T: int, layout: str, form: str, seed: int = 0) -> Draw:
    """Draw inputs, a state between rest and threshold, and parameters."""
    rng = np.random.default_rng(seed)
    shape, dim = LAYOUTS[layout]
    streams = [torch.tensor(rng.uniform(*span, size=(T, *shape))) for span in case.inputs]
    start = case.initial(tuple(streams) if len(streams) > 1 else streams[0])
    state = jax.tree.map(lambda s: on_grid(case, s + torch.tensor(rng.uniform(0.0, 0.05, size=shape))), start)
    forms = {"number": None, "static": None, "0-d": (), "per neuron": shape[-1:], "per channel": (*shape[:-1], 1)}
    axes: list[Any] = [*forms.values(), shape] if form == "mixed" else [forms.get(form, shape)]

    def parameter(k: int, span: tuple[float, float]) -> Any:
        size = axes[k % len(axes)]
        value = rng.uniform(*span, size=size if shape or size is None else ())
        return float(value) if size is None else torch.tensor(value, dtype=torch.float64)

    xs = [x.movedim(0, dim) for x in streams]
    params = {name: parameter(k, span) for k, (name, span) in enumerate(case.params.items())}
    # a threshold off the grid keeps membranes apart from it
    params |= {name: on_grid(case, value) for name, value in params.items() if name != "threshold"}
    return Draw(case, state, tuple(xs) if len(xs) > 1 else xs[0], params, dim, form)


def draw_apart(case: Case, T: int, layout: str, form: str, options: dict[str, Any], margin: float) -> Draw:
    """Draw until no membrane is within a margin of the threshold."""
    for seed in range(200):
        found = draw(case, T, layout, form, seed)
        if found.margin(options) > margin:
            return found
    raise AssertionError(f"no draw of {case.name} keeps {margin} away from the threshold")


class Problem:
    """A neuron, and its arguments: those that it is called with, and batches of them."""

    def __init__(self, name: str, dtype: str, form: str, layout: str = "(T, B, N)", T: int = 5) -> None:
        self.case = next(case for case in CASES if case.name == name)
        self.draws = [draw(self.case, T, layout, form, seed) for seed in range(6)]
        self.dtype, self.dim = dtype, self.draws[0].dim
        self.given = self.arguments(0)

    def arguments(self, member: int) -> Any:
        return self.draws[member].arguments(self.dtype)

    def stacked(self, axes: Any, count: int = 3, first: int = 0) -> Any:
        """Return the arguments with several of each that has an axis, stacked along it."""
        members = [self.arguments(first + k) for k in range(count)]
        stack = jax.tree.map(lambda *each: np.stack(each), *members)
        return tuple(
            given if axis is None else jax.tree.map(lambda leaf, axis=axis: jnp.moveaxis(leaf, 0, axis), found)
            for given, found, axis in zip(self.given, stack, axes, strict=True)
        )

    def values(self, scan: Scan) -> Callable[..., Any]:
        return lambda state, xs, params: scan(self.case.twin, state, xs, params=params, dim=self.dim)

    def loss(self, scan: Scan) -> Callable[..., Any]:
        return lambda *given: weighted(self.values(scan)(*given))


ALL = (0, 1, 2)
Transform = Callable[[Problem, Scan], Any]


def tangents(p: Problem) -> Any:
    return cotangents(p.given, 5)


class Kind(NamedTuple):
    """What is transformed: a neuron, a dtype, a form of the parameters."""

    neuron: str
    dtype: str = "float64"
    form: str = "mixed"
    layout: str = "(T, B, N)"


KINDS = [
    Kind("lif", "float64", "number"),
    Kind("lif", "float32", "per neuron", "(B, T, N)"),
    Kind("alif", "float64", "mixed"),
    Kind("coarse_lif", "float64", "per channel", "(B, N, T)"),
    Kind("mcpitts", "float64", "0-d"),
    Kind("biolif", "float64", "full"),
    Kind("adex", "float64", "per neuron", "(T, N)"),
    Kind("cuba_lif", "float64", "0-d", "(T,)"),
    Kind("delay", "float64", "per neuron"),
]


def paired(names: dict[str, Transform], count: int) -> list[Any]:
    """Return each transformation with some of the neurons, each neuron with as many."""
    table = [(name, KINDS[(5 * row + k) % len(KINDS)]) for row, name in enumerate(names) for k in range(count)]
    return [pytest.param(kind, name, id=f"{name}-{'-'.join(kind)}") for name, kind in table]


XS = jnp.asarray(np.random.default_rng(0).uniform(-0.4, 1.2, (7, 2, 3)), jnp.float32)
V = jnp.full((2, 3), 0.1, jnp.float32)
START = J.LIFState(V)
QUIET = pytest.mark.filterwarnings("ignore:scan. :RuntimeWarning")


def lif(state: Any, x: Any, decay: Any = 0.9) -> Any:
    return J.lif_step(state, x, decay=decay)


def stepping(function: Callable[[Any], Any]) -> Any:
    """Return a step that lets a function look at its input."""

    def step(v: Any, x: Any) -> Any:
        u = 0.9 * v + 0.1 * jnp.tanh(function(x))
        return u, u * x

    return step
