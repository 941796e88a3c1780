"""The folder of kernels as it is used on Windows, by paths alone; the system is a pretence."""

import os
from pathlib import Path

import pytest

from spikingtorch.functional.fused.build.cache import open_folder
from spikingtorch.functional.fused.build.private_dir import Folder, FolderError
from spikingtorch.functional.fused.build.windows_dir import WindowsFolder
from tests.functional.fused.build.kernels import Compiler, FreeLibrary, answer, only_kernel
from tests.noted import calls_of

pytestmark = pytest.mark.usefixtures("windows")


def test_a_library_that_is_only_looked_at_is_freed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = calls_of(monkeypatch, FreeLibrary, "FreeLibrary")
    for _ in range(2):
        assert answer() == 42
        only_kernel(folder)
    assert len(freed) == 1


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


def test_other_systems_hold_the_folder_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_folder(folder), WindowsFolder)
    monkeypatch.undo()
    with open_folder(folder) as opened:
        assert isinstance(opened, Folder)
