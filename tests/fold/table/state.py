"""Code that keeps something from step to step, or hands values to Python."""

import itertools
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.table.case import SEQUENCE, Case, buffer, linear, steps, through

# --- state ------------------------------------------------------------------------------------------------------------


def counting() -> Callable[[Tensor], Tensor]:
    """Return a function that doubles every other input."""
    calls = 0

    def alternately(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x * (1 + calls % 2)

    return alternately


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


def rate_kept(net: Any, x: Tensor) -> Any:
    net.rate = x.detach().mean()
    return x * 2.0


def rate_used_at_the_next_step(net: Any, x: Tensor) -> Any:
    out = x * (1.0 + net.rate)
    net.rate = float(net.rate) * 0.5 + 0.1
    return out


def features_kept(net: Any, x: Tensor) -> Any:
    net.seen.append(x.detach())
    return x * 2.0


def counted_by_kind(net: Any, x: Tensor) -> Any:
    net.counts["calls"] = net.counts.get("calls", 0) + 1
    return x * (1 + net.counts["calls"] % 3)


def hidden_state_kept(net: Any, x: Tensor) -> Any:
    fits = net.hidden is not None and net.hidden.shape[1] == x.shape[0]
    out, hidden = net.module(x, net.hidden if fits else None)
    net.hidden = hidden.detach()
    return out


def codes_moved(net: Any, x: Tensor) -> Any:
    """Replace samples by the nearest codes, and move these to the mean of the samples that took them."""
    which = F.one_hot(torch.cdist(x, net.codes).argmin(1), len(net.codes)).to(x)
    found = which @ net.codes
    with torch.no_grad():
        net.codes.lerp_(which.T @ x / which.sum(0)[:, None].clamp(min=1.0), 0.2)
    return found + x - x.detach()


def weight_decayed(net: Any, x: Tensor) -> Any:
    net.module.weight.data.mul_(0.9)
    return net.module(x)


def mask_grown(net: Any, x: Tensor) -> Any:
    net.kept |= x.detach().sum(0) > 2.0
    return x * net.kept.clone()


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


def annealed(net: Any, x: Tensor) -> Any:
    net.temperature.mul_(0.9)
    return (x / net.temperature.clone()).softmax(-1)


def counted_by_class(net: Any, x: Tensor) -> Any:
    net.kind.calls += 1
    return x * (1 + net.kind.calls % 2)


class Slots:
    """Counts its calls where ``vars`` does not show it."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0

    def alternately(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + self.calls % 2)


def scaled_by_length(calls: list[int], x: Tensor) -> Tensor:
    calls.append(1)
    return x * (1 + len(calls) % 2)


def closure_over_a_list() -> Callable[[Tensor], Tensor]:
    calls: list[int] = []
    return lambda x: scaled_by_length(calls, x)


def closure_over_a_tensor() -> Callable[[Tensor], Tensor]:
    rate = torch.ones((), dtype=torch.float64)
    return lambda x: x * rate.mul_(0.9).clone()


def counted_in_array(net: Any, x: Tensor) -> Any:
    net.count[0] += 1
    return x * float(1 + net.count[0] % 2)


def queued(net: Any, x: Tensor) -> Any:
    net.queue.append(len(net.queue) + net.queue[-1])
    return x * (1.0 + net.queue[0])


def mixes_late(net: Any, x: Tensor) -> Any:
    net.calls += 1
    return x if net.calls < 5 else x - x.mean(0)


def loss_kept(net: Any, x: Tensor) -> Any:
    net.loss = x.square().mean()
    return x * 2.0


def code_replaced(net: Any, x: Tensor) -> Any:
    net.code = lambda net, x: 2.0 * x
    return x


def counting_in_a_default() -> Callable[[Tensor], Tensor]:
    def alternately(x: Tensor, calls: list[int] = []) -> Tensor:  # noqa: B006
        calls.append(1)
        return x * (1 + len(calls) % 2)

    return alternately


# --- values that Python sees ------------------------------------------------------------------------------------------


def by_the_clock(net: Any, x: Tensor) -> Any:
    """Scale by a number that differs from one by less than the tolerance of a comparison."""
    return x * (1.0 + 1e-12 * (time.perf_counter() % 1.0))


def iterated(net: Any, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    for _ in range(20):
        z, before = torch.tanh(0.5 * net.module(z) + x), z
        if float((z - before).detach().abs().max()) < 0.05:
            break
    return z


def clipped_by_size(net: Any, x: Tensor) -> Any:
    return x / max(1.0, float(x.detach().norm()))


STATE: dict[str, Case] = {
    "closure that counts": steps(lambda net, x: net.scale(x), scale=counting),
    "mean in a buffer": steps(mean_written_to_a_buffer, mean=buffer(6)),
    "mean in a view of a buffer": steps(mean_written_to_a_view, memory=buffer(3, 6)),
    "mean in a buffer by out=": steps(mean_written_by_out, mean=buffer(6)),
    "buffer replaced": steps(buffer_replaced, mean=buffer(6)),
    "buffer written by numpy": steps(written_by_numpy, mean=buffer(6)),
    "buffer written by an alias": steps(written_by_alias, mean=buffer(6), alias=lambda: None),
    "memory of samples": steps(samples_shifted_into_memory, memory=buffer(3, 6)),
    "rate kept": steps(rate_kept, rate=lambda: None),
    "rate used at the next step": steps(rate_used_at_the_next_step, rate=float),
    "features kept in a list": steps(features_kept, seen=list),
    "calls counted in a dict": steps(counted_by_kind, counts=dict),
    "hidden state kept": steps(
        hidden_state_kept, SEQUENCE, module=lambda: nn.GRU(8, 6, batch_first=True), hidden=lambda: None
    ),
    "codes moved": steps(codes_moved, codes=buffer(4, 6)),
    "weight decayed": steps(weight_decayed, module=linear()),
    "own leaky state": steps(own_leaky_state, memory=lambda: None),
    "scale of the first batch": steps(scale_of_the_first_batch, scale=lambda: None),
    "weight averaged at each step": steps(weight_averaged, module=linear(), average=buffer(6, 6)),
    "annealed": steps(annealed, temperature=buffer(1)),
    "class that counts": steps(counted_by_class, kind=lambda: type("Counter", (), {"calls": 0})),
    "default argument that counts": steps(lambda net, x: net.scale(x), scale=counting_in_a_default),
    "array of numpy that counts": steps(counted_in_array, count=lambda: np.zeros(1)),
    "queue of features": steps(queued, queue=lambda: deque([0.0], maxlen=4)),
    "slots that count": steps(lambda net, x: net.scale(x), scale=lambda: Slots().alternately),
    "closure over a list": steps(lambda net, x: net.scale(x), scale=closure_over_a_list),
    "closure over a tensor": steps(lambda net, x: net.scale(x), scale=closure_over_a_tensor),
    "generator that yields": steps(
        lambda net, x: x * next(net.scales), scales=lambda: (1.0 + i % 3 for i in range(99))
    ),
    "partial of a list": steps(lambda net, x: net.scale(x), scale=lambda: partial(scaled_by_length, [])),
    "mixes from the fifth call": steps(mixes_late, calls=int),
    "loss kept": steps(loss_kept, loss=lambda: None),
    "code replaced": steps(code_replaced),
    "next number of a cycle": steps(
        lambda net, x: x * next(net.scales), scales=lambda: itertools.cycle([1.0, 2.0, 3.0])
    ),
    "observed ranges": steps(through, module=lambda: torch.ao.quantization.FakeQuantize()),
    "embedding that rescales itself": steps(
        lambda net, x: net.module(x.long()).sum(1), module=lambda: nn.Embedding(5, 6, max_norm=1.0)
    ),
    "membranes looked at": steps(lambda net, x: x + net.spiking.v),
    "neurons called again": steps(lambda net, x: x + net.spiking(x, False)),
    "mask grown": steps(mask_grown, kept=lambda: nn.Buffer(torch.zeros(6, dtype=torch.bool))),
    # values that Python sees
    "largest sum as a number": steps(lambda net, x: x * (1.0 + x.sum(1).max().item())),
    "branch on a sum": steps(lambda net, x: x if x.sum() > 10 else 2.0 * x),
    "branch on any": steps(lambda net, x: 2.0 * x if bool((x[:, 0] > 0).all()) else x),
    "clipped by the norm of all": steps(clipped_by_size),
    "numpy": steps(lambda net, x: torch.from_numpy(x.detach().numpy() * 2.0)),
    "numpy's mean": steps(lambda net, x: x - float(np.mean(x.detach().numpy()))),
    "iterated until it converges": steps(iterated, module=linear()),
    "clock": steps(by_the_clock),
    "list of numbers": steps(lambda net, x: x + torch.tensor(x.detach().tolist(), dtype=x.dtype).mean(0)),
}
