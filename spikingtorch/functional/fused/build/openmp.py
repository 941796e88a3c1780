"""OpenMP: the options of each compiler, and torch's threads for a clang without an OpenMP library."""

import ctypes
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from spikingtorch.functional.core.names import level_of_user

# with the compiler's own library; for a clang without one, with the functions of openmp.h; without OpenMP
ATTEMPTS: tuple[tuple[str, ...], ...] = (("-fopenmp",), ("-Xclang", "-fopenmp"), ())
# OpenMP libraries that torch's wheels bring: GNU's, LLVM's and Intel's
_LIBRARIES = ("lib*omp*.so*", "lib*omp*.dylib", "libiomp5md.dll")
_GNU, _LLVM = "GOMP_parallel", ("__kmpc_global_thread_num", "__kmpc_push_num_threads", "__kmpc_fork_call")


def with_runtime(source: str) -> str:
    """Return a source text with the functions added that a clang without an OpenMP library calls."""
    return f"{source}\n{_runtime()}"


def take_threads(library: Any) -> None:
    """Make a library with the functions of openmp.h run on torch's threads."""
    take = getattr(library, "take_threads", None)
    if take is None:
        return
    take.argtypes, take.restype = [ctypes.c_void_p] * 4, None
    gnu, *llvm = _team()
    take(gnu, *llvm)
    if gnu is None and llvm[-1] is None:
        warn_of_one_thread("torch has no OpenMP library in which threads are found")


@lru_cache(maxsize=16)
def warn_of_one_thread(reason: str) -> None:
    """Warn once that kernels run on one thread."""
    text = f"compiled kernels run on one thread each, because {reason}"
    warnings.warn(text, RuntimeWarning, stacklevel=level_of_user())


def loads(path: Path) -> str | None:
    """Load a library for a moment; return None, or the error of the system."""
    try:
        handle = ctypes.CDLL(str(path))._handle
    except OSError as error:
        return f"It made a library that does not load: {error}"
    if sys.platform == "win32":  # Windows does not remove a loaded file
        ctypes.WinDLL("kernel32").FreeLibrary(ctypes.c_void_p(handle))
    else:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(handle))
    return None


@lru_cache(maxsize=1)
def _runtime() -> str:
    return Path(__file__).with_name("openmp.h").read_text()


@lru_cache(maxsize=1)
def _team() -> tuple[int | None, int | None, int | None, int | None]:
    """Return the addresses of the functions that start a team of torch's threads: one of GNU, or three of LLVM."""
    for library in _libraries():
        gnu = _address(library, _GNU)
        if gnu is not None:
            return gnu, None, None, None
        number, ask, fork = [_address(library, name) for name in _LLVM]
        if number is not None and ask is not None and fork is not None:
            return None, number, ask, fork
    return None, None, None, None


def _libraries() -> list[Any]:
    """Return the OpenMP libraries of this process: those of torch, else the symbols that all libraries see."""
    folder = Path(str(torch.__file__)).parent / "lib"
    found: list[Any] = []
    for path in [path for pattern in _LIBRARIES for path in sorted(folder.glob(pattern))]:
        try:
            found.append(ctypes.CDLL(str(path)))
        except OSError:
            continue
    return found if sys.platform == "win32" else [*found, ctypes.CDLL(None)]


def _address(library: Any, name: str) -> int | None:
    function = getattr(library, name, None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value
