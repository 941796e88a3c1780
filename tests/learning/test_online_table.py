"""Cells of the table in docs/learning.md."""

import math
import re
from pathlib import Path

import pytest

from benchmarks.online_rules import DEPTHS, NEURONS, RULES, SEEDS, cell
from spikingtorch.learning.online_learner import Rule

PAGE = Path(__file__).parents[2] / "docs" / "learning.md"
ROWS = {
    (cells[0], int(cells[1])): dict(zip(RULES, cells[2:], strict=True))
    for line in PAGE.read_text().splitlines()
    if len(cells := [each.strip() for each in line.strip("|").split("|")]) == 2 + len(RULES) and cells[1].isdigit()
}


def test_the_page_has_every_cell() -> None:
    assert ROWS.keys() == {(neuron, depth) for neuron in NEURONS for depth in DEPTHS}


@pytest.mark.parametrize(
    ("rule", "neuron", "depth"),
    [
        ("diagonal", "LIF, to zero", 1),
        ("diagonal", "ALIF, by subtraction", 2),
        ("diagonal", "recurrent LIF, to zero", 1),
        ("presynaptic", "LIF, detached subtraction", 2),
        ("last_step", "LIF, to zero", 2),
    ],
)
def test_the_page_says_what_is_measured(rule: Rule, neuron: str, depth: int) -> None:
    cells = [cell(rule, neuron, depth, seed) for seed in range(SEEDS)]
    assert min(each.rate for each in cells) > 0.01  # silent networks compare zero with zero
    assert min(each.norm for each in cells) > 1e-3
    shown = ROWS[neuron, depth][rule]
    error, cosine = (math.fsum(each[at] for each in cells) / SEEDS for at in (0, 1))
    if shown == "exact":
        assert error < 1e-12
    else:
        stated = [float(each) for each in re.findall(r"[-\d.]+", shown)]
        assert stated == pytest.approx([error, cosine], abs=0.011)


@pytest.mark.parametrize("neuron", NEURONS)
def test_a_window_of_one_step_is_bptt_under_every_rule_and_a_longer_one_is_not(neuron: str) -> None:
    """At rest, no rule has a past to leave out."""
    for rule in RULES:
        assert cell(rule, neuron, 2, steps=1).error < 1e-12
    assert cell("last_step", neuron, 2, steps=20).error > 0.1
