"""Bad input to a layer: what the error says."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

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


def test_not_a_tensor() -> None:
    with pytest.raises(TypeError, match=r"IF: x is a list, expected a torch\.Tensor"):
        st.IF()([1.0])


def test_other_batch_size_without_init(layer: st.StepLayer) -> None:
    call(layer, torch.ones(4, 3))
    if isinstance(layer, st.McPitts):
        call(layer, torch.ones(2, 3))  # nothing to remember, so nothing that could not fit
        return
    with pytest.raises(ValueError, match=r"holds the state of inputs of shape \(4, 3\).*got \(2, 3\).*Pass init=True"):
        call(layer, torch.ones(2, 3))
    call(layer, torch.ones(2, 3), True)


def test_other_dtype_without_init() -> None:
    layer = st.IF()
    layer(torch.ones(2))
    with pytest.raises(ValueError, match=r"torch\.float32.*got.*torch\.float64.*Pass init=True"):
        layer(torch.ones(2).double())


def test_other_device_without_init() -> None:
    layer = st.IF()
    layer(torch.ones(2))
    with pytest.raises(ValueError, match=r"cpu\).*meta\).*Pass init=True"):
        layer(torch.ones(2, device="meta"))


def test_mixed_dtypes_and_devices() -> None:
    with pytest.raises(TypeError, match=r"IF: mixed dtypes: x is torch\.float64 and v0 torch\.float32"):
        st.IF(v0=torch.ones(2))(torch.ones(2).double())
    with pytest.raises(ValueError, match=r"mixed devices: .*'x': 'meta'.*'cpu'"):
        st.IF(v0=torch.ones(2))(torch.ones(2, device="meta"))


@pytest.mark.parametrize(
    "make",
    [
        lambda value: st.LIF(tau=value),
        lambda value: st.LI(tau=value),
        lambda value: st.CoarseLIF(tau=value),
        lambda value: st.SpikingDecay(tau=value),
        lambda value: st.BioLIF(nudt=value),
        lambda value: st.IF(beta=value),
    ],
)
@pytest.mark.parametrize("value", [-1.0, 0.0, torch.nan])
def test_parameters_must_be_positive(make: Any, value: float) -> None:
    with pytest.raises(ValueError, match=r"(tau|nudt|beta)=(-1\.0|0\.0|nan), expected a finite value above 0"):
        make(value)


def test_one_negative_tau_among_many() -> None:
    with pytest.raises(ValueError, match=r"LIF: tau=tensor.*expected a finite value above 0"):
        st.LIF(tau=torch.tensor([8.0, -8.0]))


@pytest.mark.parametrize("decay", [-0.1, 1.1, torch.nan])
def test_decay_is_a_share(decay: float) -> None:
    with pytest.raises(ValueError, match="expected a finite value at least 0 and at most 1"):
        st.LIF(decay=decay)


def test_parameter_of_a_wrong_kind() -> None:
    with pytest.raises(TypeError, match="IF: v0 is a list, expected a float, or a tensor that broadcasts"):
        st.IF(v0=[1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"IF: v0 has dtype torch\.int64"):
        st.IF(v0=torch.tensor([1, 2]))


def test_threshold_that_does_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"v0 of shape \(4,\) does not broadcast to the input of shape \(2, 3\)"):
        st.IF(v0=torch.ones(4))(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"v0 of shape \(5, 1, 3\) does not broadcast"):
        st.IF(v0=torch.ones(5, 1, 3))(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"thr of shape \(2, 3\) does not broadcast to the input of shape \(1, 3\)"):
        st.McPitts(torch.ones(2, 3))(torch.ones(1, 3))


def test_beta_beside_a_surrogate() -> None:
    with pytest.raises(ValueError, match=r"beta=3\.0 is the slope of the default surrogate, give it to Arctan"):
        st.LIF(beta=3.0, surrogate=F.Arctan())


@pytest.mark.parametrize(
    ("surrogate", "error", "message"),
    [
        (F.Arctan, TypeError, r"surrogate=Arctan is a class; make one of it: Arctan\(\)"),
        (5, TypeError, "surrogate=5 cannot be called; one that works is Arctan"),
        (
            torch.sigmoid,
            ValueError,
            r"expected the spikes 0, 1, 1\. A smooth function becomes a surrogate with FromPrim",
        ),
    ],
)
def test_surrogate_of_a_wrong_kind(surrogate: Any, error: type[Exception], message: str) -> None:
    for make in (lambda: st.IF(surrogate=surrogate), lambda: st.McPitts(0.5, surrogate=surrogate)):
        with pytest.raises(error, match=message):
            make()


@pytest.mark.parametrize("reset", [None, "to_zero", F.detached, F.Detached, lambda u: u])
def test_reset_of_a_wrong_kind(reset: Any) -> None:
    with pytest.raises(TypeError, match=r"IF: reset=.* expected a rule \(u, spike, threshold\) -> v, such as to_zero"):
        st.IF(reset=reset)


def test_tensor_that_requires_a_gradient_but_is_no_parameter() -> None:
    with pytest.raises(ValueError, match=r"v0 requires a gradient but is no nn\.Parameter.*learnable='v0'"):
        st.IF(v0=torch.ones(3, requires_grad=True))


@pytest.mark.parametrize("init", [[True, False], 1, None, "yes"])
def test_init_that_is_no_bool(init: Any) -> None:
    with pytest.raises(TypeError, match=r"init=.*expected a bool, or a bool tensor with one value for each sample"):
        st.IF()(torch.ones(2), init)


def test_init_of_numpy() -> None:
    layer = st.IF()
    x = torch.tensor([0.75])
    assert [layer(x, init).item() for init in np.array([True, False, True])] == [0.0, 1.0, 0.0]


def test_numpy_input_is_told_the_way() -> None:
    with pytest.raises(
        TypeError, match=r"x is a ndarray, expected a torch\.Tensor; make one with torch\.from_numpy\(x\)"
    ):
        st.IF()(np.ones(2))


def test_learnable_names() -> None:
    with pytest.raises(ValueError, match=r"learnable names \['tau'\]; choose from \['v0'\]"):
        st.IF(learnable="tau")
    for learnable in ("nudt", ["v0", "nudt"], (name for name in ("v0", "nudt"))):
        with pytest.raises(ValueError, match="nudt cannot be learned"):
            st.BioLIF(0.5, learnable=learnable)
    with pytest.raises(ValueError, match="nudt cannot be learned"):
        st.BioLIF(nn.Parameter(torch.tensor(0.5)))


def test_init_of_a_wrong_kind() -> None:
    layer = st.IF()
    layer(torch.ones(3, 2))
    for init in (torch.tensor([True, False]), torch.tensor([1, 0, 0]), torch.ones(3, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"init is a tensor of .* expected torch\.bool and shape \(3,\)"):
            layer(torch.ones(3, 2), init)


def test_biolif_inputs_of_two_shapes() -> None:
    with pytest.raises(ValueError, match=r"BioLIF: inputs differ in shape: \[\(2, 3\), \(2, 4\)\]"):
        st.BioLIF(0.5)(torch.ones(2, 3), torch.ones(2, 4))


def test_parameter_that_would_hide_an_attribute() -> None:
    with pytest.raises(ValueError, match="parameter 'forward' would hide"):
        st.StepLayer(F.if_step, F.IFState, forward=1.0)


def test_empty_batch(layer: st.StepLayer) -> None:
    assert call(layer, torch.ones(0, 3), True).shape == (0, 3)
