"""Code that mixes the samples of a batch, or looks at how many there are.

Operations that mix them by themselves, each along its own axes, are those of tests/fold/corpus/operations.py.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.nets.entry import SEQUENCE, Entry, between, folds, linear, module, steps, weight


class Centred(nn.Module):
    """Takes the mean over the batch off, to be scripted."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


@torch.library.custom_op("spikingtorch_table::centred", mutates_args=())
def centred(x: Tensor) -> Tensor:
    """Take the mean over the batch off, in an operator that nobody looks into."""
    return x - x.mean(0)


torch.library.register_fake("spikingtorch_table::centred", torch.empty_like)


def linear_of_zeros() -> nn.Linear:
    layer = nn.Linear(6, 6)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def written(index: Any) -> Any:
    """Return code that sets entries to zero; of few samples it may be all of them."""

    def code(_: Any, x: Tensor) -> Tensor:
        h = x.clone()
        h[index] = 0.0
        return x + h

    return between(code)


def taken(index: Any) -> Any:
    """Return code that writes on a view of entries; of few samples it may be all of them."""

    def code(_: Any, x: Tensor) -> Tensor:
        h = x.clone()
        h[index].zero_()
        return x + h

    return between(code)


def parts_normalised(net: Any, x: Tensor) -> Any:
    halves = x.view(2, -1, 6)
    return (halves - halves.mean(1, keepdim=True)).view_as(x)


def shifted_in_place(net: Any, x: Tensor) -> Any:
    x = x.clone()
    x[1:] += 0.5 * x[:-1].clone()
    return x


def first_feature_set(net: Any, x: Tensor) -> Any:
    x = x.clone()
    x.view(-1)[0] = 5.0
    return x


def without_gradient(net: Any, x: Tensor) -> Any:
    with torch.no_grad():
        mean = x.mean(0)
    return x - mean


def ten_at_most(net: Any, x: Tensor) -> Any:
    if len(x) > 10:
        raise ValueError("too many samples")
    return 2.0 * x


def gradient_of_mean_energy(net: Any, x: Tensor) -> Any:
    """Return the gradient of an energy, whose mean over the batch makes it smaller for larger batches."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad(net.module(y).tanh().sum(1).mean(), y, create_graph=True)[0]


def adapted_to_the_batch(net: Any, x: Tensor) -> Any:
    """Take a step of learning for this batch alone."""
    w = net.module.weight
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(F.mse_loss(F.linear(x, w), x), w, create_graph=True)
    return F.linear(x, w - 0.5 * gradient)


MIXING: dict[str, Entry] = {
    # means, however they come about
    "minus the mean": steps(
        "the message names operation and line",
        between(lambda net, x: x - x.mean(0)),
        "works along the axis of the batch .mean, line",
    ),
    "minus the mean in training": steps(
        "it does so in training alone", between(lambda net, x: x - x.mean(0) if net.training else x), "batch"
    ),
    "minus the mean in training, evaluated": folds(
        "... which is another decision", between(lambda net, x: x - x.mean(0) if net.training else x), training=False
    ),
    "minus the mean of data": steps("past autograd", between(lambda net, x: x - x.data.mean(0)), "batch"),
    "minus the mean without a gradient": steps("where none is recorded", between(without_gradient), "batch"),
    "minus the mean in place": steps(
        "on the output of a layer", between(lambda net, x: x.sub_(x.detach().mean(0))), "batch"
    ),
    "minus a mean by matmul": steps(
        "a constant of as many entries as samples",
        between(lambda net, x: x - torch.ones(1, len(x), dtype=x.dtype) @ x / len(x)),
    ),
    "minus a sum to size": steps(
        "a reduction that is given by a shape", between(lambda net, x: x - x.sum_to_size(1, 6))
    ),
    "softmax along an axis of its choice": steps(
        "torch chooses the axis", module(lambda: nn.Softmax(dim=None)), shape=SEQUENCE
    ),
    "layer norm over all": steps(
        "the shape of the batch is that of a norm", between(lambda net, x: F.layer_norm(x, x.shape))
    ),
    "halves normalised": steps("the batch is parted", between(parts_normalised)),
    "scripted mean": steps("in code that is not in sight", module(lambda: torch.jit.script(Centred()))),
    "mean in an operator of one's own": steps(
        "in an operation that is not known", between(lambda net, x: x + centred(x.detach()))
    ),
    "vmap over features": steps(
        "in a transform", between(lambda net, x: torch.vmap(lambda feature: feature - feature.mean(), 1, 1)(x))
    ),
    # calls without a batch, for which torch takes samples for something else
    "attention without a batch": steps(
        "samples as tokens",
        between(lambda net, x: net.module(x, x, x)[0], module=lambda: nn.MultiheadAttention(6, 2, batch_first=True)),
    ),
    "dot product without a batch": steps(
        "samples as tokens", between(lambda net, x: F.scaled_dot_product_attention(x, x, x))
    ),
    "conv without a batch": steps("samples as channels", module(lambda: nn.Conv2d(4, 4, 3, padding=1)), shape=(8, 8)),
    # some samples
    "mixed up": steps(
        "an order is drawn",
        between(lambda net, x: 0.5 * x + 0.5 * x[torch.randperm(len(x))]),
        "batch|number of samples|another step",
    ),
    "shifted in place": steps("samples are written on by others", between(shifted_in_place)),
    "first sample": steps("one is read", between(lambda net, x: x + x[0])),
    "first for all": steps("one is expanded", between(lambda net, x: x[:1].expand(len(x), -1))),
    "first feature of all": steps("one is written on, by a view of all", between(first_feature_set)),
    "taken by flat index": steps(
        "entries of all are numbered", between(lambda net, x: x + x.take(x.argmax(1))[:, None])
    ),
    "selected samples": steps("as many as noise says", between(lambda net, x: x[x[:, 0] > -1])),
    "unlike samples": steps("as many as are distinct", between(lambda net, x: x + x.detach().unique(dim=0).sum(0))),
    "number of spikes": steps("a size that is counted", between(lambda net, x: x * x.nonzero().shape[0])),
    # forms
    "transposed": steps(
        "the batch is not the first axis", between(lambda net, x: x.t().reshape(-1, 6)), "axis|batch|does not run"
    ),
    "pairs as one": steps(
        "two samples make one", between(lambda net, x: net.module(x.view(-1, 12)).view(-1, 6), module=linear(12, 12))
    ),
    "pairs of copies": steps(
        "copies are paired with others", between(lambda net, x: x.repeat(2, 1).view(-1, 2, 6).mean(1))
    ),
    "by strides": steps("a view by numbers", between(lambda net, x: x.as_strided(x.shape, (6, 1)))),
    "by the same strides in place": folds(
        "... that leaves all in its place", between(lambda net, x: x.clone().as_strided_(x.shape, (6, 1)))
    ),
    "by other strides in place": steps(
        "... that does not", between(lambda net, x: x.clone().as_strided_(x.shape, (1, 1)))
    ),
    "from another place": steps(
        "... from the middle of a memory", between(lambda net, x: x.repeat(2, 1).as_strided_(x.shape, (6, 1), 6))
    ),
    "fewer by strides": steps(
        "... of another shape", between(lambda net, x: x.clone().as_strided_((x.shape[0], 3), (6, 1)).repeat(1, 2))
    ),
    "squeezed": steps("the batch is lost if it is of one sample", between(lambda net, x: x.unsqueeze(1).squeeze())),
    # more samples than a proof tries
    "first of many": steps("a slice up to a number", between(lambda net, x: torch.cat([2.0 * x[:64], x[64:]]))),
    "first hundred written on": steps("... on which is written", written(slice(None, 100))),
    "last hundred written on": steps("... from the end", written((slice(-100, None), 0))),
    "hundred behind an ellipsis": steps("... behind an ellipsis", written((..., slice(9), slice(None)))),
    "hundred behind new axes": steps("... behind new axes", written((None, None, slice(20), slice(1, 3)))),
    "first hundred of a list": steps("... in a list", written([slice(0, 100)])),
    "first hundred by numpy": steps("... given by numpy", written(slice(np.int64(100)))),
    "first hundred taken": steps("... by a view", taken((slice(None, 100), slice(None)))),
    "all written on": folds("all features", written((slice(None), slice(0, 6)))),
    "features written on": folds("... behind an ellipsis", written((..., slice(-6, 3)))),
    "features taken": folds("... by a view", taken((slice(None), slice(0, 6)))),
    # mixed, and nothing to be seen of it
    "hidden behind where": steps("by a condition", between(lambda net, x: torch.where(x > 1e6, x.mean(0), x))),
    "hidden behind a buffer": steps(
        "by a flag that is a tensor",
        between(lambda net, x: torch.where(net.off, x, x - x.mean(0)), off=lambda: nn.Buffer(torch.tensor(True))),
    ),
    "hidden behind a gate of zero": steps(
        "by a parameter that is zero",
        between(lambda net, x: x + net.gate * x.mean(0), gate=lambda: nn.Parameter(torch.zeros(6))),
    ),
    "hidden behind a weight of zero": steps(
        "by a module whose weights are", between(lambda net, x: x + net.module(x.roll(1, 0)), module=linear_of_zeros)
    ),
    "hidden behind a clamp": steps(
        "by numbers out of range", between(lambda net, x: x + (x.mean(0) - 5.0).clamp(min=0.0))
    ),
    # the size of the batch, and the place in it
    "over the size": steps("a number", between(lambda net, x: x / len(x)), "batch|number of samples"),
    # it folds for as few samples as the calls of the table have
    "large batches": folds("a branch that is not taken here", between(lambda net, x: 2.0 * x if len(x) > 20000 else x)),
    "odd batches": steps("a remainder", between(lambda net, x: x if x.shape[0] % 5 else 2.0 * x)),
    "place in the batch": steps(
        "a range", between(lambda net, x: x + torch.arange(len(x))[:, None]), "number of samples"
    ),
    "table cut to size": steps(
        "rows of a weight", between(lambda net, x: x + net.table[: len(x)], table=weight(1000, 6))
    ),
    "table by place, of numpy": steps(
        "numpy makes the rows", between(lambda net, x: x + torch.from_numpy(np.linspace(0.0, 1.0, len(x)))[:, None])
    ),
    "table by place, of Python": steps(
        "Python does", between(lambda net, x: x + torch.tensor([[0.1 * i] for i in range(len(x))]))
    ),
    "digits of the size": steps("a text", between(lambda net, x: x * len(str(len(x))))),
    "scale by size": steps("a key", between(lambda net, x: x * {2: 1.0, 4: 1.0}.get(len(x), 3.0))),
    "hash of the shape": steps("a hash", between(lambda net, x: x * (1 + hash(x.shape) % 5))),
    "logarithm of the size": steps("a function of Python", between(lambda net, x: x / math.log(1 + len(x)))),
    "large in memory": steps("bytes", between(lambda net, x: x if x.nbytes < 400 else 2.0 * x)),
    "number of all features": steps("entries", between(lambda net, x: x if x.numel() < 70 else 2.0 * x)),
    "at most ten samples": steps("an error for many", between(ten_at_most)),
    "as many samples as features": steps("a product that runs by chance", between(lambda net, x: x @ x)),
    "four samples": steps("a shape that is written out", between(lambda net, x: x.view(4, 6))),
    "steps by size": steps("a loop", between(lambda net, x: x * sum(1.0 for _ in range(0, len(x), 5)))),
    # gradients
    "gradient by frequency": steps(
        "torch counts how often a row is used",
        between(lambda net, x: net.module(x.long()).sum(1), module=lambda: nn.Embedding(5, 6, scale_grad_by_freq=True)),
    ),
    "gradient by frequency in a bag": steps(
        "... in a bag",
        between(lambda net, x: F.embedding_bag(x.long(), net.w, mode="sum", scale_grad_by_freq=True), w=weight(5, 6)),
    ),
    "gradient of a mean energy": steps("a gradient that is a mean", between(gradient_of_mean_energy, module=linear())),
    "weight adapted to the batch": steps(
        "a weight that is learned in a step", between(adapted_to_the_batch, module=linear())
    ),
}
