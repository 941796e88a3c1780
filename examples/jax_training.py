"""The data of the examples in JAX: the digits as arrays, and minibatches of them under a progress bar."""

from collections.abc import Iterator
from itertools import islice

import jax
import jax.numpy as jnp
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from examples import data
from examples.training import Options
from spikingtorch.interop import to_jax

Batch = tuple[jax.Array, jax.Array]


def load(options: Options) -> tuple[TensorDataset, Batch]:
    """Return the images to train on, and those to test on as arrays: (N, 1, 28, 28) in [0, 1], and labels (N,)."""
    train, test = data.load(options.dataset)
    images, labels = test.tensors
    return train, to_jax((images, labels.int()))


def minibatches(train: TensorDataset, options: Options, epoch: int) -> Iterator[tuple[jax.Array, Batch]]:
    """Yield a random key and 32 images with their labels, shuffled, under a progress bar."""
    loader = DataLoader(train, batch_size=32, shuffle=True)
    total = len(loader) if options.batches is None else min(options.batches, len(loader))
    keys = jax.random.split(jax.random.key(epoch), total)
    label = f"epoch {epoch:2}/{options.epochs}"
    bar = tqdm(islice(loader, total), label, total, unit="batch", leave=False, disable=None)
    for key, (images, labels) in zip(keys, bar, strict=True):
        yield key, (jnp.asarray(images.numpy()), jnp.asarray(labels.int().numpy()))


def say(epoch: int, options: Options, reached: jax.Array) -> None:
    """Print the line of an epoch."""
    print(f"epoch {epoch:2}/{options.epochs}   test accuracy {reached:6.1%}", flush=True)
