"""What the tests of compiled kernels share: a compiler that counts its runs, and files to look at."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from spikingtorch.functional.fused.build import cache, compiler

SOURCE = "int answer(void) { return 42; }"
REAL = compiler.find_compiler()
NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.so")
# for files that only have to look like kernels
KEYS = [f"{n:032x}-{n:032x}.so" for n in range(20)]


class Compiler:
    """The system's compiler behind a script that logs its runs; ``before`` is what the script does first."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = tmp_path / "runs.log"
        self.script = tmp_path / "cc"
        monkeypatch.setenv("CC", str(self.script))
        self.install()

    def install(self, before: str = "") -> None:
        log = f"echo run >> {shlex.quote(str(self.log))}"
        self.script.write_text("\n".join(["#!/bin/sh", log, before, f'exec {REAL} "$@"', ""]))
        self.script.chmod(0o755)

    def install_waiting(self, condition: str) -> None:
        """Wait, for at most 30 seconds, while a condition of the shell holds."""
        self.install(f"for i in $(seq 600); do {condition} || break; sleep 0.05; done")

    @property
    def runs(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


class FreeLibrary:
    """The system's function, which does nothing."""

    def __init__(self, name: str) -> None:
        assert name == "kernel32"

    def FreeLibrary(self, handle: object) -> int:
        return 1


def answer(source: str = SOURCE) -> int:
    return int(cache.library(source).answer())


def only_kernel(folder: Path) -> Path:
    (path,) = folder.iterdir()
    assert NAME.fullmatch(path.name)
    return path


def pretend(folder: Path, names: list[str], size: int = 1, used: float = 1e9) -> None:
    """Make files that are used one second after the other."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for n, name in enumerate(names):
        (folder / name).write_bytes(bytes(size))
        os.utime(folder / name, (used + n, used + n))


def first_call(patch: pytest.MonkeyPatch, name: str, outcome: Any) -> None:
    """Let the first call of os.name, of os.open the first one that makes a file, raise or return something else."""
    real, left = getattr(os, name), [outcome]

    def fake(*args: Any, **kwargs: Any) -> Any:
        if not left or (name == "open" and not args[1] & os.O_CREAT):
            return real(*args, **kwargs)
        found = left.pop()
        if isinstance(found, OSError):
            raise found
        return found

    patch.setattr(os, name, fake)
