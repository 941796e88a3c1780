"""The recipes of docs/data.md, as they stand there, on small files of the formats that they read."""

import re
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.data.files import digits, heartbeats, wav

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
BLOCKS = dict(re.findall(r"^##+ ([^\n]*)\n(?:(?!^##).)*?^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


def put(path: str, content: bytes = b"") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def ours() -> None:
    heartbeats(Path("ecg"))
    digits(Path("fsdd/recordings.zip"))


def heidelberg() -> None:
    with h5py.File("shd_train.h5", "w") as file:
        times = file.create_dataset("spikes/times", (12,), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", (12,), h5py.vlen_dtype(np.uint16))
        for i in range(12):
            times[i], units[i] = np.array([0.5, 0.0, 0.01 * i], np.float16), np.array([699, 0, i], np.uint16)
        file["labels"] = file["extra/speaker"] = np.arange(12)


def nmnist() -> None:
    # x, y, then polarity and microseconds in 24 bits, the highest byte first; the last event is too late
    events = [(33, 2, 1, 0), (0, 33, 0, 65_536 + 515), (5, 5, 1, 300_000)]
    content = b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for x, y, p, t in events)
    for folder, i in ((f, i) for f in ("Train", "Test") for i in range(10)):
        put(f"{folder}/{i % 5}/{i:05}.bin", content)


def gestures() -> None:
    tonic = pytest.importorskip("tonic", reason="DVS-Gesture was not read: tonic is not installed")
    for name, user, i in ((n, u, i) for n, us in (("Train", (1, 20)), ("Test", (24,))) for u in us for i in range(100)):
        put(path := f"data/DVSGesture/ibmGesture{name}/user{user:02}_led/{i}.npy")
        np.save(path, np.array([[127, 0, 1, 7], [3, 9, 0, 80], [0, 0, 1, 9000]]))  # x, y, p, ms; the last is too late
        put(f"data/DVSGesture/ibmGesture{name}.tar.gz")
    header = b"#!AER-DAT3.1\r\n#End Of ASCII Header\r\n" + struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, 2, 2, 2)
    put("user.aedat", header + struct.pack("<4I", 5 << 17 | 9 << 2 | 3, 40, 1 << 17 | 2 << 2 | 1, 41))
    assert tonic.io.read_dvs_ibm("user.aedat")[1].tolist() == [(5, 9, 40, True), (1, 2, 41, False)]


def cifar10() -> None:
    tonic = pytest.importorskip("tonic", reason="CIFAR10-DVS was not read: tonic is not installed")
    for name, i in ((n, i) for n in tonic.datasets.CIFAR10DVS.classes for i in range(100)):
        put(f"data/CIFAR10DVS/{name}/cifar10_{name}_{i}.aedat4")
    put("data/CIFAR10DVS/CIFAR10DVS.zip")


def commands() -> None:
    for path, n in {"yes/a_0": 3, "yes/b_0": 4, "no/a_0": 5, "no/c_0": 6, "_background_noise_/x": 7}.items():
        put(f"speech_commands/{path}.wav", wav(np.zeros(n, np.int16), rate=16000))
    put("speech_commands/validation_list.txt", b"yes/b_0.wav\n")
    put("speech_commands/testing_list.txt", b"no/c_0.wav\n")


def pixels() -> None:
    pytest.importorskip("torchvision", reason="S-MNIST was not read: torchvision is not installed")
    for name, n in (("train", 20), ("t10k", 3)):
        images = struct.pack(">4I", 2051, n, 28, 28) + np.eye(n, 784, dtype=np.uint8).tobytes()
        put(f"data/MNIST/raw/{name}-images-idx3-ubyte", images)
        put(f"data/MNIST/raw/{name}-labels-idx1-ubyte", struct.pack(">2I", 2049, n) + bytes(range(n)))


# what makes the files; the number of samples of each data set, and the shape of the first; a sample, its label, and
# where it is not zero
RECIPES: dict[str, tuple[Any, Any, tuple[str, int, int, list[Any]]]] = {
    "Two data sets of the library": (
        ours,
        {"train": (18, (5, 4)), "validation": (2, (5, 4)), "test": (3, (5, 4)), "known": (6, (11,)), "new": (22, (1,))},
        ("new", 1, 0, [[0], [1]]),
    ),
    "Spiking Heidelberg Digits: SHD and SSC": (
        *(heidelberg, {"train": (8, (51, 700)), "validation": (2, (51, 700))}),
        ("train", 7, 9, [[0, 0], [9, 9], [50, 699]]),
    ),
    "N-MNIST": (
        *(nmnist, {"train": (9, (30, 2, 34, 34)), "validation": (1, (30, 2, 34, 34)), "test": (10, (30, 2, 34, 34))}),
        ("test", 3, 1, [[0, 1, 2, 33], [6, 0, 33, 0]]),
    ),
    "DVS-Gesture": (
        *(gestures, dict.fromkeys(("train", "validation", "test"), (100, (60, 2, 32, 32)))),
        ("test", 0, -1, [[0, 1, 0, 31], [2, 0, 2, 0]]),
    ),
    "CIFAR10-DVS": (
        cifar10,
        {name: (count, (10, 2, 128, 128)) for name, count in (("train", 800), ("validation", 100), ("test", 100))},
        ("test", 0, -1, [[0, 1, 0, 127], [1, 0, 5, 0]]),
    ),
    "Speech Commands": (
        *(commands, {"train": (2, (5,)), "validation": (1, (4,)), "test": (1, (6,))}),
        ("validation", 0, 1, []),
    ),
    "S-MNIST and PS-MNIST": (
        *(pixels, {"train": (18, (784, 1)), "validation": (2, (784, 1)), "test": (3, (784, 1))}),
        ("test", 2, 2, [[2, 0]]),
    ),
}


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPIKINGTORCH_DATA", str(tmp_path))
    make, sizes, (name, i, label, places) = RECIPES[title]
    make()
    found: dict[str, Any] = {}
    exec(BLOCKS[title], found)
    if make is cifar10:  # AEDAT 4 has compressed packets of flatbuffers, which nothing here writes
        fields = [("t", np.uint64), ("x", np.uint16), ("y", np.uint16), ("on", bool)]
        events = np.array([(10**15, 127, 0, True), (10**15 + 130_000, 0, 5, False)], fields)
        monkeypatch.setattr(found["tonic"].datasets.cifar10dvs, "read_aedat4", lambda _: events.copy())
    assert {each: (len(found[each]), tuple(found[each][0][0].shape)) for each in sizes} == sizes
    x, y = found[name][i]
    assert (x.dtype, x.nonzero().tolist(), label in (y, -1)) == (torch.float32, places, True)


def test_batches_and_caches_and_that_each_block_is_tested(tmp_path: Path) -> None:
    title = "How do I make batches fast?"
    assert [*BLOCKS] == [*RECIPES, title]
    found: dict[str, Any] = {"data": [(torch.ones(n, 2), n) for n in (7, 8, 9)], "path": tmp_path / "counts.pt"}
    # a fork would inherit the threads of torch and JAX
    exec(BLOCKS[title].replace(", num_workers=2, persistent_workers=True", ""), found)
    assert (found["x"].shape, found["x"].dtype, found["x"].sum()) == ((3, 9, 2), torch.float32, 48)
    assert sorted(found["lengths"].tolist()) == sorted(found["labels"].tolist()) == [7, 8, 9]
    assert torch.equal(found["cached"](None, found["path"])[1][0], torch.ones(8, 2, dtype=torch.uint8))
