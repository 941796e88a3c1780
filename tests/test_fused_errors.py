"""What the fused backend refuses, what it says then, and that everything else goes on with the right numbers."""

import os
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import explain
from spikingtorch.testing import assert_close
from tests.fused_steps import Counts, N, counting, draw, gradients, leaky, loop, rest, value

ROOT = Path(__file__).parent.parent
X = draw()
WEIGHT = draw(N, N, seed=1)
GLOBAL = draw(N, seed=2)
LENGTH_ONE = torch.ones(1, dtype=torch.float64)
FUSED = re.escape("scan: backend='fused' cannot run ")


@pytest.fixture(autouse=True)
def _warn_anew() -> Iterator[None]:
    explain._warn_once.cache_clear()
    yield
    explain._warn_once.cache_clear()


@pytest.fixture
def ran() -> Iterator[Counts]:
    with counting() as counts:
        yield counts


# --- steps that are refused -------------------------------------------------------------------------------------------

Step = Callable[..., Any]


def matmul(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x @ WEIGHT
    return F.IFState(v), v


def matmul_of_a_parameter(state: F.IFState, x: Tensor, w: Tensor) -> Any:
    v = 0.5 * state.v + x @ w
    return F.IFState(v), v


def linear_layer(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + LAYER(x)
    return F.IFState(v), v


LAYER = torch.nn.Linear(N, N).double()


def total(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x.sum()
    return F.IFState(v), v


def mean(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x.mean(-1, keepdim=True)
    return F.IFState(v), v


def bessel(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + torch.special.i0(x)
    return F.IFState(v), v


def running_sum(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + torch.cumsum(x, -1)
    return F.IFState(v), v


def rolled(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x.roll(1, -1)
    return F.IFState(v), v


def first_neuron(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x[..., :1]
    return F.IFState(v), v


def item(state: F.IFState, x: Tensor, gain: Tensor) -> Any:
    v = 0.5 * state.v + x * gain.item()
    return F.IFState(v), v


def branch(state: F.IFState, x: Tensor, gain: Tensor) -> Any:
    v = 0.5 * state.v + x
    if gain > 0.5:
        v = 2 * v
    return F.IFState(v), v


def branch_on_all(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x
    if (v > 1.0).all():
        v = v - 1.0
    return F.IFState(v), v


def uses_global(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + GLOBAL * x
    return F.IFState(v), v


def uses_small_global(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + LENGTH_ONE * x
    return F.IFState(v), v


def _captured(tensor: Tensor) -> Step:
    def captured(state: F.IFState, x: Tensor) -> Any:
        v = 0.5 * state.v + tensor * x
        return F.IFState(v), v

    return captured


def noisy(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + torch.rand_like(x)
    return F.IFState(v), v


def noisy_normal(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + torch.randn(x.shape, dtype=x.dtype)
    return F.IFState(v), v


def noisy_in_place(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + torch.zeros_like(x).normal_()
    return F.IFState(v), v


def dropped(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + torch.nn.functional.dropout(x, 0.5)
    return F.IFState(v), v


def noisy_numbers(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + random.random() * x
    return F.IFState(v), v


def reads_size(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x / x.shape[-1]
    return F.IFState(v), v


def reads_numel(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x / x.numel()
    return F.IFState(v), v


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


def odd_gradient(state: F.IFState, x: Tensor) -> Any:
    squared: Any = Odd.apply(x)  # type: ignore[no-untyped-call]
    v = 0.5 * state.v + squared
    return F.IFState(v), v


def narrow(state: F.IFState, x: Tensor) -> Any:
    v = 0.5 * state.v + x.to(torch.int8)
    return F.IFState(v), v


GAIN = {"gain": torch.tensor(0.75, dtype=torch.float64)}
PASS = r"[Pp]ass it in params"
# a step, its params, what the message says besides its line, and a piece of the line
REFUSED: dict[str, tuple[Step, dict[str, Any], str, str]] = {
    "matmul": (matmul, {}, rf"aten\.(mv|mm|matmul)|{PASS}", "x @ WEIGHT"),
    "matmul of a parameter": (matmul_of_a_parameter, {"w": WEIGHT}, r"aten\.(mv|mm|matmul)", "x @ w"),
    "linear layer": (linear_layer, {}, rf"aten\.|{PASS}", "LAYER(x)"),
    "sum": (total, {}, "sums over neurons", "x.sum()"),
    "mean": (mean, {}, r"aten\.mean", "x.mean(-1, keepdim=True)"),
    "i0": (bessel, {}, r"aten\.i0", "torch.special.i0(x)"),
    "cumsum": (running_sum, {}, r"aten\.cumsum", "torch.cumsum(x, -1)"),
    "roll": (rolled, {}, r"aten\.roll", "x.roll(1, -1)"),
    "slice": (first_neuron, {}, r"aten\.slice", "x[..., :1]"),
    "item": (item, GAIN, r"reads the value of a tensor, with \.item\(\)", "gain.item()"),
    "branch": (branch, GAIN, "reads the value of a tensor.*in a condition", "if gain > 0.5:"),
    "branch on all": (branch_on_all, {}, r"aten\.all|reads the value", "if (v > 1.0).all():"),
    "global tensor": (uses_global, {}, PASS, "GLOBAL * x"),
    "global tensor of length one": (uses_small_global, {}, PASS, "LENGTH_ONE * x"),
    "closure": (_captured(GLOBAL), {}, PASS, "tensor * x"),
    "closure with a gradient": (_captured(GLOBAL.clone().requires_grad_()), {}, PASS, "tensor * x"),
    "closure of no axes": (_captured(GLOBAL[0]), {}, PASS, "tensor * x"),
    "rand_like": (noisy, {}, r"aten\.rand_like", "torch.rand_like(x)"),
    "randn": (noisy_normal, {}, r"aten\.randn", "torch.randn(x.shape"),
    "normal_": (noisy_in_place, {}, r"aten\.normal_", "torch.zeros_like(x).normal_()"),
    "dropout": (dropped, {}, r"aten\.", "dropout(x, 0.5)"),
    "size": (reads_size, {}, "reads the size of its tensors", ""),
    "numel": (reads_numel, {}, "reads the size of its tensors", ""),
    "gradient": (odd_gradient, {}, r"aten\.i0.*gradient", ""),
    "int8": (narrow, {}, r"converts to", "x.to(torch.int8)"),
}
RANDOM = {"rand_like", "randn", "normal_", "dropout"}


def message(step: Step, params: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=FUSED + getattr(step, "__name__", "")) as caught:
        F.scan(step, rest(), X, params=params, backend="fused")
    return str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_steps_are_told_why(name: str, ran: Counts) -> None:
    step, params, why, _ = REFUSED[name]
    text = message(step, params)
    print(text)
    assert re.search(why, text), text
    assert "backend='auto' takes the loop" in text
    prose = re.sub(r"at [^ ]+\.py:\d+: .*?(?=\. backend=)", "HERE", text)
    assert not re.search(r"\.\.|  |\n|, \.|: \.", prose), text
    assert ran.forward == 0


@pytest.mark.parametrize("name", [name for name, refused in REFUSED.items() if refused[3]])
def test_refused_steps_are_told_where(name: str) -> None:
    step, params, _, line = REFUSED[name]
    text = message(step, params)
    found = re.search(r"([^ ]+\.py):(\d+): (.*)", text)
    assert found, text
    assert found[1] == __file__
    assert line in Path(__file__).read_text().splitlines()[int(found[2]) - 1]
    assert line in found[3]
    code = getattr(step, "__code__")  # noqa: B009
    assert code.co_firstlineno < int(found[2]) < code.co_firstlineno + 10


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in RANDOM])
def test_auto_falls_back_with_one_warning(name: str, ran: Counts) -> None:
    step, params, why, _ = REFUSED[name]
    inputs = X.clone().requires_grad_()
    want = loop(step, rest(), inputs, params)
    with pytest.warns(RuntimeWarning, match="ran on the Python loop") as caught:
        got = F.scan(step, rest(), inputs, params=params)
    assert len(caught) == 1
    assert re.search(why, str(caught[0].message))
    assert caught[0].filename == __file__
    assert_close(got, want)
    if value(want).requires_grad:
        assert_close(torch.autograd.grad(value(got), inputs), torch.autograd.grad(value(want), inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.scan(step, rest(), X, params=params)
        F.explain_scan(step, rest(), X, params=params)
    assert F.explain_scan(step, rest(), X, params=params).backend == "loop"
    assert ran.forward == 0


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_random_numbers_are_those_of_the_loop(name: str) -> None:
    step = REFUSED[name][0]
    torch.manual_seed(3)
    want = F.scan(step, rest(), X, backend="loop")
    torch.manual_seed(3)
    with pytest.warns(RuntimeWarning, match="ran on the Python loop"):
        got = F.scan(step, rest(), X)
    assert torch.equal(got[1], want[1])
    assert not torch.equal(got[1][0], got[1][1])


def test_numbers_that_change_by_themselves_are_refused() -> None:
    random.seed(0)
    want = F.scan(noisy_numbers, rest(), X, backend="loop")
    with pytest.warns(RuntimeWarning, match="ran on the Python loop"):
        F.scan(noisy_numbers, rest(), X)
    random.seed(0)
    assert torch.equal(F.scan(noisy_numbers, rest(), X)[1], want[1])
    with pytest.raises(ValueError, match=FUSED):
        F.scan(noisy_numbers, rest(), X, backend="fused")


def test_a_counter_in_a_step_is_refused() -> None:
    count = [0.0]

    def counts(state: F.IFState, x: Tensor) -> Any:
        count[0] += 1.0
        v = state.v + count[0] * x
        return F.IFState(v), v

    with pytest.raises(ValueError, match=FUSED):
        F.scan(counts, rest(), X, backend="fused")


def test_a_captured_tensor_gets_its_gradient_on_auto() -> None:
    weight = GLOBAL.clone().requires_grad_()
    step = _captured(weight)
    with pytest.warns(RuntimeWarning, match=PASS):
        total = value(F.scan(step, rest(), X))
    (got,) = torch.autograd.grad(total, weight)
    (want,) = gradients(lambda weight: value(loop(_captured(weight), rest(), X)), GLOBAL)
    assert_close(got, want)


def test_two_steps_warn_twice() -> None:
    for step in (total, mean):
        with pytest.warns(RuntimeWarning, match=f"scan: {step.__name__} ran on the Python loop"):
            F.scan(step, rest(), X)


def test_the_loop_that_was_asked_for_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.scan(total, rest(), X, backend="loop")


# --- errors of the contract -------------------------------------------------------------------------------------------


def two_values(state: Any, x: Tensor) -> Any:
    return state


def other_state(state: Any, x: Tensor) -> Any:
    return F.LIFState(state.v + x), x


def no_tensor(state: Any, x: Tensor) -> Any:
    return F.IFState(state.v + x), 1.0


def number_in_state(state: Any, x: Tensor) -> Any:
    return state._replace(v=0.0), x


def add(state: Any, x: Tensor) -> Any:
    v = state.v + x
    return F.IFState(v), v


def writes_state(state: Any, x: Tensor) -> Any:
    state.v.add_(x)
    return F.IFState(state.v + 0), x


def writes_x(state: Any, x: Tensor) -> Any:
    x.mul_(2.0)
    return F.IFState(state.v + x), x + 0


def writes_param(state: Any, x: Tensor, gain: Tensor) -> Any:
    gain += 1.0
    return F.IFState(state.v + gain * x), x + 0


def raises(state: Any, x: Tensor) -> Any:
    raise KeyError("some name")


def scaled(state: Any, x: Tensor, gain: Any) -> Any:
    v = state.v + gain * x
    return F.IFState(v), v


def _state(*shape: int, dtype: torch.dtype = torch.float64) -> F.IFState:
    return F.IFState(torch.zeros(shape, dtype=dtype))


CONTRACT: dict[str, tuple[Callable[[Any], Any], type[Exception]]] = {
    "not a pair": (lambda b: F.scan(two_values, rest(), X, backend=b), TypeError),
    "another state": (lambda b: F.scan(other_state, rest(), X, backend=b), TypeError),
    "output is no tensor": (lambda b: F.scan(no_tensor, rest(), X, backend=b), TypeError),
    "state is no tensor": (lambda b: F.scan(number_in_state, rest(), X, backend=b), TypeError),
    "writes on the state": (lambda b: F.scan(writes_state, rest(), X.clone(), backend=b), ValueError),
    "writes on x": (lambda b: F.scan(writes_x, rest(), X.clone(), backend=b), ValueError),
    "writes on a parameter": (
        lambda b: F.scan(writes_param, rest(), X, params={"gain": torch.ones(N).double()}, backend=b),
        ValueError,
    ),
    "small state": (lambda b: F.scan(add, _state(), X, backend=b), ValueError),
    "state of length one": (lambda b: F.scan(add, _state(1), X, backend=b), ValueError),
    "wrong state": (lambda b: F.scan(add, _state(N + 1), X, backend=b), RuntimeError),
    "large parameter": (
        lambda b: F.scan(scaled, rest(), X, params={"gain": torch.ones(5, 1).double()}, backend=b),
        ValueError,
    ),
    "wrong parameter": (
        lambda b: F.scan(scaled, rest(), X, params={"gain": torch.ones(N + 1).double()}, backend=b),
        RuntimeError,
    ),
    "integer state": (lambda b: F.scan(add, _state(N, dtype=torch.int64), X, backend=b), TypeError),
    "mixed dtypes": (lambda b: F.scan(add, _state(N, dtype=torch.float32), X, backend=b), TypeError),
    "unknown parameter": (lambda b: F.scan(add, rest(), X, params={"gain": 1.0}, backend=b), TypeError),
    "missing parameter": (lambda b: F.scan(scaled, rest(), X, backend=b), TypeError),
    "time axis": (lambda b: F.scan(add, rest(), X, dim=2, backend=b), ValueError),
    "no input": (lambda b: F.scan(add, rest(), (), backend=b), ValueError),
    "mixed devices": (lambda b: F.scan(add, F.IFState(rest().v.to("meta")), X, backend=b), ValueError),
    "the step's own": (lambda b: F.scan(raises, rest(), X, backend=b), KeyError),
}


def error(call: Callable[[Any], Any], backend: str) -> Exception:
    try:
        call(backend)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("backend", ["auto", "fused"])
@pytest.mark.parametrize("name", CONTRACT)
def test_errors_of_the_contract_are_the_same(name: str, backend: str) -> None:
    call, kind = CONTRACT[name]
    want, got = error(call, "loop"), error(call, backend)
    assert type(want) is kind
    assert (type(got), str(got)) == (kind, str(want))
    assert getattr(got, "__notes__", None) == getattr(want, "__notes__", None)


def test_an_unknown_backend() -> None:
    with pytest.raises(ValueError, match="backend='warp' is not one of 'auto', 'loop', 'fused'"):
        F.scan(add, rest(), X, backend="warp")  # type: ignore[arg-type]


# --- what no kernel is for --------------------------------------------------------------------------------------------


class Wrapped(Tensor):
    """A subclass of the user's own."""


def _complex(backend: Any) -> Any:
    xs = torch.complex(X, 2 * X)
    return F.scan(scaled, F.IFState(torch.zeros_like(xs[0])), xs, params={"gain": 0.5j}, backend=backend)


def _meta(backend: Any) -> Any:
    return F.scan(add, F.IFState(torch.zeros(N, device="meta")), torch.zeros(4, N, device="meta"), backend=backend)


def _subclass(backend: Any) -> Any:
    return F.scan(add, rest(), X.as_subclass(Wrapped), backend=backend)


def _subclass_in_the_state(backend: Any) -> Any:
    return F.scan(add, F.IFState(rest().v.as_subclass(Wrapped)), X, backend=backend)


UNSUITED = {"complex": _complex, "meta": _meta, "Wrapped": _subclass, "Wrapped ": _subclass_in_the_state}


@pytest.mark.parametrize("name", UNSUITED)
def test_unsuited_tensors_take_the_loop_silently(name: str, ran: Counts) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, want = UNSUITED[name]("auto"), UNSUITED[name]("loop")
    assert type(got[1]) is type(want[1])
    assert (got[1].shape, got[1].dtype, got[1].device) == (want[1].shape, want[1].dtype, want[1].device)
    if name != "meta":
        assert torch.equal(got[1], want[1])
    with pytest.raises(ValueError, match=FUSED + f".*{name.strip()}"):
        UNSUITED[name]("fused")
    assert ran.forward == 0


@pytest.mark.parametrize("name", UNSUITED)
def test_unsuited_tensors_are_told_so_in_a_sentence(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        UNSUITED[name]("fused")
    print(caught.value)
    # "cannot run step, which a tensor is ..." is not English
    assert not re.search(r"which (a tensor|there|the state|shapes) ", str(caught.value)), caught.value


def test_a_parameter_of_torch_is_a_plain_tensor(ran: Counts) -> None:
    F.scan(leaky, rest(), X, params={"decay": torch.nn.Parameter(GLOBAL.clone())}, backend="fused")
    assert ran.forward == 1


# --- no compiler ------------------------------------------------------------------------------------------------------

NO_COMPILER = """
import warnings
import torch
from spikingtorch import functional as F

xs, state = torch.rand(5, 3), F.IFState(torch.zeros(3))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        got = F.scan(F.if_step, state, xs)
assert torch.equal(got[1], F.scan(F.if_step, state, xs, backend="loop")[1])
print(*(f"{each.category.__name__}: {each.message}" for each in caught), sep="|")
print(F.explain_scan(F.if_step, state, xs))
try:
    F.scan(F.if_step, state, xs, backend="fused")
except ValueError as error:
    print(error)
"""


def without_compiler(tmp_path: Path, **changes: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CC"}
    environment |= {"PYTHONPATH": str(ROOT), "SPIKINGTORCH_CACHE_DIR": str(tmp_path / "cache"), **changes}
    command = [sys.executable, "-W", "ignore", "-c", NO_COMPILER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_no_compiler(tmp_path: Path) -> None:
    warned, explained, raised = without_compiler(tmp_path, PATH=str(tmp_path))
    print(warned, explained, raised, sep="\n")
    assert warned.count("Warning:") == 1
    assert warned.startswith("RuntimeWarning: scan: if_step ran on the Python loop")
    for text in (warned, explained, raised):
        assert "no C compiler" in text
        assert "apt install gcc" in text
    assert explained.startswith("loop")
    assert raised.startswith("scan: backend='fused' cannot run if_step")
    assert not re.search(r"\.\.|(which|for it) no C", "".join((warned, raised))), "not English"


def test_a_compiler_that_fails(tmp_path: Path) -> None:
    script = tmp_path / "cc"
    script.write_text("#!/bin/sh\necho 'out of licences' >&2\nexit 3\n")
    script.chmod(0o755)
    text = "\n".join(without_compiler(tmp_path, CC=str(script)))
    print(text)
    assert text.count("RuntimeWarning: scan: if_step ran on the Python loop") == 1
    assert "out of licences" in text
    assert "exit code 3" in text
