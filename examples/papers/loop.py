"""The loop that papers share: one seed of one model. A run that was killed goes on with the same bits."""

import csv
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from examples import checkpoint

Settings = Mapping[str, Any]
COLUMNS = ("epoch", "loss", "validation_loss", "validation_accuracy", "seconds")
KEPT = {"settings", "rows", "best", "model", "optimizer", "decay", "random"}


class Task(NamedTuple):
    """What is learned, and by what."""

    data: Callable[[Settings, int], tuple[TensorDataset, ...]]  # for a seed: train, validation, test
    network: Callable[[Settings], nn.Module]
    judge: Callable[
        [nn.Module, list[Tensor], Settings], tuple[Tensor, Tensor]
    ]  # loss, mean over a batch; what is right
    begin: Callable[[nn.Module, Settings, float], None] = lambda *_: None  # before an epoch, at a part of all epochs


class Seed:
    """A run of a task.

    Args:
        task: what is learned.
        settings: epochs, batch, lr, and what the network of the task takes.
        seed: of the split into training and validation, of the weights, and of the order of samples.
        folder: where ``checkpoint.pt``, ``curve.csv`` and ``best.safetensors``, the weights of the best epoch, go.

    Attributes:
        rows: COLUMNS for each epoch; the first one is before training.
    """

    def __init__(self, task: Task, settings: Settings, seed: int, folder: Path) -> None:
        self.task, self.settings, self.seed, self.folder = task, settings, seed, folder
        torch.manual_seed(seed)
        self.train, self.validation, self.test = task.data(settings, seed)
        self.model = task.network(settings)
        self.order = Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=settings["lr"])
        self.decay = LambdaLR(self.optimizer, lambda epoch: 1.0 - epoch / settings["epochs"])
        self.rows: list[tuple[float, ...]] = []
        self.best: dict[str, Tensor] = {}

    def run(self, label: str) -> float:
        """Train up to the last epoch, from where an earlier run has ended; return the best epoch's test accuracy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "checkpoint.pt"
        with checkpoint.locked(self.folder):
            if path.exists():
                self._resume(checkpoint.load(path, KEPT))
            first, last = len(self.rows), self.settings["epochs"]
            for epoch in tqdm(range(first, last + 1), label, last + 1, initial=first, unit="epoch", disable=None):
                self.rows.append(self._epoch(epoch))
                if self.chosen[0] == epoch:
                    self.best = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
                self._save(path)
        self.model.load_state_dict(self.best)
        about = {"settings": json.dumps(dict(self.settings)), "seed": str(self.seed), "epoch": str(self.chosen[0])}
        save_file(self.best, self.folder / "best.safetensors", about)
        return self.evaluate(self.test)[1]

    @property
    def chosen(self) -> tuple[float, ...]:
        """The row with the lowest loss on the validation samples; test samples have no say."""
        return min(self.rows, key=lambda row: row[COLUMNS.index("validation_loss")])

    def _epoch(self, epoch: int) -> tuple[float, ...]:
        """Train once on each sample, but for epoch 0, and return its row."""
        start, losses = time.perf_counter(), []
        self.task.begin(self.model, self.settings, epoch / self.settings["epochs"])
        for batch in self._batches() if epoch > 0 else ():
            self.optimizer.zero_grad()
            loss, _ = self.task.judge(self.model, batch, self.settings)
            loss.backward()
            if (limit := self.settings.get("clip")) is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
            self.optimizer.step()
            losses.append(loss.item())
        if epoch > 0:
            self.decay.step()
        seconds = time.perf_counter() - start
        mean = sum(losses) / len(losses) if losses else float("nan")
        return epoch, mean, *self.evaluate(self.validation), seconds

    def _batches(self) -> DataLoader[Any]:
        self.model.train()
        return DataLoader(self.train, self.settings["batch"], shuffle=True, generator=self.order)

    @torch.no_grad()
    def evaluate(self, data: TensorDataset) -> tuple[float, float]:
        """Return the loss and the accuracy on all samples."""
        self.model.eval()
        losses, hits = [], []
        for batch in DataLoader(data, 256):
            loss, right = self.task.judge(self.model, batch, self.settings)
            losses.append(len(batch[0]) * loss.item())
            hits.append(right.flatten())
        return sum(losses) / len(data), torch.cat(hits).double().mean().item()

    def _save(self, path: Path) -> None:
        content = {
            "settings": dict(self.settings) | {"seed": self.seed},
            "rows": self.rows,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "decay": self.decay.state_dict(),
            "random": (self.order.get_state(), torch.get_rng_state()),
        }
        checkpoint.save(path, content)
        with (self.folder / "curve.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self.rows])

    def _resume(self, content: dict[str, Any]) -> None:
        given = dict(self.settings) | {"seed": self.seed}
        if content["settings"] != given:
            raise checkpoint.CheckpointError(
                f"{self.folder} has a run with {content['settings']}, and the settings are {given}. Give this one its "
                "own folder: --out FOLDER"
            )
        self.rows, self.best = [tuple(row) for row in content["rows"]], content["best"]
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.decay.load_state_dict(content["decay"])
        order, random = content["random"]
        self.order.set_state(order)
        torch.set_rng_state(random)
