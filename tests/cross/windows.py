"""Runs kernels as DLLs of Windows under wine: a program takes their arrays from a file and writes them to another."""

import ctypes
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from spikingtorch.functional.fused.runtime import cpu
from tests.cross.build import WINDOWS, program_of

WINE = shutil.which("wine64") or shutil.which("wine") or shutil.which("wine64", path="/usr/lib/wine")
CPU = "x86_64_v3"


class Windows:
    """A folder of DLLs, and of the wine that runs them.

    Attributes:
        calls: how many kernels have run.
    """

    def __init__(self, folder: Path) -> None:
        self.calls = 0
        self._folder, self._made = folder, dict[str, Path]()
        self._lock = threading.Lock()
        self._harness = folder / "harness.exe"
        program_of(Path(__file__).with_name("harness.c").read_text(), self._harness, CPU, WINDOWS)

    def library(self, source: str) -> Any:
        """Return what stands for a library, whose function is run by ``run``."""
        with self._lock:  # a backward pass is compiled beside a forward pass
            if source not in self._made:
                path = self._folder / f"{len(self._made)}.dll"
                program_of(source, path, CPU, WINDOWS, "-shared")
                self._made[source] = path
            return _Library(self._made[source])

    def run(self, launch: cpu.CLaunch, arrays: Sequence[Tensor], scalars: Sequence[float]) -> bool:
        """Run a kernel on arrays, as a launch does."""
        before, after = self._folder / "before", self._folder / "after"
        fields = [3, *launch.fields[1:]]  # three members of a team, which one thread runs
        spans = [(array.data_ptr(), _span(array)) for array in arrays]
        with before.open("wb") as file:
            for numbers, form in ((fields, "q"), (launch.pointers, "q")):
                file.write(struct.pack(f"<q{len(numbers)}{form}", len(numbers), *numbers))
            file.write(struct.pack(f"<q{len(scalars) + 1}d", len(scalars) + 1, *scalars, 0.0))
            for start, size in spans:
                file.write(struct.pack("<q", size) + ctypes.string_at(start, size))
        command = [str(WINE), *(str(path) for path in (self._harness, launch.run.path, before, after))]
        environment = {
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "winedbg.exe=d",
            "WINEPREFIX": str(self._folder / "prefix"),
        }
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]
        found = after.read_bytes()
        (returned,), place = struct.unpack_from("<q", found), 8
        for start, size in spans:
            ctypes.memmove(start, found[place : place + size], size)
            place += size
        assert place == len(found)
        self.calls += 1
        return not returned


class _Function:
    """Where a kernel is; it takes the place of a function of ``ctypes``."""

    def __init__(self, path: Path) -> None:
        self.path = path


class _Library:
    def __init__(self, path: Path) -> None:
        self.run = _Function(path)


@contextmanager
def kernels_under(windows: Windows) -> Iterator[None]:
    """Launch kernels under wine."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu.CLaunch, "__call__", lambda self, arrays, scalars: windows.run(self, arrays, scalars))
        yield


def _span(array: Tensor) -> int:
    """Return how many bytes lie between the first number of an array and behind the last one."""
    if array.numel() == 0:
        return 0
    steps = [(size - 1) * stride for size, stride in zip(array.shape, array.stride(), strict=True)]
    return (1 + sum(steps)) * array.element_size()
