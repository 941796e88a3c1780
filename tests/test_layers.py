"""Layers: the older package's numbers and gradients, the life of the state, parameters, and errors."""

import copy
import functools
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import LENGTHS
from tests import older

OLDER: dict[str, tuple[type[st.StepLayer], older.Step, dict[str, Any]]] = {
    "IF": (st.IF, older.integrate_and_fire, {}),
    "IF v0 beta": (st.IF, older.integrate_and_fire, {"v0": 0.7, "beta": 3}),
    "LIF": (st.LIF, older.lif, {}),
    "LIF tau": (st.LIF, older.lif, {"tau": 3, "v0": 0.8, "beta": 4}),
    "LIF decay": (st.LIF, older.lif, {"decay": 0.9}),
    "CoarseLIF": (st.CoarseLIF, older.coarse_lif, {"tau": 8}),
    "CoarseLIF v0 beta": (st.CoarseLIF, older.coarse_lif, {"tau": 2.5, "v0": 0.6, "beta": 3}),
    "BioLIF": (st.BioLIF, older.biolif, {"nudt": 0.5, "v0": 0.3}),
    "BioLIF beta": (st.BioLIF, older.biolif, {"nudt": 0.25, "v0": 0.2, "beta": 3}),
    "SpikingDecay": (st.SpikingDecay, older.spiking_decay, {"tau": 2}),
    "SpikingDecay v0 beta": (st.SpikingDecay, older.spiking_decay, {"tau": 4, "v0": 0.5, "beta": 2}),
}
LAYERS: dict[str, st.StepLayer] = {
    "IF": st.IF(),
    "LIF": st.LIF(),
    "LI": st.LI(),
    "CoarseLIF": st.CoarseLIF(tau=8.0),
    "SpikingDecay": st.SpikingDecay(tau=2.0),
    "McPitts": st.McPitts(thr=0.5),
    "BioLIF": st.BioLIF(nudt=0.5),
}


def call(layer: st.StepLayer, x: Tensor, init: bool | Tensor = False) -> Tensor:
    """Call a layer; BioLIF gets x and its half."""
    out: Tensor = layer(x, 0.5 * x, init) if isinstance(layer, st.BioLIF) else layer(x, init)
    return out


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> st.StepLayer:
    return copy.deepcopy(LAYERS[request.param])


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("name", OLDER)
def test_older_equations(name: str, T: int) -> None:
    kind, step, options = OLDER[name]
    draw = torch.Generator().manual_seed(T)
    low, high = (0.0, 2.0) if kind is st.BioLIF else (-0.5, 1.5)
    count = 2 if kind is st.BioLIF else 1

    def uniform(*shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(shape, generator=draw, dtype=torch.float64)).requires_grad_()

    xs = [uniform(T, 3, 5) for _ in range(count)]
    cotangents = [
        torch.randn((T, 3, 5), generator=draw, dtype=torch.float64),
        torch.randn((3, 5), generator=draw).double(),
    ]

    v, s, spikes, margin = torch.zeros(3, 5).double(), torch.zeros(3, 5).double(), [], []
    for t in range(T):
        v, s = step(v, s, *(x[t] for x in xs), **options)
        spikes.append(s)
        margin.append((v - options.get("v0", 1)).abs().min().item())
    assert min(margin) > 1e-6
    want = (torch.stack(spikes), (1 - s) * v)

    ours = kind(**options)
    got_spikes = torch.stack([ours(*(x[t] for x in xs), t == 0) for t in range(T)])
    assert ours.v is not None
    got = (got_spikes, ours.v)
    assert torch.equal(got_spikes, want[0])
    if T == 17:
        assert 0.05 < got_spikes.mean() < 0.95
    assert_close(got, want, "spikes and membrane")
    assert_close(torch.autograd.grad(got, xs, cotangents), torch.autograd.grad(want, xs, cotangents), "gradients")


def test_mcpitts_takes_init_or_not() -> None:
    layer = st.McPitts(0.5)
    x = torch.tensor([0.25, 0.5, 0.75], requires_grad=True)
    assert layer(x).tolist() == layer(x, True).tolist() == layer(x, init=False).tolist() == [0.0, 1.0, 1.0]
    (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    s = torch.sigmoid(3 * (x - 0.5))
    assert_close(gradient, 3 * s * (1 - s))
    assert layer.v is None


def test_names_of_the_older_package() -> None:
    assert st.layers.SpikingLayer is st.CoarseLIF
    for name in ("CoarseLIF", "BioLIF", "SpikingDecay"):
        assert getattr(st.layers, name) is getattr(st, name)


def test_li_is_a_decaying_sum() -> None:
    layer = st.LI(decay=0.5)
    assert [layer(torch.ones(1), t == 0).item() for t in range(3)] == [1.0, 1.5, 1.75]


def test_reset_rules_and_surrogates_are_options() -> None:
    layer = st.IF(reset=F.by_subtraction, surrogate=F.Arctan())
    assert [layer(torch.tensor([1.5]), t == 0).item() for t in range(3)] == [1.0, 1.0, 1.0]
    assert layer.v is not None
    assert layer.v.item() == 1.5


# --- state ------------------------------------------------------------------------------------------------------------


def test_first_call_and_init_start_at_rest(layer: st.StepLayer) -> None:
    x = torch.full((2, 3), 0.4)
    first = call(layer, x)
    call(layer, x)
    assert torch.equal(call(layer, x, True), first)
    layer.reset()
    assert torch.equal(call(layer, x), first)
    layer.reset(x)
    assert torch.equal(call(layer, x), first)


def test_state_is_not_in_the_state_dict(layer: st.StepLayer) -> None:
    before = list(layer.state_dict())
    call(layer, torch.ones(2, 3))
    assert list(layer.state_dict()) == before == []


def through_torch_save(layer: st.StepLayer) -> Any:
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def through_pickle(layer: st.StepLayer) -> Any:
    return pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize("way", [copy.deepcopy, through_pickle, through_torch_save])
def test_copies_carry_the_state_without_its_graph(layer: st.StepLayer, way: Callable[[st.StepLayer], Any]) -> None:
    x = torch.full((2, 3), 0.4, requires_grad=True)
    call(layer, x, True)
    twin = way(layer)
    assert not twin.s.requires_grad
    assert layer.s is not None
    assert layer.s.requires_grad
    assert torch.equal(call(twin, x), call(layer, x))


def test_copies_share_nothing() -> None:
    layer = st.IF()
    layer(torch.full((2,), 0.4))
    twin = copy.deepcopy(layer)
    twin(torch.full((2,), 0.4))
    assert layer.v is not None
    assert layer.v.tolist() == torch.full((2,), 0.4).tolist()


def test_moves_with_the_module(layer: st.StepLayer) -> None:
    x = torch.full((2, 3), 0.4)
    call(layer, x, True)
    layer.double()
    assert layer.s is not None
    assert layer.s.dtype == torch.float64
    call(layer, x.double())
    layer.to("meta")
    assert layer.s.device.type == "meta"


def test_half_precision_keeps_its_state_in_float32() -> None:
    layer = st.LIF(tau=100.0)
    ours = [layer(torch.full((1,), 0.01, dtype=torch.bfloat16), t == 0) for t in range(60)]
    assert ours[0].dtype == torch.bfloat16
    assert layer.v is not None
    assert layer.v.dtype == torch.float32
    exact = st.LIF(tau=100.0)
    for t in range(60):
        exact(torch.full((1,), 0.01, dtype=torch.bfloat16).float(), t == 0)
    assert exact.v is not None
    assert torch.equal(layer.v, exact.v)
    layer.to(torch.float16)
    assert layer.v.dtype == torch.float32


def test_detach_cuts_the_graph() -> None:
    layer = st.IF()
    x = torch.full((1,), 0.4, requires_grad=True)
    layer(x)
    assert layer.v is not None
    assert layer.v.requires_grad
    layer.detach_()
    assert not layer.v.requires_grad
    assert torch.autograd.grad(layer(x).sum(), x)[0].item() == pytest.approx(5 * 0.2689414 * 0.7310586, rel=1e-4)


def test_init_resets_some_samples(layer: st.StepLayer) -> None:
    x = torch.full((4, 3), 0.4)
    call(layer, x, True)
    going_on, anew = copy.deepcopy(layer), copy.deepcopy(layer)
    got = call(layer, x, torch.tensor([True, False, True, False]))
    assert torch.equal(got[1::2], call(going_on, x)[1::2])
    assert torch.equal(got[::2], call(anew, x, True)[::2])
    if layer.v is not None:
        assert torch.equal(layer.v[1::2], going_on.v[1::2])  # type: ignore[index]
        assert torch.equal(layer.v[::2], anew.v[::2])  # type: ignore[index]


def test_init_mask_on_a_first_call_starts_every_sample() -> None:
    assert st.IF()(torch.ones(2, 1), torch.tensor([True, False])).tolist() == [[1.0], [1.0]]


def test_survives_transforms(layer: st.StepLayer) -> None:
    x = torch.full((2, 3), 0.4)
    first = call(layer, x, True)
    layer.reset()
    torch.func.vmap(lambda row: call(layer, row, True))(x)
    assert layer.v is None
    assert torch.equal(call(copy.deepcopy(layer), x), first)
    torch.func.grad(lambda row: call(layer, row, True).sum())(x)
    assert torch.equal(call(pickle.loads(pickle.dumps(layer)), x), first)
    torch.func.jvp(lambda row: call(layer, row, True), (x,), (x,))
    assert torch.equal(call(layer, x), first)


def test_steps_inside_a_transform() -> None:
    layer = st.LIF()

    def total(x: Tensor) -> Tensor:
        return torch.stack([layer(x, t == 0) for t in range(5)]).sum()

    x = torch.tensor([[0.3, 0.6], [0.9, 0.1]])
    want = x.clone().requires_grad_()
    total(want).backward()
    assert want.grad is not None
    assert_close(torch.func.grad(total)(x), want.grad)
    assert_close(torch.func.vmap(torch.func.grad(total))(x), want.grad)


def test_state_of_inference_mode_may_go_on_with_gradients() -> None:
    layer = st.LIF(learnable="tau")
    with torch.inference_mode():
        layer(torch.full((2,), 0.4), True)
    layer(torch.full((2,), 0.4)).sum().backward()
    assert layer.get_parameter("tau").grad is not None


def test_biolif_counts_its_activity() -> None:
    layer = st.BioLIF(0.5, v0=0.1, track_act=True)
    assert layer.act is None
    x = torch.full((2, 3), 2.0, requires_grad=True)
    for t in range(3):
        layer(x, 0 * x, t == 0)
    assert layer.act is not None
    assert layer.act.tolist() == torch.full((2, 3), 3.0).tolist()
    assert torch.autograd.grad(layer.act.sum(), x)[0].abs().sum() > 0
    layer(x, 0 * x, torch.tensor([True, False]))
    assert layer.act[:, 0].tolist() == [1.0, 4.0]
    untracked = st.BioLIF(0.5)
    untracked(x, x)
    assert untracked.act is None


def test_biolif_counts_beyond_256_in_bfloat16() -> None:
    layer = st.BioLIF(0.5, v0=0.01, track_act=True)
    x = torch.ones(1, dtype=torch.bfloat16)
    for t in range(300):
        layer(x, x, t == 0)
    assert layer.act is not None
    assert layer.act.item() == 300


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (st.IF(learnable="v0"), {"v0"}),
        (st.IF(v0=nn.Parameter(torch.ones(3))), {"v0"}),
        (st.LIF(learnable=True), {"tau", "v0"}),
        (st.LIF(decay=0.9, learnable=["decay"]), {"decay"}),
        (st.LI(tau=torch.full((3,), 4.0), learnable="tau"), {"tau"}),
        (st.CoarseLIF(tau=4.0, learnable=("tau", "v0")), {"tau", "v0"}),
        (st.SpikingDecay(tau=2.0, learnable=True), {"tau", "v0"}),
        (st.McPitts(0.5, learnable="thr"), {"thr"}),
        (st.BioLIF(0.5, learnable=True), {"v0"}),
    ],
    ids=repr,
)
def test_learnable_parameters_get_gradients(layer: st.StepLayer, names: set[str]) -> None:
    assert {name for name, _ in layer.named_parameters()} == names
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    out = torch.stack([call(layer, x, t == 0) for t in range(5)]).sum()
    for name, gradient in zip(names, torch.autograd.grad(out, list(layer.parameters())), strict=True):
        assert gradient.abs().sum() > 0, name


def test_gradient_of_tau_by_finite_differences() -> None:
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def trace(tau: Tensor) -> Tensor:
        params = {"decay": F.decay_from_tau(tau), "gain": F.gain_from_tau(tau)}
        return F.scan(F.li_step, F.zeros_state(F.LIState, x[0]), x, params=params)[1]

    tau = torch.tensor([2.0, 4.0, 8.0, 16.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(trace, tau)
    layer = st.LI(tau=nn.Parameter(tau.detach().clone()))
    out = torch.stack([layer(row, t == 0) for t, row in enumerate(x)])
    assert_close(out, trace(tau))


def test_layers_made_from_one_tensor_share_nothing() -> None:
    tau = torch.full((3,), 8.0)
    one, two = st.LIF(tau=tau), st.LIF(tau=tau)
    one.load_state_dict({"tau": torch.ones(3)})
    assert two.get_buffer("tau").tolist() == tau.tolist() == [8.0] * 3


@pytest.mark.parametrize(
    "make", [lambda tau: st.LIF(tau=tau), lambda tau: st.LI(tau=tau), lambda tau: st.CoarseLIF(tau)]
)
def test_coefficients_of_a_half_precision_layer_are_float32(make: Callable[[Any], st.StepLayer]) -> None:
    x = torch.tensor([0.5], dtype=torch.bfloat16)
    half, float_tau = make(torch.tensor([1024.0])).bfloat16(), make(1024.0)
    for t in range(500):
        half(x if t == 0 else 0 * x, t == 0)
        float_tau(x if t == 0 else 0 * x, t == 0)
    assert half.v is not None
    assert float_tau.v is not None
    assert_close(half.v, float_tau.v)


def test_output_may_be_a_tree() -> None:
    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, tuple[Tensor, Tensor]]:
        u = state.v + x
        return F.LIFState(v=u), (F.Sigmoid()(u - 1.0), u)

    spike, membrane = st.StepLayer(step, F.LIFState)(torch.tensor([1.5], dtype=torch.bfloat16))
    assert (spike.item(), membrane.item()) == (1.0, 1.5)
    assert membrane.dtype == torch.bfloat16


def test_a_partial_is_a_step() -> None:
    layer = st.StepLayer(functools.partial(F.lif_step, decay=0.5), F.LIFState, threshold=2.0)
    assert layer(torch.tensor([1.0, 2.0])).tolist() == [0.0, 1.0]
    assert "threshold=2.0" in repr(layer)


def test_tensors_per_channel() -> None:
    v0 = torch.tensor([0.5, 2.0]).reshape(2, 1, 1)
    layer = st.IF(v0=v0)
    assert list(layer.state_dict()) == ["v0"]
    assert layer(torch.ones(1, 2, 3, 3)).mean((0, 2, 3)).tolist() == [1.0, 0.0]


def test_a_custom_step_is_a_layer() -> None:
    def step(state: F.LIFState, x: Tensor, *, leak: Tensor, reset: F.Reset) -> tuple[F.LIFState, Tensor]:
        u = state.v - leak + x
        spike = F.Triangular()(u - 1.0)
        return F.LIFState(v=reset(u, spike, 1.0)), spike

    layer = st.StepLayer(step, F.LIFState, leak=0.25, reset=F.to_zero, learnable="leak")
    assert [layer(torch.tensor([0.75]), t == 0).item() for t in range(3)] == [0.0, 1.0, 0.0]
    assert repr(layer) == "StepLayer(step, leak=0.25 (learnable), reset_rule=to_zero)"


# --- bad input --------------------------------------------------------------------------------------------------------


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
