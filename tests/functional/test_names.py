"""Messages name the step of the user's, inside whatever is around it."""

import ast
import re
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional.core.names import step_name


class Own:
    """A step that is an object."""

    def __call__(self, state: F.LIState, x: torch.Tensor) -> tuple[F.LIState, torch.Tensor]:
        """Advance one step, in a way that is not compiled."""
        v = state.v + x
        return F.LIState(v), v.sort(0).values


def test_wrappers_name_what_is_inside() -> None:
    assert step_name(F.lif_step) == "lif_step"
    assert step_name(Own()) == "Own"
    assert step_name(F.Recurrent(F.lif_step, F.dense)) == "Recurrent(lif_step)"
    assert step_name(partial(F.lif_step, decay=0.5)) == "lif_step"
    resting: Any = F.Refractory(Own())
    assert step_name(F.recorded(resting, "v")) == "Recorded(Refractory(Own))"


def test_a_lambda_is_named_by_its_place() -> None:
    found = re.fullmatch(
        r"Refractory\(<lambda> \(test_names\.py:(\d+)\)\)", step_name(F.Refractory(lambda state, x: (state, x)))
    )
    assert found is not None
    assert "lambda state, x" in Path(__file__).read_text().splitlines()[int(found[1]) - 1]


def test_a_warning_names_the_step_inside() -> None:
    step: Any = F.recorded(Own(), "v")
    with pytest.warns(RuntimeWarning, match=r"scan: Recorded\(Own\) ran on the Python loop"):
        F.scan(step, F.LIState(torch.zeros(4)), torch.rand(3, 4))


SOURCES = sorted((Path(__file__).parents[2] / "spikingtorch").rglob("*.py"))


def test_every_warning_points_at_the_line_of_the_user() -> None:
    """A number of frames is right for one road to the warning alone, and record or a network add frames."""
    calls = [(path, call) for path in SOURCES for call in ast.walk(ast.parse(path.read_text())) if is_warning(call)]
    assert len(calls) > 10
    levels = {(path.name, ast.unparse(each.value)) for path, call in calls for each in call.keywords[-1:]}
    assert {each for each in levels if each[1] != "level_of_user()"} == set()


def is_warning(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
