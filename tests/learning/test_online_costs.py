"""The costs of online rules in docs/learning_costs.md: memory is what the command measures."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.online_costs import RULES, crossover, used, ways_of

PAGE = (Path(__file__).parents[2] / "docs" / "learning_costs.md").read_text()


@pytest.mark.parametrize("rule", RULES)
def test_the_page_has_the_memory_of_each_rule(rule: Any) -> None:
    (stated,) = re.findall(rf"^\| {rule} \| [\d.]+, ([\d.]+) \|", PAGE, re.MULTILINE)
    model, ways = ways_of(64)
    ways[rule]()  # kernels are compiled
    assert float(stated) == pytest.approx(used(model, ways[rule]), rel=0.1, abs=0.02)


@pytest.mark.long
@pytest.mark.parametrize("rule", ["presynaptic", "diagonal"])
def test_the_page_says_from_which_length_on_a_rule_takes_less_memory(rule: Any) -> None:
    (stated,) = re.findall(rf"`{rule}` takes less memory than BPTT from T = (\d+) on", PAGE)
    assert int(stated) == pytest.approx(crossover(rule), rel=0.15)
