"""What several processes have seen, combined: beside one process that has seen it all."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn

from spikingtorch import LIF, SpikeMonitor, SpikingNet, summary
from tests.distributed.ranks import Ranks, refusal
from tests.every_layer import drawn

N, T = 7, 12


def model(hidden: int = 6) -> SpikingNet:
    torch.manual_seed(0)
    return SpikingNet(nn.Sequential(nn.Linear(5, hidden), LIF(threshold=0.4), nn.Linear(hidden, 3), LIF()).double())


def share() -> slice:
    """Return the samples of this process of four: uneven shares, none for the last one."""
    return slice(*(0, 3, 5, 7, 7)[dist.get_rank() : dist.get_rank() + 2])


def watched(together: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of this process, and those of all processes, of one process that has all samples."""
    nets = model(), model()
    mine, one = (SpikeMonitor(net, every=1) for net in nets)
    for seed in range(3):
        x = drawn(N, T, 5, seed=seed)
        with mine, one:
            nets[1](x)
            if len(x[share()]):
                nets[0](x[share()])
    return mine.metrics(dist.group.WORLD if together else None), one.metrics()


def test_metrics_of_a_group_are_those_of_one_process(ranks: Ranks) -> None:
    for found, expected in ranks.run(4, watched, True):
        counts = {name: value for name, value in expected.items() if "interval" not in name}
        assert {name: found[name] for name in counts} == pytest.approx(counts, abs=1e-15)
        assert found.keys() == expected.keys()


def test_metrics_without_a_group_are_those_of_the_process(ranks: Ranks) -> None:
    *others, (without, _) = ranks.run(4, watched, False)
    assert len({found["1/rate"] for found, _ in others}) == 3
    assert without == {}  # it has had no samples


def summed() -> tuple[str, str]:
    x = drawn(N, T, 5)
    x = x * (x < 0.5)
    return str(summary(model(), x[share()], group=dist.group.WORLD)), str(summary(model(), x))


def test_a_summary_of_a_group_is_that_of_one_process(ranks: Ranks) -> None:
    for found, expected in ranks.run(4, summed):
        assert found == expected


def refusals() -> list[str]:
    """Return what is said about other neurons, no samples, and samples on which one process fails."""
    rank, group = dist.get_rank(), dist.group.WORLD
    with SpikeMonitor(net := model(6 + rank)) as monitor:
        net(drawn(N, T, 5))
    width = 5 + (rank == 1)
    return [
        refusal(monitor.metrics, group),
        *[refusal(partial(summary, model(), drawn(*shape), group=group)) for shape in ((0, T, 5), (2, T, width))],
    ]


def test_an_error_of_one_process_is_one_of_all(ranks: Ranks) -> None:
    first, second = ranks.run(2, refusals)
    for sizes, samples, _ in (first, second):
        assert "SpikeMonitor: layer 1 has another number of neurons on process 1" in sizes
        assert "holds no samples" in samples
    assert "summary: process 1 of the group has raised" in first[2]
    assert "mat1 and mat2" in second[2]
