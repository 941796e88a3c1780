"""Reset rules: values and both gradients, by hand."""

import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.verification.cases import by_name

# rule, v, dv/du, dv/dspike at u = 3, spike = 1, threshold = 2
TABLE = [
    (F.to_zero, 0.0, 0.0, -3.0),
    (F.by_subtraction, 1.0, 1.0, -2.0),
    (F.none, 3.0, 1.0, 0.0),
    (F.detached(F.to_zero), 0.0, 0.0, 0.0),
    (F.detached(F.by_subtraction), 1.0, 1.0, 0.0),
]


@pytest.mark.parametrize(("rule", "v", "du", "ds"), TABLE, ids=by_name)
def test_table(rule: F.Reset, v: float, du: float, ds: float) -> None:
    u, spike = torch.tensor(3.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    got = rule(u, spike, 2.0)
    gradients = torch.autograd.grad(got, (u, spike), materialize_grads=True)
    assert (got.item(), gradients[0].item(), gradients[1].item()) == (v, du, ds)
    # without a spike nothing happens
    assert rule(torch.tensor(0.75), torch.tensor(0.0), 1.0).item() == 0.75


def test_detached_is_hashable_by_value() -> None:
    assert len({F.detached(F.to_zero), F.detached(F.to_zero), F.detached(F.none)}) == 2
