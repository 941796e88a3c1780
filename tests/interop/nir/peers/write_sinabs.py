"""Fixtures that Sinabs writes: `python -m tests.interop.nir.peers.write_sinabs` where Sinabs is installed.

Written with sinabs 3.1.3, nir 1.0.8, nirtorch 2.6 and torch 2.13.0; Sinabs asks for nir <= 1.0.4, with which, and with
nirtorch 2.0.2, this script writes sinabs_nir_1_0_4_lif alone.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import sinabs.layers as sl
import torch
from sinabs.activation import MembraneReset, SingleSpike
from sinabs.nir import to_nir
from torch import Tensor, nn

from tests.interop.nir.peers import fixture
from tests.interop.nir.peers.writing import drawn, each, heard, tied

N = 2
TIMES = {"batch_size": N, "num_timesteps": 1}
NEURONS = (sl.IAFSqueeze, sl.LIFSqueeze, sl.ExpLeakSqueeze)


def lif(*shape: int, tau: float = 10.0, **options: Any) -> Any:
    return sl.LIFSqueeze(tau_mem=each(tau, *shape), spike_threshold=each(1.0, *shape), **TIMES, **options)


def iaf(*shape: int, **options: Any) -> Any:
    return sl.IAFSqueeze(spike_threshold=each(1.0, *shape), **TIMES, **options)


def leak(n: int, **options: Any) -> Any:
    return sl.ExpLeakSqueeze(tau_mem=each(8.0, n), **TIMES, **options)


def mlp(*neurons: Any, mean: float = 0.3) -> nn.Sequential:
    """Return a network of 5 inputs, with layers of 6 and 4 neurons, or of 6 alone."""
    layers = [drawn(nn.Linear(5, 6), seed=1, mean=mean), neurons[0]]
    if len(neurons) == 2:
        layers += [drawn(nn.Linear(6, 4), seed=2), neurons[1]]
    return nn.Sequential(*layers)


def conv() -> nn.Sequential:
    return nn.Sequential(
        drawn(nn.Conv2d(1, 2, 3, bias=False), seed=3),
        iaf(2, 4, 4),
        sl.SumPool2d(2),
        nn.Flatten(),
        drawn(nn.Linear(8, 3), seed=4),
        iaf(3),
    )


def neurons_of(net: nn.Sequential) -> dict[str, Any]:
    return {name: module for name, module in net.named_children() if isinstance(module, NEURONS)}


def run(net: nn.Sequential, xs: Tensor) -> dict[str, Tensor]:
    """Return the outputs of all neurons for inputs (T, N, ...), step by step from membranes at 0."""
    for module in neurons_of(net).values():
        module.reset_states()
    with heard(neurons_of(net)) as found:
        for x in xs:
            net(x)
    return {name: torch.stack(outs) for name, outs in found.items()}


def write(case: str, net: nn.Sequential, x: fixture.Array, balanced: bool = True, **options: Any) -> None:
    """Export a network and write it beside what it does to x."""
    xs = torch.from_numpy(x)
    analog = [name for name, module in neurons_of(net).items() if isinstance(module, sl.ExpLeakSqueeze)]
    if balanced:
        weights = [module.weight for module in net if hasattr(module, "weight")][: len(neurons_of(net)) - len(analog)]
        fixture.balance(weights, lambda: [float((each != 0).float().mean()) for each in run(net, xs).values()])
    run(net, xs)  # the exporter reads shapes from the states
    graph = to_nir(net, xs[0])
    if xs.ndim > 3:
        graph.infer_types()  # the exporter leaves the input_shape of Conv2d None, which nir does not write
    outs = {name: each.numpy() for name, each in run(net, xs).items()}
    out = list(outs.values())[-1]
    fixture.save(f"sinabs_{case}", graph, x, out, outs, dt=1.0, options=options, packages=["sinabs"], analog=analog)


def refused() -> dict[str, Callable[[], Any]]:
    """Return exports that fail, or lose a layer."""

    def export(net: nn.Sequential, *shape: int) -> Callable[[], Any]:
        return lambda: to_nir(net, torch.ones(N, *shape))

    image = (1, 6, 6)
    return {
        "LIFSqueeze with one tau_mem for all neurons": export(mlp(sl.LIFSqueeze(tau_mem=10.0, **TIMES)), 5),
        "ALIF": export(mlp(sl.ALIF(tau_mem=10.0, tau_adapt=10.0)), 1, 5),
        "LIFRecurrent": export(mlp(sl.LIFRecurrent(tau_mem=10.0, rec_connect=nn.Linear(6, 6))), 1, 5),
        "AvgPool2d": export(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), iaf(2, 2, 2)), *image),
        "Dropout": export(nn.Sequential(nn.Linear(5, 6), nn.Dropout(), iaf(6)), 5),
    }


def main() -> None:
    # few spikes, and so strong weights: neurons fire several times at once
    x, image = fixture.spikes_in(0, (5,), rate=0.1), fixture.spikes_in(1, (1, 6, 6))
    write("mlp_lif", mlp(lif(6), lif(4, tau=5.0)), x)
    write("lif_whole_input", mlp(lif(6, norm_input=False)), x, norm_input=False)
    write("lif_single", mlp(lif(6, spike_fn=SingleSpike)), x, spikes="single")
    write("lif_reset", mlp(lif(6, reset_fn=MembraneReset())), x, reset="value")
    write(
        "lif_reset_single",
        mlp(lif(6, reset_fn=MembraneReset(), spike_fn=SingleSpike)),
        x,
        spikes="single",
        reset="value",
    )
    to_value = MembraneReset(reset_value=-0.02)
    write("lif_reset_value", mlp(lif(6, reset_fn=to_value)), x, reset="value", v_reset=-0.02)
    write("lif_tau_syn", mlp(lif(6, tau_syn=each(4.0, 6))), x, tau_syn=4.0)
    write("mlp_iaf", mlp(iaf(6), iaf(4)), x)
    write("iaf_min_v_mem", mlp(iaf(6, min_v_mem=-0.5), mean=0.0), x, min_v_mem=-0.5)
    write("iaf_ties", tied(mlp(iaf(6)), 1 / 8, 1 / 8), x, balanced=False)
    write("iaf_single_ties", tied(mlp(iaf(6, spike_fn=SingleSpike)), 1 / 4, 1 / 8), x, balanced=False, spikes="single")
    write("iaf_leak", mlp(iaf(6), leak(4)), x)
    write("leak_norm_input", mlp(iaf(6), leak(4, norm_input=True)), x, norm_input=True)
    write("conv", conv(), image)
    fixture.tell_refusals("Sinabs", refused())


def main_nir_1_0_4() -> None:
    """Write what the nir that Sinabs asks for writes: parameters without an axis, and no v_reset."""
    x = fixture.spikes_in(0, (5,), rate=0.1)
    write("nir_1_0_4_lif", mlp(sl.LIFSqueeze(tau_mem=10.0, **TIMES)), x)


if __name__ == "__main__":
    main_nir_1_0_4() if metadata.version("nir") == "1.0.4" else main()
