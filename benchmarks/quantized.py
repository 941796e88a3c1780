"""Weights of few bits, rounded after training and trained with rounding: ``python -m benchmarks.quantized``.

Digits arrive row by row: 28 steps of 28 binary inputs. A network with a recurrent layer has to remember them. It is
trained in float, then trained on in float or with rounding for as long; rounding after training takes the former. Each
row of a weight has its own scale.
With ``--time`` the command times a training step of the tutorial's network with rounded weights beside that in float.
"""

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn
from tqdm import trange

import spikingtorch as st
from benchmarks.report import table
from benchmarks.subject import Call, descent, in_turns
from examples import data
from spikingtorch import losses
from spikingtorch.metrics import rate_accuracy
from spikingtorch.quantize import prepare_qat, quantize

# chosen on a fifth of the digits to train with
HIDDEN, BATCH, EPOCHS, MORE, RATE = 100, 64, 12, 24, 2e-3
Sequences = tuple[Tensor, Tensor]


def sequences() -> tuple[Sequences, Sequences]:
    """Return rows of digits (N, 28, 28), 0 or 1, and classes, to train and to test."""
    sets = [each.tensors for each in data.load("digits")]
    train, test = (((images[:, 0] > 0.5).float(), classes) for images, classes in sets)
    return train, test


def network(seed: int) -> st.SpikingNet:
    """Return a network of one hidden layer, which is recurrent."""
    torch.manual_seed(seed)
    recurrent = nn.Linear(HIDDEN, HIDDEN, bias=False)
    layers = [nn.Linear(28, HIDDEN), st.LIF(decay=0.9375, recurrent=recurrent)]
    layers += [nn.Linear(HIDDEN, 10), st.LIF(decay=0.9375)]
    return st.SpikingNet(nn.Sequential(*layers))


def train(model: st.SpikingNet, given: Sequences, epochs: int) -> st.SpikingNet:
    """Train a model in place, at a rate that falls to zero, and return it."""
    x, y = given
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(epochs):
        for some in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            losses.count_cross_entropy(model(x[some]), y[some]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: st.SpikingNet, test: Sequences) -> float:
    """Return the share of digits that a model names, in percent."""
    return 100 * float(rate_accuracy(model(test[0]), test[1]))


def tutorial(kind: str) -> st.SpikingNet:
    """Return the tutorial's network in float, with rounded weights, or with neurons on a grid as well."""
    torch.manual_seed(0)
    neurons = st.FixedPointIF if kind == "rounded weights and membranes" else st.IF
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 4, stride=2), neurons(), nn.Conv2d(4, 6, 4), neurons(), nn.Flatten()]
    model = st.SpikingNet(nn.Sequential(*layers, nn.Linear(600, 10, bias=False), neurons()))
    return model if kind == "float" else prepare_qat(model, 8, scale="learned" if "learned" in kind else "heuristic")


def times(rounds: int) -> dict[str, float]:
    """Return the medians of a training step, in milliseconds; the networks take turns."""
    kinds = ("float", "rounded weights", "weights with learned scales", "rounded weights and membranes")
    x, y = (torch.rand(32, 8, 1, 28, 28) < 0.2).float(), torch.arange(32) % 10

    def trained(kind: str) -> Call:
        model = tutorial(kind)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        return descent(optimizer, lambda: losses.count_cross_entropy(model(x), y))

    # kernels are compiled in the first rounds
    found = in_turns({kind: trained(kind) for kind in kinds}, rounds, 5, time.process_time)
    return {kind: 1e3 * statistics.median(each) for kind, each in found.items()}


def row(seed: int, bits: list[int], epochs: int, more: int) -> dict[str, float]:
    """Return the accuracies of one seed."""
    given, test = sequences()
    start = train(network(seed), given, epochs)
    longer = train(copy.deepcopy(start), given, more)
    found = {"float": accuracy(longer, test)}
    for each in bits:
        found[f"{each} after"] = accuracy(quantize(longer, given[0][:500], each, per_channel=True), test)
        model = prepare_qat(copy.deepcopy(start), each, per_channel=True)
        found[f"{each} trained"] = accuracy(train(model, given, more), test)
    return found


def accuracies(seeds: int, bits: list[int], epochs: int, more: int) -> str:
    """Return a table of accuracies, a row for each seed and their mean."""
    found = [row(seed, bits, epochs, more) for seed in trange(seeds, desc="seeds")]
    means = [f"{statistics.mean(column):.2f}" for column in zip(*(each.values() for each in found), strict=True)]
    rows = [[str(seed), *(f"{value:.1f}" for value in each.values())] for seed, each in enumerate(found)]
    return table("Accuracy in percent", ["seed", *found[0]], [*rows, ["mean", *means]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--more", type=int, default=MORE)
    parser.add_argument("--time", action="store_true", help="time a training step")
    given = parser.parse_args()
    if given.time:
        measured = times(60)
        rows = [[kind, f"{value:.1f}", f"{value / measured['float']:.2f}"] for kind, value in measured.items()]
        print(table("A training step of the tutorial's network", ["", "ms", "over float"], rows))
    else:
        print(accuracies(given.seeds, given.bits, given.epochs, given.more))
