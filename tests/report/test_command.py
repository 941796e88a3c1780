"""``python -m spikingtorch report``: a page from a function and a checkpoint, and what is wrong with them in words."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from examples import train
from spikingtorch.cli.report import main
from tests.processes import python
from tests.report.networks import Page, Pictures

pytestmark = pytest.mark.usefixtures("one_thread")
MODULE = """
import torch
from torch import nn
from spikingtorch import LIF, SpikingNet
from spikingtorch.spikeio import PoissonEncoder

def network():
    torch.manual_seed(0)
    return SpikingNet(nn.Sequential(nn.Linear(6, 4), LIF(v0=0.3)), 4)

def make():
    return network(), [(torch.rand(3, 5, 6), torch.arange(3)) for _ in range(9)]

def images():
    return network(), [torch.rand(3, 6)], {"encoder": PoissonEncoder(7), "title": "Seven steps"}

def one():
    return network()

def odd():
    return network(), [], {"colour": "red"}

def fails():
    return 1 / 0

def empty():
    return network(), []
"""
TUTORIAL = """
import torch
from examples.if_mnist import Net
from spikingtorch import SpikingNet

def make():
    return SpikingNet(Net(), 10), [torch.ones(2, 4, 1, 28, 28)]
"""
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(quick: Pictures, command: Run) -> Run:
    """The command in a folder with modules, without pictures and gradients."""
    return partial(command, main, my_module=MODULE, my_tutorial=TUTORIAL, my_wrong="import no_such_thing\n")


def test_a_page_from_a_function(run: Run) -> None:
    code, text = run("my_module:make", "--batches", "2")
    assert code == 0, text
    assert "Written to report.html" in text
    assert "6 samples of 2 batches, 5 steps each" in Page(Path("report.html")).words
    code, text = run("my_module:images", "--out", "mine.html")  # with options of its own
    assert code == 0, text
    found = Page(Path("mine.html"))
    assert found.headings[0][1] == "Seven steps"
    assert "7 steps each" in found.words


def weights() -> dict[str, torch.Tensor]:
    """Return the state_dict of the network with zeros for weights; the constants of its layers are in it as well."""
    names: dict[str, Any] = {}
    exec(MODULE, names)
    found: dict[str, torch.Tensor] = names["network"]().state_dict()
    return {name: 0.0 * x if name.endswith(("weight", "bias")) else x for name, x in found.items()}


@pytest.mark.parametrize("form", ["plain", "model", "state_dict", "of the network inside"])
def test_checkpoints(form: str, run: Run) -> None:
    found = weights()
    inner = {name.removeprefix("net."): x for name, x in found.items()}
    torch.save({"plain": found, "of the network inside": inner}.get(form, {form: found}), "weights.pt")
    code, text = run("my_module:make", "--checkpoint", "weights.pt")
    assert code == 0, text
    assert "100% silent" in Page(Path("report.html")).advice[0]


def test_a_checkpoint_of_the_training_command(run: Run, tmp_path: Path) -> None:
    trained = train.Run(train.parse(["--out", str(tmp_path), "--nsteps", "4"]))
    trained.history = [(0.9, 0.3), (0.5, 0.75)]
    trained.save()
    code, text = run("my_tutorial:make", "--checkpoint", "checkpoint.pt")
    assert code == 0, text
    found = Page(Path("report.html"))
    assert "Last: accuracy 0.75" in found.words
    assert "No rates were logged" in found.words


@pytest.mark.filterwarnings("ignore:load_state_dict")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["my_module"], "report takes module:factory"),
        (["no_such_module:make"], "there is no module no_such_module"),
        (["my_wrong:make"], "my_wrong needs a module that is not there: no_such_thing"),
        (["my_module:made"], "my_module has no function made"),
        (["my_module:one"], "one() returned a SpikingNet, expected (model, loader)"),
        (["my_module:odd"], "expected a dict with some of encoder, history, title"),
        (["my_module:fails"], "fails() fails: ZeroDivisionError"),
        (["my_module:empty"], "loader gave no batch"),
        (["my_module:make", "--batches", "0"], "'0' is not a whole number above zero"),
        (["my_module:make", "--out", "no/folder.html"], "there is no folder no"),
        (["my_module:make", "--checkpoint", "none.pt"], "there is no checkpoint at none.pt"),
        (["my_module:make", "--checkpoint", "my_module.py"], "my_module.py cannot be read as a checkpoint"),
        (["my_module:make", "--checkpoint", "number.pt"], "holds no state_dict"),
        (["my_tutorial:make", "--checkpoint", "other.pt"], "other.pt does not fit to the network"),
        ([], "the following arguments are required: MODULE:FACTORY"),
    ],
)
def test_errors(arguments: list[str], says: str, run: Run) -> None:
    torch.save({"model": 3}, "number.pt")
    torch.save(weights(), "other.pt")
    code, text = run(*arguments)
    assert code == 2
    assert says in text
    assert not Path("report.html").exists()


def test_help_and_usage(run: Run) -> None:
    code, text = run("--help")
    assert code == 0
    assert "FACTORY() returns (model, loader)" in text


@pytest.mark.long
def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "my_process_module.py").write_text(MODULE)
    run = f"import os, runpy; os.chdir({str(tmp_path)!r}); runpy.run_module('spikingtorch', run_name='__main__')"
    said = python("-c", run, "report", "my_process_module:make", "--out", "page.html")
    assert "Written to page.html" in said
    found = Page(tmp_path / "page.html")
    assert "1 of 1 step checked and right" in found.words
    assert not found.scripts
