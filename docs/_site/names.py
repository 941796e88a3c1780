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
_PARTS = ("chips", "fixed_point", "plasticity", "rounding")
_OWN = (
    *(
        "functional",
        "layers",
        "spikeio",
        "data",
        "losses",
        "models",
        "metrics",
        "learning",
        "init",
        "convert",
        "quantize",
    ),
    *("plot", "report", "testing", "performance", "checkpoints", "utils", "interop", "interop.nir", "interop.onnx"),
    *("interop.nir.dialects", "like.norse", "like.older", "like.sinabs", "like.snntorch", "like.spikingjelly"),
    *("jax", "functional.jax_reference"),
    *(f"functional.{each}{name}" for each in ("", "jax_reference.") for name in _PARTS),
)
MODULES = ("spikingtorch", *(f"spikingtorch.{each}" for each in _OWN))


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
