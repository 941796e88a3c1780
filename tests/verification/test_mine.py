"""``verify --mine``: a step in a module of the user's, with and without a twin, and what is wrong with it in words."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spikingtorch.cli import verify as table

HEAD = """
from typing import Any, NamedTuple
import torch
from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J

class State(NamedTuple):
    v: Any
"""
STEP = """
def step(state: State, x, *, decay=0.9, surrogate=F.Sigmoid()):
    u = decay * state.v + x
    s = surrogate(u - 1.0)
    return State({v}), s
"""
TWIN = """
def step_twin(state, x, *, decay=0.9):
    u = {decay} * state.v + x
    s = J.Sigmoid()(u - 1.0)
    return State(u * (1 - s)), s
step_params = dict(decay=torch.full((8,), 0.8))
"""
Mine = Callable[..., tuple[int, str]]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mine:
    def run(*parts: str, name: str = "mine_module:step") -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        sys.modules.pop("mine_module", None)
        (tmp_path / "mine_module.py").write_text(HEAD + "".join(parts))
        try:
            code = table.main(["--mine", name])
        except SystemExit as left:
            code = int(str(left.code))
        return code, "".join(capsys.readouterr())

    return run


PLAIN = STEP.format(v="u * (1 - s)")
SILENT = PLAIN.replace("state: State", "state").replace("1.0", "100.0")
# what is in the module, the exit code, and what is said
MODULES: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "a twin": (
        (PLAIN, TWIN.format(decay="decay")),
        0,
        (
            *("cells     error   largest in\nstep ", "scan runs it as fused"),
            "the compiled loop and the Python loop agree",
            "spikingtorch.jax.scan runs step_twin as one compiled time loop",
        ),
    ),
    "a wrong twin": (
        (PLAIN, TWIN.format(decay="-decay")),
        1,
        ("OUT OF TOLERANCE", "d params.decay on the fused backend differs from the twin by"),
    ),
    "no twin": (
        (PLAIN,),
        0,
        (
            "its gradient equals the gradient of its smooth version, by finite differences",
            "not checked: the equation itself",
            "not checked: gradients of parameters, because none of them is a tensor",
        ),
    ),
    "a branch": ((STEP.format(v="torch.where(s > 0, 0.0, u)"),), 1, ("state.v does not follow the spike",)),
    "a silent neuron, and a state that is made": (
        (SILENT, "step_state = lambda x: State(torch.zeros_like(x))\n"),
        0,
        ("not checked: spikes and resets, because the output was 0 throughout",),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_step(mine: Mine, name: str) -> None:
    parts, expected, says = MODULES[name]
    code, text = mine(*parts)
    assert code == expected
    assert [each for each in says if each not in text] == []
    assert name != "a twin" or "not checked" not in text


@pytest.mark.parametrize(
    ("parts", "name", "says"),
    [
        ("", "mine_module", "--mine takes module:step"),
        ("", "no_such_module:step", "there is no module no_such_module"),
        ("def other_step(state, x): ...\n", "mine_module:step", "has no function step; there are other_step"),
        ("import no_such_thing\n", "mine_module:step", "mine_module needs a module that is not there: no_such_thing"),
        ("1 / 0\n", "mine_module:step", "mine_module cannot be imported: ZeroDivisionError"),
        ("def step(state): ...\n", "mine_module:step", "step takes 1 arguments; a step takes (state, x"),
        ("def step(state, x): ...\n", "mine_module:step", "the type of the state of step is not known"),
        ("def step(state: State, x, *, tau): ...\n", "mine_module:step", 'write step_params = {"tau": ...}'),
        ("def step(state: State, x): ...\nstep_params = {'tau': 1}", "mine_module:step", "step_params has tau, which"),
        ("def step(state: State, x): 1 / 0\n", "mine_module:step", "step fails on inputs of shape (17, 8)"),
        ("def step(state: State, x): return state, x\n", "mine_module:step", "that is step_smooth; or write a second"),
    ],
)
def test_errors(mine: Mine, parts: str, name: str, says: str) -> None:
    code, text = mine(parts, name=name)
    assert code == 2
    assert says in " ".join(text.split())
