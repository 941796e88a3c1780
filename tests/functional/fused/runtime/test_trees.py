"""Trees of states, inputs and outputs, streams of other dtypes and shapes, and half precision."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.verification.cases import LENGTHS
from tests.fused import Scan, assert_same_bits, bits, check, draw

B, N = 3, 21
HALVES = [torch.float16, torch.bfloat16]


def product(state: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    v = 0.5 * state + x[0] * x[1]
    return v, v


def twice(state: Tensor, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    v = 0.5 * state + x
    return v, (v, v, x)


def lif(v: Tensor, x: Tensor) -> Scan:
    return Scan(F.lif_step, F.LIFState(v), x, {"decay": 0.9, "threshold": draw(1)[0]})


def whole(dtype: torch.dtype, T: int) -> Scan:
    numbers = draw(T, N, low=0 if dtype in (torch.bool, torch.uint8) else -3, high=4).floor()
    return Scan(product, draw(N), (draw(T, N), numbers.to(dtype)))


def beside(first: tuple[int, ...], second: tuple[int, ...], T: int) -> Scan:
    return Scan(product, draw(B, N), (draw(T, *first), draw(T, *second)))


class Traced(NamedTuple):
    """Outputs of a step."""

    spike: Tensor
    membrane: Tensor
    rest: dict[str, Any]


def everything(state: dict[str, Any], x: dict[str, Any], *, decay: Any) -> tuple[dict[str, Any], Traced]:
    current = x["current"] * x["pair"][0] + x["pair"][1]
    u = decay * state["v"] + current
    spike = F.FastSigmoid()(u - 1.0)
    fired = spike > 0
    count = state["pair"][0] + fired.to(torch.int64)
    after = {"v": torch.where(fired, 0.0, u), "pair": (count, state["pair"][1])}
    return after, Traced(spike, u, {"fired": fired, "list": [count, x["current"], state["pair"][1], 2 * count + 1]})


def of_trees(T: int, dim: int) -> Scan:
    shape = (T, B, N) if dim == 0 else (B, T, N)
    x = draw(*shape, high=1.4)
    state: dict[str, Any] = {"v": draw(B, N), "pair": (torch.arange(B * N).reshape(B, N), draw(B, N, seed=1))}
    xs = {"current": x, "pair": (x > 0.5, (10 * draw(*shape, seed=2)).to(torch.int32) - 4)}
    return Scan(everything, state, xs, {"decay": draw(N)}, dim)


DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
# shapes of a second stream behind time, beside a first one of (T, B, N)
SHAPES = ((), (1,), (1, 1), (B, 1), (1, N), (N,))
# scans of so many steps
ODD: dict[str, Callable[[int], Scan]] = {
    **{f"stream of {dtype}": partial(whole, dtype) for dtype in DTYPES},
    **{f"second stream of {shape}": partial(beside, (B, N), shape) for shape in SHAPES},
    **{f"first stream of {shape}": partial(beside, shape, (B, N)) for shape in SHAPES},
    "number a step": lambda T: lif(draw(B, N), draw(T, 1, high=1.4)),
    "number a step, all axes": lambda T: lif(draw(B, N), draw(T, 1, 1, high=1.4)),
    "no axes": lambda T: lif(draw(1)[0], draw(T, high=1.4)),
    "eight axes": lambda T: Scan(lambda state, x: (state + x, x), draw(*[2] * 8), draw(T, *[2] * 8)),
    "no state": lambda T: Scan(
        lambda state, x, threshold: (state, F.FastSigmoid()(x - threshold) * x),
        (),
        draw(T, B, N),
        {"threshold": draw(N)},
    ),
    "no state, and a surrogate": lambda T: Scan(F.mcpitts_step, F.McPittsState(), draw(T, N), {"threshold": draw(N)}),
    "state that is handed on, and one that is forgotten": lambda T: Scan(
        lambda s, x: ((s[0], x, s[1] + s[2]), s[0] * x + s[1]), tuple(draw(N, seed=k) for k in range(3)), draw(T, N)
    ),
    "states that swap places": lambda T: Scan(
        lambda state, x: ((state[1], state[0] * 0.5 + x), state), (draw(N), draw(N, seed=1)), draw(T, N)
    ),
    "output twice": lambda T: Scan(twice, draw(N), draw(T, N)),
    "outputs that depend on no input": lambda T: Scan(
        lambda state, x, bias: (state * 0.5, (torch.zeros_like(x), bias * torch.ones_like(x))),
        draw(N),
        draw(T, N),
        {"bias": draw(N)},
    ),
    "trees": partial(of_trees, dim=0),
    "trees, time second": partial(of_trees, dim=1),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", ODD)
def test_scans_that_are_odd(name: str) -> None:
    for T in LENGTHS:
        check(ODD[name](T))


# --- half precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half_number_goes_in_and_out(dtype: torch.dtype) -> None:
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).reshape(1, -1)
    step: Any = lambda state, x: (state + x, (x, state * 0.1 + x))  # noqa: E731
    scan = Scan(step, torch.linspace(-1.0, 1.0, 2**16), x)
    got = scan.run("fused")
    assert_same_bits(got, scan.run("loop"))
    finite = ~torch.isnan(x)
    assert torch.equal(bits(got[1][0])[finite], bits(x)[finite])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_outputs_are_rounded_to_half_as_torch_does(dtype: torch.dtype) -> None:
    # a state of any bits, so that outputs overflow, underflow and lie half way between two numbers
    generator = torch.Generator().manual_seed(0)
    state = torch.randint(-(2**31), 2**31, (2**16,), generator=generator).to(torch.int32).view(torch.float32)
    middle = (torch.arange(2**15, dtype=torch.int32) * 2**16 + 2**15).view(torch.float32)
    state = torch.cat([state, middle, middle.nextafter(torch.tensor(0.0))])
    scan = Scan(lambda state, x: (state, state + x), state, torch.zeros(1, 1, dtype=dtype))
    assert_same_bits(scan.run("fused"), scan.run("loop"))


def test_half_and_float32_streams_give_float32() -> None:
    xs = (draw(17, 5, dtype=torch.bfloat16, high=3.0), draw(17, 5, dtype=torch.float32))
    scan = Scan(product, draw(5, dtype=torch.float32), xs)
    check(scan)
    assert scan.run("fused")[1].dtype == torch.float32
    assert scan.gradients("fused")["['xs'][0]"].dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(40, 4, 1), (40, 1, 1), (40, 1)], ids=str)
def test_the_gradient_of_inputs_that_neurons_share_is_rounded_once(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator).to(dtype).requires_grad_()
    cotangent = torch.rand(40, 4, 300, generator=generator)

    def run(backend: F.Backend) -> tuple[Tensor, Tensor]:
        _, out = F.scan(F.lif_step, F.LIFState(torch.zeros(4, 300)), x, params={"decay": 0.9}, backend=backend)
        return out, torch.autograd.grad((out.float() * cotangent).sum(), x)[0]

    want, gradient = run("loop")
    for _ in range(2):  # a first call, and one that is found again
        out, found = run("fused")
        assert out.dtype == found.dtype == dtype
        assert torch.equal(out, want)
        # as good as one rounding, and not as three hundred
        torch.testing.assert_close(found, gradient, rtol=torch.finfo(dtype).eps, atol=0.0)
