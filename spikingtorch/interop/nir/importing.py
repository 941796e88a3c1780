"""from_nir: a graph of NIR as a SpikingNet."""

import keyword
import math
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import nir
import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.interop.nir import metadata
from spikingtorch.interop.nir.dialects import Dialect, dialect_of
from spikingtorch.interop.nir.discretise import Discretisation, check_time
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.files import read
from spikingtorch.interop.nir.from_nodes import Reading, check_numbers, module_of
from spikingtorch.interop.nir.metadata import Metadata
from spikingtorch.interop.nir.modules import Feedback, Scale
from spikingtorch.interop.nir.network import GraphNet, Node, sum_of
from spikingtorch.interop.nir.plan import NEURONS, Plan, plan_of
from spikingtorch.interop.nir.to_neurons import Writing, neuron_of
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.recurrent import synapse_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.watching.network import check_network

_WEIGHTED = (nir.Affine, nir.Linear, nir.Conv1d, nir.Conv2d, nir.Scale)
# how far numbers of a node may be from those that the metadata stand for: other machines have other exponentials
_SAME = 1e-6
# entries that an input of one sample may have
_LARGEST = 10**8


def from_nir(
    graph: nir.NIRGraph | str | Path,
    dt: float,
    discretisation: Discretisation | None = None,
    *,
    surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
    dtype: torch.dtype | None = None,
    use_metadata: bool = True,
    dialect: str | Dialect = "nir",
) -> SpikingNet:
    """Return the network of a graph.

    NIR's neurons are differential equations; a step of the network is a time of dt, throughout which the input is held.
    Neurons fire above their threshold and not at it, and start at zero. In a cycle, the way back to the input takes a
    step (see ``plan_of``): a neuron with weights back to itself becomes a recurrent layer, and a network with another
    cycle runs step by step.

    Args:
        graph: what ``nir.read`` returns, or the path of a file.
        dt: length of a step, in seconds. NIR does not know it; a graph of this library does, and with another dt or
            discretisation its equations are discretised anew.
        discretisation: "exact", the solution at the end of each step; "exponential", which for neurons with a current
            of their own solves current and membrane in turn; or "euler", as most simulators do. By default that of the
            metadata, and "exact" without.
        surrogate: spike function that the neurons are trained by, where the metadata name none.
        dtype: of the network; by default the widest one of the graph's weights, or torch's default without any.
        use_metadata: whether to go by what a graph of this library says about itself.
        dialect: "nir", or who wrote the graph, where its neurons are to be what they were there and not what NIR says:
            "snntorch", "norse", "sinabs" or "spikingjelly" with the defaults of their layers, or one of ``dialects``
            with what the file does not say, ``dialects.SnnTorch(reset="zero")``. dt is the writer's then.

    Returns:
        The network; its modules have the names of the nodes.

    Raises:
        NIRError: a node is unknown, its numbers make no sense or do not fit together; the file is damaged; or the
            metadata contradict the nodes.

    >>> import numpy as np
    >>> numbers = {"r": np.ones(1), "v_threshold": np.ones(1), "v_reset": np.zeros(1)}
    >>> neuron = nir.LIF(tau=np.array([1e-3]), v_leak=np.zeros(1), **numbers)
    >>> model = from_nir(nir.NIRGraph.from_list(neuron), dt=1e-4)
    >>> model(torch.full((1, 12, 1), 1.5)).flatten().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """
    graph = read(graph) if isinstance(graph, str | Path) else graph
    plan, said = plan_of(graph), metadata.unpacked(graph) if use_metadata else None
    if said is not None and (dt != said.dt or discretisation not in (None, said.discretisation)):
        said = said._replace(nodes={})
    reading, spoken = reading_of(plan, said, dt, discretisation, surrogate, dtype), dialect_of(dialect)
    if spoken is not None and (discretisation is not None or surrogate != F.Sigmoid(beta=5.0)):
        raise NIRError(
            "from_nir: with a dialect, the layers have a discretisation and a surrogate of their own; leave both out"
        )
    return _Builder(plan, reading, said, spoken).network()


def reading_of(
    plan: Plan,
    said: Metadata | None,
    dt: float,
    discretisation: Discretisation | None,
    surrogate: F.Surrogate,
    dtype: torch.dtype | None,
) -> Reading:
    """Return how the nodes of a graph are read: as the caller says, as the metadata say, or by default.

    Raises:
        NIRError: dt is no length of time, or there is no such discretisation.
    """
    way: Any = discretisation or ("exact" if said is None else said.discretisation)
    check_time("from_nir", dt, way)
    return Reading(dt, way, dtype or (_dtype_of(plan) if said is None else said.dtype), surrogate)


def load_nir_weights(model: SpikingNet, graph: nir.NIRGraph | str | Path) -> list[str]:
    """Copy the weights of a graph into a network that stands: its Linear, Conv and Scale modules, not its neurons.

    They are matched by name, those of ``to_nir``; or, if names differ, in their order, if all differ in shape.

    Args:
        model: the network, whose weights are changed in place.
        graph: what ``nir.read`` returns, or the path of a file.

    Returns:
        What has been loaded, as "module <- node".

    Raises:
        NIRError: there is no such match.
    """
    check_network("load_nir_weights", model)
    graph = read(graph) if isinstance(graph, str | Path) else graph
    given = {name: node for name, node in plan_of(graph).nodes.items() if isinstance(node, _WEIGHTED)}
    own = {path: each for path, each in model.net.named_modules() if isinstance(each, _WITH_WEIGHTS)}
    for path, module in model.net.named_modules():
        _check_loadable(path, module)
    matched = _matched(own, given)
    for name in matched.values():
        check_numbers(name, given[name])
    with torch.no_grad():
        for path, name in matched.items():
            _copy(own[path], given[name])
    return [f"{path} <- {name}" for path, name in matched.items()]


def _check_loadable(path: str, module: Any) -> None:
    """Raise where the weights of a module are not simply those that it computes with."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        raise NIRError(
            f"load_nir_weights: {path!r} is a batch norm, which in a graph is a part of the weights before it; put an "
            "nn.Identity() in its place"
        )
    if isinstance(module, _WITH_WEIGHTS) and any(
        not isinstance(each, nn.Parameter | None) for each in _parameters(module)
    ):
        raise NIRError(
            f"load_nir_weights: the weight of {path!r} is computed and no parameter; make it plain first, with "
            "remove_parametrizations or prune.remove"
        )


def _matched(own: dict[str, Any], given: dict[str, Any]) -> dict[str, str]:
    """Return for each module of a network the node whose weights it takes.

    Raises:
        NIRError: there is none for each, or more than one.
    """
    by_name = {path: _plain(path) for path in own}
    if set(by_name.values()) != set(given) or len(own) != len(given):
        by_name = dict(zip(own, given, strict=False))
        shapes = [np.shape(_weights(node)) for node in given.values()]
        if len(own) == len(given) and len(set(shapes)) < len(shapes):
            by_name = {}  # by their order, two of one shape could change places
    if (
        len(by_name) != len(own)
        or len(own) != len(given)
        or not all(_fits(own[a], given[b]) for a, b in by_name.items())
    ):
        there = ", ".join(f"{path} {tuple(_parameters(each)[0].shape)}" for path, each in own.items()) or "none"
        have = ", ".join(f"{name} {np.shape(_weights(node))}" for name, node in given.items()) or "none"
        raise NIRError(
            f"load_nir_weights: the network has the weights {there}, and the graph {have}, which match neither by name "
            "nor, one of each shape, by order"
        )
    return by_name


class _Builder(NamedTuple):
    """What a network is made of: the plan of a graph, how to read its nodes, and what it says about itself."""

    plan: Plan
    reading: Reading
    said: Metadata | None
    dialect: Dialect | None

    def network(self) -> SpikingNet:
        """Return the network."""
        inside = self._recurrences()
        names = module_names(self.plan)
        modules: dict[str, nn.Module] = {}
        nodes: list[Node] = []
        skipped = set(inside.values())
        for name in self.plan.nodes:
            if name in skipped:
                continue
            made = self._module(name, inside.get(name))
            if made is not None:
                modules[names[name]] = made.to(self.reading.dtype)
            edges = [edge for edge in self.plan.incoming[name] if edge.source not in skipped]
            now = tuple(edge.source for edge in edges if not edge.delayed)
            before = tuple(edge.source for edge in edges if edge.delayed)
            nodes.append(Node(name, names[name] if made is not None else "", now, before))
        shapes = _shapes(nodes, modules, self.plan, self.reading.dtype)
        nodes = _with_feedback(nodes, modules, names, shapes, self.reading.dtype)
        net = GraphNet(tuple(nodes), modules, self.plan.outputs)
        has_cycles = any(isinstance(module, Feedback) for module in modules.values())
        single = shapes[self.plan.outputs[0]] if len(self.plan.outputs) == 1 else None
        return SpikingNet(net, single, mode="step" if has_cycles else "auto")

    def _module(self, name: str, back: str | None) -> nn.Module | None:
        """Return the module of a node, with the recurrent weights of another one."""
        node = self.plan.nodes[name]
        options = {} if back is None else {"recurrent": _weights_back(self._module(back, None))}
        content = None if self.said is None else self.said.nodes.get(name)
        if self.dialect is not None and isinstance(node, NEURONS):
            return self._in_dialect(self.dialect, name, node)
        if content is None or not isinstance(node, (*NEURONS, nir.Delay)):
            made = module_of(name, node, self.reading, **options)
            if isinstance(made, nn.Conv1d | nn.Conv2d) and content == {"bias": False} and not np.any(node.bias):
                made.bias = None
            return made
        layer = metadata.rebuilt(name, content, options.get("recurrent"))
        self._check_same(name, node, layer)
        return layer

    def _in_dialect(self, dialect: Dialect, name: str, node: Any) -> nn.Module:
        in_cycle = any(edge.delayed for edge in self.plan.incoming[name])
        check_numbers(name, node)
        try:
            made = dialect.neuron(node, self.reading.dt, self.reading.dtype, in_cycle=in_cycle)
        except ValueError as error:
            raise NIRError(f"node {name!r} ({type(node).__name__}): {error}") from error
        if made is None:
            raise NIRError(f"node {name!r} is a {type(node).__name__}, which {type(dialect).__name__} does not write")
        return made

    def _check_same(self, name: str, node: Any, layer: Any) -> None:
        """Raise where metadata stand for other numbers than those of the node, which somebody has changed."""
        said: Any = self.said
        shape = tuple(int(size) for size in node.output_type["output"])
        lost: list[str] = []
        writing = Writing(name, shape, self.reading.dt, self.reading.discretisation, said.dtype, True, lost)
        again = neuron_of(layer, writing)
        wrong = lost or ["its kind"] if lost or type(again) is not type(node) else _changed(node, again)
        if wrong:
            raise NIRError(
                f"node {name!r} was changed after this library wrote it: {', '.join(wrong)} is not what its metadata "
                "stand for. Pass use_metadata=False to go by the nodes alone"
            )

    def _recurrences(self) -> dict[str, str]:
        """Return the weights that lead back from a neuron to itself alone, by the neuron."""
        found: dict[str, str] = {}
        if self.dialect is not None:  # layers of other libraries hear themselves in ways of their own
            return found
        for name, node in self.plan.nodes.items():
            back = [edge.source for edge in self.plan.incoming[name] if edge.delayed]
            if not isinstance(node, NEURONS) or len(back) != 1 or back[0] == name:
                continue
            through = self.plan.nodes[back[0]]
            alone = [edge.source for edge in self.plan.incoming[back[0]]] == [name]
            if not (alone and isinstance(through, _WEIGHTED) and self.plan.outgoing(back[0]) == [name]):
                continue
            try:
                synapse_of("", _weights_back(self._module(back[0], None)))
            except (TypeError, ValueError):
                continue
            found[name] = back[0]
        return found


def _changed(node: Any, again: Any) -> list[str]:
    """Return the fields of a node that differ from those of another one; of thresholds, every bit counts."""
    fields = {
        name: value for name, value in vars(node).items() if name not in ("input_type", "output_type", "metadata")
    }
    return [
        name
        for name, value in fields.items()
        if not np.allclose(value, getattr(again, name), rtol=0.0 if "threshold" in name else _SAME, atol=0.0)
    ]


def module_names(plan: Plan) -> dict[str, str]:
    """Return for each node the name of its module: dots are no part of one, and torch or Python have taken some."""
    found: dict[str, str] = {}
    taken = {*dir(nn.Module()), "nodes", "outputs"}
    for name in plan.nodes:
        module = base = _plain(name)
        count = 1
        while module in taken or not module or keyword.iskeyword(module):
            module, count = f"{base}_{count}", count + 1
        taken.add(module)
        found[name] = module
    return found


def _plain(name: str) -> str:
    return name.replace(".", "_").replace("/", "_")


def _weights_back(module: Any) -> Any:
    """Return recurrent weights as a layer takes them: without a bias, which convolutions of NIR always have."""
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.bias is not None and not module.bias.any():
        module.bias = None
    return module.scale.detach() if isinstance(module, Scale) else module


def _shapes(
    nodes: list[Node], modules: dict[str, nn.Module], plan: Plan, dtype: torch.dtype
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what the nodes give out for a sample, by running one step on zeros.

    Raises:
        NIRError: they do not fit together.
    """
    start = plan.nodes[plan.input].input_type
    size = None if start is None else start.get("input")
    if size is None:
        raise NIRError(f"the Input {plan.input!r} has no shape; give it one: nir.Input(input_type={{'input': shape}})")
    sizes = [int(each) for each in np.atleast_1d(size)]
    if min(sizes, default=1) < 1 or math.prod(sizes) > _LARGEST:
        raise NIRError(
            f"the Input {plan.input!r} has shape {tuple(sizes)}, expected sizes above zero, of {_LARGEST:,} at most"
        )
    values: dict[str, Tensor] = {plan.input: torch.zeros(1, *sizes, dtype=dtype)}
    for node in nodes[1:]:
        given = [values[name] for name in node.now]
        shapes = {tuple(each.shape[1:]) for each in given}
        if len(shapes) > 1:
            raise NIRError(
                f"what flows into node {node.name!r} differs in shape: "
                + ", ".join(f"{name} gives {tuple(values[name].shape[1:])}" for name in node.now)
            )
        values[node.name] = _run(node, modules, sum_of(given))
        _check_shape(plan.nodes[node.name], node.name, tuple(values[node.name].shape[1:]))
    return {name: tuple(value.shape[1:]) for name, value in values.items()}


def _run(node: Node, modules: dict[str, nn.Module], x: Tensor) -> Tensor:
    module = modules.get(node.module)
    if module is None:
        return x
    try:
        with torch.no_grad():
            if not isinstance(module, StatefulLayer):
                out: Tensor = module(x)
                return out
            out = module(x, True)
            module.reset()
            return out
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        raise NIRError(
            f"node {node.name!r} gets values of shape {tuple(x.shape[1:])}, and fails on them: {error}"
        ) from error


def _check_shape(node: Any, name: str, shape: tuple[int, ...]) -> None:
    # the others have no shape of their own, and what nir 1.0.8 derives for convolutions is not always right
    if not isinstance(node, (*NEURONS, nir.Delay, nir.Scale)):
        return
    wanted = tuple(int(each) for each in node.output_type["output"])
    if wanted not in (shape, ()):  # numbers without an axis are those of every neuron
        raise NIRError(f"node {name!r} ({type(node).__name__}) is of shape {wanted}, and gets or makes {shape}")


def _with_feedback(
    nodes: list[Node],
    modules: dict[str, nn.Module],
    names: dict[str, str],
    shapes: dict[str, tuple[int, ...]],
    dtype: torch.dtype,
) -> list[Node]:
    """Return the nodes with a module for each value that is needed a step later."""
    later = {source for node in nodes for source in node.before}
    keeps: dict[str, str] = {}
    rest = _at_rest(nodes, later, modules, shapes, dtype)
    for source in sorted(later):
        name = f"{names[source]}_before"
        while name in modules or name in names.values():
            name += "_"
        keeps[source] = name
        modules[name] = Feedback(rest[source][0])
    return [
        node._replace(before=tuple(keeps[source] for source in node.before), after=keeps.get(node.name, ""))
        for node in nodes
    ]


def _at_rest(
    nodes: list[Node],
    later: set[str],
    modules: dict[str, nn.Module],
    shapes: dict[str, tuple[int, ...]],
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return what comes back before the first step: of layers and inputs zeros, of maps what they make of these."""
    by_name = {node.name: node for node in nodes}
    waiting, needs = set(later), dict[str, list[str]]()
    while waiting:
        node = by_name[waiting.pop()]
        silent = isinstance(modules.get(node.module), StatefulLayer)
        needs[node.name] = [] if silent else [*node.now, *node.before]
        waiting |= set(needs[node.name]) - needs.keys()
    rest: dict[str, Tensor] = {}
    for name in TopologicalSorter(needs).static_order():
        given = [rest[source] for source in needs[name]]
        zeros = torch.zeros(1, *shapes[name], dtype=dtype)
        rest[name] = _run(by_name[name], modules, sum_of(given)) if given else zeros
    return rest


def _dtype_of(plan: Plan) -> torch.dtype:
    """Return the widest dtype of the weights."""
    found = [_weights(node).dtype for node in plan.nodes.values() if isinstance(node, _WEIGHTED)]
    kinds = [dtype for dtype in found if dtype.kind == "f" and dtype.itemsize >= 4]
    if not kinds:
        return torch.get_default_dtype()
    return torch.float64 if np.result_type(*kinds).itemsize > 4 else torch.float32


_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, Scale)


def _weights(node: Any) -> Any:
    return np.asarray(node.scale if isinstance(node, nir.Scale) else node.weight)


def _parameters(module: Any) -> tuple[Tensor, Tensor | None]:
    return (module.scale, None) if isinstance(module, Scale) else (module.weight, module.bias)


def _fits(module: Any, node: Any) -> bool:
    weight, bias = _parameters(module)
    given = getattr(node, "bias", None)
    has_bias = given is not None and bool(np.any(given))
    return tuple(weight.shape) == np.shape(_weights(node)) and (bias is not None or not has_bias)


def _copy(module: Any, node: Any) -> None:
    weight, bias = _parameters(module)
    weight.copy_(torch.from_numpy(np.array(_weights(node))))
    if bias is not None:
        given = getattr(node, "bias", None)
        bias.copy_(torch.zeros_like(bias) if given is None else torch.from_numpy(np.array(given)))
