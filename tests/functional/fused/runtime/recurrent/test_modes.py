"""Recurrent steps, with records and without, in every way that torch has of calling and differentiating a function."""

import itertools
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests import recurrences as cases
from tests import ways
from tests.fused import Scan
from tests.fused_steps import loop
from tests.recurrences import BACKENDS, FEW, LENGTHS, Case, Run, draw, on, outcome, with_records
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
    **{f"a stream, {backend}": streamed(backend) for backend in BACKENDS},
    **{f"autocast, {backend}": cast(backend) for backend in BACKENDS},
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
    for steps, dim in itertools.product(LENGTHS, (0, 1, -1)):
        scan = draw(case, steps)
        scan = with_records(scan._replace(xs=scan.xs.movedim(0, dim), dim=dim), *names)
        assert_close(outcome(scan, written_on), outcome(scan, on("loop")))
        assert_close(written_on(scan), scan.run("loop"))
