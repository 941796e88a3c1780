"""Compiled libraries on disk, found by their content.

A library is called KEY-DIGEST.so, on every system: KEY is the hash of its source, the compiler and the CPU, DIGEST
that of its bytes. It is loaded only if its content matches its name and nobody but this user could have written it. A
truncated library would crash the process, and a foreign one could run any code.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import warnings
from multiprocessing import util
from pathlib import Path

from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.fused.build.compiler import CompileError, compile_c, fingerprint
from spikingtorch.functional.fused.build.openmp import take_threads
from spikingtorch.functional.fused.build.private_dir import Entry, Folder, FolderError, listing, remove
from spikingtorch.functional.fused.build.windows_dir import WindowsFolder

# the folder of JAX's compiled programs, beside the libraries
PROGRAMS = "twins"
MAX_FILES = 4096
MAX_BYTES = 256 * 10**6
LEFTOVER_AGE = 3600.0
# the number of times in a row that other processes may remove a library before it is loaded
ATTEMPTS = 5
LIBRARY = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.so")
UNFINISHED = re.compile(r"[0-9a-f]{32}\.part")


class _Process:
    """State of this process: a lock for each library in compilation, the temporary folder, the warnings given."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.making: dict[str, Lock] = {}
        self.temporary: Path | None = None
        self.warned: set[Path] = set()


_process = _Process()


def cache_dir() -> Path:
    """Return the folder of the libraries, which may not exist yet.

    It is ``$SPIKINGTORCH_CACHE_DIR``, else ``spikingtorch`` in the user's cache: ``$XDG_CACHE_HOME`` or ``~/.cache``,
    on macOS ``~/Library/Caches``, on Windows ``%LOCALAPPDATA%``. For a user without a home it is a relative path, which
    ``library`` does not use.
    """
    chosen = os.environ.get("SPIKINGTORCH_CACHE_DIR")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    if sys.platform == "darwin":
        caches = os.path.expanduser("~/Library/Caches")
    elif sys.platform == "win32":
        caches = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    else:
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        caches = xdg if os.path.isabs(xdg) else os.path.expanduser("~/.cache")
    return Path(caches, "spikingtorch")


def open_folder(path: Path) -> Folder:
    """Return a folder that nobody but this user can write to; create it if it is missing, or raise FolderError."""
    return WindowsFolder(path) if sys.platform == "win32" else Folder(path)


def library(source: str) -> ctypes.CDLL:
    """Return the loaded library of a C source text, compiled now or earlier.

    Each call reads and checks the file on disk, so keep the result. If the folder cannot be used, a warning says so
    once, and the library goes into a temporary folder of this process.

    Raises:
        NoCompiler: there is no compiler; it is needed even for a library on disk, because the name of the library
            depends on it.
        CompileError: the compiler failed, its library does not load, or no folder can be used.
    """
    key = _digest(f"{source}\0{fingerprint()}".encode())
    with _process.lock:
        mine = _process.making.setdefault(key, Lock())
    with mine:  # different libraries compile at the same time, the same library only once
        try:
            return _obtain(cache_dir(), key, source)
        except FolderError as error:
            _warn_once(cache_dir(), error)
        with _process.lock:
            temporary = _temporary()
        return _obtain(temporary, key, source)


def entries() -> list[Entry]:
    """Return the libraries in the folder, the least recently used first."""
    try:
        return listing(cache_dir(), LIBRARY)
    except OSError:
        return []


def clear() -> int:
    """Remove the libraries and leftovers of interrupted processes; return the number of libraries."""
    removed = sum(remove(entry.path) for entry in entries())
    with contextlib.suppress(OSError):
        for entry in filter(_is_left_over, listing(cache_dir(), UNFINISHED)):
            remove(entry.path)
    return removed


def _obtain(path: Path, key: str, source: str) -> ctypes.CDLL:
    if not path.is_absolute():
        raise FolderError("this user has no home folder")
    with open_folder(path) as folder:
        for _ in range(ATTEMPTS):
            name = _find(folder, key) or _build(folder, key, source)
            loaded = _load(folder, name)
            if loaded is not None:
                return loaded
    raise FolderError(f"{path} is not used: libraries vanish from it before they are loaded")


def _find(folder: Folder, key: str) -> str | None:
    """Return the name of a valid library, after removing the invalid ones."""
    for name in folder.names():
        if name.startswith(key) and LIBRARY.fullmatch(name):
            code = folder.read(name)
            if code is not None and name == _name(key, code):
                folder.touch(name)
                return name
            folder.remove(name)
    return None


def _build(folder: Folder, key: str, source: str) -> str:
    part = f"{secrets.token_hex(16)}.part"
    # an empty file before the compiler runs, so that a folder without write access is noticed at once
    folder.write(part, b"")
    try:
        code = _compiled(source)
        name = _name(key, code)
        folder.write(part, code)
        folder.rename(part, name)
    finally:
        folder.remove(part)
    _prune(folder, keep=name)
    return name


def _compiled(source: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="spikingtorch-", ignore_cleanup_errors=True) as private:
        target = Path(private, "kernels.so")
        compile_c(source, target)
        return target.read_bytes()


def _load(folder: Folder, name: str) -> ctypes.CDLL | None:
    """Return the library, None if another process has removed it."""
    try:
        # dlopen identifies libraries by path as well, and /proc/self/fd/N soon stands for another folder; names stay
        loaded = ctypes.CDLL(folder.way_to(name))
    except OSError as error:
        if name not in folder.names():
            return None
        raise CompileError(f"the C compiler made a library that does not load: {error}") from error
    take_threads(loaded)
    return loaded


def _prune(folder: Folder, keep: str) -> None:
    """Remove the least recently used libraries, down to three quarters of the limits, if the limits are exceeded."""
    libraries = folder.listing(LIBRARY)
    files, size = len(libraries), sum(entry.size for entry in libraries)
    if files > MAX_FILES or size > MAX_BYTES:
        for entry in libraries:
            if files <= 0.75 * MAX_FILES and size <= 0.75 * MAX_BYTES:
                break
            if entry.path.name != keep:
                folder.remove(entry.path.name)
                files, size = files - 1, size - entry.size
    for entry in folder.listing(UNFINISHED):
        if _is_left_over(entry):
            folder.remove(entry.path.name)


def _is_left_over(entry: Entry) -> bool:
    return time.time() - entry.used > LEFTOVER_AGE


def _temporary() -> Path:
    """Return the temporary folder of this process, which is removed when the process ends."""
    if _process.temporary is None or not _process.temporary.is_dir():
        try:
            _process.temporary = Path(tempfile.mkdtemp(prefix="spikingtorch-"))
        except OSError as error:
            raise FolderError(f"no temporary folder can be made: {error}") from error
        # unlike atexit, Finalize keeps the parent's folder when a child ends, and it runs in children of
        # multiprocessing
        arguments = (_process.temporary,)
        util.Finalize(None, shutil.rmtree, args=arguments, kwargs={"ignore_errors": True}, exitpriority=-1)
    return _process.temporary


def _warn_once(folder: Path, error: FolderError) -> None:
    if folder not in _process.warned:
        _process.warned.add(folder)
        warnings.warn(
            f"compiled kernels are not kept: {error}. They go to a temporary folder, and the next process compiles "
            "them again. Set SPIKINGTORCH_CACHE_DIR to a folder that you own and nobody else may write to.",
            RuntimeWarning,
            stacklevel=level_of_user(),
        )


def _name(key: str, code: bytes) -> str:
    return f"{key}-{_digest(code)}.so"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
