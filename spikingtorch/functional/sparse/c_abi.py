"""The library of the C files in this folder, and its C structures."""

import ctypes
from functools import lru_cache
from importlib import resources
from typing import Any

from torch import Tensor

from spikingtorch.functional.fused.build.cache import library
from spikingtorch.functional.fused.build.compiler import CompileError, NoCompiler

SOURCES = ("gather.h", "events.h", "forward.h", "weight_gradient.h", "sampled.h", "few_channels.h", "pooling.h")
# bytes after the bits that may be read
BEHIND_BITS = 8
_Number, _Memory = ctypes.c_int64, ctypes.c_void_p


class Shape(ctypes.Structure):
    """A layer of images in channels-last memory; see gather.h."""

    threads: int
    images: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    outputs: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int
    _fields_ = [
        *((name, _Number) for name in ("threads", "images", "height", "width", "channels")),
        *((name, _Number) for name in ("out_height", "out_width", "outputs", "kernel_height", "kernel_width")),
        *((name, _Number) for name in ("stride_y", "stride_x", "padding_y", "padding_x")),
    ]


class Blocks(ctypes.Structure):
    """The division of images for the gradient of the weights; see weight_gradient.h."""

    count: int
    splits: int
    images: int
    rows: int
    height: int
    width: int
    taps_y: int
    taps_x: int
    keys: int
    widest: int
    _fields_ = [
        *((name, _Number) for name in ("count", "splits", "images", "rows")),
        *((name, _Number) for name in ("height", "width", "taps_y", "taps_x", "keys", "widest")),
    ]


class Pool(ctypes.Structure):
    """Windows over images; see pooling.h."""

    threads: int
    _fields_ = [
        *((name, _Number) for name in ("threads", "images", "height", "width", "channels", "out_height", "out_width")),
        *((name, _Number) for name in ("kernel_height", "kernel_width", "stride_y", "stride_x")),
        *((name, _Number) for name in ("padding_y", "padding_x", "dilation_y", "dilation_x")),
    ]


class Lists(ctypes.Structure):
    """Places that are not zero: the starts or ends of lists, the places, and their factors unless all are one."""

    _fields_ = [(name, _Memory) for name in ("starts", "places", "factors")]


def lists(starts: Tensor, places: Tensor, factors: Tensor | None) -> Lists:
    """Return the record of lists."""
    return Lists(starts.data_ptr(), places.data_ptr(), pointer(factors))


def pointer(tensor: Tensor | None) -> int | None:
    """Return the address of a tensor's memory, None for no tensor."""
    return None if tensor is None else tensor.data_ptr()


_ANY_SHAPE, _ANY_BLOCKS, _ANY_LISTS, _ANY_POOL = (ctypes.POINTER(kind) for kind in (Shape, Blocks, Lists, Pool))
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "padded": (_Number, _Number),
    "mark": (_Memory, _Number, _Memory, _Number, ctypes.POINTER(_Number), _Number),
    "count": (_Memory, _Number, _Number, _Memory, _Number),
    "fill": (_Memory, _Memory, _Number, _Number, _Memory, _Number, _Memory, _Memory, _Number),
    "forward": (_ANY_SHAPE, _ANY_LISTS, _Memory, _Number, *[_Memory] * 3),
    "tables": (_ANY_SHAPE, _ANY_BLOCKS, _Memory, _Memory),
    "sort": (_ANY_SHAPE, _ANY_BLOCKS, _ANY_LISTS, *[_Memory] * 5),
    "weight_gradient": (_ANY_SHAPE, _ANY_BLOCKS, _ANY_LISTS, _Memory, _Memory, _Number, _Memory, _Number, _Memory),
    "mark_bools": (_Memory, _Number, _Memory, _Number),
    "sampled_input_gradient": (_ANY_SHAPE, _ANY_LISTS, _Number, *[_Memory] * 4),
    "vectors_of_row": (_ANY_SHAPE,),
    "padded_image": (_ANY_SHAPE,),
    "input_gradient": (_ANY_SHAPE, *[_Memory] * 5),
    "sums_of_weights": (_ANY_SHAPE,),
    "dense_weight_gradient": (_ANY_SHAPE, *[_Memory] * 3, _Number, *[_Memory] * 2),
    "pool_room": (_ANY_POOL,),
    "max_pool": (_ANY_POOL, *[_Memory] * 4),
    "pool_bools": (_ANY_POOL, *[_Memory] * 3),
    "max_pool_gradient": (_ANY_POOL, *[_Memory] * 3),
    "column_sums": (_Memory, _Number, _Number, _Number, _Memory, _Memory, _Number),
}


def source() -> str:
    """Return the source text of the library; definitions may be put in front of it."""
    folder = resources.files("spikingtorch.functional.sparse")
    return "\n".join((folder / name).read_text() for name in SOURCES)


def loaded(text: str) -> Any:
    """Return the library of a source text, with the types of its functions; raise NoCompiler or CompileError."""
    found = library(text)
    for name, arguments in _ARGUMENTS.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, _Number
    return found


def failure() -> str | None:
    """Return why there is no library, or None if there is one."""
    found = functions()
    return found if isinstance(found, str) else None


@lru_cache(maxsize=1)
def functions() -> Any:
    """Return the functions of the library, or why it failed."""
    try:
        return loaded(source())
    except (NoCompiler, CompileError) as error:
        return str(error)
