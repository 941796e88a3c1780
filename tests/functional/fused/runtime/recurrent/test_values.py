"""Recurrent steps in scan: against an unrolled network, and the fused backend against the loop."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._pytree import tree_map

from spikingtorch import functional as F
from spikingtorch.functional.sparse import kernels
from spikingtorch.testing import assert_close
from tests import recurrences as cases
from tests.fused import Scan, assert_same_bits
from tests.recurrences import BACKENDS, NAMES, Case, draw, on, outcome, slopes, with_records
from tests.rounding import Change, assert_as_exact
from tests.surroundings import calls_of

pytestmark = pytest.mark.usefixtures("one_thread")
every_case, few_cases = cases.each_of(cases.CASES), cases.each_of(cases.FEW)


@pytest.mark.sampled
@every_case
def test_an_unrolled_network(case: Case) -> None:
    for step, reset in itertools.product((F.if_step, F.lif_step), (F.to_zero, F.by_subtraction)):
        for steps in cases.LENGTHS if np.prod(case.shape) < 20 else (7,):
            scan = draw(case, steps, step=step, reset=reset)
            want = outcome(scan, cases.unrolled)
            for backend in BACKENDS:
                assert_close(outcome(scan, on(backend)), want, backend)
            assert steps < 7 or 0.02 < want[0][1].mean() < 0.98, "no dynamics to compare"
            assert steps < 7 or all(bool(g.any()) for g in want[1]), "a gradient is zero, and so compares nothing"


def test_synapses_by_hand() -> None:
    """The spike of neuron 0 arrives at neuron 1 with weight[1, 0]; zeros surround an image."""
    pair, kernel = torch.tensor([[0.0, 10.0], [1.0, 0.0]]), torch.tensor([[[3.0, 5.0, 7.0]]])
    assert F.dense(torch.tensor([1.0, 0.0]), pair).tolist() == [0.0, 1.0]
    assert F.convolution(torch.tensor([[1.0, 0.0, 2.0]]), kernel).tolist() == [[5.0, 17.0, 10.0]]


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@every_case
def test_every_dtype_and_length(case: Case, dtype: torch.dtype) -> None:
    """Records are the loop's as well, and change no bit of results and gradients."""
    for steps in (*cases.LENGTHS, 33):
        scan = draw(case, steps, **cases.unshared(case, dtype))
        cases.check(scan)
        recorded, want = with_records(scan, *NAMES), outcome(scan, on("fused"))
        cases.check(recorded)
        for _ in range(2):
            got = outcome(recorded, lambda given: cases.unrecorded(given.run("fused")))
            assert_same_bits(got, want)
            assert_same_bits(cases.unrecorded(recorded.run("fused")), want[0])


@every_case
def test_explanations(case: Case) -> None:
    """They are in the same words with records."""
    name = {F.dense: "dense", F.convolution: "convolution"}.get(case.synapse, "")
    for backend in BACKENDS:
        found, recorded = (
            F.explain_scan(scan.step, scan.state, scan.xs, params=scan.params, backend=backend)
            for scan in (draw(case, 4), with_records(draw(case, 4), *NAMES))
        )
        assert found == recorded
        assert found.backend == ("loop" if backend == "loop" else "fused")
        assert backend == "loop" or name in str(found)


SHAPES = {
    "dense-1-batch-axis": [0.8, (), (5,), (3, 5), (1, 5), (3, 1), (1, 1)],
    "per-channel": [0.8, (), (4, 1, 1), (4, 3, 3)],
    "conv-2d-groups": [0.8, (), (4, 1, 1), (4, 5, 4), (2, 1, 1, 1)],
}


def scattered(tensor: Tensor) -> Tensor:
    if tensor.ndim > 1 and tensor.shape[-1] * tensor.shape[-2] > 1:
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    return torch.stack([tensor, tensor.new_full(tensor.shape, torch.nan)], -1)[..., 0]


def shared(tensor: Tensor) -> Tensor:
    """Return a tensor with strides of zero."""
    return tensor[:1].expand_as(tensor) if tensor.ndim else tensor


def forms(case: Case) -> Iterator[Scan]:
    """Yield a scan with parameters of every shape, every axis of time, and every order of memory."""
    shapes = SHAPES[case.name]
    for decay, threshold in [*zip(shapes, shapes[1:] + shapes[:1], strict=True), *((s, s) for s in shapes)]:
        yield draw(case, 3, decay=decay, threshold=threshold)
    for steps, dim in itertools.product(cases.LENGTHS, (1, -1)):
        scan = draw(case, steps)
        moved = scan.xs.movedim(0, dim)
        for xs in (moved, moved.contiguous()):
            yield scan._replace(xs=xs, dim=dim)
    make, tensors = cases.of_tensors(draw(case, 6, decay=case.weight[:1] + (1,) * (len(case.shape) - 2)), lambda s: s)
    # v, s, xs and weight, each alone and all of them
    for change, which in itertools.product((scattered, shared), [[0], [1], [2], [5], [0, 1, 2, 5]]):
        yield make(*[change(tensor) if index in which else tensor for index, tensor in enumerate(tensors)])


@pytest.mark.long
@pytest.mark.sampled
@few_cases
def test_every_form_of_inputs(case: Case) -> None:
    for scan in forms(case):
        cases.check(scan)


@pytest.mark.sampled
@few_cases
def test_every_combination_of_inputs_with_gradients(case: Case) -> None:
    scan = with_records(draw(case, 2), "v", "u")
    whole = scan.gradients("loop")
    combinations = [names for k in range(1, 7) for names in itertools.combinations(whole, k)]
    for names in combinations if case.synapse is not F.convolution else combinations[::3]:
        assert_close(scan.gradients("fused", only=names), {name: whole[name] for name in names}, str(names))
        watched = scan.watched(names)[0]
        loop, fused = ([r.requires_grad for r in pytree.tree_leaves(watched.run(b))] for b in ("loop", "fused"))
        assert loop == fused


@few_cases
def test_results_that_are_not_used(case: Case) -> None:
    """The loss sees one result or two, or one step of an output or of a record; no other has a gradient."""
    one = [(index,) for index in range(7)]
    for used, steps in itertools.product([*one, (0, 1), (1, 2), (0, 2), 2, 3, 5], (1, 17)):

        def some(scan: Scan, run: cases.Run, used: Any = used) -> Any:
            results = pytree.tree_leaves(run(scan))
            return [results[k] for k in used] if isinstance(used, tuple) else results[used][len(results[used]) // 2]

        scan = with_records(draw(case, steps), *NAMES)
        got, want = (slopes(scan, partial(some, run=on(backend))) for backend in ("fused", "loop"))
        assert_close(got, want)
        assert any(g.any() for g in got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@few_cases
def test_half_precision(case: Case, dtype: torch.dtype) -> None:
    scan = draw(case, 8, **cases.unshared(case, torch.float32))
    half = scan._replace(xs=scan.xs.to(dtype))
    full = half._replace(xs=half.xs.float())
    for backend in BACKENDS:
        state, outs = half.run(backend)
        assert outs.dtype == dtype
        assert_close((state, outs.float()), full.run("loop"))
    # the cotangent of the outputs is in half precision as well
    by_hand = slopes(full, lambda scan: (scan.run("loop")[0], scan.run("loop")[1].to(dtype)))
    got, want = slopes(half, on("fused")), slopes(half, on("loop"))
    # both round once, from values that agree to float32
    torch.testing.assert_close(got.pop(2), want.pop(2))
    assert_close(got, want)
    assert_close(got, by_hand[:2] + by_hand[3:])
    (state, found), told = (with_records(half, *NAMES).run(backend) for backend in ("fused", "loop"))
    assert_close(state, told[0])
    torch.testing.assert_close(found, told[1])
    assert found[1]["u"].dtype == dtype


def test_outputs_that_are_rounded() -> None:
    """The outputs of LI are its membrane: they come back through the weight in float32, rounded only on the way out."""
    torch.manual_seed(0)
    xs, weight = torch.rand(9, 3, 5).bfloat16(), torch.randn(5, 5) / 5
    v, s = torch.rand(3, 5), torch.rand(3, 5)
    state, params = F.RecurrentState(F.LIState(v), s), {"decay": 0.9, "recurrent_weight": weight}
    outs = []
    for x in xs:
        v = s = 0.9 * v + x.float() + s @ weight.T
        outs.append(s)
    for backend in BACKENDS:
        final, found = Scan(cases.Recurrent(F.li_step), state, xs, params).run(backend)
        assert_close(final, F.RecurrentState(F.LIState(v), s))
        torch.testing.assert_close(found, torch.stack(outs).bfloat16())


@pytest.mark.parametrize("backend", BACKENDS)
@every_case
def test_no_samples_and_no_steps(case: Case, backend: Any) -> None:
    scan = draw(case, 0)
    assert_close(scan.run(backend), (scan.state, scan.xs))
    assert_close(slopes(scan, lambda scan: scan.run(backend)[0].s.sum())[1], torch.ones_like(scan.state.s))
    scan = draw(case._replace(shape=(0, *case.shape[1:])), 4)
    if "no-batch" in case.name or "0-batch" in case.name:
        return
    if backend == "fused" and case.synapse is not F.per_channel:
        with pytest.raises(ValueError, match="no neurons"):
            scan.run(backend)
        return
    assert_close(scan.run(backend), (scan.state, scan.xs))
    assert_close(slopes(scan, on(backend)), list(map(torch.zeros_like, cases.of_tensors(scan, on(backend))[1])))


def test_a_synapse_of_ones_own() -> None:
    scan = draw(Case("ring", lambda s, weight: weight * s.roll(1, -1), (3, 5), ()), 6)
    matrix = scan.params["recurrent_weight"] * torch.eye(5, dtype=torch.float64).roll(1, 0)
    dense = scan._replace(step=cases.Recurrent(F.lif_step), params={**scan.params, "recurrent_weight": matrix})
    assert_close(slopes(scan, on("loop"))[:5], slopes(dense, on("loop"))[:5])
    with pytest.warns(RuntimeWarning, match="Python loop"):
        found = scan.run("auto")
    for each in (scan.run("loop"), found):
        assert_close(each, dense.run("loop"))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of spikes of each gradient by kernels."""
    return calls_of(monkeypatch, kernels, "weight_gradient", lambda result, s, events, g: events.number)


CASES = {"dense": (F.dense, (256,), (256, 256), 40), "convolution": (F.convolution, (32, 8, 8), (32, 32, 3, 3), 12)}


@pytest.mark.parametrize("synapse", CASES)
@pytest.mark.parametrize("scale", [0.25, 4.0], ids=["few spikes", "many spikes"])
def test_weight_gradient_as_the_loop(synapse: str, scale: float, runs: list[int]) -> None:
    kind, neurons, shape, T = CASES[synapse]
    # so round that all orders sum the currents alike
    x = scale * torch.randint(0, 65, (T, 8, *neurons), generator=torch.Generator().manual_seed(0)) / 64
    round_weight = torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(1)) / 256
    start = F.RecurrentState(F.LIFState(torch.zeros(8, *neurons)), torch.zeros(8, *neurons))
    step: Any = F.Recurrent(F.lif_step, kind)

    def of(backend: Any, change: Change = torch.clone) -> list[Tensor]:
        weight = change(round_weight).requires_grad_()
        params = {"decay": 0.875, "threshold": 1.0, "recurrent_weight": weight}
        outs: Tensor = F.scan(step, tree_map(change, start), change(x), params=params, backend=backend)[1]
        g = torch.randn(outs.shape, generator=torch.Generator().manual_seed(2))
        return [outs.detach(), *torch.autograd.grad(outs, weight, g.to(outs.dtype))]

    got = of("fused")
    assert bool(runs) == (scale < 1)
    assert torch.equal(got[0], of("loop")[0])
    assert_as_exact(got, partial(of, "loop"))
