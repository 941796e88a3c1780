"""Every neuron, surrogate and reset rule against its JAX twin: outputs, final state, and all gradients, in float64."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.interop import to_jax
from spikingtorch.testing import TOLERANCE, relative_error
from spikingtorch.verification.cases import (
    CASES,
    COEFFICIENTS,
    LENGTHS,
    RECURRENT,
    RESETS,
    SYNAPSES,
    TWINS,
    WITH_RESETS,
    Case,
    by_name,
)
from spikingtorch.verification.functions import coefficient_errors, surrogate_errors
from spikingtorch.verification.table import BACKENDS, neuron_rows

ALLOWED = TOLERANCE[torch.float64]
# what only one of the two sides needs: types for annotations, torch's own helpers
ONE_SIDED = {"Backend", "Explanation", "Parameter", "Step", "explain_scan", "lift", "reset_where", "time_map"}


@pytest.mark.parametrize(("case", "reset"), WITH_RESETS, ids=by_name)
def test_neuron(case: Case, reset: F.Reset | None) -> None:
    rows = neuron_rows(case, reset, LENGTHS)
    assert [row.backend for row in rows] == ["loop", "fused"]
    quantities = {f"d params.{name}" for name in case.params} | {"output"}
    quantities |= {f"{kind}state.{field}" for field in case.state_type._fields for kind in ("", "d ")}
    for row in rows:
        assert len(row.errors) == (len(TWINS) if case.spikes else 1)
        for column, errors in row.errors.items():
            assert quantities <= errors.keys()
            assert {name for name in errors if name.startswith("d xs")}
            wrong = {name: error for name, error in errors.items() if not error <= ALLOWED}
            assert not wrong, f"{case.name}, {row.rule}, {row.backend}, {column}: {wrong}"


@pytest.mark.parametrize("case", RECURRENT, ids=by_name)
def test_recurrent_neuron(case: Case) -> None:
    rows = neuron_rows(case, case.rules()[0], LENGTHS)
    assert [row.backend for row in rows] == ["loop", "fused"]
    quantities = {"output", "state.s", "d state.s", "d params.recurrent_weight"}
    quantities |= {f"d params.{name}" for name in case.params}
    quantities |= {f"{kind}state.neuron.{field}" for field in case.state_type._fields for kind in ("", "d ")}
    for row in rows:
        for column, errors in row.errors.items():
            assert quantities <= errors.keys()
            wrong = {name: error for name, error in errors.items() if not error <= ALLOWED}
            assert not wrong, f"{case.name}, {row.backend}, {column}: {wrong}"


@pytest.mark.parametrize(("case", "reset"), WITH_RESETS, ids=by_name)
def test_bits(case: Case, reset: F.Reset | None) -> None:
    """Fused against the loop, for every surrogate and both layouts; the kernels are those of test_neuron."""
    for T in LENGTHS:
        xs, params = case.draw(T)
        both = tree_map(lambda x: torch.stack([x, x.flip(-1)], 1), xs)  # (T, 2, 8)
        rest = tree_map(lambda v: torch.stack([v, v.flip(-1)]), case.initial(xs))
        for surrogate, _ in TWINS if case.spikes else TWINS[:1]:
            keywords = params | case.options(surrogate, reset)
            for dim in (0, 1):
                trains = tree_map(lambda x, dim=dim: x.movedim(0, dim).contiguous(), both)
                explained = F.explain_scan(case.step, rest, trains, params=keywords, dim=dim, backend="fused")
                got, want = (
                    pytree.tree_leaves(F.scan(case.step, rest, trains, params=keywords, dim=dim, backend=backend))
                    for backend in BACKENDS
                )
                for a, b in zip(got, want, strict=True):
                    exact = explained.exactness == "E"
                    assert torch.equal(a, b) if exact else relative_error(a, b) < 1e-14, (surrogate, T, dim)


@pytest.mark.parametrize(("surrogate", "twin"), TWINS, ids=by_name)
def test_surrogate(surrogate: F.Surrogate, twin: Any) -> None:
    errors = surrogate_errors(surrogate, twin)
    assert {"value", "derivative", "second derivative"} <= errors.keys()
    assert max(errors.values()) <= ALLOWED, errors


@pytest.mark.parametrize(("function", "twin"), COEFFICIENTS, ids=by_name)
def test_coefficient(function: Any, twin: Any) -> None:
    errors = coefficient_errors(function, twin)
    assert max(errors.values()) <= ALLOWED, errors


def test_the_tables_hold_every_public_name() -> None:
    public = {name for name in F.__all__ if callable(getattr(F, name))}
    tabled = {case.step.__name__ for case in CASES} | {case.state_type.__name__ for case in CASES}
    tabled |= {type(surrogate).__name__ for surrogate, _ in TWINS} | {function.__name__ for function, _ in COEFFICIENTS}
    tabled |= {rule.__name__ for rule in RESETS if inspect.isfunction(rule)}
    tabled |= {"Recurrent", "RecurrentState", *(name for name, *_ in SYNAPSES)}
    around = {"BioLIFInput", "Detached", "Reset", "Surrogate", "detached", "heaviside", "scan", "zeros_state"}
    assert public - ONE_SIDED == tabled | around


def test_both_sides_have_the_same_names() -> None:
    assert set(F.__all__) - ONE_SIDED == set(J.__all__) - ONE_SIDED


@pytest.mark.parametrize("name", [name for name in F.__all__ if name.islower() and name not in ONE_SIDED])
def test_both_sides_have_the_same_signatures(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(side, name)).parameters for side in (F, J))
    assert [p for p in ours if p != "backend"] == list(theirs)
    for parameter, our in ours.items():
        if parameter == "backend":
            continue
        their = theirs[parameter]
        assert our.kind == their.kind, parameter
        assert str(to_jax(our.default)) == str(their.default) or inspect.isfunction(our.default), parameter


def test_the_committed_table_has_every_row() -> None:
    page = (Path(__file__).parents[1] / "docs" / "verification.md").read_text()
    for case, reset in WITH_RESETS:
        for backend in BACKENDS:
            assert f"| {case.name} | {by_name(reset) if case.resets else 'built in'} | {backend} |" in page
    for case in RECURRENT:
        rule = by_name(case.rules()[0]) if case.resets else "built in"
        assert all(f"| {case.name} | {rule} | {backend} |" in page for backend in BACKENDS)
    for ours, _ in (*TWINS, *COEFFICIENTS):
        assert f"| {by_name(ours)} |" in page
    assert "**" not in page  # which marks what is out of tolerance


def test_a_neuron_comes_too_near_the_threshold() -> None:
    case = CASES[0]._replace(params={"threshold": (0.5, 0.5)}, inputs=((0.4, 0.4),))
    with pytest.raises(ValueError, match=r"a membrane comes within .* of the threshold; draw other inputs"):
        neuron_rows(case, F.to_zero, (1,))
