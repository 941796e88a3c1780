"""The C compiler: where it is, what identifies it, and a library from a source text."""

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
# the package ziglang, a clang with all that it needs
EXTRA = 'pip install "spikingtorch[compiler]"'
INSTALL = f"To get one: {EXTRA}, or set CC to a compiler that you have."
# what tells one CPU from another in the first block of /proc/cpuinfo, on x86 and on ARM
CPU_FIELDS = {"vendor_id", "cpu family", "model", "model name", "stepping", "flags"} | {
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features",
}  # fmt: skip
LONGEST_REPORT = 4000

# for a compiler, the attempt at OpenMP that has made a library that loads
_worked: LRUCache[int] = LRUCache(16)


class NoCompiler(RuntimeError):  # noqa: N818
    """There is no C compiler to be found."""


class CompileError(RuntimeError):
    """The C compiler did not make a library, or made one that does not load."""


def find_compiler() -> str:
    """Return the command of the C compiler, as a shell would read it.

    That is ``$CC`` if it is set, arguments included (``ccache gcc``), else the first of cc, gcc and clang on the PATH,
    else that of the package ziglang; the program comes with its folder. Windows knows the first and the last.

    Raises:
        NoCompiler: CC names no program, or there is none to be found.
    """
    return shlex.join(_command(os.environ.get("CC"), os.environ.get("PATH")))


def compile_c(source: str, target: Path) -> None:
    """Compile a C source text into a shared library for this very CPU.

    A compiler that refuses OpenMP, or whose OpenMP does not load, is run again on torch's threads if it is a clang, and
    else without threads, which a warning says once.

    Args:
        source: the text of one C file.
        target: where the library goes, in a folder of its own; a file that is there is replaced.

    Raises:
        NoCompiler: there is no compiler.
        CompileError: the compiler failed; the text holds its command and what it said.
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
    """Return the flags of the compiler, OpenMP's aside.

    Args:
        machine: the kind of processor, as ``platform.machine()`` names it; by default this one.
    """
    machine = (machine or platform.machine()).lower()
    native = ["-mcpu=native"] if machine in ("aarch64", "arm64") else ["-march=native"]
    if machine in ("x86_64", "amd64"):
        native.append("-mprefer-vector-width=512")
    # every rounding as written: no fused multiply-add, and nothing of -ffast-math that would change a value
    exact = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fwrapv"]
    # the last few neurons of a row are a short loop: written out in full, it takes a third of the compiler's time;
    # registers that are allotted loop by loop take a sixth of it, and no kernel is measurably faster for them
    short = ["--param=max-completely-peel-times=1", "--param=ira-max-loops-num=0"]
    return ["-O3", *native, *exact, *short, "-shared", "-fPIC"]


def fingerprint() -> str:
    """Return what a library depends on besides its source: compiler, flags, CPU and system.

    Nothing is run for it: a compiler is known by path, size and time of change. It is worked out once for each value of
    CC and PATH.

    Raises:
        NoCompiler: there is no compiler.
    """
    return _identity(os.environ.get("CC"), os.environ.get("PATH"))


@functools.lru_cache(maxsize=16)
def _identity(cc: str | None, path: str | None) -> str:
    words = [_stamp(word, path) for word in _command(cc, path)]
    openmp = [*dict.fromkeys(flag for attempt in ATTEMPTS for flag in attempt), with_runtime("")]
    return "\n".join([*words, shlex.join([*flags(), *openmp]), platform.system(), platform.machine(), _cpu()])


def _command(cc: str | None, path: str | None) -> list[str]:
    if cc is None or not cc.strip():
        # on Windows these are often compilers for other systems, or libraries, than those of Python
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
    """Return a word of a command; if it is a program, as in ``ccache gcc``, with its size and time of change."""
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
    # elsewhere the name of the host stands for its CPU: platform.processor() would run a program to know no more
    return "\n".join(fields) or platform.node()


def _run(command: list[str], source: str, folder: Path) -> str | None:
    """Return None, or what went wrong."""
    try:
        # in English, whatever the user's language: people paste this into issues; and zig would keep all that it makes
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
