"""What the scripts that write by a peer share: random weights, weights for ties, and how a network becomes a file."""

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import nir
import numpy as np
import torch
from torch import Tensor, nn

from tests.interop.nir.peers.fixture import Array, keep, packed

# of the spikes of a layer, over steps, samples and neurons
LEAST, MOST = 0.05, 0.3


def drawn(module: Any, seed: int, mean: float = 0.3, deviation: float = 0.5) -> Any:
    """Return a module with random weights and small random biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.05 * noise if name.endswith("bias") else mean + deviation * noise)
    return module


def mlp(*neurons: Any, first: Any = nn.Linear, second: Any = nn.Linear, chain: Any = nn.Sequential, **how: Any) -> Any:
    """Return a network of 5 inputs, with layers of 6 and 4 neurons, or of 6 alone."""
    layers = [drawn(first(5, 6), 1, **how), neurons[0]]
    if len(neurons) == 2:
        layers += [drawn(second(6, 4), 2), neurons[1]]
    return chain(*layers)


def conv(first: Any, neurons: Any, pool: Any, second: Any, last: Any, flatten: Any = nn.Flatten) -> nn.Sequential:
    """Return a network of images, whose convolution and linear layer have random weights."""
    return nn.Sequential(drawn(first, seed=3), neurons, pool, flatten(), drawn(second, seed=4), last)


def tied(net: Any, scale: float, bias: float) -> Any:
    """Return a layer whose membranes often equal the threshold, as all of its numbers are sums of powers of 2."""
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2, 1, 1, -1, 3], [1, 1, 2, 2, -1], [3, -1, 1, 2, 1]]).repeat(2, 1) * scale)
        net[0].bias.copy_(torch.tensor([0, 0, 0, 1, 1, 1]) * bias)
    return net


def each(value: float, *shape: int) -> Tensor:
    """Return a parameter for each neuron; the exporter writes it with this shape."""
    return torch.full(shape, value)


class Peer(NamedTuple):
    """How a library runs a network, and writes it.

    Attributes:
        name: of the library, and of its distribution.
        spiking: classes of its neurons that fire.
        analog: classes of those that do not.
        dt: length of a step; an option of that name comes before it.
        start: puts a network into its initial state, and returns what makes a step of it.
        export: from a network, inputs (T, N, ...) and options to a graph.
        told: options for what no network is told otherwise.
        node: from a neuron and its name to the name of its node.
    """

    name: str
    spiking: tuple[type, ...]
    analog: tuple[type, ...]
    dt: float
    start: Callable[[Any], Callable[[Tensor], Any]]
    export: Callable[[Any, Tensor, dict[str, Any]], Any]
    told: Mapping[str, Any] = {}
    node: Callable[[Any, str], str] = lambda neuron, name: name

    def neurons(self, net: Any) -> dict[str, Any]:
        """Return the neurons of a network, under the names of their nodes."""
        found = {name: part for name, part in net.named_children() if isinstance(part, self.spiking + self.analog)}
        return {self.node(neuron, name): neuron for name, neuron in found.items()}

    def run(self, net: Any, xs: Tensor) -> dict[str, Tensor]:
        """Return the outputs of all neurons for inputs (T, N, ...), step by step from the initial state."""
        step = self.start(net)
        with _heard(self.neurons(net)) as found:
            for x in xs:
                step(x)
        return {name: torch.stack(outs) for name, outs in found.items()}

    def rates(self, net: Any, outs: Mapping[str, Tensor]) -> dict[str, float]:
        """Return in which share of the steps of a run each layer that spikes fires."""
        spiking = [name for name, neuron in self.neurons(net).items() if isinstance(neuron, self.spiking)]
        return {name: float((outs[name] != 0).float().mean()) for name in spiking}

    def balance(self, net: Any, xs: Tensor, aim: float = 0.15) -> None:
        """Scale weights in place, layer after layer, until each layer fires in about a share ``aim`` of its steps."""
        weights = [part.weight for part in net if hasattr(part, "weight")]
        for name, weight in zip(self.rates(net, self.run(net, xs)), weights, strict=False):  # a readout has one more
            drawn, misses = weight.data.clone(), {}
            for scale in 2.0 ** np.arange(-5, 5, 0.25):
                weight.data = drawn * float(scale)
                misses[scale] = abs(self.rates(net, self.run(net, xs))[name] - aim)
            weight.data = drawn * float(min(misses, key=lambda scale: misses[scale]))

    def write(self, case: str, net: Any, x: Array, balanced: bool = True, **options: Any) -> None:
        """Export a network and write it beside what it does to x, and the options, which the file does not say.

        Raises:
            ValueError: a layer hardly fires, or nearly all the time.
        """
        name, xs, told = f"{self.name}_{case}", torch.from_numpy(x), {**self.told, **options}
        if balanced:
            self.balance(net, xs)
        graph, outs = self.export(net, xs, told), self.run(net, xs)
        if missing := outs.keys() - graph.nodes.keys():
            raise ValueError(f"{name}: no node {missing} in the graph, which has {list(graph.nodes)}")
        rates = self.rates(net, outs)
        print(f"{name}: {', '.join(f'{key} fires in {rate:.0%} of steps' for key, rate in rates.items())}")
        if not all(LEAST <= rate <= MOST for rate in rates.values()):
            raise ValueError(f"{name}: rates outside of {LEAST:.0%} to {MOST:.0%}; change the scale of its weights")
        if any(getattr(node, "input_shape", ()) is None for node in graph.nodes.values()):
            graph.infer_types()  # some exporters leave the input_shape of Conv2d None, which nir does not write
        # numbers without an axis cannot be compressed within HDF5; nir 1.0.4 never does
        plain: Any = {"compression": None} if "compression" in inspect.signature(nir.write).parameters else {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.nir"
            nir.write(path, graph, **plain)
            file = path.read_bytes()
        versions = {package: metadata.version(package) for package in (self.name, "nir", "nirtorch", "torch")}
        arrays: dict[str, Any] = {"x": x, "dt": told.get("dt", self.dt)}
        arrays |= {"options": json.dumps(told), "versions": json.dumps(versions)}
        arrays |= {f"at/{key}": out.numpy() for key, out in outs.items()}
        keep(self.name, {f"{name}.nir": file, f"{name}.npz": packed(arrays)})


@contextmanager
def _heard(neurons: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
    """Give the outputs of neurons, a list for each name that every call inside makes longer."""
    found: dict[str, list[Any]] = {name: [] for name in neurons}
    handles = [
        module.register_forward_hook(
            lambda _, __, out, name=name: found[name].append(out[0] if isinstance(out, tuple) else out)
        )
        for name, module in neurons.items()
    ]
    with torch.no_grad():
        yield found
    for handle in handles:
        handle.remove()
