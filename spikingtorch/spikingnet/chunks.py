"""Split a sequence into chunks of steps."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

TimeChunk: TypeAlias = int | Literal["auto"] | None


class Chunk(NamedTuple):
    """A chunk: some steps of a sequence."""

    x: Tensor  # inputs, (N, T, ...)
    init: bool | Tensor  # of the first step
    running: Tensor | None  # mask (N, T) of the steps that are no padding; None without padding
    complete: bool  # whether these are all steps of the sequence


def chunks(x: Tensor, init: bool | Tensor, running: Tensor | None, wanted: TimeChunk) -> Iterator[Chunk]:
    """Yield the chunks of a sequence; only the first one starts with init."""
    size = steps_of(wanted, x.shape[1])
    pieces = (x,) if size is None else x.split(int(size), 1)
    masks = (running,) * len(pieces) if running is None or size is None else running.split(int(size), 1)
    for place, (piece, mask) in enumerate(zip(pieces, masks, strict=True)):
        yield Chunk(piece, False if place else init, mask, init is True and len(pieces) == 1)


def steps_of(wanted: TimeChunk, T: int) -> int | None:
    """Return the number of steps of a chunk; "auto" is the square root of T: as many steps in a chunk as chunks."""
    return math.ceil(math.sqrt(T)) if wanted == "auto" else wanted
