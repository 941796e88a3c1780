"""Batch norm: folded, each step has its own statistics, as long as it is called as batch norm."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.fold.table.case import IMAGE, SEQUENCE, Case, buffer, evaluated, folds, in_float32, steps, through, weight


def tokens_as_samples(net: Any, x: Tensor) -> Any:
    return net.module(x.reshape(-1, 8)).view(x.shape)


def tokens_first_as_samples(net: Any, x: Tensor) -> Any:
    x = x.transpose(0, 1)
    return net.module(x.reshape(-1, 8)).view(x.shape).transpose(0, 1)


def tracked(net: Any, x: Tensor) -> Any:
    return F.batch_norm(x, net.mean, net.var, net.w, training=True, momentum=0.3)


def running_mean_taken_off(net: Any, x: Tensor) -> Any:
    return net.module(x) - net.module.running_mean.clone()


def scaled_by_count(net: Any, x: Tensor) -> Any:
    return net.module(x) * (1 + net.module.num_batches_tracked % 2)


def renormalised(net: Any, x: Tensor) -> Any:
    """Normalise with the running statistics, which the same step updates."""
    F.batch_norm(x, net.mean, net.var, training=True)
    return F.batch_norm(x, net.mean.clone(), net.var.clone())


def norm_1d() -> nn.Module:
    return nn.BatchNorm1d(6)


NORMS: dict[str, Case] = {
    "batch norm 1d": folds(through, module=norm_1d),
    "batch norm 2d": folds(through, IMAGE, module=lambda: nn.BatchNorm2d(4)),
    "batch norm 3d": folds(lambda net, x: net.module(x.unflatten(1, (2, 2))), IMAGE, module=lambda: nn.BatchNorm3d(2)),
    "batch norm in float32": in_float32(folds(through, IMAGE, module=lambda: nn.BatchNorm2d(4))),
    "batch norm without statistics": folds(through, module=lambda: nn.BatchNorm1d(6, track_running_stats=False)),
    "batch norm twice": folds(lambda net, x: net.module(net.module(x).relu() + x), module=norm_1d),
    "batch norm of tokens": folds(through, SEQUENCE, module=lambda: nn.BatchNorm1d(5)),
    "batch norm of tokens as samples": folds(tokens_as_samples, SEQUENCE, module=lambda: nn.BatchNorm1d(8)),
    "functional batch norm": folds(lambda net, x: F.batch_norm(x, None, None, net.w, training=True), w=weight(6)),
    "functional batch norm with statistics": folds(tracked, mean=buffer(6), var=buffer(6), w=weight(6)),
    "batch norm in evaluation": evaluated(folds(through, IMAGE, module=lambda: nn.BatchNorm2d(4))),
    "synchronised batch norm": steps(through, module=lambda: nn.SyncBatchNorm(6)),
    "tracked instance norm": steps(through, SEQUENCE, module=lambda: nn.InstanceNorm1d(5, track_running_stats=True)),
    "batch norm of tokens first": steps(tokens_first_as_samples, SEQUENCE, module=lambda: nn.BatchNorm1d(8)),
    "batch norm of features as samples": steps(lambda net, x: F.batch_norm(x.T, None, None, training=True).T, (36,)),
    "batch norm in a checkpoint": steps(lambda net, x: checkpoint(net.module, x, use_reentrant=False), module=norm_1d),
    "batch norm in a reentrant checkpoint": steps(
        lambda net, x: checkpoint(net.module, x, use_reentrant=True), module=norm_1d
    ),
    "batch norm of two views": steps(
        lambda net, x: sum(net.module(torch.cat([x, x * net.w])).chunk(2)), module=norm_1d, w=weight(6)
    ),
    "batch norm of samples in reverse": steps(lambda net, x: net.module(x.flip(0)).flip(0), module=norm_1d),
    "batch norm of a part": steps(lambda net, x: torch.cat([net.module(x[::2]), x[1::2]]), module=norm_1d),
    "batch norm in a list": steps(lambda net, x: net.hidden[0](x), hidden=lambda: [norm_1d().double()]),
    "batch norm with average": folds(through, module=lambda: nn.BatchNorm1d(6, momentum=None)),
    "running mean taken off": steps(running_mean_taken_off, module=norm_1d),
    "number of batches used": steps(scaled_by_count, module=norm_1d),
    "renormalised": steps(renormalised, mean=buffer(6), var=buffer(6)),
    "native batch norm": steps(lambda net, x: torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[0]),
}
