"""Compiles the library's C for other systems with the compiler of the package ziglang, a clang that has all headers."""

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import ziglang

from spikingtorch.functional.fused.build.compiler import flags
from spikingtorch.functional.fused.build.openmp import ATTEMPTS, with_runtime

ZIG = Path(str(ziglang.__file__)).parent / "zig"
LINUX, MACOS, WINDOWS = "aarch64-linux-gnu", "aarch64-macos", "x86_64-windows-gnu"
# in place of these, which ask the processor what it is
NATIVE = {"-mcpu=native", "-march=native"}
# as a clang without a library of OpenMP takes it
OF_TORCH = ATTEMPTS[1]
WARNINGS = ("-Wall", "-Wextra", "-Werror")
# what is printed has the functions and the strides of all kernels, and asks of integers, too, whether they are NaN
PRINTED = ("-Wno-unused", "-Wno-unused-parameter", "-Wno-tautological-compare")
# without OpenMP nothing reads the number of threads, and a loop that calls C's mathematics has no vectors
SERIAL, CALLING = ("-Wno-unused-parameter", "-Wno-unknown-pragmas"), ("-Wno-pass-failed",)
# all that a library takes of mingw, which zig would compile for two minutes
OF_MINGW = ("_tls_index", "___chkstk_ms", "memcpy", "memset", "DllMainCRTStartup")


class CompilerError(Exception):
    """The compiler refuses a text, or warns of something in it."""


def object_of(source: str, target: Path, cpu: str, options: Sequence[str] = (), system: str = LINUX) -> None:
    """Compile a text of the library to an object, with the flags that the library takes on the system's processor.

    Args:
        source: the text.
        target: where the object goes.
        cpu: a processor by the name that clang has for it.
        options: other flags; ``-S`` asks for a text in place of the object.
        system: the operating system that the object is for.
    """
    _compile(source, target, [*_flags(cpu, system), *WARNINGS, "-c", *options])


def program_of(source: str, target: Path, cpu: str, system: str, *options: str) -> None:
    """Compile a text to a program, or to a library if that is an option, with OpenMP on torch's threads."""
    _compile(with_runtime(source), target, [*_flags(cpu, system), *OF_TORCH, *options])


def _flags(cpu: str, system: str) -> list[str]:
    own = flags(system.partition("-")[0])
    assert NATIVE & {*own}
    chosen = [f"-mcpu={cpu}" if flag in NATIVE else flag for flag in own if flag != "-shared"]
    return ["-target", system, "-Wno-unused-command-line-argument", *chosen]


def _compile(source: str, target: Path, arguments: Sequence[str]) -> None:
    text = target.with_suffix(".c")
    text.write_text(source)
    _zig(["cc", *arguments, "-g0", str(text), "-o", str(target)])


def dll_of(source: str, target: Path, cpu: str) -> None:
    """Compile a text to a library for Windows, in which places stand for the functions of mingw."""
    part, places = target.with_suffix(".o"), target.with_suffix(".s")
    object_of(with_runtime(source), part, cpu, OF_TORCH, WINDOWS)
    places.write_text("".join(f".globl {name}\n{name}:\n" for name in OF_MINGW))
    linked = ["-shared", "-nostdlib", "-lapi-ms-win-crt-math-l1-1-0", str(part), str(places)]
    _zig(["cc", "-target", WINDOWS, *linked, "-o", str(target)])


def library_of(source: str, target: Path, cpu: str) -> None:
    """Compile a text to a shared library, without those that it calls."""
    part = target.with_suffix(".o")
    object_of(source, part, cpu, (*PRINTED, *SERIAL, *CALLING))
    _zig(["ld.lld", "-shared", str(part), "-o", str(target)])


def _zig(arguments: Sequence[str]) -> None:
    done = subprocess.run([str(ZIG), *arguments], check=False, capture_output=True, text=True, env=_environment())
    if done.returncode or done.stderr.strip():
        raise CompilerError(f"{' '.join(arguments)}\n{done.stderr}")


@functools.cache
def _environment() -> dict[str, str]:
    """Return the environment of the compiler, whose own files lie in that of Python."""
    cache = str(Path(sys.prefix, "zig-cache"))
    return os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
