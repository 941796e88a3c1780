"""ProofFold: one step of a network inside a trace; its spiking layers return new tensors."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.fold.queries import NetworkQueries
from spikingtorch.fold.trace import BACKWARD, GRADIENTS, LAYER, PARAMETERS, RETURNED, Objection, Trace, noted_in
from spikingtorch.functional.core.modes import within
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.passed_init import call
from spikingtorch.validation import TakesInit, check_takes_init


class ProofFold(FoldToken):
    """A fold of one step, whose layers return new tensors of the right form.

    ``names`` are those of the layers, by id. The network gets ``init``, or the fold itself for None.
    """

    def __init__(self, trace: Trace, N: int, names: dict[int, str], init: bool | Tensor | None) -> None:
        super().__init__(N, 1, True)
        self.trace = trace
        self.names = names
        self.given = self if init is None else init
        self.inputs: dict[int, Any] = {}
        self.roots: list[Tensor] = []

    def name(self, layer: Any) -> str:
        """Return the name of a layer for messages."""
        return self.names[id(layer)]

    def call(self, layer: Any, inputs: Any, init: object) -> Any:
        """Note the inputs of a layer, and return outputs of the right form."""
        with self.trace.looks_away(draws=False):
            self.admit(layer, inputs, self if init is self.given else init)
        params, leaves = leaves_of(layer.whole_step()[1]), leaves_of(inputs)
        self.inputs[id(layer)] = inputs
        with self.trace.looks_away():
            out = self.trace.advance(layer, inputs)
            tensors = [x for x in (*leaves, *params) if isinstance(x, Tensor)]
            differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
            out = tree_map(lambda x: x.detach().requires_grad_(differentiable and x.is_floating_point()), out)
            if differentiable:
                self.saved += [(layer, x, x._version) for x in leaves]
        self.trace.add(PARAMETERS, params, ())
        self.trace.add(LAYER, [self.name(layer), *leaves], out)
        self.roots += leaves
        # a copy, because a network may write on its inputs
        return tree_map(torch.clone, out)

    def run(self, net: nn.Module, x: Tensor, merged: bool) -> None:
        """Run one step of a network, and the parts of its backward pass that are not torch's own.

        With ``merged``, batch norm takes one statistic over all steps, and its running statistics change once. Raise an
        Objection to what no operation shows, and a FoldError if init or a layer could give the steps other results.
        """
        trace = self.trace
        trace.add("the input", (), x)
        trace.own(x, "its input")
        takes_init = check_takes_init(net, spikes=True)
        out = within((NetworkQueries(trace), trace), partial(self._call, net, takes_init, x))
        for done in trace.calls if trace.statistics and not merged else ():
            if any(tensor.storage in trace.statistics for tensor in noted_in(done.given)):
                raise Objection(f"reads running statistics, which change at each step ({done.name})")
        nodes = _own_nodes([*self.roots, *leaves_of(out)])
        for node in nodes:
            _backward(node, trace, nodes)

    def _call(self, net: nn.Module, takes_init: TakesInit, x: Tensor) -> Any:
        out = call(net, takes_init, x.view_as(x) if x.requires_grad else x, self.given)
        for refusal in filter(None, (self.refusal, self.trace.refusal)):
            raise refusal
        with self.trace.looks_away(draws=False):
            self.check_saved()
        self.trace.add(RETURNED, out, ())
        return out


def _own_nodes(roots: list[Any]) -> list[Any]:
    """Return the backward passes that are not torch's own; those of torch keep samples apart if forward does."""
    ahead = [root.grad_fn for root in roots if isinstance(root, Tensor) and root.grad_fn is not None]
    seen: dict[Any, None] = {}
    while ahead:
        node: Any = ahead.pop()
        if node not in seen:
            seen[node] = None
            ahead += [before for before, _ in node.next_functions if before is not None]
    return [node for node in seen if hasattr(node, "_forward_cls")]


def _backward(node: Any, trace: Trace, known: list[Any]) -> None:
    """Run the backward pass of a user's function on random gradients."""
    kind = node._forward_cls
    if kind.__module__ == "torch.utils.checkpoint":
        raise Objection("runs a checkpoint with use_reentrant=True", "pass use_reentrant=False")
    if kind.jvp is not torch.autograd.Function.jvp:
        raise Objection(f"runs {kind.__name__}, whose jvp is not looked at", "leave it out")
    grads = [torch.randn(each.shape, dtype=each.dtype, device=each.device) for each in node._input_metadata]
    trace.add(f"{BACKWARD} of {kind.__name__}", (), grads)
    trace.forget_seed()
    grads = [grad.requires_grad_(grad.is_floating_point() or grad.is_complex()) for grad in grads]

    def run() -> Any:
        torch.set_grad_enabled(True)
        return node.apply(*grads)

    found = within((NetworkQueries(trace), trace), run)
    if any(each not in known for each in _own_nodes([*found] if isinstance(found, tuple) else [found])):
        raise Objection(
            f"calls a function with a backward pass of its own in that of {kind.__name__}",
            "compute it with torch's own operations",
        )
    if trace.refusal is not None:
        raise trace.refusal
    trace.add(GRADIENTS, found, ())
