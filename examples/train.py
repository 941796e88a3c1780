"""Train the tutorial's network on handwritten digits: ``make train``, or ``make train ARGS="--epochs 20 --resume"``."""

import argparse
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def leave(*_: object) -> None:
    """End the process at once, as nothing is lost yet.

    An exception would not do: libraries that are being imported turn it into errors of their own, or drop it.
    """
    os.write(sys.stderr.fileno(), b"\nInterrupted before training began.\n")
    os._exit(130)


# the imports take seconds, in which somebody may think better of it; in the background, SIGINT is ignored
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave)

import torch
from torch import Generator, nn
from torch.utils.data import DataLoader

from examples import checkpoint
from examples.data import DATASETS, load
from examples.if_mnist import Net
from examples.training import accuracy, positive, train_epoch
from spikingtorch import SpikingNet
from spikingtorch.spikeio import PoissonEncoder, SumDecoder

# what makes a run what it is: a resumed run must have the same
SETTINGS = ("dataset", "nsteps", "batch_size", "lr", "seed", "batches")
FILES = ("checkpoint.pt", "curves.png", "overview.png")


class Run:
    """A training run that can be written down after any epoch and taken up again with the same numbers.

    Args:
        options: the command line.

    Attributes:
        history: loss and test accuracy of each epoch so far.
        saved: how many of these epochs the checkpoint holds.
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
        self.saved = 0

    def epoch(self, label: str) -> tuple[float, float]:
        """Train for one epoch and return its loss and test accuracy."""
        classify = nn.Sequential(self.encoder, self.model, self.decoder)
        loss = train_epoch(classify, self.loader, self.optimizer, label, self.settings["batches"])
        # the test set sees the same spikes after every epoch, so that accuracies differ by the weights alone
        encoder = PoissonEncoder(self.settings["nsteps"], generator=Generator().manual_seed(0))
        self.history.append((loss, accuracy(nn.Sequential(encoder, self.model, self.decoder), self.test)))
        return self.history[-1]

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            CheckpointError: it cannot be written; an earlier one is intact.
        """
        content = {
            "settings": self.settings,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": (self.shuffle.get_state(), self.draws.get_state()),
        }
        try:
            checkpoint.save(self.path, content)
        except OSError as error:
            raise checkpoint.CheckpointError(
                f"Epoch {len(self.history)} could not be saved: {error}. {self.kept()}"
            ) from error
        self.saved = len(self.history)

    def kept(self) -> str:
        """Say what is on the disk."""
        if not self.saved:
            return "No epoch was saved."
        return (
            f"The checkpoint of epoch {self.saved} is in {self.path}; --resume with the same options goes on from it."
        )

    def resume(self) -> None:
        """Take up the run of the checkpoint.

        Raises:
            CheckpointError: it cannot be read, or belongs to a run with other settings or another network.
        """
        content = checkpoint.load(self.path, {"settings", "history", "model", "optimizer", "generators"})
        try:
            differ = [
                _option(k, content["settings"][k]) for k in SETTINGS if content["settings"][k] != self.settings[k]
            ]
            if not differ:
                self._apply(content)
        except Exception as error:  # a file of another program may hold anything
            raise checkpoint.CheckpointError(
                f"{self.path} is not a checkpoint of this network ({type(error).__name__}). The file was left as it is."
            ) from error
        if differ:
            raise checkpoint.CheckpointError(f"{self.path} was trained {', '.join(differ)}. Resume with the same.")

    def _apply(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = [(loss, reached) for loss, reached in content["history"]]
        self.saved = len(self.history)
        for generator, state in zip((self.shuffle, self.draws), content["generators"], strict=True):
            generator.set_state(state)

    def draw(self) -> None:
        """Write the pictures beside the checkpoint."""
        from examples.pictures import learning_curves, save
        from spikingtorch import plot

        losses, accuracies = zip(*self.history, strict=True)
        learning_curves(self.path.with_name("curves.png"), losses, accuracies)
        encoder = PoissonEncoder(self.settings["nsteps"], generator=Generator().manual_seed(0))
        images, classes = self.test[:64]
        figure = plot.overview(self.model.eval(), encoder(images), targets=classes)
        save(figure, self.path.with_name("overview.png"))


def _option(name: str, value: object) -> str:
    option = "--" + name.replace("_", "-")
    return f"without {option}" if value is None else f"with {option} {value}"


def rate(text: str) -> float:
    """Read a finite number above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above zero")
    return value


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="train", description=(__doc__ or "").split(":")[0] + ".")
    parser.add_argument("--dataset", choices=DATASETS, default="digits", help="digits needs no network (default)")
    parser.add_argument("--epochs", type=positive, default=10)
    parser.add_argument("--nsteps", type=positive, default=8, help="length of the spike train of an image")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--lr", type=rate, default=0.005, help="learning rate of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batches", type=positive, help="stop each epoch after so many batches (default: all)")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint and pictures (default: runs/DATASET)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    options = parser.parse_args(arguments)
    options.out = options.out or Path("runs") / options.dataset
    return options


def keep_earlier_run(folder: Path) -> None:
    """Move what an earlier run wrote into a folder of its own, so that nothing of it is overwritten."""
    earlier = [folder / name for name in FILES if (folder / name).exists()]
    if not earlier:
        return
    aside = folder / f"before-{time.strftime('%Y%m%d-%H%M%S')}"
    aside.mkdir()
    for path in earlier:
        path.rename(aside / path.name)
    print(f"The earlier run is now in {aside}. (--resume would go on with it.)")


def main(arguments: list[str] | None = None) -> int:
    """Train, and return the exit code."""
    options = parse(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with checkpoint.locked(options.out):
            return train(options)
    except (checkpoint.CheckpointError, ModuleNotFoundError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def train(options: argparse.Namespace) -> int:
    """Train up to the last epoch, saving after each, and draw the pictures."""
    run = Run(options)
    if options.resume:
        run.resume()
    else:
        keep_earlier_run(options.out)
    images = f"{len(run.train):,} images to train, {len(run.test):,} to test"
    print(f"{options.dataset}: {images}, {options.nsteps} steps each, {torch.get_num_threads()} threads")
    if run.saved:
        left = (
            "" if run.saved < options.epochs else f"; nothing to do up to epoch {options.epochs}, --epochs goes further"
        )
        print(f"Resumed after epoch {run.saved}: test accuracy {run.history[-1][1]:.1%}{left}")
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for epoch in range(run.saved + 1, options.epochs + 1):
            start = time.perf_counter()
            label = f"epoch {epoch:2}/{options.epochs}"
            loss, reached = run.epoch(label)
            run.save()
            seconds = time.perf_counter() - start
            print(f"{label}   loss {loss:.3f}   test accuracy {reached:6.1%}   {seconds:4.1f} s", flush=True)
        run.draw()
    except KeyboardInterrupt:
        print(f"\nInterrupted. {run.kept()}", file=sys.stderr)
        return 130
    best = max(reached for _, reached in run.history)
    print(f"Best test accuracy {best:.1%}. Checkpoint, curves.png and overview.png are in {options.out}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
