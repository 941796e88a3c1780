"""Every neuron, surrogate and reset rule against its JAX twin, gradients included; and a step of the user's."""

import inspect
import runpy
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.cli import verify as table
from spikingtorch.functional import jax_reference as J
from spikingtorch.jax.rules import RULES
from spikingtorch.layers import neurons
from spikingtorch.testing import TOLERANCE, relative_error
from spikingtorch.verification.cases import (
    CASES,
    COEFFICIENTS,
    LENGTHS,
    LEVELS,
    RECURRENT,
    RESETS,
    TWINS,
    WRAPPED,
    Case,
    by_name,
)
from spikingtorch.verification.cells import (
    BACKENDS,
    Cell,
    Choice,
    choices,
    coefficient_errors,
    every_choice,
    measured,
    pairwise,
    surrogate_errors,
    surrogates,
)
from spikingtorch.verification.page import Line
from tests.processes import ROOT

ALLOWED = TOLERANCE[torch.float64]
# what has no equation: how a scan runs, and functions of a tree or of all steps, which have tests of their own
NO_EQUATION = {
    *("Backend", "Explanation", "Step", "explain_scan", "lift", "reset_where", "time_map", "empty_delay", "delayed"),
    *("Connections", "delayed_linear", "event_conv1d", "event_conv2d", "event_linear", "sparse_linear"),
    # plasticity has tests of its own, in tests/functional/test_plasticity.py
    *("EligibilityTraces", "HardBounds", "PairTraces", "RewardModulated", "SoftBounds", "TripletTraces", "unbounded"),
    *("adapt_threshold", "all_to_all", "nearest", "normalize_weight", "pair_stdp", "scale_weight", "triplet_stdp"),
}
EVERY = every_choice()
OF_NEURONS = {case.name: [each for each in EVERY if each.case.name == case.name] for case in (*CASES, *WRAPPED)}


def assert_small(errors: dict[str, float], *where: str) -> None:
    wrong = {name: error for name, error in errors.items() if not error <= ALLOWED}
    assert not wrong, f"{where}: {wrong}"


# every third choice of a neuron, the first part of them of some neurons in one program
EACH = (*CASES, *WRAPPED)
PARTS = [
    *[
        pytest.param(EACH[k : k + 5], 0, id=f"{EACH[k].name} and next, 0", marks=[pytest.mark.long] * bool(k))
        for k in range(0, len(EACH), 5)
    ],
    *[
        pytest.param([case], part, id=f"{case.name}, {part}", marks=pytest.mark.night)
        for case in EACH
        for part in (3, 6, 9, 12)
        if OF_NEURONS[case.name][part::15]
    ],
]


@pytest.mark.parametrize(("cases", "part"), PARTS)
def test_neurons(cases: Sequence[Case], part: int) -> None:
    """The cells of every third choice, the first of them at two lengths; the table itself has them all."""
    chosen = [choice for case in cases for choice in OF_NEURONS[case.name][part::15]]
    cells = measured(chosen, LENGTHS if part else (1, 17))
    assert [cell.backend for cell in cells] == [*BACKENDS] * len(chosen)
    of_cells = {case.name: case for case in cases}
    assert [cell for cell in cells if not cell.errors] == []
    for cell in cells:
        case = of_cells[cell.neuron]
        quantities = {"output"} | {f"d params.{name}" for name in case.params}
        quantities |= {f"{kind}state.{field}" for field in case.state_type._fields for kind in ("", "d ")}
        found = {name.replace(".past[0]", ".past").replace(".neuron.v", ".neuron") for name in cell.errors}
        found |= {name.partition("[")[0] for name in found}  # of several outputs
        assert quantities <= found, cell
        assert {name for name in cell.errors if name.startswith("d xs")}
        assert_small(cell.errors, cell.where())


@pytest.mark.sampled
@pytest.mark.parametrize("case", RECURRENT[::4], ids=by_name)  # each synapse in turn
def test_recurrent_neuron(case: Case) -> None:
    *in_torch, in_jax = measured([Choice(case, TWINS[0], case.rules()[0])], LENGTHS)
    # products are not compiled in JAX
    assert bool(in_jax.errors) == ("per_channel" in case.name)
    for cell in [cell for cell in (*in_torch, in_jax) if cell.errors]:
        assert {"output", "state.s", "d state.s", "d params.recurrent_weight"} <= cell.errors.keys()
        assert_small(cell.errors, cell.where())


@pytest.mark.sampled
@pytest.mark.parametrize(("ours", "twin"), [*TWINS, *COEFFICIENTS], ids=by_name)
def test_function(ours: Any, twin: Any) -> None:
    errors = (coefficient_errors if inspect.isfunction(ours) else surrogate_errors)(ours, twin)
    assert {"value", "derivative"} | (set() if inspect.isfunction(ours) else {"second derivative"}) <= errors.keys()
    assert_small(errors)


def test_the_cover_has_every_pair() -> None:
    rows = [(a, b, c, d) for a in range(5) for b in range(4) for c in range(3) for d in range(2) if (a + b + c) % 4]
    taken = pairwise(rows)
    assert len(taken) < len(rows) / 2
    pairs, found = ({pair for row in each for pair in combinations(enumerate(row), 2)} for each in (rows, taken))
    assert found == pairs
    assert pairwise(rows) == taken
    assert pairwise([]) == []
    plain, whole = ({each.names() for each in choices(CASES, every)} for every in (False, True))
    assert plain < whole
    for case in CASES:
        mine = [names for names in plain if names[0] == case.name]
        count = len(surrogates(case)) if case.spikes else 1
        assert len({surrogate for _, surrogate, _ in mine}) == count
        assert len({rule for *_, rule in mine}) == len(case.rules())


def test_the_table_has_every_neuron() -> None:
    steps = {name for each in (F, F.chips, F.fixed_point) for name in each.__all__ if name.endswith("_step")}
    assert len(CASES) == len(steps)
    sources = {name: inspect.getsource(getattr(neurons, name)) for name in neurons.__all__}
    for name, source in sources.items():
        base = "".join(sources.get(parent.__name__, "") for parent in getattr(neurons, name).__mro__[1:])
        assert [step for step in steps if f".{step}" in source + base], f"{name} runs no step of the table"
    assert not [step for step in steps if not any([f".{step}" in source for source in sources.values()])]
    assert {case.state_type for case in WRAPPED} == {F.RefractoryState, F.RelativeRefractoryState, F.LIFState}


def test_the_table_holds_every_public_name() -> None:
    public = {name for each in (F, F.chips, F.fixed_point) for name in each.__all__ if callable(getattr(each, name))}
    tabled = {case.step.__name__ for case in CASES} | {case.state_type.__name__ for case in (*CASES, *WRAPPED)}
    tabled |= {type(surrogate).__name__ for surrogate, _ in (*TWINS, *LEVELS)}
    tabled |= {function.__name__ for function, _ in COEFFICIENTS}
    tabled |= {rule.__name__ for rule in RESETS if inspect.isfunction(rule)} | {"to_value"}
    tabled |= {"Recurrent", "RecurrentState", *(case.name.partition(", ")[2] for case in RECURRENT)}
    tabled |= {"Masked", "Refractory", "RelativeRefractory", "Returning"}
    around = {"BioLIFInput", "Fired", "IzhikevichCurve", "Reset", "StochasticInput", "Surrogate"}
    around |= {"detached", "fire", "heaviside", "recorded", "scan", "zeros_state"}
    around |= {"Linearized", "OnlineState", "OnlineStep", "Partials", "with_traces"}  # learning/test_online.py
    assert public - NO_EQUATION == tabled | around


def test_the_committed_page_has_every_cell() -> None:
    page = (ROOT / "docs" / "verification_table.md").read_text()
    for choice in EVERY:
        assert f"| {' | '.join(choice.names())} | " in page
    for ours, _ in (*TWINS, *COEFFICIENTS):
        assert f"| {by_name(ours)} |" in page
    assert "**" not in page  # which marks what is out of tolerance


def test_a_neuron_comes_too_near_the_threshold() -> None:
    case = CASES[0]._replace(params={"threshold": (0.5, 0.5)}, inputs=((0.4, 0.4),))
    with pytest.raises(ValueError, match=r"a membrane comes within .* of the threshold; draw other inputs"):
        measured([Choice(case, TWINS[0], F.to_zero)], (1,))
    case = CASES[0]._replace(params={"threshold": (0.25, 0.25)}, inputs=((0.4, 0.4),))
    with pytest.raises(ValueError, match="with MultiSpike, rounding could decide about a spike"):
        measured([Choice(case, LEVELS[2], F.to_zero)], (1,))


def test_cells_with_nan_or_infinities_are_out_of_tolerance() -> None:
    finite, infinite = torch.ones(2), torch.tensor([1.0, torch.inf])
    for got, want in ((finite, infinite), (infinite, finite), (finite, finite * torch.nan)):
        cell = Cell("x", "", "", "", {"first": 0.0, "second": relative_error(got, want)})
        assert cell.worst() == (torch.inf, "second")
        assert cell.is_wrong()
        assert "OUT OF TOLERANCE" in str(Line("x", [cell]))


def test_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, says in (
        ("", 2, "verify"),
        ("--help", 0, "verify"),
        ("verify --only nothing", 2, "invalid choice"),
        ("verify --only li --write page.md", 2, "leave --only and --mine out"),
        ("verify --only li Sigmoid", 0, "4 cells in 2 lines; 0 lines out of tolerance"),
        ("cache", 0, "kernels"),
        ("nir nothing.nir", 2, "nothing.nir: there is no file nothing.nir"),
        ("report --help", 0, "--checkpoint"),
    ):
        monkeypatch.setattr(table, "keep_programs", lambda: None)
        monkeypatch.setattr(sys, "argv", ["spikingtorch", *arguments.split()])
        with pytest.raises(SystemExit) as left:
            runpy.run_module("spikingtorch", run_name="__main__")
        assert left.value.code == code
        assert says in "".join(capsys.readouterr())


@pytest.mark.parametrize("what", ["twin", "kernel from jax"])
def test_verify_fails_if_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """A wrong twin differs from every backend, and a wrong rule of JAX makes its kernel differ alone."""
    li = next(case for case in CASES if case.name == "li")
    wrong = li._replace(twin=lambda state, x, *, decay, gain: J.li_step(state, x, decay=decay, gain=-gain))
    if what == "twin":
        monkeypatch.setattr(table, "every_choice", lambda whole: choices([wrong], whole))
    else:
        monkeypatch.setitem(RULES, "mul", RULES["add"])
    monkeypatch.setattr(table, "keep_programs", lambda: None)
    assert table.main(["--only", "li"]) == 1
    said = capsys.readouterr().out
    assert ("3 cells in 1 lines; 1 lines out of tolerance" if what == "twin" else "jax   OUT OF TOLERANCE") in said
    assert said.count("OUT OF TOLERANCE") == 1


HEAD = """
from typing import Any, NamedTuple
import torch
from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J

class State(NamedTuple):
    v: Any
"""
STEP = """
def step(state: State, x, *, decay=0.9, surrogate=F.Sigmoid()):
    u = decay * state.v + x
    s = surrogate(u - 1.0)
    return State({v}), s
"""
TWIN = """
def step_twin(state, x, *, decay=0.9):
    u = {decay} * state.v + x
    s = J.Sigmoid()(u - 1.0)
    return State(u * (1 - s)), s
step_params = dict(decay=torch.full((8,), 0.8))
"""
Mine = Callable[..., tuple[int, str]]


@pytest.fixture
def mine(command: Callable[..., Any]) -> Mine:
    return lambda *parts, name="mine_module:step": command(
        table.main, "--mine", name, mine_module=HEAD + "".join(parts)
    )


PLAIN = STEP.format(v="u * (1 - s)")
SILENT = PLAIN.replace("state: State", "state").replace("1.0", "100.0")
# what is in the module, the exit code, and what is said
MODULES: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "a twin": (
        (PLAIN, TWIN.format(decay="decay")),
        0,
        (
            *("cells error largest in step ", "scan runs it as fused"),
            "the compiled loop and the Python loop agree",
            "spikingtorch.jax.scan runs step_twin as one compiled time loop",
        ),
    ),
    "a wrong twin": (
        (PLAIN, TWIN.format(decay="-decay")),
        1,
        ("OUT OF TOLERANCE", "d params.decay on the fused backend differs from the twin by"),
    ),
    "no twin": (
        (PLAIN,),
        0,
        (
            "its gradient equals the gradient of its smooth version, by finite differences",
            "not checked: the equation itself",
            "not checked: gradients of parameters, because none of them is a tensor",
        ),
    ),
    "a branch": ((STEP.format(v="torch.where(s > 0, 0.0, u)"),), 1, ("state.v does not follow the spike",)),
    "a silent neuron, and a state that is made": (
        (SILENT, "step_state = lambda x: State(torch.zeros_like(x))\n"),
        0,
        ("not checked: spikes and resets, because the output was 0 throughout",),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_step(mine: Mine, name: str) -> None:
    parts, expected, says = MODULES[name]
    code, text = mine(*parts)
    assert code == expected
    assert [each for each in says if each not in text] == []
    assert name != "a twin" or "not checked" not in text


@pytest.mark.parametrize(
    ("parts", "name", "says"),
    [
        ("", "mine_module", "--mine takes module:step"),
        ("", "no_such_module:step", "there is no module no_such_module"),
        ("def other_step(state, x): ...\n", "mine_module:step", "has no function step; there are other_step"),
        ("import no_such_thing\n", "mine_module:step", "mine_module needs a module that is not there: no_such_thing"),
        ("1 / 0\n", "mine_module:step", "mine_module cannot be imported: ZeroDivisionError"),
        ("def step(state): ...\n", "mine_module:step", "step takes 1 arguments; a step takes (state, x"),
        ("def step(state, x): ...\n", "mine_module:step", "the type of the state of step is not known"),
        ("def step(state: State, x, *, tau): ...\n", "mine_module:step", 'write step_params = {"tau": ...}'),
        ("def step(state: State, x): ...\nstep_params = {'tau': 1}", "mine_module:step", "step_params has tau, which"),
        ("def step(state: State, x): 1 / 0\n", "mine_module:step", "step fails on inputs of shape (17, 8)"),
        ("def step(state: State, x): return state, x\n", "mine_module:step", "that is step_smooth; or write a second"),
    ],
)
def test_errors(mine: Mine, parts: str, name: str, says: str) -> None:
    code, text = mine(parts, name=name)
    assert code == 2
    assert says in text
