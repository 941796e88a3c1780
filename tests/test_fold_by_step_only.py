"""What only makes sense one step at a time, and what a folded gradient needs as it was: stepped, or an error."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import spikingtorch as st
from spikingtorch.testing import assert_close


class Net(nn.Module):
    """Linear and LIF, with something between them."""

    def __init__(self, neurons: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(10, 12)
        self.neurons = st.LIF(tau=4.0, v0=0.3) if neurons is None else neurons
        self.double()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.neurons(self.linear(x), init)  # type: ignore[no-any-return]


class Shortcut(Net):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.linear(x)
        h += self.neurons(h, init)
        return h  # type: ignore[no-any-return]


def draw(seed: int = 0) -> Tensor:
    return torch.rand(6, 7, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(model: st.SpikingNet) -> list[Tensor]:
    return list(
        torch.autograd.grad((model(draw()) * draw(1).repeat(1, 1, 2)[..., :12]).sum(), list(model.parameters()))
    )


def test_writing_on_the_input_of_a_layer_afterwards_trains() -> None:
    models = [st.SpikingNet(Shortcut(), 12, mode=mode) for mode in ("step", "auto")]
    with pytest.warns(RuntimeWarning, match=r"writes in place on the input of a LIF layer.*h = h \+ layer\(h, init\)"):
        first = gradients(models[1])
    assert_close(first, gradients(models[0]))
    assert_close(gradients(models[1]), gradients(models[0]))
    assert "writes in place" in models[1].explain().reason


def test_writing_on_the_input_without_a_gradient_folds() -> None:
    model = st.SpikingNet(Shortcut(), 12)
    with torch.no_grad():
        assert_close(model(draw()), st.SpikingNet(Shortcut(), 12, mode="step")(draw()))
    assert model.explain().mode == "fold"


def test_writing_on_the_input_in_mode_fold_is_an_error_at_the_call() -> None:
    with pytest.raises(ValueError, match="writes in place on the input of a LIF layer"):
        st.SpikingNet(Shortcut(), 12, mode="fold")(draw())


class Noisy(st.LIF):
    """A threshold that is drawn at each step."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"threshold": 1 + torch.rand((), dtype=torch.float64)}


class OfItsOwn(st.LIF):
    """A threshold from a generator that nobody sees."""

    def step_params(self) -> dict[str, Any]:
        if "generator" not in self.__dict__:
            self.generator = torch.Generator().manual_seed(0)
        return super().step_params() | {"threshold": 1 + torch.rand((), generator=self.generator).item()}


GENERATOR = torch.Generator().manual_seed(0)


class OfNobody(st.LIF):
    """A threshold from a generator that belongs to no module."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"threshold": 1 + torch.rand((), generator=GENERATOR).item()}


class Dropped(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.dropout(weight, 0.5)


def parametrized() -> st.LIF:
    layer = st.LIF(tau=4.0, v0=torch.full((12,), 0.3), learnable="v0").double()
    parametrize.register_parametrization(layer, "v0", Dropped())
    return layer


MAKERS: list[Any] = [lambda: Noisy(decay=0.0), parametrized, lambda: OfItsOwn(decay=0.0), lambda: OfNobody(decay=0.0)]


@pytest.mark.parametrize("make", MAKERS, ids=["global", "parametrized", "own generator", "another"])
def test_parameters_drawn_at_each_step_are_not_drawn_once_for_all(make: Any) -> None:
    models = [st.SpikingNet(Net(make()), 12, mode=mode) for mode in ("step", "auto")]
    x = 3 * draw()
    torch.manual_seed(1)
    want = models[0](x)
    with pytest.warns(RuntimeWarning, match=r"parameters of|changes neurons\.generator"):
        models[1](x)
    torch.manual_seed(1)
    got = models[1](x)
    if make in MAKERS[:2]:
        assert torch.equal(got, want)
    assert models[1].explain().mode == "step"
    assert got.var(1).sum() > 0


def test_a_weight_that_drops_out_between_steps_is_drawn_at_each_step() -> None:
    layer = st.LIF(tau=4.0, v0=0.3, recurrent=nn.Linear(12, 12, bias=False)).double()
    parametrize.register_parametrization(layer.recurrent, "weight", Dropped())  # type: ignore[arg-type]
    with pytest.warns(RuntimeWarning, match="parameters of"):
        st.SpikingNet(Net(layer), 12)(draw())


@pytest.mark.parametrize("make", MAKERS[:2])
def test_parameters_drawn_at_each_step_are_an_error_in_mode_fold(make: Any) -> None:
    with pytest.raises(ValueError, match=r"draws the parameters of a \w+ layer at random"):
        st.SpikingNet(Net(make()), 12, mode="fold")(draw())
