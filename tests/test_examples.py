"""Every example, run for two batches of a hundred images or sequences, or of as little as it takes, and the gallery."""

import ast
import functools
import importlib
import importlib.util
import os
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from examples import data, own_neurons, pictures, training, vowels
from spikingtorch import SpikingNet

FOLDER = Path(__file__).parents[1] / "examples"
# modules that examples share, and the training command, which has tests of its own
SHARED = {"__init__", "checkpoint", "data", "jax_training", "memory", "pictures", "processes", "train", "training"}
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)
# sphinx-gallery runs what is called so
GALLERY = sorted((FOLDER / "gallery").rglob("plot_*.py"))
# with a package of its own; beside README
APART = {"lightning", "tutorial"}
ARGUMENTS = {
    "streams": ["--streams", "12", "--steps", "40", "--batch", "5"],
    "distributed": ["--batches", "2"],
    "exchange": [],
    "long_sequence": ["--steps", "160", "--batches", "2"],
    "online_learning": ["--steps", "60"],
    "izhikevich": [],
    "neurons": [],
}
# train several networks, draw all neurons, compile with JAX, export, or start processes
LONG = {"convert", "integers", "neurons", "jax_digits", "jax_equinox", "mnist1d", "watching", "own_neurons", "deploy"}
LONG |= {"izhikevich", "vowels", "online_learning", "distributed", "long_sequence", "ensemble_tau", "exchange"}
SAYS = {"streams": "steps a second", "izhikevich": "tonic bursting", "neurons": "pictures are in"}
SAYS["jax_digits"] = "of the output spikes are the same"
SAYS["long_sequence"] = "recompute=True: "
SAYS["online_learning"] = "squared error at the end"
SAYS["deploy"] = "of 20 read; "
SAYS["exchange"] = "spikes equal in the reader of SpikingJelly"


@functools.cache
def few(load: Any, *of: str) -> list[TensorDataset]:
    return [TensorDataset(*[tensor[:100] for tensor in given.tensors]) for given in load(*of)]


def utterances(split: str) -> tuple[list[Any], list[str]]:
    """Return noise in place of what the package aeon has."""
    draw = np.random.default_rng(len(split))
    return [draw.normal(size=(12, 7 + n % 23)) for n in range(36)], [f"{1 + n % 9}.0" for n in range(36)]


def start(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, load in ((training, "load"), (data, "load"), (data, "load_sequences")):
        monkeypatch.setattr(module, load, functools.partial(few, getattr(data, load)))
    if importlib.util.find_spec("aeon") is None:
        aeon = types.ModuleType("aeon.datasets")
        aeon.load_japanese_vowels = utterances  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "aeon", types.ModuleType("aeon"))
        monkeypatch.setitem(sys.modules, "aeon.datasets", aeon)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(pictures, "WIDTH", 400)
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, ["--epochs", "1", "--batches", "2"])])
    monkeypatch.delitem(sys.modules, f"examples.{name}", raising=False)
    runpy.run_module(f"examples.{name}", run_name="__main__")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in EXAMPLES if name not in APART]
)
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(name, tmp_path, monkeypatch)
    assert SAYS.get(name, "test accuracy") in capsys.readouterr().out
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.rglob("*.png"))


@pytest.mark.parametrize("name", ["online_learning", "long_sequence"])
def test_an_example_of_learning_is_short(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 60


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("pytorch_lightning") is None:
        with pytest.raises(SystemExit, match=r"pip install 'spikingtorch\[lightning\]'"):
            start("lightning", tmp_path, monkeypatch)
        return
    start("lightning", tmp_path, monkeypatch)
    assert "test accuracy" in capsys.readouterr().out


def test_vowels_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aeon", "aeon.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match=r"pip install 'spikingtorch\[vowels\]'"):
        vowels.load("TRAIN")


def test_the_neuron_with_dendrites_passes_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    own_neurons.check()
    assert "scan: fused" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["if_mnist", "lif_mnist", "mcpitts_mnist", "biolif_mnist", "train"])
def test_network_runs_all_steps_at_once(name: str) -> None:
    net = importlib.import_module(f"examples.{name}").Net()
    report = SpikingNet(net, 10).explain(torch.rand(2, 8, 1, 28, 28))
    assert report.mode == "fold"
    assert [layer.backend.backend for layer in report.layers] == ["fused"] * 3


@pytest.mark.sampled
@pytest.mark.parametrize("script", GALLERY, ids=lambda script: script.stem)
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_a_script_of_the_gallery_draws_one_picture(script: Path, tmp_path: Path) -> None:
    matplotlib.use("agg")
    plt.close("all")
    runpy.run_path(str(script), run_name="__main__")
    (number,) = plt.get_fignums()
    # where labels collide, matplotlib warns, and a warning is an error
    plt.figure(number).savefig(tmp_path / "picture.png")
    plt.close("all")


@pytest.mark.parametrize("script", GALLERY, ids=lambda script: script.stem)
def test_a_script_of_the_gallery_is_short_and_says_what_it_shows(script: Path) -> None:
    doc, code = ast.get_docstring(ast.parse(script.read_text())), script.read_text().split('"""', 2)[2]
    title, line, text = (doc or "").split("\n", 2)
    assert line == "=" * len(title)
    assert 2 <= len(re.findall(r"[.:!?](?:\s|$)", text)) <= 4
    assert "# %%" in code
    assert sum(bool(each.strip()) and not each.startswith("#") for each in code.splitlines()) <= 42


def test_the_gallery_has_a_title_for_each_folder_and_no_name_twice() -> None:
    folders = {script.parent for script in GALLERY}
    assert all((folder / "README.rst").is_file() for folder in {*folders, FOLDER / "gallery"})
    assert len({script.stem for script in GALLERY}) == len(GALLERY) >= 20


@pytest.mark.parametrize(("given", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")], ids=str)
def test_threads_of_examples_sleep_while_they_wait_unless_told_otherwise(given: dict[str, str], found: str) -> None:
    """OpenMP reads it when torch is imported."""
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code = "import sys, os, examples; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=FOLDER.parent, env=others | given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", found]
