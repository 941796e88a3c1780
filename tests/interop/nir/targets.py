"""Networks for the readers of other libraries, and what each of these does not compute."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.like import norse, sinabs, snntorch, spikingjelly
from tests.folded_layer import Coded

TARGETS = ("snntorch", "norse", "sinabs", "spikingjelly")


def dense(first: nn.Module, last: nn.Module, inputs: int = 6, scale: float = 5.0) -> nn.Sequential:
    """Return two layers of 8 and 4 neurons."""
    return nn.Sequential(scaled(nn.Linear(inputs, 8), 4.0), first, scaled(nn.Linear(8, 4), scale), last)


def scaled(module: Any, factor: float) -> Any:
    """Return a module with larger weights, so that neurons fire."""
    with torch.no_grad():
        module.weight.mul_(factor)
    return module


def _images(*neurons: nn.Module, pool: nn.Module | None = None, entries: int = 27, **options: Any) -> nn.Sequential:
    """Return a convolution, a pool and two layers of neurons."""
    given: dict[str, Any] = {"padding": 1} | options
    convolution = scaled(nn.Conv2d(2, given.pop("channels", 3), 3, **given), 4.0)
    pooled = nn.AvgPool2d(2) if pool is None else pool
    return nn.Sequential(convolution, neurons[0], pooled, nn.Flatten(), scaled(nn.Linear(entries, 4), 9.0), neurons[1])


def skip(make: Callable[[], nn.Module]) -> nn.Module:
    """Return three layers, with connections that skip one."""

    def code(net: Any, x: Tensor, init: bool) -> Any:
        y = net.first(net.a(x), init)
        return net.third(net.c(net.second(net.b(y) + y, init) + y), init)

    weights = {name: scaled(nn.Linear(*sizes), 3.0) for name, sizes in {"a": (6, 8), "b": (8, 8), "c": (8, 4)}.items()}
    return Coded(code, **weights, first=make(), second=make(), third=make())


def diamond() -> nn.Module:
    """Return two branches of weights, added up."""
    weights = {"a": scaled(nn.Linear(6, 8), 3.0), "b": nn.Linear(6, 8)}
    return Coded(lambda net, x, init: net.neurons(net.a(x) + net.b(x), init), **weights, neurons=st.LIF(tau=3.0))


def counting(make: Any, **options: Any) -> nn.Module:
    """Return a neuron that fires as often in a step as its membrane holds thresholds."""
    return make(reset=F.by_subtraction, surrogate=F.MultiSpike(F.Sigmoid(5.0)), **options)


def back() -> nn.Linear:
    """Return recurrent weights for the first layer."""
    return nn.Linear(8, 8, bias=False)


TAUS = torch.linspace(2.0, 9.0, 8)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lif": (lambda: dense(st.LIF(tau=7.3, threshold=0.73), st.LIF(tau=2.2)), (6,)),
    "a tau for each neuron": (lambda: dense(st.LIF(tau=TAUS), st.LIF()), (6,)),
    "a threshold for each neuron": (lambda: dense(st.LIF(threshold=TAUS / 5.0), st.LIF()), (6,)),
    "above the threshold": (lambda: dense(st.IF(surrogate=F.Strict(F.Sigmoid())), st.LIF()), (6,)),
    "detached reset": (lambda: dense(st.LIF(reset=F.detached(F.to_zero)), st.IF(threshold=1.7)), (6,)),
    "learnable": (lambda: dense(st.LIF(tau=4.0, learnable=True), st.ParametricLIF(3.0)), (6,)),
    "no weights": (lambda: nn.Sequential(st.LIF(tau=3.0, threshold=0.5), nn.Linear(6, 4, bias=False), st.LIF()), (6,)),
    "cuba": (lambda: dense(st.CubaLIF(tau_syn=2.7, tau=5.1, threshold=0.8), st.CubaLIF(tau_syn=3.0, tau=3.0)), (6,)),
    "images": (lambda: _images(st.LIF(tau=3.0), st.IF()), (2, 6, 6)),
    "sums": (lambda: _images(st.LIF(tau=3.0), st.IF(), pool=nn.AvgPool2d(2, divisor_override=1)), (2, 6, 6)),
    "padded pool, groups": (
        lambda: _images(st.LIF(3.0), st.LIF(), pool=nn.AvgPool2d(3, 2, 1), entries=16, channels=4, groups=2, stride=2),
        (2, 6, 6),
    ),
    "padding same, no bias": (lambda: _images(st.IF(), st.IF(), padding="same", bias=False), (2, 6, 6)),
    "one dimension": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, groups=2), st.LIF(tau=3.0, threshold=0.3), nn.Flatten(), nn.Linear(40, 4), st.IF()
        ),
        (2, 12),
    ),
    "recurrent": (lambda: dense(st.LIF(tau=4.0, recurrent=back()), st.LIF()), (6,)),
    "recurrent, each by itself": (lambda: dense(st.LIF(tau=4.0, recurrent=0.3 * torch.randn(8)), st.LIF()), (6,)),
    "recurrent cuba": (lambda: dense(st.CubaLIF(recurrent=back()), st.LIF()), (6,)),
    "recurrent images": (
        lambda: _images(st.LIF(recurrent=nn.Conv2d(3, 3, 3, padding=1, bias=False)), st.LIF()),
        (2, 6, 6),
    ),
    "skip": (lambda: skip(lambda: st.LIF(tau=3.0)), (6,)),
    "diamond": (diamond, (6,)),
    "like snnTorch": (
        lambda: dense(
            snntorch.Leaky(0.9, reset_mechanism="zero"),
            snntorch.Synaptic(0.7, 0.8, reset_mechanism="zero", reset_delay=False),
        ),
        (6,),
    ),
    "like Norse": (
        lambda: dense(
            norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=200.0, v_th=0.3)),
            norse.LIFCell(norse.LIFParameters(tau_syn_inv=300.0, v_th=0.1)),
        ),
        (6,),
    ),
    "like SpikingJelly": (
        lambda: dense(spikingjelly.LIFNode(3.0), spikingjelly.ParametricLIFNode(2.5, decay_input=False)),
        (6,),
    ),
    "like SpikingJelly, current": (lambda: dense(spikingjelly.IFNode(), spikingjelly.CUBALIFNode(0.7, 0.8)), (6,)),
    "counts: like Sinabs": (lambda: dense(sinabs.LIF(5.0), sinabs.IAF(min_v_mem=-1.0)), (6,)),
    "counts: lif": (lambda: dense(counting(st.LIF, tau=TAUS, threshold=0.73), counting(st.LIF, tau=2.2)), (6,)),
    "counts: if": (lambda: dense(counting(st.IF), counting(st.IF, threshold=0.7)), (6,)),
    "counts: recurrent": (lambda: dense(counting(st.LIF, recurrent=back()), counting(st.LIF)), (6,)),
    "counts: one by one": (lambda: dense(counting(st.IF, recurrent=0.3 * torch.randn(8)), counting(st.LIF)), (6,)),
    "counts: skip": (lambda: skip(lambda: counting(st.LIF, tau=3.0)), (6,)),
    "counts: pool": (
        lambda: nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), scaled(nn.Linear(18, 6), 8.0), counting(st.LIF)),
        (2, 6, 6),
    ),
    "counts: readout": (lambda: dense(counting(st.LIF), st.ExponentialSynapse(3.0)), (6,)),
}

_COUNTS = {name: r"fires by MultiSpike, with other numbers" for name in NETWORKS if name.startswith("counts")}
_CYCLES = {name: r"is recurrent, and the reader of snnTorch 1.0.0 fails" for name in NETWORKS if "recurrent" in name}
_EACH = "a tau for each neuron", "a threshold for each neuron"
# what the export says of networks that a reader does not compute
REFUSED: dict[str, dict[str, str]] = {
    "snntorch": _CYCLES | _COUNTS | dict.fromkeys(_EACH, r"different threshold over gain .* takes one for a layer"),
    "norse": {
        "one dimension": r"'0' becomes a node Conv1d of NIR, which the reader of Norse 1.1.0 does not compute",
        "diamond": r"the reader of Norse 1.1.0 runs 'neurons' before 'b'",
    }
    | _COUNTS,
    "sinabs": {name: r"fires once in a step at most" for name in NETWORKS if not name.startswith("counts")}
    | {"one dimension": r"'0' becomes a node Conv1d of NIR"},
    "spikingjelly": _COUNTS | dict.fromkeys(_EACH, r"neurons of different .* takes one for a layer"),
}
READ = [(target, name) for target in TARGETS for name in NETWORKS if name not in REFUSED[target]]


def made(name: str, N: int = 3, T: int = 60, dtype: torch.dtype = torch.float32) -> tuple[st.SpikingNet, Tensor]:
    """Return a network of a name in evaluation, and inputs that make it fire."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    model = st.SpikingNet(make()).eval()
    x = torch.rand(N, T, *shape) * (torch.rand(N, T, *shape) < 0.4).float() * 1.5
    return model.to(dtype), x.to(dtype)
