"""Train the tutorial's network on handwritten digits: ``make train``, or ``make train ARGS="--epochs 20 --resume"``."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn
from torch.utils.data import DataLoader

from examples import checkpoint
from examples.data import DATASETS, load
from examples.if_mnist import Net
from examples.training import accuracy, train_epoch
from spikingtorch import SpikingNet
from spikingtorch.spikeio import PoissonEncoder, SumDecoder

# what makes a run what it is: a resumed run must have the same
SETTINGS = ("dataset", "nsteps", "batch_size", "lr", "seed", "batches")


class Run:
    """A training run that can be written down after any epoch and taken up again with the same numbers.

    Args:
        options: the command line.

    Attributes:
        history: loss and test accuracy of each epoch so far.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.settings = {name: getattr(options, name) for name in SETTINGS}
        self.path = options.out / "checkpoint.pt"
        self.shuffle, self.draws = Generator().manual_seed(options.seed), Generator().manual_seed(options.seed + 1)
        self.net = Net()
        self.model = SpikingNet(self.net, 10)
        self.encoder = PoissonEncoder(options.nsteps, generator=self.draws)
        self.decoder = SumDecoder(options.nsteps)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.lr)
        self.train, self.test = load(options.dataset)
        self.loader = DataLoader(self.train, batch_size=options.batch_size, shuffle=True, generator=self.shuffle)
        self.history: list[tuple[float, float]] = []

    def epoch(self, label: str) -> tuple[float, float]:
        """Train for one epoch and return its loss and test accuracy."""
        classify = nn.Sequential(self.encoder, self.model, self.decoder)
        loss = train_epoch(classify, self.loader, self.optimizer, label, self.settings["batches"])
        # the test set sees the same spikes after every epoch, so that accuracies differ by the weights alone
        encoder = PoissonEncoder(self.settings["nsteps"], generator=Generator().manual_seed(0))
        self.history.append((loss, accuracy(nn.Sequential(encoder, self.model, self.decoder), self.test)))
        return self.history[-1]

    def save(self) -> None:
        """Write the checkpoint."""
        content = {
            "settings": self.settings,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": (self.shuffle.get_state(), self.draws.get_state()),
        }
        checkpoint.save(self.path, content)

    def resume(self) -> None:
        """Take up the run of the checkpoint.

        Raises:
            CheckpointError: it cannot be read, or belongs to a run with other settings.
        """
        content = checkpoint.load(self.path, {"settings", "history", "model", "optimizer", "generators"})
        stored: dict[str, Any] = content["settings"]
        if stored != self.settings:
            differ = [
                f"--{name.replace('_', '-')} {stored.get(name)}"
                for name in SETTINGS
                if stored.get(name) != self.settings[name]
            ]
            raise checkpoint.CheckpointError(f"{self.path} was trained with {' '.join(differ)}. Resume with the same.")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = [(loss, reached) for loss, reached in content["history"]]
        for generator, state in zip((self.shuffle, self.draws), content["generators"], strict=True):
            generator.set_state(state)

    def draw(self) -> None:
        """Write the pictures beside the checkpoint."""
        from examples.pictures import learning_curves, spike_raster

        losses, accuracies = zip(*self.history, strict=True)
        learning_curves(self.path.with_name("curves.png"), losses, accuracies)
        layers = {"first layer": self.net.sl1, "second layer": self.net.sl2, "output": self.net.sl3}
        encoder = PoissonEncoder(self.settings["nsteps"], generator=Generator().manual_seed(0))
        spike_raster(self.path.with_name("raster.png"), encoder, self.model, layers, self.test.tensors[0][0])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="train", description=(__doc__ or "").split(":")[0] + ".")
    parser.add_argument("--dataset", choices=DATASETS, default="digits", help="digits needs no network (default)")
    parser.add_argument("--epochs", type=positive, default=10)
    parser.add_argument("--nsteps", type=positive, default=8, help="length of the spike train of an image")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--lr", type=float, default=0.005, help="learning rate of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batches", type=positive, help="stop each epoch after so many batches (default: all)")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint and pictures (default: runs/DATASET)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    options = parser.parse_args(arguments)
    options.out = options.out or Path("runs") / options.dataset
    return options


def positive(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def keep_earlier_run(folder: Path) -> None:
    """Move a folder that holds a finished or interrupted run out of the way, under a name of its own."""
    if not (folder / "checkpoint.pt").exists():
        return
    aside = folder.with_name(f"{folder.name}-before-{time.strftime('%Y%m%d-%H%M%S')}")
    folder.rename(aside)
    print(f"The earlier run is now in {aside}. (--resume would go on with it.)")


def main(arguments: list[str] | None = None) -> int:
    """Train, and return the exit code."""
    options = parse(arguments)
    run = Run(options)
    try:
        if options.resume:
            run.resume()
        else:
            keep_earlier_run(options.out)
            options.out.mkdir(parents=True, exist_ok=True)
    except checkpoint.CheckpointError as error:
        print(error, file=sys.stderr)
        return 1
    done = len(run.history)
    images = f"{len(run.train):,} images to train, {len(run.test):,} to test"
    print(f"{options.dataset}: {images}, {options.nsteps} steps each, {torch.get_num_threads()} threads")
    if done:
        left = "" if done < options.epochs else f"; nothing to do up to epoch {options.epochs}, --epochs goes further"
        print(f"Resumed after epoch {done}: test accuracy {run.history[-1][1]:.1%}{left}")
    try:
        train(run, options.epochs)
    except KeyboardInterrupt:
        kept = f"Epochs 1 to {len(run.history)} are in {run.path}" if run.history else "No epoch was finished"
        print(f"\nInterrupted. {kept}; make train ARGS=--resume goes on.", file=sys.stderr)
        return 130
    except OSError as error:
        print(
            f"Epoch {len(run.history)} could not be saved: {error}. The checkpoint before it is intact.",
            file=sys.stderr,
        )
        return 1
    run.draw()
    best = max(reached for _, reached in run.history)
    print(f"Best test accuracy {best:.1%}. Checkpoint, curves.png and raster.png are in {options.out}/")
    return 0


def train(run: Run, epochs: int) -> None:
    """Train up to the epoch, saving after each."""
    for epoch in range(len(run.history) + 1, epochs + 1):
        label = f"epoch {epoch:2}/{epochs}"
        start = time.perf_counter()
        loss, reached = run.epoch(label)
        run.save()
        print(
            f"{label}   loss {loss:.3f}   test accuracy {reached:6.1%}   {time.perf_counter() - start:4.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
