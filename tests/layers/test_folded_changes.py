"""A folded layer that is called again gives what it gives step by step, whatever has changed since the last call."""

import functools
import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.fold_nets import span
from tests.folded_layer import CALLS, IMAGES, M, N, T, Took, agrees, draw, held, last, learning, over_time, repeat

# --- layers and parameters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_layer(layer: st.StepLayer, dtype: torch.dtype, wanted: bool, took: Took) -> None:
    repeat(over_time(layer.to(dtype)), took, lambda k: draw(k, dtype=dtype).requires_grad_(wanted))
    assert took.trains == (took.scans if wanted else 0)


LEARN: dict[str, Callable[[Any, Any], st.StepLayer]] = {
    "IF": lambda _, v0: st.IF(v0, learnable=True),
    "LIF": lambda tau, v0: st.LIF(tau, v0, learnable=True),
    "LIF, half": lambda tau, v0: st.LIF(tau, v0, learnable="tau"),
    "LIF, decay": lambda tau, v0: st.LIF(decay=0.5 if isinstance(tau, float) else tau / 9, v0=v0, learnable="v0"),
    "LIF, subtracts": lambda tau, v0: st.LIF(tau, v0, reset=F.by_subtraction, learnable=True),
    "LI": lambda tau, _: st.LI(tau, learnable=True),
    "CoarseLIF": lambda tau, v0: st.CoarseLIF(tau, v0, learnable=True),
    "SpikingDecay": lambda tau, v0: st.SpikingDecay(tau, v0, surrogate=F.Arctan(3.0), learnable=True),
    "McPitts": lambda _, v0: st.McPitts(v0, learnable=True),
    "BioLIF": lambda tau, v0: st.BioLIF(tau, v0, learnable="v0"),
    "nothing": lambda tau, v0: st.LIF(tau, v0),
}
SIZES: dict[str, Callable[[float, float], Any]] = {
    "floats": lambda low, high: low,
    "0-dim": lambda low, high: torch.tensor(low),
    "per channel": lambda low, high: span(low, high, 4, 1, 1),
    "per neuron": lambda low, high: span(low, high, *IMAGES),
    "one axis": lambda low, high: span(low, high, 3),
}


@pytest.mark.parametrize("form", [torch.clone, last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LEARN)
def test_parameters(name: str, size: str, form: Callable[[Tensor], Tensor], took: Took) -> None:
    layer = LEARN[name](SIZES[size](2.0, 7.0), SIZES[size](0.3, 0.6))
    model = over_time(layer.double(), *IMAGES)
    taken = []
    for k in range(CALLS):
        for parameter in model.parameters():
            parameter.data = parameter.data * 0.97
        taken.append(agrees(model, form(draw(k, N, T, *IMAGES)).requires_grad_(), took))
    # such a parameter is copied for the kernel, which may be or not
    assert all(taken) or (form is torch.clone and size in ("per channel", "one axis"))


def test_two_layers_of_one_kind_are_told_apart(took: Took) -> None:
    net: Any = nn.Module()
    net.a, net.b = st.LIF(3.0, 0.3), st.LIF(9.0, 0.6, learnable=True).double()
    net.forward = lambda x, init: net.b(net.a(x, init) + x, init)
    repeat(st.SpikingNet(net, M, "fold"), took)


# --- one change between two calls -------------------------------------------------------------------------------------


def floats() -> st.StepLayer:
    return st.LIF(decay=0.8, v0=0.5)


def stored() -> st.StepLayer:
    return st.LIF(decay=torch.tensor(0.8), v0=span(0.3, 0.6, M)).double()


def half_stored() -> st.StepLayer:
    return st.LIF(decay=torch.tensor(0.8), v0=0.5).double()


def numpy_float() -> st.StepLayer:
    layer = floats()
    layer.v0 = np.float64(0.5)
    return layer


def swap(layer: Any) -> None:
    """Make a tensor of the float, and a float of the tensor."""
    del layer.decay
    layer.decay, layer.v0 = 0.3, torch.tensor(0.7, dtype=torch.float64)


def doubled(state: F.LIFState, x: Tensor, **params: Any) -> Any:
    return F.lif_step(state, 2 * x, **params)


def put(name: str, value: Any) -> Callable[[Any], None]:
    return lambda layer: setattr(layer, name, value)


def new(*shape: int) -> nn.Parameter:
    return nn.Parameter(span(0.2, 0.7, *shape).double())


# the layer, what happens to it, and whether its scan is still the same but for its numbers; None where it may be or not
CHANGES: dict[str, tuple[Callable[[], st.StepLayer], Callable[[Any], Any], bool | None]] = {
    "float": (floats, put("v0", 0.2), True),
    "negative zero": (floats, put("v0", -0.0), True),
    "infinity": (floats, put("v0", float("inf")), True),
    "float to int": (floats, put("v0", 1), None),
    "float to numpy": (floats, put("v0", np.float64(0.2)), None),
    "numpy float": (numpy_float, put("v0", np.float64(0.2)), None),
    "float to tensor": (floats, put("v0", torch.tensor(0.2, dtype=torch.float64)), True),
    "swapped": (half_stored, swap, True),
    "step": (floats, put("step", doubled), True),
    "surrogate": (learning, put("surrogate", F.Sigmoid(2.0)), True),
    "surrogate of another kind": (learning, put("surrogate", F.Arctan(2.0)), True),
    "reset": (learning, put("reset_rule", F.by_subtraction), True),
    "reset of a float": (floats, put("reset_rule", F.detached(F.to_zero)), True),
    "data": (learning, lambda layer: layer.v0.data.mul_(0.5), True),
    "new data": (learning, lambda layer: setattr(layer.v0, "data", span(0.1, 0.9, M).double()), True),
    "buffer in place": (stored, lambda layer: layer.v0.mul_(0.5), True),
    "buffer": (stored, put("v0", span(0.1, 0.9, M).double()), True),
    "one frozen": (learning, lambda layer: layer.v0.requires_grad_(False), True),
    "all frozen": (learning, lambda layer: layer.requires_grad_(False), True),
    "buffer that learns": (stored, lambda layer: layer.v0.requires_grad_(), True),
    "parameter": (learning, put("v0", new(M)), True),
    "shape": (learning, put("v0", new(1)), True),
    "rank": (learning, put("decay", new(N, M)), True),
    "strides": (learning, put("v0", nn.Parameter(span(0.2, 0.7, 2 * M).double()[::2])), True),
    "expanded": (stored, put("v0", torch.tensor(0.2, dtype=torch.float64).expand(M)), True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change(name: str, took: Took) -> None:
    make, change, still = CHANGES[name]
    model = over_time(make())
    before = [agrees(model, draw(k).requires_grad_(), took) for k in range(CALLS)]
    change(held(model))
    taken = agrees(model, draw(50).requires_grad_(), took)
    assert still is None or (all(before) and taken == still)
    for k in range(3):
        agrees(model, draw(51 + k).requires_grad_(), took)


def test_mixed_types_still_raise(took: Took) -> None:
    model = over_time(learning())
    repeat(model, took)
    held(model).v0.data = held(model).v0.data.float()
    with pytest.raises(TypeError):
        model(draw(9))


# --- changes from call to call ----------------------------------------------------------------------------------------


class Renames(st.LIF):
    """A layer that names other parameters from call to call."""

    def step_params(self) -> dict[str, Any]:
        return {"decay": 0.8, self.chosen: 0.4}


class Rests(st.LIF):
    def rest_state(self, x: Tensor) -> F.LIFState:
        return F.LIFState(torch.full_like(x, 0.3))


class Starts(st.LIF):
    def initial_state(self, x: Tensor) -> F.LIFState:
        return F.LIFState(torch.full_like(x, 0.3))


class Halves(st.LIF):
    def step_params(self) -> dict[str, Any]:
        params = super().step_params()
        return params | {"threshold": self.share * params["threshold"]}


class Scales(st.LIF):
    def forward(self, x: Tensor, init: Any = False) -> Tensor:
        return 2.0 * super().forward(self.share * x, init)


_gain = 1.0


def plain(state: F.IFState, x: Tensor, *, threshold: Any) -> Any:
    return F.if_step(state, _gain * x, threshold=threshold)


def wrapped(state: F.IFState, x: Tensor, *, threshold: Any) -> Any:
    return F.if_step(state, _gain * x, threshold=threshold)


READERS: dict[str, Any] = {
    "plain": plain,
    "wrapped": functools.wraps(F.if_step)(wrapped),  # says that it is of this library
    "enable_grad": torch.enable_grad()(plain),
    "disable": torch._dynamo.disable(plain),
    "partial": functools.partial(plain),
    "singledispatch": functools.singledispatch(plain),
}


def of_images(**options: Any) -> st.StepLayer:
    return st.LIF(3.0, 0.4, learnable=True, **options).double()


def sub(kind: type[st.LIF]) -> st.StepLayer:
    return kind(decay=0.8, v0=0.5, learnable=True).double()


def freeze_in_turns(layer: Any, k: int) -> None:
    layer.decay.requires_grad_(k % 3 == 0)
    layer.v0.requires_grad_(k % 4 < 2)


def rests_from(call: int, name: str) -> Callable[[Any, int], None]:
    def change(layer: Any, k: int) -> None:
        if k == call:
            method = types.MethodType(lambda self, x: F.LIFState(torch.full_like(x, 0.3)), layer)
            object.__setattr__(layer, name, method)

    return change


def gain(_: Any, k: int) -> None:
    global _gain
    _gain = 1.0 + 0.1 * k


def dtype_at(k: int) -> torch.dtype:
    return (torch.float64, torch.float32, torch.float64)[k // 4]


def typed(k: int) -> Tensor:
    return draw(k, dtype=dtype_at(k)).requires_grad_()


def wanted(k: int) -> Tensor:
    return draw(k).requires_grad_()


def in_turns(k: int) -> Tensor:
    x = draw(k, N, 4, *IMAGES)
    return (last(x) if k // 3 % 2 else x).requires_grad_()


def of_size(k: int) -> Tensor:
    sizes = [(3, 5), (3, 5), (3, 5), (5, 3), (1, 15), (5, 3), (15, 2), (3, 5), (0, 5), (5, 3), (3, 1), (3, 5), (1, 15)]
    return draw(k, *sizes[k], M).requires_grad_()


class History(NamedTuple):
    """Calls of a layer.

    Attributes:
        make: makes the layer.
        change: what happens to it before each call, by the call's number.
        x: what it is given then.
        calls: how many there are.
        taken: how many scans, one of each call at most, are to be known to autograd; None for no scan at all.
        options: of the network.
    """

    make: Callable[[], st.StepLayer]
    change: Callable[[Any, int], Any] = lambda layer, k: None
    x: Callable[[int], Tensor] = wanted
    calls: int = 2 * CALLS
    taken: int | None = 1
    options: dict[str, Any] = {}  # noqa: RUF012


HISTORIES: dict[str, History] = {
    "types": History(learning, lambda layer, k: layer.to(dtype_at(k)), typed, 12, 6),
    "names of parameters": History(
        Renames, lambda layer, k: setattr(layer, "chosen", ("gain", "threshold", "gain")[k // 4])
    ),
    "which gradients": History(learning, freeze_in_turns, lambda k: draw(k).requires_grad_(k % 2 == 0), 16, 4),
    "a gradient, later": History(
        lambda: learning().requires_grad_(False), x=lambda k: draw(k).requires_grad_(k // CALLS % 2 == 1)
    ),
    "sizes": History(learning, x=of_size, calls=13, taken=3),
    "orders of memory": History(of_images, x=in_turns, calls=12),
    "tracked activity": History(lambda: st.BioLIF(0.5, 0.1, track_act=True), taken=None),
    "own rest": History(lambda: sub(Rests), taken=None),
    "own start": History(lambda: sub(Starts), taken=None),
    **{
        name: History(lambda kind=kind: sub(kind), lambda layer, k: setattr(layer, "share", 0.5 + 0.05 * k))  # type: ignore[misc]
        for name, kind in (("own parameters", Halves), ("own forward", Scales))
    },
    "rest of one layer": History(learning, rests_from(0, "rest_state"), taken=None),
    "rest of one layer, late": History(learning, rests_from(CALLS, "rest_state")),
    "start of one layer": History(learning, rests_from(0, "initial_state"), taken=None),
    "start of one layer, late": History(learning, rests_from(CALLS, "initial_state")),
    "chunks": History(learning, taken=None, options={"time_chunk": 2}),
    "chunks, cut": History(learning, taken=None, options={"time_chunk": 2, "truncate": True}),
    "a graph carried on": History(learning, taken=None, options={"carry_graph": True}),
} | {
    f"global, {name}": History(lambda step=step: st.StepLayer(step, F.IFState, threshold=0.5), gain, taken=0)  # type: ignore[misc]
    for name, step in READERS.items()
}


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.filterwarnings("ignore:scan.*ran on the Python loop")
def test_history(name: str, took: Took) -> None:
    make, change, x, calls, taken, options = HISTORIES[name]
    model = over_time(make(), *x(0).shape[2:], **options)
    for k in range(calls):
        change(held(model), k)
        agrees(model, x(k), took)
    assert took.scans == 0 if taken is None else took.trains >= taken


@pytest.mark.parametrize("T", [2, 15, 16, 17, 33])
@pytest.mark.parametrize("learnable", ["decay", "v0", ()])
def test_lengths_around_a_chunk(learnable: str | Sequence[str], T: int, took: Took) -> None:
    layer = st.LIF(decay=torch.tensor(0.8), v0=span(0.3, 0.6, M), learnable=learnable).double()
    repeat(over_time(layer), took, lambda k: draw(k, N, T, M).requires_grad_())


def test_training_and_evaluation_alternate(took: Took) -> None:
    model = over_time(learning())
    for k in range(4):
        assert agrees(model, draw(k).requires_grad_(), took)
        for without in (torch.no_grad(), torch.inference_mode(), nullcontext()):
            with without:
                agrees(model, draw(k + 20), took)
    assert took.scans - took.trains >= 4


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True), (False, False)])
def test_gradient_of_either_input(wanted: tuple[bool, bool], took: Took) -> None:
    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        xe, xi = [part * 1.0 if want else part.detach() for part, want in zip((x, 0.3 * x), wanted, strict=True)]
        out: Tensor = layer(xe, xi, init)
        return out

    repeat(over_time(st.BioLIF(0.5, span(0.1, 0.3, M), learnable=True).double(), use=use), took)
