"""Split a sequence into chunks of steps."""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

TimeChunk: TypeAlias = int | Literal["auto"] | None
# states of a sample: a chunk of fewer takes about as long to begin as to run
WORTH = 2**17


class Chunk(NamedTuple):
    """A chunk: some steps of a sequence."""

    x: Tensor  # inputs, (N, T, ...)
    init: bool | Tensor  # of the first step
    running: Tensor | None  # mask (N, T) of the steps that are no padding; None without padding
    complete: bool  # whether these are all steps of the sequence
    last: bool  # whether the sequence ends with it


def chunks(
    x: Tensor, init: bool | Tensor, running: Tensor | None, wanted: TimeChunk, numbers: Callable[[], int]
) -> Iterator[Chunk]:
    """Yield the chunks of a sequence x, (N, T, ...), of ``wanted`` steps; only the first one starts with init.

    ``running`` masks the steps that are no padding, if there is padding. ``numbers`` tells how many numbers the state
    of a sample has, and is asked before each chunk of an automatic size; 0 if this is not known yet.
    """
    start, T = 0, x.shape[1]
    while start < T:
        size = T if wanted is None else steps_of(wanted, T, numbers)
        end = min(start + size, T)
        mask = None if running is None else running[:, start:end]
        yield Chunk(x[:, start:end], False if start else init, mask, init is True and end - start == T, end == T)
        start = end


def steps_of(wanted: int | str, T: int, numbers: Callable[[], int]) -> int:
    """Return the number of steps of a chunk.

    "auto" is the square root of T, as many steps in a chunk as chunks; and where neurons are few, so many steps that
    a chunk computes ``WORTH`` states of a sample, because a chunk of fewer takes longer to begin than to run. It does
    not depend on the number of samples, which may differ between processes that run the same chunks.
    """
    if wanted != "auto":
        return int(wanted)
    known = numbers()
    return max(math.ceil(math.sqrt(T)), math.ceil(WORTH / known) if known else 1)
