"""The cache of compiled kernels: what is found, what is made again, what is removed, and who may do so at once."""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikingtorch.functional.fused.build import cache, compiler
from tests.kernels import (
    KEYS,
    NAME,
    REAL,
    SOURCE,
    Compiler,
    answer,
    only_kernel,
    output,
    pretend,
    python,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKINGTORCH_CACHE_DIR", str(tmp_path / "some" / "cache"))
    return tmp_path / "some" / "cache"


@pytest.fixture(autouse=True)
def cc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return Compiler(tmp_path, monkeypatch)


def replace(path: Path, data: bytes) -> None:
    """Put other bytes at a path; to write on a file that is loaded would crash this process."""
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o644)


def test_a_kernel_is_compiled_once(folder: Path, cc: Compiler) -> None:
    assert [answer(), answer()] == [42, 42]
    assert cc.runs == 1
    only_kernel(folder)
    assert answer("int answer(void) { return 43; }") == 43
    assert cc.runs == 2
    assert len(cache.entries()) == 2


def test_the_name_is_the_content(folder: Path, cc: Compiler) -> None:
    answer()
    path = only_kernel(folder)
    key, digest = path.stem.split("-")
    assert digest == cache._digest(path.read_bytes())
    assert key == cache._digest(f"{SOURCE}\0{compiler.fingerprint()}".encode())


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda code: code[: len(code) // 2],
    "empty": lambda code: b"",
    "flipped bit": lambda code: code[:-100] + bytes([code[-100] ^ 1]) + code[-99:],
    "longer": lambda code: code + b"\0",
    "zeros": lambda code: bytes(len(code)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(folder: Path, cc: Compiler, damage: str) -> None:
    answer()
    path = only_kernel(folder)
    code = path.read_bytes()
    replace(path, DAMAGE[damage](code))
    assert answer() == 42
    assert cc.runs == 2
    assert only_kernel(folder).read_bytes() == code


def test_a_damaged_file_of_another_digest_goes(folder: Path, cc: Compiler) -> None:
    answer()
    path = only_kernel(folder)
    path.rename(folder / f"{path.name[:33]}{0:032x}.so")
    assert answer() == 42
    assert cc.runs == 2
    assert only_kernel(folder) == path


def spoil_mode(path: Path) -> None:
    path.chmod(0o620)


def spoil_owner(path: Path) -> None:
    os.chown(path, 65534, -1)


def spoil_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere.so")
    path.symlink_to(path.parent.parent / "elsewhere.so")


def spoil_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


owner = pytest.param(spoil_owner, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away"))


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_link, spoil_pipe, owner])
def test_a_file_that_others_could_write_is_made_again(
    folder: Path, cc: Compiler, spoil: Callable[[Path], None]
) -> None:
    answer()
    spoil(only_kernel(folder))
    assert answer() == 42
    assert cc.runs == 2
    assert not only_kernel(folder).is_symlink()
    assert answer() == 42
    assert cc.runs == 2


def test_a_kernel_removed_before_it_is_loaded(cc: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    real, times = ctypes.CDLL, [1, 2]

    def vanish(path: str) -> ctypes.CDLL:
        if times:
            times.pop()
            os.unlink(path)
        return real(path)

    monkeypatch.setattr(ctypes, "CDLL", vanish)
    assert answer() == 42
    assert cc.runs == 3


def test_threads_compile_once(cc: Compiler) -> None:
    barrier, answers = threading.Barrier(8), list[int]()

    def work() -> None:
        barrier.wait()
        answers.append(answer())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [42] * 8
    assert cc.runs == 1


LIBRARY = (
    "import sys; from spikingtorch.functional.fused.build.cache import library; print(library(sys.argv[1]).answer())"
)


def test_two_processes_at_once(folder: Path, cc: Compiler) -> None:
    # each compiler waits, for at most 30 seconds, until the other one runs
    cc.install(f"for i in $(seq 600); do [ $(wc -l < '{cc.log}') -lt 2 ] || break; sleep 0.05; done")
    processes = [python(LIBRARY, SOURCE) for _ in range(2)]
    assert [output(process) for process in processes] == [["42"], ["42"]]
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
assert any(lock.locked() for lock in cache._process.making.values())
child = os.fork()
if child == 0:
    signal.alarm(20)
    assert not cache._process.making and not cache._process.lock.locked()
    os._exit(cache.library("int answer(void) { return 2; }").answer())
_, status = os.waitpid(child, 0)
open(go, "w").close()
slow.join()
print(os.waitstatus_to_exitcode(status), len(cache.entries()))
"""


def test_fork_while_a_thread_compiles(tmp_path: Path, cc: Compiler) -> None:
    go = tmp_path / "go"
    cc.install(f"for i in $(seq 600); do [ ! -e '{go}' ] || break; sleep 0.05; done")
    assert output(python(FORK, cc.log, go, REAL)) == ["2 2"]


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
    assert entry.path == path
    assert entry.size == path.stat().st_size
    assert abs(entry.used - time.time()) < 100
