"""A neuron of some library, ready to be timed and to be looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.case import BOTH, FORWARD
from benchmarks.inputs import Array


class UnavailableError(Exception):
    """What is to be timed does not exist in what is installed: it goes unmeasured, and the run goes on."""


@dataclass(frozen=True)
class Observation:
    """What one call computes: the spikes and a gradient for each input, (T, B, N), and one for each weight."""

    spikes: Array
    gradients: tuple[Array, ...]


class Observe(Protocol):
    """Computes what ``Subject.both`` does, with its results."""

    def __call__(self, kept: Array | None = None) -> Observation:
        """Return them.

        Args:
            kept: factor on the cotangent, that broadcasts over it: zero for neurons that shall have no gradient.
        """
        ...


@dataclass(frozen=True)
class Subject:
    """The calls of one implementation on inputs that it holds.

    Args:
        forward: compute the spikes, without what a gradient would need.
        both: compute the spikes and the gradient of every input and weight for the fixed cotangent.
        observe: the same as ``both``, with its results.
    """

    forward: Callable[[], object]
    both: Callable[[], object]
    observe: Observe

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return what can be timed, by mode."""
        return {FORWARD: self.forward, BOTH: self.both}


def from_torch(
    run: Callable[..., Tensor],
    xs: Sequence[Array],
    cotangent: Array,
    time: int = 0,
    scale: float = 1.0,
    weights: Sequence[Tensor] = (),
) -> Subject:
    """Return the subject of a torch function from inputs to spikes.

    Args:
        run: the function.
        xs: inputs, time first.
        cotangent: cotangent of the spikes, time first.
        time: where ``run`` has its time axis; inputs and cotangent are laid out accordingly, once.
        scale: factor on the inputs, where a library multiplies them by its inverse.
        weights: what else has a gradient; ``run`` holds them itself.
    """

    def lay_out(array: Array) -> Tensor:
        # a copy, at torch's own alignment
        return torch.from_numpy(array).movedim(0, time).clone(memory_format=torch.contiguous_format)

    leaves = [(scale * lay_out(x)).requires_grad_() for x in xs]
    sources = [*leaves, *weights]
    cotangents = lay_out(cotangent)

    def forward() -> None:
        with torch.no_grad():
            run(*leaves)

    def both() -> None:
        torch.autograd.grad(run(*leaves), sources, cotangents)

    def observe(kept: Array | None = None) -> Observation:
        spikes = run(*leaves)
        wanted = cotangents if kept is None else lay_out(cotangent * kept)
        gradients = torch.autograd.grad(spikes, sources, wanted)
        over_time = [t.detach().movedim(time, 0) for t in (spikes, *gradients[: len(leaves)])]
        arrays = [np.asarray(t, dtype=np.float32) for t in (*over_time, *gradients[len(leaves) :])]
        return Observation(arrays[0], tuple(arrays[1:]))

    return Subject(forward, both, observe)
