"""to_nir: a SpikingNet as a graph of NIR."""

import warnings
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.functional import convolution, dense
from spikingtorch.interop.nir import metadata
from spikingtorch.interop.nir.certificate import certified, check_sample
from spikingtorch.interop.nir.discretise import Discretisation, check_time
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.model_graph import Calls, Op, calls_of, check_hooks, copied_model
from spikingtorch.interop.nir.modules import Scale
from spikingtorch.interop.nir.to_neurons import Writing, neuron_of
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.network import check_network

# the step that most readers of NIR files assume, in seconds
DT = 1e-4


def to_nir(
    model: Any,
    sample: Tensor,
    *,
    dt: float = DT,
    discretisation: Discretisation = "exponential",
    approximate: bool = False,
    certify: bool = True,
) -> nir.NIRGraph:
    """Return the graph of a network: weights, and neurons as differential equations.

    The network is exported as it computes in evaluation. A step of it becomes a time of dt. The equations are those
    that give the numbers of the step back when they are discretised as ``discretisation`` says; another way, or
    another dt, gives other numbers. NIR fires above the threshold and our neurons at it as well: the graph has the next
    smaller number of the network's dtype as threshold, which says the same. What NIR has no word for (surrogates, what
    learns, the exact bits of decays) is in the metadata, so that ``from_nir`` makes the same network again.

    Args:
        model: the network, which is not changed.
        sample: an input, (N, T, ...), for the shapes and the certificate; a few samples that make every layer fire.
        dt: length of a step, in seconds.
        discretisation: by which the reader of the graph will turn it into steps: "exponential" or "exact", or "euler"
            as simulators do; see ``from_nir``.
        approximate: export what comes nearest to what NIR cannot say, such as a reset by subtraction, and note in the
            metadata what was lost.
        certify: run the network and an independent simulation of the graph on the sample, and compare their spikes.

    Returns:
        The graph; ``nir.write(path, graph)`` makes a file of it.

    Raises:
        NIRError: NIR cannot say what a layer does, or the simulation of the graph spikes otherwise than the network.
        TypeError: model is no SpikingNet.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 4), LIF()))
    >>> graph = to_nir(model, torch.rand(2, 20, 3))
    >>> graph.edges
    [('input', '0'), ('0', '1'), ('1', 'output')]
    """
    check_network("to_nir", model)
    check_time("to_nir", dt, discretisation)
    check_sample("to_nir", sample)
    check_hooks(model)
    copied = copied_model(model).eval()
    copied.mode = "step"
    with torch.no_grad():
        copied(sample[:, :1])  # what is wrong with the sample shows here, in words of the network
    graph = _Graph(calls_of(copied.net, sample[:, 0]), dt, discretisation, sample.dtype, approximate)
    found = graph.finished()
    if certify:
        _certify(model, found, sample, graph, approximate)
    return found


class _Graph:
    """The graph of a network's calls, while it is put together."""

    def __init__(
        self, calls: Calls, dt: float, discretisation: Discretisation, dtype: torch.dtype, approximate: bool
    ) -> None:
        self.calls, self.dt, self.dtype = calls, dt, dtype
        self.discretisation: Discretisation = discretisation
        self.approximate = approximate
        self.nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": np.array(calls.shape)})}
        self.edges: list[tuple[str, str]] = []
        self.described: dict[str, Any] = {}
        self.lost: dict[str, str] = {}
        # of each op, the name of its node, and of each spiking layer
        self.names: list[str] = []
        self.paths: dict[str, str] = {}

    def finished(self) -> nir.NIRGraph:
        """Return the graph."""
        for op in self.calls.ops:
            self._add(op)
        self.nodes["output"] = nir.Output(output_type={"output": np.array(self.calls.out)})
        self._connect(self.calls.result, "output")
        content = metadata.Metadata(self.dt, self.discretisation, self.dtype, self.described, self.lost)
        # the check of types in nir 1.0.8 knows no groups of convolutions
        return nir.NIRGraph(self.nodes, self.edges, metadata=metadata.packed(content), type_check=False)

    def _add(self, op: Op) -> None:
        name = self._free(op.path)
        self.names.append(name)
        if isinstance(op.module, StepLayer):
            self._add_layer(op, op.module, name)
        else:
            self.nodes[name] = _node_of(op)
            if getattr(op.module, "bias", 0) is None and not isinstance(op.module, nn.Linear):
                self.described[name] = {"bias": False}  # which NIR's convolutions always have
        self._connect(op.sources, name)

    def _add_layer(self, op: Op, layer: StepLayer, name: str) -> None:
        lost: list[str] = []
        writing = Writing(op.path, op.after, self.dt, self.discretisation, self.dtype, self.approximate, lost)
        self.nodes[name] = neuron_of(layer, writing)
        self.paths[name] = op.path
        if lost:
            self.lost[name] = "; ".join(lost)
        else:
            self.described[name] = metadata.described(layer)
        if layer.synapse is not None:
            back = self._free(f"{op.path}_recurrent")
            self.nodes[back] = _recurrence_of(layer, op)
            self.edges += [(name, back), (back, name)]

    def _connect(self, sources: tuple[int, ...], target: str) -> None:
        self.edges += [("input" if each < 0 else self.names[each], target) for each in sources]

    def _free(self, path: str) -> str:
        """Return a name that is not taken: modules of torch, which others make of nodes, have no dots in theirs."""
        name = base = path.replace(".", "_").replace("/", "_") or "node"
        count = 1
        while name in self.nodes or name == "output":
            name, count = f"{base}_{count}", count + 1
        return name


def _node_of(op: Op) -> Any:
    """Return the node of a module that is no neuron."""
    module: Any = op.module
    match module:
        case nn.Linear(bias=None):
            return nir.Linear(weight=_array(module.weight))
        case nn.Linear():
            return nir.Affine(weight=_array(module.weight), bias=_array(module.bias))
        case nn.Conv1d() | nn.Conv2d() if module.padding_mode == "zeros":
            return _convolution(module, op.before[1:])
        case Scale():
            return nir.Scale(scale=_array(module.scale))
        case nn.Flatten():
            return _flatten(module, op)
        case nn.AvgPool2d() if not module.ceil_mode:
            return _pool(module, op)
    raise NIRError(
        f"{op.path!r} is a {module}, for which NIR has no node. There are Linear, Conv1d and Conv2d with zeros around "
        "them, AvgPool2d without ceil_mode, Flatten, and the neurons"
    )


def _convolution(module: Any, size: tuple[int, ...]) -> Any:
    bias = np.zeros(len(module.weight), _array(module.weight).dtype) if module.bias is None else _array(module.bias)
    options: dict[str, Any] = {
        "weight": _array(module.weight),
        "groups": module.groups,
        "bias": bias,
        "padding": module.padding if isinstance(module.padding, str) else _one_or_more(module.padding),
        "stride": _one_or_more(module.stride),
        "dilation": _one_or_more(module.dilation),
    }
    if len(size) == 1:
        return nir.Conv1d(input_shape=size[0], **options)
    return nir.Conv2d(input_shape=(size[0], size[1]), **options)


def _one_or_more(value: tuple[int, ...]) -> int | tuple[int, ...]:
    return value[0] if len(value) == 1 else value


def _flatten(module: nn.Flatten, op: Op) -> Any:
    start, end = module.start_dim, module.end_dim
    if start == 0:
        raise NIRError(f"{op.path!r} flattens the batch as well; start with axis 1")
    # torch counts the batch, NIR does not
    start, end = (each - 1 if each > 0 else each for each in (start, end))
    return nir.Flatten({"input": np.array(op.before)}, start, end)


def _pool(module: nn.AvgPool2d, op: Op) -> Any:
    def pair(value: Any) -> Any:
        return np.broadcast_to(np.asarray(value), (2,)).copy()

    kernel, padding = pair(module.kernel_size), pair(module.padding)
    options = {"kernel_size": kernel, "stride": pair(module.stride), "padding": padding}
    if module.divisor_override == 1:
        return nir.SumPool2d(**options)
    whole = module.divisor_override in (None, int(kernel.prod()))
    if whole and (module.count_include_pad or not padding.any()):
        return nir.AvgPool2d(**options)
    raise NIRError(
        f"{op.path!r} is a {module}, which divides by another number than the size of its window; NIR does not"
    )


def _recurrence_of(layer: Any, op: Op) -> Any:
    """Return the node of the recurrent weights of a layer."""
    if layer.synapse is dense:
        if len(op.after) != 1:
            raise NIRError(
                f"layer {op.path!r} is recurrent through a matrix, and its neurons have shape {op.after}; NIR has "
                "matrices for neurons of one axis"
            )
        return nir.Linear(weight=_array(layer.recurrent.weight))
    if layer.synapse is convolution:
        if len(op.after) > 3:
            raise NIRError(f"layer {op.path!r} is recurrent through a Conv3d, for which NIR has no node")
        return _convolution(layer.recurrent, op.after[1:])
    return nir.Scale(scale=np.ascontiguousarray(np.broadcast_to(_array(layer.recurrent), op.after)))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()


def _certify(model: Any, graph: nir.NIRGraph, sample: Tensor, written: _Graph, approximate: bool) -> None:
    """Compare the network and the graph.

    Raises:
        NIRError: they spike differently, by more than rounding.
    """
    certificate = certified(model, graph, sample, written.paths, written.dt, written.discretisation)
    if certificate.equal or approximate:
        return
    if not certificate.within_rounding:
        raise NIRError(
            "the graph gives out something else than the network. Either forward does what torch.fx does not see, such "
            "as writing in place on a tensor of two names; or this is an error of this library, which please report.\n"
            f"{certificate}"
        )
    warnings.warn(
        "to_nir: a membrane lies so near to its threshold that rounding decides; network and graph differ from there "
        f"on.\n{certificate}",
        UserWarning,
        stacklevel=3,
    )
