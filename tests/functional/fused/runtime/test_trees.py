"""Trees of states, inputs and outputs, of every dtype in every layout, between guard values that nothing may touch."""

import warnings
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.fused.runtime import executable
from spikingtorch.verification.cases import LENGTHS
from tests import folded_layer
from tests.fused import Scan, assert_close_gradients, assert_same_bits, bits, check, draw
from tests.guards import Guards, overrun
from tests.surroundings import calls_of, on_threads
from tests.widths import CASES, WHOLE, drawn

pytestmark = pytest.mark.usefixtures("poisoned")
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


# what runs a scan a second time in other ways, or looks at each call by itself
OTHERWISE = ("folded", "vmap")


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> Guards:
    # no scan has run before; programs, which take a moment to trace, are shared by the tests
    monkeypatch.setattr(bind, "_bound", LRUCache(64))
    monkeypatch.setattr(executable, "_executables", LRUCache(64))
    return Guards().place_results(monkeypatch)


@pytest.mark.sampled
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, guards: Guards, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = calls_of(monkeypatch, bind.Bound, "run")
    CASES[name](guards.place)
    guards.check()
    assert guards.results > 0
    assert len(ran) == (0 if name.startswith(OTHERWISE) else 4)


def test_threads_keep_to_their_blocks(guards: Guards) -> None:
    with on_threads(3):
        CASES["narrow, 33 steps"](guards.place)
        CASES["more than two blocks, 33 steps"](guards.place)
    guards.check()


@pytest.mark.parametrize("by", [-1, -4096, 20, 4000])
def test_guards_see_what_is_written_beside_an_array(by: int, guards: Guards) -> None:
    result = allocation.empty((5,), torch.float32, torch.device("cpu"))
    guards.check()
    overrun(result, by)
    with pytest.raises(AssertionError, match="before" if by < 0 else "behind"):
        guards.check()


def test_guards_see_what_is_written_on_an_input(guards: Guards) -> None:
    placed = guards.place(torch.rand(4, 6)[:, 1::2])
    guards.check()
    overrun(placed, 4)  # between two of its numbers
    with pytest.raises(AssertionError, match="input"):
        guards.check()


def test_other_orders_of_memory_than_channels_last_come_out_contiguous() -> None:
    """Layers are tested with images that are channels-last, and whose outputs are."""
    plain = folded_layer.draw(0, 3, 4, 5, 4, 7)
    for x in (plain, plain.transpose(3, 4), plain.transpose(2, 3), plain[..., ::2], folded_layer.last(plain)[:, :, :1]):
        out = F.scan(F.if_step, F.IFState(torch.zeros_like(x[:, 0])), x, dim=1, backend="fused")[1]
        assert out.is_contiguous()
    step: Any = lambda state, x: (F.IFState(state.v + x[0] * x[1]), state.v)  # noqa: E731
    state = F.IFState(torch.zeros_like(plain[:, 0]))
    assert F.scan(step, state, (folded_layer.last(plain), plain[:, :, :1]), dim=1, backend="fused")[1].is_contiguous()


# --- what the fused backend does not take -----------------------------------------------------------------------------


# a state of two tensors
Held = namedtuple("Held", ["v", "other"])


def holding(state: Held, x: tuple[Tensor, Tensor], *, other: Tensor) -> Any:
    v = 0.5 * state.v + x[0]
    return Held(v, state.other), (v, x[1], other)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.complex64], ids=str)
@pytest.mark.parametrize("role", ["state", "input", "parameter"])
def test_other_dtypes_take_the_loop(role: str, dtype: torch.dtype) -> None:
    x = torch.rand(4, 3, 5)
    state, stream, parameter = (
        torch.ones(shape, dtype=dtype if role == name else torch.float32)
        for name, shape in (("state", (3, 5)), ("input", (4, 3, 5)), ("parameter", (3, 5)))
    )
    scan = Scan(holding, Held(torch.zeros(3, 5), state), (x, stream), {"other": parameter})
    assert F.explain_scan(holding, scan.state, scan.xs, params=scan.params).backend == "loop"
    with pytest.raises(ValueError, match="cannot run"):
        scan.run("fused")
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        got = scan.run("auto")
    assert torch.equal(got[0].v, scan.run("loop")[0].v)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16], ids=str)
def test_arithmetic_in_small_integers_takes_the_loop(dtype: torch.dtype) -> None:
    state = Held(torch.zeros(3, 5), torch.ones(3, 5, dtype=dtype))
    step: Any = lambda state, x: (Held(state.v + x, state.other + state.other), x)  # noqa: E731
    found = F.explain_scan(step, state, torch.rand(4, 3, 5), backend="fused")
    assert (found.backend, "computes in" in found.reason) == ("loop", True), found


# --- recurrences and bools --------------------------------------------------------------------------------------------


def of_two(state: F.IFState, x: tuple[Tensor, Tensor]) -> tuple[F.IFState, Tensor]:
    v = 0.5 * state.v + x[0] + x[1]
    spike = F.Sigmoid()(v - 1.0)
    return F.IFState(v - spike), spike


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("steps", [4, 20])
def test_recurrent_input_that_is_no_float(steps: int, dtype: torch.dtype) -> None:
    xs = (drawn(torch.bool, (steps, 3, 5), 1).to(dtype), drawn(torch.float64, (steps, 3, 5), 2))
    rest, weight = torch.zeros(3, 5, dtype=torch.float64), drawn(torch.float64, (5, 5), 3)
    step: Any = F.Recurrent(of_two)
    state, params = F.RecurrentState(F.IFState(rest), rest), {"recurrent_weight": weight}
    found = F.explain_scan(step, state, xs, params=params)
    assert (found.backend, "first input of another dtype" in found.reason) == ("loop", True), found
    if dtype == torch.int64:  # spikes are added to the first input alone
        scan = Scan(step, state, xs[::-1], params)
        assert scan.exactness == "T"
        assert_same_bits(scan.run("fused")[1], scan.run("loop")[1])
        assert_close_gradients(scan.gradients("fused"), scan.gradients("loop"))


@pytest.mark.parametrize("steps", [4, 20])
def test_recurrence_takes_cotangents_that_are_not_written_out(steps: int) -> None:
    rest, x = torch.zeros(3, 5, dtype=torch.float64), drawn(torch.float64, (steps, 3, 5), 1).requires_grad_()
    params = {"decay": 0.5, "recurrent_weight": drawn(torch.float64, (5, 5), 2)}
    pull = drawn(torch.float64, (steps, 3, 5), 3)
    step: Any = F.Recurrent(F.lif_step)
    scan = Scan(step, F.RecurrentState(F.LIFState(rest), rest), x, params)
    for cotangent in (torch._neg_view(pull), torch._efficientzerotensor(pull.shape, dtype=pull.dtype)):  # pyright: ignore
        outs = [scan.run(backend)[1] for backend in ("fused", "loop")]
        assert_close_gradients(*({"x": torch.autograd.grad(out, x, cotangent)[0]} for out in outs))


def test_bools_are_bools(guards: Guards) -> None:
    def step(state: Held, x: Tensor, mask: Tensor) -> Any:
        above, far = x > 0.3, x > 0.6
        outs = above + far, above * mask, above & mask, above | mask, above ^ mask, ~mask, torch.where(mask, x, state.v)
        return Held(x, above + mask), (*outs, state.other + far)

    # a true bool is any byte but zero, where bytes are taken for bools
    mask = guards.place(torch.randint(0, 4, (600,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8))
    state = Held(guards.place(torch.zeros(600)), guards.place(drawn(torch.bool, (600,), 1)))
    scan = Scan(step, state, guards.place(drawn(torch.float32, (17, 600), 2)), {"mask": mask.view(torch.bool)})
    for _ in range(2):
        assert_same_bits(scan.run("fused"), scan.run("loop"))
    guards.check()
