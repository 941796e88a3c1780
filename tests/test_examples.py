"""Every example, run for two batches, or as little as it takes; the gallery, Izhikevich's firing patterns."""

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
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from examples import data, own_neurons, pictures, training, vowels
from examples.izhikevich import PATTERNS, Pattern, Trace, observed_step, simulate
from spikingtorch import SpikingNet
from spikingtorch import functional as F

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


# --- the twenty firing patterns of examples/izhikevich.py, each recognised by the times of its spikes -----------------


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    return simulate()


@pytest.fixture
def fired(traces: dict[str, Trace]) -> dict[str, list[float]]:
    return {name: trace.times[trace.spikes > 0].tolist() for name, trace in traces.items()}


def gaps(times: list[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(times)]


def groups(times: list[float], apart: float) -> list[list[float]]:
    """Return the bursts: spikes less than so many ms apart."""
    found = [times[:1]]
    for gap, time in zip(gaps(times), times[1:], strict=True):
        found.append([]) if gap >= apart else None
        found[-1].append(time)
    return found


def grows(numbers: list[float]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def by_hand(pattern: Pattern, trace: Trace) -> list[float]:
    """Return the times of the spikes by the published loop, in floats."""
    decays = pattern.name != "accommodation"
    a, b = (pattern.a, pattern.b) if decays else (0.02, 1.0)
    v, u = pattern.start, b * pattern.start if decays else -16.0
    times = []
    for t, current in zip(trace.times.tolist(), trace.current.tolist(), strict=True):
        v = v + pattern.dt * (0.04 * v * v + pattern.slope * v + pattern.offset - u + current)
        u = u + pattern.dt * a * (b * v - u if decays else b * (v + 65.0))
        if v >= 30.0:
            v, u = pattern.c, u + pattern.d
            times.append(t)
    return times


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_spikes_are_as_published(pattern: Pattern, traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    assert fired[pattern.name] == pytest.approx(by_hand(pattern, traces[pattern.name]), abs=1.01 * pattern.dt)


def test_one_compiled_loop_runs_them_all() -> None:
    one = torch.ones(20, dtype=torch.float64)
    curve = F.IzhikevichCurve(slope=5 * one, offset=140 * one)
    params = {"a": one, "b": one, "d": one, "dt": one, "curve": curve, "reset": F.to_value(-65 * one)}
    report = F.explain_scan(observed_step, F.IzhikevichState(v=one, w=one), torch.ones(5, 20).double(), params=params)
    assert report.backend == "fused"


def settles(times: list[float], trace: Trace) -> bool:
    first, *_, second_last, last = gaps(times)
    return last == pytest.approx(second_last, rel=0.05) and first < last


def bursts_regularly(times: list[float], trace: Trace) -> bool:
    bursts = groups(times, apart=20)
    _, *between = gaps([burst[0] for burst in bursts])
    return [len(burst) >= 5 for burst in bursts] == [True] * 4 and between == pytest.approx([between[0]] * 2, abs=1)


def oscillates(times: list[float], trace: Trace) -> bool:
    after = trace.membrane[trace.times > times[0] + 5]
    return len(times) == 1 and bool((after.diff().sign().diff() != 0).sum() >= 5)


def is_high_after_its_spike(times: list[float], trace: Trace) -> bool:
    after, rest = trace.membrane[trace.times > times[0]], trace.membrane[0].item()
    rises = after.max() > max(after[0].item() + 3, rest + 10)
    return len(times) == 1 and bool(rises) and after[-1] == pytest.approx(rest, abs=1)


def fires_on_the_fast_ramp_alone(times: list[float], trace: Trace) -> bool:
    slow, fast = trace.current[trace.times < 200].max(), trace.current[trace.times == times[0]].item()
    return is_one(times, 300, 312.5) and bool(slow > 2 * fast)


def is_one(times: list[float], after: float, before: float = float("inf")) -> bool:
    return len(times) == 1 and after < times[0] < before


def all_within(times: list[float], after: float, before: float) -> bool:
    return after < times[0] <= times[-1] < before


# what is typical of each, by the times of its spikes and what came in and out
TYPICAL: dict[str, Callable[[list[float], Trace], bool]] = {
    "tonic spiking": settles,
    "phasic spiking": lambda times, _: is_one(times, 20, 50),
    "tonic bursting": bursts_regularly,
    "phasic bursting": lambda times, _: len(times) > 2 and max(gaps(times)) < 10 and all_within(times, 20, 70),
    "mixed mode": lambda times, _: [len(each) for each in groups(times, apart=20)] == [3, 1, 1, 1],
    "spike frequency adaptation": lambda times, _: grows(gaps(times)) and gaps(times)[-1] > 5 * gaps(times)[0],
    "class 1 excitability": lambda times, _: grows(gaps(times)[::-1]) and gaps(times)[0] > 2.5 * gaps(times)[-1],
    "class 2 excitability": lambda times, _: gaps(times)[0] < 2 * gaps(times)[-1],
    "spike latency": lambda times, trace: is_one(times, trace.times[trace.current > 0].max().item() + 10),
    "subthreshold oscillations": oscillates,
    "resonator": lambda times, _: is_one(times, 320, 350),  # for the pair at its own frequency
    "integrator": lambda times, _: is_one(times, 100 / 11 + 5, 25),  # for the close pair
    "rebound spike": lambda times, _: is_one(times, 25),
    "rebound burst": lambda times, _: len(times) > 3 and times[0] > 25 and max(gaps(times)) < 10,
    "threshold variability": lambda times, _: is_one(times, 80),  # inhibition comes before
    # one pulse starts it, and the next stops it
    "bistability": lambda times, _: all_within(times, 37.5, 216) and gaps(times) == pytest.approx([40.6] * 4, abs=0.5),
    "depolarizing after-potential": is_high_after_its_spike,
    "accommodation": fires_on_the_fast_ramp_alone,
    "inhibition-induced spiking": lambda times, _: (
        len(times) == 3 and min(gaps(times)) > 20 and all_within(times, 50, 250)
    ),
    "inhibition-induced bursting": lambda times, _: (
        [len(each) >= 5 for each in groups(times, apart=20)] == [True] * 2 and all_within(times, 50, 250)
    ),
}


@pytest.mark.parametrize("name", TYPICAL)
def test_spikes_are_typical_of_the_pattern(name: str, traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    assert TYPICAL[name](fired[name], traces[name])


def test_there_are_twenty_patterns() -> None:
    assert [pattern.name for pattern in PATTERNS] == [*TYPICAL]
    assert len(TYPICAL) == 20
