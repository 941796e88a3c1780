"""Peak memory of a call, from the kernel's own high-water mark of this process."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def peak_above(call: Callable[[], object]) -> int:
    """Return how many bytes a call needs beyond what is there before it, that is beyond its inputs.

    The call runs once to load and compile what it needs. Then freed memory goes back to the kernel (malloc_trim), the
    high-water mark of resident memory is lowered to what is resident now (proc_pid_clear_refs(5)), and the call runs
    again.
    Pages that are allocated and never touched do not count, and neither do inputs.

    Args:
        call: what to measure.
    """
    call()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR_REFS.write_text("5")
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _resident(key: str) -> int:
    """Return an entry of the process's status, in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])
