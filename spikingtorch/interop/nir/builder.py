"""Build the network of a graph: a module for each node, recurrent layers, and the layers of its metadata."""

import keyword
from typing import Any, NamedTuple

import nir
import numpy as np
from torch import nn

from spikingtorch.interop.nir import metadata
from spikingtorch.interop.nir.dialects import Dialect, Sinabs
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.from_nodes import NO_NUMBERS, WEIGHTED, Reading, check_numbers, module_of
from spikingtorch.interop.nir.metadata import Metadata
from spikingtorch.interop.nir.modules import Feedback, GraphNet, Node, Scale
from spikingtorch.interop.nir.plan import NEURONS, Plan
from spikingtorch.interop.nir.shapes import shapes_of, with_feedback
from spikingtorch.interop.nir.targets import target_of
from spikingtorch.interop.nir.to_neurons import neuron_of
from spikingtorch.interop.nir.writing import Writing
from spikingtorch.layers.recurrent import synapse_of
from spikingtorch.spikingnet import SpikingNet

# allowed difference between a node and its metadata, because exponentials differ between machines
_SAME = 1e-6


class Builder(NamedTuple):
    """The input of the builder: the plan of a graph, how to read its nodes, and its metadata."""

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
        shapes = shapes_of(nodes, modules, self.plan, self.reading.dtype)
        nodes = with_feedback(nodes, modules, names, shapes, self.reading.dtype)
        net = GraphNet(tuple(nodes), modules, self.plan.outputs)
        has_cycles = any(isinstance(module, Feedback) for module in modules.values())
        single = shapes[self.plan.outputs[0]] if len(self.plan.outputs) == 1 else None
        batch_first = self.said is None or self.said.batch_first
        return SpikingNet(net, single, mode="step" if has_cycles else "auto", batch_first=batch_first)

    def _module(self, name: str, back: str | None) -> nn.Module | None:
        """Return the module of a node, with the recurrent weights of another one."""
        node = self.plan.nodes[name]
        options = {} if back is None else {"recurrent": _weights_back(self._module(back, None))}
        content = None if self.said is None else self.said.nodes.get(name)
        dialect = self._of_target(node) if self.dialect is None and content is None else self.dialect
        if dialect is not None and isinstance(node, NEURONS):
            return self._in_dialect(dialect, name, node)
        if content is None or not isinstance(node, (*NEURONS, nir.Delay)):
            made = module_of(name, node, self.reading, **options)
            without_bias = content == {"bias": False} and not np.any(node.bias)
            if isinstance(made, nn.Linear | nn.Conv1d | nn.Conv2d) and without_bias:
                made.register_parameter("bias", None)
            return made
        layer = metadata.rebuilt(name, content, options.get("recurrent"))
        self._check_same(name, node, layer)
        return layer

    def _of_target(self, node: Any) -> Dialect | None:
        """Return the meaning of a node that was written for a reader with other neurons than NIR's."""
        target = None if self.said is None else target_of("from_nir", self.said.target)
        if target is None or not target.counts:
            return None
        floor = None
        if isinstance(node, nir.IF):
            (floor,) = -np.unique(node.v_threshold)
        return Sinabs(norm_input=False, min_v_mem=floor)

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
        """Raise if the numbers of a node differ from its metadata, because the node was changed later."""
        said: Any = self.said
        shape = tuple(int(size) for size in node.output_type["output"])
        lost: list[str] = []
        target = target_of("from_nir", said.target)
        writing = Writing(name, shape, self.reading.dt, self.reading.discretisation, said.dtype, True, lost, target)
        again = neuron_of(layer, writing)
        wrong = lost or ["its kind"] if lost or type(again) is not type(node) else _changed(node, again)
        if wrong:
            raise NIRError(
                f"node {name!r} was changed after this library wrote it: {', '.join(wrong)} differs from its "
                "metadata. Pass use_metadata=False to use only the nodes"
            )

    def _recurrences(self) -> dict[str, str]:
        """Return, for each neuron, the weights that lead only from it back to itself."""
        found: dict[str, str] = {}
        if self.dialect is not None:  # layers of other libraries have their own ways of feedback
            return found
        for name, node in self.plan.nodes.items():
            back = [edge.source for edge in self.plan.incoming[name] if edge.delayed]
            if not isinstance(node, NEURONS) or len(back) != 1 or back[0] == name:
                continue
            through = self.plan.nodes[back[0]]
            alone = [edge.source for edge in self.plan.incoming[back[0]]] == [name]
            if not (alone and isinstance(through, WEIGHTED) and self.plan.outgoing(back[0]) == [name]):
                continue
            try:
                synapse_of("", _weights_back(self._module(back[0], None)))
            except (TypeError, ValueError):
                continue
            found[name] = back[0]
        return found


def _changed(node: Any, again: Any) -> list[str]:
    """Return the fields of a node that differ from those of another node; thresholds must have the same bits."""
    return [
        name
        for name, value in vars(node).items()
        if name not in NO_NUMBERS and not _is_near(value, getattr(again, name), 0.0 if "threshold" in name else _SAME)
    ]


def _is_near(value: Any, other: Any, rtol: float) -> bool:
    try:
        return np.allclose(value, other, rtol=rtol, atol=0.0)
    except ValueError:  # shapes that do not fit each other
        return False


def module_names(plan: Plan) -> dict[str, str]:
    """Return the module name of each node: it has no dots, and is not already used by torch or Python."""
    found: dict[str, str] = {}
    taken = {*dir(nn.Module()), "nodes", "outputs"}
    for name in plan.nodes:
        module = base = plain_name(name)
        count = 1
        while module in taken or not module or keyword.iskeyword(module):
            module, count = f"{base}_{count}", count + 1
        taken.add(module)
        found[name] = module
    return found


def plain_name(name: str) -> str:
    """Return the module name of a node or a path, without dots."""
    return name.replace(".", "_").replace("/", "_")


def _weights_back(module: Any) -> Any:
    """Return recurrent weights for a layer, without the bias that convolutions of NIR always have."""
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.bias is not None and not module.bias.any():
        module.bias = None
    return module.scale.detach() if isinstance(module, Scale) else module
