"""A folder on Windows, which has neither file modes nor open folders."""

import contextlib
import os
import re
from pathlib import Path

from spikingtorch.functional.fused.build.private_dir import Entry, Folder, explained, listing, remove


class WindowsFolder(Folder):
    """A folder by its absolute path, created with its parents if it is missing; FolderError if that fails.

    Windows lets nobody else write to the profile of a user. The access to a folder elsewhere is not checked: the user
    who names it is responsible.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path, "made or opened"):
            path.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Do nothing: the folder is not held open."""

    def names(self) -> list[str]:
        """Return the names in the folder, sorted."""
        with explained(self.path, "read"):
            return sorted(os.listdir(self.path))

    def listing(self, pattern: re.Pattern[str]) -> list[Entry]:
        """Return the files whose whole name matches the pattern, the least recently used first."""
        return listing(self.path, pattern)

    def remove(self, name: str) -> bool:
        """Remove a file; return whether it is gone. A library that a process has loaded stays."""
        return remove(self.path / name)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, None if there is none."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        with explained(self.path, "written to"):
            (self.path / name).write_bytes(data)

    def rename(self, name: str, new: str) -> None:
        """Rename a file in one step, unless a process has loaded an existing file of that name."""
        with explained(self.path, "written to"):
            try:
                os.replace(self.path / name, self.path / new)
            except PermissionError:
                if not (self.path / new).is_file():
                    raise

    def touch(self, name: str) -> None:
        """Record that a file is used."""
        with contextlib.suppress(OSError):
            os.utime(self.path / name)

    def way_to(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.path / name)
