"""Code that mixes the samples of a batch, or takes other things for samples.

Operations by themselves, each along its own axes, are rows of the operations.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.fold.corpus.entry import SEQUENCE, Code, Entry, buffer, folds, linear, module, norm, steps, weight
from tests.nets_that_step import centred


class Centred(nn.Module):
    """Takes the mean over the batch off, to be scripted."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


@torch.library.custom_op("spikingtorch_corpus::centred", mutates_args=())
def centred_operation(x: Tensor) -> Tensor:
    """Take the mean over the batch off, in an operator that nobody looks into."""
    return x - x.mean(0)


torch.library.register_fake("spikingtorch_corpus::centred", torch.empty_like)


def written(index: Any) -> Code:
    """Return code that sets entries to zero; of few samples it may be all of them."""

    def code(_: Any, x: Tensor) -> Tensor:
        h = x.clone()
        h[index] = 0.0
        return x + h

    return code


def halves_normalised(net: Any, x: Tensor) -> Any:
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


def nearest_of_all(net: Any, x: Tensor) -> Any:
    """Number the samples, as point clouds do whose nearest points are found in one table of the batch."""
    rows = x.argmax(1) + torch.arange(len(x)) * 6
    return x + x.reshape(-1)[rows][:, None]


def heads_behind_each_other(net: Any, x: Tensor) -> Any:
    return torch.cat(torch.cat(x.split(3, 1), 0).tanh().split(x.size(0), 0), 1)


def sent_to_an_expert(net: Any, x: Tensor) -> Any:
    rows = torch.where(x.argmax(1) > 2)[0]
    return x.index_add(0, rows, net.module(x[rows]))


MIXING: dict[str, Entry] = {
    # means, however they come about
    "the mean is taken off": steps(
        lambda net, x: x - x.mean(0), r"works along the axis of the batch .mean, line \d+ of mixing.py"
    ),
    "... in training alone": steps(lambda net, x: x - x.mean(0) if net.training else x, "axis of the batch"),
    "... in training, evaluated": folds(lambda net, x: x - x.mean(0) if net.training else x, training=False),
    "... along an axis that torch chooses": steps(module, module=lambda: nn.Softmax(dim=None), shape=SEQUENCE),
    "... of each half of the batch": steps(halves_normalised),
    "... in code that is not in sight": steps(module, "a scripted module", module=lambda: torch.jit.script(Centred())),
    "... in an operation that is not known": steps(
        lambda net, x: x + torch.ops.spikingtorch_corpus.centred(x.detach()), "not known to keep samples apart .centred"
    ),
    "... in a transform": steps(lambda net, x: torch.vmap(lambda each: each - each.mean(), 1, 1)(x)),
    # calls without a batch, for which torch takes samples for something else
    "samples are tokens": steps(
        lambda net, x: net.module(x, x, x)[0], module=lambda: nn.MultiheadAttention(6, 2, batch_first=True)
    ),
    # some samples
    "samples are written on by others": steps(shifted_in_place),
    "one sample is read by all": steps(lambda net, x: x + x[0]),
    "one sample is written on, by a view of all": steps(first_feature_set),
    "as many samples as noise says": steps(lambda net, x: x[x[:, 0] > -1]),
    # forms
    "the batch is not the first axis": steps(lambda net, x: x.t().reshape(-1, 6), "axis|batch|does not run"),
    "two samples make one": steps(lambda net, x: net.module(x.view(-1, 12)).view(-1, 6), module=linear(12, 12)),
    "a view by numbers leaves all in its place": folds(lambda net, x: x.clone().as_strided_(x.shape, (6, 1))),
    "a view by numbers moves all": steps(lambda net, x: x.clone().as_strided_(x.shape, (1, 1))),
    "one sample would lose the batch": steps(lambda net, x: x.unsqueeze(1).squeeze()),
    # more samples than a proof tries
    "a slice up to a number": steps(lambda net, x: torch.cat([2.0 * x[:64], x[64:]])),
    "a slice on which is written": steps(written(slice(None, 100)), "entries up to a number that is beyond the end"),
    "a slice from the end": steps(written((slice(-100, None), 0)), "beyond the end of an axis"),
    "a slice behind an ellipsis": steps(written((..., slice(9), slice(None)))),
    "a slice behind new axes": steps(written((None, None, slice(20), slice(1, 3)))),
    "a slice in a list": steps(written([slice(0, 100)])),
    "a slice given by numpy": steps(written(slice(np.int64(100)))),
    "a slice of all features": folds(written((slice(None), slice(0, 6)))),
    "a slice of features, behind an ellipsis": folds(written((..., slice(-6, 3)))),
    # mixed, and nothing to be seen of it
    "hidden behind a condition": steps(lambda net, x: torch.where(x > 1e6, x.mean(0), x)),
    "behind a weight of 0": steps(lambda net, x: x + net.gate * x.mean(0), gate=lambda: nn.Parameter(torch.zeros(6))),
    # gradients
    "a gradient by how often a row is used": steps(
        lambda net, x: net.module(x.long()).sum(1), module=lambda: nn.Embedding(5, 6, scale_grad_by_freq=True)
    ),
    # they could fold
    "samples are numbered": steps(nearest_of_all, r"computes with the number of samples.*arange"),
    "parts of samples in a row": steps(heads_behind_each_other, r"computes with the number of samples.*split"),
    "samples are sent to a layer": steps(sent_to_an_expert, r"reads the value of a tensor.*nonzero", module=linear()),
    "torch makes an offset for each sample": steps(
        lambda net, x: net.module(x.long()), r"number that c.*arange", module=lambda: nn.EmbeddingBag(5, 6)
    ),
    "torch measures many samples in another way": steps(
        lambda net, x: F.embedding(torch.cdist(x, net.codes).argmin(1), net.codes) + x - x.detach(),
        "measures distances by another formula if there are more samples",
        codes=weight(6, 6),
    ),
    "copies of a sample are far from it": steps(
        lambda net, x: net.module(x.repeat(2, 1)).view(2, -1, 6).mean(0),
        "repeats the samples of the batch.*repeat",
        module=linear(),
    ),
    "as many calls as samples": steps(
        lambda net, x: torch.stack([net.module(one) for one in x]),
        "computes something else for another number of samples, or at",
        module=linear(),
    ),
    "sizes cancel in Python": steps(
        lambda net, x: x * len(x) / x.shape[0], "computes with the number of samples, or with a number that c.*mul"
    ),
    "a gradient of a sum over samples is taken": steps(
        lambda net, x: (
            torch.autograd.grad(net.module(x).tanh().sum(), x, create_graph=True)[0] if x.requires_grad else x
        ),
        "reads grad of a tensor",
        module=linear(),
    ),
    "a sparse product is not known": steps(
        lambda net, x: torch.sparse.mm(net.module.weight.to_sparse(), x.T).T,
        "runs an operation that is not known to keep samples apart.*_sparse_addmm",
        module=linear(),
    ),
}
# --- batch norm, called in ways of its own ----------------------------------------------------------------------------


def into_every_second_entry(net: Any, x: Tensor) -> Any:
    mean, variance = x.new_zeros(12)[::2], x.new_ones(12)[::2]
    return torch.ops.aten.native_batch_norm(x, None, None, mean, variance, True, 0.1, 1e-5)[0]


def zeros() -> nn.Parameter:
    return nn.Parameter(torch.zeros(6))


def once(code: Code, says: str = "", **parts: Any) -> Entry:
    """Return an entry of a norm that steps."""
    return steps(code, says, **({"module": norm} | parts))


NORMS: dict[str, Entry] = {
    "the buffers of a norm, updated by hand": once(
        lambda net, x: F.batch_norm(x, net.module.running_mean, net.module.running_var, training=True),
        "calls F.batch_norm with the statistics of a module",
    ),
    "a norm whose weight is zero": folds(
        lambda net, x: x + F.batch_norm(x, None, None, net.gamma, net.beta, training=True), gamma=zeros, beta=zeros
    ),
    "a norm of constants": folds(lambda net, x: F.batch_norm(x, net.m, net.m + 1), m=buffer(6)),
    "a norm of several processes": steps(module, "a SyncBatchNorm", module=lambda: nn.SyncBatchNorm(6)),
    "an instance norm with a running mean": steps(
        module,
        "writes on a tensor that outlives .*copy_",
        module=lambda: nn.InstanceNorm1d(5, track_running_stats=True),
        shape=SEQUENCE,
    ),
    "an instance norm with a running mean, in evaluation": folds(
        module, module=lambda: nn.InstanceNorm1d(5, track_running_stats=True), shape=SEQUENCE, training=False
    ),
    "a norm of features as samples": steps(lambda net, x: F.batch_norm(x.T, None, None, training=True).T, shape=(36,)),
    "a norm in a checkpoint": once(
        lambda net, x: checkpoint(net.module, x, use_reentrant=False), "statistics of batch norm inside a checkpoint"
    ),
    "a norm that is not registered": once(lambda net, x: net.hidden[0](x), hidden=lambda: [norm().double()]),
    "a running mean is read": once(lambda net, x: net.module(x) - net.module.running_mean.clone()),
    "a counter of batches is read": once(lambda net, x: net.module(x) * (1 + net.module.num_batches_tracked % 2)),
    "a norm, and mixing behind it": once(lambda net, x: centred(net.module(x)), "along the axis of the batch"),
    "statistics that no operation writes in their place": steps(
        into_every_second_entry, "updates running statistics in a call that cannot be folded"
    ),
    "a norm by the name of its operation": steps(
        lambda net, x: torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[0]
    ),
}
