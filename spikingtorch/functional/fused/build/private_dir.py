"""A folder on disk that nobody but this user can write to."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from spikingtorch.functional.fused.build.compiler import CompileError


class FolderError(CompileError):
    """A folder cannot be used for libraries."""


class Entry(NamedTuple):
    """A file in a folder."""

    path: Path  # path of the file
    size: int  # its bytes
    used: float  # time of its creation or last use, in seconds since 1970


class Folder:
    """A folder held open: others may replace the folder at its path, but not the one that ``fd`` stands for.

    A missing folder is created at the absolute path, with its parents, for this user alone. Raise FolderError if that
    fails, if it belongs to another user, if others may write to it, or if no program may run from it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(self.path, "made or opened"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with explained(self.path, "examined"):
                self._check()
        except FolderError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder."""
        os.close(self.fd)

    def names(self) -> list[str]:
        """Return the names in the folder, sorted."""
        return sorted(os.listdir(self.fd))

    def listing(self, pattern: re.Pattern[str]) -> list[Entry]:
        """Return the files whose whole name matches the pattern, the least recently used first."""
        return listing(self.fd, pattern)

    def remove(self, name: str) -> bool:
        """Remove a file; return whether it existed."""
        return remove(name, self.fd)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if it is not a file, or another user could have written it."""
        try:
            # O_NONBLOCK: a named pipe would make us wait for its writer
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.fd)
        except OSError:
            return None
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or _complaint(info) is not None:
                return None
            with open(fd, "rb", closefd=False) as file:
                return file.read()
        except OSError:
            return None
        finally:
            os.close(fd)

    def write(self, name: str, data: bytes) -> None:
        """Write a file that only this user can read."""

        def opener(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_NOFOLLOW, 0o600, dir_fd=self.fd)

        with explained(self.path, "written to"), open(name, "wb", opener=opener) as file:
            file.write(data)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, in one step; a file that has the name already is gone."""
        with explained(self.path, "written to"):
            os.replace(name, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def touch(self, name: str) -> None:
        """Note that a file is used."""
        # a file system that is read-only forgets it
        with contextlib.suppress(OSError):
            os.utime(name, dir_fd=self.fd)

    def way_to(self, name: str) -> str:
        """Return a path for those who open files by path, through the open folder where the system has such paths."""
        through = f"/proc/self/fd/{self.fd}"
        return os.path.join(through if os.path.isdir(through) else self.path, name)

    def _check(self) -> None:
        complaint = _complaint(os.fstat(self.fd))
        if complaint is None and os.fstatvfs(self.fd).f_flag & getattr(os, "ST_NOEXEC", 0):
            complaint = "no program may run from its file system (noexec)"
        if complaint is not None:
            raise FolderError(f"{self.path} is not used: {complaint}")


@contextlib.contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Say which folder an error of the system is about, and what could not be done with it."""
    try:
        yield
    except OSError as error:
        raise FolderError(f"{path} cannot be {what}: {error.strerror or error}") from error


def listing(folder: Path | int, pattern: re.Pattern[str]) -> list[Entry]:
    """Return the files whose whole name matches the pattern, the least recently used first."""
    found: list[Entry] = []
    with os.scandir(folder) as items:
        for item in items:
            # another process may remove it meanwhile
            with contextlib.suppress(FileNotFoundError):
                if pattern.fullmatch(item.name) and item.is_file(follow_symlinks=False):
                    info = item.stat(follow_symlinks=False)
                    found.append(Entry(Path(item.path), info.st_size, info.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def remove(path: Path | str, folder: int | None = None) -> bool:
    """Remove a file; return whether it existed."""
    try:
        os.unlink(path, dir_fd=folder)
    except OSError:
        return False
    return True


def _complaint(info: os.stat_result) -> str | None:
    """Say why the owner or the mode of a file or folder does not do, if so."""
    if info.st_uid != os.geteuid():
        return f"it belongs to user {info.st_uid}, and this process runs as user {os.geteuid()}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to it (its mode is {stat.S_IMODE(info.st_mode):o}; chmod go-w takes that away)"
    return None
