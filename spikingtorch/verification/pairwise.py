"""A pairwise cover: few rows of a table that still contain every pair of values of the table."""

import heapq
from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import TypeVar

Row = TypeVar("Row", bound=tuple[Hashable, ...])


def pairwise(rows: Sequence[Row]) -> list[Row]:
    """Return some of the rows, in their order, that contain every pair of values of different columns.

    Rows are taken greedily: each time the first row with the most new pairs. The count of a row only shrinks while
    others are taken. So a row whose count is up to date and still the highest is the best one.

    Args:
        rows: the table, all rows of one length. Combinations that do not exist are left out of it.

    >>> pairwise([(a, b, c) for a in "xy" for b in "uv" for c in "st"])
    [('x', 'u', 's'), ('x', 'v', 't'), ('y', 'u', 't'), ('y', 'v', 's')]
    """
    pairs = [set(combinations(enumerate(row), 2)) for row in rows]
    missing = set().union(*pairs)
    queue = [(-len(found), index) for index, found in enumerate(pairs)]
    heapq.heapify(queue)
    taken = []
    while missing:
        _, index = heapq.heappop(queue)
        new = len(pairs[index] & missing)
        if new and queue and (-new, index) > queue[0]:
            heapq.heappush(queue, (-new, index))
        elif new:
            taken.append(index)
            missing -= pairs[index]
    return [rows[index] for index in sorted(taken)]
