"""Run a scan in chunks, each of which runs again in the backward pass: the memory of one chunk, and the states between.

    state[k + 1], out[k] = scan(step, state[k], x[k])          k = 0 ... chunks - 1

The backward pass needs the tensors of a chunk only while it goes through this chunk, the last one first.
"""

import math
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from spikingtorch.functional.core.surroundings import RandomNumbers, same_random_numbers
from spikingtorch.functional.core.torch_private import compiles_frames, forward_level, peek_interpreter_stack, pytree

S = TypeVar("S")
Out = TypeVar("Out")
Recompute: TypeAlias = int | Literal["auto"] | None


def steps_of(recompute: Recompute, T: int) -> int | None:
    """Return the number of steps of a chunk, None without chunks; raise ValueError if ``recompute`` is none.

    "auto" is about the square root of T.
    """
    if recompute is None:
        return None
    if isinstance(recompute, str) and recompute == "auto":
        return math.ceil(math.sqrt(T))
    if isinstance(recompute, bool) or not isinstance(recompute, Integral) or recompute < 1:
        raise ValueError(
            f"scan: recompute={recompute!r}, expected the number of steps of a chunk, 1 or more; 'auto', about the "
            "square root of the number of all steps; or None, to keep everything for the backward pass"
        )
    return int(recompute)


def check_circumstances() -> None:
    """Raise ValueError if a compiled, transformed or forward-mode call would have to run again in its backward pass."""
    if torch.compiler.is_dynamo_compiling() or compiles_frames():
        what = "torch.compile"
    elif peek_interpreter_stack() is not None:
        what = "a transform of torch.func"
    elif forward_level() >= 0:
        what = "forward-mode differentiation"
    else:
        return
    raise ValueError(
        f"scan: recompute= does not work inside {what}, which does not keep tensors where a second run could replace "
        "them. Leave out recompute there"
    )


def scan_chunks(
    run: Callable[[S, Any], tuple[S, Out]], state: S, xs: Any, dim: int, size: int, check: Callable[[], None]
) -> tuple[S, Out]:
    """Return the last state and the outputs of all chunks of ``size`` steps; time is at axis ``dim``.

    ``run`` scans a chunk, from (state, xs) to (state, outputs), and ``check`` is called before each second run.
    """
    leaves, form = pytree.tree_flatten(xs)
    pieces = [*zip(*(leaf.split(size, dim) for leaf in leaves), strict=True)]
    parts: list[Out] = []
    for piece in pieces:
        x = pytree.tree_unflatten(piece, form)
        # the backward pass begins with the last chunk
        state, out = run(state, x) if len(parts) == len(pieces) - 1 else _twice(run, state, x, check)
        parts.append(out)
    return state, parts[0] if len(parts) == 1 else pytree.tree_map(lambda *each: torch.cat(each, dim), *parts)


def _twice(run: Callable[[S, Any], tuple[S, Out]], state: S, x: Any, check: Callable[[], None]) -> tuple[S, Out]:
    leaves, form = pytree.tree_flatten((state, x))
    numbers: list[RandomNumbers] = []  # those of the first run, which the second one draws again

    def again(*leaves: Tensor) -> tuple[S, Out]:
        work = partial(run, *pytree.tree_unflatten(leaves, form))
        if not numbers:
            numbers.append(RandomNumbers.now(leaves[-1].device))
            return work()
        check()

        def repeated() -> tuple[S, Out]:
            numbers[0].put_back()
            with torch.inference_mode(False):  # the backward pass may run in it
                return work()

        return same_random_numbers(numbers[0].device, repeated)

    found: tuple[S, Out] = checkpoint(again, *leaves, use_reentrant=False)
    return found
