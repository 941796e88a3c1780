"""Our networks, in every mode of SpikingNet."""

from collections.abc import Callable
from typing import Any

from torch import nn

from benchmarks.inputs import BETA, THRESHOLD
from benchmarks.networks import CHUNKED, FOLD, STEP
from benchmarks.networks.architectures import Synapses
from benchmarks.networks.older import Net
from benchmarks.peer_neurons import Peer, logistic
from benchmarks.workloads import OURS
from spikingtorch import IF, LIF, SpikingNet

MODES: dict[str, dict[str, Any]] = {
    OURS: {},
    FOLD: {"mode": "fold"},
    STEP: {"mode": "step"},
    CHUNKED: {"mode": "fold", "time_chunk": 8},
}


def network(name: str) -> Callable[[Synapses, float], Peer]:
    """Return the builder of our network in one mode."""

    def build(synapses: Synapses, decay: float) -> Peer:
        neurons = [_neurons(decay) for _ in synapses]
        linear = [module for module in nn.ModuleList(synapses).modules() if isinstance(module, nn.Linear)]
        model = SpikingNet(Net(synapses, neurons), linear[-1].out_features, **MODES[name])
        return Peer(model, logistic, time=1)

    return build


def _neurons(decay: float) -> nn.Module:
    return IF(THRESHOLD, BETA) if decay == 1.0 else LIF(v0=THRESHOLD, beta=BETA, decay=decay)
