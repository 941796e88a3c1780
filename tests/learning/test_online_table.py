"""Cells of the tables in docs/learning.md and docs/learning_costs.md: they say what their commands measure."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import online_costs
from benchmarks.online_rules import DEPTHS, NEURONS, RULES, SEEDS, SLOPES, cell, mean

DOCS = Path(__file__).parents[2] / "docs"
PAGE, COSTS = ((DOCS / name).read_text() for name in ("learning.md", "learning_costs.md"))
COLUMNS = [("exact", SLOPES[0]), *((rule, slope) for rule in RULES[1:] for slope in SLOPES)]
ROWS = {
    (cells[0], int(cells[1])): dict(zip(COLUMNS, cells[2:], strict=True))
    for line in PAGE.splitlines()
    if len(cells := [each.strip() for each in line.strip("|").split("|")]) == 2 + len(COLUMNS) and cells[1].isdigit()
}


def test_the_page_has_every_cell() -> None:
    assert ROWS.keys() == {(neuron, depth) for neuron in NEURONS for depth in DEPTHS}


@pytest.mark.parametrize("slope", [SLOPES[0], *(pytest.param(each, marks=pytest.mark.long) for each in SLOPES[1:])])
@pytest.mark.parametrize(
    ("rule", "neuron", "depth"),
    [
        ("exact", "ALIF, by subtraction", 3),
        ("diagonal", "LIF, to zero", 1),
        ("diagonal", "ALIF, by subtraction", 2),
        ("diagonal", "recurrent LIF, to zero", 1),
        ("presynaptic", "LIF, detached subtraction", 2),
        ("last_step", "LIF, to zero", 2),
    ],
)
def test_the_page_says_what_is_measured(rule: Any, neuron: str, depth: int, slope: float) -> None:
    found = mean(rule, neuron, depth, slope, seeds=1 if rule == "exact" else SEEDS)
    assert found.rate > 0.01  # silent networks compare zero with zero
    assert found.norm > 1e-3
    text = ROWS[neuron, depth][rule, SLOPES[0] if rule == "exact" else slope]
    if text == "exact":
        assert found.error < 1e-12
    else:
        stated = [float(each) for each in re.findall(r"[-\d.]+", text)]
        assert stated == pytest.approx([found.error, found.cosine], abs=0.011)


@pytest.mark.parametrize("neuron", NEURONS)
def test_a_window_of_one_step_is_bptt_under_every_rule_and_a_longer_one_is_not(neuron: str) -> None:
    """At rest, no rule has a past to leave out."""
    for rule in RULES:
        assert cell(rule, neuron, 2, steps=1).error < 1e-12
    assert cell("last_step", neuron, 2, steps=20).error > 0.1


@pytest.mark.parametrize("rule", online_costs.RULES)
def test_the_page_has_the_memory_of_each_rule(rule: Any) -> None:
    (stated,) = re.findall(rf"^\| {rule} \| [\d.]+, ([\d.]+) \|", COSTS, re.MULTILINE)
    model, ways = online_costs.ways_of(64)
    ways[rule]()  # kernels are compiled
    assert float(stated) == pytest.approx(online_costs.used(model, ways[rule]), rel=0.1, abs=0.02)


@pytest.mark.long
@pytest.mark.parametrize("rule", ["presynaptic", "diagonal"])
def test_the_page_says_from_which_length_on_a_rule_takes_less_memory(rule: Any) -> None:
    (stated,) = re.findall(rf"`{rule}` takes less memory than BPTT from T = (\d+) on", COSTS)
    assert int(stated) == pytest.approx(online_costs.crossover(rule), rel=0.15)
