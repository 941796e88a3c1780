"""The picture of a table: validation accuracy by epochs, a panel for each model, beside the logs of its authors."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from examples.pictures import ACCENT, INK, save

Array = npt.NDArray[np.float64]


def draw(path: Path, table: str, models: Sequence[str], folder: Path) -> None:
    """Draw the curves of all seeds that a folder holds."""
    figure = Figure(figsize=(3.4 * len(models), 3.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
    for axes, model in zip(panels, models, strict=True):
        for label, color, curves in (("authors", INK, _theirs(table, model)), ("here", ACCENT, _ours(folder / model))):
            for k, curve in enumerate(curves):
                axes.plot(*curve, color=color, linewidth=0.7, alpha=0.7, label=label if k == 0 else None)
        axes.set(title=model, xlabel="epoch")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy, validation (%)")
    panels[-1].legend(loc="lower right", frameon=False)
    save(figure, path)


def _ours(folder: Path) -> list[tuple[Array, Array]]:
    found = []
    for path in sorted(folder.glob("**/curve.csv")):
        with path.open(newline="") as file:
            rows = [*csv.DictReader(file)]
        epochs, reached = (np.array([float(row[name]) for row in rows]) for name in ("epoch", "validation_accuracy"))
        found.append((epochs, 100.0 * reached))
    return found


def _theirs(table: str, model: str) -> list[tuple[Array, Array]]:
    """Return the curves of the authors' seeds, from ``logs.npz`` in the folder of the data of the table."""
    path = Path(os.environ.get("SPIKINGTORCH_DATA", "")) / table / "logs.npz"
    if not path.is_file():
        return []
    kind = model.removeprefix(f"{table}-")
    with np.load(path) as logs:
        names = [name for name in logs if name.startswith(f"{kind}/") and name.endswith("/accuracy/val")]
        return [(logs[name][:, 0], logs[name][:, 1]) for name in names]
