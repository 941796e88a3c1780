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
MODULES: tuple[str, ...] = (
    "spikingtorch",
    "spikingtorch.functional",
    "spikingtorch.layers",
    "spikingtorch.spikeio",
    "spikingtorch.data",
    "spikingtorch.losses",
    "spikingtorch.models",
    "spikingtorch.metrics",
    "spikingtorch.learning",
    "spikingtorch.init",
    "spikingtorch.convert",
    "spikingtorch.quantize",
    "spikingtorch.plot",
    "spikingtorch.report",
    "spikingtorch.testing",
    "spikingtorch.performance",
    "spikingtorch.checkpoints",
    "spikingtorch.utils",
    "spikingtorch.interop",
    "spikingtorch.interop.nir",
    "spikingtorch.interop.onnx",
    "spikingtorch.interop.nir.dialects",
    "spikingtorch.like.norse",
    "spikingtorch.like.older",
    "spikingtorch.like.sinabs",
    "spikingtorch.like.snntorch",
    "spikingtorch.like.spikingjelly",
    "spikingtorch.jax",
    "spikingtorch.functional.jax_reference",
)
_PARTS = ("chips", "fixed_point", "plasticity", "rounding")
MODULES = (*MODULES, *(f"spikingtorch.functional.{each}{name}" for each in ("", "jax_reference.") for name in _PARTS))


def public(module: ModuleType) -> dict[str, Any]:
    """Return what a module shows: what ``__all__`` names or, without it, what is defined there; no modules."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    names = getattr(module, "__all__", [name for name in own if not name.startswith("_")])
    found = {name: getattr(module, name) for name in names}
    return {name: value for name, value in found.items() if not isinstance(value, ModuleType)}


def documented() -> dict[str, str]:
    """Return the full names that the pages show, each with its page."""
    return {
        f"{block['module']}.{name}": page.stem
        for page in sorted(PAGES.glob("*.md"))
        for block in BLOCK.finditer(page.read_text())
        for name in block["names"].split()
    }


def found(name: str) -> Any:
    """Return what a full name of a documented thing stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
