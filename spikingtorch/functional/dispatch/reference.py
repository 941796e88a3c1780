"""Compute the gradient of a scan by the loop, with a graph for second derivatives."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import without_autocast
from spikingtorch.functional.core.shapes import broadcast, with_time, without_time
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.dispatch.call import ScanCall, product_of, unbound
from spikingtorch.functional.dispatch.recurrent import neuron_arguments
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import neuron_of
from spikingtorch.functional.fused.runtime.second_derivative import Reference
from spikingtorch.functional.fused.trace.examples import is_spec
from spikingtorch.functional.fused.trace.programs import Arguments, trace_step
from spikingtorch.functional.loop import loop


def reference_of(call: ScanCall) -> Reference | None:
    """Return ``gradients`` of a scan by the loop, for second derivatives, which torch.compile does not take."""
    return None if torch.compiler.is_compiling() else LoopReference(call.step, call.arguments()).gradients


class LoopReference(NamedTuple):
    """The scan that a program was made from, by torch's own operations."""

    step: Callable[..., Any]  # the step
    arguments: Arguments  # all of its arguments; tensors and slots stand without their numbers

    def gradients(
        self,
        tensors: Tensors,
        cotangents: Gradients,
        dim: int,
        wanted: Sequence[bool],
        program: str,
        scalars: Sequence[float],
    ) -> list[Tensor]:
        """Return the wanted gradients, connected to the graphs of tensors and cotangents.

        The tensors are states, inputs, and parameters that are tensors; ``cotangents`` are those of final states and
        outputs, None for zero. The forward pass ran ``program`` with the floats ``scalars``; those that the step's own
        code holds come last. Raise RuntimeError if the step reads something that has changed since.
        """
        step, _ = unbound(self.step, {})
        floats = self._filled_in(step, program, scalars)
        # a view of each: one tensor may be passed twice, and each place has its own gradient
        leaves = [tensor.view_as(tensor) for tensor in tensors]
        with without_autocast(tensors[0].device):
            results = self._run(step, floats, leaves, dim)
        pairs = [(r, c) for r, c in zip(results, cotangents, strict=True) if c is not None and r.requires_grad]
        found = torch.autograd.grad(
            [result for result, _ in pairs],
            [leaf for leaf, want in zip(leaves, wanted, strict=True) if want],
            [cotangent for _, cotangent in pairs],
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return list(found)

    def _filled_in(self, step: Any, program: str, scalars: Sequence[float]) -> Sequence[float]:
        """Return the float parameters in the slots; raise if the step has changed since the forward pass."""
        first = len(scalars)
        try:
            if product_of(step) is None:
                now = trace_step(step, self.arguments)
            else:
                now = trace_step(step.step, neuron_arguments(self.arguments))
            first -= len(now.literals)
            known = now.program == neuron_of(program)
            same = known and list(map(repr, now.literals)) == list(map(repr, scalars[first:]))
        except NotFusible:
            same = False
        if not same:
            raise RuntimeError(
                "scan: the step reads something that has changed between the forward and the backward pass, and "
                "create_graph=True runs the step again. Pass what changes in params"
            )
        return scalars[:first]

    def _run(self, step: Callable[..., Any], floats: Sequence[float], tensors: Tensors, dim: int) -> list[Any]:
        """Return final states and outputs of the loop on other tensors."""
        state_form, xs_form, params_form = self.arguments.forms
        states, streams = len(self.arguments.states), len(self.arguments.states) + len(self.arguments.xs)
        xs, numbers = tensors[states:streams], tensors[streams:]
        rest, filled_in = iter(numbers), iter(floats)
        params = [
            next(rest) if is_spec(leaf) else next(filled_in, leaf) if isinstance(leaf, float) else leaf
            for leaf in self.arguments.params
        ]
        elementwise = product_of(step) is None
        shapes: list[Sequence[int]] = [without_time(x.shape, dim) for x in xs]
        if elementwise:  # elementwise: states that several neurons share, as under vmap, get their full size
            shapes += [number.shape for number in numbers]
        shape = broadcast([*shapes, *(state.shape for state in tensors[:states])])
        if elementwise:  # and so do inputs, which a step may hand on as a state
            full = [with_time(shape, dim % (len(shape) + 1), x.shape[dim]) for x in xs]
            xs = [x.expand(size) if x.ndim == len(size) else x for x, size in zip(xs, full, strict=True)]
        final, outputs = loop(
            step,
            pytree.tree_unflatten([state.expand(shape) for state in tensors[:states]], state_form),
            pytree.tree_unflatten(xs, xs_form),
            pytree.tree_unflatten(params, params_form),
            dim,
            self.arguments.half or torch.float32,
        )
        return [*pytree.tree_leaves(final), *pytree.tree_leaves(outputs)]
