"""The rules of the fold against an oracle that knows of numbers alone, and those that a user adds."""

import contextlib
import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import spikingtorch as st
from spikingtorch.fold.rules import FACTORIES, RULES
from spikingtorch.fold.trace import Objection
from spikingtorch.testing import assert_close
from tests.fold.corpus import operations_shapes
from tests.fold.corpus.operations import OPERATIONS
from tests.fold.corpus.operations_attacks import APART, HIDDEN, MIXED, SWAPPED, Attack
from tests.fold.corpus.operations_forms import Row
from tests.fold.corpus.operations_gradients import FOLDED, HIDDEN_SUMS, REFUSED, SUMS_APART, SUMS_MIXED
from tests.fold.corpus.operations_layers import LAYERS
from tests.fold.corpus.operations_oracle import SIZES, Code, Judged, mixing, noise
from tests.fold.corpus.operations_shapes import KEPT, MERGED, MIXING, TOLD_KEPT, TOLD_MIXING, judged, merged, outer_of
from tests.nets_that_step import Two, train

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Using torch.cross", "ignore:torch.searchsorted"),
]
ROWS: dict[str, Row] = OPERATIONS | LAYERS
# by the operation and the branch of its rule
KEEPS, MIXES = (
    {
        f"{name}, {branch}".strip(", "): (name, code)
        for name, row in ROWS.items()
        for branch, code in row.calls(keeps).items()
    }
    for keeps in (True, False)
)


class Names(TorchDispatchMode):
    """The names of the operations that run within it."""

    def __init__(self, found: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.add(func._opname)
        return func(*args, **(kwargs or {}))


def operations_of(code: Code, row: Row) -> set[str]:
    found = {"einsum"}  # which torch takes apart before its dispatcher, and the proof does not
    with Names(found):
        code(noise(7, row.shape, 0).requires_grad_() * 1)
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("call", KEEPS)
def test_operation_keeps_samples_apart(call: str) -> None:
    name, code = KEEPS[call]
    row = ROWS[name]
    assert name in operations_of(code, row)
    found = Judged(code, row.shape)
    assert not found.reason
    assert found.folds(100)
    assert not mixing(code, row.shape, found.sizes((7, 1, 6)), row.weights, row.draws)


@pytest.mark.sampled
@pytest.mark.parametrize("call", MIXES)
def test_operation_mixes_samples(call: str) -> None:
    name, code = MIXES[call]
    row = ROWS[name]
    assert name in operations_of(code, row)
    how = mixing(code, row.shape, (7, 11, 1, 6), row.weights, row.draws)
    assert how
    assert not how.startswith("fails")
    reason = Judged(code, row.shape).reason
    assert reason
    assert "does not run" not in reason


def test_every_rule_has_its_two_calls() -> None:
    returns_nothing = {"_linalg_check_errors"}  # so that it mixes nothing
    for calls, judged_by_shapes in ((KEEPS, KEPT), (MIXES, MIXING)):
        have = {name for name, _ in calls.values()} | {call[0].partition(".")[0] for call in judged_by_shapes}
        assert RULES.keys() | FACTORIES <= have | returns_nothing
    assert not [name for name in RULES.keys() | FACTORIES if not hasattr(torch.ops.aten, name)]


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
        operations_shapes.told(*call)


@pytest.mark.parametrize("sizes", MERGED)
def test_sizes_of_both_traces(sizes: tuple[int, int]) -> None:
    assert merged(*sizes) == MERGED[sizes]


@pytest.mark.parametrize("case", (APART | SUMS_APART).values(), ids=[*APART, *SUMS_APART])
def test_apart(case: Attack) -> None:
    sizes = Judged(case.code, case.shape).sizes()
    assert {7, 11, 64, 100} <= {*sizes}
    assert not mixing(case.code, case.shape, sizes, case.weights)


@pytest.mark.parametrize("case", (MIXED | SUMS_MIXED).values(), ids=[*MIXED, *SUMS_MIXED])
def test_mixed(case: Attack) -> None:
    assert mixing(case.code, case.shape, SIZES, case.weights)
    assert not Judged(case.code, case.shape).sizes()


@pytest.mark.parametrize("case", (HIDDEN | HIDDEN_SUMS).values(), ids=[*HIDDEN, *HIDDEN_SUMS])
def test_hidden(case: Attack) -> None:
    """What mixes some numbers of samples folds for none of those."""
    with torch.set_grad_enabled(case.gradients):
        assert mixing(case.code, case.shape, (*SIZES, 51), case.weights)
        sizes = Judged(case.code, case.shape).sizes()
        assert not sizes or not mixing(case.code, case.shape, sizes, case.weights)


def test_swapped_tensors_are_no_operation() -> None:
    """The proof does not see it; the code that calls it is a reason to step."""
    assert mixing(SWAPPED.code, SWAPPED.shape)
    assert "swap_tensors" in Judged(SWAPPED.code).reason


@pytest.mark.parametrize("name", FOLDED | REFUSED)
def test_verdict(name: str) -> None:
    assert (not Judged((FOLDED | REFUSED)[name]).reason) == (name in FOLDED)


NAME = "spikingtorch_tests::smooth"


@pytest.fixture(scope="module")
def smooth() -> Any:
    """A custom operation that smooths each row."""

    @torch.library.custom_op(NAME, mutates_args=())
    def operation(x: Tensor) -> Tensor:
        return 0.5 * (x + x.roll(1, -1))

    operation.register_autograd(lambda ctx, grad: 0.5 * (grad + grad.roll(-1, -1)))
    return torch.ops.spikingtorch_tests.smooth


def through(net: Any, x: Tensor, init: Any) -> Tensor:
    return torch.ops.spikingtorch_tests.smooth(x)


def test_steps_as_long_as_nobody_says_what_it_does(smooth: Any) -> None:
    report = st.SpikingNet(Two(through).double(), 3).explain(train())
    assert report.mode == "step"
    assert "an operation that is not known to keep samples apart (smooth, line" in report.reason


@pytest.mark.parametrize("chosen", ["packet", "overload"])
def test_folds_as_taught(smooth: Any, chosen: str) -> None:
    rules = {smooth if chosen == "packet" else smooth.default: "rows"}
    net = Two(through).double()
    model: Any = st.SpikingNet(net, 3, fold_rules=rules)  # type: ignore[arg-type]
    step = st.SpikingNet(copy.deepcopy(net), 3, mode="step")
    found = []
    for each in (model, step):
        x = train().requires_grad_()
        out = each(x)
        found.append([out, *torch.autograd.grad(out.sum(), [x, *each.parameters()])])
    assert_close(found[0], found[1])
    assert model.explain().mode == "fold"
    assert copy.deepcopy(model).explain(train()).mode == "fold"
    assert pickle.loads(pickle.dumps(model)).explain(train()).mode == "fold"
    assert st.SpikingNet(net, 3).explain(train()).mode == "step"  # what one network is told, others do not hear


def test_what_is_taught_does_not_excuse_the_rest(smooth: Any) -> None:
    net = Two(lambda net, x, init: through(net, x.T, init).T).double()
    report = st.SpikingNet(net, 3, fold_rules={smooth: "rows"}).explain(train())
    assert (report.mode, "works along the axis of the batch" in report.reason) == ("step", True), report.reason


@pytest.mark.parametrize(
    ("rules", "kind", "message"),
    [
        ({"mylib::smooth": "rows"}, TypeError, "fold_rules has the key 'mylib::smooth', expected an operation such as"),
        ({torch.relu: "rows"}, TypeError, "expected an operation such as torch.ops"),
        ({torch.ops.aten.relu: "column"}, ValueError, "says 'column' of aten.relu, expected 'pointwise' .* or 'rows'"),
    ],
)
def test_bad_rules(rules: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        st.SpikingNet(Two(), 3, fold_rules=rules)
