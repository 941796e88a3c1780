"""What concerns the whole process, and is therefore for its owner to decide: its memory, and its caches."""

from spikingtorch.functional.core import freed_memory, lru


def keep_freed_memory(keep: bool = True) -> bool:
    """Have the C library keep all memory that is freed for the next tensor, or return memory to the system as ever.

    Without this call, memory is kept from the first kernel on that makes a tensor of a megabyte or more: up to 1 GB,
    until ten calls of a ``SpikingNet`` or of ``scan`` in a row have not needed it. That does not happen where the
    environment variable ``SPIKINGTORCH_KEEP_FREED_MEMORY`` is 0, or where somebody has set the thresholds of the
    allocator: by ``MALLOC_TRIM_THRESHOLD_`` and the like, by ``GLIBC_TUNABLES`` or by ``mallopt``. This call comes
    before all of these.

    Args:
        keep: True to keep whatever is freed from now on, without a bound, until ``release``; False to keep nothing.

    Returns:
        Whether memory is kept. That takes glibc, the C library of most Linux systems, and its own allocator.
    """
    return freed_memory.choose("always" if keep else "never")


def release() -> None:
    """Give memory that is free back to the system now.

    The next large tensors are as slow as the first ones, and their memory is kept again.
    """
    freed_memory.release()


def clear_caches() -> None:
    """Forget every step that was traced, and every scan that was bound to a kernel.

    The next call of each is as slow as its first one in a process. Compiled kernels stay on disk, where
    ``python -m spikingtorch cache`` shows and removes them. For measurements and tests: a cache is bounded, and never
    answers for another step.
    """
    lru.clear_all()
