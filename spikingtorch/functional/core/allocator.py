"""Read and change the settings of the C library's allocator, so that it keeps freed memory.

The library is glibc, and its settings hold for the whole process. It maps a large block anew each time, and unmaps it
when it is freed. Once such a block has been freed, the *threshold* grows: blocks up to its size, at most 32 MB, come
from the heap from then on. The end of the heap goes back to the system when twice the threshold is free there.
"""

import ctypes
import os
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MB = 2**20
# the end of glibc's own adaptation after large blocks; setting any threshold switches the adaptation off
_LARGEST_THRESHOLD, _USUAL_MAPPED_BLOCKS = 32 * _MB, 65536
NO_LIMIT = -1  # an argument of mallopt

_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")
_TUNABLES = tuple(f"glibc.malloc.{name}" for name in ("trim_threshold", "mmap_threshold", "mmap_max", "top_pad"))


def unusable() -> str | None:
    """Return why the settings of this process's allocator cannot be changed, None if they can."""
    return _glibc()[1]


@cache
def set_by() -> str | None:
    """Return who has already set the thresholds of glibc, as part of a sentence; None if nobody is known to.

    The first answer is kept, because this library may set the thresholds later.
    """
    for name in _VARIABLES:
        if name in os.environ:
            return f"the environment variable {name} is set"
    if any(name in os.environ.get("GLIBC_TUNABLES", "") for name in _TUNABLES):
        return "the environment variable GLIBC_TUNABLES sets glibc's malloc"
    libc = _glibc()[0]
    # blocks of any size come from the heap; glibc's own adaptation stops at 32 MB
    if not _is_mapped(libc, 1024 * _MB):
        return "mallopt has been called"
    size = _LARGEST_THRESHOLD - _MB
    # the block is freed, and the next block of its size is mapped again: the threshold does not adapt
    if _is_mapped(libc, size) and _is_mapped(libc, size):
        return "mallopt has been called"
    return None


def keep(limit: int) -> bool:
    """Let blocks up to a size come from the heap, which keeps as much free at its end; return whether it will."""
    libc = _glibc()[0]
    # glibc before 2.35 takes no threshold above 32 MB, but can be told to map no block
    from_heap = libc.mallopt(_MMAP_THRESHOLD, limit) or libc.mallopt(_MMAP_MAX, 0)
    return bool(from_heap and libc.mallopt(_TRIM_THRESHOLD, limit))


@cache
def set_apart() -> None:
    """Leave a gap of 32 MB in the heap, once, for blocks that are no larger.

    A block goes to the smallest gap that holds it. Without this gap, a small block would go to the gap of a freed
    larger block. The next larger block would not fit there any more, and the heap would grow.
    """
    libc = _glibc()[0]
    gap, behind = libc.malloc(_LARGEST_THRESHOLD), libc.malloc(_LARGEST_THRESHOLD)
    libc.realloc(behind, 64)  # this block stays, so that the gap does not become part of the heap's end
    libc.free(gap)


def keep_as_usual() -> None:
    """Let glibc keep the thresholds that it reaches by itself after large blocks have been freed."""
    libc = _glibc()[0]
    libc.mallopt(_MMAP_MAX, _USUAL_MAPPED_BLOCKS)
    libc.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)


def give_back() -> None:
    """Give all memory that is free back to the system, wherever in the heap it is."""
    _glibc()[0].malloc_trim(0)


@cache
def _glibc() -> tuple[Any, str | None]:
    """Return the C library, and why its settings cannot be changed."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        found = libc.gnu_get_libc_version, libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        return None, "the C library is not glibc"
    del found
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.realloc.restype, libc.realloc.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)
    libc.free.restype, libc.free.argtypes = None, (ctypes.c_void_p,)
    # torch allocates by this function: which library does the process take it from?
    first = ctypes.CDLL(None).posix_memalign
    own = [ctypes.cast(function, ctypes.c_void_p).value for function in (libc.posix_memalign, first)]
    return libc, None if own[0] == own[1] else "another allocator than that of the C library is loaded"


def _is_mapped(libc: Any, size: int) -> bool:
    """Return True if glibc maps a block of a size; the block is neither read nor written."""
    block = libc.malloc(size)
    if block is None:
        return True
    # the word before a block has its size, a multiple of 16, and flags below that: 2 says that it is mapped
    mapped = bool(ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value & 2)
    libc.free(block)
    return mapped
