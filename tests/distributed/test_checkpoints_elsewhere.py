"""Checkpoints that a model takes up in another wrapper, and errors of one process that all are to hear of."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spikingtorch import LI, LIF, SpikingNet
from spikingtorch.checkpoints import CheckpointError, Checkpoints
from tests.distributed.ranks import RankError, Ranks


def streaming(folder: Path, wrap: str) -> tuple[Checkpoints, nn.Module]:
    """Return a network with buffers of its own and states between calls, in a wrapper."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), LIF(threshold=0.5), nn.Linear(8, 3), LI(tau=8.0))
    model: Any = SpikingNet(net)
    if wrap == "ddp":
        model = DistributedDataParallel(model)
    elif wrap == "compile":
        model = torch.compile(model, backend="eager")
    return Checkpoints(folder, model, timeout=20), model


def batch(step: int) -> Tensor:
    return torch.rand(4, 6, 4, generator=torch.Generator().manual_seed(step))


def save_one(folder: Path, wrap: str) -> Tensor:
    checkpoints, model = streaming(folder, wrap)
    with checkpoints:
        model(batch(1))
        checkpoints.save(1)
    with torch.no_grad():
        out: Tensor = model(batch(2), init=False)
    return out


def go_on(folder: Path, wrap: str) -> Tensor:
    checkpoints, model = streaming(folder, wrap)
    checkpoints.resume()
    with torch.no_grad():
        out: Tensor = model(batch(2), init=False)
    return out


@pytest.mark.parametrize(("before", "after"), [("ddp", "plain"), ("plain", "ddp"), ("plain", "compile")])
def test_streams_and_buffers_go_on_in_another_wrapper(ranks: Ranks, tmp_path: Path, before: str, after: str) -> None:
    assert ranks.run(1, save_one, tmp_path, before)[0].equal(ranks.run(1, go_on, tmp_path, after)[0])


def test_parameters_that_have_no_state_yet_get_none(tmp_path: Path) -> None:
    def run() -> tuple[Checkpoints, torch.optim.Optimizer, nn.Module]:
        model = SpikingNet(nn.Sequential(nn.Linear(4, 3), LIF(v0=0.1)))
        model.unused = nn.Parameter(torch.ones(2))
        optimizer = torch.optim.Adam(model.parameters())
        return Checkpoints(tmp_path, model, optimizer), optimizer, model

    checkpoints, optimizer, model = run()
    model(torch.rand(2, 5, 4)).mean().backward()
    optimizer.step()
    checkpoints.save(1)
    again, other, _ = run()
    assert again.resume() == 1
    assert len(other.state) == len(optimizer.state) == 2
    assert other.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()


def lif(**options: Any) -> SpikingNet:
    torch.manual_seed(0)
    return SpikingNet(nn.Sequential(nn.Linear(4, 3), LIF(threshold=0.2)), **options)


def test_states_that_came_after_a_checkpoint_without_any_are_left(tmp_path: Path) -> None:
    model = lif()
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(1)
    model(batch(1))
    checkpoints.resume()
    assert model.get_state() == {}


def save_with_streams_of_one(folder: Path) -> None:
    model = lif()
    with Checkpoints(folder, model, timeout=20) as checkpoints:
        if dist.get_rank() == 1:
            model(batch(1))
        checkpoints.save(1)


def test_streams_of_some_processes_are_shared_among_others(ranks: Ranks, tmp_path: Path) -> None:
    ranks.run(2, save_with_streams_of_one, tmp_path)
    model, other = lif(), lif()
    Checkpoints(tmp_path, model).resume()
    other(batch(1))
    assert model.get_state().keys() == other.get_state().keys() != set()
    assert all(each.equal(other.get_state()[name]) for name, each in model.get_state().items())


def save_with_graph(folder: Path) -> None:
    model = lif(carry_graph=True)
    with Checkpoints(folder, model, timeout=20) as checkpoints:
        model(batch(1))
        checkpoints.save(1)


def test_states_with_a_graph_are_saved_without(ranks: Ranks, tmp_path: Path) -> None:
    ranks.run(1, save_with_graph, tmp_path)
    model = lif(carry_graph=True)
    assert Checkpoints(tmp_path, model).resume() == 1
    assert model.get_state()


def test_an_optimizer_of_another_class_is_another_one(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model(torch.ones(2)).sum().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    Checkpoints(tmp_path, model, optimizer).save(1)
    with pytest.raises(CheckpointError, match="Here: optimizer 0 is Adam and not AdamW"):
        Checkpoints(tmp_path, model, torch.optim.Adam(model.parameters())).resume()


class Differs:
    def state_dict(self) -> dict[str, int]:
        if dist.get_rank() == 1:
            raise ValueError("no state")
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None: ...


def open_in(folder: Path) -> None:
    Checkpoints(folder, nn.Linear(2, 2), timeout=20)


def resume_with_other_names(folder: Path) -> None:
    own = {"encoder": torch.Generator()}
    with Checkpoints(folder, nn.Linear(2, 2), own=own, timeout=20) as checkpoints:
        checkpoints.save(1)
    dist.barrier()
    Checkpoints(folder, nn.Linear(2, 2), own={} if dist.get_rank() == 1 else own, timeout=20).resume()


def save_without_a_state(folder: Path) -> None:
    Checkpoints(folder, nn.Linear(2, 2), own={"loader": Differs()}, timeout=20).save(1)


def open_with_other_layers(folder: Path) -> None:
    Checkpoints(folder, SpikingNet(nn.Sequential(nn.Linear(2, 2), LIF(tau=4.0 + dist.get_rank()))), timeout=20)


def open_with_other_optimizers(folder: Path) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam if dist.get_rank() == 1 else torch.optim.SGD
    Checkpoints(folder, model, optimizer(model.parameters()), timeout=20)


def save_after_other_steps(folder: Path) -> None:
    Checkpoints(folder, nn.Linear(2, 2), timeout=20).save(1 + dist.get_rank())


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (open_in, r"process 0: FileExistsError"),
        (resume_with_other_names, r"saved with another own=. Here: lacks encoder"),
        (save_without_a_state, r"process 1: ValueError: no state"),
        (open_with_other_optimizers, r"Process 1 differs from process 0: optimizer 0 is Adam and not SGD"),
        (save_after_other_steps, r"processes are at steps \[1, 2\]. Call save\(\) after equal steps"),
        (open_with_other_layers, r"Process 1 differs from process 0: layer net.1 is LIF.*tau=5"),
    ],
)
def test_all_hear_of_an_error_of_one(ranks: Ranks, tmp_path: Path, work: Any, said: str) -> None:
    folder = tmp_path / "folder"
    if work is open_in:
        folder.touch()
    with pytest.raises(RankError) as found:
        ranks.run(2, work, folder)
    assert [*found.value.errors] in ([0, 1], [1, 0])
    for text in found.value.errors.values():
        assert "CheckpointError" in text
        assert re.search(said, text), text
