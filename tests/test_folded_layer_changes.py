"""A folded layer that is called again gives what it gives step by step, whatever has changed since the last call."""

import copy
import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.every_layer import LAYERS
from tests.fold_nets import span, states
from tests.folded_layer import CALLS, M, N, T, Took, agrees, draw, held, learning, over_time, repeat, results

# --- layers and parameters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_layer(layer: st.StepLayer, dtype: torch.dtype, took: Took) -> None:
    model = over_time(layer.to(dtype))
    repeat(model, took, lambda k: draw(k, dtype=dtype).requires_grad_())
    assert took.trains == took.scans >= CALLS - 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_layer_without_gradients(layer: st.StepLayer, dtype: torch.dtype, took: Took) -> None:
    repeat(over_time(layer.to(dtype)), took, lambda k: draw(k, dtype=dtype))
    assert took.trains == 0


IMAGES = (4, 2, 3)
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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LEARN)
def test_parameters(name: str, size: str, took: Took) -> None:
    layer: st.StepLayer = LEARN[name](SIZES[size](2.0, 7.0), SIZES[size](0.3, 0.6))
    model = over_time(layer.double(), *IMAGES)

    def moved(k: int) -> Tensor:
        for parameter in model.parameters():
            parameter.data = parameter.data * 0.97
        return draw(k, N, T, *IMAGES).requires_grad_()

    if size in ("per channel", "one axis"):  # such a parameter is copied for the kernel, which may be or not
        for k in range(CALLS):
            agrees(model, moved(k), took)
    else:
        repeat(model, took, moved)


def test_two_layers_of_one_kind_are_told_apart(took: Took) -> None:
    net: Any = nn.Module()
    net.a, net.b = st.LIF(3.0, 0.3), st.LIF(9.0, 0.6, learnable=True).double()
    net.forward = lambda x, init: net.b(net.a(x, init) + x, init)
    repeat(st.SpikingNet(net, M, "fold"), took)


# --- what changes between two calls -----------------------------------------------------------------------------------


def floats() -> st.StepLayer:
    return st.LIF(decay=0.8, v0=0.5)


def stored() -> st.StepLayer:
    return st.LIF(decay=torch.tensor(0.8), v0=span(0.3, 0.6, M)).double()


def numpy_float() -> st.StepLayer:
    layer = floats()
    layer.v0 = np.float64(0.5)
    return layer


def swap(layer: Any) -> None:
    """Make a tensor of the float, and a float of the tensor."""
    del layer.decay
    layer.decay, layer.v0 = 0.3, torch.tensor(0.7, dtype=torch.float64)


def half_stored() -> st.StepLayer:
    return st.LIF(decay=torch.tensor(0.8), v0=0.5).double()


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


def test_another_type(took: Took) -> None:
    model = over_time(learning())
    for k, dtype in enumerate([torch.float64] * 4 + [torch.float32] * 4 + [torch.float64] * 4):
        model.to(dtype)
        agrees(model, draw(k, dtype=dtype).requires_grad_(), took)
    assert took.trains >= 6


def test_mixed_types_still_raise(took: Took) -> None:
    model = over_time(learning())
    repeat(model, took)
    held(model).v0.data = held(model).v0.data.float()
    with pytest.raises(TypeError):
        model(draw(9))


class Renames(st.LIF):
    """A layer that names other parameters from call to call."""

    chosen = "gain"

    def step_params(self) -> dict[str, Any]:
        return {"decay": 0.8, self.chosen: 0.4}


def test_other_parameters_of_the_same_number(took: Took) -> None:
    model = over_time(Renames())
    for k, name in enumerate(["gain"] * 4 + ["threshold"] * 4 + ["gain"] * 2):
        held(model).chosen = name
        agrees(model, draw(k).requires_grad_(), took)


# --- inputs and outputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True), (False, False)])
def test_gradient_of_either_input(wanted: tuple[bool, bool], took: Took) -> None:
    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        xe, xi = [part * 1.0 if want else part.detach() for part, want in zip((x, 0.3 * x), wanted, strict=True)]
        out: Tensor = layer(xe, xi, init)
        return out

    repeat(over_time(st.BioLIF(0.5, span(0.1, 0.3, M), learnable=True).double(), use=use), took)


def test_wanted_gradients_alternate(took: Took) -> None:
    model = over_time(learning())
    for k in range(16):
        held(model).decay.requires_grad_(k % 3 == 0)
        held(model).v0.requires_grad_(k % 4 < 2)
        agrees(model, draw(k).requires_grad_(k % 2 == 0), took)
    assert took.trains >= 4


def test_gradient_that_is_wanted_later(took: Took) -> None:
    model = over_time(learning().requires_grad_(False))
    for k in range(4 * CALLS):
        agrees(model, draw(k).requires_grad_(k // CALLS % 2 == 1), took)
    assert took.trains >= 1
    assert took.scans > took.trains


class _Nothing(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> None:
        return None


def test_outputs_without_a_cotangent(took: Took) -> None:
    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        spikes: Tensor = _Nothing.apply(layer(x, init))  # type: ignore[no-untyped-call]
        return spikes + x

    repeat(over_time(learning(), use=use), took)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "one image for all steps": lambda x: x[:, :1].expand_as(x),
    "one image for all": lambda x: x[:1, :1].expand_as(x),
    "neurons transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "channels last": lambda x: x.movedim(2, -1).contiguous().movedim(-1, 2),
    "every second": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "neurons expanded": lambda x: x[..., :1].expand_as(x),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_of_inputs(name: str, took: Took) -> None:
    model = over_time(st.LIF(4.0, span(0.3, 0.6, *IMAGES), learnable="v0").double(), *IMAGES)
    layouts = [LAYOUTS["contiguous"]] * 4 + [LAYOUTS[name]] * 4 + [LAYOUTS["contiguous"], LAYOUTS[name]]
    for k, layout in enumerate(layouts):
        agrees(model, layout(draw(k, N, T, *IMAGES)).detach().requires_grad_(), took)
    assert took.trains >= 3


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_of_cotangents(name: str, took: Took) -> None:
    model = over_time(st.LIF(4.0, span(0.3, 0.6, *IMAGES), learnable="v0").double(), *IMAGES)
    for k in range(2 * CALLS):
        layout = LAYOUTS[name if k % 2 else "contiguous"]
        agrees(model, draw(k, N, T, *IMAGES).requires_grad_(), took, layout(draw(k + 99, N, T, *IMAGES)))
    assert took.trains >= 2 * CALLS - 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(value: float, took: Took) -> None:
    model = over_time(learning(), use=lambda layer, x, init: layer(x / x.abs().clamp(max=0.5), init))
    repeat(model, took, lambda k: draw(k) + 0.1)
    x = draw(9) + 0.1
    x[1, 2, 3] = 0.0  # for the layer alone, which divides by it
    with pytest.raises(ValueError, match="LIF: x"):
        model(x)
    x[1, 2, 3] = value
    with pytest.raises(ValueError, match="SpikingNet: x"):
        model(x)


def test_sizes_change_and_come_back(took: Took) -> None:
    model = over_time(learning())
    sizes = [(3, 5), (3, 5), (3, 5), (5, 3), (1, 15), (5, 3), (15, 2), (3, 5), (0, 5), (5, 3), (3, 1), (3, 5), (1, 15)]
    taken = [agrees(model, draw(k, *size, M).requires_grad_(), took) for k, size in enumerate(sizes)]
    assert taken[2]
    assert taken[7]
    assert taken[11]


def test_train_and_evaluation_alternate(took: Took) -> None:
    model = over_time(learning())
    for k in range(4):
        assert agrees(model, draw(k).requires_grad_(), took) or k < 2
        for without in (torch.no_grad(), torch.inference_mode(), nullcontext()):
            with without:
                agrees(model, draw(k + 20), took)
    assert took.scans - took.trains >= 4


def test_tracked_activity(took: Took) -> None:
    model = over_time(st.BioLIF(0.5, 0.1, track_act=True))
    assert not any([agrees(model, draw(k).requires_grad_(), took) for k in range(CALLS)])
    assert held(model).act.sum() > 0


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_goes_on_as_one_long_call(name: str, took: Took) -> None:
    model = over_time(copy.deepcopy(LAYERS[name]).double())
    repeat(model, took)
    long = draw(40, N, 2 * T, M)
    parts = torch.cat([model(long[:, :T], True), model(long[:, T:], False)], 1)
    after = states(model)
    assert_close(parts, results(model, long, "step")["out"])
    assert_close(after, states(model))


def test_samples_that_start_anew(took: Took) -> None:
    model = over_time(learning())
    repeat(model, took)
    found = []
    for mode in ("fold", "step"):
        model(draw(1))
        model.mode = mode
        found.append([model(draw(2), torch.tensor([True, False, True])), states(model)])
        model.mode = "fold"
    assert_close(found[0], found[1])


@pytest.mark.parametrize(
    "options", [{"time_chunk": 2}, {"time_chunk": 2, "truncate": True}, {"carry_graph": True}], ids=str
)
def test_options_of_the_network(options: dict[str, Any], took: Took) -> None:
    model = over_time(learning(), **options)
    taken = [agrees(model, draw(k).requires_grad_(), took) for k in range(CALLS)]
    assert not any(taken)


def test_gradient_through_a_carried_state(took: Took) -> None:
    model = over_time(learning(), carry_graph=True)
    for k in range(4):
        x = draw(k).requires_grad_()
        model(x)
        (grad,) = torch.autograd.grad(model(draw(k + 9), False).sum(), x)
        assert grad.abs().sum() > 0


def test_what_the_layer_holds_is_its_own(took: Took) -> None:
    model = over_time(st.LI(decay=new(M)))
    repeat(model, took)
    out = model(draw(7).requires_grad_())
    want = out.detach().clone()
    for own in (held(model).v, held(model).s):
        assert own.grad_fn is None
        assert not own.requires_grad
        assert own.is_contiguous()
        assert own.untyped_storage().nbytes() == own.numel() * own.element_size()
        assert torch.equal(own, want[:, -1])
        own.fill_(7.0)
    assert torch.equal(out, want)
    out.detach().zero_()
    assert torch.equal(held(model).v, torch.full((N, M), 7.0).double())


def test_parameters_of_the_last_call_are_not_held(took: Took) -> None:
    model = over_time(learning())
    repeat(model, took)

    def parameters() -> dict[str, Tensor]:
        return {name: parameter * 1.0 for name, parameter in model.named_parameters()}

    given = parameters()
    before, held_on = took.scans, [weakref.ref(parameter) for parameter in given.values()]
    torch.func.functional_call(model, given, draw(1))
    assert took.scans > before
    del given
    gc.collect()
    assert not any(parameter() is not None for parameter in held_on)
