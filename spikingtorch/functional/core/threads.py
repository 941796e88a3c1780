"""Choose how many threads share a piece of work."""

import os

import torch

# waking a team of threads costs some microseconds: for fewer numbers than this, one thread is faster
SERIAL = 16384


class Process:
    """Whether this process was forked: the threads of a team do not survive a fork, and waiting for them hangs."""

    forked = False


def _after_fork() -> None:
    Process.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads_for(numbers: int) -> int:
    """Return how many threads share the work on a number of values, such as steps of neurons."""
    return 1 if Process.forked or numbers <= SERIAL else torch.get_num_threads()
