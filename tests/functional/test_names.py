"""Messages name the step of the user's, inside whatever is around it, and the line of theirs."""

import ast
import re
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import pytest
import torch

from spikingtorch import functional as F


class Own:
    """A step that is an object."""

    def __call__(self, state: F.LIState, x: torch.Tensor) -> tuple[F.LIState, torch.Tensor]:
        """Advance one step, in a way that is not compiled."""
        v = state.v + x
        return F.LIState(v), v.sort(0).values


RESTING: Any = F.Refractory(Own())
NAMES: list[tuple[Any, str]] = [
    (Own(), "Own"),
    (partial(F.lif_step, decay=0.5), "lif_step"),
    (F.Recurrent(F.lif_step, F.dense), "Recurrent(lif_step)"),
    (F.recorded(RESTING, "v"), "Recorded(Refractory(Own))"),
    (F.Refractory(lambda state, x: (state, x)), "Refractory(<lambda> (test_names.py:{n}))"),
]


@pytest.mark.parametrize(("step", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_message_names_the_step_inside(step: Any, name: str) -> None:
    lines = Path(__file__).read_text().splitlines()
    at = next(number for number, text in enumerate(lines, 1) if "lambda state, x" in text)
    with pytest.raises(ValueError, match=re.escape(f"scan: backend='parallel' cannot run {name.format(n=at)}, which")):
        F.scan(step, F.LIState(torch.zeros(4)), torch.rand(3, 4), backend="parallel")


def test_a_warning_names_the_step_inside() -> None:
    step: Any = F.recorded(Own(), "v")
    with pytest.warns(RuntimeWarning, match=r"scan: Recorded\(Own\) ran on the Python loop"):
        F.scan(step, F.LIState(torch.zeros(4)), torch.rand(3, 4))


SOURCES = [(path, path.read_text()) for path in (Path(__file__).parents[2] / "spikingtorch").rglob("*.py")]
WARNING = "warnings.warn"


def test_every_warning_points_at_the_line_of_the_user() -> None:
    """A number of frames is right for one road to the warning alone, and record or a network add frames."""
    warning = [(path, ast.parse(text)) for path, text in SOURCES if WARNING in text]
    calls = [(path, call) for path, tree in warning for call in ast.walk(tree) if is_warning(call)]
    assert len(calls) > 10
    levels = {(path.name, ast.unparse(each.value)) for path, call in calls for each in call.keywords[-1:]}
    assert {each for each in levels if each[1] != "level_of_user()"} == set()


def is_warning(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == WARNING
