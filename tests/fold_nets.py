"""Networks to fold, and a comparison of two ways to run one that knows how near its membranes come to the threshold."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close, relative_error
from tests.every_layer import FILTERS, LAYERS, NOISE, call

# largest max|a - b| / max|b| of a gradient
GRADIENT = {torch.float32: 1e-5, torch.float64: 1e-12}
RULES = (F.to_zero, F.by_subtraction, F.none)
RESETS: dict[str, F.Reset] = {
    **{rule.__name__: rule for rule in RULES},
    **{f"detached {rule.__name__}": F.detached(rule) for rule in RULES},
}


class Chain(nn.Module):
    """Two linear layers, each with a spiking layer behind it."""

    def __init__(self, first: st.StepLayer, second: st.StepLayer) -> None:
        super().__init__()
        self.l1 = nn.Linear(4, 6)
        self.first = first
        self.l2 = nn.Linear(6, 3)
        self.second = second

    def forward(self, x: Tensor, init: bool) -> Tensor:
        return self.fire(self.second, self.l2(self.fire(self.first, self.l1(x), init)), init)

    @staticmethod
    def fire(layer: st.StepLayer, x: Tensor, init: bool) -> Tensor:
        return call(layer, x.abs() if isinstance(layer, st.BioLIF) else x, init)  # conductances are positive


class Images(nn.Module):
    """The network of the tutorial, with any neurons."""

    def __init__(self, *neurons: st.StepLayer, size: int = 28) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, (4, 4), stride=2)
        self.conv2 = nn.Conv2d(4, 6, (4, 4))
        side = (size - 4) // 2 - 2
        self.size = size
        self.l1 = nn.Linear(6 * side**2, 10, bias=False)
        self.sl1, self.sl2, self.sl3 = neurons or (st.IF(), st.IF(), st.IF())

    def forward(self, x: Tensor, init: bool) -> Tensor:
        s = self.sl2(self.conv2(self.sl1(self.conv1(x), init)), init)
        out: Tensor = self.sl3(self.l1(s.view(s.shape[0], -1)), init)
        return out


def lif(**options: Any) -> st.LIF:
    return st.LIF(tau=4.0, v0=0.4, **options)


def span(low: float, high: float, *shape: int) -> Tensor:
    """Return values from low to high, one for each channel or neuron."""
    count = torch.Size(shape).numel()
    return torch.linspace(low, high, count).reshape(shape)


def _of_two(name: str) -> Chain:
    return Chain(copy.deepcopy(LAYERS[name]) if name not in FILTERS else lif(), copy.deepcopy(LAYERS[name]))


def _biolif(reset: F.Reset) -> st.BioLIF:
    return st.BioLIF(0.5, v0=0.2, reset=reset, track_act=True)


def _with_reset(make: Callable[..., st.StepLayer], rule: F.Reset) -> Chain:
    return Chain(make(reset=rule), make(reset=rule))


def _per_channel() -> Images:
    neurons = [st.LIF(span(2, 9, c, 1, 1), span(0.4, 0.9, c, 1, 1), learnable=True) for c in (4, 6)]
    return Images(*neurons, st.LIF(span(2, 9, 10), 0.1, learnable=True), size=14)


NETS: dict[str, Callable[[], Chain | Images]] = {
    "linear": lambda: Chain(lif(), lif()),
    "tutorial": Images,
    **{name: partial(_of_two, name) for name in LAYERS},
    **{f"LIF, {label}": partial(_with_reset, lif, rule) for label, rule in RESETS.items()},
    **{f"BioLIF, {label}": partial(_with_reset, _biolif, rule) for label, rule in RESETS.items()},
    "IF, learning": lambda: Chain(st.IF(span(0.3, 0.8, 6), learnable="v0"), st.IF(span(0.2, 0.6, 3), learnable=True)),
    "LIF, learning": lambda: Chain(
        st.LIF(span(2, 9, 6), span(0.3, 0.8, 6), learnable=True),
        st.LIF(v0=span(0.2, 0.6, 3), decay=span(0.4, 0.9, 3), learnable=True),
    ),
    "LI, learning": lambda: Chain(lif(learnable=True), st.LI(span(2, 9, 3), learnable=True)),
    "CoarseLIF, learning": lambda: Chain(
        st.CoarseLIF(span(2, 9, 6), span(0.3, 0.8, 6), learnable=True), st.CoarseLIF(4.0, 0.3, learnable=True)
    ),
    # a steep sigmoid is flat far from the threshold, where torch's own derivative of it has few digits in float32
    "SpikingDecay, learning": lambda: Chain(
        st.SpikingDecay(span(1.5, 4, 6), 0.5, beta=2.0, learnable=True),
        st.SpikingDecay(2.0, span(0.2, 0.6, 3), beta=2.0, learnable=True),
    ),
    "McPitts, learning": lambda: Chain(st.McPitts(span(0.2, 0.8, 6), learnable=True), st.McPitts(0.5, learnable=True)),
    "BioLIF, learning": lambda: Chain(
        st.BioLIF(0.5, span(0.1, 0.3, 6), learnable=True), st.BioLIF(span(0.3, 0.6, 3), 0.2, learnable=True)
    ),
    "LIF per channel, learning": _per_channel,
}


def network(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> st.SpikingNet:
    """Return a network over time; the same name has the same weights."""
    torch.manual_seed(0)
    net = NETS[name]()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight *= 6 if "BioLIF" in name else 2  # so that deep layers spike
        if isinstance(net, Chain):
            net.l2.bias.add_(0.4)
    return st.SpikingNet(net.to(dtype), 10 if isinstance(net, Images) else 3, **options)


def train(model: st.SpikingNet, N: int, T: int, seed: int = 1) -> Tensor:
    """Return an input, (N, T, ...): spikes for images, currents otherwise."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    if isinstance(model.net, Images):
        return torch.rand(N, T, 1, model.net.size, model.net.size, generator=generator).lt(0.4).to(dtype)
    return (3 * torch.rand(N, T, 4, generator=generator) - 0.5).to(dtype)


class Run(NamedTuple):
    """What a call of a model gave."""

    out: Tensor
    spikes: dict[str, Tensor]  # of each spiking layer, (N, T, ...)
    gradients: dict[str, Tensor]  # of x and of each parameter
    state: dict[str, Any]  # what v, s and act of each layer are afterwards


def layers(model: st.SpikingNet) -> dict[str, st.StepLayer]:
    return {name: m for name, m in model.net.named_modules() if isinstance(m, st.StepLayer)}


def states(model: st.SpikingNet) -> dict[str, Any]:
    """Return v, s and act of each spiking layer."""
    return {
        f"{name}.{what}": value
        for name, layer in layers(model).items()
        for what in ("v", "s", "act")
        if (value := getattr(layer, what, None)) is not None
    }


def cotangent_like(out: Tensor) -> Tensor:
    return torch.randn(out.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(out.dtype)


def gradients(out: Tensor, model: st.SpikingNet, x: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a random sum of outputs, of x and of each parameter."""
    variables = {"x": x, **dict(model.named_parameters())}
    options = {"allow_unused": True, "materialize_grads": True}
    found = torch.autograd.grad(out, list(variables.values()), cotangent_like(out), **options)
    return dict(zip(variables, found, strict=True))


def slopes(function: Callable[[Tensor], Tensor], model: st.SpikingNet, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what a function of x that runs a model gives, and the gradients of a random sum of it."""
    x = x.clone().requires_grad_()
    out = function(x)
    return out.detach(), gradients(out, model, x)


def run(model: st.SpikingNet, x: Tensor) -> Run:
    """Run a model and pull random cotangents back; not for auto, which steps where there are hooks."""
    N, T = x.shape[:2]
    seen: dict[str, list[Tensor]] = {}

    def note(name: str) -> Any:
        return lambda _module, _inputs, out: seen.setdefault(name, []).append(out.detach())

    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers(model).items()]
    out, found = slopes(model, model, x)
    for hook in hooks:
        hook.remove()
    folded = all(len(calls) == 1 and len(calls[0]) == N * T for calls in seen.values())
    assert folded or all([len(each) for each in calls] == [N] * T for calls in seen.values())
    spikes = {name: calls[0].unflatten(0, (N, T)) if folded else torch.stack(calls, 1) for name, calls in seen.items()}
    return Run(out, spikes, found, states(model))


@torch.no_grad()
def least_margin(model: st.SpikingNet, x: Tensor) -> float:
    """Return how near a membrane comes to its threshold, step by step in float64."""
    twin = copy.deepcopy(model).double()
    twin.mode = "step"
    spike = Margins()
    fires = [layer for layer in layers(twin).values() if spiking(layer)]
    for layer in fires:
        graded = isinstance(layer.surrogate, F.Graded)
        object.__setattr__(layer, "surrogate", F.Graded(spike) if graded else spike)
    twin(x.double())
    assert len(spike.found) == len(fires) * x.shape[1]
    return min(spike.found)


class Margins:
    """A surrogate that notes how near membranes come to their thresholds, or probabilities to the noise of ``call``."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def __call__(self, margin: Tensor) -> Tensor:
        self.found.append(float(margin.abs().min()))
        return (margin >= 0).to(margin)

    def primitive(self, margin: Tensor) -> Tensor:
        p = F.Sigmoid().primitive(margin)
        self.found.append(float((p - NOISE).abs().min()))
        return p


def spiking(layer: st.StepLayer) -> bool:
    """Say whether a layer has spikes of its own."""
    return "surrogate" in layer._attributes


def decided(model: st.SpikingNet, N: int, T: int) -> Tensor:
    """Return the first input that keeps all membranes so far from their thresholds that rounding makes no spike."""
    inputs = (train(model, N, T, seed) for seed in range(200))
    return next(x for x in inputs if least_margin(model, x) > 100 * torch.finfo(x.dtype).eps)


def assert_gradients(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Assert that gradients agree, norm-wise."""
    assert got.keys() == want.keys()
    errors = {name: relative_error(got[name], want[name]) for name in want}
    wrong = {name: error for name, error in errors.items() if not error <= GRADIENT[want[name].dtype]}
    assert not wrong, f"gradients are off: {wrong}"


def assert_same(got: tuple[Tensor, dict[str, Tensor]], want: tuple[Tensor, dict[str, Tensor]]) -> None:
    """Assert that the outputs and gradients that ``slopes`` returns agree."""
    assert_close(got[0], want[0])
    assert_gradients(got[1], want[1])


def assert_as_exact(got: dict[str, Tensor], want: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    """Assert that float32 gradients come as close to those in float64 as stepping does, which rounds as well."""
    assert got.keys() == want.keys() == exact.keys()
    for name, reference in exact.items():
        ours, theirs = (relative_error(each[name].double(), reference) for each in (got, want))
        assert ours <= max(GRADIENT[torch.float32], 2 * theirs), (name, ours, theirs)
