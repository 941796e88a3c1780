"""Every neuron, surrogate and reset rule against its JAX twin: outputs, final state, and all gradients, in float64."""

import inspect
import runpy
import sys
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.interop import to_jax
from spikingtorch.testing import TOLERANCE, relative_error
from spikingtorch.verification import table
from spikingtorch.verification.cases import (
    CASES,
    COEFFICIENTS,
    LENGTHS,
    RECURRENT,
    RESETS,
    SYNAPSES,
    TWINS,
    Case,
    by_name,
)
from spikingtorch.verification.functions import coefficient_errors, surrogate_errors
from spikingtorch.verification.table import BACKENDS, neuron_rows
from tests.processes import ROOT

ALLOWED = TOLERANCE[torch.float64]
# what only one of the two sides needs: types for annotations, torch's own helpers
ONE_SIDED = {
    "Backend",
    "Explanation",
    "Parameter",
    "Step",
    "explain_scan",
    "lift",
    "reset_where",
    "time_batch_norm",
} | {"time_map"}
RESETTING = [case for case in CASES if case.resets]


def surrogates(case: Case, reset: F.Reset | None) -> tuple[Any, ...]:
    """Return some surrogates with their twins: every neuron and every rule meets each of them, not every pair does."""
    if reset is None:
        return TWINS if case.spikes else TWINS[:1]
    first = 3 * (RESETTING.index(case) + RESETS.index(reset))
    return tuple(TWINS[(first + n) % len(TWINS)] for n in range(3))


def assert_small(errors: dict[str, float], *where: str) -> None:
    wrong = {name: error for name, error in errors.items() if not error <= ALLOWED}
    assert not wrong, f"{where}: {wrong}"


RULED = [(case, reset) for case in CASES for reset in case.rules()]


@pytest.mark.parametrize(("case", "reset"), [*RULED, *((case, case.rules()[0]) for case in RECURRENT)], ids=by_name)
def test_neuron(case: Case, reset: F.Reset | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.weights is None:
        monkeypatch.setattr(table, "TWINS", surrogates(case, reset))
    rows = neuron_rows(case, reset, LENGTHS)
    assert [row.backend for row in rows] == ["loop", "fused"]
    owner, quantities = ("state", {"output"}) if case.weights is None else ("state.neuron", {"output", "state.s"})
    quantities |= {f"d params.{name}" for name in case.params}
    quantities |= {f"{kind}{owner}.{field}" for field in case.state_type._fields for kind in ("", "d ")}
    quantities |= set() if case.weights is None else {"d state.s", "d params.recurrent_weight"}
    for row in rows:
        assert len(row.errors) == (len(surrogates(case, reset)) if case.weights is None else 1)
        for column, errors in row.errors.items():
            assert quantities <= errors.keys()
            assert {name for name in errors if name.startswith("d xs")}
            assert_small(errors, case.name, row.rule, row.backend, column)


@pytest.mark.parametrize(("case", "reset"), RULED, ids=by_name)
def test_bits(case: Case, reset: F.Reset | None) -> None:
    """Fused against the loop, in both layouts; the kernels are those of test_neuron."""
    for T in LENGTHS:
        xs, params = case.draw(T)
        both = tree_map(lambda x: torch.stack([x, x.flip(-1)], 1), xs)  # (T, 2, 8)
        rest = tree_map(lambda v: torch.stack([v, v.flip(-1)]), case.initial(xs))
        for surrogate, _ in surrogates(case, reset):
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


@pytest.mark.parametrize(("ours", "twin"), [*TWINS, *COEFFICIENTS], ids=by_name)
def test_function(ours: Any, twin: Any) -> None:
    errors = (coefficient_errors if inspect.isfunction(ours) else surrogate_errors)(ours, twin)
    assert {"value", "derivative"} | (set() if inspect.isfunction(ours) else {"second derivative"}) <= errors.keys()
    assert_small(errors)


def test_the_tables_hold_every_public_name() -> None:
    public = {name for name in F.__all__ if callable(getattr(F, name))}
    tabled = {case.step.__name__ for case in CASES} | {case.state_type.__name__ for case in CASES}
    tabled |= {type(surrogate).__name__ for surrogate, _ in TWINS} | {function.__name__ for function, _ in COEFFICIENTS}
    tabled |= {rule.__name__ for rule in RESETS if inspect.isfunction(rule)}
    tabled |= {"Recurrent", "RecurrentState", *(name for name, *_ in SYNAPSES)}
    around = {"BioLIFInput", "Detached", "Masked", "Reset", "Surrogate", "detached", "heaviside", "scan", "zeros_state"}
    assert public - ONE_SIDED == tabled | around


def test_both_sides_have_the_same_names_and_signatures() -> None:
    assert set(F.__all__) - ONE_SIDED == set(J.__all__) - ONE_SIDED
    for name in (name for name in F.__all__ if name.islower() and name not in ONE_SIDED):
        ours, theirs = (dict(inspect.signature(getattr(side, name)).parameters) for side in (F, J))
        ours.pop("backend", None)
        assert list(ours) == list(theirs), name
        for our, their in zip(ours.values(), theirs.values(), strict=True):
            assert our.kind == their.kind, (name, our)
            assert str(to_jax(our.default)) == str(their.default) or inspect.isfunction(our.default), (name, our)


def test_the_committed_table_has_every_row() -> None:
    page = (ROOT / "docs" / "verification.md").read_text()
    for case, reset in [*RULED, *((case, case.rules()[0]) for case in RECURRENT)]:
        for backend in BACKENDS:
            assert f"| {case.name} | {by_name(reset) if case.resets else 'built in'} | {backend} |" in page
    for ours, _ in (*TWINS, *COEFFICIENTS):
        assert f"| {by_name(ours)} |" in page
    assert "**" not in page  # which marks what is out of tolerance


def test_a_neuron_comes_too_near_the_threshold() -> None:
    case = CASES[0]._replace(params={"threshold": (0.5, 0.5)}, inputs=((0.4, 0.4),))
    with pytest.raises(ValueError, match=r"a membrane comes within .* of the threshold; draw other inputs"):
        neuron_rows(case, F.to_zero, (1,))


def test_rows_with_nan_or_infinities_are_out_of_tolerance() -> None:
    finite, infinite = torch.ones(2), torch.tensor([1.0, torch.inf])
    for got, want in ((finite, infinite), (infinite, finite), (finite, finite * torch.nan)):
        row = table.Row("x", "", "", {"a": {"first": 0.0, "second": relative_error(got, want)}})
        assert row.worst()[0] == torch.inf


def test_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, says in (
        ("", 2, "verify"),
        ("--help", 0, "verify"),
        ("verify --only nothing", 2, "invalid choice"),
        ("verify --only li Sigmoid", 0, "0 rows out of tolerance"),
        ("cache", 0, "kernels"),
    ):
        monkeypatch.setattr(sys, "argv", ["spikingtorch", *arguments.split()])
        with pytest.raises(SystemExit) as left:
            runpy.run_module("spikingtorch", run_name="__main__")
        assert left.value.code == code
        assert says in "".join(capsys.readouterr())


def test_verify_fails_on_a_wrong_twin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = CASES[-1]._replace(twin=lambda state, x, *, decay, gain: J.li_step(state, x, decay=decay, gain=-gain))
    monkeypatch.setattr(table, "CASES", (wrong,))
    assert table.main(["--only", "li"]) == 1
    text = capsys.readouterr().out
    assert "OUT OF TOLERANCE" in text
    assert "2 cells in 2 rows; 2 rows out of tolerance" in text
