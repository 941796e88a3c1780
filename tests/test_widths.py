"""Every dtype as state, input, output and parameter, in every layout, between guard values that nothing may touch."""

import warnings
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.fused.runtime import executable, memory
from tests.folded_layer import CALLS, Took, held, over_time
from tests.fused import Scan, assert_same_bits
from tests.guards import Guards, overrun
from tests.width_cases import CASES
from tests.widths import FLOATS, WHOLE, check_gradients, drawn

# what runs a scan a second time in other ways, or looks at each call by itself
OTHERWISE = ("folded", "dense", "convolutional", "vmap")


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> Guards:
    # no scan has run before; programs, which take a moment to trace, are shared by the tests
    monkeypatch.setattr(bind, "_bound", LRUCache(64))
    monkeypatch.setattr(executable, "_executables", LRUCache(64))
    found = Guards()
    monkeypatch.setattr(memory, "empty_strided", found.empty_strided)
    return found


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Scans that are found by their signature."""
    ran: list[Any] = []
    run = bind.Bound.run

    def spy(*args: Any) -> Any:
        ran.append(args)
        return run(*args)

    monkeypatch.setattr(bind.Bound, "run", spy)
    return ran


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, guards: Guards, repeated: list[Any]) -> None:
    CASES[name](guards.place)
    guards.check()
    assert guards.results > 0
    assert len(repeated) == (0 if name.startswith(OTHERWISE) else 4)


def test_threads_keep_to_their_blocks(guards: Guards) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        CASES["narrow, 33 steps"](guards.place)
        CASES["more than two blocks, 33 steps"](guards.place)
    finally:
        torch.set_num_threads(before)
    guards.check()


@pytest.mark.parametrize("by", [-1, -4096, 20, 4000])
def test_guards_see_what_is_written_beside_an_array(by: int, guards: Guards) -> None:
    result = memory.empty((5,), torch.float32, torch.device("cpu"))
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


# --- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(37,), (5, 3, 4)], ids=["rows", "images"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_layer_that_repeats_its_scan(dtype: torch.dtype, shape: tuple[int, ...], guards: Guards, took: Took) -> None:
    model = over_time(st.LIF(tau=3.0, v0=torch.tensor(0.4)).to(torch.promote_types(dtype, torch.float32)), *shape)
    for call in range(CALLS):
        x = drawn(dtype, (2, 18, *shape), call)
        if len(shape) == 3:
            x = x.movedim(2, -1).contiguous().movedim(-1, 2)
        x = guards.place(x).requires_grad_()
        pull, found = guards.place(drawn(dtype, (2, 18, *shape), 99) - 0.5), []
        for mode in ("fold", "step"):
            model.mode = mode
            out = model(x)
            found.append((out.detach(), held(model).v, torch.autograd.grad(out, x, pull)[0]))
        assert_same_bits(found[0][:2], found[1][:2])
        check_gradients({"x": found[0][2]}, {"x": found[1][2]})
        guards.check()
    assert took.trains >= CALLS - 2


# --- what the fused backend does not take -----------------------------------------------------------------------------


class Held(NamedTuple):
    """A state of two tensors."""

    v: Tensor
    other: Tensor


def carried(state: Held, x: Tensor) -> Any:
    v = 0.5 * state.v + x
    return Held(v, state.other), v


def read(state: Held, x: tuple[Tensor, Tensor]) -> Any:
    v = 0.5 * state.v + x[0]
    return Held(v, state.other), (v, x[1])


def given(state: F.IFState, x: Tensor, other: Tensor) -> Any:
    v = 0.5 * state.v + x
    return F.IFState(v), (v, other)


STRANGE = [torch.uint16, torch.uint32, torch.uint64, torch.complex64]


@pytest.mark.parametrize("dtype", STRANGE, ids=str)
@pytest.mark.parametrize("role", ["state", "input", "parameter"])
def test_other_dtypes_take_the_loop(role: str, dtype: torch.dtype) -> None:
    v, x = torch.zeros(3, 5), torch.rand(4, 3, 5)
    other = torch.ones((4, 3, 5) if role == "input" else (3, 5)).to(dtype)
    scans: dict[str, tuple[Any, ...]] = {
        "state": (carried, Held(v, other), x, {}),
        "input": (read, Held(v, torch.zeros(3, 5)), (x, other), {}),
        "parameter": (given, F.IFState(v), x, {"other": other}),
    }
    step, state, xs, params = scans[role]
    assert F.explain_scan(step, state, xs, params=params).backend == "loop"
    with pytest.raises(ValueError, match="cannot run"):
        F.scan(step, state, xs, params=params, backend="fused")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        got = F.scan(step, state, xs, params=params)
    assert torch.equal(got[0].v, F.scan(step, state, xs, params=params, backend="loop")[0].v)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16], ids=str)
def test_arithmetic_in_small_integers_takes_the_loop(dtype: torch.dtype) -> None:
    def step(state: Held, x: Tensor) -> Any:
        v = 0.5 * state.v + x
        return Held(v, state.other + state.other), v

    state = Held(torch.zeros(3, 5), torch.ones(3, 5, dtype=dtype))
    found = F.explain_scan(step, state, torch.rand(4, 3, 5), backend="fused")
    assert (found.backend, "computes in" in found.reason) == ("loop", True), found


# --- recurrences ------------------------------------------------------------------------------------------------------


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
        check_gradients(scan.gradients("fused"), scan.gradients("loop"))


@pytest.mark.parametrize("steps", [4, 20])
def test_recurrence_takes_cotangents_that_are_not_written_out(steps: int) -> None:
    rest, x = torch.zeros(3, 5, dtype=torch.float64), drawn(torch.float64, (steps, 3, 5), 1).requires_grad_()
    params = {"decay": 0.5, "recurrent_weight": drawn(torch.float64, (5, 5), 2)}
    pull = drawn(torch.float64, (steps, 3, 5), 3)
    step: Any = F.Recurrent(F.lif_step)
    for cotangent in (torch._neg_view(pull), torch._efficientzerotensor(pull.shape, dtype=pull.dtype)):  # pyright: ignore
        found = []
        for backend in ("fused", "loop"):
            state = F.RecurrentState(F.LIFState(rest), rest)
            out = F.scan(step, state, x, params=params, backend=backend)[1]
            found.append({"x": torch.autograd.grad(out, x, cotangent)[0]})
        check_gradients(*found)


# --- bools ------------------------------------------------------------------------------------------------------------


def test_bools_are_bools(guards: Guards) -> None:
    def step(state: Held, x: Tensor, mask: Tensor) -> Any:
        above, far = x > 0.3, x > 0.6
        outs = above + far, above * mask, above & mask, above | mask, above ^ mask, ~mask, torch.where(mask, x, state.v)
        return Held(x, above + mask), (*outs, state.other + far)

    # a true bool is any byte but zero, where bytes are taken for bools
    mask = guards.place(torch.randint(0, 4, (600,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8))
    state = Held(guards.place(torch.zeros(600)), guards.place(drawn(torch.bool, (600,), 1)))
    xs, params = guards.place(drawn(torch.float32, (17, 600), 2)), {"mask": mask.view(torch.bool)}
    for _ in range(2):
        got = F.scan(step, state, xs, params=params, backend="fused")
        assert_same_bits(got, F.scan(step, state, xs, params=params, backend="loop"))
    guards.check()


def test_every_dtype_is_tried() -> None:
    accepted = {torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8}
    accepted |= {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    assert {*FLOATS, *WHOLE} == accepted
