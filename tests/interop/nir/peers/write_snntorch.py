"""Fixtures that snnTorch writes: `python -m tests.interop.nir.peers.write_snntorch` where snnTorch is installed.

Written with snntorch 1.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from typing import Any

import snntorch
import torch
from snntorch import utils
from snntorch.export_nir import export_to_nir
from torch import nn

from tests.interop.nir.peers import fixture, writing
from tests.interop.nir.peers.writing import conv, drawn, each, mlp, tied

CYCLES = (snntorch.RLeaky, snntorch.RSynaptic)


def leaky(*shape: int, beta: float = 0.9, **options: Any) -> Any:
    return snntorch.Leaky(beta=each(beta, *shape), threshold=each(1.0, *shape), init_hidden=True, **options)


def synaptic(n: int, **options: Any) -> Any:
    return snntorch.Synaptic(
        alpha=each(0.7, n), beta=each(0.85, n), threshold=each(1.0, n), init_hidden=True, **options
    )


def recurrent(kind: Any, **options: Any) -> Any:
    neuron = kind(beta=0.85, init_hidden=True, **{"linear_features": 6, **options})
    if neuron.all_to_all:
        drawn(neuron.recurrent, seed=6, mean=-0.1, deviation=0.4)
    return mlp(neuron)


def start(net: Any) -> Any:
    utils.reset(net)
    return net


peer = writing.Peer(
    "snntorch",
    (snntorch.Leaky, snntorch.Synaptic, *CYCLES),
    (),
    1e-4,
    start,
    lambda net, xs, told: export_to_nir(start(net), xs[0, :1], ignore_dims=[0]),
    node=lambda neuron, name: f"{name}.lif" if isinstance(neuron, CYCLES) else name,
)


def main() -> None:
    x, image = fixture.spikes_in(0, (5,)), fixture.spikes_in(1, (1, 6, 6))
    zero: dict[str, Any] = {"reset_mechanism": "zero"}
    peer.write("leaky_none", mlp(leaky(6, reset_mechanism="none")), x, reset="none")
    peer.write("leaky_at_once", mlp(leaky(6, reset_delay=False)), x, reset="subtract", reset_delay=False)
    peer.write(
        "leaky_ties",
        tied(mlp(leaky(6, beta=0.5, reset_mechanism="zero")), 1 / 4, 1 / 4),
        x,
        balanced=False,
        reset="zero",
    )
    peer.write("synaptic_subtract", mlp(synaptic(6)), x, reset="subtract")
    net = conv(nn.Conv2d(1, 2, 3), leaky(2, 4, 4), nn.AvgPool2d(2), nn.Linear(8, 3), leaky(3))
    peer.write("conv", net, image, reset="subtract")
    peer.write("rleaky_subtract", recurrent(snntorch.RLeaky), x, reset="subtract")
    peer.write("rleaky_zero", recurrent(snntorch.RLeaky, **zero), x, reset="zero")
    one_to_one: dict[str, Any] = {"all_to_all": False, "linear_features": None, "V": torch.linspace(-0.5, 0.5, 6)}
    peer.write("rleaky_one_to_one", recurrent(snntorch.RLeaky, **one_to_one), x, reset="subtract")
    peer.write("rsynaptic_zero", recurrent(snntorch.RSynaptic, alpha=0.7, **zero), x, reset="zero")


if __name__ == "__main__":
    main()
