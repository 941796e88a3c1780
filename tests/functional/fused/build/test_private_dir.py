"""Where compiled kernels are kept, and where they go if that place is not safe or not there; Windows is a pretence."""

import errno
import os
import pwd
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spikingtorch.functional.fused.build import cache, compiler
from spikingtorch.functional.fused.build.cache import open_folder
from spikingtorch.functional.fused.build.private_dir import Folder, FolderError
from spikingtorch.functional.fused.build.windows_dir import WindowsFolder
from tests.functional.fused.build.kernels import REAL, SOURCE, Compiler, FreeLibrary, answer, first_call, only_kernel
from tests.processes import child
from tests.surroundings import calls_of

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists what is open")


def test_nobody_else_can_write_to_what_is_made(folder: Path) -> None:
    umask = os.umask(0)
    try:
        answer()
    finally:
        os.umask(umask)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_kernel(folder).stat().st_mode & 0o777 == 0o600


def of_mode(mode: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    folder.chmod(mode)


def of_somebody_else(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, 65534, -1)
    else:
        patch.setenv("SPIKINGTORCH_CACHE_DIR", "/")


def without_a_home(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "SPIKINGTORCH_CACHE_DIR"):
        patch.delenv(name, raising=False)
    patch.setattr(pwd, "getpwuid", {}.__getitem__)
    patch.chdir(folder.parent.parent)


# what makes a folder unusable, and what the warning says
OWNERS = f"it belongs to user {0 if os.geteuid() else 65534}, and this process runs as user {os.geteuid()}"
UNUSABLE: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], Any], str]] = {
    **{
        f"mode {mode:o}": (partial(of_mode, mode), rf"others may write to it \(its mode is {mode:o}; chmod go-w")
        for mode in (0o777, 0o1777, 0o720, 0o702)
    },
    "owner": (of_somebody_else, OWNERS),
    "file": (lambda folder, _: folder.parent.write_text(""), "cannot be made or opened: Not a directory"),
    "no home": (without_a_home, "this user has no home folder"),
}


@pytest.mark.parametrize("why", UNUSABLE)
def test_a_folder_not_used(folder: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch, why: str, system: str) -> None:
    """One warning says why, and kernels are kept elsewhere."""
    if system and why != "file":
        pytest.skip("Windows has its own ways to keep a folder private")
    spoil, message = UNUSABLE[why]
    spoil(folder, monkeypatch)
    with pytest.warns(RuntimeWarning, match=f"{message}.*Set SPIKINGTORCH_CACHE_DIR to a folder") as caught:
        assert [answer(), answer()] == [42, 42]
    assert len(caught) == 1
    assert cc.runs == 1
    assert not folder.is_dir() or not list(folder.iterdir())
    assert (cache.entries(), cache.clear()) == ([], 0)


READ_ONLY = OSError(errno.EROFS, "Read-only file system")
# a function of os, what its first call brings, what the warning says, and how often the compiler runs
FAULTS: dict[str, tuple[str, Any, str, int]] = {
    # found out before the compiler runs in vain
    "read-only": ("open", READ_ONLY, "cannot be written to: Read-only file system", 1),
    "full": ("replace", OSError(errno.ENOSPC, "No space left"), "cannot be written to: No space left", 2),
    "faulty": ("fstatvfs", OSError(errno.EIO, "Input/output error"), "cannot be examined: Input/output error", 1),
}
if hasattr(os, "ST_NOEXEC"):  # only Linux tells
    FAULTS["noexec"] = "fstatvfs", SimpleNamespace(f_flag=os.ST_NOEXEC), "no program may run from its file system", 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_fails(folder: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    function, outcome, message, runs = FAULTS[fault]
    first_call(monkeypatch, function, outcome)
    with pytest.warns(RuntimeWarning, match=message):
        assert answer() == 42
    assert cc.runs == runs
    assert not list(folder.iterdir())


@linux
def test_no_file_stays_open(folder: Path) -> None:
    answer()
    before = os.listdir("/proc/self/fd")
    answer()
    only_kernel(folder).chmod(0o666)
    answer()
    folder.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others may write to it"):
        answer()
    assert os.listdir("/proc/self/fd") == before


def test_a_kernel_in_a_read_only_folder_is_used(cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    answer()
    for function in ("open", "utime"):
        first_call(monkeypatch, function, READ_ONLY)
    assert answer() == 42
    assert cc.runs == 1


def test_no_place_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.write_text("")
    monkeypatch.setattr(cache._process, "temporary", None)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: folder / "neither")
    with (
        pytest.warns(RuntimeWarning, match="cannot be made or opened"),
        pytest.raises(compiler.CompileError, match="neither cannot be made or opened"),
    ):
        answer()


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for chosen, xdg, platform, place in (
        ("~/kernels", "/elsewhere", "linux", "kernels"),
        ("here", "/elsewhere", "linux", "here"),
        ("", "/elsewhere", "darwin", "Library/Caches/spikingtorch"),
        ("", str(tmp_path / "xdg"), "linux", "xdg/spikingtorch"),
        ("", "", "linux", ".cache/spikingtorch"),
        ("", "relative", "linux", ".cache/spikingtorch"),
        ("", "/elsewhere", "win32", "AppData/Local/spikingtorch"),
    ):
        monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", chosen)
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        monkeypatch.setattr(sys, "platform", platform)
        assert cache.cache_dir() == tmp_path / place


@linux
@pytest.mark.parametrize("gone", [False, True])
def test_folder_swapped_before_the_kernel_is_loaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    evil = tmp_path / "evil.so"
    compiler.compile_c("int answer(void) { return 666; }", evil)
    real = Folder.way_to

    def swap(self: Folder, name: str) -> str:
        if evil.exists():
            if gone:
                (folder / name).unlink()
            folder.rename(tmp_path / "away")
            folder.mkdir()
            evil.rename(folder / name)
        return real(self, name)

    monkeypatch.setattr(Folder, "way_to", swap)
    assert answer() == 42
    assert not evil.exists()


TEMPORARY = """
import os, sys, warnings
from spikingtorch.functional.fused.build import cache
with warnings.catch_warnings(record=True, action="always") as caught:
    print(cache.library(sys.argv[1]).answer())
print(*(warning.message for warning in caught), flush=True)  # before the fork, whose child would write it as well
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
print(cache._process.temporary, len(os.listdir(cache._process.temporary)))
"""


def test_temporary_folder_goes_with_its_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder cannot be used for a reason that is one for every user, root included."""
    of_mode(0o777, folder, monkeypatch)
    monkeypatch.setenv("CC", REAL)
    value, warned, last = child(TEMPORARY, SOURCE).splitlines()
    assert value == "42"
    assert f"{folder} is not used: others may write to it" in warned
    # a child of os.fork that ended has not taken it along
    temporary, files = last.rsplit(" ", 1)
    assert files == "1"
    assert not os.path.exists(temporary)
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("windows")
def test_a_library_that_is_only_looked_at_is_freed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = calls_of(monkeypatch, FreeLibrary, "FreeLibrary")
    for _ in range(2):
        assert answer() == 42
        only_kernel(folder)
    assert len(freed) == 1


@pytest.mark.usefixtures("windows")
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


@pytest.mark.usefixtures("windows")
def test_other_systems_hold_the_folder_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_folder(folder), WindowsFolder)
    monkeypatch.undo()
    with open_folder(folder) as opened:
        assert isinstance(opened, Folder)
