"""The pages for users of other libraries have a row for every public class and function."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
JELLY = "spikingjelly.activation_based"
OF_JELLY = [
    "neuron",
    "layer",
    "surrogate",
    "functional",
    "encoding",
    "rnn",
    "learning",
    "ann2snn",
    "quantize",
    "monitor",
]
OF_JELLY += ["op_counter", "profiler", "memopt", "precision", "base", "nir_exchange", "lava_exchange", "model"]
OF_SNN = ("surrogate", "functional", "spikegen", "spikeplot", "utils", "backprop", "import_nir", "export_nir")
OF_SINABS = ("layers", "activation", "network", "from_torch", "utils", "nir", "synopcounter", "conversion")
LIBRARIES: dict[str, list[str]] = {
    "snntorch": ["snntorch", *[f"snntorch.{each}" for each in OF_SNN]],
    "norse": ["norse.torch"],
    "sinabs": ["sinabs", *[f"sinabs.{each}" for each in OF_SINABS]],
    "spikingjelly": [*[f"{JELLY}.{each}" for each in OF_JELLY], "spikingjelly.visualizing"],
}


def public(library: str) -> dict[str, str]:
    """Return the classes and functions of a library that a user meets, and where."""
    found: dict[str, str] = {}
    for name in LIBRARIES[library]:
        for each, value in vars(importlib.import_module(name)).items():
            own = str(getattr(value, "__module__", "")).startswith(library)
            if own and not each.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                found[each] = name
    return found


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_name_has_a_row(library: str) -> None:
    pages = [each.read_text() for each in DOCS.glob(f"from_{library}*.md")]
    page = "\n".join(each.partition("# What takes the place of each name")[2] for each in pages)
    rows = [line.rsplit(" | ", 1)[0] for line in page.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    missing = {name: where for name, where in public(library).items() if name not in named}
    assert not missing, missing
