"""Files that somebody else has written, damaged, hostile, too large; and ``python -m spikingtorch nir FILE``."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch

from examples import exchange
from spikingtorch import cli
from spikingtorch.cli.nir import main
from spikingtorch.interop.nir import NIRError, from_nir, read, to_nir
from spikingtorch.interop.nir.picture import picture
from spikingtorch.interop.nir.plan import plan_of
from spikingtorch.interop.nir.platforms import exceeded, sizes_of
from tests.interop.nir.graphs import affine, chain, cyclic, lif
from tests.interop.nir.networks import made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "network.nir"
    nir.write(found, chain(lif(), lif()))
    return found


def test_a_file_is_read(path: Path) -> None:
    assert list(read(path).nodes) == ["input", "output", "n0", "n1"] or len(read(str(path)).nodes) == 4
    assert from_nir(path, 1e-4).Nout == (3,)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path / "nothing.nir")


def test_any_damage_is_an_error_of_ours_or_a_graph(path: Path) -> None:
    """Bytes are changed and cut off at random places."""
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 20):
            damaged[place] = rng.integers(256)
        if rng.random() < 0.3:
            damaged = damaged[: rng.integers(len(whole))]
        path.write_bytes(bytes(damaged))
        try:
            from_nir(path, 1e-4)
        except NIRError:
            failed += 1
    assert failed > 20


def test_no_graph_in_it(path: Path) -> None:
    path.write_text("graph")
    with pytest.raises(NIRError, match="cannot be read as a NIR file"):
        read(path)
    with h5py.File(path, "w") as file:
        file["numbers"] = np.ones(3)
    with pytest.raises(NIRError, match="no graph of NIR is in it"):
        read(path)
    nir.write(path, lif())
    with pytest.raises(NIRError, match="holds no graph, but b'LIF'"):
        read(path)


def _endless(file: Any) -> None:
    file["node/nodes/n0/tau"].attrs["x"] = 1
    del file["node/nodes/n0/tau"]
    file["node/nodes/n0"].create_dataset("tau", shape=(10**7, 10**7), dtype="f8", chunks=(1, 10**6), compression="gzip")


def _linked(file: Any) -> None:
    file["node/nodes/n9"] = h5py.ExternalLink("/etc/hostname", "/")


def _in_circles(file: Any) -> None:
    file["node/nodes/n9"] = h5py.SoftLink("/node")


def _elsewhere(file: Any) -> None:
    del file["node/nodes/n0/tau"]
    external = [("/etc/hostname", 0, 24)]
    file["node/nodes/n0"].create_dataset("tau", shape=(3,), dtype="f8", external=external)


def _objects(file: Any) -> None:
    del file["node/nodes/n0/tau"]
    file["node/nodes/n0"].create_dataset("tau", (3,), dtype=h5py.ref_dtype)


def _nested(file: Any) -> None:
    file["node/nodes/n0/loop"] = file["node"]


def _unknown(file: Any) -> None:
    del file["node/nodes/n0/type"]
    file["node/nodes/n0/type"] = "System"


def _virtual(file: Any) -> None:
    del file["node/nodes/n0/tau"]
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "numbers", shape=(3,))
    file["node/nodes/n0"].create_virtual_dataset("tau", layout)


def _whole_link(file: Any) -> None:
    file.move("node", "other")
    file["node"] = h5py.SoftLink("/other")


def _large_type(file: Any) -> None:
    del file["node/type"]
    file["node"].create_dataset("type", shape=(10**10,), dtype="u1", chunks=(10**6,), compression="gzip")


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "terabytes": (_endless, "its arrays take more than"),
    "another file": (_linked, "is a link to somewhere else"),
    "circles": (_in_circles, "is a link to somewhere else"),
    "numbers elsewhere": (_elsewhere, "keeps its numbers in another file"),
    "a part of another file": (_virtual, "keeps its numbers in another file"),
    "all of it elsewhere": (_whole_link, "/node is a link to somewhere else"),
    "a large name": (_large_type, "its arrays take more than"),
    "objects": (_objects, "holds values of type object"),
    "nested in itself": (_nested, "groups lie more than"),
    "unknown type": (_unknown, "cannot be read as a NIR file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_before_they_are_loaded(name: str, path: Path) -> None:
    change, message = HOSTILE[name]
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(NIRError, match=message):
        read(path)


def test_a_limit_can_be_raised(path: Path) -> None:
    with pytest.raises(NIRError, match=r"more than 100 bytes; read\(path, limit=...\) allows more"):
        read(path, limit=100)


def test_a_file_is_shown_certified_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, x = made("branches", torch.float32)
    path, drawn = tmp_path / "network.nir", tmp_path / "nodes.png"
    nir.write(path, to_nir(model, x))
    assert main([str(path), "--picture", str(drawn), "--steps", "30"]) == 0
    text = capsys.readouterr().out
    assert "neurons     LIF        4x6x6" in text
    assert "written by spikingtorch: dt=0.0001 s, exponential" in text
    assert "Speck 2f" in text
    assert "spikes equal by NIR's equations, each solved exactly in turn (2 samples of 30 steps" in text
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_a_readers_file_says_so_and_others_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, x = made("lif", torch.float32)
    path = tmp_path / "network.nir"
    nir.write(path, to_nir(model, x, target="snntorch"))
    assert main([str(path), "--steps", "30"]) == 0
    text = capsys.readouterr().out
    assert "written by spikingtorch: dt=0.0001 s, euler, for the reader of snnTorch 1.0.0" in text
    assert "spikes equal in the reader of snnTorch 1.0.0 (2 samples of 30 steps" in text
    assert main([str(path), "--steps", "30", "--target", "norse"]) == 1
    assert "the reader of Norse 1.1.0 does" in capsys.readouterr().out
    nir.write(path, chain(affine(3, 3), lif(v_leak=np.full(3, 0.2))))
    assert main([str(path), "--target", "snntorch"]) == 2
    assert "not computed by the reader of snnTorch 1.0.0: v_leak is not 0" in capsys.readouterr().err


def test_the_picture_of_the_page_is_the_one_that_the_example_draws(tmp_path: Path) -> None:
    model, x = exchange.network(), torch.rand(1, 2, 10)
    picture(plan_of(to_nir(model, x, certify=False))).savefig(tmp_path / "nir.png", dpi=150)
    kept = Path(__file__).parents[3] / "docs" / "images" / "nir.png"
    width_and_height = slice(16, 24)
    assert kept.read_bytes()[width_and_height] == (tmp_path / "nir.png").read_bytes()[width_and_height]


def test_cycles_of_others_take_the_usual_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "network.nir"
    nir.write(path, cyclic()["two layers"])
    assert main([str(path), "--discretisation", "euler"]) == 0
    text = capsys.readouterr().out
    assert "w1, back (a step before)" in text
    assert "of 0.0001 s, euler" in text


def test_silent_layers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "network.nir"
    nir.write(path, chain(lif(v_threshold=np.full(3, 1e9))))
    assert main([str(path), "--steps", "10"]) == 0
    assert "spikes equal by the exact solution of NIR's equations, but n0 never fired" in capsys.readouterr().out


def test_errors_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "network.nir"
    assert main([str(path)]) == 2
    nir.write(path, chain(affine(4, 3), lif(5)))
    assert main([str(path)]) == 2
    assert f"{path}: node 'n1'" in capsys.readouterr().err


def test_limits_of_platforms() -> None:
    small = exceeded(plan_of(chain(affine(3, 3), lif())))
    assert small.pop("Speck 2f") == ["no LIF"]
    assert not any(small.values())
    large = plan_of(chain(affine(2000, 3), lif(2000), affine(2000, 2000), lif(2000), out=2000))
    found = exceeded(large)
    assert found["Xylo Audio 2"] == ["2,000 output neurons, at most 8", "2,000 hidden neurons, at most 1,000"]
    assert found["BrainScaleS-2"] == ["4,000 neurons, at most 512", "4,006,000 synapses, at most 131,072"]
    assert found["Loihi 2"] == []
    assert "4,000,000 weights" not in str(found["Loihi 2"])
    assert sizes_of(plan_of(cyclic()["two layers"])).cyclic


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--samples", "-3"]])
def test_numbers_below_one_are_refused(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path / "network.nir"), *arguments])
    assert left.value.code == 2


def test_bad_options_end_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "network.nir"
    nir.write(path, chain(lif()))
    assert main([str(path), "--dt", "0"]) == 2
    assert main([str(path), "--picture", str(tmp_path / "nodes.foo")]) == 2
    assert "the picture cannot be written" in capsys.readouterr().err
    graph = chain(lif())
    graph.metadata = {"spikingtorch": "{"}
    nir.write(path, graph)
    assert main([str(path)]) == 2
    assert main([str(path), "--no-metadata"]) == 0


OURS = ("spikingtorch.interop.nir", "spikingtorch.cli.nir")


def said(nir: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what an import and the command say where ``nir`` is that module, or None."""
    for name in [each for each in sys.modules if each.startswith(OURS)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nir", nir)
    with pytest.raises(ImportError) as caught:
        importlib.import_module("spikingtorch.interop.nir")
    assert cli.main(["nir", "a.nir"]) == 2
    assert capsys.readouterr().err == f"{caught.value}\n"
    return str(caught.value)


def test_an_older_nir_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    old: Any = ModuleType("nir")
    # what Sinabs 3.1.3 asks for: a reader of files that takes no other argument
    old.__version__, old.read = "1.0.4", lambda filename: None
    assert said(old, monkeypatch, capsys) == (
        "spikingtorch.interop.nir needs nir 1.0.7 or newer, and 1.0.4 is installed, whose neurons have another "
        "meaning: pip install --no-deps nir==1.0.8. Sinabs 3.1.3 asks for 1.0.4, and works with 1.0.8 as well."
    )


def test_a_missing_nir_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    message = "spikingtorch.interop.nir needs the package nir: pip install 'spikingtorch[nir]'"
    assert said(None, monkeypatch, capsys) == message
