"""A neuron of some library, ready to be timed and to be looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.case import BOTH, FORWARD
from benchmarks.inputs import Array


@dataclass(frozen=True)
class Observation:
    """What one call computes: the spikes, and a gradient for each input; all of shape (T, B, N)."""

    spikes: Array
    gradients: tuple[Array, ...]


@dataclass(frozen=True)
class Subject:
    """The calls of one implementation on inputs that it holds.

    Args:
        forward: compute the spikes, without what a gradient would need.
        both: compute the spikes and the gradient of every input for the fixed cotangent.
        observe: the same as ``both``, with its results.
    """

    forward: Callable[[], object]
    both: Callable[[], object]
    observe: Callable[[], Observation]

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return what can be timed, by mode."""
        return {FORWARD: self.forward, BOTH: self.both}


def from_torch(
    run: Callable[..., Tensor], xs: Sequence[Array], cotangent: Array, time: int = 0, scale: float = 1.0
) -> Subject:
    """Return the subject of a torch function from inputs to spikes.

    Args:
        run: the function.
        xs: inputs, time first.
        cotangent: cotangent of the spikes, time first.
        time: where ``run`` has its time axis; inputs and cotangent are laid out accordingly, once.
        scale: factor on the inputs, where a library multiplies them by its inverse.
    """

    def lay_out(array: Array) -> Tensor:
        # a copy, at torch's own alignment
        return torch.from_numpy(array).movedim(0, time).clone(memory_format=torch.contiguous_format)

    leaves = [(scale * lay_out(x)).requires_grad_() for x in xs]
    weights = lay_out(cotangent)

    def forward() -> None:
        with torch.no_grad():
            run(*leaves)

    def both() -> None:
        torch.autograd.grad(run(*leaves), leaves, weights)

    def observe() -> Observation:
        spikes = run(*leaves)
        gradients = torch.autograd.grad(spikes, leaves, weights)
        arrays = [np.asarray(t.detach().movedim(time, 0), dtype=np.float32) for t in (spikes, *gradients)]
        return Observation(arrays[0], tuple(arrays[1:]))

    return Subject(forward, both, observe)
