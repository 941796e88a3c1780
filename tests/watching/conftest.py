"""The network that is watched, and what its time loops count."""

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from tests.watching.networks import Net


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What time loops have given out, and what they have counted."""
    found: list[tuple[Tensor, Tensor]] = []
    counted = st.SpikeMonitor.counted

    def noted(self: st.SpikeMonitor, output: Tensor, fired: Tensor, added: bool) -> None:
        found.append((output, fired.clone()))
        counted(self, output, fired, added)

    monkeypatch.setattr(st.SpikeMonitor, "counted", noted)
    return found
