"""Code that mixes the samples of a batch, or looks at how many there are: its steps cannot be merged."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.table.case import SEQUENCE, Case, buffer, folds, linear, steps, through, weight


class Centred(nn.Module):
    """Takes the mean over the batch off, to be scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.linear(x)
        return h - h.mean(0)


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


def conv_over_the_batch(net: Any, x: Tensor) -> Any:
    return net.module(x.t()[None])[0].t()


def batch_to_features(net: Any, x: Tensor) -> Any:
    return x.reshape(6, -1).T.contiguous().view(-1, 6)


def written_on(index: Any) -> Any:
    """Return what sets entries to zero; of few samples it may be all of them."""

    def run(_: Any, x: Tensor) -> Tensor:
        h = x.clone()
        h[index] = 0.0
        return x + h

    return run


def taken(index: Any) -> Any:
    """Return what writes on a view of entries; of few samples it may be all of them."""

    def run(_: Any, x: Tensor) -> Tensor:
        h = x.clone()
        h[index].zero_()
        return x + h

    return run


def halves_exchanged(net: Any, x: Tensor) -> Any:
    return x.reshape(2, -1, 6).flip(0).reshape(-1, 6)


def halves_interleaved(net: Any, x: Tensor) -> Any:
    return x.reshape(2, -1, 6).transpose(0, 1).reshape(-1, 6)


def pairs_of_copies(net: Any, x: Tensor) -> Any:
    return x.repeat(2, 1).view(-1, 2, 6).mean(1)


def parts_normalised(net: Any, x: Tensor) -> Any:
    halves = x.view(2, -1, 6)
    return (halves - halves.mean(1, keepdim=True)).view_as(x)


def mean_of_own_kind(net: Any, x: Tensor) -> Any:
    """Add to each sample the sum of those that are most active in the same feature."""
    kind = F.one_hot(x.argmax(1), 6).to(x)
    return x + kind @ (kind.mT @ x)


def scattered_to_one(net: Any, x: Tensor) -> Any:
    return x + torch.zeros(6, dtype=x.dtype).index_add(0, x.argmax(1), x[:, 0])


def most_active_of_all(net: Any, x: Tensor) -> Any:
    graded = x * net.w
    return graded * (graded >= graded.flatten().topk(3).values[-1]).to(x)


def balanced(net: Any, x: Tensor) -> Any:
    """Scale rows and columns in turn, so that each adds up to one."""
    x = x.exp()
    for axis in (0, 1, 0):
        x = x / x.sum(axis, keepdim=True)
    return x


def shifted_in_place(net: Any, x: Tensor) -> Any:
    x = x.clone()
    x[1:] += 0.5 * x[:-1].clone()
    return x


def first_of_many(net: Any, x: Tensor) -> Any:
    return torch.cat([2.0 * x[:64], x[64:]])


def squeezed(net: Any, x: Tensor) -> Any:
    """Lose the batch too, if it is of one sample."""
    return x.unsqueeze(1).squeeze()


def sorted_by_activity(net: Any, x: Tensor) -> Any:
    return x[x.sum(1).argsort(stable=True)]


def sequence_of_samples(net: Any, x: Tensor) -> Any:
    return net.module(x)[0]


def without_the_first(net: Any, x: Tensor) -> Any:
    return x.index_fill(0, torch.tensor([0]), 0.0)


def drifts_along_the_batch(net: Any, x: Tensor) -> Any:
    return x + torch.linspace(0.0, 1.0, x.shape[0], dtype=x.dtype)[:, None]


def by_table(net: Any, x: Tensor) -> Any:
    return x + net.table[torch.arange(x.shape[0])]


def experts_by_turns(net: Any, x: Tensor) -> Any:
    return torch.einsum("kef,efg->keg", x.view(-1, 2, 6), net.w).reshape(-1, 6)


def first_feature_set(net: Any, x: Tensor) -> Any:
    x = x.clone()
    x.view(-1)[0] = 5.0
    return x


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


def odd_batches(net: Any, x: Tensor) -> Any:
    return x if x.shape[0] % 3 else 2.0 * x


MIXING: dict[str, Case] = {
    # means and norms over the batch
    "minus the mean": steps(lambda net, x: x - x.mean(0)),
    "minus the mean of all": steps(lambda net, x: x - x.mean()),
    "minus the mean in place": steps(lambda net, x: x.clone().sub_(x.mean(0))),
    "minus a mean by matmul": steps(lambda net, x: x - torch.ones(1, len(x), dtype=x.dtype) @ x / len(x)),
    "minus a sum to size": steps(lambda net, x: x - x.sum_to_size(1, 6)),
    "over the largest": steps(lambda net, x: x / x.amax()),
    "over the standard deviation": steps(lambda net, x: x / (x.std() + 1.0)),
    "over the norm of all": steps(lambda net, x: x / (x.norm() + 1.0)),
    "normalised over samples": steps(lambda net, x: F.normalize(x, dim=0)),
    "softmax along an axis of its choice": steps(through, SEQUENCE, module=lambda: nn.Softmax(dim=None)),
    "cross product along an axis of its choice": steps(lambda net, x: torch.cross(x, x * net.w), (3,), w=weight(3)),
    "softmax over samples": steps(lambda net, x: x.softmax(0)),
    "balanced rows and columns": steps(balanced),
    "halves normalised": steps(parts_normalised),
    "layer norm over all": steps(lambda net, x: F.layer_norm(x, x.shape)),
    "group norm with samples as channels": steps(lambda net, x: F.group_norm(x[None], 1)[0]),
    "pool over samples": steps(lambda net, x: F.avg_pool2d(x[None], 3, 1, 1)[0]),
    "conv over samples": steps(conv_over_the_batch, module=lambda: nn.Conv1d(6, 6, 3, padding=1)),
    "scripted mean": steps(through, module=lambda: torch.jit.script(Centred())),
    "mean in an operator of one's own": steps(lambda net, x: x + centred(x.detach())),
    "vmap over features": steps(lambda net, x: torch.vmap(lambda feature: feature - feature.mean(), 1, 1)(x)),
    "mean of own kind": steps(mean_of_own_kind),
    "correlations": steps(lambda net, x: x * torch.corrcoef((x @ net.w).T).mean(), w=weight(6, 6)),
    # what samples have to do with each other
    "gram matrix": steps(lambda net, x: (x @ x.T).softmax(-1) @ x),
    "gram matrix by einsum": steps(lambda net, x: torch.einsum("nd,md,me->ne", x, x, x)),
    "distances among samples": steps(lambda net, x: torch.cdist(x, x).softmax(1) @ x),
    "attention among samples": steps(
        lambda net, x: net.module(x, x, x)[0], SEQUENCE, module=lambda: nn.MultiheadAttention(8, 2)
    ),
    "attention without a batch": steps(
        lambda net, x: net.module(x, x, x)[0], module=lambda: nn.MultiheadAttention(6, 2, batch_first=True)
    ),
    "dot product without a batch": steps(lambda net, x: F.scaled_dot_product_attention(x, x, x)),
    "conv without a batch": steps(through, (8, 8), module=lambda: nn.Conv2d(4, 4, 3, padding=1)),
    "encoder layer among samples": steps(through, SEQUENCE, module=lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0)),
    "LSTM over samples": steps(sequence_of_samples, module=lambda: nn.LSTM(6, 6)),
    "scattered to one": steps(scattered_to_one),
    # order
    "cumulative sum of samples": steps(lambda net, x: x.cumsum(0)),
    "transform over samples": steps(lambda net, x: torch.fft.fft(x, dim=0).real),
    "flipped": steps(lambda net, x: x.flip(0)),
    "rolled": steps(lambda net, x: x.roll(1, 0)),
    "rolled over all": steps(lambda net, x: x.roll(1)),
    "sorted": steps(lambda net, x: x.sort(0).values),
    "sorted by activity": steps(sorted_by_activity),
    "mixed up": steps(lambda net, x: 0.5 * x + 0.5 * x[torch.randperm(len(x))]),
    "shifted in place": steps(shifted_in_place),
    "shifted by padding": steps(lambda net, x: F.pad(x, (0, 0, 1, 0))[:-1]),
    "differences of samples": steps(lambda net, x: x.diff(dim=0, prepend=x[:1])),
    "windows of samples": steps(lambda net, x: F.pad(x, (0, 0, 1, 0)).unfold(0, 2, 1).mean(-1)),
    # some samples
    "first sample": steps(lambda net, x: x + x[0]),
    "last sample": steps(lambda net, x: x + x[-1:]),
    "first for all": steps(lambda net, x: x[:1].expand(len(x), -1)),
    "without the first": steps(without_the_first),
    "first feature of all": steps(first_feature_set),
    "gathered from samples": steps(lambda net, x: x.gather(0, (x > 0).long())),
    "taken by flat index": steps(lambda net, x: x + x.take(x.argmax(1))[:, None]),
    "largest so far": steps(lambda net, x: x.cummax(0).values),
    "first of many": steps(first_of_many),
    "selected samples": steps(lambda net, x: x[x[:, 0] > -1]),
    "unlike samples": steps(lambda net, x: x + x.detach().unique(dim=0).sum(0)),
    "features of any sample": steps(lambda net, x: x * net.w * (x > 0).any(0), w=weight(6)),
    "histogram of all": steps(lambda net, x: x * torch.histc(x.detach(), 2)[1]),
    "quantile of all": steps(lambda net, x: (x * net.w).clamp(max=(x * net.w).quantile(0.7)), w=weight(6)),
    "number of spikes": steps(lambda net, x: x * x.nonzero().shape[0]),
    "most active of all": steps(most_active_of_all, w=weight(6)),
    # forms
    "batch to features": steps(batch_to_features),
    "transposed, then viewed": steps(lambda net, x: x.t().reshape(-1, 6)),
    "pairs as one": steps(lambda net, x: net.module(x.view(-1, 12)).view(-1, 6), module=linear(12, 12)),
    "pairs exchanged": steps(lambda net, x: x.view(-1, 2, 6).flip(1).reshape(-1, 6)),
    "halves exchanged": steps(halves_exchanged),
    "halves interleaved": steps(halves_interleaved),
    "pairs of copies": steps(pairs_of_copies),
    "experts for halves": steps(lambda net, x: torch.bmm(x.view(2, -1, 6), net.w).view(-1, 6), w=weight(2, 6, 6)),
    "experts by turns": steps(experts_by_turns, w=weight(2, 6, 6)),
    "lower triangle": steps(lambda net, x: x.tril()),
    "without the diagonal": steps(lambda net, x: x.clone().fill_diagonal_(0.0)),
    "by strides": steps(lambda net, x: x.as_strided(x.shape, (6, 1))),
    "by the same strides in place": folds(lambda net, x: x.clone().as_strided_(x.shape, (6, 1))),
    "by other strides in place": steps(lambda net, x: x.clone().as_strided_(x.shape, (1, 1))),
    "from another place": steps(lambda net, x: x.repeat(2, 1).as_strided_(x.shape, (6, 1), 6)),
    "first hundred written on": steps(written_on(slice(None, 100))),
    "last hundred written on": steps(written_on((slice(-100, None), 0))),
    "hundred behind an ellipsis": steps(written_on((..., slice(9), slice(None)))),
    "hundred behind new axes": steps(written_on((None, None, slice(20), slice(1, 3)))),
    "all written on": folds(written_on((slice(None), slice(0, 6)))),
    "features written on": folds(written_on((..., slice(-6, 3)))),
    "first hundred taken": steps(taken((slice(None, 100), slice(None)))),
    "first hundred of a list": steps(written_on([slice(0, 100)])),
    "first hundred by numpy": steps(written_on(slice(np.int64(100)))),
    "features taken": folds(taken((slice(None), slice(0, 6)))),
    "fewer by strides": steps(lambda net, x: x.clone().as_strided_((x.shape[0], 3), (6, 1)).repeat(1, 2)),
    "squeezed": steps(squeezed),
    # mixed, and nothing to be seen of it
    "hidden behind where": steps(lambda net, x: torch.where(x > 1e6, x.mean(0), x)),
    "hidden behind a buffer": steps(
        lambda net, x: torch.where(net.off, x, x - x.mean(0)), off=lambda: nn.Buffer(torch.tensor(True))
    ),
    "hidden behind a gate of zero": steps(
        lambda net, x: x + net.gate * x.mean(0), gate=lambda: nn.Parameter(torch.zeros(6))
    ),
    "hidden behind a weight of zero": steps(lambda net, x: x + net.module(x.roll(1, 0)), module=linear_of_zeros),
    "hidden behind a clamp": steps(lambda net, x: x + (x.mean(0) - 5.0).clamp(min=0.0)),
    # the size of the batch, and the place in it
    "over the size": steps(lambda net, x: x / len(x)),
    "over the root of the size": steps(lambda net, x: x / x.shape[0] ** 0.5),
    # it folds for as few samples as the calls of the table have
    "large batches": folds(lambda net, x: 2.0 * x if len(x) > 20000 else x),
    "odd batches": steps(odd_batches),
    "place in the batch": steps(lambda net, x: x + torch.arange(len(x))[:, None]),
    "drift along the batch": steps(drifts_along_the_batch),
    "table by place": steps(by_table, table=buffer(1000, 6)),
    "table cut to size": steps(lambda net, x: x + net.table[: len(x)], table=weight(1000, 6)),
    "table by place as embedding": steps(
        lambda net, x: x + net.module(torch.arange(len(x))), module=lambda: nn.Embedding(1000, 6)
    ),
    "table by place, of numpy": steps(lambda net, x: x + torch.from_numpy(np.linspace(0.0, 1.0, len(x)))[:, None]),
    "table by place, of Python": steps(lambda net, x: x + torch.tensor([[0.1 * i] for i in range(len(x))])),
    "digits of the size": steps(lambda net, x: x * len(str(len(x)))),
    "scale by size": steps(lambda net, x: x * {2: 1.0, 4: 1.0}.get(len(x), 3.0)),
    "hash of the shape": steps(lambda net, x: x * (1 + hash(x.shape) % 5)),
    "logarithm of the size": steps(lambda net, x: x / math.log(1 + len(x))),
    "large in memory": steps(lambda net, x: x if x.nbytes < 400 else 2.0 * x),
    "number of all features": steps(lambda net, x: x if x.numel() < 70 else 2.0 * x),
    "at most ten samples": steps(ten_at_most),
    "as many samples as features": steps(lambda net, x: x @ x),
    "four samples": steps(lambda net, x: x.view(4, 6)),
    "steps by size": steps(lambda net, x: x * sum(1.0 for _ in range(0, len(x), 5))),
    # gradients
    "gradient by frequency": steps(
        lambda net, x: net.module(x.long()).sum(1), module=lambda: nn.Embedding(5, 6, scale_grad_by_freq=True)
    ),
    "gradient by frequency in a bag": steps(
        lambda net, x: F.embedding_bag(x.long(), net.w, mode="sum", scale_grad_by_freq=True), w=weight(5, 6)
    ),
    "gradient of a mean energy": steps(gradient_of_mean_energy, module=linear()),
    "weight adapted to the batch": steps(adapted_to_the_batch, module=linear()),
}
