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
        pytest.skip("the system has no compiler: that of the package ziglang has no OpenMP, and is run again without it")
    return Compiler(tmp_path, monkeypatch)
