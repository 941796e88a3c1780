"""The kernels: memory beside their arrays, threads, and the forms of packing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core import allocation, threads
from spikingtorch.functional.sparse import c_abi, kernels
from tests.functional.sparse import test_few_channels as few
from tests.functional.sparse import test_sampled
from tests.functional.sparse.cases import CASES, DENSITIES, Case, check, draw, outcome
from tests.fused import Placing
from tests.guards import Guards
from tests.surroundings import on_threads

every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@pytest.mark.sampled
@pytest.mark.usefixtures("one_thread")
@every_case
def test_every_form_of_packing(case: Case, form: None) -> None:
    torch.manual_seed(0)
    for density in (0.2, 1.0):
        for graded in (False, True):
            tensors = draw(case, density, graded)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(kernels, "functions", c_abi.functions)
                kernels._lanes.cache_clear()
                want = case.event(*tensors, *case.options)
            kernels._lanes.cache_clear()
            check(case, tensors)
            # a sum takes its places in the same order, whatever the vectors
            assert graded or torch.equal(case.event(*tensors, *case.options), want)


@pytest.mark.usefixtures("one_thread")
def test_bits(form: None) -> None:
    for n in (1, 7, 8, 16, 17, 4096, 4099, 8200):
        for graded in (False, True):
            x = (torch.rand(n) < 0.3) * (torch.randn(n) if graded else torch.ones(n))
            x[-1] = torch.nan if graded else 1.0
            events: Any = kernels.mark(x, 1)
            assert (events.graded is None) is not graded
            assert events.number == int(x.count_nonzero())
            assert torch.equal(kernels.spread(events.bits, x.shape), (x != 0).float())
            for number in (1, 2):
                assert kernels.mark(x, number, events.number) is not None
                assert kernels.mark(x, number, events.number - 1) is None


def test_scratch_is_sized_by_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    allocated = allocation.allocated

    def noted(layouts: Any, device: torch.device) -> list[Tensor]:
        found = allocated(layouts, device)
        sizes.extend([each.nbytes for each in found])
        return found

    monkeypatch.setattr(allocation, "allocated", noted)
    x, weight = torch.zeros(1000, 1000), torch.randn(1, 1000)
    for density in DENSITIES[:3]:
        x = (torch.rand(1000, 1000) < density).float()
        sizes.clear()
        F.event_linear(x, weight)
        kept = x.numel() / 8 + 4 * float(x.sum()) + 4 * 1001 + 4 * 1000
        assert sum(sizes) < 1.2 * kept + 2**17


DRAWS = [(0.0, False), (0.2, False), (0.2, True), (1.0, False)]  # densities of inputs, and whether they are graded


def skips_zeros(case: Case, place: Placing) -> list[Tensor]:
    """Return the outputs of a layer and the gradients of weights and bias, all by kernels, for inputs of all kinds."""
    found = []
    for density, graded in DRAWS:
        tensors = [place(tensor.detach()).requires_grad_() for tensor in draw(case, density, graded)]
        out, of_x, *others = outcome(case.event, tensors, case.options)
        assert of_x.isfinite().all()
        found += [out, *others]
    return found


def of_few_channels(case: Case, place: Placing) -> list[Tensor]:
    """Return the gradient of the weights of a convolution of few channels, which is a kernel's."""
    tensors = [place(tensor.detach()).requires_grad_() for tensor in few.draw(case)]
    out, of_x, of_weight, of_bias = outcome(few.layer_of(case.operation), tensors, case.options)
    assert all(bool(each.isfinite().all()) for each in (out, of_x, of_bias))
    return [of_weight]


def at_some_places(case: Case, place: Placing) -> list[Tensor]:
    """Return the gradient of an input that is wanted at some places."""
    x, weight, support = test_sampled.draw(case, 0.3)
    layer = test_sampled.sampled(case.operation, support)
    return [test_sampled.gradient(layer, place(x.detach()).requires_grad_(), place(weight))]


RUNS: dict[str, Callable[[Placing], list[Tensor]]] = {
    **{f"{name}, zeros skipped": partial(skips_zeros, case) for name, case in CASES.items()},
    **{f"{name}, few channels": partial(of_few_channels, case) for name, case in few.CASES.items()},
    **{f"{name}, some places": partial(at_some_places, case) for name, case in CASES.items()},
}


@pytest.mark.sampled
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", RUNS)
def test_nothing_beside_arrays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither read, for it is NaN there, nor written."""
    torch.manual_seed(0)
    guards = Guards()
    monkeypatch.setattr(allocation, "allocated", guards.allocated)
    found = RUNS[name](guards.place)
    guards.check()
    assert guards.results > (5 if "zeros skipped" in name else 0)
    assert all(bool(tensor.isfinite().all()) for tensor in found)


@pytest.mark.sampled
@pytest.mark.parametrize("name", RUNS)
def test_results_do_not_depend_on_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "SERIAL", 0)
    found = []
    for number in (1, 2, 3):
        torch.manual_seed(0)
        with on_threads(number):
            found.append(RUNS[name](torch.clone))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
