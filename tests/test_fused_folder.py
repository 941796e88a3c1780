"""Where compiled kernels are kept, and where they go if that place is not safe or not there."""

import errno
import os
import pwd
import sys
from pathlib import Path

import pytest

from spikingtorch.functional.fused.build import cache, compiler
from spikingtorch.functional.fused.build.private_dir import Folder
from tests.kernels import (
    REAL,
    SOURCE,
    Compiler,
    answer,
    creates,
    first_fails,
    only_kernel,
    output,
    python,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", str(tmp_path / "some" / "cache"))
    return tmp_path / "some" / "cache"


@pytest.fixture(autouse=True)
def cc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return Compiler(tmp_path, monkeypatch)


def test_nobody_else_can_write_to_what_is_made(folder: Path) -> None:
    umask = os.umask(0)
    try:
        answer()
    finally:
        os.umask(umask)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_kernel(folder).stat().st_mode & 0o777 == 0o600


def unusable(folder: Path, cc: Compiler, match: str) -> None:
    """Check that a folder is not used, that one warning says why, and that kernels are kept elsewhere."""
    with pytest.warns(RuntimeWarning, match=f"{match}.*Set SPIKINGTORCH_CACHE_DIR to a folder") as caught:
        assert [answer(), answer()] == [42, 42]
    assert len(caught) == 1
    assert cc.runs == 1
    assert not folder.is_dir() or not list(folder.iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o720, 0o702])
def test_folder_that_others_may_write_to(folder: Path, cc: Compiler, mode: int) -> None:
    folder.mkdir(parents=True)
    folder.chmod(mode)
    unusable(folder, cc, rf"others may write to it \(its mode is {mode:o}; chmod go-w")


def test_folder_of_somebody_else(folder: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, 65534, -1)
        unusable(folder, cc, "it belongs to user 65534, and this process runs as user 0")
    else:
        monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", "/")
        unusable(folder, cc, "it belongs to user 0, and this process runs as user")


def test_folder_that_cannot_be_made(folder: Path, cc: Compiler) -> None:
    folder.parent.write_text("a file where a folder should be")
    unusable(folder, cc, "cannot be made or opened: Not a directory")


def test_folder_that_is_read_only(folder: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    first_fails(monkeypatch, "open", errno.EROFS, creates)
    with pytest.warns(RuntimeWarning, match="cannot be written to: Read-only file system"):
        assert answer() == 42
    # found out before the compiler ran in vain
    assert cc.runs == 1
    assert not list(folder.iterdir())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux lists what is open")
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


def test_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_fails(monkeypatch, "replace", errno.ENOSPC, lambda *args: True)
    with pytest.warns(RuntimeWarning, match="cannot be written to: No space left on device"):
        assert answer() == 42
    assert not list(folder.iterdir())


def test_a_kernel_in_a_read_only_folder_is_used(cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    answer()
    first_fails(monkeypatch, "open", errno.EROFS, creates)
    first_fails(monkeypatch, "utime", errno.EROFS, lambda *args: True)
    assert answer() == 42
    assert cc.runs == 1


@pytest.mark.skipif(not hasattr(os, "ST_NOEXEC"), reason="only Linux tells")
def test_folder_mounted_noexec(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, flags = os.fstatvfs, [getattr(os, "ST_NOEXEC", 0)]

    class Info:
        def __init__(self, fd: int) -> None:
            self.f_flag = flags.pop() if flags else real(fd).f_flag

    monkeypatch.setattr(os, "fstatvfs", Info)
    with pytest.warns(RuntimeWarning, match="no program may run from its file system"):
        assert answer() == 42
    assert not list(folder.iterdir())


def test_no_place_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.write_text("")
    monkeypatch.setattr(cache._process, "temporary", None)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: folder / "neither")
    with (
        pytest.warns(RuntimeWarning, match="cannot be made or opened"),
        pytest.raises(compiler.CompileError, match="neither cannot be made or opened"),
    ):
        answer()


def test_user_without_a_home(folder: Path, tmp_path: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "SPIKINGTORCH_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    unusable(folder, cc, "this user has no home folder")
    assert cache.entries() == []
    assert cache.clear() == 0


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", "~/kernels")
    assert cache.cache_dir() == tmp_path / "kernels"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", "here")
    assert cache.cache_dir() == tmp_path / "here"
    monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", "")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.cache_dir() == tmp_path / "Library" / "Caches" / "spikingtorch"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "spikingtorch"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.cache_dir() == tmp_path / ".cache" / "spikingtorch"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux has paths through an open folder")
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
import os, sys, tempfile, warnings
from spikingtorch.functional.fused.build import cache
if os.geteuid() == 0:
    # root's own TMPDIR may not be for this user
    tempfile.tempdir = os.environ["TMPDIR"] = "/tmp"
    base = tempfile.mkdtemp()
    os.chown(base, 65534, 65534)
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
else:
    base = tempfile.mkdtemp()
folder = os.environ["SPIKINGTORCH_CACHE_DIR"] = os.path.join(base, "cache")
os.mkdir(folder, 0o500)
os.chdir("/")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print(cache.library(sys.argv[1]).answer())
print([str(warning.message).split(". ")[0] for warning in caught])
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
print(cache._process.temporary, len(os.listdir(cache._process.temporary)), os.listdir(folder))
os.rmdir(folder)
os.rmdir(base)
"""


def test_temporary_folder_goes_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", REAL)
    value, warned, last = output(python(TEMPORARY, SOURCE))
    assert value == "42"
    assert "cannot be written to: Permission denied" in warned
    temporary, *counts = last.split()
    # a child of os.fork that ended has not taken it along
    assert counts == ["1", "[]"]
    assert not os.path.exists(temporary)
