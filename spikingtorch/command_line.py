"""What the commands share: arguments, and modules of the user's that they name."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any


def positive(text: str) -> int:
    """Read a whole number above zero, for ``type=`` of an argument."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def imported(name: str, error: type[Exception]) -> Any:
    """Return a module, from the folder where the command runs or installed.

    Args:
        name: of the module.
        error: what to raise, with a message, if it cannot be imported.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name and (name == missing.name or name.startswith(f"{missing.name}.")):
            raise error(f"there is no module {name} in {Path.cwd()} or installed; run from its folder") from missing
        raise error(f"{name} needs a module that is not there: {missing.name}") from missing
    except Exception as failure:
        raise error(f"{name} cannot be imported: {type(failure).__name__}: {failure}") from failure
