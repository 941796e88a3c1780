"""What benchmarks/collectives.py counts, and its formulas."""

import pytest

from benchmarks import collectives
from tests.distributed.ranks import Ranks

PARAMETERS = 4 * 5 * (32 * 32 + 32)  # bytes


def counted(kind: str) -> dict[str, tuple[int, int]]:
    """Count a step of a smaller network."""
    sizes = collectives.WIDTH, collectives.T
    collectives.WIDTH, collectives.T = 32, 4
    try:
        found, seconds = collectives.a_step(kind, 2)
    finally:
        collectives.WIDTH, collectives.T = sizes
    assert seconds > 0
    return {name: (found.calls[name], found.sizes[name]) for name in found.calls}


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("plain", {}),
        ("DDP", {"all-reduce": (1, PARAMETERS)}),
        ("FSDP", {"all-gather": (10, 2 * PARAMETERS), "reduce-scatter": (5, PARAMETERS)}),
        (
            "FSDP, reshard_after_forward=False",
            {"all-gather": (5, PARAMETERS), "reduce-scatter": (5, PARAMETERS)},
        ),
    ],
)
def test_a_step_sends_what_the_page_says(ranks: Ranks, kind: str, found: dict[str, tuple[int, int]]) -> None:
    assert ranks.run(2, counted, kind) == [found] * 2


def test_the_formulas() -> None:
    """Around a ring of 3, each of 2 x 2 messages has a third of 6 bytes."""
    assert collectives.all_reduce(6, 3, latency=1, bandwidth=2) == 2 * 2 * (1 + 2 / 2)
    assert collectives.one_way(6, 3, latency=1, bandwidth=2) == 2 * (1 + 2 / 2)
    assert [row[:2] for row in collectives.predicted(1e-5, 25e9)] == [["8", "35.0"], ["64", "39.4"], ["512", "40.0"]]
