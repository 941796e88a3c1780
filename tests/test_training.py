"""The training command: it learns, and nothing that it wrote is ever lost."""

import errno
import functools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from examples import checkpoint, data, train, training

LOAD = functools.cache(data.load)
KEYS = {"settings", "history", "model", "optimizer", "generators"}
SHORT = ["--batches", "3", "--batch-size", "16"]


@pytest.fixture(autouse=True)
def digits_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.train.load", LOAD)


def run(out: Path, *arguments: str) -> int:
    return train.main(["--out", str(out), *SHORT, *arguments])


def test_resumed_run_equals_one_that_never_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "whole", "--epochs", "2") == 0
    assert run(tmp_path / "parts", "--epochs", "1") == 0
    assert run(tmp_path / "parts", "--epochs", "2", "--resume") == 0
    whole, parts = (checkpoint.load(tmp_path / name / "checkpoint.pt", KEYS) for name in ("whole", "parts"))
    assert whole["history"] == parts["history"]
    for name, weight in whole["model"].items():
        assert torch.equal(weight, parts["model"][name])
    for name in ("curves.png", "raster.png"):
        assert (tmp_path / "whole" / name).read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    assert "epoch  2/2   loss" in text
    assert "Resumed after epoch 1: test accuracy" in text


def test_new_run_keeps_the_earlier_one(tmp_path: Path) -> None:
    out = tmp_path / "digits"
    assert run(out, "--epochs", "1") == 0
    earlier = (out / "checkpoint.pt").read_bytes()
    assert run(out, "--epochs", "1", "--seed", "1") == 0
    (aside,) = out.glob("before-*")
    assert (aside / "checkpoint.pt").read_bytes() == earlier


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    """Let SIGINT interrupt, which a shell turns off for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupt_loses_the_current_epoch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = training.train_epoch
    calls = []

    def interrupted(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return whole(*arguments)

    monkeypatch.setattr("examples.train.train_epoch", interrupted)
    assert run(tmp_path, "--epochs", "3") == 130
    assert "Interrupted. The checkpoint of epoch 1 is in" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(tmp_path, "--epochs", "2", "--resume") == 0
    assert len(checkpoint.load(tmp_path / "checkpoint.pt", KEYS)["history"]) == 2


def test_resume_with_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--epochs", "1") == 0
    assert run(tmp_path, "--epochs", "2", "--resume", "--nsteps", "4") == 1
    assert "was trained with --nsteps 8. Resume with the same." in capsys.readouterr().err


def test_interrupt_before_the_first_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("examples.train.train_epoch", lambda *_: signal.raise_signal(signal.SIGINT))
    assert run(tmp_path, "--epochs", "3") == 130
    assert "Interrupted. No epoch was saved." in capsys.readouterr().err


def test_interrupt_while_libraries_are_imported_ends_quietly(tmp_path: Path) -> None:
    # as compiled modules do, this one drops the exception that an interrupt raises
    (tmp_path / "torch.py").write_text(
        "import contextlib, signal\nwith contextlib.suppress(BaseException):\n    signal.raise_signal(signal.SIGINT)\n"
    )
    command = [sys.executable, "-m", "examples.train", "--out", str(tmp_path / "out")]
    ended = subprocess.run(
        command,
        cwd=Path(train.__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "\nInterrupted before training began.\n")
    assert not (tmp_path / "out").exists()


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for _ in range(2):
        assert run(tmp_path, "--epochs", "1") == 0
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_two_runs_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with checkpoint.locked(tmp_path):
        assert run(tmp_path, "--epochs", "1") == 1
    assert f"Another run is training into {tmp_path}" in capsys.readouterr().err
    assert run(tmp_path, "--epochs", "1") == 0


def test_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file", "--epochs", "1") == 1
    assert "File exists" in capsys.readouterr().err


def test_checkpoint_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--epochs", "1") == 0
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, checkpoint.load(path, KEYS) | {"model": {"weight": torch.ones(2)}})
    before = path.read_bytes()
    assert run(tmp_path, "--epochs", "2", "--resume") == 1
    assert "is not a checkpoint of this network (RuntimeError). The file was left as it is" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_resume_with_an_option_that_was_not_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--out", str(tmp_path), "--epochs", "1", "--batch-size", "2000"]) == 0
    assert train.main(["--out", str(tmp_path), "--resume", "--batch-size", "2000", "--batches", "3"]) == 1
    assert "was trained without --batches. Resume with the same" in capsys.readouterr().err


def test_resume_without_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--resume") == 1
    assert "There is no checkpoint at" in capsys.readouterr().err


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 64]) + content[middle + 64 :]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return content[:0]


def replaced(content: bytes) -> bytes:
    return b"not a checkpoint, " + content[:10]


@pytest.mark.parametrize("damage", [flip, cut, emptied, replaced])
def test_damaged_checkpoint_is_named_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any) -> None:
    assert run(tmp_path, "--epochs", "1") == 0
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    assert run(tmp_path, "--epochs", "2", "--resume") == 1
    assert "cannot be read" in capsys.readouterr().err
    assert path.read_bytes() == damaged


def test_checkpoint_of_something_else(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(2)}, tmp_path / "checkpoint.pt")
    with pytest.raises(checkpoint.CheckpointError, match=r"it does not hold \['generators'.*left as it is"):
        checkpoint.load(tmp_path / "checkpoint.pt", KEYS)


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from examples import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails like one on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    checkpoint.save(Path(sys.argv[1]), {"weights": torch.zeros(100_000)})
except OSError as error:
    sys.exit(error.errno)
"""


def test_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"weights": torch.ones(3)})
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-W", "error", "-c", FULL_DISK, str(path)], check=False)
    assert done.returncode == errno.EFBIG
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["checkpoint.pt"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_full_disk_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--epochs", "1") == 0

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    assert run(tmp_path, "--epochs", "2", "--resume") == 1
    assert "Epoch 2 could not be saved: [Errno 28] No space left on device. The checkpoint of epoch 1 is in" in (
        capsys.readouterr().err
    )
    monkeypatch.undo()
    assert len(checkpoint.load(tmp_path / "checkpoint.pt", KEYS)["history"]) == 1


@pytest.mark.parametrize("option", ["--epochs", "--nsteps", "--batches", "--batch-size"])
def test_numbers_on_the_command_line(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.parse([option, "0"])
    assert "'0' is not a whole number above zero" in capsys.readouterr().err
