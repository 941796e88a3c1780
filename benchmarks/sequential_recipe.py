"""One recipe for all ways to compute a gradient: network, loss, optimizer, epochs, seeds and order of the batches.

The loss of a step is the cross entropy of the sum of all outputs so far, of which the last one alone has a gradient. So
online rules can compute it step by step, and back-propagation through time (BPTT) takes the same one. A way of yours is
an entry of ``WAYS``.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from tqdm import tqdm

from benchmarks.online_rules import RULES
from examples.data import load
from spikingtorch import LIF, SpikingNet, learning
from spikingtorch import functional as F
from spikingtorch.learning.online_learner import Rule

BATCH, RATE, CLIP, TAU = 100, 3e-3, 1.0, 8.0
# adds the gradient of one batch, sequences (N, T, features) and labels (N,), to .grad
Gradient = Callable[[Tensor, Tensor], None]


def sequences(task: str, images: Tensor, pixels: int = 28) -> Tensor:
    """Return images (N, 1, 28, 28) as sequences (N, T, features).

    Args:
        task: "rows", the 28 rows of an image; "small rows", the 14 rows of an image of half the size; or "permuted",
            the 784 pixels in one random order.
        images: the images.
        pixels: of "permuted", how many arrive in a step; a divisor of 784.
    """
    if task == "permuted":
        order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
        return images.flatten(1)[:, order].reshape(len(images), -1, pixels)
    return images[:, 0] if task == "rows" else avg_pool2d(images[:, 0], 2)


class Setting(NamedTuple):
    """A task and a network.

    Attributes:
        task: as ``sequences`` takes it.
        hidden: the neurons of each layer.
        recurrent: whether the spikes of a layer come back to it one step later.
        ways: names of the ways to compute the gradient.
    """

    task: str
    hidden: tuple[int, ...]
    recurrent: bool
    ways: tuple[str, ...] = ("BPTT", *RULES[1:])


SETTINGS = {
    "rows, feed-forward": Setting("rows", (64, 64), False),
    "rows, recurrent": Setting("rows", (64, 64), True),
    "permuted, feed-forward": Setting("permuted", (64, 64), False),
    "permuted, recurrent": Setting("permuted", (64, 64), True),
    # where "exact" is affordable
    "small rows, recurrent": Setting("small rows", (16,), True, ("BPTT", *RULES)),
}


def network(features: int, setting: Setting) -> SpikingNet:
    """Return layers of LIF neurons and a linear readout, with random weights.

    Neurons reset by subtraction, without a gradient: their leak is a constant, as "presynaptic" asks.
    """
    layers: list[nn.Module] = []
    for ins, outs in zip((features, *setting.hidden), setting.hidden, strict=False):
        weights, back = nn.Linear(ins, outs), nn.Linear(outs, outs, bias=False) if setting.recurrent else None
        nn.init.normal_(weights.weight, std=3.0 * ins**-0.5)
        if back is not None:
            nn.init.normal_(back.weight, std=0.1 * outs**-0.5)
        reset = F.detached(F.by_subtraction)
        layers += [weights, LIF(tau=TAU, surrogate=F.Triangular(beta=1.0), reset=reset, recurrent=back)]
    return SpikingNet(nn.Sequential(*layers, nn.Linear(setting.hidden[-1], 10)))


def bptt(model: SpikingNet) -> Gradient:
    """Return back-propagation through time."""

    def gradient(x: Tensor, y: Tensor) -> None:
        out = model(x)
        before = out.detach().cumsum(1) - out.detach()
        cross_entropy((before + out).flatten(0, 1), y.repeat_interleave(x.shape[1])).backward()

    return gradient


def by_rule(rule: Rule, model: SpikingNet) -> Gradient:
    """Return an online rule: after each step, the gradient of its loss."""
    learner = learning.online(model, rule)

    def gradient(x: Tensor, y: Tensor) -> None:
        before = torch.zeros(len(x), 10).to(x)
        for t, step in enumerate(x.unbind(1)):
            out = learner.step(step, init=True if t == 0 else None)
            learner.backward(cross_entropy(before + out, y) / x.shape[1])
            before = before + out.detach()

    return gradient


WAYS: dict[str, Callable[[SpikingNet], Gradient]] = {"BPTT": bptt, **{rule: partial(by_rule, rule) for rule in RULES}}


class Options(NamedTuple):
    """What the command line asks for, and what decides a result beside setting, way and seed."""

    epochs: int
    pixels: int
    digits: int

    def key(self, name: str, way: str, seed: int) -> str:
        """Return the key of a result."""
        return ", ".join([name, way, f"seed {seed}", *(f"{value} {key}" for key, value in self._asdict().items())])


def train(name: str, way: str, seed: int, options: Options) -> list[float]:
    """Train a network anew, and return its accuracy on the test digits after each epoch."""
    setting, (learn, test) = SETTINGS[name], load("digits")
    x, x_test = (sequences(setting.task, each.tensors[0], options.pixels) for each in (learn, test))
    y, y_test = learn.tensors[1], test.tensors[1]
    torch.manual_seed(seed)
    model = network(x.shape[2], setting)
    gradient, optimizer = WAYS[way](model), torch.optim.Adam(model.parameters(), lr=RATE)
    reached = []
    for epoch in range(options.epochs):
        batches = torch.randperm(len(x))[: options.digits].split(BATCH)
        for batch in tqdm(batches, f"{name}, {way}, seed {seed}, epoch {epoch + 1}", leave=False, disable=None):
            optimizer.zero_grad()
            gradient(x[batch], y[batch])
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
        with torch.no_grad():
            reached.append(float((model(x_test).sum(1).argmax(1) == y_test).double().mean()))
    return reached


def train_all(path: Path, seeds: int, options: Options) -> dict[str, list[float]]:
    """Train what is not in a file of results yet, seed by seed, and keep each result there at once."""
    found: dict[str, list[float]] = json.loads(path.read_text()) if path.is_file() else {}
    for seed in range(seeds):
        for name, setting in SETTINGS.items():
            for way in setting.ways:
                key = options.key(name, way, seed)
                if key not in found:
                    found[key] = train(name, way, seed, options)
                    path.write_text(json.dumps(found, indent=1))
                    print(f"{key}: {found[key][-1]:.1%}", flush=True)
    return found
