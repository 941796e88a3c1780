"""Fixtures that snnTorch writes: `python -m tests.interop.nir.peers.write_snntorch` where snnTorch is installed.

Written with snntorch 1.0.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from collections.abc import Callable
from typing import Any

import snntorch
import torch
from snntorch import utils
from snntorch.export_nir import export_to_nir
from torch import Tensor, nn

from tests.interop.nir.peers import fixture
from tests.interop.nir.peers.writing import drawn, each, heard, tied

NEURONS = (snntorch.Leaky, snntorch.Synaptic, snntorch.RLeaky, snntorch.RSynaptic)
CYCLES = (snntorch.RLeaky, snntorch.RSynaptic)


def leaky(n: int, beta: float = 0.9, **options: Any) -> Any:
    return snntorch.Leaky(beta=each(beta, n), threshold=each(1.0, n), init_hidden=True, **options)


def synaptic(n: int, **options: Any) -> Any:
    return snntorch.Synaptic(
        alpha=each(0.7, n), beta=each(0.85, n), threshold=each(1.0, n), init_hidden=True, **options
    )


def mlp(*neurons: Any) -> nn.Sequential:
    """Return a network of 5 inputs, with layers of 6 and 4 neurons, or of 6 alone."""
    layers = [drawn(nn.Linear(5, 6), seed=1), neurons[0]]
    if len(neurons) == 2:
        layers += [drawn(nn.Linear(6, 4), seed=2), neurons[1]]
    return nn.Sequential(*layers)


def conv() -> nn.Sequential:
    beta, threshold = torch.full((2, 4, 4), 0.9), torch.full((2, 4, 4), 1.0)
    return nn.Sequential(
        drawn(nn.Conv2d(1, 2, 3), seed=3),
        snntorch.Leaky(beta=beta, threshold=threshold, init_hidden=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        drawn(nn.Linear(8, 3), seed=4),
        leaky(3),
    )


def recurrent(kind: Any, **options: Any) -> nn.Sequential:
    neuron = kind(beta=0.85, init_hidden=True, **{"linear_features": 6, **options})
    if neuron.all_to_all:
        drawn(neuron.recurrent, seed=6, mean=-0.1, deviation=0.4)
    return mlp(neuron)


def neurons_of(net: nn.Sequential) -> dict[str, Any]:
    """Return the neurons of a network, under the names of their nodes."""
    found = {name: module for name, module in net.named_children() if isinstance(module, NEURONS)}
    return {f"{name}.lif" if isinstance(module, CYCLES) else name: module for name, module in found.items()}


def run(net: nn.Sequential, xs: Tensor) -> dict[str, Tensor]:
    """Return the spikes of all neurons for inputs (T, N, ...), step by step from membranes at 0."""
    utils.reset(net)
    with heard(neurons_of(net)) as found:
        for x in xs:
            net(x)
    return {name: torch.stack(spikes) for name, spikes in found.items()}


def write(case: str, net: nn.Sequential, x: fixture.Array, balanced: bool = True, **options: Any) -> None:
    """Export a network and write it beside what it does to x."""
    xs = torch.from_numpy(x)
    if balanced:
        weights = [module.weight for module in net if hasattr(module, "weight")]
        fixture.balance(weights, lambda: [float(each.mean()) for each in run(net, xs).values()])
    utils.reset(net)
    graph = export_to_nir(net, xs[0, :1], ignore_dims=[0])
    spikes = {name: each.numpy() for name, each in run(net, xs).items()}
    out = list(spikes.values())[-1]
    fixture.save(f"snntorch_{case}", graph, x, out, spikes, dt=1e-4, options=options, packages=["snntorch"])


def refused() -> dict[str, Callable[[], Any]]:
    """Return exports that fail, or lose a layer."""
    x = torch.ones(1, 5)

    def export(*neurons: Any) -> Callable[[], Any]:
        return lambda: export_to_nir(mlp(*neurons), x, ignore_dims=[0])

    return {
        "Leaky with one beta for all neurons": export(snntorch.Leaky(beta=0.9, init_hidden=True)),
        "Leaky with beta=1, an integrator": export(leaky(6, beta=1.0)),
        "Lapicque": export(snntorch.Lapicque(beta=0.9, init_hidden=True)),
        "Alpha": export(snntorch.Alpha(alpha=0.9, beta=0.8, init_hidden=True)),
        "RLeaky with one V for all neurons": lambda: export_to_nir(
            recurrent(snntorch.RLeaky, all_to_all=False, linear_features=None, V=0.3), x, ignore_dims=[0]
        ),
        "MaxPool2d": lambda: export_to_nir(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten()), torch.ones(1, 1, 6, 6), ignore_dims=[0]
        ),
        "AvgPool2d with padding": lambda: export_to_nir(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2, padding=1), nn.Flatten()),
            torch.ones(1, 1, 6, 6),
            ignore_dims=[0],
        ),
    }


def main() -> None:
    x, image = fixture.spikes_in(0, (5,)), fixture.spikes_in(1, (1, 6, 6))
    write("mlp_subtract", mlp(leaky(6), leaky(4, beta=0.8)), x, reset="subtract")
    zero: dict[str, Any] = {"reset_mechanism": "zero"}
    write("mlp_zero", mlp(leaky(6, **zero), leaky(4, beta=0.8, **zero)), x, reset="zero")
    write("leaky_none", mlp(leaky(6, reset_mechanism="none")), x, reset="none")
    write("leaky_at_once", mlp(leaky(6, reset_delay=False)), x, reset="subtract", reset_delay=False)
    write(
        "leaky_ties",
        tied(mlp(leaky(6, beta=0.5, reset_mechanism="zero")), 1 / 4, 1 / 4),
        x,
        balanced=False,
        reset="zero",
    )
    write("synaptic_subtract", mlp(synaptic(6)), x, reset="subtract")
    write("synaptic_zero", mlp(synaptic(6, **zero)), x, reset="zero")
    write("conv", conv(), image, reset="subtract")
    write("rleaky_subtract", recurrent(snntorch.RLeaky), x, reset="subtract")
    write("rleaky_zero", recurrent(snntorch.RLeaky, **zero), x, reset="zero")
    one_to_one: dict[str, Any] = {"all_to_all": False, "linear_features": None, "V": torch.linspace(-0.5, 0.5, 6)}
    write("rleaky_one_to_one", recurrent(snntorch.RLeaky, **one_to_one), x, reset="subtract")
    write("rsynaptic_subtract", recurrent(snntorch.RSynaptic, alpha=0.7), x, reset="subtract")
    write("rsynaptic_zero", recurrent(snntorch.RSynaptic, alpha=0.7, **zero), x, reset="zero")
    fixture.tell_refusals("snnTorch", refused())


if __name__ == "__main__":
    main()
