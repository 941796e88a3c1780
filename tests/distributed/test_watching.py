"""What several processes have seen, combined: beside one process that has seen it all."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from spikingtorch import LIF, SpikeMonitor, SpikingNet, summary
from tests.distributed.ranks import RankError, Ranks
from tests.every_layer import drawn

N, T = 7, 12


def model(hidden: int = 6) -> SpikingNet:
    torch.manual_seed(0)
    return SpikingNet(nn.Sequential(nn.Linear(5, hidden), LIF(threshold=0.4), nn.Linear(hidden, 3), LIF()).double())


def share() -> slice:
    """Return the samples of this process: uneven shares, none for the last of four."""
    ends = {2: (0, 5, 7), 4: (0, 3, 5, 7, 7)}[dist.get_world_size()]
    return slice(*ends[dist.get_rank() : dist.get_rank() + 2])


def watched(together: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of this process, and those of all processes, of one process that has all samples."""
    mine, one = SpikeMonitor(model(), every=1), SpikeMonitor(model(), every=1)
    for seed in range(3):
        x = drawn(N, T, 5, seed=seed)
        with mine, one:
            one._model(x)
            if len(x[share()]):
                mine._model(x[share()])
    return mine.metrics(dist.group.WORLD if together else None), one.metrics()


@pytest.mark.parametrize("size", [2, 4])
def test_metrics_of_a_group_are_those_of_one_process(size: int, ranks: Ranks) -> None:
    for found, expected in ranks.run(size, watched, True):
        counts = {name: value for name, value in expected.items() if "interval" not in name}
        assert {name: found[name] for name in counts} == pytest.approx(counts, abs=1e-15)
        assert found.keys() == expected.keys()


def test_metrics_without_a_group_are_those_of_the_process(ranks: Ranks) -> None:
    *others, (without, _) = ranks.run(4, watched, False)
    assert len({found["1/rate"] for found, _ in others}) == 3
    assert without == {}  # it has had no samples


def watched_other_sizes() -> None:
    with SpikeMonitor(net := model(6 + dist.get_rank())) as monitor:
        net(drawn(N, T, 5))
    monitor.metrics(dist.group.WORLD)


def test_metrics_of_a_group_need_the_same_neurons(ranks: Ranks) -> None:
    with pytest.raises(RankError, match="SpikeMonitor: layer 1 has another number of neurons on process 1") as found:
        ranks.run(2, watched_other_sizes)
    assert {*found.value.errors} == {0, 1}


def summed() -> tuple[str, str]:
    x = drawn(N, T, 5)
    x = x * (x < 0.5)
    return str(summary(model(), x[share()], group=dist.group.WORLD)), str(summary(model(), x))


@pytest.mark.parametrize("size", [2, 4])
def test_a_summary_of_a_group_is_that_of_one_process(size: int, ranks: Ranks) -> None:
    for found, expected in ranks.run(size, summed):
        assert found == expected


def summary_of_no_samples() -> None:
    summary(model(), torch.zeros(0, T, 5, dtype=torch.float64), group=dist.group.WORLD)


def summary_that_fails() -> None:
    width = 5 + (dist.get_rank() == 1)
    summary(model(), torch.zeros(2, T, width, dtype=torch.float64), group=dist.group.WORLD)


def test_a_summary_without_samples_or_after_an_error_raises_everywhere(ranks: Ranks) -> None:
    with pytest.raises(RankError, match="holds no samples") as found:
        ranks.run(2, summary_of_no_samples)
    assert {*found.value.errors} == {0, 1}
    with pytest.raises(RankError) as found:
        ranks.run(2, summary_that_fails)
    assert "summary: process 1 of the group has raised" in found.value.errors[0]
    assert "mat1 and mat2" in found.value.errors[1]
