"""Electrocardiograms, a label a step: recurrent networks of Higuchi et al. (ICML 2024, arXiv:2402.14603)."""

from functools import partial

from torch import Tensor, nn
from torch.utils.data import TensorDataset

from examples.papers.loop import Settings, Task
from examples.papers.recurrent import network
from spikingtorch.data import QTDB
from spikingtorch.losses import per_step_cross_entropy


def data(_settings: Settings, seed: int) -> tuple[TensorDataset, ...]:
    """Return 557 recordings to train, 61 of the training set to choose the epoch, and the 141 of the test set."""
    return QTDB("train", seed=seed), QTDB("validation", seed=seed), QTDB("test")


def judge(model: nn.Module, batch: list[Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy, summed over the steps that count, and the steps that are right.

    The first steps, as many as the setting ``skipped`` says, do not count.
    """
    x, labels = batch
    skipped = settings.get("skipped", 0)
    outputs, labels = model(x)[:, skipped:], labels[:, skipped:]
    return per_step_cross_entropy(outputs, labels) * float(outputs.shape[1]), outputs.argmax(2) == labels


TASK = Task(data, partial(network, 4, 6), judge)
