"""Settings of the whole process, which its owner decides: memory and caches."""

from spikingtorch.functional.core import freed_memory, lru


def keep_freed_memory(keep: bool = True) -> bool:
    """Let the C library keep all freed memory for the next tensor, or return it to the system as usual.

    Without this call, memory is kept once a kernel has created a tensor of a megabyte or more. Up to 1 GB is kept,
    until ten calls of a ``SpikingNet`` or of ``scan`` in a row have not needed it. Nothing is kept if the environment
    variable ``SPIKINGTORCH_KEEP_FREED_MEMORY`` is 0. Nothing is kept either if the thresholds of the allocator are set:
    by ``MALLOC_TRIM_THRESHOLD_`` or a similar variable, by ``GLIBC_TUNABLES`` or by ``mallopt``. This call takes
    precedence over all of these.

    Args:
        keep: True to keep all memory that is freed from now on, without a limit, until ``release``; False to keep
            nothing.

    Returns:
        Whether memory is kept. This needs glibc, the C library of most Linux systems, and its own allocator.
    """
    return freed_memory.choose("always" if keep else "never")


def release() -> None:
    """Return free memory to the system now.

    The next large tensors are as slow as the first ones, and their memory is kept again.
    """
    freed_memory.release()


def clear_caches() -> None:
    """Forget every traced step, and every scan that is bound to a kernel.

    The next call of each is as slow as the first call in a process. Compiled kernels stay on disk, where ``python -m
    spikingtorch cache`` shows and removes them. This is for measurements and tests: the caches are bounded, and never
    return the entry of another step.
    """
    lru.clear_all()
