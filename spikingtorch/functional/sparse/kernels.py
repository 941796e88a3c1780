"""The kernels that skip zeros, on images in channels-last memory: see the C files in this folder."""

import math
from ctypes import byref, c_int64
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.sparse.c_abi import BEHIND_BITS, Blocks, Lists, Shape, functions, lists, pointer

# the largest number of vectors and of bytes in a panel of weights; the largest number of vectors in a panel of sums
_WEIGHTS, _PANEL_BYTES, _SUMS = (16, 8, 4, 2), 2**20, (8, 4, 2)
# the largest factor by which the pieces of a row may exceed the number that the cache needs
_MORE_PIECES = 4
# vectors that are summed together; tasks for all threads; parts of a column's sum; images that are processed together;
# and parts of all images, each with its own sum
_TOGETHER, _TASKS, _PARTS, _IMAGES, _SPLITS = 16, 8, 64, 8, 16
# The smallest and the largest size of a block's buffer, and the wanted number of its values at the nonzero places of
# one channel. The sums of a channel are read and written once per block, for all these places. Beyond that number, a
# smaller buffer is better for the cache.
_LEAST_BUFFER, _MOST_BUFFER, _READ = 2**14, 2**17, 2**11


class Events(NamedTuple):
    """The nonzero numbers of a tensor."""

    bits: Tensor  # one bit for each number, in the order of memory
    graded: Tensor | None  # the numbers; None if every nonzero number is one
    number: int  # the count of nonzero numbers


def mark(x: Tensor, threads: int, most: int | None = None) -> Events | None:
    """Return where contiguous numbers are not zero; None if there are more than a limit."""
    n = x.numel()
    most = n if most is None else most
    bits, binary = allocation.empty((-(-n // 8) + BEHIND_BITS,), torch.uint8, x.device), c_int64()
    number = functions().mark(x.data_ptr(), n, bits.data_ptr(), most, byref(binary), threads)
    return Events(bits, None if binary.value else x, number) if number <= most else None


def mark_bools(x: Tensor, threads: int) -> Events:
    """Return where contiguous bools are true."""
    n = x.numel()
    bits = allocation.empty((-(-n // 8) + BEHIND_BITS,), torch.uint8, x.device)
    return Events(bits, None, functions().mark_bools(x.data_ptr(), n, bits.data_ptr(), threads))


def spread(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return spikes from their bits."""
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    numbers = (bits[:-BEHIND_BITS, None] >> shifts) & 1
    return numbers.flatten()[: math.prod(shape)].reshape(shape).to(torch.float32)


class _Listed(NamedTuple):
    """Lists, with the memory that holds them, and whether all factors are finite."""

    record: Lists
    starts: Tensor
    places: Tensor
    factors: Tensor | None
    finite: bool


def _listed(s: Shape, events: Events, pieces: int) -> _Listed:
    """Return the lists of all rows of images, with a start for each piece of a row."""
    device, rows, width = events.bits.device, s.images * s.height, s.width * s.channels
    starts = allocation.empty((rows * pieces + 1,), torch.int32, device)
    n = functions().count(events.bits.data_ptr(), rows * pieces, width // pieces, starts.data_ptr(), s.threads)
    # not empty even if nothing is listed: a store of zero numbers is slow at an address without memory
    places = allocation.empty((n + 1,), torch.int32, device)[:n]
    factors = None if events.graded is None else allocation.empty((n,), torch.float32, device)
    finite = functions().fill(
        *(events.bits.data_ptr(), pointer(events.graded), rows, width, starts.data_ptr(), pieces),
        *(places.data_ptr(), pointer(factors), s.threads),
    )
    return _Listed(lists(starts, places, factors), starts, places, factors, bool(finite))


def forward(s: Shape, events: Events, weight: Tensor, bias: Tensor | None, out: Tensor) -> bool:
    """Fill the outputs, in channels-last memory, and return True; if a weight is not finite, return False.

    Weights and bias are contiguous, and ``events`` is the input.
    """
    listed, run = _listed(s, events, s.width), functions()
    widest = _first([size for size in _WEIGHTS if _rows(s) * size * _lanes() * 4 <= _PANEL_BYTES], _WEIGHTS)
    room = allocation.empty(
        (min(run.padded(s.outputs, widest), widest * _lanes()) * _rows(s),), torch.float32, out.device
    )
    tensors = weight.data_ptr(), widest, pointer(bias), room.data_ptr(), out.data_ptr()
    return bool(run.forward(byref(s), byref(listed.record), *tensors))


def weight_gradient(s: Shape, events: Events, g: Tensor) -> Tensor | None:
    """Return the gradient of the weights; None if a zero meets an infinity or NaN in the gradient or the input.

    ``g`` is the gradient of the outputs, in channels-last memory.
    """
    rows, run = _listed(s, events, 1), functions()
    if not rows.finite:  # the zeros around a gradient are not part of it
        return None
    inputs, number = s.images * s.height * s.width * s.channels, max(rows.places.numel(), 1)
    b = _blocks(s, min(max(_READ * inputs // number, _LEAST_BUFFER), _MOST_BUFFER))
    ends = allocation.empty((b.count * b.keys,), torch.int32, g.device)
    table = allocation.empty((2, s.width * s.channels), torch.int32, g.device)
    places, factors = allocation.like(rows.places), None if rows.factors is None else allocation.like(rows.factors)
    run.tables(byref(s), byref(b), table[0].data_ptr(), table[1].data_ptr())
    run.sort(
        *(byref(s), byref(b), byref(rows.record), table[0].data_ptr(), table[1].data_ptr()),
        *(ends.data_ptr(), places.data_ptr(), pointer(factors)),
    )
    columns = run.padded(s.outputs, b.widest)
    panel = min(columns, b.widest * _lanes())
    buffers = allocation.empty((s.threads, b.images * b.height * b.width * panel), torch.float32, g.device)
    shape = (b.splits, columns * _rows(s)) if b.splits > 1 else (s.threads, panel * _rows(s))
    room, sorted_lists = allocation.empty(shape, torch.float32, g.device), lists(ends, places, factors)
    found = allocation.empty((s.outputs, s.channels, s.kernel_height, s.kernel_width), torch.float32, g.device)
    finite = run.weight_gradient(
        *(byref(s), byref(b), byref(sorted_lists), g.data_ptr(), buffers.data_ptr(), buffers.shape[1]),
        *(room.data_ptr(), room.shape[1], found.data_ptr()),
    )
    return found if finite else None


def input_gradient(s: Shape, g: Tensor, weight: Tensor, out: Tensor) -> bool:
    """Fill the gradient of the input and return True; return False if g is not finite or a row of the kernel is long.

    It is for a convolution of few channels. ``g`` and ``out`` are in channels-last memory, and the weights contiguous.
    """
    run = functions()
    vectors, image = run.vectors_of_row(byref(s)), run.padded_image(byref(s))
    if not vectors:
        return False
    rows = allocation.empty((s.kernel_height * s.outputs * vectors * _lanes(),), torch.float32, g.device)
    buffers = allocation.empty((s.threads * _IMAGES * image,), torch.float32, g.device)
    pointers = g.data_ptr(), weight.data_ptr(), rows.data_ptr(), buffers.data_ptr(), out.data_ptr()
    return bool(run.input_gradient(byref(s), *pointers))


def sampled_input_gradient(s: Shape, wanted: Events, g: Tensor, weight: Tensor, out: Tensor) -> bool:
    """Fill the gradient of the input where wanted, else zeros, and return True; False if g or a weight is not finite.

    ``g`` and ``out`` are in channels-last memory, and the weights contiguous.
    """
    pieces = _pieces(s)
    listed = _listed(s, wanted, pieces)
    room = allocation.empty((_rows(s) * s.outputs,), torch.float32, g.device)
    pointers = g.data_ptr(), weight.data_ptr(), room.data_ptr(), out.data_ptr()
    return bool(functions().sampled_input_gradient(byref(s), byref(listed.record), pieces, *pointers))


def dense_weight_gradient(s: Shape, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor | None:
    """Return the gradient of the weights, of a ``shape``; None if g is not finite or a row of the kernel is long.

    It is for a convolution of few channels and outputs. ``x`` and ``g`` are in channels-last memory.
    """
    run = functions()
    if not run.vectors_of_row(byref(s)):
        return None
    parts = max(min(s.images, _SPLITS), 1)
    buffers = allocation.empty((s.threads, run.padded_image(byref(s))), torch.float32, g.device)
    sums = allocation.empty((parts, run.sums_of_weights(byref(s))), torch.float32, g.device)
    found = allocation.empty(shape, torch.float32, g.device)
    pointers = x.data_ptr(), g.data_ptr(), buffers.data_ptr(), parts, sums.data_ptr(), found.data_ptr()
    return found if run.dense_weight_gradient(byref(s), *pointers) else None


def bias_gradient(s: Shape, g: Tensor) -> Tensor:
    """Return the sum over all axes except the last."""
    rows = s.images * s.out_height * s.out_width
    partial = allocation.empty((_PARTS, s.outputs), torch.float64, g.device)
    found = allocation.empty((s.outputs,), torch.float32, g.device)
    functions().column_sums(*(g.data_ptr(), rows, s.outputs, _PARTS, partial.data_ptr(), found.data_ptr(), s.threads))
    return found


def _blocks(s: Shape, buffer: int) -> Blocks:
    """Return the division of images for a buffer of a given size; it does not depend on the number of threads."""
    taps_y, taps_x = -(-s.kernel_height // s.stride_y), -(-s.kernel_width // s.stride_x)
    widest = _first([size for size in _SUMS if size * taps_x <= _TOGETHER], _SUMS)
    columns = min(functions().padded(s.outputs, widest), widest * _lanes())
    width = (s.width - 1 + s.padding_x) // s.stride_x + taps_x

    def height(rows: int) -> int:
        return (rows - 1 + s.stride_y - 1) // s.stride_y + taps_y

    room = max(buffer // (columns * width), 1)
    images, rows = max(min(room // height(s.height), s.images), 1), s.height
    if height(rows) > room:
        rows = min(max((room - taps_y) * s.stride_y, 1), s.height)
    count = -(-s.images // images) * -(-s.height // rows)
    splits = min(-(-_TASKS // -(-s.outputs // columns)), count)
    keys = s.stride_y * s.stride_x * s.channels
    return Blocks(count, splits, images, rows, height(rows), width, taps_y, taps_x, keys, widest)


def _pieces(s: Shape) -> int:
    """Return the number of equal pieces of a row of images for which the weights stay in the cache."""
    if s.width > 1 or s.height > 1:  # a piece of several pixels has all channels of each
        return 1
    least = -(-4 * _rows(s) * s.outputs // _PANEL_BYTES)
    # far more pieces, as for a prime number of channels, are so short that they take longer than a full cache
    return _first([n for n in range(least, _MORE_PIECES * least + 1) if s.channels % n == 0], (1,))


def _first(fitting: list[int], sizes: tuple[int, ...]) -> int:
    """Return the first size that fits, else the last size."""
    return fitting[0] if fitting else sizes[-1]


def _rows(s: Shape) -> int:
    """Return the number of weights of an output."""
    return s.kernel_height * s.kernel_width * s.channels


@lru_cache(maxsize=1)
def _lanes() -> int:
    """Return the number of values in a vector."""
    return int(functions().padded(1, 1))
