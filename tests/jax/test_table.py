"""Neurons x surrogates x resets x dtypes x layouts x lengths beside jax.lax.scan and torch, and bits of class E."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch import jax as snn
from spikingtorch.interop import to_jax
from spikingtorch.verification.cases import CASES, LEVELS, TWINS, WITH_RESETS, Case, by_name
from tests.jax.neurons import FORMS, LAYOUTS, Draw, draw, draw_apart
from tests.jax.oracle import LIMITS, Scan, assert_same, cotangents, named, on, plain, relative_error

DTYPES = ["float64", "float32", "float64", "float32", "float16", "bfloat16"]
T_AND_LAYOUT = [(T, layout) for T in (1, 2, 17) for layout in LAYOUTS] + [(500, "(T, N)"), (500, "(B, T, N)")]
# of narrow dtypes, far more than rounding moves a membrane
APART = 3e-5
# membranes that run away from their threshold: rounding grows with each step, in float32 beyond any bound
AMPLIFYING = ("izhikevich", "adex", "exponential_if", "quadratic_if")


class Row(NamedTuple):
    case: Case
    reset: Any
    surrogate: Any  # with its twin
    dtype: str
    T: int
    layout: str
    form: str

    def options(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return surrogate and reset rule, in torch and in JAX, in the dtype of the parameters."""
        ours, theirs = (self.case.options(each, self.reset) for each in self.surrogate)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return ours, jax.tree.map(lambda x: x.astype(wide) if isinstance(x, jax.Array) else x, to_jax(theirs))

    def __str__(self) -> str:
        surrogate, reset = by_name(self.surrogate[0]), by_name(self.reset)
        return f"{self.case.name}-{reset}-{surrogate}-{self.dtype}-{self.T}-{self.layout}-{self.form}"


def rows() -> list[Row]:
    """Return rows in which every neuron meets every reset rule and every surrogate, and all else at random."""
    pick = random.Random(0)
    found = []
    for number, case in enumerate(CASES):
        rules, known = case.rules(), (*TWINS, *(LEVELS if case.levels else ()))
        if case.name == "stochastic_lif":  # which needs a probability
            known = tuple(pair for pair in TWINS if hasattr(pair[0], "primitive"))
        count = max(2 * len(rules), len(known) if case.spikes else 12)
        for k in range(count):
            T, layout = pick.choice(T_AND_LAYOUT)
            pair = known[(number + k) % len(known)]
            # one level of these is no threshold that the margin knows
            dtype = "float64" if pair in LEVELS else pick.choice(DTYPES)
            if case.name in AMPLIFYING:
                T, dtype = min(T, 2), "float64"
            found.append(Row(case, rules[k % len(rules)], pair, dtype, T, layout, pick.choice(FORMS)))
    return found


ROWS = rows()


def results(scan: Scan, row: Row, found: Draw, dtype: str) -> dict[str, Any]:
    """Return outputs, final state, and the gradients of everything floating for random cotangents."""
    _, options = row._replace(dtype=dtype).options()
    state, xs, params = found.arguments(dtype)
    step = getattr(snn, row.case.step.__name__, row.case.twin)
    learned, put_back = split(params | options, found.form != "static")

    def run(state: Any, xs: Any, learned: Any) -> Any:
        return scan(step, state, xs, params=put_back(learned), dim=found.dim)

    def all_of_it(state: Any, xs: Any, learned: Any) -> Any:
        got, pull = jax.vjp(run, state, xs, learned)
        return {"results": got, "gradients": pull(cotangents(got))}

    return named(jax.jit(all_of_it)(state, xs, learned))


def of_torch(row: Row, found: Draw) -> dict[str, Any]:
    """Return the same from torch, by its loop."""
    state, xs, params = found.torch_arguments()
    learned, put_back = split(params | row.options()[0], found.form != "static")
    given = jax.tree.map(
        lambda leaf: torch.as_tensor(leaf, dtype=torch.float64).clone().requires_grad_(), (state, xs, learned)
    )
    got = F.scan(row.case.step, given[0], given[1], params=put_back(given[2]), dim=found.dim, backend="loop")
    values = to_jax(jax.tree.map(lambda leaf: leaf.detach(), got))
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(cotangents(values)), strict=True)
    attached = [(leaf, torch.tensor(jax.device_get(weight))) for leaf, weight in pairs if leaf.requires_grad]
    outputs, weights = zip(*attached, strict=True)
    sources, form = jax.tree.flatten(given)
    grads = torch.autograd.grad(outputs, sources, weights, allow_unused=True, materialize_grads=True)
    return named({"results": values, "gradients": to_jax(jax.tree.unflatten(form, grads))})


def split(params: dict[str, Any], learns: bool) -> tuple[dict[str, Any], Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return the numbers among the parameters by name, the slope of a surrogate too, and what puts others there."""
    leaves, form = jax.tree.flatten(params)
    numbers = {
        name: leaf
        for name, leaf in named(params).items()
        if learns and isinstance(leaf, float | jax.Array | torch.Tensor)
    }

    def put_back(others: dict[str, Any]) -> dict[str, Any]:
        return jax.tree.unflatten(
            form, [others.get(name, leaf) for name, leaf in zip(named(params), leaves, strict=True)]
        )

    return numbers, put_back


@pytest.mark.sampled
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_scan_equals_lax_scan_and_torch(row: Row) -> None:
    given = (row.case, row.T, row.layout, row.form)
    with jax.enable_x64(True):
        if row.dtype == "float64":
            found = draw(*given)
            got = results(on("fused"), row, found, row.dtype)
            assert_same(got, results(plain, row, found, row.dtype))
            assert_same(got, of_torch(row, found))
            return
        found = draw_apart(*given, row.options()[0], APART)
        got, same = results(on("fused"), row, found, row.dtype), results(plain, row, found, row.dtype)
        if row.T < 500 and row.dtype != "float32":  # which is judged by float64
            assert_same(got, same, computed="float32")
        if row.dtype == "float32":
            check_rounding(got, same, results(plain, row, found, "float64"))


def check_rounding(got: dict[str, Any], same: dict[str, Any], want: dict[str, Any]) -> None:
    """Assert that float32 is as near to float64 as lax.scan, which sums in another order, but for a factor of 4."""
    for name, value in got.items():
        exact = want[name].astype(value.dtype)
        error, own = relative_error(value, exact), relative_error(same[name], exact)
        assert own < 1e-3, f"{name}: the draw is no good, lax.scan itself is off by {own}"
        limit = max(LIMITS["float32"], 4 * own)
        assert error <= limit, f"{name} is off by {error:.2g}, and that of lax.scan by {own:.2g}"


def test_every_neuron_meets_every_surrogate_and_reset() -> None:
    for case in CASES:
        mine = [row for row in ROWS if row.case is case]
        assert {row.reset for row in mine} == {*case.rules()}
        if case.spikes:
            assert len({row.surrogate[0] for row in mine}) > 7
    for column, values in (("dtype", DTYPES), ("T", (1, 2, 17, 500)), ("layout", LAYOUTS), ("form", FORMS)):
        assert {getattr(row, column) for row in ROWS} == {*values}


# twins that write an equation in another order, so that a rounding differs: of torch, and of the twin
OTHER_ORDER = {
    "delay": ("max(0, 1 - |delay - k|)", "1 - (delay - floor(delay)), and delay - floor(delay)"),
    "se_adlif": ("(1 - decay) * (x - w)", "v + (1 - decay) * (x - w - v)"),
    "harmonic_resonate_and_fire": ("dt * square + 2 * (offset + q)", "2 * (dt / 2 * omega**2 + offset + q)"),
    "izhikevich": ("square * v * v, dt * (a * (...))", "square * v**2, dt * a * (...)"),
}
SPIKING = [(case, reset) for case, reset in WITH_RESETS if not isinstance(reset, type(F.detached(F.none)))]


def in_torch(found: Draw, options: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Any]:
    """Return outputs and final state of torch's kernel, and what explains it."""

    def cast(leaf: Any) -> Any:
        return leaf.to(dtype) if isinstance(leaf, torch.Tensor) else leaf

    state, xs, params = jax.tree.map(cast, found.torch_arguments())
    given = (found.case.step, state, xs)
    more: Any = {"params": params | jax.tree.map(cast, options), "dim": found.dim}
    return F.scan(*given, **more), F.explain_scan(*given, **more)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("case", "reset"), SPIKING, ids=by_name)
def test_bits_are_those_of_torch(case: Case, reset: Any, dtype: str) -> None:
    with jax.enable_x64(True):
        found, options = draw(case, 17, "(B, T, many)", "full"), case.options(reset=reset)
        want, told = in_torch(found, options, getattr(torch, dtype))
        if told.exactness != "E":
            pytest.skip(f"no class E: {told.reason}")
        state, xs, params = found.arguments(dtype)
        theirs = jax.tree.map(lambda x: x.astype(dtype) if isinstance(x, jax.Array) else x, to_jax(options))
        step = getattr(snn, case.step.__name__, case.twin)
        got = snn.scan(step, state, xs, params=params | theirs, dim=found.dim, backend="fused")
        if case.name in OTHER_ORDER:
            # a difference of rounding, which is all that there may be
            pairs = zip(named(got).values(), named(to_jax(want)).values(), strict=True)
            assert all(relative_error(a, b) < 2e-5 for a, b in pairs)
            return
        for name, value in named(to_jax(want)).items():
            ours, theirs_ = np.asarray(named(got)[name]), np.asarray(value)
            assert ours.dtype == theirs_.dtype
            apart = int((ours.view(f"u{ours.itemsize}") != theirs_.view(f"u{ours.itemsize}")).sum())
            assert not apart, f"{name}: {apart} of {ours.size} numbers have other bits"


@pytest.mark.night
def test_most_neurons_are_of_class_e() -> None:
    """The comparison above compares something."""
    exact = {
        case.name
        for case, reset in SPIKING
        if in_torch(draw(case, 2, "(T, N)", "full"), case.options(reset=reset), torch.float64)[1].exactness == "E"
    }
    assert {"if", "lif", "li", "alif", "coarse_lif", "cuba_lif", "euler_lif", "quadratic_if"} <= exact
