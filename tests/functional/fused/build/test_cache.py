"""The cache of compiled kernels: what is found, made again and removed, and who may do so at once; and its command."""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikingtorch.cli import cache as cache_command
from spikingtorch.functional.fused.build import cache, compiler
from tests.functional.fused.build.kernels import (
    KEYS,
    NAME,
    REAL,
    SOURCE,
    Compiler,
    answer,
    first_call,
    only_kernel,
    pretend,
)
from tests.processes import at_once, child


@pytest.mark.usefixtures("system")
def test_a_kernel_is_compiled_once_and_named_by_its_content(folder: Path, cc: Compiler) -> None:
    assert [answer(), answer()] == [42, 42]
    key = cache._digest(f"{SOURCE}\0{compiler.fingerprint()}".encode())
    assert only_kernel(folder).stem == f"{key}-{cache._digest(only_kernel(folder).read_bytes())}"
    assert answer("int answer(void) { return 43; }") == 43
    assert (cc.runs, len(cache.entries())) == (2, 2)
    assert {entry.path.parent for entry in cache.entries()} == {folder}
    assert (cache.clear(), cache.entries()) == (2, [])


def replaced(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Put other bytes at a path; to write on a file that is loaded would crash this process."""

    def spoil(path: Path) -> None:
        code = path.read_bytes()
        path.unlink()
        path.write_bytes(change(code))
        path.chmod(0o644)

    return spoil


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def given_away(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 65534, -1)


SPOILT: dict[str, Callable[[Path], Any]] = {
    "truncated": replaced(lambda code: code[: len(code) // 2]),
    "empty": replaced(lambda code: b""),
    "flipped bit": replaced(lambda code: code[:-100] + bytes([code[-100] ^ 1]) + code[-99:]),
    "longer": replaced(lambda code: code + b"\0"),
    "zeros": replaced(lambda code: bytes(len(code))),
    "another digest": lambda path: path.rename(path.with_name(f"{path.name[:33]}{0:032x}.so")),
    "mode": lambda path: path.chmod(0o620),
    "link": lambda path: path.symlink_to(path.rename(path.parent.parent / "elsewhere.so")),
    "pipe": pipe,
    "owner": given_away,
}


@pytest.mark.sampled
@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_damaged_or_not_safe_is_made_again(folder: Path, cc: Compiler, spoil: str, system: str) -> None:
    if system and spoil in ("mode", "link", "pipe", "owner"):
        pytest.skip("Windows has its own ways to keep a folder private")
    answer()
    path = only_kernel(folder)
    code = path.read_bytes()
    SPOILT[spoil](path)
    assert [answer(), answer()] == [42, 42]
    assert cc.runs == 2
    assert only_kernel(folder) == path
    assert not path.is_symlink()
    assert path.read_bytes() == code


def test_a_kernel_removed_before_it_is_loaded(cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    real, times = ctypes.CDLL, [1, 2]

    def vanish(path: str | None) -> ctypes.CDLL:
        if times and path is not None and NAME.fullmatch(os.path.basename(path)):
            times.pop()
            os.unlink(path)
        return real(path)

    monkeypatch.setattr(ctypes, "CDLL", vanish)
    assert answer() == 42
    assert cc.runs == 3


def test_threads_compile_once(cc: Compiler) -> None:
    assert at_once(*[answer] * 8) == [42] * 8
    assert cc.runs == 1


TWO_PROCESSES = """
import os, sys
from spikingtorch.functional.fused.build.cache import library
children = [os.fork() or os._exit(library(sys.argv[1]).answer()) for _ in range(2)]
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_two_processes_at_once(folder: Path, cc: Compiler) -> None:
    cc.install_waiting(f"[ $(wc -l < '{cc.log}') -lt 2 ]")
    assert child(TWO_PROCESSES, SOURCE) == "[42, 42]\n"
    assert cc.runs == 2
    assert all(NAME.fullmatch(path.name) for path in folder.iterdir())
    assert answer() == 42
    assert cc.runs == 2


FORK = """
import os, signal, sys, threading, time
from spikingtorch.functional.fused.build import cache
running, go, cc = sys.argv[1:]
slow = threading.Thread(target=cache.library, args=("int answer(void) { return 1; }",))
slow.start()
while not os.path.exists(running):
    time.sleep(0.01)
os.environ["CC"] = cc
(making,) = cache._process.making.values()
assert not making.acquire(blocking=False)
child = os.fork()
if child == 0:
    signal.alarm(20)
    assert making.acquire(blocking=False) and cache._process.lock.acquire(blocking=False)
    making.release()
    cache._process.lock.release()
    os._exit(cache.library("int answer(void) { return 2; }").answer())
_, status = os.waitpid(child, 0)
open(go, "w").close()
slow.join()
print(os.waitstatus_to_exitcode(status), len(cache.entries()))
"""


def test_fork_while_a_thread_compiles(tmp_path: Path, cc: Compiler) -> None:
    go = tmp_path / "go"
    cc.install_waiting(f"[ ! -e '{go}' ]")
    assert child(FORK, cc.log, go, REAL) == "2 2\n"


@pytest.mark.usefixtures("system")
def test_old_kernels_go_when_there_are_too_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_FILES", 8)
    pretend(folder, KEYS[6::-1])
    answer()
    assert len(cache.entries()) == 8
    # the next one is one too many: six stay, the new one and the one that was used last among them
    answer("int answer(void) { return 1; }")
    left = [entry.path.name for entry in cache.entries()]
    assert len(left) == 6
    assert left[:4] == KEYS[3::-1]


@pytest.mark.usefixtures("system")
def test_old_kernels_go_when_they_are_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 1_000_000)
    pretend(folder, KEYS[:12], size=90_000)
    answer()
    left = cache.entries()
    assert [entry.path.name for entry in left[:-1]] == KEYS[4:12]
    assert 650_000 < sum(entry.size for entry in left) <= 750_000


def test_the_kernel_just_written_stays(folder: Path, cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_FILES", 1)
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    pretend(folder, KEYS[:3], used=time.time() + 1000)
    answer()
    only_kernel(folder)
    assert answer() == 42
    assert cc.runs == 1


def test_files_that_vanish_while_others_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_FILES", 4)
    pretend(folder, KEYS[:6])
    real = os.unlink

    def twice(path: Any, **kwargs: Any) -> None:
        real(path, **kwargs)
        real(path, **kwargs)

    monkeypatch.setattr(os, "unlink", twice)
    assert answer() == 42
    assert len(cache.entries()) == 3


@pytest.mark.usefixtures("system")
def test_leftovers_and_files_that_are_not_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_FILES", 1)
    ours, fresh = f"{1:032x}.part", f"{2:032x}.part"
    others = ["notes.txt", "x.part", f"{1:032x}.so", f"{KEYS[1]}.bak", f"a{KEYS[1]}", KEYS[1].upper().replace("1", "F")]
    pretend(folder, [ours, *others, KEYS[0]])
    pretend(folder, [fresh], used=time.time() - 3000)
    (folder / KEYS[2]).mkdir()
    answer()
    left = {path.name for path in folder.iterdir()} - {entry.path.name for entry in cache.entries()}
    assert left == {fresh, *others, KEYS[2]}
    pretend(folder, [ours])
    assert cache.clear() == 1
    assert {path.name for path in folder.iterdir()} == left


def test_use_makes_a_kernel_young(folder: Path) -> None:
    answer()
    path = only_kernel(folder)
    os.utime(path, (1e9, 1e9))
    answer()
    (entry,) = cache.entries()
    assert (entry.path, entry.size) == (path, path.stat().st_size)
    assert abs(entry.used - time.time()) < 100


def test_command_shows(folder: Path, cc: Compiler, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache_command.main([]) == 0
    assert not folder.exists()
    want = f"compiler  {cc.script}\nfolder    {folder}\n"
    want += "kernels   0 of at most 4096\nsize      0.0 MB of at most 256.0 MB\n"
    assert capsys.readouterr().out == want
    pretend(folder, KEYS[:1], used=time.time() - 3 * 86400 - 50)
    pretend(folder, KEYS[1:3], size=1_200_000, used=time.time() - 2 * 3600 - 50)
    assert cache_command.main(["show"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "kernels   3 of at most 4096",
        "size      2.4 MB of at most 256.0 MB",
        "oldest    last used 3 days ago",
        "newest    last used 2 hours ago",
    ]
    assert cc.runs == 0


def test_it_says_how_to_get_a_compiler(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert cache_command.main([]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("compiler  none; there is no C compiler: CC='no-such-compiler'")
    assert 'pip install "spikingtorch[compiler]"' in said


def test_command_clears(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(folder, KEYS[:3], size=1_200_000)
    first_call(monkeypatch, "unlink", PermissionError())
    assert cache_command.main(["clear"]) == 1
    out, err = capsys.readouterr()
    assert out == f"2 kernels removed from {folder}, 2.4 MB freed\n"
    assert err.startswith("1 kernel could not be removed")
    assert cache_command.main(["clear"]) == 0
    assert capsys.readouterr().out == f"1 kernel removed from {folder}, 1.2 MB freed\n"
    assert not list(folder.iterdir())
    with pytest.raises(SystemExit):
        cache_command.main(["burn"])
    assert "usage: python -m spikingtorch cache" in capsys.readouterr().err
