"""The gradient of recurrent weights from few spikes, by kernels that skip zeros."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from spikingtorch import functional as F
from spikingtorch.functional.sparse import kernels
from tests.noted import calls_of
from tests.rounding import Change, assert_as_exact


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of spikes of each gradient by kernels."""
    return calls_of(monkeypatch, kernels, "weight_gradient", lambda result, s, events, g: events.number)


CASES = {"dense": (F.dense, (256,), (256, 256), 40), "convolution": (F.convolution, (32, 8, 8), (32, 32, 3, 3), 12)}


@pytest.mark.parametrize("synapse", CASES)
@pytest.mark.parametrize("scale", [0.25, 4.0], ids=["few spikes", "many spikes"])
def test_as_the_loop(synapse: str, scale: float, runs: list[int]) -> None:
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
