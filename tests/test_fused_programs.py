"""Random steps: the fused backend is the loop for programs that nobody wrote.

A hundred programs are drawn, the same ones each time. For a longer run, with other programs each time,

    SPIKINGTORCH_EXAMPLES=5000 python -m pytest tests/test_fused_programs.py --timeout=0

at about half a second a program, most of it the C compiler. A failure is not made smaller, for that would compile
hundreds of programs more; the message shows the program, one operation a line.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.testing import relative_error
from tests.fused import Scan, assert_same_bits, draw

EXAMPLES = int(os.environ.get("SPIKINGTORCH_EXAMPLES", "100"))
SHAPE = (2, 9)
PERTURBATION, AMPLIFIED = 1e-12, 1e-9

# operations of three operands and a number; whatever they are given, they give numbers of ordinary size
EXACT: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "add": lambda a, b, c, k: a + b,
    "add a number": lambda a, b, c, k: a + k,
    "sub": lambda a, b, c, k: a - b,
    "sub from a number": lambda a, b, c, k: k - a,
    "mul": lambda a, b, c, k: a * b.clamp(-1.5, 1.5),
    "mul by a number": lambda a, b, c, k: k * a,
    "mix": lambda a, b, c, k: a + k * (b - a),
    "div": lambda a, b, c, k: a / (b.abs() + 0.7),
    "div by a number": lambda a, b, c, k: a / (1.0 + abs(k)),
    "reciprocal": lambda a, b, c, k: 1.0 / (1.0 + a * a),
    "neg": lambda a, b, c, k: -a,
    "abs": lambda a, b, c, k: (a - k).abs(),
    "min": lambda a, b, c, k: torch.minimum(a, b),
    "max": lambda a, b, c, k: torch.maximum(a, b),
    "clamp": lambda a, b, c, k: a.clamp(-abs(k), abs(k)),
    "relu": lambda a, b, c, k: torch.relu(a - k),
    "leaky relu": lambda a, b, c, k: torch.nn.functional.leaky_relu(a, 0.1),
    "square": lambda a, b, c, k: a.clamp(-2.0, 2.0) ** 2,
    "where": lambda a, b, c, k: torch.where(a > b, b, c),
    "where equal to itself": lambda a, b, c, k: torch.where((a == a) & (b >= k), a, c),
    "mask": lambda a, b, c, k: a * (b > c).to(a.dtype),
    "fill": lambda a, b, c, k: a.masked_fill(b < c, k),
    "detach": lambda a, b, c, k: a.detach() * b,
    "spike": lambda a, b, c, k: F.FastSigmoid(3.0)(a - k),
    "spike, sigmoid": lambda a, b, c, k: F.Sigmoid()(a - b),
    "spike, triangle": lambda a, b, c, k: F.Triangular(0.7)(a - k),
    "spike, normal": lambda a, b, c, k: F.Gaussian()(a - b),
    "reset": lambda a, b, c, k: (1.0 - F.Arctan()(a - 0.3)) * a,
}
INEXACT: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "exp": lambda a, b, c, k: torch.exp(a.clamp(-3.0, 1.0)),
    "exp of a quotient": lambda a, b, c, k: a * torch.exp(-1.0 / (b.abs() + 0.5)),
    "tanh": lambda a, b, c, k: torch.tanh(a),
    "sigmoid": lambda a, b, c, k: torch.sigmoid(k * a),
    "log": lambda a, b, c, k: torch.log(a.abs() + 0.3),
    "log1p": lambda a, b, c, k: torch.log1p(a.abs()),
    "expm1": lambda a, b, c, k: torch.expm1(a.clamp(-2.0, 1.0)),
    "sin": lambda a, b, c, k: torch.sin(a),
    "cos": lambda a, b, c, k: torch.cos(a * k),
    "erf": lambda a, b, c, k: torch.erf(a),
    "atan": lambda a, b, c, k: torch.atan(a),
    "pow": lambda a, b, c, k: (a.abs() + 0.4).clamp(max=4.0) ** 1.3,
    "sqrt": lambda a, b, c, k: torch.sqrt(a.abs() + 0.2),
    "lerp": lambda a, b, c, k: torch.lerp(a, b, 0.3),
    "addcmul": lambda a, b, c, k: torch.addcmul(a, b.clamp(-1.0, 1.0), c.clamp(-1.0, 1.0), value=0.4),
    "silu": lambda a, b, c, k: torch.nn.functional.silu(a),
    "softplus": lambda a, b, c, k: torch.nn.functional.softplus(a),
}
OPERATIONS = EXACT | INEXACT


class Instruction(NamedTuple):
    """An operation on earlier values; the numbers of its operands count back from the last."""

    operation: str
    operands: tuple[int, int, int]
    number: float

    def __str__(self) -> str:
        return f"{self.operation:24} {self.operands}, {self.number}"


class Example(NamedTuple):
    """A step, and what it runs on.

    Attributes:
        instructions: the step, in order.
        states: how many there are; each becomes one of the last values, kept to ordinary size.
        streams: how many inputs there are.
        params: kinds of the parameters.
        outputs: values that leave the step, counted back from the last.
        T: number of steps.
        dim: axis of time.
        dtype: precision.
        seed: of the numbers.
    """

    instructions: tuple[Instruction, ...]
    states: int
    streams: int
    params: tuple[str, ...]
    outputs: tuple[int, ...]
    T: int
    dim: int
    dtype: torch.dtype
    seed: int

    def __str__(self) -> str:
        return "\n".join([*map(str, self.instructions), *(f"{k}: {v}" for k, v in self._asdict().items())])


@st.composite
def examples(pick: st.DrawFn) -> Example:
    exact = pick(st.booleans())
    names = st.sampled_from(sorted(EXACT if exact else OPERATIONS))
    back = st.integers(0, 7)
    number = st.sampled_from([-1.3, -0.5, 0.1, 0.3, 0.7, 0.9, 1.1])
    instruction = st.builds(Instruction, names, st.tuples(back, back, back), number)
    return Example(
        tuple(pick(st.lists(instruction, min_size=3, max_size=9))),
        pick(st.integers(1, 3)),
        pick(st.integers(1, 3)),
        tuple(pick(st.lists(st.sampled_from(["float", "no axes", "a neuron", "a row"]), max_size=3))),
        tuple(pick(st.lists(back, min_size=1, max_size=2))),
        pick(st.sampled_from([1, 2, 17, 33])),
        pick(st.integers(0, 2)),
        pick(st.sampled_from([torch.float32, torch.float64])) if exact else torch.float64,
        pick(st.integers(0, 99)),
    )


def built(example: Example) -> Scan:
    """Return the scan of an example."""
    names = [f"p{k}" for k in range(len(example.params))]
    instructions, outputs = example.instructions, example.outputs

    def step(state: tuple[Tensor, ...], x: tuple[Tensor, ...], **params: Any) -> tuple[Any, Any]:
        values = [*(params[name] + torch.zeros_like(x[0]) for name in names), *x, *state]
        for name, operands, number in instructions:
            a, b, c = (values[-1 - k % len(values)] for k in operands)
            values.append(OPERATIONS[name](a, b, c, number))
        after = tuple(0.8 * old + 0.2 * values[-1 - k].clamp(-4.0, 4.0) for k, old in enumerate(state))
        return after, tuple(values[-1 - k % len(values)] for k in outputs)

    state, xs, numbers = _numbers(example)
    return Scan(step, state, xs, numbers, example.dim)


def _numbers(example: Example) -> tuple[Any, Any, dict[str, Any]]:
    seeds = iter(range(1000 * example.seed, 1000 * example.seed + 100))

    def numbers(*shape: int) -> Tensor:
        return draw(*shape, dtype=example.dtype, low=-1.5, high=1.5, seed=next(seeds))

    stream: list[int] = list(SHAPE)
    stream.insert(example.dim, example.T)
    shapes: dict[str, tuple[int, ...]] = {"no axes": (), "a neuron": SHAPE[-1:], "a row": (SHAPE[0], 1)}
    params = {
        f"p{k}": 0.37 * (k + 1) if kind == "float" else numbers(*shapes[kind]) for k, kind in enumerate(example.params)
    }
    state = tuple(numbers(*SHAPE) for _ in range(example.states))
    return state, tuple(numbers(*stream) for _ in range(example.streams)), params


@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 100,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    print_blob=False,
)
@given(example=examples())
def test_random_programs(example: Example) -> None:
    scan = built(example)
    exactness = scan.exactness
    event(f"class {exactness}")
    try:
        if exactness == "E":
            _compare_exact(scan, example.dtype)
        else:
            _compare_inexact(scan)
    except AssertionError as error:
        error.add_note(str(example))
        raise


def _compare_exact(scan: Scan, dtype: torch.dtype) -> None:
    assert_same_bits(scan.run("fused"), scan.run("loop"))
    # a program of no one's making may subtract what is nearly equal, which costs digits of float32 on either side
    _near(_gradients(scan, "fused"), _gradients(scan, "loop"), 1e-3 if dtype == torch.float32 else 1e-10)


def _compare_inexact(scan: Scan) -> None:
    results, gradients = _flat(scan.run("loop")), _gradients(scan, "loop")
    moved = scan._replace(
        state=tuple(leaf + PERTURBATION * torch.sign(draw(*SHAPE, low=-1.0)) for leaf in scan.state),
        xs=tuple(leaf + PERTURBATION for leaf in scan.xs),
    )
    # where a jump is about to happen, or errors grow from step to step, there is no one result to compare with
    if not (_distance(_flat(moved.run("loop")), results) and _distance(_gradients(moved, "loop"), gradients)):
        event("ill-conditioned")
        return
    _near(_flat(scan.run("fused")), results, AMPLIFIED)
    _near(_gradients(scan, "fused"), gradients, AMPLIFIED)


def _distance(got: dict[str, Tensor], want: dict[str, Tensor]) -> bool:
    return all(relative_error(got[name], want[name]) <= AMPLIFIED for name in want)


def _flat(results: tuple[Any, Any]) -> dict[str, Tensor]:
    state, out = results
    return {f"{kind}[{k}]": leaf for kind, leaves in (("state", state), ("out", out)) for k, leaf in enumerate(leaves)}


def _gradients(scan: Scan, backend: str) -> dict[str, Tensor]:
    return scan.gradients(backend, seed=1)


def _near(got: dict[str, Tensor], want: dict[str, Tensor], allowed: float) -> None:
    for name, value in want.items():
        assert value.isfinite().all(), f"{name} is not finite: make the operations of the table milder"
        error = relative_error(got[name], value)
        assert error <= allowed, f"{name}: relative error {error:.3g}, allowed {allowed:g}"
