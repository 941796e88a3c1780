"""What concerns the whole process, and is therefore for its owner to decide: its memory, and its caches."""

import ctypes
import platform

from spikingtorch.functional.core import lru

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the C library to keep the memory that is freed for the next tensor, instead of returning it to the system.

    A fresh tensor of some megabytes is mapped anew each time, and the system clears each page at the first write.
    Once the time loop is fused that costs more than the arithmetic. Call this once, before the first large tensor: the
    process then keeps as much memory as it once needed, and never returns it before it ends.

    Returns:
        Whether it took effect: true with glibc, which is the C library of most Linux systems, false elsewhere.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def clear_caches() -> None:
    """Forget every step that was traced, and every scan that was bound to a kernel.

    The next call of each is as slow as its first one in a process. Compiled kernels stay on disk, where
    ``python -m spikingtorch cache`` shows and removes them. For measurements and tests: a cache is bounded, and never
    answers for another step.
    """
    lru.clear_all()
