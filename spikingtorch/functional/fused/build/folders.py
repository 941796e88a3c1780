"""The folder of compiled kernels as the operating system knows it."""

import sys
from pathlib import Path
from typing import TypeAlias

from spikingtorch.functional.fused.build.private_dir import Folder
from spikingtorch.functional.fused.build.windows_dir import WindowsFolder

AnyFolder: TypeAlias = Folder | WindowsFolder


def open_folder(path: Path) -> AnyFolder:
    """Return a folder that nobody but this user can write to, made if it is missing.

    Args:
        path: an absolute path.

    Raises:
        FolderError: it cannot be used; both kinds of folders say why.
    """
    return WindowsFolder(path) if sys.platform == "win32" else Folder(path)
