"""The rules of the fold against an oracle that knows of numbers alone."""

import contextlib
from typing import Any

import hypothesis
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import spikingtorch as st
from spikingtorch.fold.rules import FACTORIES, RULES
from spikingtorch.fold.trace import Objection
from tests.fold.rules.by_hand import KEPT, MERGED, MIXING, TOLD_KEPT, TOLD_MIXING, judged, merged, outer_of, told
from tests.fold.rules.cases import APART, MIXED, SUBTLE, Case
from tests.fold.rules.gradients import FOLDED, REFUSED, SUMS_APART, SUMS_MIXED
from tests.fold.rules.hidden import HIDDEN
from tests.fold.rules.layers import FACTORIES as MAKES
from tests.fold.rules.layers import LAYERS, MATRICES, SPACES
from tests.fold.rules.operations import ALONG, ENTRIES, INDEXED, Row
from tests.fold.rules.oracle import SIZES, Code, decide, folding, mixing, noise
from tests.fold.rules.search import CHOICES, false_fold
from tests.fold.rules.views import PRODUCTS, VIEWS
from tests.nets_that_step import Two

SWAPPED = "tensors swapped"
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Using torch.cross", "ignore:torch.searchsorted"),
]
ROWS: dict[str, Row] = ENTRIES | ALONG | INDEXED | VIEWS | PRODUCTS | LAYERS | SPACES | MATRICES | MAKES
FEW_SIZES = (7, 1, 6)


class Names(TorchDispatchMode):
    """The names of the operations that run within it."""

    def __init__(self, found: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.add(func._opname)
        return func(*args, **(kwargs or {}))


class Wholes(TorchFunctionMode):
    """The names of the functions that are called within it; of what an einsum is made of, the proof sees nothing."""

    def __init__(self, found: set[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.add(func.__name__)
        return func(*args, **(kwargs or {}))


def names_in(code: Code, shape: tuple[int, ...]) -> set[str]:
    found: set[str] = set()
    with Names(found), Wholes(found):
        code(noise(7, shape, 0).requires_grad_() * 1)
    return found


def wrong(case: Case) -> str:
    """Return what is wrong with the numbers of samples for which the proof lets code fold."""
    with torch.set_grad_enabled(case.gradients):
        sizes = folding(case.code, case.shape, gradients=case.gradients)
    return mixing(case.code, case.shape, sizes, case.weights) if sizes else ""


@pytest.mark.parametrize("name", APART | SUMS_APART)
def test_apart(name: str) -> None:
    case = (APART | SUMS_APART)[name]
    sizes = folding(case.code, case.shape)
    assert {7, 11, 64, 100} <= {*sizes}
    assert not mixing(case.code, case.shape, sizes, case.weights)


@pytest.mark.parametrize("name", MIXED | SUMS_MIXED)
def test_mixed(name: str) -> None:
    case = (MIXED | SUMS_MIXED)[name]
    assert mixing(case.code, case.shape, SIZES, case.weights)
    assert not folding(case.code, case.shape)


@pytest.mark.parametrize("name", FOLDED | REFUSED)
def test_verdict(name: str) -> None:
    assert (decide((FOLDED | REFUSED)[name], (6,)).reason is None) == (name in FOLDED)


@pytest.mark.parametrize("name", SUBTLE)
def test_subtle(name: str) -> None:
    """What mixes some numbers of samples folds for none of those."""
    case = SUBTLE[name]
    with torch.set_grad_enabled(case.gradients):
        assert mixing(case.code, case.shape, SIZES, case.weights)
    assert not wrong(case)


@pytest.mark.parametrize("name", [name for name in HIDDEN if name != SWAPPED])
def test_hidden(name: str) -> None:
    assert not wrong(HIDDEN[name][0])


def test_swapped_tensors_are_no_operation() -> None:
    """The proof does not see it; the code that calls it is a reason to step."""
    code = HIDDEN[SWAPPED][0].code
    model = st.SpikingNet(Two(lambda net, x, init: code(x)), 3)
    assert "swap_tensors" in model.explain(torch.rand(3, 4, 4)).reason


@pytest.mark.sampled
@pytest.mark.parametrize("name", ROWS)
def test_operation_keeps_samples_apart(name: str) -> None:
    row = ROWS[name]
    for code in row.keeps:
        assert name in names_in(code, row.shape)
        decision = decide(code, row.shape)
        assert decision.reason is None
        assert decision.folds(100)
        sizes = [N for N in FEW_SIZES if decision.folds(N)]
        assert not mixing(code, row.shape, sizes, row.weights, row.draws)


@pytest.mark.sampled
@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name].mixes])
def test_operation_mixes_samples(name: str) -> None:
    row = ROWS[name]
    for code in row.mixes:
        found = mixing(code, row.shape, (7, 11, 1, 6), row.weights, row.draws)
        assert found
        assert not found.startswith("fails")
        reason = decide(code, row.shape).reason
        assert reason is not None
        assert "does not run" not in reason


@pytest.mark.parametrize("call", KEPT, ids=lambda call: call[0])
def test_shapes_keep_samples_apart(call: tuple[Any, ...]) -> None:
    assert judged(*call) == outer_of(call[1])


@pytest.mark.parametrize("call", MIXING, ids=lambda call: call[0])
def test_shapes_mix_samples(call: tuple[Any, ...]) -> None:
    with pytest.raises(Objection):
        judged(*call)


@pytest.mark.parametrize("call", [*TOLD_KEPT, *TOLD_MIXING], ids=lambda call: call[0])
def test_what_is_no_operation(call: tuple[Any, ...]) -> None:
    with contextlib.nullcontext() if call in TOLD_KEPT else pytest.raises(Objection):
        told(*call)


@pytest.mark.parametrize("sizes", MERGED)
def test_sizes_of_both_traces(sizes: tuple[int, int]) -> None:
    assert merged(*sizes) == MERGED[sizes]


@pytest.mark.parametrize("examples", [4, pytest.param(150, marks=pytest.mark.long)])
def test_random_code(examples: int) -> None:
    @hypothesis.settings(derandomize=True, max_examples=examples, deadline=None, database=None)
    @hypothesis.given(CHOICES)
    def check(choices: list[int]) -> None:
        assert not false_fold(choices)

    check()


def test_every_rule_has_a_row() -> None:
    assert RULES.keys() | FACTORIES <= ROWS.keys() | {call[0].partition(".")[0] for call in KEPT}


def test_names_are_operations() -> None:
    assert not [name for name in RULES.keys() | FACTORIES if not hasattr(torch.ops.aten, name)]
