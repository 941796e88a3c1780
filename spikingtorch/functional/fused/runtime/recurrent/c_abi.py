"""The library of dense_loop.h, and its C structures."""

import ctypes
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.fused.build.cache import library
from spikingtorch.functional.fused.build.compiler import CompileError, NoCompiler
from spikingtorch.functional.fused.runtime.cpu import CPU, CLaunch
from spikingtorch.functional.fused.runtime.recurrent.steps import Kernel, Place

CHUNK = CPU.chunk
ROWS = 64  # as in dense_product.h
_NAMES = {torch.float32: "float", torch.float64: "double"}
# the length of two of the longest vectors
_PANEL_BYTES = 128


class CPlace(ctypes.Structure):
    """An array over time: its address, and the bytes from chunk to chunk, step to step and row to row."""

    _fields_ = [(name, ctypes.c_int64) for name in ("start", "chunk", "step", "row")]


class CKernel(ctypes.Structure):
    """A kernel of one step: the structure Kernel in C."""

    _fields_ = [
        ("run", ctypes.c_void_p),
        ("layout", ctypes.POINTER(ctypes.c_int64)),
        ("scalars", ctypes.POINTER(ctypes.c_double)),
        ("length", ctypes.c_int64),
        ("arrays", ctypes.c_int64),
        ("positions", ctypes.POINTER(ctypes.c_int64)),
        ("places", ctypes.POINTER(CPlace)),
    ]


class Carried(ctypes.Structure):
    """A value that is carried from chunk to chunk: its slots, its kept values, and its final place."""

    _fields_ = [("slots", CPlace), ("kept", CPlace), ("final", ctypes.c_int64)]


class CMatrix(ctypes.Structure):
    """A matrix: the structure Matrix in C."""

    _fields_ = [(name, ctypes.c_int64) for name in ("values", "size", "pitch", "finite")]


class Loop(ctypes.Structure):
    """All that a pass needs."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("threads", "rows", "rows_per_group", "steps")),
        ("matrix", CMatrix),
        *((name, CPlace) for name in ("source", "base", "target")),
        *((name, ctypes.c_int64) for name in ("first", "of_first")),
        *((name, CKernel) for name in ("forward", "backward")),
        *((name, ctypes.c_int64) for name in ("states", "of_states")),
        *((name, ctypes.POINTER(Carried)) for name in ("carried", "of_carried")),
    ]


class Matrix(NamedTuple):
    """A matrix in the layout that the products read."""

    values: Tensor  # its rows, padded with zeros
    record: CMatrix  # for C


def matrix(weights: Tensor, across: bool) -> Matrix:
    """Return square weights, or with ``across`` their transpose, for products ``rows @ matrix``."""
    weights, size, number = allocation.contiguous(weights), len(weights), weights.element_size()
    # an odd number of panels: rows at a distance of a power of two would evict each other from the cache
    pitch = (-(-size * number // _PANEL_BYTES) | 1) * _PANEL_BYTES // number
    values = allocation.empty((size, pitch), weights.dtype, weights.device)
    record = CMatrix(values.data_ptr(), size, pitch)
    functions(weights.dtype).fill_matrix(ctypes.byref(record), weights.data_ptr(), across)
    return Matrix(values, record)


def kernel(ready: Kernel, rows: int, scalars: Iterable[float]) -> CKernel:
    """Return the kernel of a step, whose arrays have so many rows."""
    launch = ready.launcher.launch
    assert isinstance(launch, CLaunch), "a kernel in C"
    found, floats = [place(at, rows) for at in ready.places], list(scalars)
    assert len(found) == len(launch.pointers), "one place for each array"
    return CKernel(
        ctypes.cast(launch.run, ctypes.c_void_p),
        launch.fields,
        (ctypes.c_double * (len(floats) + 1))(*floats),
        len(launch.fields),
        len(found),
        (ctypes.c_int64 * len(found))(*launch.pointers),
        (CPlace * len(found))(*found),
    )


def place(at: Place, rows: int) -> CPlace:
    """Return the place of a contiguous array, with so many rows in a step."""
    array, address = at.array, at.array.data_ptr()
    if not at.moves:  # one number, or one for each neuron
        return CPlace(address, 0, 0, 0 if array.numel() == 1 else array.numel() // rows * array.element_size())
    # the stride of a single step has no meaning
    step = array[0].numel() * array.element_size()
    chunk = CHUNK if at.chunk is None else at.chunk
    return CPlace(address + at.first * step, chunk * step, step, step // rows)


def available(dtype: torch.dtype) -> bool:
    """Return True if there is a library for a dtype."""
    return dtype in _NAMES and functions(dtype) is not None


def threads_here() -> int:
    """Return the number of torch's threads."""
    return torch.get_num_threads()


# constants to torch.compile, as in ``dispatch.dynamo``
_function: Any
for _function in (available, threads_here):
    _function._dynamo_marked_constant = True


def source(dtype: torch.dtype) -> str:
    """Return the text of the library for a dtype."""
    package = resources.files("spikingtorch.functional.fused")
    files = ("build/float_mode.h", "runtime/recurrent/dense_product.h", "runtime/recurrent/dense_loop.h")
    text = "\n".join((package / name).read_text() for name in files)
    return f"#define CHUNK {CHUNK}\ntypedef {_NAMES[dtype]} real;\n{text}"


@lru_cache(maxsize=2)
def functions(dtype: torch.dtype) -> Any:
    """Return the functions of the library for a dtype, or None if there is none."""
    try:
        found = library(source(dtype))
    except (NoCompiler, CompileError):  # a compiler that takes the kernels of neurons, but no vectors
        return None
    for run in (found.forward_loop, found.backward_loop):
        run.argtypes, run.restype = (ctypes.POINTER(Loop),), None
    found.multiply_rows.argtypes = (ctypes.POINTER(CMatrix), ctypes.c_int64, *[ctypes.c_void_p] * 3)
    found.fill_matrix.argtypes = (ctypes.POINTER(CMatrix), ctypes.c_void_p, ctypes.c_int64)
    found.multiply_rows.restype = found.fill_matrix.restype = None
    return found
