"""Samples in shares: ``DistributedDataParallel``, samplers, uneven batches and streams, beside one process."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.join import Join
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from spikingtorch import LI, LIF, SpikingNet, StochasticLIF, losses
from spikingtorch.spikeio import PoissonEncoder, pad_sequences
from tests.distributed.ranks import Ranks
from tests.every_layer import drawn

RIGHT = 1e-12
N, T, IN, OUT = 8, 9, 5, 3


def network() -> SpikingNet:
    torch.manual_seed(0)
    hidden = LIF(tau=torch.linspace(2.0, 4.0, 6), threshold=0.4, learnable="tau")
    return SpikingNet(nn.Sequential(nn.Linear(IN, 6), hidden, nn.Linear(6, OUT), LI()).double(), OUT)


def mine(x: Any) -> Any:
    """Return every so many-th sample, as a DistributedSampler without shuffling chooses them."""
    return x[dist.get_rank() :: dist.get_world_size()]


def furthest(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max([float((a - b).detach().abs().max()) for a, b in pairs])


def sequences() -> list[tuple[Tensor, int]]:
    lengths = [4, 9, 2, 7, 5, 1, 8, 3]
    return [(drawn(length, IN, seed=length), length % OUT) for length in lengths]


def trained_on_lengths() -> float:
    """Train on sequences of different lengths, a share on each process, and on all of them."""
    one, model, size = network(), network(), dist.get_world_size()
    parallel = DistributedDataParallel(model)
    optimizers = [torch.optim.Adam(each.parameters(), lr=0.05) for each in (one, model)]
    sampler: Any = DistributedSampler(sequences(), shuffle=True, seed=3)  # type: ignore[arg-type]
    for epoch in range(3):
        sampler.set_epoch(epoch)
        found = sequences()
        everyone = [found[k] for k in order_of_all(epoch)]
        share, *_ = DataLoader(found, N // size, sampler=sampler, collate_fn=pad_sequences)  # type: ignore[arg-type]
        for net, optimizer, (x, lengths, target) in (
            (one, optimizers[0], pad_sequences(everyone)),
            (parallel, optimizers[1], share),
        ):
            optimizer.zero_grad()
            losses.rate_cross_entropy(net(x, lengths=lengths), target, lengths).backward()
            optimizer.step()
    assert model.explain().mode == "fold"
    return furthest(one, model)


def order_of_all(epoch: int) -> list[int]:
    sampler: Any = DistributedSampler(range(N), num_replicas=1, rank=0, seed=3)  # type: ignore[arg-type]
    sampler.set_epoch(epoch)
    return [*sampler]


def trained_on_uneven_batches() -> float:
    """Train on 4 batches in the first process and 2 in the second, and on one process with the same means."""
    one, model, rank = network(), network(), dist.get_rank()
    parallel = DistributedDataParallel(model)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (one, model)]
    target, counted = torch.tensor([0, 1]), (4, 2)
    batches = [[drawn(2, T, IN, seed=10 * k + each) for k in range(counted[each])] for each in range(2)]
    with Join([parallel]):
        for x in batches[rank]:
            optimizers[1].zero_grad()
            losses.rate_cross_entropy(parallel(x), target).backward()
            optimizers[1].step()
    for k in range(4):
        optimizers[0].zero_grad()
        for each in batches:
            if k < len(each):  # DistributedDataParallel divides by the number of all processes
                (losses.rate_cross_entropy(one(each[k]), target) / 2).backward()
        optimizers[0].step()
    return furthest(one, model)


def streamed() -> float:
    """Return how far outputs and states of streams in shares are from those of one process."""
    one, model = network(), network()
    parallel, errors = DistributedDataParallel(model), []
    for k in range(4):
        x, starts = drawn(N, T, IN, seed=k), torch.arange(N) % 4 == k  # in each call, some streams start anew
        init = True if k == 0 else starts
        expected, out = one(x, init=init), parallel(mine(x), init=mine(init) if k else True)
        errors += [float((out - mine(expected)).detach().abs().max())]
    whole, share = one.get_state(), model.get_state()
    assert whole.keys() == share.keys()
    states = max([float((share[name] - mine(each)).abs().max()) for name, each in whole.items()])
    return max(*errors, states)


def without_data() -> float:
    """Train three steps, in which the second process has no samples."""
    one, model = network(), network()
    parallel = DistributedDataParallel(model)
    for step in range(3):
        x = drawn(N, T, IN, seed=step)
        share = x if dist.get_rank() == 0 else x[:0]
        for net, given in ((one, x), (parallel, share)):
            net.zero_grad()
            out = net(given)
            assert out.shape == (len(given), T, OUT)
            # a sum, because the mean of no samples is NaN; and DistributedDataParallel takes the mean of the processes
            (out.square().sum() * (1 if net is one else 2)).backward()
            with torch.no_grad():
                for parameter in net.parameters():
                    assert parameter.grad is not None
                    parameter.sub_(0.01 * parameter.grad)
    return furthest(one, model)


def wrapped() -> float:
    """Train in the wrapper that the strategy "fsdp" of Lightning takes."""
    one, model, target = network(), network(), torch.arange(N) % OUT
    parallel: Any = FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)
    trained: list[tuple[Any, Any]] = [(one, lambda x: x), (parallel, mine)]
    for net, share in trained:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for seed in range(3):
            optimizer.zero_grad()
            losses.rate_cross_entropy(net(share(drawn(N, T, IN, seed=seed))), share(target)).backward()
            optimizer.step()
    with FullyShardedDataParallel.summon_full_params(parallel):  # type: ignore[no-untyped-call, unused-ignore]
        assert model.explain().mode == "fold"
        return furthest(one, model)


WAYS = [(trained_on_lengths, 4), (trained_on_uneven_batches, 2), (streamed, 4), (without_data, 2), (wrapped, 2)]


@pytest.mark.parametrize(("way", "size"), WAYS)
def test_processes_compute_what_one_does(way: Callable[[], float], size: int, ranks: Ranks) -> None:
    assert max(ranks.run(size, way)) < RIGHT


def drawn_numbers() -> tuple[Tensor, Tensor, Tensor]:
    """Return weights, spikes of an encoder, and spikes of noisy neurons, with seeds as the page has them."""
    torch.manual_seed(0)
    model = SpikingNet(nn.Sequential(nn.Linear(IN, 6), StochasticLIF()))
    torch.manual_seed(1 + dist.get_rank())
    spikes = PoissonEncoder(50)(torch.full((2, IN), 0.5))
    return next(model.parameters()).detach(), spikes, model(torch.ones(2, 50, IN)).detach()


def test_seeds_of_each_process(ranks: Ranks) -> None:
    (weights, spikes, noisy), (same, others, other_noise) = ranks.run(2, drawn_numbers)
    assert torch.equal(weights, same)
    assert not torch.equal(spikes, others)
    assert not torch.equal(noisy, other_noise)
