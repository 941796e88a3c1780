"""Keep the freed memory of large tensors for the next call, until ten calls do not need it.

The system clears each page of fresh memory at its first write. For a fused loop over time, this takes longer than the
arithmetic. So the first kernel that creates large tensors tells the C library to keep freed memory. Torch's own tensors
profit from this as well. The tenth call in a row that creates much smaller tensors gives all of it back.
"""

import os
import threading
from collections.abc import Callable
from typing import Literal
from weakref import ref

from spikingtorch.functional.core import allocator

# the bytes above which a tensor is large, the bytes that the heap keeps, and the number of calls that may need less
LARGE, LIMIT, CALLS = 2**20, 2**30, 10
VARIABLE = "SPIKINGTORCH_KEEP_FREED_MEMORY"

Choice = Literal["automatic", "always", "never"]


class _State:
    """The state of the process.

    There is no lock, because a lock that is held at a fork is never released. So some bytes may not be counted.
    """

    __slots__ = ("choice", "idle", "keeps", "most", "running")

    def __init__(self) -> None:
        self.choice: Choice = "automatic"  # of the user
        self.keeps = False  # whether the C library has been told to keep freed memory
        self.running = 0  # bytes of large tensors that kernels have created since the last call began
        self.most = 0  # the largest such number of any call since memory has been kept
        self.idle = 0  # the number of calls in a row that have created less than half of ``most``


_state = _State()


def note(size: int) -> None:
    """Count the bytes of a tensor on the CPU that a kernel is about to write."""
    _state.running += size
    if not _state.keeps and _state.choice == "automatic" and _refusal() is None:
        _state.keeps, _state.most, _state.idle = True, 0, 0
        allocator.keep(LIMIT)
        allocator.set_apart()


def begin_call() -> None:
    """Begin a new call, unless it is part of a network's call; give back memory that the last calls did not need."""
    if not _state.keeps or _here.call() is not None or _state.choice != "automatic":
        return
    size, _state.running = _state.running, 0
    _state.most = max(_state.most, size)
    _state.idle = _state.idle + 1 if 2 * size < _state.most else 0
    if _state.idle >= CALLS - 1:  # this is not known yet for this call
        release()


class NetworkCall:
    """A context in which everything belongs to one call of a network.

    The call counts as long as this object is alive, because an interrupt may leave the block without ``__exit__``.
    ``part`` is the id of a layer that is called by itself: the next call begins when one of these layers is called
    again.
    """

    __slots__ = ("__weakref__", "_part")

    def __init__(self, part: int | None = None) -> None:
        self._part = part

    def __enter__(self) -> None:
        if _here.call() is None:
            if self._part is None or _begins(self._part):
                begin_call()
            _here.call = ref(self)

    def __exit__(self, *error: object) -> None:
        if _here.call() is self:
            _here.call = _no_call


def _no_call() -> None:
    """Return the placeholder for no running call."""


class _Here(threading.local):
    """The running call of a thread: ``call()`` is the call, or None."""

    def __init__(self) -> None:
        self.call: Callable[[], NetworkCall | None] = _no_call


_here = _Here()
_called: set[int] = set()  # the layers that have been called by themselves since a call began


def _begins(part: int) -> bool:
    """Return True if a call of a single layer begins a new call of the network that the layer belongs to."""
    begins = part in _called or not _called
    if begins:
        _called.clear()
    _called.add(part)
    return begins


def choose(choice: Literal["always", "never"]) -> bool:
    """Keep all freed memory from now on, or none; return whether it is kept."""
    _state.choice = choice
    if allocator.unusable() is not None:
        return False
    allocator.set_by()  # asked before this library sets them
    if choice == "never":
        release()
        return False
    _state.keeps = allocator.keep(allocator.NO_LIMIT)
    return _state.keeps


def release() -> None:
    """Give all memory that is free back to the system."""
    if allocator.unusable() is not None:
        return
    if _state.keeps and _state.choice != "always":
        _state.keeps, _state.running = False, 0
        allocator.keep_as_usual()
    allocator.give_back()


def described() -> str:
    """Explain to users what happens to the memory of large tensors."""
    refusal = allocator.unusable() if _state.choice == "always" else _refusal()
    if refusal is not None:
        return f"given back to the system when it is freed, because {refusal}"
    if _state.choice == "always":
        return "kept when it is freed, as spikingtorch.performance.keep_freed_memory() has been called"
    return (
        f"kept for the next call when it is freed, up to {LIMIT / 2**30:g} GB, until {CALLS} calls do not need it; "
        "spikingtorch.performance.keep_freed_memory(False) turns this off"
    )


def _refusal() -> str | None:
    """Return why freed memory is not kept by default, or None if it is kept."""
    if _state.choice == "never":
        return "keep_freed_memory(False) has been called"
    if os.environ.get(VARIABLE, "").lower() in ("0", "false", "no", "off"):
        return f"{VARIABLE} is {os.environ[VARIABLE]}"
    return allocator.unusable() or allocator.set_by()
