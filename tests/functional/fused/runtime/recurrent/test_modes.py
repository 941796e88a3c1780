"""Recurrent steps and their records, in every way that torch has of calling and differentiating a function."""

import itertools
from collections import namedtuple
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.fused.runtime.recurrent import blocks
from spikingtorch.functional.fused.runtime.recurrent import steps as of_steps
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import RECURRENT
from tests import recurrences as cases
from tests import ways
from tests.fused import Scan, assert_same_bits
from tests.fused_steps import loop
from tests.guards import Guards
from tests.recurrences import FEW, NAMES, Case, Run, check, draw, on, outcome, unrecorded, with_records
from tests.ways import MAPS, WAYS

pytestmark = pytest.mark.usefixtures("one_thread")
few_cases = cases.each_of(FEW)
# so few numbers that there is time for whole matrices of derivatives
small_cases = cases.each_of(
    [
        Case("dense", F.dense, (2, 2), (2, 2)),
        Case("per-channel", F.per_channel, (1, 2, 2, 1), (2, 1, 1)),
        Case("convolution", F.convolution, (1, 2, 2, 1), (2, 1, 3, 3)),
    ]
)
recorded = pytest.mark.parametrize("names", [(), cases.NAMES], ids=["plain", "with records"])


def over_draws(case: Case, *names: str) -> ways.Scan:
    """Return scans of a case as ``ways`` takes them."""

    def drawn(seed: int) -> tuple[Any, Any, Any]:
        scan = draw(case, 2, seed=seed)
        return scan.state, scan.xs, {name: each for name, each in scan.params.items() if name != "reset"}

    return ways.Scan(with_records(draw(case, 2), *names).step, drawn)


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
@recorded
@small_cases
def test_every_way_is_the_loop(case: Case, names: tuple[str, ...], way: str) -> None:
    scan = over_draws(case, *names)
    WAYS[way].agree(scan, *scan.tensors())


@pytest.mark.sampled
@pytest.mark.parametrize("way", MAPS)
@pytest.mark.parametrize("roles", ["x", "p", "sxp"])
@recorded
@small_cases
def test_many_members_are_one_loop_for_each(case: Case, names: tuple[str, ...], roles: str, way: str) -> None:
    scan = over_draws(case, *names)
    MAPS[way].agree(scan, *scan.members(roles))


@pytest.mark.long
@pytest.mark.sampled
@recorded
@small_cases
def test_compiled(case: Case, names: tuple[str, ...]) -> None:
    scan = over_draws(case, *names)
    fast, slow = ways.compiled(scan(ways.scanned)), scan(loop)
    assert_close(*(ways.both(run, *scan.tensors()) for run in (fast, slow)))


def cast(backend: Any) -> Run:
    def run(scan: Scan) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return scan.run(backend)

    return run


def streamed(backend: Any) -> Run:
    def run(scan: Scan) -> Any:
        state, parts = scan.state, []
        for piece in (scan.xs[:1], scan.xs[1:4], scan.xs[4:4], scan.xs[4:]):
            state, outs = scan._replace(state=state, xs=piece).run(backend)
            parts.append(outs)
        return state, pytree.tree_map(lambda *pieces: torch.cat(pieces), *parts)

    return run


RUNS: dict[str, Run] = {
    **{f"a stream, {backend}": streamed(backend) for backend in cases.BACKENDS},
    **{f"autocast, {backend}": cast(backend) for backend in cases.BACKENDS},
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", RUNS)
@recorded
@few_cases
def test_every_run_is_the_loop(case: Case, names: tuple[str, ...], name: str) -> None:
    # products in half precision would differ: under autocast there are none
    options = cases.unshared(case, torch.float32 if "autocast" in name else torch.float64)
    scan = with_records(draw(case, 7, **options), *names)
    assert_close(outcome(scan, RUNS[name]), outcome(scan, on("loop")))


def written_on(scan: Scan) -> Any:
    """Return results of the fused backend after writing on each of them, and putting it back."""
    return pytree.tree_map(lambda result: 0.5 * result.mul_(2), scan.run("fused"))


@pytest.mark.sampled
@recorded
@cases.each_of([*FEW, *(case for case in cases.CASES if "batch-of-one" in case.name)])
def test_writing_on_results(case: Case, names: tuple[str, ...]) -> None:
    """It leaves alone what is saved for the gradient, and the other results."""
    for steps, dim in itertools.product(cases.LENGTHS, (0, 1, -1)):
        scan = draw(case, steps)
        scan = with_records(scan._replace(xs=scan.xs.movedim(0, dim), dim=dim), *names)
        assert_close(outcome(scan, written_on), outcome(scan, on("loop")))
        assert_close(written_on(scan), scan.run("loop"))


# --- records ----------------------------------------------------------------------------------------------------------

NEURONS = {case.name: case for case in RECURRENT}
# one state, an adaptive threshold, a synaptic current beside the membrane, several inputs: in two dtypes
CHOSEN = ("lif", "alif", "cuba_lif", "biolif")


def of_neuron(name: str, steps: int, dtype: torch.dtype) -> tuple[Scan, tuple[str, ...]]:
    """Return the scan of a neuron in a synapse, and all that can be recorded of it."""
    case = NEURONS[name]
    xs, params = case.draw(steps, dtype=dtype)
    state, options = case.initial(xs), case.options(F.Sigmoid(), None)
    fields = [key for key in getattr(state.neuron, "_fields", ()) if isinstance(getattr(state.neuron, key), Tensor)]
    return Scan(case.step, state, xs, params | options), (*fields, "s", *(("u", "threshold") if case.spikes else ()))


@pytest.mark.sampled
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron(name: str) -> None:
    for dtype in (torch.float64, torch.float32) if name.partition(",")[0] in CHOSEN else (torch.float64,):
        scan, names = of_neuron(name, 12, dtype)
        recorded, want = with_records(scan, *names), outcome(scan, on("fused"))
        assert recorded.exactness == scan.exactness
        for _ in range(2):
            assert_same_bits(outcome(recorded, lambda given: unrecorded(given.run("fused"))), want)
            assert_same_bits(unrecorded(recorded.run("fused")), want[0])
        if dtype == torch.float64:
            check(recorded)


@pytest.mark.sampled
@pytest.mark.parametrize("name", NEURONS)
def test_gradients_by_blocks_of_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of parameters are sums over blocks; all others pass from block to block."""
    monkeypatch.setattr(blocks, "_SIZE", 1)
    monkeypatch.setattr(blocks, "_FEWEST", 16)
    for steps in (32, 39):
        scan, names = of_neuron(name, steps, torch.float64)
        check(scan)
        check(with_records(scan, *names))


@few_cases
def test_results_of_one_block_that_are_not_used(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_SIZE", 1)
    monkeypatch.setattr(blocks, "_FEWEST", 16)
    scan = with_records(draw(case, 20), "v", "u")
    with mock.patch.object(of_steps, "of_params", wraps=of_steps.of_params) as each:
        for some in (slice(0, 1), slice(15, 17), slice(19, 20)):

            def of_some(scan: Scan, backend: str, some: slice = some) -> Any:
                return scan.run(backend)[1][0][some]

            found, want = (outcome(scan, partial(of_some, backend=backend)) for backend in ("fused", "loop"))
            assert_close(found, want)
    assert each.call_count == (0 if case.name == "per-channel" else 6)  # that one is a plain scan


# a state with a field of the name that the output has in a recurrent state, and a count in whole numbers
Named = namedtuple("Named", ["v", "s", "steps"])


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
def test_a_state_with_a_field_of_the_output_s_name(case: Case) -> None:
    """Its record is the output, as it is on the loop; a count in whole numbers keeps its dtype."""
    scan = of_named(case, 9)
    check(scan)
    spikes, records = scan.run("fused")[1]
    assert torch.equal(records["s"], spikes)
    assert torch.equal(records["steps"][:, 0].flatten()[:1], torch.tensor([1]))
    assert records["steps"].dtype == torch.int64


def leaky_with_membrane(state: F.LIFState, x: Tensor, **params: Any) -> tuple[F.LIFState, tuple[Tensor, Tensor]]:
    after, spike = F.lif_step(state, x, **params)
    return after, (spike, 2 * after.v + x)


@few_cases
def test_a_neuron_that_gives_out_a_tuple(case: Case) -> None:
    """The first of it comes back."""
    scan = draw(case, 17)
    double = scan._replace(step=cases.Recurrent(leaky_with_membrane, case.synapse))
    check(double)
    assert_same_bits(unrecorded(double.run("fused")), scan.run("fused"))


@few_cases
def test_a_name_that_there_is_not(case: Case) -> None:
    scan = draw(case, 4)
    for backend in cases.BACKENDS:
        with pytest.raises(ValueError, match=r"Recurrent\(lif_step\) has no state 'w'; it has v, s"):
            with_records(scan, "w").run(backend)
    for names, there in ((("w", "v"), ["v"]), (("w",), [])):
        step: Any = F.Recorded(scan.step, names, strict=False)
        lenient = scan._replace(step=step)
        assert list(lenient.run("fused")[1][1]) == there
        check(lenient)


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
        recorded = of_named(case, steps, dtype)
        want = with_slopes(recorded)
        with monkeypatch.context() as patch:
            guards = Guards().place_results(patch)
            assert_same_bits(with_slopes(recorded), want)
        guards.check()
        assert guards.results > 0
