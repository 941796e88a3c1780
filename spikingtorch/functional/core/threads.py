"""How many threads share a piece of work."""

import os

import torch

# a team of threads costs some microseconds to wake: below this many numbers one thread is faster
SERIAL = 16384


class Process:
    """Whether this process was forked: the threads of a team do not survive that, and waiting for them hangs."""

    forked = False


def _after_fork() -> None:
    Process.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads_for(numbers: int) -> int:
    """Return how many threads share so many numbers, steps of a neuron for instance."""
    return 1 if Process.forked or numbers <= SERIAL else torch.get_num_threads()
