"""The modules of a graph's network: GraphNet, and modules for nodes that torch does not have."""

from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional import lift
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.frame import frame_of, init_and_running
from spikingtorch.layers.threads import this_thread


class Scale(nn.Module):
    """Multiply each entry of a sample by its own factor: ``y = scale x``.

    Args:
        scale: shape of a sample.
    """

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return self.scale * x

    def extra_repr(self) -> str:
        """Name the shape."""
        return "x".join(map(str, self.scale.shape))


class SumPool2d(nn.AvgPool2d):
    """Sum the entries of each window: average pooling without the division.

    Args:
        kernel_size: as in ``nn.AvgPool2d``, like stride and padding.
        stride: of the windows.
        padding: zeros around the image.
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__(kernel_size, stride, padding, divisor_override=1)


class FeedbackState(NamedTuple):
    """State of ``Feedback``: the value of the step before."""

    value: Tensor


class Feedback(StatefulLayer):
    """Pass on a value of the step before: the feedback edge of a cycle through several layers.

    A step reads it at its beginning and writes the new value at its end. The first step of a sequence reads
    ``at_rest``, which is the value for one sample.
    """

    at_rest: Tensor

    def __init__(self, at_rest: Tensor) -> None:
        super().__init__()
        self.register_buffer("at_rest", at_rest.clone())
        # the value that the step has read, and the running samples
        self._read: tuple[Tensor | None, Tensor | None] = (None, None)

    def rest_state(self, x: Tensor) -> Any:
        """Return the value at rest, for each sample."""
        return FeedbackState(lift(torch.zeros_like(x, requires_grad=False) + self.at_rest))

    def read(self, x: Tensor, init: Any) -> Tensor:
        """Return the value of the step before.

        Args:
            x: any tensor of this step, (N, ...), for the number of samples and the dtype.
            init: as in the layers.
        """
        frame = frame_of(self)
        fold = init if isinstance(init, FoldToken) or frame is None else frame.fold
        if isinstance(fold, FoldToken):
            fold.refuse(
                "has a cycle through several layers, which takes one step at a time", "build the model with mode='step'"
            )
        init, running = init_and_running(self, frame, init)
        value: Tensor = self._start(
            x.new_zeros(len(x), *self.at_rest.shape), False if init is None else init
        ).state.value
        self._read = value, running
        return value.to(x.dtype)

    def write(self, value: Tensor) -> None:
        """Store the value of this step; a sample that has ended keeps its value."""
        (before, running), self._read = self._read, (None, None)
        if before is not None and running is not None:
            value = torch.where(running.view(-1, *(1,) * (value.ndim - 1)), value, before.to(value.dtype))
        self._finish(Memory(FeedbackState(lift(value)), value, (), thread=this_thread()))

    def extra_repr(self) -> str:
        """Name the shape."""
        return "x".join(map(str, self.at_rest.shape))


class Node(NamedTuple):
    """The computation of one node."""

    name: str  # in the graph
    module: str  # name of its module; empty for a node that passes its input on
    now: tuple[str, ...]  # nodes whose values of this step it sums
    before: tuple[str, ...] = ()  # names of the ``Feedback`` modules whose values it adds as well
    after: str = ""  # name of the ``Feedback`` that keeps its value for the next step, or empty


class GraphNet(nn.Module):
    """The nodes of a graph, computed in their order: the module in the ``SpikingNet`` of ``from_nir``.

    The first node is the Input. A single Output gives a tensor, several give a dict of tensors by their names.
    """

    def __init__(self, nodes: tuple[Node, ...], modules: dict[str, nn.Module], outputs: tuple[str, ...]) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.nodes = nodes
        self.outputs = outputs

    def forward(self, x: Tensor, init: Any) -> Any:
        """Compute one step of x, (N, *shape of the Input), and pass init to the layers."""
        before = {name: module.read(x, init) for name, module in self.named_children() if isinstance(module, Feedback)}
        values = {self.nodes[0].name: x}
        for node in self.nodes[1:]:
            value = reduce(add, [*(values[name] for name in node.now), *(before[name] for name in node.before)])
            module = self._modules.get(node.module)
            if isinstance(module, StatefulLayer):
                value = module(value, init)
            elif module is not None:
                value = module(value)
            values[node.name] = value
        for node in self.nodes:
            kept = self._modules.get(node.after)
            if isinstance(kept, Feedback):
                kept.write(values[node.name])
        found = {name: values[name] for name in self.outputs}
        return found[self.outputs[0]] if len(found) == 1 else found
