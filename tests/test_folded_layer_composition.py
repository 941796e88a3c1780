"""A folded layer that is called again, under what torch offers: autograd, hooks, checkpoints, transforms, copies."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold_nets import span
from tests.folded_layer import CALLS, M, N, T, Took, agrees, draw, held, learning, over_time, repeat, results

# --- autograd ---------------------------------------------------------------------------------------------------------


def test_backward_twice(model: st.SpikingNet, took: Took) -> None:
    x = draw(1).requires_grad_()
    out = model(x)
    leaves = (x, *model.parameters())
    for k in range(2):
        pull = draw(70 + k)
        got = torch.autograd.grad(out, leaves, pull, retain_graph=True)
        assert_close(list(got), list(results(model, x, "step", pull).values())[-3:])
    out.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        out.sum().backward()
    assert took.trains == 1


def test_gradients_add_up(model: st.SpikingNet, took: Took) -> None:
    found = []
    for mode in ("fold", "step"):
        model.zero_grad()
        model.mode = mode
        sum([(model(draw(k)) * draw(k + 9)).sum() for k in range(3)], torch.zeros(())).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert_close(found[0], found[1])
    assert took.trains == 3


@pytest.mark.parametrize("learns", [False, True])
def test_penalty_on_a_gradient(learns: bool, took: Took) -> None:
    """The derivative of a gradient reaches weights in front of a layer through the layer."""
    net: Any = nn.Module()
    net.l, net.sl = nn.Linear(M, M), st.LIF(learnable=learns)
    net.forward = lambda x, init: net.sl(net.l(x), init)
    model = st.SpikingNet(net.double(), M, "fold")
    repeat(model, took)
    x = draw(1).requires_grad_()
    found = []
    for mode in ("fold", "step"):
        model.mode = mode
        out = model(x)
        (grad,) = torch.autograd.grad((out * draw(2)).sum(), x, create_graph=True)
        found.append([grad, *torch.autograd.grad(out.sum() + grad.square().sum(), list(model.parameters()))])
    assert_close(found[0], found[1])


def test_many_cotangents_at_once(model: st.SpikingNet, took: Took) -> None:
    x, pulls = draw(1).requires_grad_(), draw(2, 3, N, T, M)
    out, leaves = model(x), (x, *model.parameters())
    many = torch.func.vmap(lambda pull: torch.autograd.grad(out, leaves, pull, retain_graph=True))(pulls)
    each = [list(results(model, x, "step", pull).values())[-3:] for pull in pulls]
    assert_close(list(many), [torch.stack(grads) for grads in zip(*each, strict=True)])
    assert took.trains == 1


def test_input_that_is_overwritten(took: Took) -> None:
    kept: list[Tensor] = []

    def use(layer: Any, x: Tensor, init: Any) -> Tensor:
        kept[:] = [x * 1.0]
        out: Tensor = layer(kept[0], init)
        return out

    model = over_time(learning(), use=use)
    repeat(model, took)
    out = model(draw(1).requires_grad_())
    kept[0].add_(1.0)
    with pytest.raises(RuntimeError, match=r"modified (by an )?inplace"):
        out.sum().backward()


def test_parameter_that_is_overwritten(model: st.SpikingNet, took: Took) -> None:
    out = model(draw(1))
    with torch.no_grad():
        held(model).v0.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    assert took.trains == 1


def test_output_may_be_overwritten(model: st.SpikingNet) -> None:
    x = draw(1).requires_grad_()
    out = model(x).mul_(2.0)
    (grad,) = torch.autograd.grad(out, x, draw(2))
    assert_close(grad, results(model, x, "step", 2 * draw(2))["d x"])


# --- hooks and checkpoints --------------------------------------------------------------------------------------------


class Packed:
    """Hooks that count what is saved, and hand it back laid out in another way."""

    def __init__(self) -> None:
        self.count = 0

    def pack(self, tensor: Tensor) -> Tensor:
        self.count += 1
        return tensor.detach().transpose(0, -1).contiguous() if tensor.ndim else tensor.detach().clone()

    def unpack(self, tensor: Tensor) -> Tensor:
        return tensor.transpose(0, -1) if tensor.ndim else tensor


@pytest.mark.parametrize("first", [False, True])
def test_hooks_on_saved_tensors(first: bool, took: Took) -> None:
    model = over_time(learning())
    for k in range(2 * CALLS):
        packed = Packed()
        x, pull = draw(k).requires_grad_(), draw(k + 9)
        hooks = torch.autograd.graph.saved_tensors_hooks(packed.pack, packed.unpack)
        hooked = first == (k < CALLS)
        with hooks if hooked else nullcontext():
            out = model(x)
        assert (packed.count > 0) == hooked
        grads = torch.autograd.grad(out, (x, *model.parameters()), pull)
        assert_close(list(grads), list(results(model, x, "step", pull).values())[-3:], f"call {k}")
    assert took.trains >= 3


def test_saved_on_the_cpu(model: st.SpikingNet, took: Took) -> None:
    for k in range(4):
        with torch.autograd.graph.save_on_cpu():
            agrees(model, draw(k).requires_grad_(), took)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("before", [0, 1, 2, 4])
def test_checkpoint(before: int, reentrant: bool, took: Took) -> None:
    model = over_time(learning())
    for k in range(before):
        agrees(model, draw(k + 40).requires_grad_(), took)
    for k in range(CALLS):
        x, pull = draw(k).requires_grad_(), draw(k + 9)
        model.zero_grad()
        checkpoint(model, x, use_reentrant=reentrant).backward(pull)
        want = results(model, x, "step", pull)
        got = [x.grad, *[parameter.grad for parameter in model.parameters()]]
        assert_close(got, [want["d x"], *[want[f"d {name}"] for name, _ in model.named_parameters()]])


def test_hooks_on_the_layer(model: st.SpikingNet, took: Took) -> None:
    seen: list[torch.Size] = []
    layer: nn.Module = held(model)
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))

    def double(_: nn.Module, args: Any, out: Tensor) -> Tensor:
        return 2 * out

    def triple(_: nn.Module, into: Any, out: Any) -> Any:
        return 3 * into[0], *into[1:]

    layer.register_forward_hook(double)
    layer.register_full_backward_hook(triple)
    x = draw(1).requires_grad_()
    out = model(x)
    (grad,) = torch.autograd.grad(out, x, draw(2))
    assert took.trains == 1
    assert seen == [(N * T, M)]
    layer._forward_hooks.clear()
    layer._forward_pre_hooks.clear()
    layer._backward_hooks.clear()
    want = results(model, x, "step", 2 * draw(2))
    assert_close([out.detach(), grad], [2 * want["out"], 3 * want["d x"]])


# --- types ------------------------------------------------------------------------------------------------------------


def test_autocast(took: Took) -> None:
    net: Any = nn.Module()
    net.l, net.sl = nn.Linear(M, M), st.LIF(decay=0.8, v0=span(0.1, 0.3, M), learnable="v0")
    net.forward = lambda x, init: net.sl(net.l(x), init)
    model = st.SpikingNet(net, M, "fold")
    for k in range(2 * CALLS):
        with torch.autocast("cpu", torch.bfloat16, enabled=k >= CALLS):
            x = draw(k, dtype=torch.float32).requires_grad_()
            out = {mode: results(model, x, mode, draw(9).to(torch.bfloat16 if k >= CALLS else x)) for mode in MODES}
        assert out["fold"]["out"].dtype == out["step"]["out"].dtype == (torch.bfloat16 if k >= CALLS else x.dtype)
        assert torch.equal(out["fold"]["out"], out["step"]["out"])
        for name, want in out["step"].items():
            assert torch.allclose(out["fold"][name].float(), want.float(), rtol=0.05, atol=0.05), name
    assert took.trains >= 2 * (CALLS - 2)


MODES = ("fold", "step")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("learns", [False, True])
def test_half(learns: bool, dtype: torch.dtype, took: Took) -> None:
    model = over_time(st.LIF(decay=0.8, v0=0.4, learnable=learns).to(dtype))
    for k in range(CALLS):
        x, pull = draw(k, dtype=dtype).requires_grad_(), draw(k + 9, dtype=dtype)
        got, want = (results(model, x, mode, pull) for mode in MODES)
        assert {name: each.dtype for name, each in got.items()} == {name: each.dtype for name, each in want.items()}
        for name in want:
            assert torch.allclose(got[name], want[name], rtol=0.02, atol=0.02), name
    assert took.trains >= (0 if learns else CALLS - 2)


class Mine(Tensor):
    pass


def test_subclass_of_tensors(model: st.SpikingNet, took: Took) -> None:
    for k in range(CALLS):
        out = model(draw(k).as_subclass(Mine))
        assert type(out) is Mine
        assert_close(out.as_subclass(Tensor).detach(), results(model, draw(k), "step")["out"])
    assert took.scans == 0
