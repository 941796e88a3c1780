"""A folded layer that is called again, under what torch offers: autograd, hooks, copies."""

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.func import functional_call, vmap

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close
from tests.fold_nets import span, states
from tests.folded_layer import CALLS, M, N, T, Took, agrees, draw, gradients, held, learning, over_time, repeat, results

MODES: tuple[Mode, ...] = ("fold", "step")

# --- ways to the same gradients, each of x and of all parameters ------------------------------------------------------


def leaves(model: st.SpikingNet, x: Tensor) -> list[Tensor]:
    return [x, *model.parameters()]


def pulled(model: st.SpikingNet, out: Tensor, x: Tensor, pull: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(out, leaves(model, x), pull))


def backward_twice(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Tensor]:
    out = model(x)
    torch.autograd.grad(out, leaves(model, x), draw(70), retain_graph=True)
    found = pulled(model, out, x, pull)
    with pytest.raises(RuntimeError, match="second time"):
        out.sum().backward()
    return found


def added_up(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Any]:
    sum([(model(x) * share * pull).sum() for share in (0.2, 0.3, 0.5)], torch.zeros(())).backward()
    return [leaf.grad for leaf in leaves(model, x)]


def many_at_once(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Tensor]:
    out, other = model(x), draw(70)
    each = partial(torch.autograd.grad, out, leaves(model, x), retain_graph=True)
    many = vmap(lambda pull: each(grad_outputs=pull))(torch.stack([other, other + pull]))
    return [found[1] - found[0] for found in many]


def overwritten_output(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Tensor]:
    return pulled(model, model(x).mul_(2.0), x, 0.5 * pull)


def hooks_on_saved_tensors(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Tensor]:
    """What is saved comes back laid out in another way."""
    packed = []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tensor.shape)
        return tensor.detach().transpose(0, -1).contiguous() if tensor.ndim else tensor.detach().clone()

    with saved_tensors_hooks(pack, lambda tensor: tensor.transpose(0, -1) if tensor.ndim else tensor):
        out = model(x)
    assert packed
    return pulled(model, out, x, pull)


def saved_on_the_cpu(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Tensor]:
    with save_on_cpu():
        out = model(x)
    return pulled(model, out, x, pull)


def hooks_on_the_layer(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Tensor]:
    seen: list[torch.Size] = []
    layer = held(model)
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape)),
        layer.register_forward_hook(lambda _, given, out: 2.0 * out),
        layer.register_full_backward_hook(lambda _, into, out: (3.0 * into[0], *into[1:])),
    ]
    found = pulled(model, model(x), x, pull)
    for hook in hooks:
        hook.remove()
    assert seen == [(N * T, M)]
    return [found[0] / 6.0, *[each / 2.0 for each in found[1:]]]


def subclassed(model: st.SpikingNet, x: Tensor, pull: Tensor) -> list[Tensor]:
    class Mine(Tensor):
        pass

    out = model(x.as_subclass(Mine))
    assert type(out) is Mine
    return [each.as_subclass(Tensor) for each in pulled(model, out, x, pull)]


# the way, and how many scans it repeats that autograd knows of
WAYS: dict[str, tuple[Callable[[st.SpikingNet, Tensor, Tensor], list[Tensor]], int]] = {
    "backward twice": (backward_twice, 1),
    "added up": (added_up, 3),
    "many cotangents": (many_at_once, 1),
    "overwritten output": (overwritten_output, 1),
    "hooks on saved tensors": (hooks_on_saved_tensors, 1),
    "saved on the CPU": (saved_on_the_cpu, 1),
    "hooks on the layer": (hooks_on_the_layer, 1),
    "subclass of Tensor": (subclassed, 0),
}


# weights through which the output of a layer comes back to it; such a scan is no repetition
RECURRENT: dict[str, Any] = {"dense": nn.Linear(M, M, bias=False), "channels": span(-0.8, 0.8, M)}


def recurrent(kind: str) -> st.StepLayer:
    return st.LIF(decay=0.8, v0=0.4, learnable="v0", recurrent=copy.deepcopy(RECURRENT[kind])).double()


KNOWN = [("alone", 0), ("alone", 1), ("alone", 4), ("dense", 1), ("channels", 1)]
# torch maps no gradient of the dense loop over cotangents
CASES = [(name, *known) for name in WAYS for known in KNOWN if (name, *known) != ("many cotangents", "dense", 1)]


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "kind", "before"), CASES)
def test_every_way_to_the_gradient(name: str, kind: str, before: int, took: Took) -> None:
    way, repeated = WAYS[name]
    model = over_time(learning() if kind == "alone" else recurrent(kind))
    for k in range(before):
        agrees(model, draw(k + 40).requires_grad_(), took)
    for k in range(3):
        x, pull = draw(k).requires_grad_(), draw(k + 9)
        want = gradients(results(model, x, "step", pull))
        model.zero_grad()
        trains = took.trains
        assert_close(way(model, x, pull), want, f"call {k}")
        assert before + k == 0 or took.trains == trains + repeated * (kind == "alone")
    assert agrees(model, draw(60).requires_grad_(), took) == (kind == "alone")


@pytest.mark.parametrize("learns", [False, True])
def test_penalty_on_a_gradient(learns: bool, took: Took) -> None:
    """The derivative of a gradient reaches weights in front of a layer through the layer."""
    torch.manual_seed(0)
    net: Any = nn.Module()
    net.l, net.sl = nn.Linear(M, M), st.LIF(v0=0.3, learnable=learns)
    net.forward = lambda x, init: net.sl(net.l(x), init)
    model = st.SpikingNet(net.double(), M, "fold")
    repeat(model, took)
    x = draw(1).requires_grad_()
    found = []
    for model.mode in MODES:
        out = model(x)
        (first,) = torch.autograd.grad((out * draw(2)).sum(), x, create_graph=True)
        found.append([first, *torch.autograd.grad(out.sum() + first.square().sum(), list(model.parameters()))])
    assert_close(found[0], found[1])


@pytest.mark.parametrize("which", ["input", "parameter"])
def test_what_a_gradient_needs_may_not_be_overwritten(which: str, took: Took) -> None:
    kept: dict[str, Tensor] = {}

    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        kept.update(input=x * 1.0, parameter=layer.v0)
        out: Tensor = layer(kept["input"], init)
        return out

    model = over_time(learning(), use=use)
    repeat(model, took)
    out = model(draw(1).requires_grad_())
    with torch.no_grad():
        kept[which].add_(1.0)
    with pytest.raises(RuntimeError, match=r"modified (by an )?inplace"):
        out.sum().backward()
    assert took.trains == CALLS + 1


# --- types ------------------------------------------------------------------------------------------------------------


def assert_roughly(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    assert {name: each.dtype for name, each in got.items()} == {name: each.dtype for name, each in want.items()}
    for name in want:
        assert torch.allclose(got[name].float(), want[name].float(), rtol=tolerance, atol=tolerance), name


def test_autocast(took: Took) -> None:
    net: Any = nn.Module()
    net.l, net.sl = nn.Linear(M, M), st.LIF(decay=0.8, v0=span(0.1, 0.3, M), learnable="v0")
    net.forward = lambda x, init: net.sl(net.l(x), init)
    model = st.SpikingNet(net, M, "fold")
    for k in range(2 * CALLS):
        half = k >= CALLS
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            x = draw(k, dtype=torch.float32).requires_grad_()
            got, want = (results(model, x, mode, draw(9).to(torch.bfloat16 if half else x)) for mode in MODES)
        assert got["out"].dtype == (torch.bfloat16 if half else x.dtype)
        assert torch.equal(got["out"], want["out"])
        assert_roughly(got, want, 0.05)
    assert took.trains >= 2 * (CALLS - 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("learns", [False, True])
def test_half(learns: bool, dtype: torch.dtype, took: Took) -> None:
    model = over_time(st.LIF(decay=0.8, v0=0.4, learnable=learns).to(dtype))
    for k in range(CALLS):
        x, pull = draw(k, dtype=dtype).requires_grad_(), draw(k + 9, dtype=dtype)
        got, want = (results(model, x, mode, pull) for mode in MODES)
        assert_roughly(got, want, 0.02)
    assert took.trains >= (0 if learns else CALLS - 2)


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("init", [False, torch.tensor([True, False, True])], ids=["go on", "some start anew"])
def test_stream(init: bool | Tensor, layer: st.StepLayer, took: Took) -> None:
    model = over_time(layer.double())
    repeat(model, took)
    found = []
    for model.mode in MODES:
        found.append([model(draw(1)), model(draw(2), init), states(model)])
    assert_close(found[0], found[1])


def test_what_the_layer_holds_is_its_own(took: Took) -> None:
    model = over_time(st.LI(decay=nn.Parameter(span(0.2, 0.7, M).double())))
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


@pytest.fixture
def collected() -> Iterator[None]:
    """Let nothing but the last reference free memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected")
def test_nothing_stays_alive_through_the_layer(model: st.SpikingNet, took: Took) -> None:
    params = {name: parameter * 1.0 for name, parameter in model.named_parameters()}
    y = draw(1).requires_grad_() * 1.0
    out = functional_call(model, params, (y,))
    assert out.grad_fn is not None
    node: Any = out.grad_fn.next_functions[0][0]
    node.metadata["mark"] = mark = nn.Identity()  # a node itself takes no weak reference
    alive = [weakref.ref(each) for each in (mark, y, out, *params.values())]
    assert "FusedScan" in node.name()
    out.sum().backward()
    del out, y, node, mark, params
    assert took.trains == 1
    assert not any(each() is not None for each in alive)
    assert held(model).s.grad_fn is None


# --- what is kept for the next call -----------------------------------------------------------------------------------


def test_parameters_of_one_call_are_let_go() -> None:
    model = over_time(st.StepLayer(F.lif_step, F.LIFState, decay=span(0.2, 0.4, M), learnable=True).double())
    decay = 2.0 * held(model).decay
    seen = weakref.ref(decay)
    for _ in range(2):
        functional_call(model, {"net.layer.decay": decay}, draw(1))
    del decay
    gc.collect()
    assert seen() is None


def test_parameters_that_have_become_half_are_computed_with_in_full_precision() -> None:
    model = over_time(st.LIF(span(2.0, 5.0, M), learnable=True))
    for k in range(2):
        model(draw(k, dtype=torch.float32))
    layer, x = held(model.half()), 3.0 * draw(3, dtype=torch.float16)
    out = model(x)
    assert torch.equal(out, over_time(copy.deepcopy(layer))(x))
