"""An empty folder of kernels and a compiler that counts its runs, for every test here."""

import shlex
from pathlib import Path

import pytest

from tests.functional.fused.build.kernels import REAL, Compiler


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", str(tmp_path / "some" / "cache"))
    return tmp_path / "some" / "cache"


@pytest.fixture(autouse=True)
def cc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    if Path(shlex.split(REAL)[0]).stem == "zig":
        pytest.skip("the only compiler is that of ziglang, which is run several times for a kernel as it has no OpenMP")
    return Compiler(tmp_path, monkeypatch)
