"""Batch norm called in ways of its own; tests/fold/test_batch_norm.py has those that are usual, which fold."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.fold.nets.entry import SEQUENCE, Entry, between, buffer, folds, module, steps, weight


def norm_1d() -> nn.Module:
    return nn.BatchNorm1d(6)


class WarmNorm(nn.BatchNorm1d):
    """Grows with the number of batches."""

    def forward(self, input: Tensor) -> Tensor:
        out = super().forward(input)
        return out if self.num_batches_tracked is None else out * (self.num_batches_tracked / 10).clamp(max=1)


def tokens_first_as_samples(net: Any, x: Tensor) -> Any:
    x = x.transpose(0, 1)
    return net.module(x.reshape(-1, 8)).view(x.shape).transpose(0, 1)


def running_mean_taken_off(net: Any, x: Tensor) -> Any:
    return net.module(x) - net.module.running_mean.clone()


def scaled_by_count(net: Any, x: Tensor) -> Any:
    return net.module(x) * (1 + net.module.num_batches_tracked % 2)


def centred_if_counted(net: Any, x: Tensor) -> Any:
    return x if net.module.num_batches_tracked is None else x - x.mean(0)


def renormalised(net: Any, x: Tensor) -> Any:
    """Normalise with the running statistics, which the same step updates."""
    F.batch_norm(x, net.mean, net.var, training=True)
    return F.batch_norm(x, net.mean.clone(), net.var.clone())


def with_the_buffers_of_a_norm(net: Any, x: Tensor) -> Any:
    return F.batch_norm(x, net.module.running_mean, net.module.running_var, training=True, momentum=0.5)


def zero_gamma(net: Any, x: Tensor) -> Any:
    return x + F.batch_norm(x, None, None, net.gamma, net.beta, training=True)


def zeros() -> nn.Parameter:
    return nn.Parameter(torch.zeros(6))


def once(code: Any, reason: str, says: str = "", **parts: Any) -> Entry:
    """Return an entry of a norm that steps."""
    return steps(reason, between(code, **({"module": norm_1d} | parts)), says)


NORMS: dict[str, Entry] = {
    "buffers of a norm": steps(
        "a call by hand that updates the buffers of a norm",
        between(with_the_buffers_of_a_norm, module=norm_1d),
        "calls F.batch_norm with the statistics of a module",
    ),
    "a norm whose weight is zero": folds("noise shows nothing of it", between(zero_gamma, gamma=zeros, beta=zeros)),
    "frozen batch norm": folds(
        "constants in place of statistics", between(lambda net, x: F.batch_norm(x, net.m, net.m + 1), m=buffer(6))
    ),
    "synchronised batch norm": steps("statistics of several processes", module(lambda: nn.SyncBatchNorm(6))),
    "tracked instance norm": steps(
        "statistics of samples, and a running mean of all",
        module(lambda: nn.InstanceNorm1d(5, track_running_stats=True)),
        "writes on a tensor that outlives .*copy_",
        SEQUENCE,
    ),
    "tracked instance norm in evaluation": folds(
        "... which are constants here",
        module(lambda: nn.InstanceNorm1d(5, track_running_stats=True)),
        SEQUENCE,
        training=False,
    ),
    "batch norm of tokens first": steps(
        "the batch is not the first axis",
        between(tokens_first_as_samples, module=lambda: nn.BatchNorm1d(8)),
        shape=SEQUENCE,
    ),
    "batch norm of features as samples": steps(
        "the batch is the axis of channels",
        between(lambda net, x: F.batch_norm(x.T, None, None, training=True).T),
        shape=(36,),
    ),
    "batch norm in a checkpoint": once(
        lambda net, x: checkpoint(net.module, x, use_reentrant=False), "its backward pass counts once more"
    ),
    "batch norm in a reentrant checkpoint": once(
        lambda net, x: checkpoint(net.module, x, use_reentrant=True), "so does this one's"
    ),
    "batch norm of two views": once(
        lambda net, x: sum(net.module(torch.cat([x, x * net.w])).chunk(2)),
        "copies of the batch in one call",
        w=weight(6),
    ),
    "batch norm of samples in reverse": once(lambda net, x: net.module(x.flip(0)).flip(0), "samples in another order"),
    "batch norm of a part": once(lambda net, x: torch.cat([net.module(x[::2]), x[1::2]]), "every other sample"),
    "batch norm in a list": once(
        lambda net, x: net.hidden[0](x), "a norm that is not registered", hidden=lambda: [norm_1d().double()]
    ),
    "running mean taken off": once(running_mean_taken_off, "what a step before has written is read"),
    "number of batches used": once(scaled_by_count, "the counter is read"),
    "number of batches used by the norm": once(
        lambda net, x: net.module(x), "the counter is read in the norm itself", module=lambda: WarmNorm(6)
    ),
    "norm that is asked for its counter": once(centred_if_counted, "a copy without the counter takes another branch"),
    "renormalised": once(renormalised, "what the same step has written is read", mean=buffer(6), var=buffer(6)),
    "native batch norm": steps(
        "the operation, called by its name",
        between(lambda net, x: torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[0]),
    ),
}
