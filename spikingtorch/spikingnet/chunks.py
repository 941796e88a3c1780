"""Split a sequence into chunks of steps."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor


class Chunk(NamedTuple):
    """A chunk: some steps of a sequence."""

    x: Tensor  # inputs, (N, T, ...)
    init: bool | Tensor  # of the first step
    running: Tensor | None  # mask (N, T) of the steps that are no padding; None without padding
    complete: bool  # whether these are all steps of the sequence


def chunks(x: Tensor, init: bool | Tensor, running: Tensor | None, size: int | None) -> Iterator[Chunk]:
    """Yield the chunks of a sequence; only the first one starts with init."""
    pieces = (x,) if size is None else x.split(int(size), 1)
    masks = (running,) * len(pieces) if running is None or size is None else running.split(int(size), 1)
    for place, (piece, mask) in enumerate(zip(pieces, masks, strict=True)):
        yield Chunk(piece, False if place else init, mask, init is True and len(pieces) == 1)
