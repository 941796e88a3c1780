"""Nodes of SpikingJelly and ours."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from spikingtorch import like
from tests.peers.pair import Pair, Theirs


def _pair(name: str, kind: str, *, mean: float, learned: tuple[str, ...] = (), **options: Any) -> Pair:
    """Return a pair of equal names and options."""

    def theirs() -> Theirs:
        node = getattr(neuron, kind)(**options).to(torch.get_default_dtype())
        states = {"v": "v"} | {"IzhikevichNode": {"w": "w"}, "CUBALIFNode": {"i": "c"}}.get(kind, {})

        def run(xs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
            node.reset()
            return torch.stack([node(x) for x in xs]), {ours: getattr(node, theirs) for ours, theirs in states.items()}

        return Theirs(run, {each: getattr(node, each) for each in learned}, node)

    return Pair(
        f"spikingjelly {name}",
        lambda: getattr(like.spikingjelly, kind)(**options),
        theirs,
        mean,
        spikes=kind != "LIAFNode",
    )


def _resets() -> Iterator[Pair]:
    resets: dict[str, dict[str, Any]] = {
        "to 0": {},
        "to -0.2": {"v_reset": -0.2},
        "soft": {"v_reset": None},
        "soft detached": {"v_reset": None, "detach_reset": True},
        "to -0.15 detached": {"v_reset": -0.15, "detach_reset": True},
    }
    for end, reset in resets.items():
        yield _pair(f"IFNode {end}", "IFNode", mean=0.2, v_threshold=0.9, **reset)
        for decay_input in (True, False):
            tau = 3.0
            mean = 0.6 if decay_input else 0.3
            which = f"{'' if decay_input else 'whole input '}{end}"
            yield _pair(f"LIFNode {which}", "LIFNode", mean=mean, tau=tau, decay_input=decay_input, **reset)
            options: dict[str, Any] = {"init_tau": tau, "decay_input": decay_input, **reset}
            yield _pair(f"ParametricLIFNode {which}", "ParametricLIFNode", mean=mean, learned=("w",), **options)
        yield _pair(f"QIFNode {end}", "QIFNode", mean=0.3, tau=3.0, v_threshold=0.7, **reset)
        yield _pair(f"EIFNode {end}", "EIFNode", mean=-0.1, tau=3.0, delta_T=0.7, **reset)
        recovery: dict[str, Any] = {"a": 0.3, "b": 0.1, "tau": 3.0, "tau_w": 5.0, "v_rest": -0.1, "w_rest": 0.1}
        yield _pair(f"IzhikevichNode {end}", "IzhikevichNode", mean=0.3, v_threshold=0.7, **recovery, **reset)
        for scale_reset in (True, False):
            which = f"{end}{' scaled' if scale_reset else ''}"
            options = {"scale_reset": scale_reset, "tau": 3.0, **reset}
            yield _pair(f"KLIFNode {which}", "KLIFNode", mean=0.5, learned=("k",), **options)
        if "detached" not in end:
            yield _pair(f"CUBALIFNode {end}", "CUBALIFNode", mean=0.1, **reset)
    liaf: dict[str, Any] = {"act": torch.tanh, "threshold_related": True, "tau": 3.0}
    yield _pair("LIAFNode", "LIAFNode", mean=0.5, **liaf)
    yield _pair("LIAFNode of the membrane", "LIAFNode", mean=0.5, **{**liaf, "threshold_related": False})


def _layer(name: str, make: Callable[[Any, Any], Any], *, mean: float, exact: bool = True, spikes: bool = True) -> Pair:
    """Return a pair of layers with an output as their state.

    Args:
        name: of the layer.
        make: makes a layer, of where layers and nodes are.
        mean: of the inputs.
        exact: whether sums are in their order.
        spikes: whether it gives out spikes.
    """

    def theirs() -> Theirs:
        found = make(layer, neuron).to(torch.get_default_dtype())

        def run(xs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
            functional.reset_net(found)
            outs = torch.stack([found(x) for x in xs])
            inside: Any = getattr(found, "sub_module", None)
            last: Any = inside[-1] if isinstance(inside, nn.Sequential) else inside
            return outs, {"i": outs[-1]} if last is None else {"v": last.v}

        return Theirs(run, dict(found.named_parameters()), found)

    jelly = like.spikingjelly
    return Pair(f"spikingjelly {name}", lambda: make(jelly, jelly), theirs, mean, spikes=spikes, exact=exact)


def _layers() -> list[Pair]:
    def chain(layers: Any, nodes: Any) -> Any:
        return layers.LinearRecurrentContainer(nn.Sequential(nn.Linear(8, 6), nodes.IFNode(v_reset=None)), 8, 6)

    return [
        _layer("SynapseFilter", lambda layers, _: layers.SynapseFilter(5.0), mean=0.2, spikes=False),
        _layer("SynapseFilter learned", lambda layers, _: layers.SynapseFilter(5.0, True), mean=0.2, spikes=False),
        _layer(
            "LinearRecurrentContainer",
            lambda layers, nodes: layers.LinearRecurrentContainer(nodes.ParametricLIFNode(3.0), 8, 8),
            mean=4.0,
            exact=False,
        ),
        _layer("LinearRecurrentContainer of a chain", chain, mean=1.0, exact=False),
        _layer(
            "ElementWiseRecurrentContainer",
            lambda layers, nodes: layers.ElementWiseRecurrentContainer(nodes.LIFNode(3.0), lambda y, x: x - 0.4 * y),
            mean=0.8,
        ),
    ]


PAIRS = [*_resets(), *_layers()]
_NAMED = {
    **{"Sigmoid": 3.0, "ATan": 3.0, "PiecewiseQuadratic": 1.5, "PiecewiseExp": 2.0, "SoftSign": 3.0},
    **{"SuperSpike": 2.0, "Erf": 1.5, "Rect": 0.7},
}
SURROGATES: dict[str, tuple[Any, Any]] = {
    name: (getattr(like.spikingjelly, name)(alpha), getattr(surrogate, name)(alpha)) for name, alpha in _NAMED.items()
}
