"""The kernels: memory beside their arrays, threads, and the forms of packing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core import allocation
from spikingtorch.functional.sparse import c_abi, kernels
from tests.functional.sparse.cases import CASES, DENSITIES, Case, check, draw

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
            events = kernels.mark(x, 1)
            assert events is not None
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
