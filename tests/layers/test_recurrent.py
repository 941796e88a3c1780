"""Layers whose spikes come back to them: step by step, folded, and fed by hand; their state, weights and errors."""

import copy
import re
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.every_layer import call
from tests.folded_layer import Lambda, draw, held, over_time

SAMPLES, STEPS = 3, 9
DENSE, CHANNELS, KERNEL = "dense", "channels", "kernel"
SHAPES = {DENSE: (5,), CHANNELS: (4, 3, 3), KERNEL: (4, 3, 4)}
MODES = ("step", "fold", "auto")
every_kind = pytest.mark.parametrize("kind", SHAPES)
pytestmark = pytest.mark.usefixtures("one_thread")

LeakyState = namedtuple("LeakyState", ["v"])


def leaky_step(state: LeakyState, x: Tensor, *, keep: Any, surrogate: F.Surrogate = F.Arctan()) -> Any:  # noqa: B008
    """A neuron of the user's own."""
    u = keep * state.v + 0.5 * x
    spike = surrogate(u - 0.6)
    return LeakyState(u - 0.6 * spike), spike


MAKERS: dict[str, Callable[[Any], st.StepLayer]] = {
    "IF": lambda w: st.IF(recurrent=w),
    "IF-subtraction": lambda w: st.IF(reset=F.by_subtraction, recurrent=w),
    "LIF": lambda w: st.LIF(tau=8.0, recurrent=w),
    "LIF-decay": lambda w: st.LIF(decay=0.8, v0=0.7, learnable=True, recurrent=w),
    "LI": lambda w: st.LI(tau=4.0, recurrent=w),
    "CoarseLIF": lambda w: st.CoarseLIF(tau=4.0, recurrent=w),
    "SpikingDecay": lambda w: st.SpikingDecay(tau=2.0, recurrent=w),
    "McPitts": lambda w: st.McPitts(threshold=0.6, recurrent=w),
    "BioLIF": lambda w: st.BioLIF(nudt=0.9, v0=0.2, recurrent=w),
    "StepLayer": lambda w: st.StepLayer(leaky_step, LeakyState, keep=0.9, learnable="keep", recurrent=w),
}


def weights(kind: str) -> Any:
    """Return recurrent weights in float64, as a layer takes them."""
    torch.manual_seed(0)
    if kind == CHANNELS:
        return torch.tensor([0.5, -0.5, 0.3, -0.2], dtype=torch.float64).reshape(4, 1, 1)
    given: nn.Linear | nn.Conv2d = (
        nn.Linear(5, 5, bias=False) if kind == DENSE else nn.Conv2d(4, 4, 3, padding="same", bias=False, groups=2)
    )
    return given.double()


def layer_of(name: str, kind: str) -> Any:
    return MAKERS[name](weights(kind)).double()


def matrix(layer: Any) -> Tensor:
    """Return the trained weight of a layer."""
    found: Any = layer.recurrent
    return found if isinstance(found, Tensor) else found.weight


def model_of(name: str, kind: str, mode: str = "auto", **options: Any) -> st.SpikingNet:
    return over_time(layer_of(name, kind), *SHAPES[kind], mode=mode, **options)


def train(kind: str, steps: int = STEPS, samples: int = SAMPLES) -> Tensor:
    return 1.2 * draw(1, samples, steps, *SHAPES[kind])


def step_by_step(layer: st.StepLayer, xs: Tensor, init: bool = True) -> Tensor:
    return torch.stack([call(layer, x, init and t == 0) for t, x in enumerate(xs.unbind(1))], 1)


def pulled(out: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Return the gradients for random cotangents."""
    return list(torch.autograd.grad(out, leaves, draw(2, *out.shape) - 0.5))


# --- the oracle -------------------------------------------------------------------------------------------------------


def currents(kind: str, weight: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return the recurrent currents of a batch, as sums over one index after the other."""
    if kind == CHANNELS:
        return np.asarray(weight * s)
    found = np.zeros_like(s)
    if kind == DENSE:
        for n, j in np.ndindex(*s.shape):
            found[n, j] = sum(weight[j, k] * s[n, k] for k in range(s.shape[1]))
        return found
    rows, columns = s.shape[2:]
    around = np.pad(s, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for c, d, a, b in np.ndindex(*weight.shape):
        found[:, c] += weight[c, d, a, b] * around[:, c // 2 * 2 + d, a : a + rows, b : b + columns]
    return found


def oracle(name: str, kind: str, xs: Tensor) -> Tensor:
    """Return the output at each step, (N, T, ...), of the neuron alone, which is fed the recurrent currents by hand."""
    weight, alone = matrix(layer_of(name, kind)).detach().numpy(), MAKERS[name](None).double()
    s, outs = torch.zeros_like(xs[:, 0]), []
    for t, x in enumerate(xs.detach().unbind(1)):
        arriving = x + torch.from_numpy(currents(kind, weight, s.numpy()))
        inputs = (arriving, 0.5 * x) if name == "BioLIF" else (arriving,)
        s = alone(*inputs, t == 0).detach()
        outs.append(s)
    return torch.stack(outs, 1)


@pytest.mark.sampled
@every_kind
@pytest.mark.parametrize("name", MAKERS)
def test_step_fold_and_oracle(name: str, kind: str) -> None:
    xs, layer = train(kind), layer_of(name, kind)
    want, without = oracle(name, kind, xs), step_by_step(MAKERS[name](None).double(), xs)
    assert not torch.equal(want, without)
    assert_close(step_by_step(layer, xs), want)
    found = []
    for model in (models := [model_of(name, kind, mode) for mode in MODES]):
        x = xs.clone().requires_grad_()
        out = model(x)
        assert_close(out, want)
        (trained,) = [name for name, p in model.named_parameters() if p is matrix(held(model))]
        assert trained == "net.layer.recurrent" + ("" if kind == CHANNELS else ".weight")
        assert trained in model.state_dict()
        assert held(model).s.untyped_storage().nbytes() == held(model).s.nbytes
        found.append(pulled(out, [x, *model.parameters()]))
        assert all(bool(each.any()) for each in found[-1]), "a gradient is zero"
        assert_close(found[-1], found[0])
    report = str(models[-1].explain())
    assert report.startswith("fold")
    assert "fused" in report
    assert "loop: " not in report
    with torch.no_grad():
        matrix(layer).zero_()
    assert_close(step_by_step(layer, xs), without)


# --- state ------------------------------------------------------------------------------------------------------------


def test_the_module_given_is_the_one_trained() -> None:
    given = weights(DENSE)
    assert matrix(st.IF(recurrent=given)) is given.weight
    parameter = nn.Parameter(torch.rand(5))
    assert matrix(st.IF(recurrent=parameter)) is parameter
    assert matrix(st.IF(recurrent=parameter.data)).data_ptr() != parameter.data_ptr()
    shared = nn.ModuleList([st.IF(recurrent=given), st.LIF(recurrent=given)])
    assert [p is given.weight for p in shared.parameters()] == [True]


# --- types, transforms, shapes ----------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("name", ["LIF", "LI", "BioLIF", "McPitts"])
def test_autocast(name: str, kind: str) -> None:
    """The products within the recurrence keep the precision of the state, in both ways of running."""
    xs, found = train(kind).float(), []
    for mode in ("step", "fold"):
        model = model_of(name, kind, mode).float()
        with torch.autocast("cpu", torch.bfloat16):
            out = model(xs)
        found.append([out, *torch.autograd.grad(out.sum(), matrix(held(model)))])
        assert_close(out, model_of(name, kind, mode).float()(xs))
    assert_close(found[1], found[0])


@every_kind
def test_half_precision(kind: str) -> None:
    stepped, folded = (model_of("LIF", kind, mode).bfloat16() for mode in ("step", "fold"))
    out = stepped(train(kind).bfloat16())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, folded(train(kind).bfloat16()))


def test_repr() -> None:
    assert "recurrent" not in repr(st.LIF())
    assert "(recurrent): Linear(in_features=5, out_features=5, bias=False)" in repr(layer_of("LIF", DENSE))
    assert "(recurrent): Conv2d(4, 4" in repr(layer_of("IF", KERNEL))
    assert "recurrent=<4x1x1> (learnable)" in repr(layer_of("BioLIF", CHANNELS))
    assert repr(layer_of("StepLayer", CHANNELS)).startswith("StepLayer(leaky_step, keep=0.9 (learnable)")


OTHERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv1d(4, 4, 5, padding=2, bias=False, groups=4), (4, 6)),
    (nn.Conv3d(2, 2, (1, 3, 3), padding="same", bias=False), (2, 3, 3, 3)),
    (nn.Conv2d(4, 4, (3, 1), padding=(1, 0), bias=False), (4, 3, 4)),
]


@pytest.mark.parametrize(("given", "shape"), OTHERS)
def test_other_convolutions(given: Any, shape: tuple[int, ...]) -> None:
    layer, xs = st.IF(recurrent=given), torch.rand(3, 4, *shape)
    v = s = torch.zeros(3, *shape)
    outs = []
    for x in xs.unbind(1):
        u = v + x + given(s)
        s = (u >= 1).float()
        v = (1 - s) * u
        outs.append(s)
    assert_close(step_by_step(layer, xs), torch.stack(outs, 1))
    assert_close(over_time(layer, *shape)(xs), torch.stack(outs, 1))


# --- what does not fit: what came and what is expected, or how to fix it ----------------------------------------------


def conv(channels: int = 4, **options: Any) -> nn.Conv2d:
    chosen: Any = {"kernel_size": 3, "padding": "same", "bias": False} | options
    return nn.Conv2d(4, channels, **chosen)


# the weights, the shape of an input that they do not fit or None for none at all, and what the error says
WRONG: dict[str, tuple[Any, Any, type[Exception], tuple[str, ...]]] = {
    "bias": (nn.Linear(5, 5), None, ValueError, ("bias=True", "bias=False")),
    "bias of a convolution": (conv(bias=True), None, ValueError, ("Conv2d", "bias=False")),
    "not square": (nn.Linear(5, 4, bias=False), None, ValueError, ("from 5 to 4", "layer's own")),
    "other channels out": (conv(8), None, ValueError, ("from 4 to 8", "layer's own")),
    "even kernel": (conv(kernel_size=2), None, ValueError, (r"\(2, 2\)", "odd kernel")),
    "even in one axis": (conv(kernel_size=(3, 4)), None, ValueError, (r"\(3, 4\)", "odd kernel")),
    "stride": (conv(stride=2, padding=1), None, ValueError, (r"stride=\(2, 2\)", "stride 1")),
    "dilation": (conv(dilation=2), None, ValueError, (r"dilation=\(2, 2\)", "dilation 1")),
    "no padding": (conv(padding=0), None, ValueError, (r"kernel_size=\(3, 3\)", "padding='same'")),
    "padding by wrapping": (conv(padding_mode="circular"), None, ValueError, ("circular", "with zeros")),
    "integers": (torch.zeros(5, dtype=torch.int64), None, TypeError, ("int64", "floating", r"recurrent\.float\(\)")),
    "bools": (torch.zeros(5, dtype=torch.bool), None, TypeError, ("bool", "floating")),
    "complex": (torch.zeros(5, dtype=torch.complex64), None, TypeError, ("complex64", "real")),
    "string": ("dense", None, TypeError, ("str", r"nn\.Linear\(M, M, bias=False\)")),
    "number": (0.5, None, TypeError, ("float", "tensor that broadcasts")),
    "transposed convolution": (nn.ConvTranspose2d(4, 4, 3, bias=False), None, TypeError, ("ConvTranspose2d", "Conv2d")),
    "other module": (nn.ReLU(), None, TypeError, ("ReLU", r"nn\.Linear")),
    "function": (abs, None, TypeError, ("builtin_function", r"nn\.Linear")),
    "array": (np.zeros(5), None, TypeError, ("ndarray", "tensor")),
    "features": (nn.Linear(4, 4, bias=False), (2, 5), ValueError, ("4 features", r"\(2, 5\), expected \(N, \.\.\., 4")),
    "no samples": (nn.Linear(5, 5, bias=False), (5,), ValueError, (r"\(N, \.\.\., 5\), samples first",)),
    "channels": (
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        (2, 4, 6, 6),
        ValueError,
        ("6 channels", r"\(2, 4, 6, 6\), expected \(N, \.\.\., 6, H, W\)"),
    ),
    "axes": (nn.Conv1d(4, 4, 3, padding=1, bias=False), (2, 4, 6, 6), ValueError, ("4 channels", r"\.\.\., 4, W\)")),
    "too few axes": (conv(), (2, 4, 6), ValueError, (r"\(2, 4, 6\)",)),
    "neurons": (torch.zeros(4), (2, 5), ValueError, (r"\(4,\)", r"\(2, 5\)", "broadcast")),
    "more axes": (torch.zeros(3, 2, 5), (2, 5), ValueError, (r"\(3, 2, 5\)", r"\(2, 5\)", "broadcast")),
    "channels without axes": (torch.zeros(4), (2, 4, 6, 6), ValueError, (r"\(4,\)", r"\(C, 1, 1\)")),
    "a dtype": (nn.Linear(5, 5, bias=False).double(), (2, 5), TypeError, ("float32.*recurrent.*float64",)),
    "a dtype of neurons": (torch.zeros(5, dtype=torch.float64), (2, 5), TypeError, ("float32.*recurrent.*float64",)),
}


@pytest.mark.parametrize("what", WRONG)
def test_weights_that_do_not_fit(what: str) -> None:
    given, shape, error, words = WRONG[what]
    uses: list[Callable[[], Any]] = [partial(MAKERS[name], given) for name in ("LIF", "BioLIF", "StepLayer")]
    if shape is not None:
        layer, x = st.LIF(recurrent=given), torch.zeros(shape)
        uses = [lambda: layer(x, True), lambda: over_time(layer, *shape[1:])(x[:, None])]
        uses = uses[: 1 if error is TypeError else 2]  # a network finds other dtypes by itself
    for use in uses:
        with pytest.raises(error, match="recurrent") as caught:
            use()
        for word in words:
            assert re.search(word, str(caught.value)), f"{word!r} is not in {caught.value}"


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
    layer: Any = st.LIF(recurrent=nn.Parameter(torch.ones(3)))
    x = torch.ones(2, 3)
    nn.utils.parametrize.register_parametrization(layer, "recurrent", Lambda(lambda _, x: x / 2))
    out = layer(x, True)
    copied = copy.deepcopy(layer)
    assert torch.equal(copied.v, layer.v)
    assert torch.equal(copied(x), layer(x))
    assert torch.equal(copied(x, True), out)
    copied.get_parameter("parametrizations.recurrent.original").data.zero_()
    assert layer.recurrent.tolist() == [0.5, 0.5, 0.5]
