"""The folder of kernels as it is used on Windows, by paths alone; the system is a pretence."""

import os
import sys
import time
from pathlib import Path

import pytest

from spikingtorch.functional.fused.build import cache
from spikingtorch.functional.fused.build.cache import open_folder
from spikingtorch.functional.fused.build.private_dir import Folder, FolderError
from spikingtorch.functional.fused.build.windows_dir import WindowsFolder
from tests.functional.fused.build.kernels import KEYS, SOURCE, Compiler, answer, only_kernel, pretend


class FreeLibrary:
    """The system's function, which notes what it frees."""

    def __init__(self, name: str) -> None:
        assert name == "kernel32"

    def FreeLibrary(self, handle: object) -> int:
        freed.append(handle)
        return 1


freed: list[object] = []


@pytest.fixture(autouse=True)
def _windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be on Windows: no open folder and no user's number is to be had."""
    freed.clear()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("ctypes.WinDLL", FreeLibrary, raising=False)
    for name in ("O_DIRECTORY", "O_NOFOLLOW", "geteuid", "fstatvfs"):
        monkeypatch.delattr(os, name)


def test_kernels_are_kept(folder: Path, cc: Compiler) -> None:
    for _ in range(2):
        assert answer() == 42
        only_kernel(folder)
    assert (cc.runs, len(freed)) == (1, 1)
    assert [entry.path.parent for entry in cache.entries()] == [folder]
    assert cache.clear() == 1


def test_a_damaged_kernel_is_made_again(folder: Path, cc: Compiler) -> None:
    answer()
    path = only_kernel(folder)
    path.unlink()  # this process has it open
    path.write_bytes(b"damaged")
    assert answer() == 42
    assert cc.runs == 2


def test_old_kernels_and_what_is_left_over_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_FILES", 4)
    pretend(folder, KEYS[:5])
    left_over = folder / f"{1:032x}.part"
    left_over.touch()
    before = time.time() - 7200
    os.utime(left_over, (before, before))
    answer()
    assert len(list(folder.iterdir())) == 3
    assert not left_over.exists()


def test_a_kernel_that_is_loaded_elsewhere_stays(folder: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows lets nobody remove or replace it; another process may have made it meanwhile."""
    answer()
    path, real = only_kernel(folder), os.replace

    def replace(old: Path, new: Path) -> None:
        if new == path:
            raise PermissionError(13, "Access is denied")
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(WindowsFolder, "read", lambda *_: None)  # as if it had not been there yet
    monkeypatch.setattr(WindowsFolder, "remove", lambda *_: False)
    assert answer() == 42
    assert path.exists()
    with WindowsFolder(folder) as opened:
        opened.write("a", b"")
        path.unlink()
        with pytest.raises(FolderError, match="cannot be written to: Access is denied"):
            opened.rename("a", path.name)


def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    folder.parent.write_text("")
    with pytest.warns(RuntimeWarning, match="cannot be made or opened: .*Set SPIKINGTORCH_CACHE_DIR"):
        assert answer(SOURCE) == 42


def test_other_systems_hold_the_folder_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_folder(folder), WindowsFolder)
    monkeypatch.undo()
    with open_folder(folder) as opened:
        assert isinstance(opened, Folder)
