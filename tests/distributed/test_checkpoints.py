"""Checkpoints of one process and several: what they hold, where they go on, and what damages them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LIF, SpikingNet
from spikingtorch.checkpoints import Checkpoints
from tests.distributed.ranks import Ranks
from tests.distributed.training import Run, same

Ended = tuple[dict[int, float], dict[str, Tensor]]


WRAPS = ["fsdp", pytest.param("ddp", marks=pytest.mark.long)]


def train(folder: Path, wrap: str, until: int, draws: bool = True) -> Ended:
    run = Run(folder, wrap, draws).train(until)
    return run.losses, run.end()


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_run_that_goes_on_ends_with_the_bits_of_a_whole_one(ranks: Ranks, tmp_path: Path, wrap: str) -> None:
    whole = ranks.run(2, train, tmp_path / "whole", wrap, 7)
    ranks.run(2, train, tmp_path / "parts", wrap, 5)  # in the middle of a stream
    parts = ranks.run(2, train, tmp_path / "parts", wrap, 7)
    assert [*parts[0][0]] == [6, 7]
    assert same([end for _, end in whole], [end for _, end in parts])


def test_a_process_alone_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "plain", 7)
    train(tmp_path / "parts", "plain", 5)
    parts = train(tmp_path / "parts", "plain", 7)
    assert [*parts[0]] == [6, 7]
    assert same([whole[1]], [parts[1]])


@pytest.mark.parametrize("wrap", WRAPS)
def test_two_processes_go_on_as_one_and_that_as_two(ranks: Ranks, tmp_path: Path, wrap: str) -> None:
    whole = ranks.run(2, train, tmp_path / "whole", wrap, 9, False)[0][0]
    found = ranks.run(2, train, tmp_path / "parts", wrap, 3, False)[0][0]
    found |= ranks.run(1, train, tmp_path / "parts", wrap, 5, False)[0][0]  # in the middle of the streams
    found |= ranks.run(2, train, tmp_path / "parts", wrap, 7, False)[0][0]
    found |= ranks.run(4, train, tmp_path / "parts", wrap, 9, False)[0][0]
    assert [*found] == [*whole]
    torch.testing.assert_close([*found.values()], [*whole.values()], rtol=1e-12, atol=0)


def test_buffers_that_differ_between_ranks_are_those_of_the_first(ranks: Ranks, tmp_path: Path) -> None:
    two = [end for _, end in ranks.run(2, train, tmp_path, "fsdp", 3)]
    norm = "own net.1.running_mean"
    assert not torch.equal(two[0][norm], two[1][norm])
    run = Run(tmp_path, "plain")
    assert run.checkpoints.resume() == 3
    assert torch.equal(run.model.get_buffer("net.1.running_mean"), two[0][norm])


def test_gradients_of_before_are_in_nobodys_way(tmp_path: Path) -> None:
    def run() -> tuple[nn.Module, Checkpoints]:
        model = SpikingNet(nn.Sequential(nn.Linear(4, 3), LIF(v0=0.1)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model(torch.rand(2, 3, 4)).mean().backward()
        return model, Checkpoints(tmp_path, model, optimizer)

    model, checkpoints = run()
    checkpoints.optimizers[0].step()
    checkpoints.save(1)
    other, checkpoints = run()
    assert checkpoints.resume() == 1
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    momentum = [each["momentum_buffer"] for each in checkpoints.optimizers[0].state.values()]
    grads: list[Any] = [each.grad for each in model.parameters()]
    assert all(map(torch.equal, momentum, grads))
