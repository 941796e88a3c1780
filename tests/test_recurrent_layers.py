"""Layers whose spikes come back to them: step by step, folded, and a numpy loop; their state, weights and errors."""

import copy
import io
import pickle
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close

SAMPLES, STEPS = 3, 9
DENSE, CHANNELS, KERNEL = "dense", "channels", "kernel"
SHAPES = {DENSE: (5,), CHANNELS: (4, 3, 3), KERNEL: (4, 3, 4)}
KINDS = tuple(SHAPES)


pytestmark = pytest.mark.usefixtures("one_thread")


class LeakyState(NamedTuple):
    v: Tensor


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
    "McPitts": lambda w: st.McPitts(thr=0.6, recurrent=w),
    "BioLIF": lambda w: st.BioLIF(nudt=0.9, v0=0.2, recurrent=w),
    "StepLayer": lambda w: st.StepLayer(leaky_step, LeakyState, keep=0.9, learnable="keep", recurrent=w),
}


def weights(kind: str, seed: int = 0) -> Any:
    """Return recurrent weights in float64, as a layer takes them."""
    torch.manual_seed(seed)
    if kind == CHANNELS:
        return torch.tensor([0.5, -0.5, 0.3, -0.2], dtype=torch.float64).reshape(4, 1, 1)
    given: nn.Linear | nn.Conv2d = (
        nn.Linear(5, 5, bias=False) if kind == DENSE else nn.Conv2d(4, 4, 3, padding="same", bias=False, groups=2)
    )
    return given.double()


def layer_of(name: str, kind: str) -> st.StepLayer:
    return MAKERS[name](weights(kind)).double()


def matrix(layer: st.StepLayer) -> Tensor:
    """Return the trained weight of a layer."""
    found: Any = layer.recurrent
    return found if isinstance(found, Tensor) else found.weight


def matrix_of(model: st.SpikingNet) -> Tensor:
    layer = model.net.layer
    assert isinstance(layer, st.StepLayer)
    return matrix(layer)


def train(kind: str, steps: int = STEPS, samples: int = SAMPLES, seed: int = 1) -> Tensor:
    drawn = torch.rand(
        samples, steps, *SHAPES[kind], dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return drawn * 1.2


def call(layer: st.StepLayer, x: Tensor, init: Any = False) -> Tensor:
    out: Tensor = layer(x, 0.3 * x, init) if isinstance(layer, st.BioLIF) else layer(x, init)
    return out


class Net(nn.Module):
    """A network of one layer."""

    def __init__(self, layer: st.StepLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return call(self.layer, x, init)


def model_of(name: str, kind: str, mode: Any = "auto", **options: Any) -> st.SpikingNet:
    return st.SpikingNet(Net(layer_of(name, kind)), SHAPES[kind], mode, **options)


def step_by_step(layer: st.StepLayer, xs: Tensor, init: Any = True) -> Tensor:
    return torch.stack([call(layer, xs[:, t], init if t == 0 else False) for t in range(xs.shape[1])], 1)


# the oracle


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


def neuron(name: str, v: np.ndarray, s: np.ndarray, x: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the membrane after one step and the output, by the table of the README."""
    one = np.ones_like(v)
    a = np.exp(-1 / 4.0)
    b = 4.0 * (1 - a)
    table: dict[str, Callable[[], tuple[np.ndarray, float]]] = {
        "IF": lambda: (v + x, 1.0),
        "IF-subtraction": lambda: (v + x, 1.0),
        "LIF": lambda: (np.exp(-1 / 8.0) * v + 8.0 * (1 - np.exp(-1 / 8.0)) * x, 1.0),
        "LIF-decay": lambda: (0.8 * v + x, 0.7),
        "LI": lambda: (a * v + b * x, np.inf),
        "CoarseLIF": lambda: (np.where(s == 1, 4.0 * (1 - b) * x, a * v + b * x), 1.0),
        "SpikingDecay": lambda: (v / 2.0 + x, 1.0),
        "McPitts": lambda: (x, 0.6),
        "BioLIF": lambda: (
            np.exp(-0.9 * (1 + x + xi)) * v + x / (1 + x + xi) * (1 - np.exp(-0.9 * (1 + x + xi))),
            0.2,
        ),
        "StepLayer": lambda: (0.9 * v + 0.5 * x, 0.6),
    }
    u, threshold = table[name]()
    spike = (u >= threshold) * one
    if name == "LI":
        return u, u
    return (u - threshold * spike if name in {"IF-subtraction", "StepLayer"} else u * (1 - spike)), spike


def oracle(name: str, kind: str, layer: st.StepLayer, xs: Tensor) -> Tensor:
    """Return the output at each step, (N, T, ...)."""
    weight, inputs = matrix(layer).detach().numpy(), xs.detach().numpy()
    v = s = np.zeros_like(inputs[:, 0])
    outs = []
    for t in range(inputs.shape[1]):
        x = inputs[:, t]
        v, s = neuron(name, v, s, x + currents(kind, weight, s), 0.3 * x)
        outs.append(s)
    return torch.from_numpy(np.stack(outs, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MAKERS)
def test_step_fold_and_oracle(name: str, kind: str) -> None:
    xs = train(kind)
    stepped, folded, auto = (model_of(name, kind, mode) for mode in ("step", "fold", "auto"))
    want = oracle(name, kind, layer_of(name, kind), xs)
    without = oracle(name, kind, layer_of(name, kind), xs[:, :1])
    assert want[:, 1:].any()
    assert_close(want[:, :1], without)
    assert_close(step_by_step(layer_of(name, kind), xs), want)
    results = []
    for model in (stepped, folded, auto):
        x = xs.clone().requires_grad_()
        out = model(x)
        assert_close(out, want)
        cotangent = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
        trained = dict(model.named_parameters())
        results.append([x, *trained.values()])
        assert sum(p is matrix_of(model) for p in model.parameters()) == 1
        found = torch.autograd.grad(out, results[-1], cotangent)
        assert all(bool(g.any()) for g in found), f"a gradient is zero, of {list(trained)}"
        results[-1] = list(found)
    assert_close(results[1], results[0])
    assert_close(results[2], results[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["LIF", "BioLIF", "StepLayer"])
def test_weights_matter(name: str, kind: str) -> None:
    """What comes back changes the output, and with weights of zero nothing does."""
    xs, layer = train(kind), layer_of(name, kind)
    want = step_by_step(layer, xs)
    with torch.no_grad():
        matrix(layer).zero_()
    silent = step_by_step(layer, xs)
    assert not torch.equal(silent, want)
    assert_close(silent, step_by_step(MAKERS[name](None).double(), xs))


@pytest.mark.parametrize("kind", KINDS)
def test_explain(kind: str) -> None:
    model = model_of("LIF", kind)
    model(train(kind))
    text = str(model.explain())
    assert text.startswith("fold")
    assert "fused" in text
    assert "loop: " not in text


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["IF", "CoarseLIF", "BioLIF", "LI"])
def test_a_stream_goes_on(name: str, kind: str, mode: Any) -> None:
    xs = train(kind)
    want = oracle(name, kind, layer_of(name, kind), xs)
    model = model_of(name, kind, mode)
    pieces = [model(xs[:, :1]), model(xs[:, 1:4], init=False), model(xs[:, 4:], init=False)]
    assert_close(torch.cat(pieces, 1), want)
    # and a new sequence forgets what came back as well
    assert_close(model(xs[:, :4]), want[:, :4])
    model.reset()
    assert_close(model(xs[:, :4], init=False), want[:, :4])


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_some_samples_start_anew(kind: str, mode: Any) -> None:
    xs, anew = train(kind), torch.tensor([True, False, True])
    model = model_of("IF", kind, mode)
    first = model(xs[:, :5])
    assert first[:, -1].any(), "nothing comes back"
    found = model(xs[:, 5:], init=anew)
    layer = layer_of("IF", kind)
    assert_close(found[anew], oracle("IF", kind, layer, xs[:, 5:])[anew])
    assert_close(found[~anew], oracle("IF", kind, layer, xs)[~anew][:, 5:])
    with_stale_s = oracle("IF", kind, layer, xs)[:, 5:]
    assert not torch.equal(found[anew], with_stale_s[anew])


@pytest.mark.parametrize("kind", KINDS)
def test_only_s_is_left_to_reset(kind: str) -> None:
    """McPitts has no memory but its spikes; a sample that starts anew loses them, the others keep them."""
    layer, xs = layer_of("McPitts", kind), train(kind)
    with torch.no_grad():
        matrix(layer).fill_(-10.0)
    assert call(layer, torch.ones_like(xs[:, 0]), init=True).all()
    spikes = call(layer, torch.ones_like(xs[:, 0]), init=torch.tensor([True, False, True]))
    assert spikes.flatten(1).all(1).tolist() == [True, False, True]
    assert not spikes[1].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MAKERS)
def test_state(name: str, kind: str) -> None:
    layer, xs = layer_of(name, kind), train(kind)
    assert layer.v is None
    assert layer.s is None
    outs = step_by_step(layer, xs)
    assert layer.s is not None
    assert torch.equal(layer.s, outs[:, -1])
    if name != "McPitts":
        assert layer.v is not None
        assert layer.v.requires_grad
        layer.detach_()
        assert not layer.v.requires_grad
    layer.detach_()
    out = call(layer, xs[:, 0])
    assert_close(out, oracle(name, kind, layer, torch.cat([xs, xs[:, :1]], 1))[:, -1])
    layer.reset()
    assert layer.v is None
    assert layer.s is None
    assert_close(call(layer, xs[:, 0]), outs[:, 0])
    layer.reset(xs[:, 0])
    assert_close(call(layer, xs[:, 0]), outs[:, 0])


def test_detach_cuts_what_comes_back() -> None:
    """McPitts remembers s alone: after detach_, a step has no gradient to the step before."""
    for cut in (False, True):
        layer = layer_of("McPitts", DENSE)
        xs = train(DENSE).requires_grad_()
        layer(xs[:, 0], True)
        if cut:
            layer.detach_()
        gradient = torch.autograd.grad(layer(xs[:, 1]).sum(), xs)[0]
        assert bool(gradient[:, 0].any()) != cut
        assert gradient[:, 1].any()


@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_time_chunks(kind: str, mode: Any) -> None:
    xs = train(kind)

    def run(**options: Any) -> tuple[Tensor, ...]:
        x, model = xs.clone().requires_grad_(), model_of("LIF", kind, mode, **options)
        out = model(x)
        weight = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
        return (out.detach(), *torch.autograd.grad(out, [x, matrix_of(model)], weight))

    whole, chunked, cut = run(), run(time_chunk=4), run(time_chunk=4, truncate=True)
    assert_close(chunked, whole)
    assert_close(cut[0], whole[0])
    assert not torch.allclose(cut[1], whole[1])
    # truncated: a sum over chunks, each of which starts from plain numbers, its s among them
    layer = layer_of("LIF", kind)
    x, outs = xs.clone().requires_grad_(), []
    for start in range(0, STEPS, 4):
        outs.append(step_by_step(layer, x[:, start : start + 4], init=start == 0))
        layer.detach_()
    out = torch.cat(outs, 1)
    weight = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
    assert_close(cut[1:], torch.autograd.grad(out, [x, matrix(layer)], weight))


def test_carry_graph() -> None:
    xs, model = train(DENSE).requires_grad_(), model_of("LIF", DENSE, carry_graph=True)
    out = torch.cat([model(xs[:, :4]), model(xs[:, 4:], init=False)], 1)
    whole = model_of("LIF", DENSE)
    want = whole(xs)
    weight = torch.rand_like(out)
    got = torch.autograd.grad(out, [xs, matrix_of(model)], weight)
    assert_close(got, torch.autograd.grad(want, [xs, matrix_of(whole)], weight))


# parameters


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MAKERS)
def test_the_weight_is_trained(name: str, kind: str) -> None:
    given = weights(kind)
    model = st.SpikingNet(Net(MAKERS[name](given)).double(), SHAPES[kind])
    names = [n for n, p in model.named_parameters() if p is matrix_of(model)]
    assert names == ["net.layer.recurrent" if kind == CHANNELS else "net.layer.recurrent.weight"]
    assert isinstance(matrix_of(model), nn.Parameter)
    assert names[0] in model.state_dict()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = matrix_of(model).detach().clone()
    model(train(kind)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, matrix_of(model))


def test_the_module_given_is_the_one_trained() -> None:
    given = weights(DENSE)
    assert matrix(st.IF(recurrent=given)) is given.weight
    parameter = nn.Parameter(torch.rand(5))
    assert matrix(st.IF(recurrent=parameter)) is parameter
    shared = nn.ModuleList([st.IF(recurrent=given), st.LIF(recurrent=given)])
    assert [p is given.weight for p in shared.parameters()] == [True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "save", "state_dict"])
def test_copies(kind: str, way: str) -> None:
    xs, layer = train(kind), layer_of("LIF", kind)
    step_by_step(layer, xs[:, :4])
    if way == "deepcopy":
        other = copy.deepcopy(layer)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(layer))
    elif way == "save":
        stored = io.BytesIO()
        torch.save(layer, stored)
        stored.seek(0)
        other = torch.load(stored, weights_only=False)
    else:
        other = MAKERS["LIF"](weights(kind, seed=7) * 0 if kind == CHANNELS else weights(kind, seed=7)).double()
        assert not torch.equal(matrix(other), matrix(layer))
        other.load_state_dict(layer.state_dict())
        step_by_step(other, xs[:, :4])
    assert matrix(other) is not matrix(layer)
    rest = oracle("LIF", kind, layer, xs)[:, 4:]
    assert_close(step_by_step(other, xs[:, 4:], init=False), rest)
    assert_close(step_by_step(layer, xs[:, 4:], init=False), rest)
    other.zero_grad()
    step_by_step(other, xs).sum().backward()
    assert matrix(other).grad is not None
    assert matrix(layer).grad is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["LIF", "LI", "BioLIF", "McPitts"])
def test_autocast(name: str, kind: str) -> None:
    """The products within the recurrence keep the precision of the state, in both ways of running."""
    xs = train(kind).float()
    found = []
    for mode in ("step", "fold"):
        model = model_of(name, kind, mode).float()
        with torch.autocast("cpu", torch.bfloat16):
            out = model(xs)
        out.sum().backward()
        found.append([out, matrix_of(model).grad])
        plain = model_of(name, kind, mode).float()
        assert_close(out, plain(xs))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind: str) -> None:
    xs = train(kind).bfloat16()
    stepped, folded = (st.SpikingNet(Net(MAKERS["LIF"](weights(kind)).bfloat16()), SHAPES[kind], m) for m in MODES)
    out = stepped(xs)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, folded(xs))


MODES: tuple[Any, Any] = ("step", "fold")


@pytest.mark.parametrize("kind", KINDS)
def test_transforms_and_compile(kind: str) -> None:
    xs, layer = train(kind, steps=4), layer_of("LIF", kind)
    model = st.SpikingNet(Net(layer), SHAPES[kind], "fold")
    names = {k: v.detach() for k, v in model.named_parameters()}
    scale = torch.cos(torch.arange(xs[:1].numel(), dtype=xs.dtype)).reshape(xs[:1].shape)

    def loss(params: Any, x: Tensor) -> Any:
        return (torch.func.functional_call(model, params, (x[None],)) * scale).sum()

    each = [torch.func.grad(loss)(names, x) for x in xs]
    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(names, xs)
    expected = []
    for x in xs:
        model.zero_grad()
        (step_by_step(layer, x[None]) * scale).sum().backward()
        expected.append(matrix(layer).grad)
    (key,) = names
    assert_close([e[key] for e in each], expected)
    assert_close(got[key], torch.stack(expected))  # type: ignore[arg-type]
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="aot_eager")
    assert_close(compiled(xs), oracle("LIF", kind, layer, xs))


def test_no_samples() -> None:
    for kind in KINDS:
        for mode in MODES:
            assert model_of("LIF", kind, mode)(train(kind, samples=0)).shape == (0, STEPS, *SHAPES[kind])


def test_repr() -> None:
    assert "recurrent" not in repr(st.LIF())
    assert "(recurrent): Linear(in_features=5, out_features=5, bias=False)" in repr(layer_of("LIF", DENSE))
    assert "(recurrent): Conv2d(4, 4" in repr(layer_of("IF", KERNEL))
    assert "recurrent=<4x1x1> (learnable)" in repr(layer_of("BioLIF", CHANNELS))
    assert repr(layer_of("StepLayer", CHANNELS)).startswith("StepLayer(leaky_step, keep=0.9 (learnable)")


def test_other_convolutions() -> None:
    for given, shape in (
        (nn.Conv1d(4, 4, 5, padding=2, bias=False, groups=4), (4, 6)),
        (nn.Conv3d(2, 2, (1, 3, 3), padding="same", bias=False), (2, 3, 3, 3)),
        (nn.Conv2d(4, 4, (3, 1), padding=(1, 0), bias=False), (4, 3, 4)),
    ):
        layer, xs = st.IF(recurrent=given), torch.rand(3, 4, *shape)
        v = s = torch.zeros(3, *shape)
        outs = []
        for t in range(4):
            u = v + xs[:, t] + given(s)
            s = (u >= 1).float()
            v = (1 - s) * u
            outs.append(s)
        assert_close(step_by_step(layer, xs), torch.stack(outs, 1))
        assert_close(st.SpikingNet(Net(layer), shape, "fold")(xs), torch.stack(outs, 1))


# what does not fit: what came and what is expected, or how to fix it


def conv(**options: Any) -> nn.Conv2d:
    given: dict[str, Any] = {"kernel_size": 3, "padding": "same", "bias": False} | options
    return nn.Conv2d(4, given.pop("out", 4), **given)


WRONG: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "bias": (nn.Linear(5, 5), ValueError, ("bias=True", "bias=False")),
    "bias of a convolution": (nn.Conv2d(4, 4, 3, padding=1), ValueError, ("Conv2d", "bias=False")),
    "not square": (nn.Linear(5, 4, bias=False), ValueError, ("from 5 to 4", "layer's own")),
    "other channels out": (conv(out=8), ValueError, ("from 4 to 8", "layer's own")),
    "even kernel": (nn.Conv2d(4, 4, 2, padding="same", bias=False), ValueError, (r"\(2, 2\)", "odd kernel")),
    "even in one axis": (conv(kernel_size=(3, 4)), ValueError, (r"\(3, 4\)", "odd kernel")),
    "stride": (conv(stride=2, padding=1), ValueError, (r"stride=\(2, 2\)", "stride 1")),
    "dilation": (conv(dilation=2), ValueError, (r"dilation=\(2, 2\)", "dilation 1")),
    "no padding": (conv(padding=0), ValueError, (r"kernel_size=\(3, 3\)", "padding='same'")),
    "padding by wrapping": (conv(padding_mode="circular"), ValueError, ("circular", "with zeros")),
    "integers": (torch.zeros(5, dtype=torch.int64), TypeError, ("int64", "floating", r"recurrent\.float\(\)")),
    "bools": (torch.zeros(5, dtype=torch.bool), TypeError, ("bool", "floating")),
    "complex": (torch.zeros(5, dtype=torch.complex64), TypeError, ("complex64", "real")),
    "string": ("dense", TypeError, ("str", r"nn\.Linear\(M, M, bias=False\)")),
    "number": (0.5, TypeError, ("float", "tensor that broadcasts")),
    "transposed convolution": (nn.ConvTranspose2d(4, 4, 3, bias=False), TypeError, ("ConvTranspose2d", "Conv2d")),
    "other module": (nn.ReLU(), TypeError, ("ReLU", r"nn\.Linear")),
    "function": (abs, TypeError, ("builtin_function", r"nn\.Linear")),
    "array": (np.zeros(5), TypeError, ("ndarray", "tensor")),
}


@pytest.mark.parametrize("what", WRONG)
def test_weights_that_are_refused(what: str) -> None:
    given, kind, words = WRONG[what]
    for maker in (MAKERS["LIF"], MAKERS["BioLIF"], MAKERS["StepLayer"]):
        with pytest.raises(kind, match="recurrent") as caught:
            maker(given)
        for word in words:
            assert re.search(word, str(caught.value)), f"{word!r} is not in {caught.value}"


MISFITS: dict[str, tuple[Any, tuple[int, ...], tuple[str, ...]]] = {
    "features": (nn.Linear(4, 4, bias=False), (2, 5), ("4 features", r"\(2, 5\)")),
    "channels": (nn.Conv2d(6, 6, 3, padding=1, bias=False), (2, 4, 6, 6), ("6 channels", r"\(2, 4, 6, 6\)")),
    "axes": (nn.Conv1d(4, 4, 3, padding=1, bias=False), (2, 4, 6, 6), ("4 channels", r"\(2, 4, 6, 6\)")),
    "too few axes": (nn.Conv2d(4, 4, 3, padding=1, bias=False), (2, 4, 6), (r"\(2, 4, 6\)",)),
    "neurons": (torch.zeros(4), (2, 5), (r"\(4,\)", r"\(2, 5\)", "broadcast")),
    "more axes": (torch.zeros(3, 2, 5), (2, 5), (r"\(3, 2, 5\)", r"\(2, 5\)", "broadcast")),
    "channels without axes": (torch.zeros(4), (2, 4, 6, 6), (r"\(4,\)", r"\(C, 1, 1\)")),
}


@pytest.mark.parametrize("what", MISFITS)
def test_weights_that_do_not_fit_the_input(what: str) -> None:
    given, shape, words = MISFITS[what]
    runs: tuple[Callable[[], Tensor], ...] = (
        lambda: st.LIF(recurrent=given)(torch.zeros(shape), True),
        lambda: st.SpikingNet(Net(st.LIF(recurrent=given)), shape[1:], "fold")(torch.zeros(shape)[:, None]),
    )
    for run in runs:
        with pytest.raises(ValueError, match="recurrent") as caught:
            run()
        for word in words:
            assert re.search(word, str(caught.value)), f"{word!r} is not in {caught.value}"


def test_mixed_dtypes() -> None:
    for given, shape in ((nn.Linear(5, 5, bias=False).double(), (2, 5)), (torch.zeros(5, dtype=torch.float64), (2, 5))):
        with pytest.raises(TypeError, match=r"float32.*recurrent.*float64"):
            st.LIF(recurrent=given)(torch.zeros(shape), True)
