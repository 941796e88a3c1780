"""Outputs of steps, of chunks and of folds."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.functional.core.torch_private import is_alias_of
from spikingtorch.functional.core.tree import flatten, leaves_of, tree_map


def check_outputs(out: Any, N: int, Nout: tuple[int, ...] | None) -> None:
    """Raise unless a network returned outputs of shape Nout for N samples or, if Nout is None, a tree of tensors."""
    if not isinstance(out, Tensor) and Nout is not None:
        raise TypeError(
            f"SpikingNet: net returned a {type(out).__name__}, expected a tensor of shape (N, *Nout) = {(N, *Nout)}. A "
            "network that returns several tensors is made without Nout: SpikingNet(net)"
        )
    for leaf in leaves_of(out):
        if not isinstance(leaf, Tensor):
            place = "" if leaf is out else f" in its {type(out).__name__}"
            raise TypeError(
                f"SpikingNet: net returned a {type(leaf).__name__}{place}, expected a tensor, or a tuple, list or "
                "dict of tensors"
            )
        if Nout is None and leaf.shape[:1] != (N,):
            raise ValueError(
                f"SpikingNet: net returned shape {tuple(leaf.shape)} for a batch of {N}, expected (N, ...), one "
                "output for each sample"
            )
    if Nout is not None and out.shape != (N, *Nout):
        raise ValueError(
            f"SpikingNet: net returned shape {tuple(out.shape)}, expected (N, *Nout) = {(N, *Nout)}. "
            "Change Nout, or flatten what forward returns"
        )


def joined(join: Callable[[list[Tensor], int], Tensor], outputs: list[Any]) -> Any:
    """Return the outputs of steps, or of chunks, along the axis of time; raise ValueError if their trees differ."""
    if isinstance(outputs[0], Tensor):
        return join(outputs, 1)
    if not torch.compiler.is_compiling():
        first = flatten(outputs[0])[1]
        for t, out in enumerate(outputs):
            if flatten(out)[1] != first:
                raise ValueError(
                    f"SpikingNet: net returned another tree of outputs at step {t} than at the first. Return the same "
                    "at each step"
                )
    return tree_map(lambda *leaves: join([*leaves], 1), *outputs)


def unshared(out: Any, x: Tensor, eager: bool) -> Any:
    """Return outputs with their own memory, on which the caller may write.

    Step by step, they are copies: no views of the input x or of another output, and no tensors that a backward pass
    reads.
    """
    taken: set[int] = set()
    looks = checks.has_values(x, eager)

    def own(leaf: Tensor) -> Tensor:
        if not checks.has_values(leaf, eager):
            return leaf
        memory = leaf.untyped_storage()
        if memory.data_ptr() in taken or checks.is_held(leaf, memory) or (looks and is_alias_of(leaf, x)):
            leaf = leaf.clone()
            memory = leaf.untyped_storage()
        taken.add(memory.data_ptr())
        return leaf

    return tree_map(own, out)
