"""What runs on this machine: OpenMP of the package ziglang, with its threads, and kernels for Windows under Wine.

Kernels are DLLs: a program takes their arrays from a file and writes them to another.
"""

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
import torch
from torch import Tensor

from spikingtorch.functional.fused.build import cache
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.verification.cases import CASES
from tests.cross.build import WINDOWS, program_of
from tests.cross.machines import Zig, kernels_of
from tests.functional.fused.codegen.test_exactness import of_case
from tests.fused import assert_same_bits

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


def test_its_library_takes_threads() -> None:
    source = """
    #include <stdint.h>
    int omp_get_thread_num(void);
    int64_t members(int64_t threads) {
        int64_t seen = 0;
        #pragma omp parallel for schedule(static) reduction(|:seen) num_threads((int)threads) if (threads > 1)
        for (int64_t i = 0; i < threads; i++) seen |= (int64_t)1 << omp_get_thread_num();
        return seen;
    }
    int64_t taken(int64_t threads, int64_t n, int64_t *times) {
        int64_t all = 1;
        #pragma omp parallel for schedule(dynamic, 4) reduction(&:all) num_threads((int)threads) if (threads > 1)
        for (int64_t i = 0; i < n; i++) all &= ++times[i] == 1;
        return all;
    }
    """
    library = Zig().library(source)
    assert [library.members(number) for number in (1, 2, 3, 7)] == [0b1, 0b11, 0b111, 0b1111111]
    for number in (1, 2, 5):
        for n in (0, 1, 3, 17, 1000):
            times = torch.zeros(n, dtype=torch.int64)
            assert library.taken(number, n, ctypes.c_void_p(times.data_ptr())) == 1
            assert times.eq(1).all()


# wine takes seconds for each pass
NEURONS = {"lif": torch.float32, "alif": torch.float64}


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    folder: Path = tmp_path_factory.mktemp("windows")
    return Windows(folder)


@pytest.mark.skipif(WINE is None, reason="no wine: apt install wine64")
@pytest.mark.parametrize(("name", "dtype"), NEURONS.items(), ids=str)
def test_a_neuron(name: str, dtype: torch.dtype, windows: Windows) -> None:
    (case,) = (case for case in CASES if case.name == name)
    scan, before = of_case(case, 33, dtype), windows.calls
    with kernels_of(windows.library), kernels_under(windows):
        got = scan.found("fused")
    assert windows.calls == before + 2, "a pass did not run under wine"
    with kernels_of(cache.library):
        assert_same_bits(got, scan.found("fused"))
