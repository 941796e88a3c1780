"""Every neuron, surrogate and reset rule by kernels for GPUs beside the loop, in Triton's interpreter or on a card."""

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.verification.cases import CASES, LENGTHS, Case, by_name
from tests.functional.fused.codegen.test_exactness import (
    EVERY_SPIKE,
    FLOATS,
    ILL,
    INEXACT,
    TRANSCENDENTAL,
    of_case,
    of_surrogate,
)
from tests.fused import Scan, draw
from tests.gpu_text.compare import Agrees

both_layouts = pytest.mark.parametrize("dim", [0, 1], ids=["time first", "batch first"])
both_dtypes = pytest.mark.parametrize("dtype", FLOATS, ids=str)


# where the numbers of a step lie does not depend on what it computes: each neuron has both layouts and both dtypes once
@pytest.mark.parametrize(("dtype", "dim"), [(torch.float32, 0), (torch.float64, 1)], ids=str)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(agrees: Agrees, case: Case, dtype: torch.dtype, dim: int) -> None:
    for T in LENGTHS:
        agrees(of_case(case, T, dtype, dim), exact=case.name not in TRANSCENDENTAL, well_posed=case.name not in ILL)


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("surrogate", EVERY_SPIKE, ids=by_name)
def test_every_surrogate_and_reset(agrees: Agrees, surrogate: Any, turn: int) -> None:
    # the factors of a DoubleGaussian are numbers of the call, so that its erf stays in the forward pass
    agrees(of_surrogate(surrogate, turn, 9), exact=not isinstance(surrogate, (*INEXACT, F.DoubleGaussian)))


# state of a neuron of a user
Three = namedtuple("Three", ["v", "a", "b"])


def three_states(state: Three, x: Tensor, *, decay: Any, adapt: Any, gain: Any) -> tuple[Three, Tensor]:
    drive = 0.2 * torch.exp(torch.clamp((state.v - 0.8) * 2.0, max=2.0))
    u = decay * state.v + gain * x + drive * 0.1 - 0.3 * torch.tanh(state.a)
    spike = F.Sigmoid(beta=5.0)(u - (1.0 + state.b))
    v = torch.where(spike > 0, u - 1.0, u)
    a = adapt * state.a + 0.1 * (v * v / (1.0 + v * v)) + 0.05 * spike
    return Three(v, a, 0.95 * state.b + 0.1 * spike), spike


@both_layouts
@both_dtypes
def test_a_step_of_a_user(agrees: Agrees, dtype: torch.dtype, dim: int) -> None:
    state = Three(*(draw(3, 7, dtype=dtype, high=0.5, seed=k) for k in range(3)))
    params = {"decay": 0.9, "adapt": draw(7, dtype=dtype, low=0.7, high=0.9), "gain": torch.tensor(0.8, dtype=dtype)}
    for T in LENGTHS:
        x = draw(T, 3, 7, dtype=dtype, low=-0.2, high=1.4)
        agrees(Scan(three_states, state, x.movedim(0, dim).contiguous(), params, dim), exact=False)
