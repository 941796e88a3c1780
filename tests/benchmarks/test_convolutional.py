"""The check of the convolutional network in the benchmarks: what it passes, and what it has to find."""

import pytest
import torch
from torch import Tensor

from benchmarks import check, convolutional, ours, peers
from benchmarks.suite import Case, Size

SMALL = Size(T=3, B=2, N=4 * 4)
STEP = "spikingtorch, step"


@pytest.fixture(autouse=True)
def few_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SIZES", check.SIZES | dict.fromkeys(convolutional.CHECKED, SMALL))


@pytest.mark.long
@pytest.mark.parametrize("contestant", ["spikingtorch", STEP, "spikingtorch, sequence", "spikingtorch, channels-last"])
def test_ours_pass(contestant: str) -> None:
    check.check(contestant, convolutional.MODEL, "fused")


def _other_gain(tau: Tensor) -> tuple[Tensor, Tensor]:
    decay = torch.exp(-1.0 / tau)
    return decay, 1.0 - decay


def test_another_equation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "leak", _other_gain)
    with pytest.raises(ValueError, match=r"convolutional, no dropout: .* off by"):
        check.check(STEP, convolutional.MODEL, "fused")


def test_one_statistic_for_all_is_not_that_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SAME", {"spikingtorch, sequence": STEP})
    with pytest.raises(ValueError, match=r"no dropout, spikingtorch, step: .* off by"):
        check.check("spikingtorch, sequence", convolutional.MODEL, "fused")


@pytest.mark.parametrize("variant", convolutional.CHECKED)
def test_a_mask_matters_where_there_is_one(variant: str) -> None:
    readout = peers.subject(Case(STEP, variant, SMALL), "fused").observe(None)[0]
    whole = peers.subject(Case(STEP, convolutional.NO_DROPOUT, SMALL), "fused").observe(None)[0]
    assert (readout == whole).all() == (variant == convolutional.NO_DROPOUT)
