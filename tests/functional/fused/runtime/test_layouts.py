"""Every dtype as state, input, output and parameter, in every layout, between guard values that nothing may touch."""

import warnings
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.fused.runtime import executable
from tests import folded_layer
from tests.fused import Scan, assert_close_gradients, assert_same_bits
from tests.guards import Guards, overrun
from tests.surroundings import calls_of, on_threads
from tests.widths import CASES, WHOLE, drawn

# what runs a scan a second time in other ways, or looks at each call by itself
OTHERWISE = ("folded", "vmap")
pytestmark = pytest.mark.usefixtures("poisoned")


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
