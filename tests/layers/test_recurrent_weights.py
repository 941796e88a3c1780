"""Recurrent weights that are modules: what of them is read, and what is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import spikingtorch as st
from spikingtorch.testing import assert_close

pytestmark = pytest.mark.usefixtures("one_thread")


class Masked(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight * 0)


def hooked(add: Callable[[nn.Linear], Any]) -> nn.Linear:
    add(layer := nn.Linear(5, 5, bias=False))
    return layer


NOT_CALLED: dict[str, tuple[str, Callable[[], nn.Linear]]] = {
    "subclass": ("has a forward of its own", lambda: Masked(5, 5, bias=False)),
    "pruned": ("in a hook", lambda: hooked(lambda layer: prune.l1_unstructured(layer, "weight", 0.5))),
    "spectral norm": ("in a hook", lambda: hooked(nn.utils.spectral_norm)),
    "bias": ("has a bias", lambda: nn.Linear(5, 5)),
}


@pytest.mark.parametrize(("name", "value"), [("stride", (2, 2)), ("dilation", (2, 2)), ("padding_mode", "circular")])
def test_a_convolution_that_comes_to_change_its_image_is_refused(name: str, value: Any) -> None:
    layer, x = st.LIF(recurrent=nn.Conv2d(2, 2, 3, padding="same", bias=False)), torch.rand(1, 2, 4, 4)
    layer(x, True)
    setattr(layer.recurrent, name, value)
    with pytest.raises(ValueError, match=r"recurrent=Conv2d\(.* changes the size of its image, or skips parts of it"):
        layer(x, True)


@pytest.mark.parametrize("kind", NOT_CALLED)
def test_modules_that_do_more_than_multiply_are_refused(kind: str) -> None:
    """Their weights alone are read: from the first, later, and where they come to do more."""
    message, make = NOT_CALLED[kind]
    with pytest.raises(ValueError, match=message):
        st.LIF(recurrent=make())
    layer = st.LIF(recurrent=nn.Linear(5, 5, bias=False))
    with pytest.raises(ValueError, match=message):
        layer.recurrent = make()
    model, x = st.SpikingNet(layer), torch.ones(2, 3, 5)
    model(x)
    assert isinstance(layer.recurrent, nn.Linear)
    if kind == "bias":
        layer.recurrent.bias = nn.Parameter(torch.ones(5))
    elif kind == "subclass":
        layer.recurrent.forward = torch.zeros_like  # type: ignore[method-assign]
    else:
        nn.utils.spectral_norm(layer.recurrent)
    with pytest.raises(ValueError, match=message):
        model(x)


COMPUTED: dict[str, Callable[[], Any]] = {
    "given": lambda: st.LIF(recurrent=2.0 * torch.ones(5, requires_grad=True)),
    "assigned": lambda: setattr(st.LIF(recurrent=torch.ones(5)), "recurrent", torch.ones(5, requires_grad=True)),
    "pruned": lambda: prune.l1_unstructured(st.LIF(recurrent=torch.ones(5)), "recurrent", 0.5),
}


@pytest.mark.parametrize("how", COMPUTED)
def test_a_tensor_that_is_computed_from_others_is_refused(how: str) -> None:
    """The layer would train a copy, and what it was computed from would get no gradient."""
    with pytest.raises(ValueError, match=r"LIF: recurrent requires a gradient but is no nn\.Parameter.*parametrize"):
        COMPUTED[how]()


def test_weights_that_are_computed_from_others() -> None:
    normed: Any = nn.utils.parametrizations.weight_norm(nn.Linear(5, 5, bias=False))
    layer = st.LIF(recurrent=normed)
    out = st.SpikingNet(layer)(torch.rand(2, 20, 5, generator=torch.Generator().manual_seed(0)))
    out.sum().backward()
    assert all(each.grad is not None and each.grad.any() for each in layer.parameters())


def test_recurrent_weights_that_are_assigned_later() -> None:
    x, weights = torch.rand(4, 9, 4), nn.Linear(4, 4, bias=False)
    layer = st.LIF(recurrent=torch.ones(4))
    layer.recurrent = weights  # as many neurons as samples: another synapse would broadcast
    assert_close(st.SpikingNet(layer)(x), st.SpikingNet(st.LIF(recurrent=weights))(x))
    with pytest.raises(ValueError, match="was made with recurrent weights"):
        layer.recurrent = None
    with pytest.raises(ValueError, match="was made without recurrent weights"):
        st.LIF().recurrent = weights


def test_a_layer_with_a_parametrized_weight_is_copied_without_its_locks() -> None:
    """The class that torch gives such a layer refuses ``__getstate__``, and would copy the thread of its memory."""

    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    layer: Any = st.LIF(recurrent=nn.Parameter(torch.ones(3)))
    x = torch.ones(2, 3)
    nn.utils.parametrize.register_parametrization(layer, "recurrent", Half())
    out = layer(x, True)
    copied = copy.deepcopy(layer)
    assert torch.equal(copied.v, layer.v)
    assert torch.equal(copied(x), layer(x))
    assert torch.equal(copied(x, True), out)
    copied.get_parameter("parametrizations.recurrent.original").data.zero_()
    assert layer.recurrent.tolist() == [0.5, 0.5, 0.5]
