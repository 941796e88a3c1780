"""The C compiler: find it, identify it, and compile a source text into a library."""

import functools
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.fused.build.openmp import ATTEMPTS, loads, warn_of_one_thread, with_runtime

COMPILERS = ("cc", "gcc", "clang")
# the package ziglang, a clang with everything that it needs
EXTRA = 'pip install "spikingtorch[compiler]"'
INSTALL = f"To get one: {EXTRA}, or set CC to a compiler that you have."
# the entries that identify a CPU in the first block of /proc/cpuinfo, on x86 and on ARM
CPU_FIELDS = {"vendor_id", "cpu family", "model", "model name", "stepping", "flags"} | {
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features",
}  # fmt: skip
LONGEST_REPORT = 4000

# for each compiler, the OpenMP option whose library has loaded
_worked: LRUCache[int] = LRUCache(16)


class NoCompiler(RuntimeError):  # noqa: N818
    """No C compiler was found."""


class CompileError(RuntimeError):
    """The C compiler produced no library, or one that does not load."""


def find_compiler() -> str:
    """Return the command of the C compiler, split as by a shell.

    It is ``$CC`` if it is set, arguments included (``ccache gcc``), else the first of cc, gcc and clang on the PATH,
    else the compiler of the package ziglang. The program is given with its folder. On Windows, only ``$CC`` and ziglang
    are tried.

    Raises:
        NoCompiler: CC names no program, or no compiler is found.
    """
    return shlex.join(_command(os.environ.get("CC"), os.environ.get("PATH")))


def compile_c(source: str, target: Path) -> None:
    """Compile a C source text into a shared library for this very CPU, at a path in a folder of its own.

    If a compiler refuses OpenMP, or its OpenMP does not load, it runs again: a clang with torch's threads, another
    compiler without threads. A warning tells once that kernels run without threads.

    Raises:
        NoCompiler: there is no compiler.
        CompileError: the compiler failed; the text holds its command and its output.
    """
    compiler, known = shlex.split(find_compiler()), fingerprint()
    failures: list[str] = []
    for attempt in range(_worked.get(known) or 0, len(ATTEMPTS)):
        openmp = ATTEMPTS[attempt]
        command = [*compiler, *flags(), *openmp, "-x", "c", "-", "-o", str(target), "-lm"]
        target.unlink(missing_ok=True)
        failure = _run(command, with_runtime(source), target.parent)
        if failure is None and not (target.is_file() and target.stat().st_size > 0):
            failure = "It reported success, and wrote no library."
        if failure is None:
            failure = loads(target)
        if failure is None:
            _worked.keep(known, attempt)
            if not openmp and failures:
                warn_of_one_thread(f"{shlex.join(compiler)} has no OpenMP: {failures[0].splitlines()[-1]}")
            return
        failures.append(f"{shlex.join(command)}\n{failure}")
    raise CompileError(f"the C compiler failed: {failures[-1]}")


def flags(machine: str | None = None) -> list[str]:
    """Return the flags of the compiler for a processor, as ``platform.machine()`` names it, without those of OpenMP."""
    machine = (machine or platform.machine()).lower()
    native = ["-mcpu=native"] if machine in ("aarch64", "arm64") else ["-march=native"]
    if machine in ("x86_64", "amd64"):
        native.append("-mprefer-vector-width=512")
    # keep every rounding as written: no fused multiply-add, and no part of -ffast-math that changes a value
    exact = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fwrapv"]
    # The last few neurons of a row are a short loop. Unrolling it takes a third of the compile time. Register
    # allocation by regions takes a sixth. Neither makes a kernel measurably faster.
    short = ["--param=max-completely-peel-times=1", "--param=ira-max-loops-num=0"]
    return ["-O3", *native, *exact, *short, "-shared", "-fPIC"]


def fingerprint() -> str:
    """Return all that a library depends on besides its source: compiler, flags, CPU and system; raise NoCompiler.

    No program is run: a compiler is identified by path, size and time of change. The result is kept for each value of
    CC and PATH.
    """
    return _identity(os.environ.get("CC"), os.environ.get("PATH"))


@functools.lru_cache(maxsize=16)
def _identity(cc: str | None, path: str | None) -> str:
    words = [_stamp(word, path) for word in _command(cc, path)]
    openmp = [*dict.fromkeys(flag for attempt in ATTEMPTS for flag in attempt), with_runtime("")]
    return "\n".join([*words, shlex.join([*flags(), *openmp]), platform.system(), platform.machine(), _cpu()])


def _command(cc: str | None, path: str | None) -> list[str]:
    if cc is None or not cc.strip():
        # on Windows these compilers are often for other systems or C libraries than those of Python
        names = () if sys.platform == "win32" else COMPILERS
        found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
        command = [found] if found else find_zig()
        if command is None:
            seen = "CC is not set" if sys.platform == "win32" else f"none of {', '.join(COMPILERS)} is on the PATH"
            raise NoCompiler(f"there is no C compiler: {seen}. {INSTALL}")
        return command
    try:
        words = _words(cc)
    except ValueError as error:
        raise NoCompiler(f"CC={cc!r} cannot be read as a command: {error}") from None
    program = shutil.which(words[0], path=path)
    if program is None:
        raise NoCompiler(f"there is no C compiler: CC={cc!r}, and {words[0]!r} is not a program here. {INSTALL}")
    return [program, *words[1:]]


def find_zig() -> list[str] | None:
    """Return the command of the package ziglang, which is not imported; None if it is not installed."""
    found = importlib.util.find_spec("ziglang")
    for folder in (found and found.submodule_search_locations) or ():
        program = Path(folder, "zig.exe" if sys.platform == "win32" else "zig")
        if program.is_file():
            return [str(program), "cc"]
    return None


def _words(command: str) -> list[str]:
    """Return the words of a command; the backslashes of Windows are parts of its paths."""
    if sys.platform != "win32":
        return shlex.split(command)
    return [word.strip("\"'") for word in shlex.split(command, posix=False)]


def _stamp(word: str, path: str | None) -> str:
    """Return a word of a command; a program, as in ``ccache gcc``, comes with its size and time of change."""
    program = shutil.which(word, path=path)
    if program is None:
        return word
    info = os.stat(program)
    return f"{os.path.realpath(program)} {info.st_size} {info.st_mtime_ns}"


@functools.cache
def _cpu() -> str:
    fields: list[str] = []
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    break
                if line.partition(":")[0].strip() in CPU_FIELDS:
                    fields.append(line.strip())
    except OSError:
        pass
    # on other systems the name of the host stands for its CPU: platform.processor() runs a program and knows no more
    return "\n".join(fields) or platform.node()


def _run(command: list[str], source: str, folder: Path) -> str | None:
    """Run a command; return None, or the error text."""
    try:
        # in English, whatever the user's language, because people paste this into issues; and zig would keep all its
        # results
        environment = os.environ | {"LC_ALL": "C", "ZIG_LOCAL_CACHE_DIR": str(folder)}
        window = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows shows one otherwise
        given = source.encode()
        done = subprocess.run(
            command, check=False, input=given, capture_output=True, env=environment, creationflags=window
        )
    except OSError as error:
        return f"It cannot be run: {error}"
    if done.returncode == 0:
        return None
    text = done.stderr.decode(errors="replace").strip()
    if len(text) > LONGEST_REPORT:
        text = f"{text[:LONGEST_REPORT]}\n... {len(text) - LONGEST_REPORT} more characters"
    return f"exit code {done.returncode}\n{text}"
