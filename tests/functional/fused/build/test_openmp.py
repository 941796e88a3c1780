"""Torch's threads for libraries whose compiler has no OpenMP of its own."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from spikingtorch.functional.fused.build import openmp


class Library:
    """A library of some functions, as ``ctypes`` has them."""

    def __init__(self, *names: str) -> None:
        self.functions = {name: ctypes.CFUNCTYPE(None)(lambda: None) for name in names}

    def __getattr__(self, name: str) -> Any:
        if name not in self.functions:
            raise AttributeError(name)
        return self.functions[name]

    def address(self, name: str) -> int | None:
        return ctypes.cast(self.functions[name], ctypes.c_void_p).value


class Kernels:
    """A library that takes threads, and notes what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[int | None, ...]] = []
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
        self.take_threads = kind(lambda *addresses: self.given.append(addresses))


def given(libraries: list[Any], monkeypatch: pytest.MonkeyPatch) -> tuple[int | None, ...]:
    monkeypatch.setattr(openmp, "_libraries", lambda: libraries)
    openmp._team.cache_clear()
    openmp.warn_of_one_thread.cache_clear()
    kernels = Kernels()
    try:
        openmp.take_threads(kernels)
    finally:
        openmp._team.cache_clear()
    (found,) = kernels.given
    return found


def test_team_of_gnu(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Library("GOMP_parallel", *openmp._LLVM)
    assert given([Library(), both], monkeypatch) == (both.address("GOMP_parallel"), None, None, None)


def test_team_of_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    llvm = Library(*openmp._LLVM)
    assert given([Library(openmp._LLVM[0]), llvm], monkeypatch) == (None, *map(llvm.address, openmp._LLVM))


def test_no_team_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(RuntimeWarning, match="kernels run on one thread each, because torch has no OpenMP library"):
        assert given([Library()], monkeypatch) == (None, None, None, None)


def test_other_libraries_are_left_alone() -> None:
    openmp.take_threads(Library())


@pytest.mark.parametrize("name", ["libgomp-98b21ff3.so.1", "libgomp.so.1", "libomp.dylib", "libiomp5md.dll"])
def test_libraries_of_torch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    for each in (name, "libtorch_cpu.so", "libc10.dylib", "torch_cpu.dll"):
        (tmp_path / "lib" / each).touch()
    opened: list[str] = []
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(ctypes, "CDLL", lambda path: opened.append(path))
    monkeypatch.setattr(sys, "platform", "win32" if name.endswith(".dll") else "linux")
    openmp._libraries()
    assert [path and Path(path).name for path in opened] == [name, *([] if name.endswith(".dll") else [None])]


def test_threads_of_this_torch_are_found() -> None:
    openmp._team.cache_clear()
    assert openmp._team()[0] is not None or openmp._team()[-1] is not None
