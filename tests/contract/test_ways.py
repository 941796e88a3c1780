"""Every network called in every way: outputs, states, gradients, and what comes next, beside the oracle."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch.testing import assert_close
from tests.contract.networks import NETWORKS
from tests.contract.oracle import Network, Params, cotangent, cut, draw
from tests.contract.ways import WAYS, Way

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:SpikingNet.* runs step by step:RuntimeWarning"),
]
# what is no way to call a network, and why
EXCEPT = {
    ("asks", "by mask"): "several bools have no one value",
    ("asks", "transformed"): "its forward is handed the init of the call",
    ("looks", "checkpointed"): "it reads the state of a layer before it calls the layer",
    ("blocks", "checkpointed"): "one checkpoint in another",
    ("a step within", "reentrant"): "the inner network goes on from a state",
    ("a step within", "transformed"): "the inner network goes on from a state",
}
CASES = [
    (name, way, mode)
    for name, network in NETWORKS.items()
    for way in WAYS
    for mode in (("auto", "step", "fold") if network.folds else ("auto", "step"))
    if (name, way) not in EXCEPT
]


def parameters(model: Any) -> Params:
    return dict(model.net.named_parameters())


def slopes(out: Tensor, leaves: list[Tensor]) -> Any:
    """Return the gradients by ``backward``, which checkpoint asks for with use_reentrant=True."""
    for leaf in leaves:
        leaf.grad = None
    out.backward(cotangent(out))
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def assert_as_the_oracle(network: Network, way: Way, mode: Any) -> None:
    """Assert that a network does what its oracle does, and goes on like it."""
    model, x = network.model(mode=mode, **way.options), draw(1).requires_grad_()
    params, state = parameters(model), network.rest()
    want = network.run(params, state, x, way.cuts or ())
    out, model = way.run(model, x)
    assert_close(out.detach(), want.detach())
    assert_close(cut(model.get_state()), cut(state))
    if way.cuts is not None:
        leaves = [x, *params.values()]
        wanted = slopes(want, leaves)
        assert all(bool(each.any()) for each in wanted), "the oracle has a gradient that is zero"
        assert_close(slopes(out, leaves), wanted)
        assert_close(cut(model.get_state()), cut(state))
    state, more = cut(state), draw(2, 3)
    want = network.run(parameters(model), state, more, begins=False)
    model.batch_first = True
    assert_close(model(more, init=False).detach(), want.detach())
    assert_close(cut(model.get_state()), cut(state))


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "way", "mode"), CASES)
def test_is_as_the_oracle(name: str, way: str, mode: str) -> None:
    assert_as_the_oracle(NETWORKS[name], WAYS[way], mode)
