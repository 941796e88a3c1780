"""Fixtures that SpikingJelly writes: `python -m tests.interop.nir.peers.write_spikingjelly` where it is installed.

Written with spikingjelly 2.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from functools import partial
from typing import Any

from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir

from tests.interop.nir.peers import fixture, writing
from tests.interop.nir.peers.writing import conv, tied


def start(net: Any) -> Any:
    functional.reset_net(net)
    return net


mlp = partial(writing.mlp, first=layer.Linear, second=partial(layer.Linear, bias=False))
peer = writing.Peer(
    "spikingjelly",
    (neuron.BaseNode,),
    (),
    1e-4,
    start,
    lambda net, xs, told: export_to_nir(start(net), xs[0], **told),
    {"dt": 1e-4},
    node=lambda neuron, name: f"_{name}",
)


def main() -> None:
    x, image = fixture.spikes_in(0, (5,)), fixture.spikes_in(1, (1, 6, 6))
    peer.write("lif_whole_input", mlp(neuron.LIFNode(tau=4.0, decay_input=False)), x)
    peer.write("lif_reset", mlp(neuron.LIFNode(tau=4.0, v_reset=-0.4)), x)
    peer.write("lif_dt", mlp(neuron.LIFNode(tau=4.0)), x, dt=1e-3)
    peer.write("lif_ties", tied(mlp(neuron.LIFNode(tau=2.0)), 1 / 2, 1 / 2), x, balanced=False)
    peer.write("if_reset", mlp(neuron.IFNode(v_reset=0.3)), x)
    peer.write("cuba_lif", mlp(neuron.CUBALIFNode(), neuron.CUBALIFNode(c_decay=0.3)), x)
    peer.write("cuba_lif_reset", mlp(neuron.CUBALIFNode(v_reset=-0.4)), x)
    first, second = layer.Conv2d(1, 2, 3, padding=1, bias=False), layer.Linear(18, 3)
    neurons, last = neuron.LIFNode(tau=4.0), neuron.LIFNode(tau=4.0)
    peer.write("conv", conv(first, neurons, layer.AvgPool2d(2), second, last, layer.Flatten), image)


if __name__ == "__main__":
    main()
