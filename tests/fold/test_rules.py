"""The rules of the fold against an oracle that knows of numbers alone."""

import pytest
import torch

from spikingtorch.fold.rules import FACTORIES, RULES
from tests.fold.rules.cases import APART, MIXED, UNSEEN, Case
from tests.fold.rules.oracle import SIZES, folding, mixing

pytestmark = pytest.mark.usefixtures("one_thread")


def wrong(case: Case) -> str:
    """Return what is wrong with the numbers of samples for which the proof lets code fold."""
    with torch.set_grad_enabled(case.gradients):
        sizes = folding(case.code, case.shape, gradients=case.gradients)
    return mixing(case.code, case.shape, sizes, case.weights) if sizes else ""


@pytest.mark.parametrize("name", APART)
def test_apart(name: str) -> None:
    case = APART[name]
    sizes = folding(case.code, case.shape)
    assert {7, 11, 64, 100} <= {*sizes}
    assert not mixing(case.code, case.shape, sizes, case.weights)


@pytest.mark.parametrize("name", MIXED)
def test_mixed(name: str) -> None:
    case = MIXED[name]
    assert mixing(case.code, case.shape, SIZES, case.weights)
    assert not folding(case.code, case.shape)


@pytest.mark.xfail(strict=True, reason="a false fold")
@pytest.mark.filterwarnings("ignore:Using torch.cross")
@pytest.mark.parametrize("name", UNSEEN)
def test_unseen(name: str) -> None:
    assert not wrong(UNSEEN[name])


@pytest.mark.parametrize("name", sorted(RULES.keys() | FACTORIES))
def test_names_are_operations(name: str) -> None:
    assert hasattr(torch.ops.aten, name)
