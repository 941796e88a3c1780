"""Networks to fold, and a comparison of two ways to run one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close, relative_error
from tests.drawn import outcome
from tests.every_layer import call

# largest max|a - b| / max|b| of a gradient
GRADIENT = {torch.float32: 1e-5, torch.float64: 1e-12}


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

    def forward(self, x: Tensor, init: bool) -> Any:
        s = self.sl2(self.conv2(self.sl1(self.conv1(x), init)), init)
        return self.sl3(self.l1(s.view(s.shape[0], -1)), init)


def lif(**options: Any) -> st.LIF:
    return st.LIF(tau=4.0, v0=0.4, **options)


def span(low: float, high: float, *shape: int) -> Tensor:
    """Return values from low to high, one for each channel or neuron."""
    count = torch.Size(shape).numel()
    return torch.linspace(low, high, count).reshape(shape)


NETS: dict[str, Callable[[], Chain | Images]] = {
    "linear": lambda: Chain(lif(), lif()),
    "tutorial": Images,
    "LI": lambda: Chain(lif(), st.LI()),
    "recurrent": lambda: Chain(st.LIF(v0=0.4, recurrent=nn.Linear(6, 6, bias=False)), st.LI()),
    "LIF, learning": lambda: Chain(
        st.LIF(span(2, 9, 6), span(0.3, 0.8, 6), learnable=True),
        st.LIF(v0=span(0.2, 0.6, 3), decay=span(0.4, 0.9, 3), learnable=True),
    ),
    "BioLIF, tracked": lambda: Chain(*[st.BioLIF(0.5, v0=0.2, track_act=True) for _ in range(2)]),
    "BioLIF, learning": lambda: Chain(
        st.BioLIF(0.5, span(0.1, 0.3, 6), learnable=True), st.BioLIF(span(0.3, 0.6, 3), 0.2, learnable=True)
    ),
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


def gradients(out: Tensor, model: st.SpikingNet, x: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a random sum of outputs, of x and of each parameter."""
    variables = {"x": x, **dict(model.named_parameters())}
    return dict(zip(variables, outcome(out, [*variables.values()])[1:], strict=True))


def slopes(function: Callable[[Tensor], Tensor], model: st.SpikingNet, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what a function of x that runs a model gives, and the gradients of a random sum of it."""
    x = x.clone().requires_grad_()
    out = function(x)
    return out.detach(), gradients(out, model, x)


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
