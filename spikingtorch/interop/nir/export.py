"""to_nir: export a SpikingNet as a graph of NIR."""

import dataclasses
import warnings
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from spikingtorch.axes import samples_first
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.interop.nir import metadata, readers
from spikingtorch.interop.nir.builder import plain_name
from spikingtorch.interop.nir.certificate import certified, check_sample
from spikingtorch.interop.nir.discretise import Discretisation, check_time
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.model_graph import calls_of, check_hooks, copied_model
from spikingtorch.interop.nir.targets import check_steps, target_of
from spikingtorch.interop.nir.to_maps import map_for_reader, node_of, recurrence_of
from spikingtorch.interop.nir.to_neurons import neuron_of
from spikingtorch.interop.nir.writing import Writing
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.step_graph.recorder import Call, StepGraph
from spikingtorch.watching.network import check_network

# the step that most readers of NIR files assume, in seconds
DT = 1e-4


def to_nir(
    model: Any,
    sample: Tensor,
    *,
    target: str | None = None,
    dt: float | None = None,
    discretisation: Discretisation | None = None,
    approximate: bool = False,
    certify: bool = True,
) -> nir.NIRGraph:
    """Return the graph of a network: weights, and neurons as differential equations.

    The network is exported in evaluation mode. A step becomes a time of dt. If a reader discretises the equations by
    ``discretisation`` and dt, it gets the numbers of the step back. Another method or another dt gives other numbers.
    NIR fires above the threshold, and neurons of this library also at it. So the threshold of the graph is the next
    smaller number of the network's dtype, which is equivalent. Properties that NIR cannot express (surrogates,
    learnable parameters, the exact bits of decays) are in the metadata, so ``from_nir`` returns the same network.

    Libraries read only a part of NIR, or read it differently. With a target, the graph has the numbers with which the
    reader of that library spikes like the network. The certificate then compares with a model of this reader.

    Args:
        model: the network, which is not changed.
        sample: an input of the network, for the shapes and the certificate; a few samples with which every layer fires.
        target: the library that will read the graph: "snntorch", "norse", "sinabs" or "spikingjelly"; None for readers
            that use NIR's equations.
        dt: length of a step, in seconds; by default the target's length, or 1e-4 without a target.
        discretisation: the method with which a reader without a target will turn the graph into steps. It is
            "exponential" by default, "exact", or "euler" as in simulators; see ``from_nir``. A target has its own.
        approximate: export the nearest form of properties that NIR or the target cannot express, such as a reset by
            subtraction. The metadata note the losses.
        certify: run the network and an independent simulation of the graph on the sample, and compare their spikes.

    Returns:
        The graph; ``nir.write(path, graph)`` makes a file of it.

    Raises:
        NIRError: NIR cannot express a layer, or the target's reader does not compute it. The simulation of the graph
            spikes differently from the network.
        TypeError: model is not a SpikingNet.

    >>> from torch import nn
    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> graph = to_nir(model, torch.rand(2, 20, 3))
    >>> graph.edges
    [('input', '0'), ('0', '1'), ('1', 'output')]
    """
    check_network("to_nir", model)
    how = _how(target, dt, discretisation, approximate, sample)
    check_hooks(model)
    first = samples_first(sample, model.batch_first)[:, :1]
    copied = copied_model(model).eval()
    copied.statistics, copied.mode = "step", "step"  # evaluation uses the learned statistics
    with torch.no_grad():
        copied(first)  # errors in the sample are raised here, in the words of the network
    graph = _Graph(calls_of(copied.net, first[:, 0]), how, model.batch_first)
    found = graph.finished()
    if certify:
        _certify(model, found, sample, graph)
    return found


def _how(
    target: str | None, dt: float | None, discretisation: Discretisation | None, approximate: bool, sample: Tensor
) -> Writing:
    """Check the options, fill in defaults, and return how the layers are written."""
    found = target_of("to_nir", target)
    way: Any = discretisation or ("exponential" if found is None else found.discretisation)
    step: Any = dt if dt is not None else DT if found is None else found.dt
    check_time("to_nir", step, way)
    if found is not None:
        check_steps(found, step, way)
    check_sample("to_nir", sample)
    return Writing("", (), step, way, sample.dtype, approximate, [], found)


class _Graph:
    """The graph of a network's calls, while it is built."""

    def __init__(self, calls: StepGraph, how: Writing, batch_first: bool) -> None:
        self.calls, self.how, self.batch_first = calls, how, batch_first
        self.nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": np.array(calls.x.shape[1:])})}
        self.edges: list[tuple[str, str]] = []
        self.described: dict[str, Any] = {}
        self.lost: dict[str, str] = {}
        # the node name of each op, and of each spiking layer
        self.names: list[str] = []
        self.paths: dict[str, str] = {}

    def finished(self) -> nir.NIRGraph:
        """Return the graph."""
        for op in self.calls.calls:
            self._add(op)
        self.nodes["output"] = nir.Output(output_type={"output": np.array(self.calls.out.shape[1:])})
        self._connect(self.calls.result, "output")
        how, target = self.how, self.how.target
        name = None if target is None else target.name
        lists = self.described, self.lost
        content = metadata.Metadata(how.dt, how.discretisation, how.dtype, *lists, name, self.batch_first)
        # the type check of nir 1.0.8 does not support groups of convolutions
        found = nir.NIRGraph(self.nodes, self.edges, metadata=metadata.packed(content), type_check=False)
        if target is not None:
            readers.check(target, found)
        return found

    def _add(self, op: Call) -> None:
        name = self._free(op.path)
        self.names.append(name)
        if isinstance(op.module, StepLayer):
            self._add_layer(op, op.module, name)
        else:
            self.nodes[name] = self._for_reader(node_of(op), op.path, op.before)
            if getattr(op.module, "bias", 0) is None and hasattr(self.nodes[name], "bias"):
                self.described[name] = {"bias": False}  # some nodes always have it
        self._connect(op.sources, name)

    def _add_layer(self, op: Call, layer: StepLayer, name: str) -> None:
        writing = dataclasses.replace(self.how, name=op.path, shape=op.after, lost=[])
        self.nodes[name] = neuron_of(layer, writing)
        self.paths[name] = op.path
        if writing.lost:
            self.lost[name] = "; ".join(writing.lost)
        else:
            self.described[name] = metadata.described(layer)
        if layer.synapse is not None:
            back = self._free(f"{op.path}_recurrent")
            self.nodes[back] = self._for_reader(recurrence_of(layer, op), op.path, op.after)
            self.edges += [(name, back), (back, name)]

    def _for_reader(self, node: Any, path: str, before: tuple[int, ...]) -> Any:
        target = self.how.target
        return node if target is None else map_for_reader(node, path, before, target)

    def _connect(self, sources: tuple[int, ...], target: str) -> None:
        self.edges += [("input" if each < 0 else self.names[each], target) for each in sources]

    def _free(self, path: str) -> str:
        """Return an unused name without dots, because readers make torch modules of nodes."""
        name = base = plain_name(path) or "node"
        count = 1
        while name in self.nodes or name == "output":
            name, count = f"{base}_{count}", count + 1
        return name


def _certify(model: Any, graph: nir.NIRGraph, sample: Tensor, written: _Graph) -> None:
    """Raise NIRError if the network and the graph spike differently, by more than rounding."""
    how = written.how
    certificate = certified(model, graph, sample, written.paths, how.dt, how.discretisation, how.target)
    if certificate.equal or how.approximate:
        return
    if not certificate.within_rounding:
        raise NIRError(
            "the graph and the network have different outputs. Possibly forward does something that a recording of one "
            "step does not see, such as an in-place write to a tensor with two names. If not, please report this "
            f"error of the library.\n{certificate}"
        )
    warnings.warn(
        "to_nir: a membrane lies so near to its threshold that rounding decides; network and graph differ from there "
        f"on.\n{certificate}",
        UserWarning,
        stacklevel=level_of_user(),
    )
