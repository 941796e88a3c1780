"""Tensors and numbers that code keeps from step to step, and values that it hands to Python."""

import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikingtorch as st
from tests.fold.nets.entry import SEQUENCE, Code, Entry, between, buffer, folds, hides, linear, module, steps

# --- tensors, wherever they are kept ----------------------------------------------------------------------------------


def mean_written_to_a_buffer(net: Any, x: Tensor) -> Any:
    with torch.no_grad():
        net.mean.lerp_(x.mean(0), 0.1)
    return x - net.mean


def mean_written_to_a_view(net: Any, x: Tensor) -> Any:
    net.memory[1].copy_(x.detach().mean(0))
    return x * 2.0


def mean_written_by_out(net: Any, x: Tensor) -> Any:
    torch.mean(x.detach(), 0, out=net.mean)
    return x * 2.0


def buffer_replaced(net: Any, x: Tensor) -> Any:
    net.mean = 0.5 * net.mean + 0.5 * x.detach().mean(0)
    return x * 2.0


def written_by_numpy(net: Any, x: Tensor) -> Any:
    net.mean.numpy()[:] += 1.0
    return x * net.mean.clone()


def written_by_alias(net: Any, x: Tensor) -> Any:
    if net.alias is None:
        net.alias = net.mean.view(2, 3)
    net.alias.mul_(0.9)
    return x * net.mean.clone()


def samples_shifted_into_memory(net: Any, x: Tensor) -> Any:
    net.memory.copy_(net.memory.roll(1, 0))
    net.memory[0] = x.detach()[0]
    return x + net.memory.sum(0)


def kept_as(name: str, what: Callable[[Tensor], Any]) -> Code:
    def code(net: Any, x: Tensor) -> Any:
        setattr(net, name, what(x))
        return x * 2.0

    return code


def listed(net: Any, x: Tensor) -> Any:
    net.record.append(x.detach())
    return x * 2.0


def put_in_a_dict(net: Any, x: Tensor) -> Any:
    net.record.update(last=x.detach())
    return x * 2.0


def rate_used_at_the_next_step(net: Any, x: Tensor) -> Any:
    out = x * (1.0 + net.rate)
    net.rate = float(net.rate) * 0.5 + 0.1
    return out


def mean_used_at_the_next_step(net: Any, x: Tensor) -> Any:
    net.last = 0.5 * net.last + x.detach().mean()
    return x + net.last


def hidden_state_kept(net: Any, x: Tensor) -> Any:
    fits = net.hidden is not None and net.hidden.shape[1] == x.shape[0]
    out, hidden = net.module(x, net.hidden if fits else None)
    net.hidden = hidden.detach()
    return out


def weight_decayed(net: Any, x: Tensor) -> Any:
    net.module.weight.data.mul_(0.9)
    return net.module(x)


def own_leaky_state(net: Any, x: Tensor) -> Any:
    if net.memory is None or net.memory.shape != x.shape:
        net.memory = torch.zeros_like(x)
    net.memory = 0.5 * net.memory + x.detach()
    return x + net.memory


def scale_of_the_first_batch(net: Any, x: Tensor) -> Any:
    if net.scale is None:
        net.scale = 1.0 / (x.detach().std(0) + 1.0)
    return x * net.scale


def weight_averaged(net: Any, x: Tensor) -> Any:
    net.average.lerp_(net.module.weight.detach(), 0.1)
    return net.module(x)


def mask_grown(net: Any, x: Tensor) -> Any:
    net.kept |= x.detach().sum(0) > 2.0
    return x * net.kept.clone()


def mixes_late(net: Any, x: Tensor) -> Any:
    net.calls += 1
    return x if net.calls < 5 else x - x.mean(0)


def mixes_after_many(net: Any, x: Tensor) -> Any:
    """Remember that a batch was large."""
    was_large, net.large = net.large, net.large or x.shape[0] > 20
    return x - x.mean(0) if was_large else x


def code_replaced(net: Any, x: Tensor) -> Any:
    net.code = lambda net, x: 2.0 * x
    return x


def training_switched(net: Any, x: Tensor) -> Any:
    net.drop.train(not net.drop.training)
    return x


def decayed_factor(net: Any, x: Tensor) -> Any:
    net.factor *= 0.99
    return x @ (torch.eye(6) + net.mix * net.factor)


TENSORS: dict[str, Entry] = {
    "mean in a buffer": steps(
        "it is written on",
        between(mean_written_to_a_buffer, mean=buffer(6)),
        "writes on a tensor that outlives the step",
    ),
    "mean in a view of a buffer": steps("... by a view", between(mean_written_to_a_view, memory=buffer(3, 6))),
    "mean in a buffer by out=": steps("... by an argument", between(mean_written_by_out, mean=buffer(6))),
    "buffer written by numpy": steps("... by numpy", between(written_by_numpy, mean=buffer(6))),
    "buffer written by an alias": steps(
        "... by a tensor that is kept", between(written_by_alias, mean=buffer(6), alias=lambda: None)
    ),
    "memory of samples": steps("... by a sample", between(samples_shifted_into_memory, memory=buffer(3, 6))),
    "mask grown": steps(
        "... by an operator", between(mask_grown, kept=lambda: nn.Buffer(torch.zeros(6, dtype=torch.bool)))
    ),
    "weight decayed": steps("a weight is written on", between(weight_decayed, module=linear())),
    "weight averaged at each step": steps(
        "a mean of weights is", between(weight_averaged, module=linear(), average=buffer(6, 6))
    ),
    "buffer replaced": steps("another tensor in its place", between(buffer_replaced, mean=buffer(6))),
    "rate kept": steps(
        "a number of the last step", between(kept_as("rate", lambda x: x.detach().mean()), rate=lambda: None)
    ),
    "loss kept": steps("with its graph", between(kept_as("loss", lambda x: x.square().mean()), loss=lambda: None)),
    "mean used at the next step": steps(
        "... which is used",
        between(mean_used_at_the_next_step, last=lambda: torch.zeros(())),
        "changes last.*keeps a state",
    ),
    "rate used at the next step": steps("a number of Python's", between(rate_used_at_the_next_step, rate=float)),
    "weight over time": steps(
        "... that is multiplied",
        between(decayed_factor, mix=lambda: nn.Parameter(torch.eye(6)), factor=lambda: 1.0),
        "changes factor",
    ),
    "features kept in a list": steps("a record", between(listed, record=list), "changes record"),
    "features kept in a dict": steps("... by name", between(put_in_a_dict, record=dict), "changes record"),
    "hidden state kept": steps(
        "a state of a module of torch's",
        between(hidden_state_kept, module=lambda: nn.GRU(8, 6, batch_first=True), hidden=lambda: None),
        shape=SEQUENCE,
    ),
    "own leaky state": steps("a membrane by hand", between(own_leaky_state, memory=lambda: None)),
    "scale of the first batch": steps(
        "what the first batch sets up", between(scale_of_the_first_batch, scale=lambda: None)
    ),
    "mixes from the fifth call": steps("a first trace shows nothing of it", between(mixes_late, calls=int)),
    "mixes after many samples": hides(
        "a batch of steps is larger than they are", between(mixes_after_many, large=lambda: False)
    ),
    "code replaced": steps("the network changes its code", between(code_replaced)),
    "training switched": steps(
        "... or its mode", between(training_switched, drop=lambda: nn.Dropout(0.0)), r"changes drop\.training"
    ),
    "observed ranges": steps(
        "a module of torch's that keeps a state", module(lambda: torch.ao.quantization.FakeQuantize())
    ),
    "embedding that rescales itself": steps(
        "a module of torch's that writes on its weight",
        between(lambda net, x: net.module(x.long()).sum(1), module=lambda: nn.Embedding(5, 6, max_norm=1.0)),
    ),
    "tuple made anew": folds(
        "what is written is what was there", between(kept_as("size", lambda x: tuple(x.shape[1:])), size=lambda: (6,))
    ),
    "constants": folds(
        "attributes that nothing changes",
        between(lambda net, x: x, sizes=lambda: [1, 2], options=lambda: {"a": (1, None)}),
    ),
}

# --- values that Python sees ------------------------------------------------------------------------------------------


def iterated(net: Any, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    for _ in range(20):
        z, before = torch.tanh(0.5 * net.module(z) + x), z
        if float((z - before).detach().abs().max()) < 0.05:
            break
    return z


def excused(net: Any, x: Tensor) -> Any:
    try:
        peak = float(x.max())
    except Exception:
        peak = 1.0
    return x * peak


def suppressed(net: Any, x: Tensor) -> Any:
    peak = 1.0
    with contextlib.suppress(Exception):
        peak = x.max().item()
    return x * peak


def numbered_by_apply(net: Any, x: Tensor) -> Any:
    count = itertools.count()
    return x + torch.zeros(x.shape[0], 1).apply_(lambda value: next(count))


def root_or_half(net: Any, x: Tensor) -> Any:
    """Take roots of samples, unless one of them has none."""
    wide = x[:, :, None] * torch.eye(6, dtype=x.dtype) - 0.3 * torch.eye(6, dtype=x.dtype)
    try:
        return torch.linalg.cholesky(wide).sum(2)
    except RuntimeError:
        return x * 0.5


def layer_of_some(net: Any, x: Tensor) -> Any:
    try:
        return net.layer(torch.where(x > 0.1, x, torch.nan), True)
    except ValueError:
        return x * 0.3


READS = "reads the value of a tensor|reads the value"
LEAVES = "leaves torch"
VALUES: dict[str, Entry] = {
    "largest sum as a number": steps("item", between(lambda net, x: x * (1.0 + x.sum(1).max().item())), READS),
    "branch on a sum": steps("a condition", between(lambda net, x: x if x.sum() > 10 else 2.0 * x), READS),
    "branch on any": steps("bool", between(lambda net, x: 2.0 * x if bool((x[:, 0] > 0).all()) else x), READS),
    "branch on isnan": steps("a check", between(lambda net, x: x * 2 if torch.isnan(x).any() else x), READS),
    "branch on equal": steps(
        "an operation that returns no tensor", between(lambda net, x: x if torch.equal(x, x) else 2 * x), READS
    ),
    "clipped by the norm of all": steps(
        "float, in a function of Python's", between(lambda net, x: x / max(1.0, float(x.detach().norm())))
    ),
    "list of numbers": steps("tolist", between(lambda net, x: x * len(x.detach().sum(0).tolist())), LEAVES),
    "numpy": steps("memory of numpy", between(lambda net, x: x + torch.from_numpy(x.detach().numpy() * 0.5)), LEAVES),
    "numpy's mean": steps("a function of numpy's", between(lambda net, x: x - float(np.mean(x.detach().numpy())))),
    "iterated until it converges": steps("a loop", between(iterated, module=linear())),
    "clock": steps(
        "a number that differs by less than a comparison sees",
        between(lambda net, x: x * (1.0 + 1e-12 * (time.perf_counter() % 1.0))),
    ),
    "caught": hides("an objection can be caught", between(excused)),
    "suppressed": hides("... and suppressed", between(suppressed)),
    "apply_": hides("Python writes on memory without an operation", between(numbered_by_apply)),
    "error of one sample": hides("noise raises no error", between(root_or_half)),
    "error of a layer": hides("... nor does it in a layer", between(layer_of_some, layer=st.LI)),
    "unused mean": folds("a number that nothing reads", between(lambda net, x: (x.detach().mean(), x * 2.0)[1])),
}


def codes_moved(net: Any, x: Tensor) -> Any:
    """Replace samples by the nearest codes, and move these to the mean of the samples that took them."""
    which = F.one_hot(torch.cdist(x, net.codes).argmin(1), len(net.codes)).to(x)
    found = which @ net.codes
    with torch.no_grad():
        net.codes.lerp_(which.T @ x / which.sum(0)[:, None].clamp(min=1.0), 0.2)
    return found + x - x.detach()


TENSORS["codes moved"] = steps(
    "a code book that learns without a gradient", between(codes_moved, codes=buffer(4, 6)), "outlives the step.*lerp_"
)
STATE = TENSORS | VALUES
