"""A folder on Windows, where neither modes nor open folders are known."""

import contextlib
import os
import re
from pathlib import Path

from spikingtorch.functional.fused.build.private_dir import Entry, Folder, explained, listing, remove


class WindowsFolder(Folder):
    """A folder by its path.

    Windows lets nobody else write to the profile of a user. Of a folder elsewhere it is not asked who may: that is left
    to the user who names one.

    Args:
        path: an absolute path; a folder that is missing is made, with its parents.

    Raises:
        FolderError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path, "made or opened"):
            path.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def names(self) -> list[str]:
        """Return what is in it, sorted."""
        with explained(self.path, "read"):
            return sorted(os.listdir(self.path))

    def listing(self, pattern: re.Pattern[str]) -> list[Entry]:
        """Return the files whose whole name fits the pattern, the one that was not used for longest first."""
        return listing(self.path, pattern)

    def remove(self, name: str) -> bool:
        """Remove a file and say whether it is gone; a library that a process has loaded stays."""
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
        """Give a file another name, in one step, unless there is one of that name already that a process has loaded."""
        with explained(self.path, "written to"):
            try:
                os.replace(self.path / name, self.path / new)
            except PermissionError:
                if not (self.path / new).is_file():
                    raise

    def touch(self, name: str) -> None:
        """Note that a file is used."""
        with contextlib.suppress(OSError):
            os.utime(self.path / name)

    def way_to(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.path / name)
