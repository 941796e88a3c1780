"""The compiler of the package ziglang, a clang with all that it needs: ``pip install "spikingtorch[compiler]"``."""

import importlib.util
import sys
from pathlib import Path

EXTRA = 'pip install "spikingtorch[compiler]"'


def find_zig() -> list[str] | None:
    """Return the command of the compiler, None if the package is not installed. The package is not imported."""
    found = importlib.util.find_spec("ziglang")
    for folder in (found and found.submodule_search_locations) or ():
        program = Path(folder, "zig.exe" if sys.platform == "win32" else "zig")
        if program.is_file():
            return [str(program), "cc"]
    return None
