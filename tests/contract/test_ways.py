"""Every network called in every way: outputs, states, gradients, and what comes next, beside the oracle."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch.testing import assert_close
from tests.contract.networks import NETWORKS
from tests.contract.oracle import HIDDEN, QUIETLY, Network, Params, T, cotangent, cut, draw
from tests.contract.ways import WAYS, Way

pytestmark = QUIETLY
# what is no way to call a network, and why
EXCEPT = {
    ("asks", "by mask"): "several bools have no one value",
    ("asks", "by mask, carried"): "several bools have no one value",
    ("asks", "run again, by mask"): "several bools have no one value",
    ("asks", "transformed"): "its forward is handed the init of the call",
    ("looks", "checkpointed"): "it reads the state of a layer before it calls the layer",
    ("looks", "repeated late"): "it reads the state of a layer before it calls the layer",
    ("looks", "run again, late"): "it reads the state of a layer before it calls the layer",
    ("blocks", "checkpointed"): "one checkpoint in another",
    ("blocks", "repeated late"): "one checkpoint in another",
    ("handed", "checkpointed"): "one checkpoint in another",
    ("handed", "repeated late"): "one checkpoint in another",
    ("handed", "by hand"): "its blocks are to be handed init",
    ("handed", "by hand before"): "its blocks are to be handed init",
    ("a step within", "a function"): "run keeps the graph of the inner stream, which a call of the inner network cuts",
    ("a step within", "reentrant"): "the inner network goes on from a state",
    ("a step within", "reentrant, late"): "the inner network goes on from a state",
    ("a step within", "transformed"): "the inner network goes on from a state",
}
EVERY = 6


def cases() -> Iterator[Any]:
    """Yield all of them; make test runs each way with each sixth network, and each of these in one mode."""
    for (row, name), (column, way) in itertools.product(enumerate(NETWORKS), enumerate(WAYS)):
        if (name, way) in EXCEPT:
            continue
        modes = ("auto", "step", "fold") if NETWORKS[name].folds else ("auto", "step")
        turn, left = divmod(row + column, EVERY)
        for place, mode in enumerate(modes):
            long = left or place != (turn + row) % len(modes)
            yield pytest.param(name, way, mode, marks=[pytest.mark.long] if long else [])


def parameters(model: Any) -> Params:
    return dict(model.net.named_parameters())


def slopes(out: Tensor, leaves: list[Tensor]) -> Any:
    """Return the gradients by ``backward``, which checkpoint asks for with use_reentrant=True."""
    for leaf in leaves:
        leaf.grad = None
    out.backward(cotangent(out))
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def assert_as_the_oracle(network: Network, way: Way, mode: Any, model: Any = None) -> None:
    """Assert that a network, a new one unless one is given, does what its oracle does, and goes on like it."""
    model, x = model or network.model(mode=mode, **way.options), draw(1).requires_grad_()
    params, state = parameters(model), network.rest()
    want = network.run(params, state, x, way.cuts or ())
    out, model = way.run(model, x)
    assert_close(out.detach(), want.detach())
    assert_close(cut(model.get_state()), cut(state))
    if way.cuts is not None:
        wanted = slopes(want[:, way.since :], [x, *params.values()])
        assert all(bool(each.any()) for each in wanted), "the oracle has a gradient that is zero"
        assert_close(slopes(out[:, way.since :], [x, *parameters(model).values()]), wanted)
        assert_close(cut(model.get_state()), cut(state))
    state, more = cut(state), draw(2, 3)
    want = network.run(parameters(model), state, more, begins=False)
    out = model(more if model.batch_first else more.transpose(0, 1), init=False).detach()
    assert_close(out if model.batch_first else out.transpose(0, 1), want.detach())
    assert_close(cut(model.get_state()), cut(state))


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "way", "mode"), [*cases()])
def test_is_as_the_oracle(name: str, way: str, mode: str) -> None:
    assert_as_the_oracle(NETWORKS[name], WAYS[way], mode)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
def test_no_samples(mode: Any, chunk: int | None) -> None:
    model, x = NETWORKS["recurrent"].model(mode=mode, time_chunk=chunk), draw(1, count=0).requires_grad_()
    out = model(x)
    assert out.shape == (0, T, HIDDEN)
    assert torch.autograd.grad(out.sum(), x)[0].shape == x.shape
