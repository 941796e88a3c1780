"""The two settings of the allocator under which everything is timed."""

DEFAULT = "default allocator"
KEPT = "freed memory kept"
SETTINGS = (DEFAULT, KEPT)


def apply(setting: str) -> None:
    """Change the allocator of this process for good, which is why each setting has processes of its own.

    Args:
        setting: DEFAULT leaves everything as it is, KEPT makes malloc reuse what was freed.

    Raises:
        RuntimeError: the C library is not glibc, or refused.
    """
    if setting == KEPT:
        # imported here: it imports torch, which a worker that times JAX under the default setting does without
        from spikingtorch.performance import keep_freed_memory

        if keep_freed_memory():
            return
        raise RuntimeError("freed memory cannot be kept: the C library is not glibc, or refused the options")
