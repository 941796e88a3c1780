"""An empty folder of kernels and a compiler that counts its runs, for every test here; and Windows, by a pretence."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.functional.fused.build.kernels import REAL, Compiler, FreeLibrary


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", str(tmp_path / "some" / "cache"))
    return tmp_path / "some" / "cache"


@pytest.fixture(autouse=True)
def cc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    if Path(shlex.split(REAL)[0]).stem == "zig":
        pytest.skip("the only compiler is that of ziglang, which is run several times for a kernel as it has no OpenMP")
    return Compiler(tmp_path, monkeypatch)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be on Windows: no open folder and no user's number is to be had."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("ctypes.WinDLL", FreeLibrary, raising=False)
    for name in ("O_DIRECTORY", "O_NOFOLLOW", "geteuid", "fstatvfs"):
        monkeypatch.delattr(os, name)


@pytest.fixture(params=["", "Windows"])
def system(request: pytest.FixtureRequest) -> str:
    """Run on this system, and as on Windows."""
    if request.param:
        request.getfixturevalue("windows")
    return str(request.param)
