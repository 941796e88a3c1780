"""The recipes of docs/data.md, as they stand there, on small files of the formats that they read."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.data.files import digits, heartbeats, wav

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
BLOCKS = {part.splitlines()[0]: part for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE) if "```python" in part}
Found = dict[str, Any]


def shapes(found: Found, *names: str) -> list[Any]:
    """Return the number of samples, and the shape and the label of the first, of each data set."""
    data = [found[name] for name in names or ("train", "validation", "test")]
    return [(len(each), tuple(each[0][0].shape), each[0][1]) for each in data]


def ours(monkeypatch: pytest.MonkeyPatch) -> Callable[[Found], None]:
    monkeypatch.setenv("SPIKINGTORCH_DATA", str(Path.cwd()))
    heartbeats(Path("ecg"))
    digits(Path("fsdd/recordings.zip"))

    def check(found: Found) -> None:
        assert (found["spikes"].shape, found["labels"].shape, len(found["test"])) == ((5, 4), (5,), 3)
        assert (len(found["known"]), {*found["new"].speakers}, found["digit"]) == (6, {"ada"}, 0)

    return check


def heidelberg(_: pytest.MonkeyPatch) -> Callable[[Found], None]:
    with h5py.File("shd_train.h5", "w") as file:
        times = file.create_dataset("spikes/times", (12,), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", (12,), h5py.vlen_dtype(np.uint16))
        for i in range(12):
            times[i], units[i] = np.array([0.5, 0.0, 0.01 * i], np.float16), np.array([699, 0, i], np.uint16)
        file["labels"], file["extra/speaker"] = np.arange(12) % 20, np.arange(12)

    def check(found: Found) -> None:
        assert shapes(found, "train", "validation") == [(8, (51, 700), 0), (2, (51, 700), 10)]
        x, label = found["train"][7]
        assert (label, x.nonzero().tolist()) == (9, [[0, 0], [9, 9], [50, 699]])
        assert len(found["Heidelberg"]("shd_train.h5")) == 12

    return check


def nmnist(_: pytest.MonkeyPatch) -> Callable[[Found], None]:
    # x, y, then polarity and microseconds in 24 bits, the highest byte first; the last event is too late
    events = [(33, 2, 1, 0), (0, 33, 0, 65_536 + 515), (5, 5, 1, 300_000)]
    for folder, i in ((f, i) for f in ("Train", "Test") for i in range(10)):
        path = Path(folder, str(i % 5), f"{i:05}.bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for x, y, p, t in events))

    def check(found: Found) -> None:
        assert [len(found[name]) for name in ("train", "validation", "test")] == [9, 1, 10]
        x, label = found["test"][3]
        assert (label, x.nonzero().tolist()) == (1, [[0, 1, 2, 33], [6, 0, 33, 0]])

    return check


def gestures(_: pytest.MonkeyPatch) -> Callable[[Found], None]:
    tonic = pytest.importorskip("tonic", reason="DVS-Gesture was not read: tonic is not installed")
    for name, users in (("Train", (1, 19, 20, 23)), ("Test", (24,))):
        home = Path("data/DVSGesture")
        for user in users:
            (folder := home / f"ibmGesture{name}" / f"user{user:02}_led").mkdir(parents=True)
            for i in range(100):  # x, y, p and milliseconds; the last is too late
                np.save(
                    folder / f"{i % 11}{i // 11 or ''}.npy", np.array([[127, 0, 1, 7], [3, 9, 0, 80], [0, 0, 1, 9e3]])
                )
        (home / f"ibmGesture{name}.tar.gz").touch()
    header = b"#!AER-DAT3.1\r\n#End Of ASCII Header\r\n" + struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, 2, 2, 2)
    Path("user.aedat").write_bytes(header + struct.pack("<4I", 5 << 17 | 9 << 2 | 3, 40, 1 << 17 | 2 << 2 | 1, 41))

    def check(found: Found) -> None:
        assert [len(found[name]) for name in ("train", "validation", "test")] == [200, 200, 100]
        assert found["test"][0][0].nonzero().tolist() == [[0, 1, 0, 31], [2, 0, 2, 0]]
        assert tonic.io.read_dvs_ibm("user.aedat")[1].tolist() == [(5, 9, 40, True), (1, 2, 41, False)]

    return check


def cifar10(monkeypatch: pytest.MonkeyPatch) -> Callable[[Found], None]:
    tonic = pytest.importorskip("tonic", reason="CIFAR10-DVS was not read: tonic is not installed")
    names = sorted(tonic.datasets.CIFAR10DVS.classes)
    for name, i in ((n, i) for n in names for i in range(100)):
        path = Path("data/CIFAR10DVS", name, f"cifar10_{name}_{i}.aedat4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Path("data/CIFAR10DVS/CIFAR10DVS.zip").touch()
    dtype = np.dtype([("t", np.uint64), ("x", np.uint16), ("y", np.uint16), ("on", bool)])
    events = np.array([(10**15, 127, 0, True), (10**15 + 130_000, 0, 5, False)], dtype)
    # AEDAT 4 is compressed packets of flatbuffers, which nothing here writes
    monkeypatch.setattr(tonic.datasets.cifar10dvs, "read_aedat4", lambda _: events.copy())

    def check(found: Found) -> None:
        assert [len(found[name]) for name in ("train", "validation", "test")] == [800, 100, 100]
        x, _ = found["test"][0]
        assert x.nonzero().tolist() == [[0, 1, 0, 127], [1, 0, 5, 0]]

    return check


def commands(_: pytest.MonkeyPatch) -> Callable[[Found], None]:
    root = Path("speech_commands")
    for path, n in {"yes/a_0": 3, "yes/b_0": 4, "no/a_0": 5, "no/c_0": 6, "_background_noise_/x": 7}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{path}.wav").write_bytes(wav(np.zeros(n, np.int16), rate=16000))
    (root / "validation_list.txt").write_text("yes/b_0.wav\n")
    (root / "testing_list.txt").write_text("no/c_0.wav\n")

    def check(found: Found) -> None:
        assert shapes(found) == [(2, (5,), 0), (1, (4,), 1), (1, (6,), 0)]

    return check


def pixels(_: pytest.MonkeyPatch) -> Callable[[Found], None]:
    pytest.importorskip("torchvision", reason="S-MNIST was not read: torchvision is not installed")
    (raw := Path("data/MNIST/raw")).mkdir(parents=True)
    for name, n in (("train", 20), ("t10k", 3)):
        images = np.arange(n * 784).astype(np.uint8).tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, n, 28, 28) + images)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, n) + bytes(range(n)))

    def check(found: Found) -> None:
        assert [len(found[name]) for name in ("train", "validation", "test")] == [18, 2, 3]
        x, label = found["test"][2]
        assert (x.shape, label, x[3].item()) == ((784, 1), 2, np.float32((2 * 784 + 3) % 256) / np.float32(255))

    return check


def batches(_: pytest.MonkeyPatch) -> Callable[[Found], None]:
    def check(found: Found) -> None:
        assert (found["x"].shape, found["x"].dtype, found["x"].sum()) == ((3, 9, 2), torch.float32, 48)
        assert sorted(found["lengths"].tolist()) == [7, 8, 9]
        assert found["path"].exists()
        assert torch.equal(found["cached"](None, found["path"])[1][0], torch.ones(8, 2, dtype=torch.uint8))

    return check


RECIPES = {
    "Two data sets of the library": ours,
    "Spiking Heidelberg Digits: SHD and SSC": heidelberg,
    "N-MNIST": nmnist,
    "DVS-Gesture": gestures,
    "CIFAR10-DVS": cifar10,
    "Speech Commands": commands,
    "S-MNIST and PS-MNIST": pixels,
    "How do I make batches fast?": batches,
}


def test_every_recipe_is_tested() -> None:
    assert [*BLOCKS] == [*RECIPES]


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check = RECIPES[title](monkeypatch)
    (code,) = re.findall(r"^```python\n(.*?)^```", BLOCKS[title], re.DOTALL | re.MULTILINE)
    found: Found = {"data": [(torch.ones(n, 2), n) for n in (7, 8, 9)], "path": tmp_path / "counts.pt"}
    # a fork would inherit the threads of torch and JAX
    exec(code.replace(", num_workers=2, persistent_workers=True", ""), found)
    check(found)
