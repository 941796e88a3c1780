"""Steps that the fused backend refuses: what it says then, and that the loop runs them with the right numbers."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused_steps import N, draw, gradients, loop, rest, value
from tests.processes import ROOT

# some of these steps make nothing of their input
pytestmark = [
    pytest.mark.filterwarnings("ignore:step. its output has no gradient:RuntimeWarning"),
    pytest.mark.usefixtures("warn_anew"),
]

X, WEIGHT, GLOBAL, LENGTH_ONE = draw(), draw(N, N, seed=1), draw(N, seed=2), torch.ones(1, dtype=torch.float64)
LAYER = torch.nn.Linear(N, N).double()
LOG: list[Tensor] = []
LOOPS = "ran on the Python loop"
Current = Callable[..., Any]


class Odd(torch.autograd.Function):
    """A square whose gradient has an operation that is missing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        found: Tensor = grads[0] * 2 * torch.special.i0(x)
        return found


def driven(current: Current) -> Callable[..., Any]:
    def step(state: F.IFState, x: Tensor, **params: Any) -> Any:
        v = 0.5 * state.v + current(x, **params)
        return F.IFState(v), v

    return step


def captured(tensor: Tensor) -> Current:
    return lambda x: tensor * x


def first_set(x: Tensor) -> Tensor:
    s = 2 * x
    s[..., :100] = 0.0
    return s


GAIN = {"gain": torch.tensor(0.75, dtype=torch.float64)}
PASS = r"[Pp]ass it in params"
CHANGE = "numbers that change from call to call"
# what drives a neuron, the params, and what the message says besides its line, which is that of the row
REFUSED: dict[str, tuple[Current, dict[str, Any], str]] = {
    "matmul": (lambda x: x @ WEIGHT, {}, rf"aten\.(mv|mm|matmul)|{PASS}"),
    "matmul of a parameter": (lambda x, w: x @ w, {"w": WEIGHT}, r"aten\.(mv|mm|matmul)"),
    "linear layer": (lambda x: LAYER(x), {}, rf"aten\.|{PASS}"),
    "sum": (lambda x: x.sum(), {}, "sums over neurons"),
    "mean": (lambda x: x.mean(-1, keepdim=True), {}, r"aten\.mean"),
    "i0": (lambda x: torch.special.i0(x), {}, r"aten\.i0"),
    "cumsum": (lambda x: torch.cumsum(x, -1), {}, r"aten\.cumsum"),
    "roll": (lambda x: x.roll(1, -1), {}, r"aten\.roll"),
    "slice": (lambda x: x[..., :1], {}, "takes a part of its neurons by their number"),
    "slice longer than an example": (lambda x: x[..., :100], {}, "takes a part of its neurons by their number"),
    "slice set": (lambda x: first_set(x), {}, r"takes a part of its neurons by their number.*s\[\.\.\., :100\] = 0"),
    "length": (lambda x: 2 * x if len(x) > 100 else x, {}, r"reads the size of its tensors \(len\)"),
    "item": (lambda x, gain: x * gain.item(), GAIN, r"reads the value of a tensor, with \.item\(\)"),
    "branch": (lambda x, gain: 2 * x if gain > 0.5 else x, GAIN, "reads the value of a tensor.*in a condition"),
    "branch on all": (lambda x: x - 1.0 if (x > 1.0).all() else x, {}, r"aten\.all|reads the value"),
    "global tensor": (lambda x: GLOBAL * x, {}, PASS),
    "global tensor of length one": (lambda x: LENGTH_ONE * x, {}, PASS),
    "closure": (captured(GLOBAL), {}, PASS),
    "closure with a gradient": (captured(GLOBAL.clone().requires_grad_()), {}, PASS),
    "closure of no axes": (captured(GLOBAL[0]), {}, PASS),
    "rand_like": (lambda x: torch.rand_like(x), {}, r"aten\.rand_like"),
    "randn": (lambda x: torch.randn(N, dtype=x.dtype), {}, r"aten\.randn"),
    "normal_": (lambda x: torch.zeros_like(x).normal_(), {}, r"aten\.normal_"),
    "dropout": (lambda x: torch.nn.functional.dropout(x, 0.5), {}, r"aten\."),
    "int8": (lambda x: x.to(torch.int8), {}, r"converts to"),
    "size": (lambda x: x / x.shape[-1], {}, "reads the size of its tensors"),
    "numel": (lambda x: x / x.numel(), {}, "reads the size of its tensors"),
    "identity": (lambda x, gain: 2 * x if gain is GLOBAL else x, GAIN, r"compares objects by identity \(is GLOBAL\)"),
    "memory": (lambda x: 2 * x if x.is_contiguous() else x, {}, r"memory layout of its tensors \(is_contiguous\)"),
    "gradient": (lambda x: Odd.apply(x), {}, r"aten\.i0.*gradient"),  # type: ignore[no-untyped-call]
    "side effect": (lambda x: LOG.append(x) or x, {}, "changes a list outside of it"),  # type: ignore[func-returns-value]
    "numbers of Python": (lambda x: random.random() * x, {}, "draws random numbers from a Random"),
    "numbers of numpy": (lambda x: np.random.rand() * x, {}, CHANGE),
}
NOWHERE = {"side effect", "slice set", "identity", "gradient", "numbers of Python", "numbers of numpy"}


def seeded(current: Current, params: dict[str, Any], backend: Any) -> tuple[Any, Tensor]:
    """Run a scan from certain random numbers; return its results and the gradient of its input."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    xs = X.clone().requires_grad_()
    results = F.scan(driven(current), rest(), xs, params=params, backend=backend)
    total = value(results) + 0.0 * xs.sum()
    return results, torch.autograd.grad(total, xs)[0]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_step_takes_the_loop_and_is_told_why_and_where(name: str) -> None:
    current, params, why = REFUSED[name]
    with pytest.raises(ValueError, match=r"^scan: backend='fused' cannot run step") as caught:
        seeded(current, params, "fused")
    text = str(caught.value)
    assert re.search(why, text)
    assert "backend='auto' takes the loop" in text
    prose = re.sub(r"at [^ ]+\.py:\d+: .*?(?=\. backend=)", "HERE", text.replace(str(ROOT), ""))
    assert not re.search(r"\.\.|  |\n|, \.|: \.", prose)
    line = current.__code__.co_firstlineno
    source = Path(__file__).read_text().splitlines()[line - 1].strip()
    assert (f"at {__file__}:{line}: {source}" in text) == (name not in NOWHERE)
    want = seeded(current, params, "loop")
    with pytest.warns(RuntimeWarning, match=f"scan: step {LOOPS}") as said:
        assert_close(seeded(current, params, "auto"), want)
    (only,) = said
    assert re.search(why, str(only.message))
    assert only.filename == __file__
    assert_close(seeded(current, params, "auto"), want)
    assert F.explain_scan(driven(current), rest(), X, params=params).backend == "loop"


def test_a_captured_tensor_gets_its_gradient() -> None:
    weight = GLOBAL.clone().requires_grad_()
    with pytest.warns(RuntimeWarning, match=PASS):
        total = value(F.scan(driven(captured(weight)), rest(), X))
    want = gradients(lambda weight: value(loop(driven(captured(weight)), rest(), X)), GLOBAL)
    assert_close(torch.autograd.grad(total, weight), want)


def test_two_steps_warn_twice() -> None:
    for name in ("first", "second"):
        step = driven(REFUSED["sum"][0])
        step.__name__ = name
        with pytest.warns(RuntimeWarning, match=f"scan: {name} {LOOPS}"):
            F.scan(step, rest(), X)
