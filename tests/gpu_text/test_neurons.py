"""Every neuron, surrogate and reset rule in Triton's interpreter beside the loop."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from spikingtorch import functional as F
from spikingtorch.verification.cases import CASES, LENGTHS, LEVELS, RESETS, TWINS, Case, by_name
from tests.fused import Scan, draw
from tests.gpu_text.compare import check
from tests.gpu_text.launch import Interpreter

FLOATS = [torch.float32, torch.float64]
SURROGATES: list[Any] = [surrogate for surrogate, _ in (*TWINS, *LEVELS)]
# exp and cos stand in the value of these spikes, where they amount to 0 or NaN
INEXACT = (F.PiecewiseExponential, F.FromDerivative)
# neurons with exp, a sigmoid or a square root on the way to their state
TRANSCENDENTAL = {"biolif", "exponential_if", "adex", "balanced_resonate_and_fire", "stochastic_lif"}
# its steps amplify the rounding of a gradient up to a million times
ILL = {"izhikevich"}


def of_case(case: Case, T: int, dtype: torch.dtype, dim: int) -> Scan:
    """Return a scan of a neuron with a parameter for each neuron, and with a batch before time for each sample."""
    if dim:
        case = case._replace(shape=(3, 7))
    xs, params = case.draw(T, dtype=dtype)
    moved: Any = tree_map_only(Tensor, lambda x: x.movedim(0, dim).contiguous(), xs)
    return Scan(case.step, case.initial(xs), moved, params, dim)


@pytest.mark.parametrize("dim", [0, 1], ids=["time first", "batch first"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(target: Interpreter, case: Case, dtype: torch.dtype, dim: int) -> None:
    for T in (*LENGTHS, 33):
        check(
            target, of_case(case, T, dtype, dim), exact=case.name not in TRANSCENDENTAL, well_posed=case.name not in ILL
        )


def of_surrogate(surrogate: Any, turn: int) -> Scan:
    """Return a scan with a surrogate: each meets three reset rules, and each rule several surrogates."""
    dtype = FLOATS[turn == 2]
    rule = RESETS[(SURROGATES.index(surrogate) + turn) % len(RESETS)]
    # what a membrane is reset to has the dtype of the neurons
    reset = tree_map_only(Tensor, lambda value: value.to(dtype), rule)
    own = {"decay": draw(21, dtype=dtype, low=0.5, high=0.98), "gain": 0.9, "threshold": draw(21, dtype=dtype, low=0.5)}
    v = draw(3, 21, dtype=dtype, low=-0.3, high=0.6, seed=2)
    x = draw(17, 3, 21, dtype=dtype, low=-0.6, high=1.4, seed=3)
    return Scan(F.lif_step, F.LIFState(v), x, {**own, "surrogate": surrogate, "reset": reset})


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("surrogate", SURROGATES, ids=by_name)
def test_every_surrogate_and_reset(target: Interpreter, surrogate: Any, turn: int) -> None:
    check(target, of_surrogate(surrogate, turn), exact=not isinstance(surrogate, INEXACT))


class Three(NamedTuple):
    """State of a neuron of a user."""

    v: Tensor
    a: Tensor
    b: Tensor


def three_states(state: Three, x: Tensor, *, decay: Any, adapt: Any, gain: Any) -> tuple[Three, Tensor]:
    drive = 0.2 * torch.exp(torch.clamp((state.v - 0.8) * 2.0, max=2.0))
    u = decay * state.v + gain * x + drive * 0.1 - 0.3 * torch.tanh(state.a)
    spike = F.Sigmoid(beta=5.0)(u - (1.0 + state.b))
    v = torch.where(spike > 0, u - 1.0, u)
    a = adapt * state.a + 0.1 * (v * v / (1.0 + v * v)) + 0.05 * spike
    return Three(v, a, 0.95 * state.b + 0.1 * spike), spike


def of_user(T: int, dtype: torch.dtype, dim: int) -> Scan:
    """Return a scan of a step that is none of the library's."""
    state = Three(*(draw(3, 7, dtype=dtype, high=0.5, seed=k) for k in range(3)))
    params = {"decay": 0.9, "adapt": draw(7, dtype=dtype, low=0.7, high=0.9), "gain": torch.tensor(0.8, dtype=dtype)}
    x = draw(T, 3, 7, dtype=dtype, low=-0.2, high=1.4)
    return Scan(three_states, state, x.movedim(0, dim).contiguous(), params, dim)


@pytest.mark.parametrize("dim", [0, 1], ids=["time first", "batch first"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_step_of_a_user(target: Interpreter, dtype: torch.dtype, dim: int) -> None:
    for T in (*LENGTHS, 33):
        check(target, of_user(T, dtype, dim), exact=False)
