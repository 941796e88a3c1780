"""Networks to initialise, their inputs, and the rates at which they fire."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.time_norm import TimeNorm
from tests.folded_layer import Coded
from tests.layers.test_activity import Deep

M = 40


def dense(**options: Any) -> nn.Linear:
    return nn.Linear(M, M, **options)


def coded(code: Any, linears: str, **neurons: nn.Module) -> nn.Module:
    """Return a network of linear layers and neurons by their names, and code that calls them."""
    return Coded(code, **{name: dense() for name in linears.split()}, **neurons)


def skip(net: Any, x: Tensor, init: Any) -> Any:
    """Skip past the first neurons, and into a ReLU over a sum."""
    first = net.l1(x)
    spikes = net.n2(first + net.l2(net.n1(first, init)), init=init)
    return net.n3(torch.relu(net.l3(spikes) + 0.1 * x), init)


def loop(net: Any, x: Tensor, init: Any) -> Any:
    """Let later neurons feed earlier ones."""
    x = net.l1(x)
    if not init:
        x = x + net.back(net.n2.s)
    return net.n2(net.l2(net.n1(x, init)), init)


def bio(net: Any, x: Tensor, init: Any) -> Any:
    """Give neurons two inputs, one of them by name."""
    excite = net.excite(x).abs()
    spikes = net.neurons(excite, xi=net.inhibit(x).abs(), init=init)
    excite.zero_()  # the memory is free to be written on
    return spikes


def gated(net: Any, x: Tensor, init: Any) -> Any:
    """Give neurons an input that does not scale: a factor enters in a gate as well."""
    return net.neurons(net.l1(x) * torch.sigmoid(4.0 * net.l2(x)), init)


def readout(net: Any, x: Tensor, init: Any) -> Any:
    """Give spikes to neurons and, beside them, to a readout that is silent."""
    spikes = net.n1(net.l1(x), init)
    return net.n2(net.l2(spikes), init), net.out(0.0 * net.l3(spikes), init)


def images() -> nn.Module:
    first = [nn.Conv2d(2, 6, 3), st.CoarseLIF(tau=4.0), nn.MaxPool2d(2)]
    return nn.Sequential(
        *first, nn.Conv2d(6, 4, 3, bias=False), st.LIF(), nn.Flatten(), nn.Linear(16, 30), st.LIF(), st.LI()
    )


# networks, and how the names of what is scaled begin
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "deep": (lambda: Deep(width=100), ("linears",)),
    "sequential": (lambda: nn.Sequential(dense(), st.LIF(), dense(), nn.PReLU(), st.CoarseLIF(tau=3.0)), ("0.", "2.")),
    "convolutions": (images, ("0.", "3.", "6.")),
    "recurrent": (
        lambda: nn.Sequential(dense(), st.LIF(recurrent=dense(bias=False)), dense(), st.McPitts(0.7)),
        ("0.", "2."),
    ),
    "norms": (
        lambda: nn.Sequential(*(dense(), nn.BatchNorm1d(M), st.LIF(v0=2.0), dense(), nn.LayerNorm(M), st.IF())),
        ("1.", "4."),
    ),
    "norms over time": (
        lambda: nn.Sequential(
            *(dense(), st.TimeBatchNorm1d(M), st.LIF(), dense(), st.ThresholdDependentBatchNorm(M, 0.5), st.LIF())
        ),
        ("1.norm.", "4.norm."),
    ),
    "dropout": (
        lambda: nn.Sequential(*(dense(), nn.Dropout(0.3), st.LIF(), st.SequenceDropout(0.2), dense(), st.LIF())),
        ("0.", "4."),
    ),
    "filter": (lambda: nn.Sequential(dense(), st.LI(), nn.ReLU(inplace=True), st.LIF()), ("0.",)),
    "skip": (lambda: coded(skip, "l1 l2 l3", n1=st.LIF(), n2=st.LIF(), n3=st.LIF()), ("l",)),
    "gated": (lambda: coded(gated, "l1 l2", neurons=st.LIF()), ("l1", "l2")),
    "loop": (lambda: coded(loop, "l1 l2 back", n1=st.LIF(), n2=st.LIF()), ("l", "back")),
    "two inputs": (lambda: coded(bio, "excite inhibit", neurons=st.BioLIF(nudt=0.4, v0=0.2)), ("excite", "inhibit")),
    "readout": (lambda: coded(readout, "l1 l2 l3", n1=st.IF(), n2=st.LIF(), out=st.LI()), ("l1", "l2")),
}


def batch(name: str) -> Tensor:
    shape = (12, 15, 2, 10, 10) if name == "convolutions" else (16, 20, 100) if name == "deep" else (24, 15, M)
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def network(name: str, **options: Any) -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(NETS[name][0](), **options)


def _keeping(outputs: list[Tensor]) -> Any:
    """Return a hook that keeps outputs."""

    def keep(_: nn.Module, args: Any, out: Any) -> None:
        outputs.append(out.double())

    return keep


def rates_of(model: st.SpikingNet, x: Tensor, lengths: Tensor | None = None) -> dict[str, float]:
    """Return the rates of what spikes, counted by hooks, without dropout."""
    model = copy.deepcopy(model)
    steps: dict[str, list[Tensor]] = {}
    for path, layer in model.net.named_modules():
        if isinstance(layer, nn.Dropout | st.SequenceDropout):
            layer.eval()
        elif isinstance(layer, StatefulLayer) and not isinstance(layer, st.LI | TimeNorm):
            steps[path] = []
            layer.register_forward_hook(_keeping(steps[path]))
    if any(isinstance(module, TimeNorm) for module in model.modules()):
        model.mode = "fold"
    model.warn_silent = False
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # that it steps, because of the hooks
        model(x, lengths=lengths)
    found = {}
    for path, outs in steps.items():
        spikes = torch.cat([out.unflatten(0, (len(x), -1)) for out in outs], 1)
        ends = [x.shape[1]] * x.shape[0] if lengths is None else lengths.tolist()
        found[path] = float(torch.cat([spikes[n, :end] for n, end in enumerate(ends)]).mean())
    return found


def numbers(tensors: Any) -> dict[str, Any]:
    return {name: None if each is None else (id(each), each.tolist()) for name, each in tensors}
