"""Tables of papers: two epochs on made recordings, and a run that is killed in between."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from examples import checkpoint
from examples.papers import __main__ as papers
from examples.papers import ecg
from examples.papers.loop import Seed

OPTIONS = ["ecg", "--epochs", "2", "--seeds", "1", "--out"]


@pytest.fixture(autouse=True)
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write recordings of 40 steps in the form of ECG-QTDB, and let the loaders find them."""
    draws = np.random.default_rng(0)
    (tmp_path / "ecg").mkdir()
    for part, N in (("train", 24), ("test", 6)):
        labels = np.eye(6)[np.sort(draws.integers(6, size=(N, 41)), 1)]
        content = {"x": 40.0 * (draws.random((N, 41, 4)) < 0.3), "y": labels}
        scipy.io.savemat(tmp_path / "ecg" / f"QTDB_{part}.mat", content)
    monkeypatch.setenv("SPIKINGTORCH_DATA", str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_table_has_a_row_for_each_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert papers.main([*OPTIONS, str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[f"ecg-{kind}", "0"] for kind in ("alif", "brf", "rf")]
    assert (tmp_path / "out" / "ecg.png").stat().st_size > 10_000
    assert "% over 1 seeds" in capsys.readouterr().out
    assert len([*(tmp_path / "out").glob("*/0/best.safetensors")]) == 3
    before = [*(tmp_path / "out").glob("*/0/curve.csv")]
    texts = [path.read_text() for path in before]
    assert papers.main([*OPTIONS, str(tmp_path / "out")]) == 0  # all seeds are there already
    assert [path.read_text() for path in before] == texts
    assert papers.main(["ecg", "--epochs", "3", "--out", str(tmp_path / "out")]) == 1
    assert "Give this one its own folder: --out FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["brf", "alif"])
def test_a_run_that_was_killed_goes_on_with_the_same_bits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Any = {**papers.settings_of("ecg")[f"ecg-{kind}"], "epochs": 3}
    whole = Seed(ecg.TASK, settings, 4, tmp_path / "whole")
    accuracy = whole.run("whole")
    epoch = Seed._epoch

    def killed(run: Seed, number: int) -> tuple[float, ...]:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(run, number)

    with monkeypatch.context() as patched:
        patched.setattr(Seed, "_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            Seed(ecg.TASK, settings, 4, tmp_path / "parts").run("first part")
    torch.manual_seed(99)
    again = Seed(ecg.TASK, settings, 4, tmp_path / "parts")
    assert again.run("second part") == accuracy
    parts = [checkpoint.load(tmp_path / name / "checkpoint.pt", {"model"})["model"] for name in ("whole", "parts")]
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in parts[0])
    assert [row[:-1] for row in again.rows[1:]] == [row[:-1] for row in whole.rows[1:]]  # but for the seconds
    assert again.rows[0][2:4] == whole.rows[0][2:4]
    assert len({row[1] for row in whole.rows[1:]}) == 3
