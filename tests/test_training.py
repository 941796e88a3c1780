"""The training command: it learns, and nothing that it wrote is ever lost."""

import errno
import io
import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from examples import checkpoint, data, train, training

KEYS = {"settings", "history", "model", "optimizer", "generators"}
Captured = pytest.CaptureFixture[str]
DRAW = train.Run.draw


def run(out: Path, *arguments: str) -> int:
    return train.main(["--out", str(out), "--batches", "3", "--batch-size", "16", *arguments])


@pytest.fixture(autouse=True, scope="module")
def _few_digits_and_interrupts() -> Iterator[None]:
    """Train on few digits, and let SIGINT interrupt, which a shell turns off for what it runs in the background."""
    sets = [TensorDataset(*[tensor[:100] for tensor in digits.tensors]) for digits in data.load("digits")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("examples.train.load", lambda _: sets)
        patch.setattr(train.Run, "draw", lambda _: None)  # which takes longer than training: one run draws
        yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    assert run(out, "--epochs", "1") == 0
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    """Return the folder of a run of one epoch."""
    return Path(shutil.copytree(trained, tmp_path / "digits"))


def test_resumed_run_equals_one_without_a_stop(out: Path, tmp_path: Path, capsys: Captured, monkeypatch: Any) -> None:
    assert run(tmp_path / "whole", "--epochs", "2") == 0
    monkeypatch.setattr(train.Run, "draw", DRAW)
    assert run(out, "--epochs", "2", "--resume") == 0
    whole, parts = (checkpoint.load(folder / "checkpoint.pt", KEYS) for folder in (tmp_path / "whole", out))
    assert whole["history"] == parts["history"]
    assert all(torch.equal(weight, parts["model"][name]) for name, weight in whole["model"].items())
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in ("curves.png", "overview.png"))
    text = capsys.readouterr().out
    assert "epoch  2/2   loss" in text
    assert "Resumed after epoch 1: test accuracy" in text


@pytest.mark.long
def test_new_run_keeps_the_earlier_one_and_other_files(out: Path) -> None:
    (out / "thesis.txt").write_text("years of work")
    earlier = (out / "checkpoint.pt").read_bytes()
    assert run(out, "--epochs", "1", "--seed", "1") == 0
    (aside,) = out.glob("before-*")
    assert (aside / "checkpoint.pt").read_bytes() == earlier
    assert (out / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("epoch", "kept"),
    [(1, "No epoch was saved."), pytest.param(2, "The checkpoint of epoch 1 is in", marks=pytest.mark.long)],
)
def test_interrupt_loses_the_current_epoch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, epoch: int, kept: str
) -> None:
    epochs = itertools.count(1)

    def interrupted(*arguments: Any) -> float:
        if next(epochs) == epoch:
            signal.raise_signal(signal.SIGINT)
        return training.train_epoch(*arguments)

    monkeypatch.setattr("examples.train.train_epoch", interrupted)
    assert run(tmp_path, "--epochs", "3") == 130
    assert f"Interrupted. {kept}" in capsys.readouterr().err
    assert run(tmp_path, "--epochs", "2", *["--resume"] * (epoch > 1)) == 0
    assert len(checkpoint.load(tmp_path / "checkpoint.pt", KEYS)["history"]) == 2


def test_interrupt_while_libraries_are_imported_ends_quietly(tmp_path: Path) -> None:
    # as compiled modules do, this one drops the exception that an interrupt raises
    (tmp_path / "torch.py").write_text(
        "import contextlib, signal\nwith contextlib.suppress(BaseException):\n    signal.raise_signal(signal.SIGINT)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "examples.train", "--out", str(tmp_path / "out")],
        cwd=Path(train.__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "\nInterrupted before training began.\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_two_runs_in_one_folder(out: Path, capsys: Captured) -> None:
    with checkpoint.locked(out):
        assert run(out, "--epochs", "1") == 1
    assert f"Another run is training into {out}" in capsys.readouterr().err
    assert run(out, "--epochs", "1", "--resume") == 0


def test_folder_that_is_a_file(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file", "--epochs", "1") == 1
    assert "File exists" in capsys.readouterr().err


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 64]) + content[middle + 64 :]


def of_another_network(content: bytes) -> bytes:
    return packed(torch.load(io.BytesIO(content)) | {"model": {"weight": torch.ones(2)}})


def without_batches(content: bytes) -> bytes:
    known = torch.load(io.BytesIO(content))
    return packed(known | {"settings": known["settings"] | {"batches": None}})


def packed(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:load_state_dict")
@pytest.mark.parametrize(
    ("change", "option", "message"),
    [
        (lambda content: content, ["--nsteps", "4"], "was trained with --nsteps 8. Resume with the same."),
        (without_batches, [], "was trained without --batches. Resume with the same"),
        (of_another_network, [], "is not a checkpoint of this network (RuntimeError). The file was left as it is"),
        (flipped, [], "cannot be read"),
        (lambda content: content[: len(content) // 2], [], "cannot be read"),
        (lambda content: b"", [], "cannot be read"),
        (lambda content: b"not a checkpoint, " + content[:10], [], "cannot be read"),
        (lambda content: packed({"weights": torch.ones(2)}), [], "cannot be read (it does not hold ['generators'"),
    ],
    ids=["settings", "option", "network", "flipped", "cut", "empty", "no checkpoint", "of something else"],
)
def test_checkpoint_that_cannot_be_resumed_is_named_and_kept(
    out: Path, capsys: Captured, change: Callable[[bytes], bytes], option: list[str], message: str
) -> None:
    path = out / "checkpoint.pt"
    path.write_bytes(change(path.read_bytes()))
    before = path.read_bytes()
    assert run(out, "--epochs", "2", "--resume", *option) == 1
    assert message in capsys.readouterr().err
    assert path.read_bytes() == before


def test_resume_without_a_checkpoint(tmp_path: Path, capsys: Captured) -> None:
    assert run(tmp_path, "--resume") == 1
    assert "There is no checkpoint at" in capsys.readouterr().err


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


@pytest.mark.long
def test_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"weights": torch.ones(3)})
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-W", "error", "-c", FULL_DISK, str(path)], check=False)
    assert done.returncode == errno.EFBIG
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["checkpoint.pt"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_full_disk_is_reported(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    assert run(out, "--epochs", "2", "--resume") == 1
    message = "Epoch 2 could not be saved: [Errno 28] No space left on device. The checkpoint of epoch 1 is in"
    assert message in capsys.readouterr().err
    assert len(checkpoint.load(out / "checkpoint.pt", KEYS)["history"]) == 1


@pytest.mark.parametrize("option", ["--epochs", "--nsteps", "--batches", "--batch-size"])
def test_numbers_on_the_command_line(option: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        train.parse([option, "0"])
    assert "'0' is not a whole number above zero" in capsys.readouterr().err
