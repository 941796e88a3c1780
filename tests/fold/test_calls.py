"""Calls that differ in what a proof has not seen: init for each sample, derivatives; errors, the same in all modes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold.corpus import TABLE
from tests.fold.corpus.inits import shortcut
from tests.fold_nets import states
from tests.nets_that_step import Hole, Own, Two, besides, in_both_modes, readout, train, with_backward

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


class Tangent(torch.autograd.Function):
    """Mixes samples in forward mode."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 2

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return tangents[0] * 2 - tangents[0].mean(0)


class Square(torch.autograd.Function):
    """Mixes samples in the second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return of_gradient(grads[0]) * ctx.saved_tensors[0]


tangent: Any = Tangent.apply
# mixes samples in its backward pass
of_gradient = with_backward(lambda grad: grad * 2 - grad.mean(0), lambda grad: grad * 2)
square: Any = Square.apply


def forward_mode(model: Any) -> Any:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(train(), train().flip(0))
        return forward_ad.unpack_dual(model(dual)).tangent


def second_derivative(model: Any) -> Any:
    x = train().requires_grad_()
    (grad,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    return torch.autograd.grad(grad.square().sum(), x)


def init_of_each_sample(model: Any) -> Any:
    return model(train()), model(train(), torch.tensor([True, False, True, False, True]))


CALLS: dict[str, tuple[Hole, Callable[[Any], Any]]] = {
    "init of each sample": (lambda net, x, init: x * 2 if isinstance(init, Tensor) else x, init_of_each_sample),
    "forward mode": (lambda net, x, init: tangent(x), forward_mode),
    "second derivative": (lambda net, x, init: square(x), second_derivative),
}


@pytest.mark.parametrize("name", CALLS)
def test_call(name: str) -> None:
    code, act = CALLS[name]
    in_both_modes(readout(code).double(), act)


def test_assertion_on_a_step() -> None:
    def asserted(net: Any, x: Tensor, init: Any) -> Tensor:
        torch._assert_async(x.mean() < 0.7)  # pyright: ignore
        return x

    x = train()
    x[:, 0] = 0.9
    for mode in ("step", "auto"):
        with pytest.raises(RuntimeError):
            st.SpikingNet(readout(asserted).double(), 3, mode=mode)(x)


def faulty(fault: Callable[[Any], Any], mode: Any) -> st.SpikingNet:
    """Return a network that goes wrong in its second half."""
    torch.manual_seed(0)
    return st.SpikingNet(Two(between=besides(lambda net, x: fault(x))).double(), 3, mode=mode)


FAULTS: dict[str, Callable[[Any], Any]] = {
    "shape": lambda x: x @ x,
    "attribute": lambda x: x.no_such_thing,
    "key": lambda x: vars(x)["key"],
    "type": lambda x: x + "a",
    "concatenation": lambda x: torch.cat([x, x[:, :1]]),
    "division": lambda x: 1 / 0,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_error_of_the_network_is_the_same_in_all_modes(fault: Callable[[Any], Any]) -> None:
    found: list[Any] = []
    for mode in ("step", "auto"):
        model = faulty(fault, mode)
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                model(train())
            error = caught.value
            found.append((type(error), str(error), getattr(error, "__notes__", [])))
    assert found == [found[0]] * 4
    assert found[0][0] is not AssertionError


def large(x: Any) -> None:
    if len(x) == 15:
        raise RuntimeError("fifteen samples are too many")


def test_network_that_fails_folded_goes_on_stepwise() -> None:
    model, twin = faulty(large, "auto"), faulty(large, "step")
    x = train(3, 5)
    assert_close(model(x[:, :4]), twin(x[:, :4]))
    assert model.explain().mode == "fold"
    failed = r"does not run on 15 samples \(RuntimeError: fifteen samples are too many"
    with pytest.warns(RuntimeWarning, match=failed):
        got = model(x, init=False)
    assert_close(got, twin(x, init=False))
    assert_close(states(model), states(twin))
    for _ in range(2):
        assert model.explain().mode == "step"
        assert_close(model(x), twin(x))


MESSAGES = {
    "it asks if init": r"mode='fold' cannot run Two because it branches on init\. mode='auto' runs it step by step",
    "the input of a layer is written on": "writes in place on the input of a LIF layer",
    "a layer draws its threshold": "draws the parameters of a Noisy layer at random",
    "a parametrization draws a parameter of a layer": r"draws the parameters of a \w+ layer at random",
    "a network over time that is handed init": "hands init to a SpikingNet, which runs over time by itself",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_has_to_step_is_an_error_in_mode_fold(name: str) -> None:
    model = st.SpikingNet(TABLE[name].network(), 3, mode="fold")
    with pytest.raises(ValueError, match=MESSAGES[name]):
        model(train())


def test_writing_on_the_input_of_a_layer_without_a_gradient_folds() -> None:
    model = st.SpikingNet(Own(shortcut).double(), 3)
    with torch.no_grad():
        assert_close(model(train()), st.SpikingNet(model.net, 3, mode="step")(train()))
    assert model.explain().mode == "fold"
