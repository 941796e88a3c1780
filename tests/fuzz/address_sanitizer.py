"""Run the scans of ``widths`` under AddressSanitizer, which sees every read and write beside an array.

    python -m tests.fuzz.address_sanitizer                all cases, two minutes on two cores
    python -m tests.fuzz.address_sanitizer vmap dense     those with one of these words in their names

The kernels of a Python of its own are instrumented by GCC and begin in an empty folder. First a kernel that writes one
byte too far shows that the sanitizer is awake. ``CC`` names another GCC. The script exits with 1 if a case is reported
or fails, and with 2 if there is no sanitizer.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECK, CASES = "--check-the-sanitizer", "--run-cases"
TOO_FAR = "void write_at(char *array, long position) { array[position] = 1; }"


def main(words: list[str]) -> int:
    """Run the cases with one of these words in their names, and return the exit code."""
    compiler = shlex.split(os.environ.get("CC") or "gcc")
    runtime = _runtime(compiler)
    if not os.path.isabs(runtime):
        print(f"No sanitizer: {shlex.join(compiler)} has no libasan.so. Install GCC's, or name a GCC in CC.")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        _run(compiler, runtime, Path(folder), CHECK)
        if "heap-buffer-overflow" not in _report(Path(folder)):
            print("The sanitizer lets a kernel pass that writes one byte too far, so nothing that it says would count.")
            return 2
    with tempfile.TemporaryDirectory() as folder:
        code = _run(compiler, runtime, Path(folder), CASES, *words)
        cases, report = Path(folder) / "cases", _report(Path(folder))
        ran = cases.read_text().splitlines() if cases.is_file() else []
    if not ran:
        print(f"No case ran: there is none with one of {words} in its name, or Python does not start in this way.")
        return 2
    if code or report:
        print(f"{report}\nThe case {ran[-1]!r} reads or writes beside an array, or fails.")
        return 1
    print(f"{len(ran)} cases, forward and backward: nothing is read or written beside an array.")
    return 0


def _runtime(compiler: list[str]) -> str:
    """Return the path of the sanitizer's library, or no path."""
    if shutil.which(compiler[0]) is None:
        return ""
    command = [*compiler, "-print-file-name=libasan.so"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def _run(compiler: list[str], runtime: str, folder: Path, mode: str, *words: str) -> int:
    """Run this module in a Python with the sanitizer, and return its exit code."""
    instrumented = [*compiler, "-fsanitize=address", "-fno-omit-frame-pointer"]
    environment = os.environ | {
        "LD_PRELOAD": runtime,
        "CC": shlex.join(["env", "-u", "LD_PRELOAD", *instrumented]),  # the compiler itself is left alone
        "SPIKINGTORCH_CACHE_DIR": str(folder / "kernels"),
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={folder / 'report'}",
        "PYTHONMALLOC": "malloc",  # so that floats and records of arrays lie in memory of their own as well
    }
    command = [sys.executable, "-m", "tests.fuzz.address_sanitizer", mode, str(folder), *words]
    return subprocess.run(command, check=False, cwd=Path(__file__).parents[2], env=environment).returncode


def _report(folder: Path) -> str:
    """Return what the sanitizer has reported: what is wrong, and beside which memory."""
    lines = [line for path in folder.glob("report.*") for line in path.read_text().splitlines()]
    return "\n".join([*lines[1:4], *(line for line in lines if " is located " in line)])


def check_the_sanitizer() -> None:
    """Write one byte behind a tensor, from compiled code."""
    import torch

    from spikingtorch.functional.fused.build.cache import library

    array = torch.zeros(100, dtype=torch.uint8)
    library(TOO_FAR).write_at(ctypes.c_void_p(array.data_ptr()), ctypes.c_long(array.numel()))


def run_cases(folder: Path, words: list[str]) -> None:
    """Run cases on tensors in memory of exactly their size; note in a file which ones."""
    import torch
    from torch import Tensor
    from tqdm import tqdm

    from tests.guards import fill
    from tests.widths import CASES

    def exact(tensor: Tensor) -> Tensor:
        placed = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
        fill(placed, tensor)
        return placed

    chosen = [name for name in CASES if not words or any(word in name for word in words)]
    for name in tqdm(chosen, unit="case", disable=None):
        with (folder / "cases").open("a") as cases:
            print(name, file=cases)
        CASES[name](exact)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [mode, _] if mode == CHECK:
            check_the_sanitizer()
        case [mode, place, *chosen] if mode == CASES:
            run_cases(Path(place), chosen)
        case chosen:
            sys.exit(main(chosen))
