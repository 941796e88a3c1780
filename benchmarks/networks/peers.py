"""Other libraries' networks.

By step: one step through all layers, then the next step, as snnTorch and Norse document it. By layer: all steps through
a layer, then the next layer, as SpikingJelly and Sinabs document it. Of Norse, its own benchmark does so with a linear
layer; with a convolution that takes a reshape which neither Norse nor snnTorch documents.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.networks import EAGER, FLOOR, OLDER, older
from benchmarks.networks.architectures import Synapses
from benchmarks.peer_neurons import (
    Peer,
    logistic,
    norse_cell,
    norse_peer,
    snntorch_neuron,
    snntorch_peer,
    spikingjelly_node,
)

Run = Callable[[Tensor], Tensor]
Builder = Callable[[Synapses, float], Peer]


def chain(synapses: Synapses, neurons: list[Run]) -> Run:
    """Return a network by layer: the synapses see the first two axes, steps and batch, as one."""

    def run(xs: Tensor) -> Tensor:
        for synapse, over_time in zip(synapses, neurons, strict=True):
            xs = over_time(synapse(xs.flatten(0, 1)).unflatten(0, xs.shape[:2]))
        return xs

    return run


def by_layer(neuron: Callable[[float], Peer]) -> Builder:
    """Return the builder of networks by layer for a neuron of ``benchmarks.peers``."""

    def build(synapses: Synapses, decay: float) -> Peer:
        neurons = [neuron(decay) for _ in synapses]
        return neurons[0]._replace(run=chain(synapses, [peer.run for peer in neurons]))

    return build


def spikingjelly(synapses: Synapses, decay: float) -> Peer:
    """Return SpikingJelly's multi-step form; the container does what ``layer.Conv2d(step_mode="m")`` does."""
    from spikingjelly.activation_based import functional, layer

    net = nn.Sequential(*_alternate([layer.SeqToANNContainer(s) for s in synapses], lambda: spikingjelly_node(decay)))

    def run(xs: Tensor) -> Tensor:
        functional.reset_net(net)
        out: Tensor = net(xs)
        return out

    return Peer(run, logistic)


def snntorch(synapses: Synapses, decay: float) -> Peer:
    """Return snnTorch's form: a sequence of modules whose neurons hold their state, in a loop over steps."""
    from snntorch import utils

    net = nn.Sequential(*_alternate(synapses, lambda: snntorch_neuron(decay)))

    def run(xs: Tensor) -> Tensor:
        utils.reset(net)
        return torch.stack([net(x) for x in xs.unbind(0)])

    return snntorch_peer(run)


def norse(synapses: Synapses, decay: float) -> Peer:
    """Return Norse's form: ``SequentialState``, which takes and returns a list of states, in a loop over steps."""
    from norse.torch import SequentialState

    start = norse_cell(decay)[1]
    net = SequentialState(*_alternate(synapses, lambda: norse_cell(decay)[0]))

    def run(xs: Tensor) -> Tensor:
        state = [None, start] * len(synapses)
        outputs = []
        for x in xs.unbind(0):
            spikes, state = net(x, state)
            outputs.append(spikes)
        return torch.stack(outputs)

    return norse_peer(run, decay)


def rectified(synapses: Synapses, decay: float) -> Peer:  # noqa: ARG001
    """Return the synapses with ReLU between them, all steps at once."""
    return Peer(chain(synapses, [torch.relu] * len(synapses)), logistic)


def _alternate(synapses: Synapses, neuron: Callable[[], nn.Module]) -> list[nn.Module]:
    return [module for synapse in synapses for module in (synapse, neuron())]


BUILDERS: dict[str, Builder] = {
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
    "snntorch, by layer": by_layer(peers.snntorch),
    "norse": norse,
    "norse, by layer": by_layer(peers.norse),
    "sinabs": by_layer(peers.sinabs),
    EAGER: by_layer(peers.eager),
    OLDER: older.network,
    FLOOR: rectified,
}
