"""A folded layer that is called again gives what it gives step by step, whatever has changed since the last call."""

import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial, singledispatch, wraps
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.fold_nets import span
from tests.folded_layer import CALLS, UNWRITTEN, M, N, T, Took, agrees, draw, held, last, learning, over_time, repeat

# --- layers and parameters --------------------------------------------------------------------------------------------


@pytest.mark.sampled
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
# parameters from low to high for images of a shape
SIZES: dict[str, Callable[[float, float, tuple[int, ...]], Any]] = {
    "floats": lambda low, high, shape: low,
    "0-dim": lambda low, high, shape: torch.tensor(low),
    "per channel": lambda low, high, shape: span(low, high, 4, *[1] * (len(shape) - 1)),
    "per neuron": lambda low, high, shape: span(low, high, *shape),
    "one axis": lambda low, high, shape: span(low, high, shape[-1]),
}
IMAGES = [((4, 2, 3), 5), ((4, 2, 3, 2), 20), ((4, 1, 3), 4)]


@pytest.mark.sampled
@pytest.mark.parametrize("form", [torch.clone, last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LEARN)
def test_parameters(name: str, size: str, form: Callable[[Tensor], Tensor], took: Took) -> None:
    shape, T = IMAGES[([*LEARN].index(name) + [*SIZES].index(size)) % 3]
    layer = LEARN[name](SIZES[size](2.0, 7.0, shape), SIZES[size](0.3, 0.6, shape))
    model, taken = over_time(layer.double(), *shape), []
    for k in range(2 * CALLS):
        for parameter in model.parameters():
            parameter.data = parameter.data * 0.97
        x, pull = form(draw(k, N, T, *shape)).requires_grad_(k % 4 > 0), draw(k + 99, N, T, *shape)
        taken.append(agrees(model, x, took, last(pull) if k % 3 else pull))
    # such a parameter is copied for the kernel, which may be or not
    assert all(taken) or (form is torch.clone and size in ("per channel", "one axis"))
    if form is last:
        model(last(draw(1, N, T, *shape)))
        owns = [held(model).s]
        if size in ("floats", "0-dim"):
            owns.append(model.net(last(draw(1, N, 1, *shape))[:, 0], True))
        assert all(own.permute(0, *range(2, own.ndim), 1).is_contiguous() for own in owns)


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


def timed() -> st.StepLayer:
    return st.LIF(span(2.0, 5.0, M), span(0.3, 0.6, M), learnable=True, dt=0.5).double()


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


class Lower(st.LIF):
    """A layer that halves its threshold."""

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        found = st.LIF.param_map(stored)
        return found | {"threshold": 0.5 * found["threshold"]}


def put(name: str, value: Any) -> Callable[[Any], None]:
    return lambda layer: setattr(layer, name, value)


def new(*shape: int) -> nn.Parameter:
    return nn.Parameter(span(0.2, 0.7, *shape).double())


# the layer, what happens to it, and whether its scan is still the same but for its numbers; None where it may be or not
CHANGES: dict[str, tuple[Callable[[], st.StepLayer], Callable[[Any], Any], bool | None]] = {
    "float": (floats, put("v0", 0.2), True),
    "negative zero": (floats, put("v0", -0.0), True),
    "infinity": (floats, lambda layer: vars(layer).update(v0=float("inf")), True),
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
    "class": (floats, put("__class__", Lower), None),
    "map of its own": (floats, put("param_map", Lower.param_map), None),
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
    "tau": (timed, put("tau", new(M)), True),
    "data of a tau": (timed, lambda layer: layer.tau.data.mul_(1.5), True),
    "tau frozen": (timed, lambda layer: layer.tau.requires_grad_(False), True),
    "threshold frozen": (timed, lambda layer: layer.v0.requires_grad_(False), True),
    "dt": (timed, put("dt", 0.25), True),
    "expanded": (stored, put("v0", torch.tensor(0.2, dtype=torch.float64).expand(M)), True),
}


def test_mixed_types_still_raise(took: Took) -> None:
    model = over_time(learning())
    repeat(model, took)
    held(model).v0.data = held(model).v0.data.float()
    with pytest.raises(TypeError):
        model(draw(9))


# --- from call to call ----------------------------------------------------------------------------------------


class Renames(st.LIF):
    """A layer that names other parameters from call to call."""

    chosen: str

    def step_params(self) -> dict[str, Any]:
        return {"decay": 0.8, self.chosen: 0.4}


def read(stored: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of a step, computed with a number that changes from call to call."""
    found = st.LIF.param_map(stored)
    return found | {"threshold": _gain * found["threshold"]}


def reading(name: str) -> st.StepLayer:
    """Return a layer that was given a map, or a whole step, of its own."""
    layer = floats()
    own = {"param_map": read, "whole_step": lambda: (layer.step, read(layer._stored_params()))}
    object.__setattr__(layer, name, own[name])
    return layer


def third(self: Any, x: Tensor) -> F.LIFState:
    return F.LIFState(torch.full_like(x, 0.3))


class Rests(st.LIF):
    rest_state = third


class Starts(st.LIF):
    initial_state = third


class Halves(st.LIF):
    share: float

    def step_params(self) -> dict[str, Any]:
        params = super().step_params()
        return params | {"threshold": self.share * params["threshold"]}


class Scales(st.LIF):
    share: float

    def forward(self, x: Tensor, init: Any = False) -> Tensor:
        return 2.0 * super().forward(self.share * x, init)


_gain = 1.0


def plain(state: F.IFState, x: Tensor, *, threshold: Any) -> Any:
    return F.if_step(state, _gain * x, threshold=threshold)


READERS: dict[str, Any] = {
    "plain": plain,
    # says that it is of this library
    "wrapped": wraps(F.if_step)(types.FunctionType(plain.__code__, globals())),
    "enable_grad": torch.enable_grad()(plain),
    "disable": torch._dynamo.disable(plain),
    "partial": partial(plain),
    "singledispatch": singledispatch(plain),
}


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "one image for all steps": lambda x: x[:, :1].expand_as(x),
    "one image for all": lambda x: x[:1, :1].expand_as(x),
    "neurons transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "channels last": last,
    "every second": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "neurons expanded": lambda x: x[..., :1].expand_as(x),
}


def of_images() -> st.StepLayer:
    return st.LIF(4.0, span(0.3, 0.6, 4, 2, 3), learnable="v0").double()


def images(k: int) -> Tensor:
    return draw(k, N, T, 4, 2, 3)


def in_turns(form: Callable[[Tensor], Tensor], seed: int = 0) -> Callable[[int], Tensor]:
    return lambda k: (form if k // 2 % 2 else torch.clone)(images(k + seed))


def sub(kind: type[st.LIF]) -> st.StepLayer:
    return kind(decay=0.8, v0=0.5, learnable=True).double()


def once(change: Callable[[Any], Any], call: int = CALLS) -> Callable[[Any, int], Any]:
    return lambda layer, k: change(layer) if k == call else None


def frozen() -> st.StepLayer:
    return learning().requires_grad_(False)


def rests(name: str) -> Callable[[Any], Any]:
    return lambda layer: object.__setattr__(layer, name, types.MethodType(third, layer))


def freeze_in_turns(layer: Any, k: int) -> None:
    layer.decay.requires_grad_(k % 3 == 0)
    layer.v0.requires_grad_(k % 4 < 2)


def gain(_: Any, k: int) -> None:
    global _gain
    _gain = 1.0 + 0.1 * k


TYPES = [torch.float64] * 4 + [torch.float32] * 4 + [torch.float64] * 4
NAMES = ["gain"] * 4 + ["threshold"] * 4 + ["gain"] * 4
LENGTHS = [(3, 5), (3, 5), (3, 5), (5, 3), (1, 15), (5, 3), (15, 2), (3, 5), (0, 5), (5, 3), (3, 1), (3, 5), (1, 15)]


class History(NamedTuple):
    """Calls of a layer; what depends on the call is a function of its number."""

    make: Callable[[], st.StepLayer]
    change: Callable[[Any, int], Any] = lambda layer, k: None  # of the layer, before a call
    x: Callable[[int], Tensor] = draw
    wanted: Callable[[int], bool] = lambda k: True  # the gradient of x
    pull: Callable[[int], Tensor | None] = lambda k: None  # the cotangent
    calls: int = 2 * CALLS
    trains: int | None = 1  # so many repeated scans, at least, that autograd knows of; None for no repetition at all
    options: dict[str, Any] = {}  # noqa: RUF012


HISTORIES: dict[str, History] = {
    **{
        name: History(make, once(change), trains=2 * CALLS if still else 0)
        for name, (make, change, still) in CHANGES.items()
    },
    "types": History(
        learning, lambda layer, k: layer.to(TYPES[k]), lambda k: draw(k, dtype=TYPES[k]), calls=12, trains=12
    ),
    "names of parameters": History(Renames, lambda layer, k: put("chosen", NAMES[k])(layer)),
    "which gradients": History(learning, freeze_in_turns, wanted=lambda k: k % 2 == 0, calls=16, trains=11),
    "a gradient, later": History(frozen, wanted=lambda k: k // CALLS % 2 == 1, calls=4 * CALLS, trains=2 * CALLS),
    "sizes": History(learning, x=lambda k: draw(k, *LENGTHS[k], M), calls=13, trains=11),
    "tracked activity": History(lambda: st.BioLIF(0.5, 0.1, track_act=True), trains=None),
    "own rest": History(lambda: sub(Rests), trains=None),
    "own start": History(lambda: sub(Starts), trains=None),
    "own parameters": History(lambda: sub(Halves), lambda layer, k: put("share", 0.5 + 0.05 * k)(layer)),
    "own forward": History(lambda: sub(Scales), lambda layer, k: put("share", 0.5 + 0.05 * k)(layer)),
    "chunks": History(learning, trains=None, options={"time_chunk": 2}),
    "chunks, cut": History(learning, trains=None, options={"time_chunk": 2, "truncate": True}),
    "a graph carried on": History(learning, trains=None, options={"carry_graph": True}),
    **{
        f"{name} of one layer from call {call}": History(learning, once(rests(name), call), trains=call or None)
        for name in ("rest_state", "initial_state")
        for call in (0, CALLS)
    },
    **{
        f"global, {name}": History(partial(st.StepLayer, step, F.IFState, threshold=0.5), gain, trains=0)
        for name, step in READERS.items()
    },
    **{f"global, {name}": History(partial(reading, name), gain, trains=0) for name in ("param_map", "whole_step")},
    **{f"input, {name}": History(of_images, x=in_turns(form)) for name, form in LAYOUTS.items()},
    **{
        f"cotangent, {name}": History(of_images, x=images, pull=in_turns(form, 99), trains=10)
        for name, form in (LAYOUTS | UNWRITTEN).items()
    },
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.filterwarnings("ignore:scan.*ran on the Python loop")
def test_history(name: str, took: Took) -> None:
    make, change, x, wanted, pull, calls, trains, options = HISTORIES[name]
    model = over_time(make(), *x(0).shape[2:], **options)
    for k in range(calls):
        change(held(model), k)
        agrees(model, x(k).detach().requires_grad_(wanted(k)), took, pull(k))
    assert took.scans == 0 if trains is None else took.trains >= trains


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


@pytest.mark.parametrize("wanted", [(1.0, None), (None, 1.0), (1.0, 1.0), (None, None)])
def test_gradient_of_either_input(wanted: tuple[float | None, float | None], took: Took) -> None:
    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        xe, xi = [x.detach() if factor is None else x * factor for factor in wanted]
        return layer(xe, 0.3 * xi, init)  # type: ignore[no-any-return]

    repeat(over_time(st.BioLIF(0.5, span(0.1, 0.3, M), learnable=True).double(), use=use), took)
