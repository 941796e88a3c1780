"""Every layer, and its parameters of every size: a network that folds gives what it gives step by step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fold_nets import span, states
from tests.folded_layer import CALLS, N, draw, folds, held, last, over_time


@pytest.mark.sampled
@pytest.mark.parametrize("wanted", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_layer(layer: st.StepLayer, dtype: torch.dtype, wanted: bool) -> None:
    model, found = over_time(layer.to(dtype)), []
    for k in range(3):
        folds(model, draw(k, dtype=dtype).requires_grad_(wanted))
    for model.mode in ("fold", "step"):
        first, *others = [draw(k, dtype=dtype) for k in range(3)]
        outs = [model(first), *map(model, others, (False, torch.tensor([True, False, True])))]
        found.append([*outs, states(model)])
    assert_close(found[0], found[1])


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
# parameters from low to high for images of a shape
SIZES: dict[str, Callable[[float, float, tuple[int, ...]], Any]] = {
    "floats": lambda low, high, shape: low,
    "0-dim": lambda low, high, shape: torch.tensor(low),
    "per channel": lambda low, high, shape: span(low, high, 4, *[1] * (len(shape) - 1)),
    "per neuron": lambda low, high, shape: span(low, high, *shape),
    "one axis": lambda low, high, shape: span(low, high, shape[-1]),
}
IMAGES = [((4, 2, 3), 5), ((4, 2, 3, 2), 20), ((4, 1, 3), 4)]


@pytest.mark.sampled
@pytest.mark.parametrize("form", [torch.clone, last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LEARN)
def test_parameters(name: str, size: str, form: Callable[[Tensor], Tensor]) -> None:
    shape, T = IMAGES[([*LEARN].index(name) + [*SIZES].index(size)) % 3]
    layer = LEARN[name](SIZES[size](2.0, 7.0, shape), SIZES[size](0.3, 0.6, shape))
    model = over_time(layer.double(), *shape)
    for k in range(2 * CALLS):
        for parameter in model.parameters():
            parameter.data = parameter.data * 0.97
        x, pull = form(draw(k, N, T, *shape)).requires_grad_(k % 4 > 0), draw(k + 99, N, T, *shape)
        folds(model, x, last(pull) if k % 3 else pull)
    if form is last:
        model(last(draw(1, N, T, *shape)))
        owns = [held(model).s]
        if size in ("floats", "0-dim"):
            owns.append(model.net(last(draw(1, N, 1, *shape))[:, 0], True))
        assert all(own.permute(0, *range(2, own.ndim), 1).is_contiguous() for own in owns)
