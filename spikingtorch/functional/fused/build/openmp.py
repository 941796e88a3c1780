"""OpenMP of a compiler: how to ask for it, and torch's threads for a clang that has no library of it."""

import ctypes
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

# with the compiler's own library; a clang without one, on the functions of openmp.h; without OpenMP
ATTEMPTS: tuple[tuple[str, ...], ...] = (("-fopenmp",), ("-Xclang", "-fopenmp"), ())
# libraries of OpenMP that torch's wheels bring: GNU's, LLVM's and Intel's
_LIBRARIES = ("lib*omp*.so*", "lib*omp*.dylib", "libiomp5md.dll")
_GNU, _LLVM = "GOMP_parallel", ("__kmpc_global_thread_num", "__kmpc_push_num_threads", "__kmpc_fork_call")


def with_runtime(source: str) -> str:
    """Return a text with the functions behind it that a clang without a library of OpenMP calls."""
    return f"{source}\n{_runtime()}"


def take_threads(library: Any) -> None:
    """Let a library that has the functions of openmp.h run on torch's threads.

    Args:
        library: as ``ctypes`` loads it.
    """
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
    """Say once that kernels do not share their work."""
    warnings.warn(f"compiled kernels run on one thread each, because {reason}", RuntimeWarning, stacklevel=2)


def loads(path: Path) -> str | None:
    """Load a library for a moment; return None, or what the system says against it."""
    try:
        handle = ctypes.CDLL(str(path))._handle
    except OSError as error:
        return f"It made a library that does not load: {error}"
    if sys.platform == "win32":  # where a file that is loaded is not removed
        ctypes.WinDLL("kernel32").FreeLibrary(ctypes.c_void_p(handle))
    else:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(handle))
    return None


@lru_cache(maxsize=1)
def _runtime() -> str:
    return Path(__file__).with_name("openmp.h").read_text()


@lru_cache(maxsize=1)
def _team() -> tuple[int | None, int | None, int | None, int | None]:
    """Return the addresses of what makes a team of torch's threads: GNU's function, or the three of LLVM."""
    for library in _libraries():
        gnu = _address(library, _GNU)
        if gnu is not None:
            return gnu, None, None, None
        number, ask, fork = [_address(library, name) for name in _LLVM]
        if number is not None and ask is not None and fork is not None:
            return None, number, ask, fork
    return None, None, None, None


def _libraries() -> list[Any]:
    """Return the libraries of OpenMP of this process: those that come with torch, else what all libraries see."""
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
