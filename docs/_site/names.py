"""The public names of the library, and which of them the pages of docs/api show.

A page lists names in blocks, from which its tables and entries are made:

    ```{api} spikingtorch
    IF
    LIF
    ```
"""

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

PAGES = Path(__file__).parents[1] / "api"
BLOCK = re.compile(r"^```\{api\} (?P<module>[\w.]+)\n(?P<names>.*?)^```$", re.MULTILINE | re.DOTALL)
# neurons of other libraries, and those for JAX, have the names of ours there
FOR_JAX = ("spikingtorch.jax", "spikingtorch.functional.jax_reference")
# module, name and page of what the pages show
LISTED = [
    (block["module"], name, page.stem)
    for page in sorted(PAGES.glob("*.md"))
    for block in BLOCK.finditer(page.read_text())
    for name in block["names"].split()
]
MODULES = sorted({module for module, _, _ in LISTED})


def public(module: ModuleType) -> dict[str, Any]:
    """Return what a module shows: what ``__all__`` names or, without it, what is defined there; no modules."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
    found = {name: getattr(module, name) for name in names}
    return {name: value for name, value in found.items() if not isinstance(value, ModuleType)}


def documented() -> dict[str, str]:
    """Return the full names that the pages show, each with its page."""
    return {f"{module}.{name}": page for module, name, page in LISTED}


def found(name: str) -> Any:
    """Return what a full name of a documented thing stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
