"""Records of a recurrent layer, further outputs of its neuron's kernel: they change no bit, and are the loop's."""

import itertools
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core import memory
from spikingtorch.functional.dispatch import recurrent
from spikingtorch.functional.recorded import records_inside
from spikingtorch.testing import assert_close, relative_error
from spikingtorch.verification.cases import RECURRENT
from tests.functional.fused.recurrent import cases
from tests.functional.fused.recurrent.cases import FEW, Case, check, draw, on, outcome, slopes, with_records
from tests.fused import Scan, assert_same_bits
from tests.guards import Guards
from tests.torch_threads import on_threads

pytestmark = pytest.mark.usefixtures("one_thread")
few_cases = cases.each_of(FEW)
SHAPES = [
    *FEW,
    Case("dense-no-batch", F.dense, (5,), (5, 5)),
    Case("dense-batch-of-one", F.dense, (1, 5), (5, 5)),
    Case("dense-2-batch-axes", F.dense, (2, 3, 5), (5, 5)),
    Case("dense-one-neuron", F.dense, (2, 1), (1, 1)),
    Case("conv-batch-of-one", F.convolution, (1, 4, 6), (4, 2, 3)),
]
NAMES = ("v", "s", "u", "threshold")
NEURONS = {case.name: case for case in RECURRENT}
# one state, an adaptive threshold, a synaptic current beside the membrane, several inputs
CHOSEN = [
    f"{neuron}, {synapse}" for neuron in ("lif", "alif", "cuba_lif", "biolif") for synapse in ("dense", "convolution")
]


def around(scan: Scan, step: Any) -> Scan:
    """Return a scan of another step."""
    return scan._replace(step=step)


def of_neuron(name: str, steps: int, dtype: torch.dtype = torch.float64) -> tuple[Scan, tuple[str, ...]]:
    """Return the scan of a neuron in a synapse, and all that can be recorded of it."""
    case = NEURONS[name]
    xs, params = case.draw(steps, dtype=dtype)
    state, options = case.initial(xs), case.options(F.Sigmoid(), None)
    fields = [key for key in getattr(state.neuron, "_fields", ()) if isinstance(getattr(state.neuron, key), Tensor)]
    return Scan(case.step, state, xs, params | options), (*fields, "s", *(("u", "threshold") if case.spikes else ()))


def unrecorded(results: Any) -> Any:
    """Return the results of a scan without its records."""
    state, out = results
    return (state, out[0]) if isinstance(out, tuple) else results


def same_bits(scan: Scan, *names: str) -> None:
    """Assert that records change no bit of results and gradients, whether there is a gradient to come or not."""
    recorded = with_records(scan, *names)
    want = outcome(scan, on("fused"))
    for _ in range(2):
        got = outcome(recorded, lambda given: unrecorded(given.run("fused")))
        assert_same_bits(got[0], want[0])
        for mine, theirs in zip(got[1], want[1], strict=True):
            assert torch.equal(mine, theirs), "a gradient differs"
        assert_same_bits(unrecorded(recorded.run("fused")), want[0])


def is_fused(scan: Scan, *names: str) -> None:
    """Assert that a scan runs fused with records, and that it says so in the words of one without."""

    def told(given: Scan) -> Any:
        return F.explain_scan(given.step, given.state, given.xs, params=given.params, dim=given.dim, backend="fused")

    found = told(with_records(scan, *names))
    assert found == told(scan)
    assert found.backend == "fused"


dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@pytest.mark.sampled
@dtypes
@pytest.mark.parametrize("in_c", [True, False], ids=["", "from Python"])
@cases.each_of(SHAPES)
def test_every_shape_and_length(case: Case, in_c: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if not in_c:
        monkeypatch.setattr(recurrent, "runs_in_c", lambda *_: False)
    # as elsewhere, in float32 no parameter is shared
    shape = () if dtype == torch.float64 else case.shape
    for steps in (1, 2, 17, 33):
        scan = draw(case, steps, dtype=dtype, decay=shape, threshold=shape)
        is_fused(scan, *NAMES)
        same_bits(scan, *NAMES)
        # values and gradients of all results, the records among them
        check(with_records(scan, *NAMES))


@pytest.mark.sampled
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron(name: str) -> None:
    for dtype, steps in ((torch.float64, 20), (torch.float32, 7)) if name in CHOSEN else ((torch.float64, 12),):
        scan, names = of_neuron(name, steps, dtype)
        is_fused(scan, *names)
        same_bits(scan, *names)
    scan, names = of_neuron(name, 12)
    recorded = with_records(scan, *names)
    assert_close(recorded.run("fused"), recorded.run("loop"))
    if name in CHOSEN:
        check(recorded)


@few_cases
def test_what_records_are(case: Case) -> None:
    state, (spikes, records) = with_records(draw(case, 17), *NAMES).run("fused")
    assert tuple(records) == NAMES
    assert torch.equal(records["s"], spikes)
    assert torch.equal(records["v"][-1], state.neuron.v)
    assert torch.equal(records["u"] >= records["threshold"], spikes > 0)
    assert spikes.any()
    assert not spikes.all()


@few_cases
def test_a_loss_on_records_alone(case: Case) -> None:
    """Of one record, or of one step of it: nothing comes in for the other results."""
    for used, steps in itertools.product(NAMES, (1, 17)):

        def some(scan: Scan, backend: Any, used: str = used) -> Any:
            record = scan.run(backend)[1][1][used]
            return record[len(record) // 2]

        got, want = (
            slopes(with_records(draw(case, steps), *NAMES), partial(some, backend=b)) for b in ("fused", "loop")
        )
        assert_close(got, want)
        assert any(g.any() for g in got)


@few_cases
def test_some_gradients_are_wanted(case: Case) -> None:
    recorded = with_records(draw(case, 5), "v", "u")
    whole = recorded.gradients("loop")
    for name in whole:
        assert_close(recorded.gradients("fused", only=[name]), {name: whole[name]}, name)


class Named(NamedTuple):
    """A state with a field of the name that the output has in a recurrent state, and a count in whole numbers."""

    v: Tensor
    s: Tensor
    steps: Tensor


def named_step(state: Named, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[Named, Tensor]:
    v, out, _, _ = F.fire(0.9 * state.v + x, threshold, surrogate, F.to_zero)
    return Named(v, 0.5 * state.s + out, state.steps + 1), out


def of_named(case: Case, steps: int, dtype: torch.dtype = torch.float64) -> Scan:
    """Return a scan of that neuron, all of which is recorded."""
    zeros, drawn = torch.zeros(case.shape, dtype=dtype), draw(case, steps, dtype=dtype)
    params = {name: drawn.params[name] for name in ("threshold", "recurrent_weight")} | {"surrogate": F.Sigmoid()}
    state = F.RecurrentState(Named(zeros, zeros + 0.2, zeros.long()), zeros)
    return with_records(Scan(cases.Recurrent(named_step, case.synapse), state, drawn.xs, params), "steps", *NAMES)


@few_cases
def test_where_the_records_are_makes_no_difference(case: Case) -> None:
    """Around the recurrence, or around the neuron within: the loop finds the same."""
    scan = of_named(case, 9)
    inside = around(scan, records_inside(scan.step))
    assert isinstance(inside.step, F.Recurrent)
    assert_same_bits(inside.run("loop"), scan.run("loop"))
    assert_close(scan.run("fused"), scan.run("loop"))
    assert scan.run("fused")[1][1]["steps"].dtype == torch.int64
    assert records_inside(cases.Recurrent(named_step)) == cases.Recurrent(named_step)


def leaky_with_membrane(state: F.LIFState, x: Tensor, **params: Any) -> tuple[F.LIFState, tuple[Tensor, Tensor]]:
    after, spike = F.lif_step(state, x, **params)
    return after, (spike, 2 * after.v + x)


@few_cases
def test_a_neuron_that_gives_out_a_tuple(case: Case) -> None:
    """The first of it comes back."""
    scan = draw(case, 17)
    double = around(scan, cases.Recurrent(leaky_with_membrane, case.synapse))
    check(double)
    assert_same_bits(unrecorded(double.run("fused")), scan.run("fused"))


@few_cases
def test_a_name_that_there_is_not(case: Case) -> None:
    scan = draw(case, 4)
    for backend in cases.BACKENDS:
        with pytest.raises(ValueError, match=r"Recurrent\(lif_step\) has no state 'w'; it has v, s"):
            with_records(scan, "w").run(backend)
    lenient = around(scan, F.Recorded(scan.step, ("w", "v"), strict=False))
    assert list(lenient.run("fused")[1][1]) == ["v"]
    nothing = around(scan, F.Recorded(scan.step, ("w",), strict=False))
    assert_close(nothing.run("fused"), nothing.run("loop"))
    assert nothing.run("fused")[1][1] == {}


def with_slopes(scan: Scan) -> Any:
    """Return results, and the gradients of a loss on spikes and membranes."""
    watched, leaves = scan.watched()
    state, (spikes, records) = watched.run("fused")
    loss = (spikes * records["u"]).sum()
    return state, spikes, records, torch.autograd.grad(loss, [*leaves.values()], materialize_grads=True)


@pytest.mark.sampled
@few_cases
def test_memory_between_guards(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written beside an array, and nothing is read from there."""
    for steps, dtype in itertools.product((1, 40), (torch.float64, torch.float32)):
        # whole numbers of eight bytes, beside spikes of four
        recorded, guards = of_named(case, steps, dtype), Guards()
        want = with_slopes(recorded)
        with monkeypatch.context() as patch:
            patch.setattr(memory, "allocated", guards.allocated)
            assert_same_bits(with_slopes(recorded), want)
        guards.check()
        assert guards.results > 0


def test_the_loop_in_c_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = cases.loops_in_c(monkeypatch)
    large = Case("dense-large", F.dense, (70, 33), (33, 33))
    scan = with_records(draw(large, 40, decay=large.shape, threshold=large.shape), *NAMES)
    want = scan.gradients("loop")
    with on_threads(2):
        got = scan.gradients("fused")
    assert taken == ["forward", "backward"]
    for name, gradient in want.items():
        assert relative_error(got[name], gradient) < 1e-9
