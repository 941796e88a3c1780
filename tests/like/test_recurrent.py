"""Layers of spikingtorch.like whose output comes back to them, against the same neuron that is fed by hand."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.like.steps.norse import stopped
from spikingtorch.testing import assert_close
from tests.drawn import normal, outcome
from tests.test_like import MAKERS

Mode = Literal["step", "auto", "fold"]
snn, jelly, norse, sinabs = (
    import_module(f"spikingtorch.like.{each}") for each in ("snntorch", "spikingjelly", "norse", "sinabs")
)
N, T, M = 3, 9, 3
WITH_OWN_WEIGHTS = ("snntorch.RLeaky", "snntorch.RSynaptic")
FREE = [name for name in MAKERS if name not in WITH_OWN_WEIGHTS]


def fed_by_hand(plain: Any, x: Tensor, back: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Return the outputs (N, T, ...) of a layer without a recurrence that gets back(s[t-1], t) besides its input."""
    s, outs = torch.zeros_like(x[:, 0]), []
    for t, each in enumerate(x.unbind(1)):
        s = plain(each + back(s, t), init=t == 0)
        outs.append(s)
    return torch.stack(outs, 1)


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["step", "auto"])
@pytest.mark.parametrize("name", FREE)
def test_every_layer_takes_recurrent_weights(name: str, mode: Mode) -> None:
    torch.manual_seed(0)
    weight = nn.Linear(M, M, bias=False).double()
    layer, plain = MAKERS[name](recurrent=weight).double(), MAKERS[name]().double()
    x = (normal(N, T, M) + 0.7).requires_grad_()
    want = outcome(fed_by_hand(plain, x, lambda s, t: weight(s)), [x, weight.weight, *plain.parameters()])
    model = st.SpikingNet(nn.Sequential(layer), mode=mode, warn_silent=False)
    own = [each for each in layer.parameters() if each is not weight.weight]
    assert_close(outcome(model(x), [x, weight.weight, *own]), want)
    if mode == "auto":
        assert model.explain(x).mode == "fold"


class Own(NamedTuple):
    """A layer with weights of its own, and what it is by hand.

    Attributes:
        make: makes it.
        by_hand: from the layer and inputs to outputs.
        shape: of one sample.
        gain: of the inputs, so that it fires.
    """

    make: Callable[..., Any]
    by_hand: Callable[[Any, Tensor], Tensor]
    shape: tuple[int, ...] = (M,)
    gain: float = 1.0

    def inputs(self) -> Tensor:
        return self.gain * (normal(N, T, *self.shape) + 1.0)


def _sinabs(plain: Callable[[], Any]) -> Callable[[Any, Tensor], Tensor]:
    def run(layer: Any, x: Tensor) -> Tensor:
        neuron = plain().double()
        for name, parameter in layer.named_parameters(recurse=False):
            setattr(neuron, name, parameter)
        return fed_by_hand(neuron, x, lambda s, t: layer.rec_connect(s) if t else torch.zeros_like(s))

    return run


def _snntorch(plain: Callable[[], Any]) -> Callable[[Any, Tensor], Tensor]:
    return lambda layer, x: fed_by_hand(plain().double(), x, lambda s, t: layer.recurrent(s))


def _norse(plain: Callable[[], Any]) -> Callable[[Any, Tensor], Tensor]:
    def run(layer: Any, x: Tensor) -> Tensor:
        inputs = torch.nn.functional.linear(x, layer.input_weights)
        away = 1.0 - torch.eye(M, dtype=x.dtype)
        weight = layer.recurrent_weights * away
        return fed_by_hand(plain().double(), inputs, lambda s, t: torch.nn.functional.linear(s, weight))

    return run


def _detached(kind: str, **options: Any) -> Own:
    """Return a cell of Norse through whose reset no gradient flows, and the one that it is by hand."""
    cell = type(kind, (getattr(norse, kind),), {"extra": {"passes": stopped}})
    recurrent = getattr(norse, kind.replace("Cell", "RecurrentCell"))
    return Own(lambda **o: recurrent(M, M, **options, **o), _norse(lambda: cell(**options)), gain=8.0)


def _rleaky_to_zero(layer: Any, x: Tensor) -> Tensor:
    v, s, outs = torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0]), []
    for each in x.unbind(1):
        due = (v > 1.0).double()
        v = (1.0 - due) * (0.8 * v + each + layer.recurrent(s))
        s = snn.atan()(v - 1.0)
        outs.append(s)
    return torch.stack(outs, 1)


def _container(plain: Callable[[], Any]) -> Callable[[Any, Tensor], Tensor]:
    def run(layer: Any, x: Tensor) -> Tensor:
        neuron, y, outs = plain().double(), torch.zeros_like(x[:, 0]), []
        linear = layer.sub_module[0] if isinstance(layer.sub_module, nn.Sequential) else nn.Identity()
        for t, each in enumerate(x.unbind(1)):
            y = neuron(linear(layer.rc(torch.cat([each, y], 1))), init=t == 0)
            outs.append(y)
        return torch.stack(outs, 1)

    return run


def _element_wise(layer: Any, x: Tensor) -> Tensor:
    neuron = jelly.LIFNode().double()
    return fed_by_hand(neuron, x, lambda s, t: -0.5 * s * layer.sub_module.v_threshold)


_CHAIN = (lambda: nn.Sequential(nn.Linear(M, M), jelly.IFNode()), lambda: jelly.IFNode())
_IZHIKEVICH = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 6.0, "v_rest": -70.0, "u_rest": -70.0}
_ADEX = norse.LIFAdExParameters(v_th=0.3, tau_mem_inv=400.0, adaptation_current=0.5)
_RESTING = norse.LIFAdExRefracParameters(_ADEX, rho_reset=2.0)
_EX = norse.LIFExParameters(v_th=0.4, tau_mem_inv=400.0)
OWN: dict[str, Own] = {
    "RLeaky": Own(lambda **o: snn.RLeaky(0.8, linear_features=M, **o), _snntorch(lambda: snn.Leaky(0.8))),
    "RLeaky-images": Own(
        lambda **o: snn.RLeaky(0.8, conv2d_channels=2, kernel_size=3, **o), _snntorch(lambda: snn.Leaky(0.8)), (2, 4, 3)
    ),
    "RLeaky-at-once": Own(
        lambda **o: snn.RLeaky(0.8, linear_features=M, reset_delay=False, **o),
        _snntorch(lambda: snn.Leaky(0.8, reset_delay=False)),
    ),
    "RLeaky-to-zero": Own(lambda **o: snn.RLeaky(0.8, linear_features=M, reset_mechanism="zero", **o), _rleaky_to_zero),
    "RSynaptic": Own(
        lambda **o: snn.RSynaptic(0.7, 0.8, linear_features=M, reset_mechanism="zero", **o),
        _snntorch(lambda: snn.Synaptic(0.7, 0.8, reset_mechanism="zero")),
    ),
    "LIFRecurrent": Own(
        lambda **o: sinabs.LIFRecurrent(4.0, nn.Linear(M, M), norm_input=False, **o),
        _sinabs(lambda: sinabs.LIF(4.0, norm_input=False)),
    ),
    "LIFRecurrent-images": Own(
        lambda **o: sinabs.LIFRecurrent(4.0, nn.Conv2d(2, 2, 3, padding=1), tau_syn=3.0, norm_input=False, **o),
        _sinabs(lambda: sinabs.LIF(4.0, 3.0, norm_input=False)),
        (2, 4, 3),
    ),
    "IAFRecurrent": Own(lambda **o: sinabs.IAFRecurrent(nn.Linear(M, M, bias=False), **o), _sinabs(sinabs.IAF)),
    "ALIFRecurrent": Own(
        lambda **o: sinabs.ALIFRecurrent(4.0, 6.0, nn.Linear(M, M), norm_input=False, **o),
        _sinabs(lambda: sinabs.ALIF(4.0, 6.0, norm_input=False)),
    ),
    "LIFRecurrentCell": _detached("LIFCell"),
    "LIFRefracRecurrentCell": _detached("LIFRefracCell"),
    "LSNNRecurrentCell": _detached("LSNNCell"),
    "LIFExRecurrentCell": Own(
        lambda **o: norse.LIFExRecurrentCell(M, M, _EX, **o), _norse(lambda: norse.LIFExCell(_EX))
    ),
    "LIFAdExRecurrentCell": Own(
        lambda **o: norse.LIFAdExRecurrentCell(M, M, _ADEX, **o), _norse(lambda: norse.LIFAdExCell(_ADEX)), gain=8.0
    ),
    "LIFAdExRefracRecurrentCell": Own(
        lambda **o: norse.LIFAdExRefracRecurrentCell(M, M, _RESTING, **o),
        _norse(lambda: norse.LIFAdExRefracCell(_RESTING)),
        gain=8.0,
    ),
    "IzhikevichRecurrentCell": Own(
        lambda **o: norse.IzhikevichRecurrentCell(M, M, norse.create_izhikevich_spiking_behavior(**_IZHIKEVICH), **o),
        _norse(lambda: norse.IzhikevichCell(norse.create_izhikevich_spiking_behavior(**_IZHIKEVICH))),
        gain=100.0,
    ),
    "LinearRecurrentContainer": Own(
        lambda **o: jelly.LinearRecurrentContainer(jelly.IFNode(), M, M, **o), _container(lambda: jelly.IFNode())
    ),
    "LinearRecurrentContainer-chain": Own(
        lambda **o: jelly.LinearRecurrentContainer(_CHAIN[0](), M, M, bias=False, **o), _container(_CHAIN[1])
    ),
    "ElementWiseRecurrentContainer": Own(
        lambda **o: jelly.ElementWiseRecurrentContainer(jelly.LIFNode(), lambda y, x: x - 0.5 * y, **o), _element_wise
    ),
}


def made(own: Own, **options: Any) -> Any:
    torch.manual_seed(0)
    return own.make(**options).double()


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["step", "auto"])
@pytest.mark.parametrize("name", OWN)
def test_weights_of_its_own(name: str, mode: Mode) -> None:
    own = OWN[name]
    layer = made(own)
    x = own.inputs().requires_grad_()
    leaves = [x, *layer.parameters()]
    want = outcome(own.by_hand(layer, x), leaves)
    model = st.SpikingNet(nn.Sequential(layer), mode=mode, warn_silent=False)
    found = model(x)
    assert_close(outcome(found, leaves), want)
    assert found.any()
    assert not found.all()
    if mode == "auto":
        assert model.explain(x).mode == "fold"
        assert "fused" in str(model.explain(x))


@pytest.mark.sampled
@pytest.mark.parametrize("name", OWN)
def test_a_stream_goes_on_with_membranes_beside_the_spikes(name: str) -> None:
    own = OWN[name]
    plain, x = made(own), own.inputs()
    steps = [(plain(each, t == 0), plain.v) for t, each in enumerate(x.unbind(1))]
    spikes, v = (torch.stack(each, 1) for each in zip(*steps, strict=True))
    model = st.SpikingNet(nn.Sequential(made(own, returns=("spikes", "v"))), warn_silent=False)
    parts = [model(x[:, :4]), model(x[:, 4:], init=False)]
    assert model.explain(x).mode == "fold"
    assert_close([torch.cat(each, 1) for each in zip(*parts, strict=True)], [spikes, v])


@pytest.mark.parametrize("kind", ["LIFRecurrentCell", "LIFRefracRecurrentCell", "LSNNRecurrentCell"])
def test_no_gradient_flows_through_the_reset_of_these_cells_of_norse(kind: str) -> None:
    """Unlike in the same cells without a recurrence, whose spikes are the same where nothing comes back."""
    weights: Any = {"input_weights": torch.eye(M), "recurrent_weights": torch.zeros(M, M)}
    layers = getattr(norse, kind)(M, M, **weights), getattr(norse, kind.replace("Recurrent", ""))()
    x = (8.0 * normal(N, 30, M) + 8.0).requires_grad_()
    found = [outcome(st.SpikingNet(nn.Sequential(each.double()), warn_silent=False)(x), [x]) for each in layers]
    assert found[0][0].any()
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


def test_autapses_of_norse_are_zero_and_not_trained() -> None:
    layer = norse.LIFRecurrentCell(2, M)
    assert not layer.recurrent_weights.diagonal().any()
    out = st.SpikingNet(nn.Sequential(layer), mode="fold", warn_silent=False)(3.0 + 3.0 * torch.rand(4, 30, 2))
    (gradient,) = torch.autograd.grad(out.sum(), layer.recurrent_weights)
    assert not gradient.diagonal().any()
    assert gradient.any()
    free = norse.LIFRecurrentCell(2, M, recurrent_weights=torch.ones(M, M), autapses=True)
    assert torch.equal(free.recurrent_weights, torch.ones(M, M))


def test_a_container_leaves_the_text_to_the_layer_inside() -> None:
    assert jelly.LinearRecurrentContainer(jelly.IFNode(), 3, 3, step_mode="m").extra_repr() == ""
