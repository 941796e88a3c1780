"""Bad input to a layer: what the error says."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.every_layer import call


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integer_input(layer: st.StepLayer, dtype: torch.dtype) -> None:
    inputs = [torch.ones(2, dtype=dtype)] * (2 if isinstance(layer, st.BioLIF) else 1)
    with pytest.raises(TypeError, match=r"dtype torch\..*expected a floating one; convert it with x\.float\(\)"):
        layer(*inputs)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_input_names_the_layer_and_keeps_the_state(layer: st.StepLayer, value: float) -> None:
    call(layer, torch.full((2, 3), 0.4))
    before = layer.s
    bad = torch.full((2, 3), 0.4)
    bad[1, 1] = value
    with pytest.raises(ValueError, match=rf"{type(layer).__name__}: x holds NaN or infinite values \(shape \(2, 3\)\)"):
        call(layer, bad)
    assert layer.s is before


def test_other_batch_size_without_init(layer: st.StepLayer) -> None:
    call(layer, torch.ones(4, 3))
    if isinstance(layer, st.McPitts):
        call(layer, torch.ones(2, 3))  # nothing to remember, so nothing that could not fit
        return
    with pytest.raises(ValueError, match=r"holds the state of inputs of shape \(4, 3\).*got \(2, 3\).*Pass init=True"):
        call(layer, torch.ones(2, 3))
    call(layer, torch.ones(2, 3), True)


def test_init_of_numpy() -> None:
    layer, x = st.IF(), torch.tensor([0.75])
    assert [layer(x, init).item() for init in np.array([True, False, True])] == [0.0, 1.0, 0.0]


def then(x: Tensor, *init: Any) -> Any:
    """Call a layer once more, on another input or with another init."""
    layer = st.IF()
    layer(torch.ones(3, 2))
    return layer(x, *init)


ONES = torch.ones(2, 3)
POSITIVE = r"(tau|nudt|beta)=(-1\.0|0\.0|nan), expected a finite value above 0"
INIT = r"init=.*expected a bool, or a bool tensor with one value for each sample"
MASK = r"init is a tensor of .* expected torch\.bool and shape \(3,\)"
RULE = r"IF: reset=.* expected a rule \(u, spike, threshold\) -> v, such as to_zero"
CLASS = r"surrogate=Arctan is a class; make one of it: Arctan\(\)"
SMOOTH = r"expected the spikes 0, 1, 1\. A smooth function becomes a surrogate with FromPrim"
NO_CALL = "surrogate=5 cannot be called; one that works is Arctan"
makers: list[Callable[..., Any]] = [st.IF, partial(st.McPitts, 0.5)]

# what is done, the error, and what it says
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: st.IF()([1.0]), TypeError, r"IF: x is a list, expected a torch\.Tensor"),
    (
        lambda: st.IF()(np.ones(2)),
        TypeError,
        r"x is a ndarray, expected a torch\.Tensor; make one with torch\.from_numpy\(x\)",
    ),
    (lambda: then(torch.ones(3, 2).double()), ValueError, r"torch\.float32.*got.*torch\.float64.*Pass init=True"),
    (lambda: then(torch.ones(3, 2, device="meta")), ValueError, r"cpu\).*meta\).*Pass init=True"),
    *[(partial(then, torch.ones(3, 2), init), TypeError, INIT) for init in ([True, False, True], 1, None, "yes")],
    *[
        (partial(then, torch.ones(3, 2), init), ValueError, MASK)
        for init in (torch.tensor([True, False]), torch.tensor([1, 0, 0]), torch.ones(3, 2, dtype=torch.bool))
    ],
    (
        lambda: st.IF(v0=torch.ones(2))(torch.ones(2).double()),
        TypeError,
        r"IF: mixed dtypes: x is torch\.float64 and v0 torch\.float32",
    ),
    (lambda: st.IF(v0=torch.ones(2))(torch.ones(2, device="meta")), ValueError, r"mixed devices: .*'x': 'meta'.*'cpu'"),
    *[
        (partial(make, **{name: value}), ValueError, POSITIVE)
        for make, name in (
            (st.LIF, "tau"),
            (st.LI, "tau"),
            (st.CoarseLIF, "tau"),
            (st.SpikingDecay, "tau"),
            (st.BioLIF, "nudt"),
            (st.IF, "beta"),
        )
        for value in (-1.0, 0.0, torch.nan)
    ],
    (lambda: st.LIF(tau=torch.tensor([8.0, -8.0])), ValueError, r"LIF: tau=tensor.*expected a finite value above 0"),
    *[
        (partial(st.LIF, decay=decay), ValueError, "expected a finite value at least 0 and at most 1")
        for decay in (-0.1, 1.1, torch.nan)
    ],
    (
        lambda: st.IF(v0=[1.0, 2.0]),  # type: ignore[arg-type]
        TypeError,
        "IF: v0 is a list, expected a float, or a tensor that broadcasts",
    ),
    (lambda: st.IF(v0=torch.tensor([1, 2])), TypeError, r"IF: v0 has dtype torch\.int64"),
    (
        lambda: st.IF(v0=torch.ones(4))(ONES),
        ValueError,
        r"v0 of shape \(4,\) does not broadcast to the input of shape \(2, 3\)",
    ),
    (lambda: st.IF(v0=torch.ones(5, 1, 3))(ONES), ValueError, r"v0 of shape \(5, 1, 3\) does not broadcast"),
    (
        lambda: st.McPitts(ONES)(torch.ones(1, 3)),
        ValueError,
        r"thr of shape \(2, 3\) does not broadcast to the input of shape \(1, 3\)",
    ),
    (
        lambda: st.LIF(beta=3.0, surrogate=F.Arctan()),
        ValueError,
        r"beta=3\.0 is the slope of the default surrogate, give it to Arctan",
    ),
    *[(partial(make, surrogate=F.Arctan), TypeError, CLASS) for make in makers],
    *[(partial(make, surrogate=5), TypeError, NO_CALL) for make in makers],
    *[(partial(make, surrogate=torch.sigmoid), ValueError, SMOOTH) for make in makers],
    *[
        (partial(st.IF, reset=reset), TypeError, RULE)
        for reset in (None, "to_zero", F.detached, F.Detached, lambda u: u)
    ],
    (
        lambda: st.IF(v0=torch.ones(3, requires_grad=True)),
        ValueError,
        r"v0 requires a gradient but is no nn\.Parameter.*learnable='v0'",
    ),
    (lambda: st.IF(learnable="tau"), ValueError, r"learnable names \['tau'\]; choose from \['v0'\]"),
    *[
        (partial(st.BioLIF, 0.5, learnable=learnable), ValueError, "nudt cannot be learned")
        for learnable in ("nudt", ["v0", "nudt"], (name for name in ("v0", "nudt")))
    ],
    (lambda: st.BioLIF(nn.Parameter(torch.tensor(0.5))), ValueError, "nudt cannot be learned"),
    (
        lambda: st.BioLIF(0.5)(ONES, torch.ones(2, 4)),
        ValueError,
        r"BioLIF: inputs differ in shape: \[\(2, 3\), \(2, 4\)\]",
    ),
    (lambda: st.StepLayer(F.if_step, F.IFState, forward=1.0), ValueError, "parameter 'forward' would hide"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_error(case: int) -> None:
    use, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        use()
