"""Fixtures that SpikingJelly writes: `python -m tests.interop.nir.peers.write_spikingjelly` where it is installed.

Written with spikingjelly 2.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir
from torch import Tensor, nn

from tests.interop.nir.peers import fixture
from tests.interop.nir.peers.writing import drawn, heard, tied


def mlp(*neurons: Any) -> nn.Sequential:
    """Return a network of 5 inputs, with layers of 6 and 4 neurons, or of 6 alone."""
    layers = [drawn(layer.Linear(5, 6), seed=1), neurons[0]]
    if len(neurons) == 2:
        layers += [drawn(layer.Linear(6, 4, bias=False), seed=2), neurons[1]]
    return nn.Sequential(*layers)


def conv() -> nn.Sequential:
    return nn.Sequential(
        drawn(layer.Conv2d(1, 2, 3, padding=1, bias=False), seed=3),
        neuron.LIFNode(tau=4.0),
        layer.AvgPool2d(2),
        layer.Flatten(),
        drawn(layer.Linear(18, 3), seed=4),
        neuron.LIFNode(tau=4.0),
    )


def neurons_of(net: nn.Sequential) -> dict[str, Any]:
    """Return the neurons of a network, under the names of their nodes."""
    return {f"_{name}": module for name, module in net.named_children() if isinstance(module, neuron.BaseNode)}


def run(net: nn.Sequential, xs: Tensor) -> dict[str, Tensor]:
    """Return the spikes of all neurons for inputs (T, N, ...), step by step from a reset network."""
    functional.reset_net(net)
    with heard(neurons_of(net)) as found:
        for x in xs:
            net(x)
    return {name: torch.stack(spikes) for name, spikes in found.items()}


def write(case: str, net: nn.Sequential, x: fixture.Array, balanced: bool = True, dt: float = 1e-4) -> None:
    """Export a network and write it beside what it does to x."""
    xs = torch.from_numpy(x)
    if balanced:
        weights = [module.weight for module in net if hasattr(module, "weight")]
        fixture.balance(weights, lambda: [float(each.mean()) for each in run(net, xs).values()])
    functional.reset_net(net)
    graph = export_to_nir(net, xs[0], dt=dt)
    spikes = {name: each.numpy() for name, each in run(net, xs).items()}
    out = list(spikes.values())[-1]
    fixture.save(f"spikingjelly_{case}", graph, x, out, spikes, dt=dt, options={"dt": dt}, packages=["spikingjelly"])


def refused() -> dict[str, Callable[[], Any]]:
    """Return exports that fail, or lose a layer."""

    def export(net: nn.Module, *shape: int) -> Callable[[], Any]:
        return lambda: export_to_nir(net, torch.ones(2, *shape))

    image = (2, 6, 6)
    return {
        "LIFNode with a soft reset": export(mlp(neuron.LIFNode(v_reset=None)), 5),
        "QIFNode": export(mlp(neuron.QIFNode()), 5),
        "NonSpikingLIFNode": export(mlp(neuron.NonSpikingLIFNode()), 5),
        "LinearRecurrentContainer": export(nn.Sequential(layer.LinearRecurrentContainer(neuron.LIFNode(), 6, 6)), 6),
        "MaxPool2d": export(nn.Sequential(layer.Conv2d(2, 2, 3), layer.MaxPool2d(2), neuron.LIFNode()), *image),
        "Conv2d with groups": export(nn.Sequential(layer.Conv2d(2, 2, 3, groups=2), neuron.LIFNode()), *image),
        "Dropout": export(nn.Sequential(layer.Linear(5, 6), layer.Dropout(), neuron.LIFNode()), 5),
    }


def main() -> None:
    x, image = fixture.spikes_in(0, (5,)), fixture.spikes_in(1, (1, 6, 6))
    write("mlp_lif", mlp(neuron.LIFNode(tau=4.0), neuron.LIFNode(tau=3.0)), x)
    write("lif_whole_input", mlp(neuron.LIFNode(tau=4.0, decay_input=False)), x)
    write("lif_reset", mlp(neuron.LIFNode(tau=4.0, v_reset=-0.4)), x)
    write("lif_dt", mlp(neuron.LIFNode(tau=4.0)), x, dt=1e-3)
    write("lif_ties", tied(mlp(neuron.LIFNode(tau=2.0)), 1 / 2, 1 / 2), x, balanced=False)
    write("plif", mlp(neuron.ParametricLIFNode(init_tau=3.0)), x)
    write("mlp_if", mlp(neuron.IFNode(), neuron.IFNode()), x)
    write("if_reset", mlp(neuron.IFNode(v_reset=0.3)), x)
    write("cuba_lif", mlp(neuron.CUBALIFNode(), neuron.CUBALIFNode(c_decay=0.3)), x)
    write("cuba_lif_reset", mlp(neuron.CUBALIFNode(v_reset=-0.4)), x)
    write("conv", conv(), image)
    fixture.tell_refusals("SpikingJelly", refused())


if __name__ == "__main__":
    main()
