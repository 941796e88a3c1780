"""A folded layer that is called again: transforms and copies of it, layers and steps of one's own, its memory."""

import copy
import functools
import gc
import io
import pickle
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fold_nets import span
from tests.folded_layer import CALLS, M, N, T, Took, agrees, draw, held, learning, over_time, repeat, results

# --- transforms, compile, copies --------------------------------------------------------------------------------------


def test_transforms(model: st.SpikingNet, took: Took) -> None:
    pull, x, many = draw(2), draw(1), draw(3, 4, N, T, M)

    def loss(x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, dict(model.named_parameters()), (x,))
        return (out * pull).sum()

    want = results(model, x.requires_grad_(), "step", pull)["d x"]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x = x.detach()
    assert_close(torch.func.grad(loss)(x), want)
    assert_close(
        torch.func.vmap(loss)(many), torch.stack([results(model, x, "step")["out"].mul(pull).sum() for x in many])
    )
    assert_close(torch.func.vmap(torch.func.grad(loss))(many), torch.stack([torch.func.grad(loss)(x) for x in many]))
    assert_close(torch.func.jvp(loss, (x,), (many[0],))[1], (want * many[0]).sum())
    assert took.trains == 0
    agrees(model, draw(5).requires_grad_(), took)


def test_functional_call_with_computed_parameters(model: st.SpikingNet, took: Took) -> None:
    before = {name: parameter.detach().requires_grad_() for name, parameter in model.named_parameters()}
    found = []
    for mode in ("fold", "step"):
        model.mode = mode
        params = {name: 0.9 * each.square() for name, each in before.items()}
        out = torch.func.functional_call(model, params, (draw(1),))
        found.append([out.detach(), *torch.autograd.grad(out, list(before.values()), draw(2))])
    assert_close(found[0], found[1])
    assert took.trains == 1


def test_compile(model: st.SpikingNet, took: Took) -> None:
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    for k in range(2):
        x, pull = draw(k).requires_grad_(), draw(k + 9)
        (grad,) = torch.autograd.grad(compiled(x), x, pull)
        assert_close(grad, results(model, x, "step", pull)["d x"])
    assert took.trains == 0
    assert agrees(model, draw(5).requires_grad_(), took)


def by_pickle(model: st.SpikingNet) -> Any:
    return pickle.loads(pickle.dumps(model))


def by_file(model: st.SpikingNet) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle, by_file])
def test_copies_learn_anew(copied: Callable[[Any], Any], model: st.SpikingNet, took: Took) -> None:
    other = copied(model)
    assert other.state_dict().keys() == model.state_dict().keys() == {"net.layer.decay", "net.layer.v0"}
    with torch.no_grad():
        held(other).v0.mul_(0.5)
    repeat(other, took)
    assert agrees(model, draw(1).requires_grad_(), took)
    model.load_state_dict(other.state_dict())
    assert agrees(model, draw(2).requires_grad_(), took)


def test_two_threads() -> None:
    """Each has a model of its own; the kernels and what is known of them are common to both."""
    wrong: list[Any] = []

    def train(seed: int) -> None:
        try:
            model = over_time(st.LIF(decay=0.5 + 0.1 * seed, v0=span(0.3, 0.6, M), learnable="v0").double())
            for k in range(30):
                x, pull = draw(k + 100 * seed).requires_grad_(), draw(k + 9)
                assert_close(results(model, x, "fold", pull), results(model, x, "step", pull))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=train, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- layers and steps of one's own ------------------------------------------------------------------------------------


class Rests(st.LIF):
    def rest_state(self, x: Tensor) -> F.LIFState:
        return F.LIFState(torch.full_like(x, 0.3))


class Starts(st.LIF):
    def initial_state(self, x: Tensor) -> F.LIFState:
        return F.LIFState(torch.full_like(x, 0.3))


class Halves(st.LIF):
    share = 0.5

    def step_params(self) -> dict[str, Any]:
        params = super().step_params()
        return params | {"threshold": self.share * params["threshold"]}


class Scales(st.LIF):
    share = 0.5

    def forward(self, x: Tensor, init: Any = False) -> Tensor:
        return 2.0 * super().forward(self.share * x, init)


@pytest.mark.parametrize("kind", [Rests, Starts, Halves, Scales])
def test_subclass(kind: Any, took: Took) -> None:
    layer = kind(decay=0.8, v0=0.5, learnable=True).double()
    model = over_time(layer)
    for k in range(2 * CALLS):
        kind.share = 0.5 + 0.05 * k
        agrees(model, draw(k).requires_grad_(), took)
    assert (took.trains > 0) == (kind in (Halves, Scales))


@pytest.mark.parametrize("name", ["rest_state", "initial_state"])
@pytest.mark.parametrize("late", [False, True])
def test_rest_of_one_layer(late: bool, name: str, took: Took) -> None:
    model = over_time(learning())
    if late:
        repeat(model, took)
    method = types.MethodType(lambda self, x: F.LIFState(torch.full_like(x, 0.3)), held(model))
    object.__setattr__(held(model), name, method)
    for k in range(CALLS):
        agrees(model, draw(k).requires_grad_(), took)


_gain = 1.0


def _scaled(state: F.IFState, x: Tensor, *, threshold: Any) -> Any:
    return F.if_step(state, _gain * x, threshold=threshold)


_wrapped = functools.wraps(F.if_step)(_scaled)  # says that it is of this library


def _plain(state: F.IFState, x: Tensor, *, threshold: Any) -> Any:
    return F.if_step(state, _gain * x, threshold=threshold)


@pytest.mark.parametrize(
    "step",
    [
        _plain,
        _wrapped,
        torch.enable_grad()(_plain),
        torch._dynamo.disable(_plain),
        functools.partial(_plain),
        functools.singledispatch(_plain),
    ],
    ids=["plain", "wrapped", "enable_grad", "disable", "partial", "singledispatch"],
)
@pytest.mark.filterwarnings("ignore:scan.*ran on the Python loop")
def test_step_that_reads_a_global(step: Any, took: Took, monkeypatch: pytest.MonkeyPatch) -> None:
    model = over_time(st.StepLayer(step, F.IFState, threshold=0.5))
    for k in range(2 * CALLS):
        monkeypatch.setattr("tests.test_folded_layer_kinds._gain", 1.0 + 0.1 * k)
        agrees(model, draw(k).requires_grad_(), took)


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def collected() -> Iterator[None]:
    """Let nothing but the last reference free memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected")
def test_nothing_stays_alive_through_the_layer(model: st.SpikingNet, took: Took) -> None:
    x = draw(1).requires_grad_()
    y = x * 1.0
    out = model(y)
    assert out.grad_fn is not None
    node: Any = out.grad_fn.next_functions[0][0]
    node.metadata["mark"] = mark = nn.Identity()  # a node itself takes no weak reference
    alive = [weakref.ref(each) for each in (mark, y, out)]
    assert "FusedScan" in node.name()
    out.sum().backward()
    del out, y, node, mark
    assert took.trains == 1
    assert [each() for each in alive] == [None, None, None]
    assert held(model).s.grad_fn is None
