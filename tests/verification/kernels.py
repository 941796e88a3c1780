"""Kernels beside eager torch where the table of operations does not reach: bools, whole numbers, parameters, halves.

Each check raises an error where the kernel gives other bits, gradients out of tolerance, or another class of exactness.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.functional.fused.lower import test_operations as operations
from tests.functional.fused.runtime import test_trees as trees
from tests.fused import Scan, assert_same_bits, check, check_gradients, draw
from tests.widths import CASES

aten: Any = torch.ops.aten
T, B, N = 19, 2, 21  # two chunks of 16 steps, and neurons that fill no vector


def _of_outputs(functions: dict[str, Callable[..., Tensor]], *leaves: Tensor) -> None:
    """Compare the outputs of functions of the leaves, which lie along time, with eager's."""

    scan = Scan(lambda state, x: (state, {name: function(*x) for name, function in functions.items()}), (), leaves)
    assert scan.exactness == "E"
    with torch.no_grad():
        assert_same_bits(scan.run("fused"), scan.run("loop"))


def _signs_of_zeros() -> None:
    for dtype in operations.FLOATS:
        for zero in (0.0, -0.0):
            operations.test_the_sign_of_a_zero_that_is_bounded(zero, dtype)
        operations.test_a_zero_that_a_step_fills_in_keeps_its_sign(dtype)
    zeros = torch.tensor([[0.0, -0.0, 1.0, -1.0, torch.nan]])
    _of_outputs(
        {
            "clamped": lambda x: aten.hardtanh.default(torch.full_like(x, -0.0), 0.0, 1.0),
            "leaky": lambda x: aten.leaky_relu.default(x, -0.3),
        },
        zeros,
    )


def _bools() -> None:
    a, b = torch.tensor([[[True, True, False, False]], [[True, False, True, False]]])
    _of_outputs(
        {
            "or": lambda x, a, b: a + b,
            "sum": lambda x, a, b: ((x > 0) + a).to(x.dtype) + b,
            "and": lambda x, a, b: a * b,
            "power": lambda x, a, b: (a**1) + b,
            "filled": lambda x, a, b: torch.full_like(a, 2),
            "choice": lambda x, a, b: torch.where(a, x, b.to(x.dtype)),
        },
        torch.tensor([[1.0, -1.0, 0.5, 0.0]]),
        a,
        b,
    )


def _conversions() -> None:
    """What a dtype of its own rounds, before a wider one takes it."""
    i = torch.tensor([[5, -5, 2**24 + 1, -(2**24) - 1, 0, 2**53 + 1]])
    x = torch.tensor([[1.0, -1.0, 3.5, -0.0, 1e30, torch.nan]])
    _of_outputs(
        {
            "copied": lambda i, x: x.clone().copy_(x.double() / 3).double(),
            "power 1": lambda i, x: (i**1.0).double(),
            "power 2": lambda i, x: (i**2.0).double(),
            "whole power 0": lambda i, x: i**0,
            "whole power 1": lambda i, x: i**1,
            "absolute": lambda i, x: i.abs(),
        },
        i,
        x,
    )
    for rest in (lambda i, x: i % 3, lambda i, x: torch.fmod(i, 3)):
        scan = Scan(lambda state, leaves, rest=rest: (state, rest(*leaves)), (), (i, x))
        assert F.explain_scan(scan.step, scan.state, scan.xs, backend="fused").backend != "fused"


def _without_autograd(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.square(x.detach())


def _called_by_name() -> None:
    """What torch calls for other operations, or takes apart, a step can call by itself."""
    x, y = (draw(1, 50, low=-2.0, high=2.0, seed=k) for k in range(2))
    _of_outputs(
        {"slope": lambda x, y: aten.sigmoid_backward.default(x, y), "square": lambda x, y: _without_autograd(x)}, x, y
    )


def _differences_of_themselves() -> None:
    """The difference is zero, and NaN where the value is."""
    for dtype in operations.FLOATS:
        x = torch.tensor([[0.0, 1.0, -2.0, torch.inf, -torch.inf, torch.nan, 1e30]], dtype=dtype)
        step: Any = lambda state, x: (  # noqa: E731
            state,
            {
                name: function(x) - function(x)
                for name, function in (("sigmoid", torch.sigmoid), ("erf", torch.erf), ("itself", lambda x: x))
            },
        )
        scan = Scan(step, (), x)
        assert scan.exactness == "E"
        assert_same_bits(scan.run("fused"), scan.run("loop"))


def _saturated() -> None:
    """The slope of a sigmoid keeps its digits far out; softplus changes to the identity just behind its threshold."""
    x = torch.tensor([[-30.0, -20.0, -3.0, 0.0, 3.0, 20.0, 30.0]], dtype=torch.float64)
    step: Any = lambda state, x: (state, (torch.sigmoid(x), aten.softplus.default(x, 1.0, 20.0)))  # noqa: E731
    leaf = x.clone().requires_grad_()
    sigmoid, soft = F.scan(step, (), leaf, backend="fused")[1]
    e = torch.exp(-x.abs())
    wanted = e / (1.0 + e) ** 2, torch.where(x > 20.0, 1.0, 1.0 / (1.0 + torch.exp(-x)))
    for out, want in zip((sigmoid, soft), wanted, strict=True):
        (got,) = torch.autograd.grad(out.sum(), leaf, retain_graph=True)
        assert ((got - want).abs() <= 1e-13 * want).all()
    assert ((soft - torch.where(x > 20.0, x, torch.log1p(torch.exp(x)))).abs() <= 1e-13).all()


def _parameters() -> None:
    """States, inputs, parameters and outputs of all dtypes, numbers for all neurons, for a row and for each."""
    for name in ("time second, 33 steps", "parameters of (4, 1), time on axis 0, 17 steps"):
        CASES[name](lambda tensor: tensor)


def _shared_sums() -> None:
    """The gradient of a number that all neurons share passes a choice after its sum, which only a zero may join."""
    step: Any = lambda state, x, shift: (state, x * torch.ones_like(x) + torch.where(shift > 0, shift, 0.0))  # noqa: E731
    check(Scan(step, (), draw(T, N), {"shift": torch.tensor([0.5], dtype=torch.float64)}))


def _recalled() -> None:
    """A backward pass takes over what was expensive in the forward pass, for a value of each neuron as well."""
    step: Any = lambda v, x, w: (torch.tanh(torch.exp(w) * v + x), torch.sigmoid(v) * w)  # noqa: E731
    scan = Scan(step, draw(B, N), draw(T, B, N, low=-1.0), {"w": draw(N, low=-1.0, high=0.5)})
    check_gradients(scan)
    (v, out), (want_v, want) = scan.run("fused"), scan.run("loop")
    torch.testing.assert_close((v, out), (want_v, want), rtol=1e-13, atol=1e-14)


def _half_streams() -> None:
    for dtype in trees.HALVES:
        trees.test_every_half_number_goes_in_and_out(dtype)
    trees.test_half_and_float32_streams_give_float32()


def _odd_scans() -> None:
    for name in ("stream of torch.bool", "states that swap places", "outputs that depend on no input"):
        check(trees.ODD[name](T))


KERNELS: dict[str, Callable[[], None]] = {
    "exactness": operations.test_what_eager_rounds_in_more_than_one_way_is_told_and_nothing_else,
    "signs of zeros": _signs_of_zeros,
    "bools": _bools,
    "conversions": _conversions,
    "called by name": _called_by_name,
    "differences of themselves": _differences_of_themselves,
    "saturated": _saturated,
    "parameters": _parameters,
    "shared sums": _shared_sums,
    "recalled": _recalled,
    "halves": _half_streams,
    "odd scans": _odd_scans,
}
# last, behind what divides floats: whole numbers that a mutant divides by zero end the process
WHOLE: dict[str, Callable[[], None]] = {
    "whole numbers, 32 bits": lambda: operations.test_whole_numbers(torch.int32, torch.float32),
    "whole numbers, 64 bits": lambda: operations.test_whole_numbers(torch.int64, torch.float64),
}
