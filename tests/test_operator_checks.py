"""Raw operators that are handed what does not fit: an error says what came, and no memory is touched."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import recurrent
from spikingtorch.functional.dispatch.call import Call
from spikingtorch.functional.fused.trace.programs import trace_step
from spikingtorch.testing import assert_close
from tests.caches import forget
from tests.widths import drawn

T, SHAPE = 20, (3, 5)
Arguments = dict[str, Any]
OPERATORS: Any = torch.ops.spikingtorch


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def numbers(*shape: int) -> Tensor:
    return drawn(torch.float32, shape, 0)


def scan_forward() -> Arguments:
    """Return arguments of the raw operator that fit."""
    state, x, decay, threshold = F.LIFState(numbers(*SHAPE)), numbers(T, *SHAPE), numbers(5), numbers(1)
    call = Call.of(F.lif_step, state, x, {"decay": decay, "threshold": threshold}, 0, x.dtype)
    found = trace_step(call.step, call.arguments())
    given: Arguments = {"states": [state.v], "xs": [x], "params": call.tensor_params}  # the threshold first
    return given | {"scalars": (*call.floats, *found.literals), "program": found.program, "dim": 0, "keep": True}


def scan_backward() -> Arguments:
    given = scan_forward()
    *_, kept = OPERATORS.scan_forward(*given.values())
    incoming = {"kept": [kept], "cotangents": [None, numbers(T, *SHAPE)]}
    rest = {name: given[name] for name in ("scalars", "program", "dim")}
    return {name: given[name] for name in ("states", "xs", "params")} | incoming | rest | {"wanted": [True] * 4}


def of_two(state: F.LIFState, x: tuple[Tensor, Tensor], **params: Any) -> tuple[F.LIFState, Tensor]:
    return F.lif_step(state, x[0] * x[1], **params)


def recurrence_forward(synapse: str = "dense", second: bool = False) -> Arguments:
    shape, weight = ((2, 4, 6), (4, 4, 3)) if synapse == "convolution" else (SHAPE, (5, 5))
    state, x = F.RecurrentState(F.LIFState(numbers(*shape)), numbers(*shape)), numbers(T, *shape)
    params = {"decay": numbers(shape[-1]), "threshold": numbers(1), "recurrent_weight": numbers(*weight)}
    step: Any = F.Recurrent(of_two if second else F.lif_step, F.convolution if synapse == "convolution" else F.dense)
    found = recurrent.recurrence(Call.of(step, state, (x, x + 0.5) if second else x, params, 0, x.dtype))
    neuron, literals = found.parts.neuron, found.plan.literals
    given: Arguments = {"states": neuron.states, "s": state.s, "xs": neuron.xs, "weight": found.parts.weight}
    given |= {"params": neuron.tensor_params, "scalars": (*neuron.floats, *literals), "program": found.plan.program}
    return given | {"synapse": synapse, "differentiable": found.plan.differentiable, "keep": True}


def recurrence_backward(synapse: str = "dense", second: bool = False) -> Arguments:
    given = recurrence_forward(synapse, second)
    _, _, outs, *rest = OPERATORS.recurrence_forward(*given.values())
    tensors = {name: given[name] for name in ("states", "s", "xs", "weight", "params")}
    incoming = {"trace": [outs, *rest], "cotangents": [None, None, torch.ones_like(outs)]}
    options = {name: given[name] for name in ("scalars", "program", "synapse", "differentiable")}
    return tensors | incoming | options | {"wanted": [True] * (7 if second else 6)}


GOOD: dict[str, Callable[..., Arguments]] = {
    "scan_forward": scan_forward,
    "scan_backward": scan_backward,
    "recurrence_forward": recurrence_forward,
    "recurrence_backward": recurrence_backward,
}
# what is changed in arguments that fit, and what the error says of it
GIVEN: list[tuple[Arguments, str]] = [
    ({"xs": []}, "got 0 xs, expected 1"),
    ({"xs": [numbers(T, 3, 5), numbers(T, 3, 5)]}, "got 2 xs, expected 1"),
    ({"xs": [numbers(T, 3, 5).double()]}, "xs[0] is torch.float64 of shape (20, 3, 5) on cpu, expected torch.float32"),
    ({"xs": [numbers(T, 3, 4)]}, "that do not broadcast, of shapes"),
    ({"xs": [numbers(T, 5)]}, "xs[0] is torch.float32 of shape (20, 5) on cpu, expected torch.float32 of shape (20, 3"),
    ({"xs": [numbers(0, 3, 5)]}, "xs[0] of shape (0, 3, 5), expected an axis of it, with one step at least"),
    ({"states": []}, "got 0 states, expected 1"),
    ({"states": [numbers(3, 5) > 0]}, "states[0] is torch.bool of shape (3, 5) on cpu, expected torch.float32"),
    ({"states": [numbers(2, 3, 5)]}, "expected torch.float32 of shape (20, 2, 3, 5)"),
    ({"params": [numbers(1)]}, "got 1 params, expected 2"),
    ({"params": [numbers(5), numbers(5)]}, "params[0] has shape (5,), expected a single number"),
    ({"params": [numbers(1), numbers(5).to(torch.int8)]}, "params[1] is torch.int8 of shape (5,)"),
    ({"scalars": ()}, "got 0 scalars, expected 4"),
]
FORWARD: list[tuple[Arguments, str]] = [
    ({"dim": 3}, "dim=3 and xs[0] of shape (20, 3, 5)"),
    ({"dim": -1}, "dim=-1 and xs[0] of shape (20, 3, 5)"),
    ({"xs": [numbers(T, 3, 5).to("meta")]}, "got tensors on cpu and meta"),
]
BACKWARD: list[tuple[Arguments, str]] = [
    ({"kept": []}, "got 0 kept, expected 1"),
    ({"kept": [numbers(0, 3, 5)]}, "kept[0] is torch.float32 of shape (0, 3, 5) on cpu, expected torch.float32 of sh"),
    ({"kept": [numbers(1, 3, 5).double()]}, "kept[0] is torch.float64"),
    ({"kept": [numbers(1, 3, 5).to("meta")]}, "got tensors on cpu and meta"),
    ({"cotangents": [None]}, "got 1 cotangents, expected 2"),
    ({"cotangents": [None, numbers(6, 3, 5)]}, "of shape (6, 3, 5) on cpu, expected torch.float32 of shape (20, 3, 5)"),
    ({"cotangents": [None, numbers(T, 3, 5).half()]}, "cotangents[1] is torch.float16"),
    ({"cotangents": [None, numbers(T, 3, 5).to("meta")]}, "got tensors on cpu and meta"),
    ({"cotangents": [numbers(3, 4), None]}, "cotangents[0] is torch.float32 of shape (3, 4) on cpu, expected"),
    ({"cotangents": [numbers(5), None]}, "cotangents[0] is torch.float32 of shape (5,)"),
    ({"wanted": [True] * 3}, "got 3 wanted, expected 4"),
]
RECURRENCE: list[tuple[Arguments, str]] = [
    (
        {"states": [numbers(5)]},
        "states[0] is torch.float32 of shape (5,) on cpu, expected torch.float32 of shape (3, 5)",
    ),
    ({"s": numbers(5)}, "s is torch.float32 of shape (5,) on cpu, expected torch.float32 of shape (3, 5)"),
    ({"s": numbers(3, 5).double()}, "s is torch.float64"),
    ({"s": numbers(3, 5).to("meta")}, "got tensors on cpu and meta"),
    ({"xs": [numbers(T, 1, 5)]}, "xs[0] is torch.float32 of shape (20, 1, 5) on cpu, expected torch.float32 of shape"),
    ({"weight": numbers(4, 4)}, "weight has shape (4, 4) for spikes of shape (3, 5); expected (M, M) = (5, 5)"),
    ({"weight": numbers(5, 5).double()}, "weight is torch.float64"),
    ({"synapse": "sparse"}, "got synapse 'sparse'"),
    ({"differentiable": (True,)}, "got differentiable (True,), expected (True, True, True, True)"),
]
INCOMING: list[tuple[Arguments, str]] = [
    ({"trace": []}, "got 0 trace, expected 3"),
    ({"cotangents": [None, numbers(T, 3, 5)]}, "got 2 cotangents, expected 3"),
    ({"cotangents": [None, numbers(1, 5), None]}, "cotangents[1] is torch.float32 of shape (1, 5)"),
    ({"cotangents": [None, None, numbers(4, 3, 5)]}, "cotangents[2] is torch.float32 of shape (4, 3, 5)"),
    ({"cotangents": [None, None, numbers(T, 3, 5).half()]}, "cotangents[2] is torch.float16"),
    ({"wanted": [True] * 5}, "got 5 wanted, expected 6"),
]
CALLS_THAT_DO_NOT_FIT = [
    *((name, *bad) for name in GOOD for bad in GIVEN),
    *(("scan_forward", *bad) for bad in FORWARD),
    *(("scan_backward", *bad) for bad in BACKWARD),
    *((name, *bad) for name in ("recurrence_forward", "recurrence_backward") for bad in RECURRENCE),
    *(("recurrence_backward", *bad) for bad in INCOMING),
]


@pytest.mark.parametrize(("name", "change", "message"), CALLS_THAT_DO_NOT_FIT)
def test_call_that_does_not_fit(name: str, change: Arguments, message: str) -> None:
    given = GOOD[name]()
    for _ in range(2):  # nothing of it is remembered
        with pytest.raises(ValueError, match=f"^scan: .*{re.escape(message)}"):
            getattr(OPERATORS, name)(*(given | change).values())
    getattr(OPERATORS, name)(*given.values())


@pytest.mark.parametrize("synapse", ["dense", "dense in C", "convolution"])
@pytest.mark.parametrize("index", range(3))
def test_trace_that_does_not_fit(index: int, synapse: str) -> None:
    given = recurrence_backward(synapse)
    changes: list[Callable[[Tensor], Tensor]] = [lambda t: t[1:], lambda t: t.double(), lambda t: t[..., :1]]
    for change in changes:
        trace = [change(each) if k == index else each for k, each in enumerate(given["trace"])]
        with pytest.raises(ValueError, match=rf"^scan: trace\[{index}\] is torch"):
            OPERATORS.recurrence_backward(*(given | {"trace": trace}).values())


@pytest.mark.parametrize("synapse", ["dense", "dense in C", "convolution"])
@pytest.mark.parametrize("name", ["recurrence_forward", "recurrence_backward"])
def test_recurrence_in_scattered_memory(name: str, synapse: str) -> None:
    given = (recurrence_forward if name == "recurrence_forward" else recurrence_backward)(synapse, second=True)

    def scattered(tensor: Any) -> Any:
        return tensor.mT.contiguous().mT if isinstance(tensor, Tensor) and tensor.ndim > 1 else tensor

    moved = {key: pytree.tree_map(scattered, value) for key, value in given.items()}
    got, want = (getattr(OPERATORS, name)(*each.values()) for each in (moved, given))
    assert_close(got, want)


def test_gradient_that_there_is_not() -> None:
    def step(state: F.LIFState, x: Tensor, unused: Tensor) -> Any:
        v = 0.5 * state.v + x
        return F.LIFState(v), v

    call = Call.of(step, F.LIFState(numbers(3)), numbers(4, 3), {"unused": numbers(3)}, 0, torch.float32)
    found = trace_step(call.step, call.arguments())
    given = [call.states, call.xs, call.tensor_params, [], [None, numbers(4, 3)], found.literals, found.program, 0]
    with pytest.raises(ValueError, match=r"got wanted \[True, True, True\], and there are these gradients alone"):
        OPERATORS.scan_backward(*given, [True] * 3)
    OPERATORS.scan_backward(*given, [True, True, False])
