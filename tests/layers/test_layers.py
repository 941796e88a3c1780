"""Layers: the older package's numbers and gradients, options, and parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import LENGTHS
from tests import older
from tests.every_layer import call

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


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("name", OLDER)
def test_older_equations(name: str, T: int) -> None:
    kind, step, options = OLDER[name]
    low, high, count = (0.0, 2.0, 2) if kind is st.BioLIF else (-0.5, 1.5, 1)
    draw: Any = {"generator": torch.Generator().manual_seed(T), "dtype": torch.float64}
    xs = [(low + (high - low) * torch.rand(T, 3, 5, **draw)).requires_grad_() for _ in range(count)]
    cotangents = [torch.randn(shape, **draw) for shape in ((T, 3, 5), (3, 5))]
    v, s, spikes, margin = torch.zeros(3, 5).double(), torch.zeros(3, 5).double(), [], []
    for t in range(T):
        v, s = step(v, s, *(x[t] for x in xs), **options)
        spikes.append(s)
        margin.append((v - options.get("v0", 1)).abs().min().item())
    assert min(margin) > 1e-6
    want = (torch.stack(spikes), (1 - s) * v)
    ours = kind(**options)
    got = (torch.stack([ours(*(x[t] for x in xs), t == 0) for t in range(T)]), ours.v)
    assert torch.equal(got[0], want[0])
    assert T != 17 or 0.05 < got[0].mean() < 0.95
    assert_close(got, want, "spikes and membrane")
    assert_close(torch.autograd.grad(got, xs, cotangents), torch.autograd.grad(want, xs, cotangents), "gradients")  # type: ignore[arg-type]


def test_mcpitts_takes_init_or_not() -> None:
    layer = st.McPitts(0.5)
    x = torch.tensor([0.25, 0.5, 0.75], requires_grad=True)
    assert layer(x).tolist() == layer(x, True).tolist() == layer(x, init=False).tolist() == [0.0, 1.0, 1.0]
    s = torch.sigmoid(3 * (x - 0.5))
    assert_close(torch.autograd.grad(layer(x).sum(), x)[0], 3 * s * (1 - s))
    assert layer.v is None


def test_names_of_the_older_package() -> None:
    assert st.layers.SpikingLayer is st.CoarseLIF
    for name in ("CoarseLIF", "BioLIF", "SpikingDecay"):
        assert getattr(st.layers, name) is getattr(st, name)


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
    ids=lambda given: repr(given) if isinstance(given, st.StepLayer) else ",".join(sorted(given)),
)
def test_learnable_parameters_get_gradients(layer: st.StepLayer, names: set[str]) -> None:
    assert {name for name, _ in layer.named_parameters()} == names
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    out = torch.stack([call(layer, x, t == 0) for t in range(5)]).sum()
    assert all(bool(gradient.any()) for gradient in torch.autograd.grad(out, list(layer.parameters())))


def test_gradient_of_tau_by_finite_differences() -> None:
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def trace(tau: Tensor) -> Tensor:
        params = {"decay": F.decay_from_tau(tau), "gain": F.gain_from_tau(tau)}
        return F.scan(F.li_step, F.zeros_state(F.LIState, x[0]), x, params=params)[1]

    tau = torch.tensor([2.0, 4.0, 8.0, 16.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(trace, tau)
    layer = st.LI(tau=nn.Parameter(tau.detach().clone()))
    assert_close(torch.stack([layer(row, t == 0) for t, row in enumerate(x)]), trace(tau))


def test_layers_made_from_one_tensor_share_nothing() -> None:
    tau = torch.full((3,), 8.0)
    one, two = st.LIF(tau=tau), st.LIF(tau=tau)
    one.load_state_dict({**one.state_dict(), "tau": torch.ones(3)})
    assert two.get_buffer("tau").tolist() == tau.tolist() == [8.0] * 3


@pytest.mark.parametrize("make", [lambda tau: st.LIF(tau=tau), lambda tau: st.LI(tau=tau), st.CoarseLIF])
def test_coefficients_of_a_half_precision_layer_are_float32(make: Callable[[Any], st.StepLayer]) -> None:
    half, of_float = make(torch.tensor([1024.0])).bfloat16(), make(1024.0)
    for t in range(500):
        for layer in (half, of_float):
            layer(torch.tensor([0.5 if t == 0 else 0.0], dtype=torch.bfloat16), t == 0)
    assert_close(half.v, of_float.v)


def test_output_may_be_a_tree() -> None:
    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, tuple[Tensor, Tensor]]:
        u = state.v + x
        return F.LIFState(v=u), (F.Sigmoid()(u - 1.0), u)

    spike, membrane = st.StepLayer(step, F.LIFState)(torch.tensor([1.5], dtype=torch.bfloat16))
    assert (spike.item(), membrane.item()) == (1.0, 1.5)
    assert membrane.dtype == torch.bfloat16


def test_tensors_per_channel() -> None:
    layer = st.IF(v0=torch.tensor([0.5, 2.0]).reshape(2, 1, 1))
    assert list(layer.state_dict()) == ["v0", "_extra_state"]
    assert layer(torch.ones(1, 2, 3, 3)).mean((0, 2, 3)).tolist() == [1.0, 0.0]


def leaking(state: F.LIFState, x: Tensor, *, leak: Tensor, reset: F.Reset) -> tuple[F.LIFState, Tensor]:
    u = state.v - leak + x
    spike = F.Triangular()(u - 1.0)
    return F.LIFState(v=reset(u, spike, 1.0)), spike


# a layer of one neuron, its input at each step, and its outputs
STEPS: list[tuple[st.StepLayer, float, list[float], str]] = [
    (st.LI(decay=0.5), 1.0, [1.0, 1.5, 1.75], "decay=0.5"),
    (st.IF(reset=F.by_subtraction, surrogate=F.Arctan()), 0.75, [0.0, 1.0, 1.0, 1.0, 0.0], "threshold=1.0, surr"),
    (st.StepLayer(partial(F.lif_step, decay=0.5), F.LIFState, threshold=2.0), 1.25, [0.0, 0.0, 1.0], "threshold=2.0"),
    (
        st.StepLayer(leaking, F.LIFState, leak=0.25, reset=F.to_zero, learnable="leak"),
        0.75,
        [0.0, 1.0, 0.0],
        "StepLayer(leaking, leak=0.25 (learnable), reset=to_zero)",
    ),
]


@pytest.mark.parametrize(("layer", "x", "outputs", "shown"), STEPS, ids=range(len(STEPS)))
def test_options_and_steps_of_ones_own(layer: Any, x: float, outputs: list[float], shown: str) -> None:
    assert [layer(torch.tensor([x]), t == 0).item() for t in range(len(outputs))] == outputs
    assert shown in repr(layer)
