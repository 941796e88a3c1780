"""Combine what several processes have seen, by collectives of ``torch.distributed``."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def gathered(owner: str, group: Any, work: Callable[[], T]) -> list[T]:
    """Return the results of ``work`` on all processes of a group, by rank.

    Raises:
        Exception: what ``work`` raises.
        RuntimeError: it raised on another process; the message names that one.
    """
    import torch.distributed as dist

    mine: Any = None
    error: Exception | None = None
    try:
        mine = work()
    except Exception as caught:  # the others wait for this process: they are told first
        error = caught
    found: list[Any] = [None] * dist.get_world_size(group)
    text = None if error is None else f"{type(error).__name__}: {error}"
    dist.all_gather_object(found, (mine, text), group=group)
    if error is not None:
        raise error
    for rank, (_, failure) in enumerate(found):
        if failure is not None:
            raise RuntimeError(f"{owner}: process {rank} of the group has raised {failure}")
    return [each for each, _ in found]


def summed(owner: str, group: Any, rows: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the sum of rows of float64 over all processes of a group, which sums on a device; some may lack rows.

    Raises:
        ValueError: two processes have rows of one name and different sizes.
    """
    import torch.distributed as dist

    sizes: dict[str, int] = {}
    for rank, theirs in enumerate(gathered(owner, group, lambda: {name: len(row) for name, row in rows.items()})):
        for name, size in theirs.items():
            if sizes.setdefault(name, size) != size:
                raise ValueError(
                    f"{owner}: layer {name} has another number of neurons on process {rank} of the group than on "
                    "one before it. Take a group whose processes have the same neurons, and other samples"
                )
    zeros = {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}
    flat = torch.cat([rows.get(name, zero).to(device) for name, zero in zeros.items()] or [torch.zeros(0)])
    dist.all_reduce(flat, group=group)
    return dict(zip(sizes, flat.split([*sizes.values()]), strict=True))
