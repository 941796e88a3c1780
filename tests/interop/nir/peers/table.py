"""The tables of docs/nir_tables.md, from the fixtures: ``python -m tests.interop.nir.peers.table`` writes them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spikingtorch.interop.nir import NIRError, dialects, from_nir
from spikingtorch.interop.nir.targets import TARGETS
from tests.interop.nir.peers import fixture, ours
from tests.interop.nir.peers.fixture import Array

PAGE = Path(__file__).parents[4] / "docs" / "nir_tables.md"
START, END = "<!-- peers -->\n", "<!-- end of peers -->\n"
NAMES = {peer: target.title for peer, target in TARGETS.items()}
TITLES: dict[ours.Variant, str] = {
    "default": "Our files, as `to_nir(model, x)` writes them for no library in particular, read by each of them:",
    "target": "The same networks, as `to_nir(model, x, target=...)` writes them for the reader of each column:",
}


class Result(NamedTuple):
    """How one network fares in one direction.

    Attributes:
        text: for the table.
        equal: whether all spikes are.
    """

    text: str
    equal: bool


def outcome(wanted: Array, got: Array | str) -> Result:
    """Compare outputs, (T, N, ...); got may be what a reader raised."""
    if isinstance(got, str):
        return Result("fails", False)
    if got.shape != wanted.shape:
        return Result("another shape", False)
    if not np.isin(wanted, np.arange(9)).all():
        error = float(abs(got - wanted).max() / abs(wanted).max())
        return Result("equal" if error < 1e-5 else f"off by {error:.0%}", error < 1e-5)
    off = int((got != wanted).sum())
    return Result("equal" if not off else f"{off} of {int((wanted != 0).sum())} spikes differ", not off)


def read_by_us(name: str, dialect: Any) -> Result:
    """Return how a fixture of a peer fares here, as a dialect reads it."""
    found = fixture.load(name)
    dt = found.options.get("dt", found.dt if np.isfinite(found.dt) else 1.0)
    way: Any = "exact" if name.startswith("sinabs") else "euler"
    model = from_nir(found.graph, dt, way if dialect == "nir" else None, dialect=dialect)
    with torch.no_grad():
        out = model(torch.from_numpy(found.x).swapaxes(0, 1)).swapaxes(0, 1).numpy()
    return outcome(found.out, out)


def read_by_them(peer: str, name: str, variant: ours.Variant) -> Result:
    """Return how a network of ours fared in a peer's reader."""
    kept = ours.kept(peer, variant)
    if name in kept:
        return outcome(ours.spikes(name), kept[name].out)
    try:
        ours.exported(name, peer, variant)
    except NIRError as error:
        return Result(f"refused: {_reason(str(error))}", False)
    raise LookupError(f"{name} is exported for {peer}, and nothing is kept of it; run make nir-table")


def _reason(message: str) -> str:
    """Return what a message of ``to_nir`` says of the layer, without its name and without advice."""
    about = re.sub(r"^(layer )?'[^']*' ", "", message)
    return re.split(r", which the reader|, which NIR|, and the reader| \(", about)[0]


def rows() -> Iterator[str]:
    """Yield the lines of the tables."""
    yield "Files that each library wrote, read here, beside the spikes of the one who wrote them. `as NIR` takes the"
    yield "equations by the method that the library uses, Euler's or, for Sinabs, the exact one:"
    yield ""
    yield "| file | as NIR | with its dialect |"
    yield "|---|---|---|"
    for peer, title in NAMES.items():
        for name in fixture.names(peer):
            options = {key: value for key, value in fixture.load(name).options.items() if key != "dt"}
            mine = read_by_us(name, dialects.DIALECTS[peer](**options))
            shown = name.removeprefix(f"{peer}_").replace("_", " ")
            yield f"| {title}: {shown} | {_as_nir(name)} | {mine.text} |"
    yield ""
    for variant, title in TITLES.items():
        yield title
        yield ""
        yield f"| network | {' | '.join(NAMES.values())} |"
        yield "|---|---|---|---|---|"
        for name in ours.NETWORKS:
            yield f"| {name} | {' | '.join(read_by_them(peer, name, variant).text for peer in NAMES)} |"
        yield ""


def _as_nir(name: str) -> str:
    try:
        return read_by_us(name, "nir").text
    except ValueError as error:
        return f"refused: {str(error).split(': ')[-1].split(', for which')[0]}"


def main() -> None:
    """Write the tables into the page."""
    before, rest = PAGE.read_text().split(START)
    after = rest.split(END)[-1]
    PAGE.write_text("".join([before, START, "\n", "\n".join(rows()), "\n", END, after]))


if __name__ == "__main__":
    main()
