"""Data sets of small files, downloads from this machine, and the published files where they are."""

import functools
import http.server
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch.data import QTDB, SpokenDigits, ecg, files, read_wav, speech
from spikingtorch.spikeio import pad_sequences
from tests.data.files import Array, digits, heartbeats, real, wav


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKINGTORCH_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    made = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "public"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), made) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("numbers", "want"),
    [
        (np.array([0, 128, 192], np.uint8), [-1.0, 0.0, 0.5]),
        (np.array([-(2**15), 1, 2**14], np.int16), [-1.0, 2.0**-15, 0.5]),
        (np.array([b"\0\0\x80", b"\1", b"\0\0\x40"], "S3"), [-1.0, 2.0**-23, 0.5]),
        (np.array([-(2**31), 3, 2**30], np.int32), [-1.0, 3 * 2.0**-31, 0.5]),
    ],
)
def test_a_wav_of_each_width(numbers: Array, want: list[float], tmp_path: Path) -> None:
    waveform, rate = read_wav(io.BytesIO(wav(numbers, rate=16000)))
    assert (waveform.tolist(), waveform.dtype, rate) == (want, torch.float32, 16000)
    (tmp_path / "two.wav").write_bytes(wav(np.repeat(numbers, 2), channels=2))
    assert read_wav(tmp_path / "two.wav")[0].tolist() == [[each, each] for each in want]
    assert read_wav(str(tmp_path / "two.wav"))[0].shape == (3, 2)


def test_heartbeats_are_split_and_cut(home: Path) -> None:
    heartbeats(home / "ecg")
    sets: list[Any] = [QTDB("train"), QTDB("validation"), QTDB("test", unlabelled=-100), QTDB("validation", seed=1)]
    train, validation, test, _ = sets
    assert [len(each) for each in (train, validation, test)] == [18, 2, 3]
    of = [[int(x[0, 0]) for x, _ in each] for each in sets]
    assert sorted(of[0] + of[1]) == [*range(20)]
    assert of[2] == [0, 1, 2]
    again: Any = QTDB("validation", root=home / "ecg")
    assert of[1] == [int(x[0, 0]) for x, _ in again] != of[3]
    x, labels = train[0]
    assert (x.shape, x.dtype, labels.dtype, x.min()) == ((5, 4), torch.float32, torch.int64, 0)
    assert labels.tolist() == [5, 0, 2, 3, 4]
    assert test[0][1].tolist() == [5, -100, 2, 3, 4]


def test_spoken_digits_are_split_by_takes_and_by_speakers(home: Path, tmp_path: Path) -> None:
    digits(home / "fsdd" / "recordings.zip")
    for split, takes in {"test": range(5), "validation": range(5, 10), "train": [10]}.items():
        data: Any = SpokenDigits(split)  # type: ignore[arg-type]
        assert {*data.takes} == {*takes}
        assert len(data) == 3 * 2 * len(takes)
        for (waveform, digit), voice, take in zip(data, data.speakers, data.takes, strict=True):
            assert len(waveform) == 10 * digit + take + 1
            assert waveform[0] == take / 2**15
            assert voice in ("ada", "theo", "yweweler")
    x, lengths, target = pad_sequences([data[0], data[5]])
    assert (x.shape, lengths.tolist(), target.tolist(), data.rate) == ((2, 41), [11, 41], [0, 3], 8000)
    folder = tmp_path / "mine" / "deep"
    folder.mkdir(parents=True)
    for voice in ("a", "b_c", "d"):
        (folder / f"7_{voice}_1.wav").write_bytes(wav(np.zeros(4, np.int16)))
    for tested, validated in {"a": "b_c", "b_c": "d", "d": "a"}.items():
        of = {s: SpokenDigits(s, speaker=tested, root=tmp_path / "mine").speakers for s in ("test", "validation")}
        assert of == {"test": [tested], "validation": [validated]}


def test_a_download_is_asked_for_and_checked(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKINGTORCH_DATA", str(tmp_path / "home"))
    public = tmp_path / "public" / "ecg" / "data"
    heartbeats(public)
    digits(public / "digits.zip")
    monkeypatch.setattr(ecg, "_HOME", server)
    sums = {name: files.sha256(public / f"QTDB_{name}.mat") for name in ("train", "test")}
    recordings = speech._FILE._replace(url=f"{server}/ecg/data/digits.zip")
    monkeypatch.setattr(speech, "_FILE", recordings._replace(digest=recordings.digest_of(public / "digits.zip")))
    with pytest.raises(
        FileNotFoundError, match=r"no .*train.mat. download=True takes it from http.* or name the folder"
    ):
        QTDB("train")
    with pytest.raises(ValueError, match=r"has sha256 .*, expected 72d1.*; it is not kept"):
        QTDB("train", download=True)
    assert not [*(tmp_path / "home" / "ecg").iterdir()]
    monkeypatch.setattr(ecg, "_DIGESTS", sums)
    assert len(QTDB("validation", download=True)) == 2
    assert len(SpokenDigits("train", download=True)) == 6
    said = capsys.readouterr().out
    assert f"licence MIT, sha256 {sums['train']}" in said
    assert "licence CC BY-SA 4.0" in said
    assert len(QTDB("train")) == 18
    assert len(QTDB("test", root=tmp_path / "mine", download=True)) == 3
    assert (tmp_path / "mine" / "QTDB_test.mat").exists()
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ImportError, match=r"needs the package pooch: pip install .*\[data\]"):
        QTDB("test", download=True)


def test_errors(home: Path) -> None:
    digits(home / "fsdd" / "recordings.zip", takes=1)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: QTDB("valid"), "QTDB: split='valid' is not one of"),  # type: ignore[arg-type]
        (lambda: SpokenDigits("dev"), "SpokenDigits: split='dev' is not one of"),  # type: ignore[arg-type]
        (lambda: SpokenDigits("test", speaker="eve"), r"speaker='eve' is not one of \['ada', 'theo', 'yweweler'\]"),
        (lambda: SpokenDigits("train"), r"0 recordings for 'train' in .*recordings.zip"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()


@real
def test_the_published_files() -> None:
    folder = Path(os.environ["SPIKINGTORCH_DATA"])
    assert speech.digest_of_recordings(folder / "fsdd" / "recordings.zip") == speech._FILE.digest
    for name, digest in ecg._DIGESTS.items():
        assert files.sha256(folder / "ecg" / f"QTDB_{name}.mat") == digest
    for split, count in {"train": 557, "validation": 61, "test": 141}.items():
        x, labels = QTDB(split).tensors  # type: ignore[arg-type]
        assert (x.shape, labels.shape) == ((count, 1300, 4), (count, 1300))
        assert (x.unique().tolist(), labels.unique().tolist()) == ([0, 1], [0, 1, 2, 3, 4, 5])
    assert round((QTDB("test", unlabelled=-100).tensors[1] == -100).double().mean().item(), 3) == 0.104
    assert (len(SpokenDigits("test")), len(SpokenDigits("train", speaker="theo"))) == (300, 2000)
    theirs = SpokenDigits("validation", speaker="theo")
    assert (len(theirs), {*theirs.speakers}, theirs.rate) == (500, {"yweweler"}, 8000)
    assert max(waveform.abs().max().item() for waveform, _ in theirs) < 1  # type: ignore[attr-defined]
