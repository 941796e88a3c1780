"""A layer in a network that is called again gives what it gives step by step, whatever has changed meanwhile."""

import copy
import gc
import types
import weakref
from collections.abc import Callable
from functools import partial, singledispatch, wraps
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.fold_nets import span
from tests.folded_layer import CALLS, UNWRITTEN, M, N, T, draw, folds, held, last, learning, over_time

# --- one change between two calls -------------------------------------------------------------------------------------


def floats() -> st.StepLayer:
    return st.LIF(decay=0.8, v0=0.5)


def stored(learnable: Any = ()) -> st.StepLayer:
    return st.LIF(decay=torch.tensor(0.8), v0=span(0.3, 0.6, M), learnable=learnable).double()


def timed() -> st.StepLayer:
    return st.LIF(span(2.0, 5.0, M), span(0.3, 0.6, M), learnable=True, dt=0.5).double()


def swap(layer: Any) -> None:
    """Make a tensor of the float, and a float of the tensor."""
    del layer.decay
    layer.decay, layer.v0 = 0.3, torch.tensor(0.7, dtype=torch.float64)


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


Change = Callable[[Any], Any]
CHANGES: dict[str, tuple[Callable[[], st.StepLayer], Change]] = {
    "float": (floats, put("v0", 0.2)),
    "negative zero": (floats, put("v0", -0.0)),
    "infinity": (floats, lambda layer: layer.__dict__.update(v0=float("inf"))),
    "float to int": (floats, put("v0", 1)),
    "float to numpy": (floats, put("v0", np.float64(0.2))),
    "float to tensor": (floats, put("v0", torch.tensor(0.2, dtype=torch.float64))),
    "swapped": (lambda: st.LIF(decay=torch.tensor(0.8), v0=0.5).double(), swap),
    "step": (floats, put("step", lambda state, x, **params: F.lif_step(state, 2 * x, **params))),
    "surrogate": (learning, put("surrogate", F.Sigmoid(2.0))),
    "surrogate of another kind": (learning, put("surrogate", F.Arctan(2.0))),
    "reset": (learning, put("reset_rule", F.by_subtraction)),
    "reset of a float": (floats, put("reset_rule", F.detached(F.to_zero))),
    "class": (floats, put("__class__", Lower)),
    "map of its own": (floats, put("param_map", Lower.param_map)),
    "data": (learning, lambda layer: layer.v0.data.mul_(0.5)),
    "new data": (learning, lambda layer: setattr(layer.v0, "data", span(0.1, 0.9, M).double())),
    "buffer in place": (stored, lambda layer: layer.v0.mul_(0.5)),
    "buffer": (stored, put("v0", span(0.1, 0.9, M).double())),
    "one frozen": (learning, lambda layer: layer.v0.requires_grad_(False)),
    "all frozen": (learning, lambda layer: layer.requires_grad_(False)),
    "buffer that learns": (stored, lambda layer: layer.v0.requires_grad_()),
    "parameter": (learning, put("v0", new(M))),
    "shape": (learning, put("v0", new(1))),
    "rank": (learning, put("decay", new(N, M))),
    "strides": (learning, put("v0", nn.Parameter(span(0.2, 0.7, 2 * M).double()[::2]))),
    "tau": (timed, put("tau", new(M))),
    "data of a tau": (timed, lambda layer: layer.tau.data.mul_(1.5)),
    "tau frozen": (timed, lambda layer: layer.tau.requires_grad_(False)),
    "threshold frozen": (timed, lambda layer: layer.v0.requires_grad_(False)),
    "dt": (timed, put("dt", 0.25)),
    "expanded": (stored, put("v0", torch.tensor(0.2, dtype=torch.float64).expand(M))),
}

# --- from call to call ------------------------------------------------------------------------------------------------


class Renames(st.LIF):
    """A layer that names other parameters from call to call."""

    chosen: str

    def step_params(self) -> dict[str, Any]:
        return {"decay": 0.8, self.chosen: 0.4}


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


def sub(kind: type[st.LIF]) -> st.StepLayer:
    return kind(decay=0.8, v0=0.5, learnable=True).double()


_gain = 1.0


def gain(_: Any, k: int) -> None:
    global _gain
    _gain = 1.0 + 0.1 * k


def higher(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of a step, computed with a number that changes from call to call."""
    return params | {"threshold": _gain * params["threshold"]}


def reading(name: str) -> st.StepLayer:
    """Return a layer that was given a map, or a whole step, of its own."""
    layer = floats()
    own: dict[str, Any] = {
        "param_map": lambda stored: higher(st.LIF.param_map(stored)),
        "whole_step": lambda: (layer.step, higher(layer.step_params())),
    }
    object.__setattr__(layer, name, own[name])
    return layer


def plain(state: F.IFState, x: Tensor, *, threshold: Any) -> Any:
    return F.if_step(state, _gain * x, threshold=threshold)


READERS: dict[str, Any] = {
    "plain": plain,
    # says that it is of this library
    "wrapped": wraps(F.if_step)(types.FunctionType(plain.__code__, globals())),
    "enable_grad": torch.enable_grad()(plain),
    "disable": torch.compiler.disable(plain),
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


def of_length(steps: int, k: int) -> Tensor:
    return draw(k, N, steps, M)


def in_turns(form: Callable[[Tensor], Tensor], seed: int = 0) -> Callable[[int], Tensor]:
    return lambda k: (form if k // 2 % 2 else torch.clone)(images(k + seed))


def once(change: Change, call: int = CALLS) -> Callable[[Any, int], Any]:
    return lambda layer, k: change(layer) if k == call else None


def rests(name: str) -> Change:
    return lambda layer: object.__setattr__(layer, name, types.MethodType(third, layer))


def freeze_in_turns(layer: Any, k: int) -> None:
    layer.decay.requires_grad_(k % 3 == 0)
    layer.v0.requires_grad_(k % 4 < 2)


TYPES = [torch.float64] * 3 + [torch.float32] * 3 + [torch.float64] * 3 + [torch.bfloat16, torch.float16] * 2
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
    options: dict[str, Any] = {}  # noqa: RUF012


HISTORIES: dict[str, History] = {
    **{name: History(make, once(change)) for name, (make, change) in CHANGES.items()},
    "types": History(learning, lambda layer, k: layer.to(TYPES[k]), lambda k: draw(k, dtype=TYPES[k]), calls=13),
    "names of parameters": History(Renames, lambda layer, k: put("chosen", NAMES[k])(layer)),
    "which gradients": History(learning, freeze_in_turns, wanted=lambda k: k % 2 == 0, calls=16),
    "a gradient, later": History(
        lambda: learning().requires_grad_(False), wanted=lambda k: k // CALLS % 2 == 1, calls=4 * CALLS
    ),
    "sizes": History(learning, x=lambda k: draw(k, *LENGTHS[k], M), calls=13),
    "many samples": History(st.IF, x=lambda k: draw(k, 4096, 5, 2), wanted=lambda k: False, calls=3),
    "many neurons": History(st.IF, x=lambda k: draw(k, 2, 5, 300), wanted=lambda k: False, calls=3),
    "tracked activity": History(lambda: st.BioLIF(0.5, 0.1, track_act=True)),
    **{
        f"refractory {kind.__name__}, {period}": History(
            lambda kind=kind, period=period: kind(  # type: ignore[misc]
                refractory=torch.arange(M).double() if period == "each" else 2.0, learnable="tau"
            ).double(),
            x=lambda k: 4.0 * draw(k, N, 4 * T, M),
            calls=3,
        )
        for kind in (st.LIF, st.CubaLIF, st.AdEx)
        for period in ("one", "each")
    },
    "own rest": History(lambda: sub(Rests)),
    "own start": History(lambda: sub(Starts)),
    "own parameters": History(lambda: sub(Halves), lambda layer, k: put("share", 0.5 + 0.05 * k)(layer)),
    "own forward": History(lambda: sub(Scales), lambda layer, k: put("share", 0.5 + 0.05 * k)(layer)),
    "chunks": History(learning, options={"time_chunk": 2}),
    "chunks, cut": History(learning, options={"time_chunk": 2, "truncate": True}),
    "a graph carried on": History(learning, options={"carry_graph": True}),
    **{
        f"{name} of one layer from call {call}": History(learning, once(rests(name), call))
        for name in ("rest_state", "initial_state")
        for call in (0, CALLS)
    },
    **{
        f"global, {name}": History(partial(st.StepLayer, step, F.IFState, threshold=0.5), gain)
        for name, step in READERS.items()
    },
    **{f"global, {name}": History(partial(reading, name), gain) for name in ("param_map", "whole_step")},
    **{
        f"{steps} steps, learns {learns}": History(partial(stored, learns), x=partial(of_length, steps), calls=3)
        for steps in (2, 15, 16, 17, 33)
        for learns in ("decay", "v0", ())
    },
    **{f"input, {name}": History(of_images, x=in_turns(form)) for name, form in LAYOUTS.items()},
    **{
        f"cotangent, {name}": History(of_images, x=images, pull=in_turns(form, 99))
        for name, form in (LAYOUTS | UNWRITTEN).items()
    },
}


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["fold", "auto"])
@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.filterwarnings("ignore:scan.*ran on the Python loop")
def test_history(name: str, mode: str) -> None:
    make, change, x, wanted, pull, calls, options = HISTORIES[name]
    model = over_time(make(), *x(0).shape[2:], **{"mode": mode} | options)
    for k in range(calls):
        change(held(model), k)
        folds(model, x(k).detach().requires_grad_(wanted(k)), pull(k))


# --- what no row can say ----------------------------------------------------------------------------------------------


def test_mixed_types_still_raise() -> None:
    model = over_time(learning())
    folds(model, draw(0))
    held(model).v0.data = held(model).v0.data.float()
    with pytest.raises(TypeError):
        model(draw(9))


@pytest.mark.parametrize("wanted", [(1.0, None), (None, 1.0), (1.0, 1.0), (None, None)])
def test_gradient_of_either_input(wanted: tuple[float | None, float | None]) -> None:
    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        xe, xi = [x.detach() if factor is None else x * factor for factor in wanted]
        return layer(xe, 0.3 * xi, init)

    model = over_time(st.BioLIF(0.5, span(0.1, 0.3, M), learnable=True).double(), use=use)
    for k in range(CALLS):
        folds(model, draw(k).requires_grad_())


@pytest.mark.parametrize("which", ["input", "parameter"])
def test_what_a_gradient_needs_may_not_be_overwritten(which: str) -> None:
    kept: dict[str, Tensor] = {}

    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        kept.update(input=x * 1.0, parameter=layer.v0)
        return layer(kept["input"], init)

    model = over_time(learning(), use=use)
    out, *_ = [model(draw(k).requires_grad_()) for k in range(3)][::-1]
    with torch.no_grad():
        kept[which].add_(1.0)
    with pytest.raises(RuntimeError, match=r"modified (by an )?inplace"):
        out.sum().backward()


def test_nothing_stays_alive_through_the_layer() -> None:
    model, alive = over_time(learning()), []
    gc.collect()
    for k in range(3):
        params = {name: parameter * 1.0 for name, parameter in model.named_parameters()}
        y = draw(k).requires_grad_() * 1.0
        out = torch.func.functional_call(model, params, (y,))
        out.sum().backward()
        alive += [weakref.ref(each) for each in (y, out, *params.values())]
        del out, y, params
    gc.collect()
    assert not any(each() is not None for each in alive)
    assert held(model).s.grad_fn is None


def test_a_copy_in_half_precision_is_the_layer_in_half_precision() -> None:
    model = over_time(st.LIF(span(2.0, 5.0, M), learnable=True))
    for k in range(2):
        model(draw(k, dtype=torch.float32))
    layer, x = held(model.half()), 3.0 * draw(3, dtype=torch.float16)
    out = model(x)
    assert torch.equal(out, over_time(copy.deepcopy(layer))(x))
