"""Every example, run for two batches of two hundred images or sequences."""

import functools
import importlib
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from examples import data, training
from spikingtorch import SpikingNet

FOLDER = Path(__file__).parents[1] / "examples"
# modules that examples share, and the training command, which has tests of its own
SHARED = {"__init__", "checkpoint", "data", "pictures", "train", "training"}
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


@functools.cache
def few(load: Any, *of: str) -> list[TensorDataset]:
    return [TensorDataset(*[tensor[:200] for tensor in given.tensors]) for given in load(*of)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, load in ((training, "load"), (data, "load"), (data, "load_sequences")):
        monkeypatch.setattr(module, load, functools.partial(few, getattr(data, load)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, "--epochs", "1", "--batches", "2"])
    monkeypatch.delitem(sys.modules, f"examples.{name}", raising=False)
    runpy.run_module(f"examples.{name}", run_name="__main__")
    assert "test accuracy" in capsys.readouterr().out
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.rglob("*.png"))


@pytest.mark.parametrize("name", ["if_mnist", "lif_mnist", "mcpitts_mnist", "biolif_mnist", "train"])
def test_network_runs_all_steps_at_once(name: str) -> None:
    net = importlib.import_module(f"examples.{name}").Net()
    report = SpikingNet(net, 10).explain(torch.rand(2, 8, 1, 28, 28))
    assert report.mode == "fold"
    assert [layer.backend.backend for layer in report.layers] == ["fused"] * 3


def test_there_are_examples_of_every_kind() -> None:
    assert {"if_mnist", "lif_mnist", "mcpitts_mnist", "biolif_mnist", "functional_mnist"} <= set(EXAMPLES)
    assert {"ensemble_tau", "per_sample_gradients", "jax_mnist", "mnist1d"} <= set(EXAMPLES)
