"""Fixtures that Sinabs writes: `python -m tests.interop.nir.peers.write_sinabs` where Sinabs is installed.

Written with sinabs 3.1.3, nir 1.0.8, nirtorch 2.6 and torch 2.13.0; Sinabs asks for nir <= 1.0.4, with which, and with
nirtorch 2.0.2, this script writes sinabs_nir_1_0_4_lif alone.
"""

from importlib import metadata
from typing import Any

import sinabs.layers as sl
from sinabs.activation import MembraneReset, SingleSpike
from sinabs.nir import to_nir
from torch import nn

from tests.interop.nir.peers import fixture, writing
from tests.interop.nir.peers.writing import conv, each, mlp, tied

N = 2
TIMES = {"batch_size": N, "num_timesteps": 1}


def lif(*shape: int, tau: float = 10.0, **options: Any) -> Any:
    return sl.LIFSqueeze(tau_mem=each(tau, *shape), spike_threshold=each(1.0, *shape), **TIMES, **options)


def iaf(*shape: int, **options: Any) -> Any:
    return sl.IAFSqueeze(spike_threshold=each(1.0, *shape), **TIMES, **options)


def leak(n: int, **options: Any) -> Any:
    return sl.ExpLeakSqueeze(tau_mem=each(8.0, n), **TIMES, **options)


def start(net: Any) -> Any:
    for module in peer.neurons(net).values():
        module.reset_states()
    return net


def export(net: Any, xs: Any, told: Any) -> Any:
    peer.run(net, xs)  # the exporter reads shapes from the states
    return to_nir(net, xs[0])


peer = writing.Peer("sinabs", (sl.IAFSqueeze, sl.LIFSqueeze), (sl.ExpLeakSqueeze,), 1.0, start, export)


def main() -> None:
    # few spikes, and so strong weights: neurons fire several times at once
    x, image = fixture.spikes_in(0, (5,), rate=0.1), fixture.spikes_in(1, (1, 6, 6))
    peer.write("mlp_lif", mlp(lif(6), lif(4, tau=5.0)), x)
    peer.write("lif_whole_input", mlp(lif(6, norm_input=False)), x, norm_input=False)
    peer.write(
        "lif_reset_single",
        mlp(lif(6, reset_fn=MembraneReset(), spike_fn=SingleSpike)),
        x,
        spikes="single",
        reset="value",
    )
    to_value = MembraneReset(reset_value=-0.02)
    peer.write("lif_reset_value", mlp(lif(6, reset_fn=to_value)), x, reset="value", v_reset=-0.02)
    peer.write("lif_tau_syn", mlp(lif(6, tau_syn=each(4.0, 6))), x, tau_syn=4.0)
    peer.write("iaf_min_v_mem", mlp(iaf(6, min_v_mem=-0.5), mean=0.0), x, min_v_mem=-0.5)
    peer.write("iaf_ties", tied(mlp(iaf(6)), 1 / 8, 1 / 8), x, balanced=False)
    peer.write(
        "iaf_single_ties", tied(mlp(iaf(6, spike_fn=SingleSpike)), 1 / 4, 1 / 8), x, balanced=False, spikes="single"
    )
    peer.write("iaf_leak", mlp(iaf(6), leak(4)), x)
    peer.write("leak_norm_input", mlp(iaf(6), leak(4, norm_input=True)), x, norm_input=True)
    peer.write(
        "conv", conv(nn.Conv2d(1, 2, 3, bias=False), iaf(2, 4, 4), sl.SumPool2d(2), nn.Linear(8, 3), iaf(3)), image
    )


def main_nir_1_0_4() -> None:
    """Write what the nir that Sinabs asks for writes: parameters without an axis, and no v_reset."""
    x = fixture.spikes_in(0, (5,), rate=0.1)
    peer.write("nir_1_0_4_lif", mlp(sl.LIFSqueeze(tau_mem=10.0, **TIMES)), x)


if __name__ == "__main__":
    main_nir_1_0_4() if metadata.version("nir") == "1.0.4" else main()
