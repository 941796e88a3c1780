"""Steps that the fused backend refuses: what it says then, and that the loop runs them with the right numbers."""

import functools
import io
import itertools
import operator
import random
import re
import threading
import time
import types
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
from tests.nets_that_step import with_backward
from tests.processes import ROOT

# some of these steps make nothing of their input
pytestmark = [
    pytest.mark.filterwarnings("ignore:step. its output has no gradient:RuntimeWarning"),
    pytest.mark.usefixtures("warn_anew"),
]

X, WEIGHT, GLOBAL, LENGTH_ONE = draw(), draw(N, N, seed=1), draw(N, seed=2), torch.ones(1, dtype=torch.float64)
LAYER = torch.nn.Linear(N, N).double()
FILE, EACH, LOCK = io.StringIO("text"), (each for each in itertools.count()), threading.Lock()
OF_TORCH, OF_NUMPY = torch.Generator(), np.random.default_rng(3)
SETTINGS, FIRST_OF_NUMPY = types.ModuleType("settings"), OF_NUMPY.bit_generator.state
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
        return grads[0] * 2 * torch.special.i0(x)


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


def written(x: Tensor) -> Tensor:
    u = x * 1.0
    u.data = u.detach().clamp(0, 1)
    return u


def written_through_numpy(x: Tensor) -> Tensor:
    u = x * 1.0
    numbers = u.detach().numpy()
    np.clip(numbers, 0, 1, out=numbers)
    return u


def written_on_a_copy(x: Tensor) -> Tensor:
    u = x * 1.0
    w = u.contiguous()
    w += 1
    return u


def widened(x: Tensor) -> Tensor:
    v = x.float()
    v *= x * 0.1 + 1
    return v.double()


def caught(x: Tensor) -> Any:
    try:
        return 0.0 * float(x.detach().view(1, N).sum()) + 0.5
    except RuntimeError:
        return 0.9


def catching(x: Tensor) -> Any:
    return caught(x)


@functools.lru_cache
def cached() -> float:
    return 1.0


# a function that is the method of an object as well, which nobody calls: it is met there first
NAMED: Any = type("Named", (), {"gain": 1.0, "unused": catching, "__getitem__": lambda self, x: caught(x)})()
GAIN = {"gain": torch.tensor(0.75, dtype=torch.float64)}
PASS = r"[Pp]ass it in params"
CHANGE, DRAWS = "numbers that change from call to call", "draws random numbers from a Generator"
LEAVES, CATCHES, SIZES = "leaves torch, with ", "error that it catches", r"reads the size of its tensors \(shape\)"
SUMS = "sum over neurons, for each of them, in its gradient"
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
    "memory": (lambda x: 2 * x if x.is_contiguous() else x, {}, r"memory layout of its tensors \(is_contiguous\)"),
    "numpy of an input": (lambda x: x / float(np.abs(x.detach().numpy()).max()), {}, LEAVES + "numpy"),
    "numbers of an input": (lambda x: x * (2.0 if x.tolist()[0] > 0.5 else 1.0), {}, LEAVES + "tolist"),
    "numbers of a parameter": (lambda x, gain: x * gain.tolist(), GAIN, LEAVES + "tolist"),
    "text of a tensor": (lambda x: x * len(str(x)), {}, LEAVES + "__repr__"),
    "apply": (lambda x: x.detach().clone().apply_(lambda a: float(a > 0.3)), {}, LEAVES + "apply_"),
    "bits": (lambda x: (x.view(torch.int64) < 0).double(), {}, "takes the bits of its numbers"),
    "a list of tensors": (lambda x, gain: x * torch.tensor([gain]), GAIN, "reads the value of a tensor, to make"),
    "size by name": (lambda x: x * 2 if getattr(x, "shape")[-1] > 10 else x, {}, SIZES),  # noqa: B009
    "size by an operator": (lambda x: x * 2 if operator.attrgetter("shape")(x)[-1] > 10 else x, {}, SIZES),
}
# the same of those whose message names no line, or another one
NOWHERE: dict[str, tuple[Current, dict[str, Any], str]] = {
    "slice set": (lambda x: first_set(x), {}, r"takes a part of its neurons by their number.*s\[\.\.\., :100\] = 0"),
    "identity": (lambda x, gain: 2 * x if gain is GLOBAL else x, GAIN, r"compares objects by identity \(is GLOBAL\)"),
    "gradient": (lambda x: Odd.apply(x), {}, r"aten\.i0.*gradient"),  # type: ignore[no-untyped-call]
    "side effect": (lambda x: LOG.append(x) or x, {}, "changes a list outside of it"),  # type: ignore[func-returns-value]
    "numbers of Python": (lambda x: random.random() * x, {}, "draws random numbers from a Random"),
    "numbers of numpy": (lambda x: np.random.rand() * x, {}, CHANGE),
    "numbers of a generator": (lambda x: x + torch.randn(N, generator=OF_TORCH), {}, DRAWS),
    "numbers of numpy's generator": (lambda x: x + float(OF_NUMPY.normal()), {}, DRAWS),
    "memory of a tensor": (written_through_numpy, {}, LEAVES + "numpy"),
    "data": (written, {}, r"puts other numbers into a tensor, by \.data"),
    "a copy that may be none": (written_on_a_copy, {}, "shares its memory with another"),
    "wider in place": (widened, {}, r"writes in place on torch\.float32 what it computes with torch\.float64"),
    "an error caught": (lambda x: x * catching(x), {}, CATCHES),
    "an error caught, beside an object": (lambda x: x * NAMED.gain * catching(x), {}, CATCHES),
    "an error caught, by an item": (lambda x: x * NAMED[x], {}, CATCHES),
    "an error caught, by a method": (lambda x: x * getattr(NAMED, "unused").__func__(x), {}, CATCHES),  # noqa: B009
    "gradients enabled": (lambda x: 2 * x if torch.is_grad_enabled() else x, {}, "is_grad_enabled"),
    "gradient required": (lambda x: 2 * x if x.requires_grad else x, {}, "requires_grad"),
    "gradient with a sum": (with_backward(lambda g: g.sum().expand_as(g)), {}, SUMS),
    "gradient times a sum": (with_backward(lambda g: g * g.sum(-1, keepdim=True)), {}, SUMS),
    "gradient by numpy": (with_backward(lambda g: g / (1 + float(np.abs(g.numpy()).max()))), {}, LEAVES + "numpy"),
    # what no snapshot holds
    "clock": (lambda x: x + 0.0 * time.monotonic(), {}, r"calls time.monotonic, .* Keep what it reads in numbers"),
    "file": (lambda x: x + 0.0 * len(FILE.read()), {}, "may use up a StringIO"),
    "generator": (lambda x: x + 0.0 * next(EACH), {}, "may use up a generator"),
    "cache": (lambda x: x * cached(), {}, "_lru_cache_wrapper, whose content cannot be read"),
    "a name that is computed": (
        lambda x: x * getattr(SETTINGS, "".join(["ga", "in"]), 1.0),
        {},
        "by a name that it computes. Write the names",
    ),
    "print": (lambda x: print(end="") or x, {}, "calls print"),
    "lock": (lambda x: x + 0.0 * LOCK.locked(), {}, "an object of class lock"),
}
REFUSED |= NOWHERE


def seeded(current: Current, params: dict[str, Any], backend: Any) -> tuple[Any, Tensor]:
    """Run a scan from certain random numbers; return its results and the gradient of its input."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    OF_TORCH.manual_seed(3)
    OF_NUMPY.bit_generator.state = FIRST_OF_NUMPY
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
