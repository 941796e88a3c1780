"""What happens to checkpoints: damage, a full disk, another network, other versions, a run that did not expect them."""

import resource
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from spikingtorch import LIF, SpikingNet, checkpoints
from spikingtorch.checkpoints import CheckpointError, Checkpoints
from spikingtorch.checkpoints.storage import Writer
from tests.distributed.ranks import RankError, Ranks
from tests.distributed.training import Run


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


def cut(path: Path, at: float) -> None:
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])


# --- damage


@pytest.mark.parametrize(
    ("harm", "name", "at"),
    [(cut, "__0_0.distcp", 0.5), (cut, "__0_0.distcp", 0.0), (cut, ".metadata", 0.5), (cut, ".metadata", 0.0)],
)
def test_a_torn_file_is_passed_over(tmp_path: Path, harm: Any, name: str, at: float) -> None:
    whole = Run(tmp_path / "whole", "plain").train(6).losses
    Run(tmp_path, "plain").train(4)
    harm(tmp_path / "step-00000004" / name, at)
    run = Run(tmp_path, "plain")
    with pytest.warns(UserWarning, match=r"step-00000004 is damaged \(.*The checkpoint before it takes its place"):
        run.train(6)
    assert run.losses == {step: whole[step] for step in (4, 5, 6)}
    assert steps(tmp_path) == ["step-00000005", "step-00000006", "whole"]


def test_a_byte_of_a_tensor_that_has_changed_is_seen(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain").train(2)
    path = tmp_path / "step-00000002" / "__0_0.distcp"
    weight = run.model.get_parameter("net.0.weight").detach().numpy().tobytes()
    flip(path, path.read_bytes().index(weight) / path.stat().st_size)
    with pytest.warns(UserWarning, match=r"the checksum of a tensor in __0_0.distcp does not match"):
        assert Run(tmp_path, "plain").checkpoints.resume() == 1


def test_if_all_are_damaged_nothing_is_trained_from_the_start(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    for step in (1, 2):
        cut(tmp_path / f"step-{step:08}" / ".metadata", 0.5)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(CheckpointError, match="Put a copy in its place"):
        Run(tmp_path, "plain").train(3)
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


def test_what_a_killed_run_was_writing_is_cleared_away(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    (tmp_path / "step-00000002").rename(tmp_path / "step-00000002.part")
    assert Run(tmp_path, "plain").checkpoints.resume() == 1
    assert steps(tmp_path) == ["step-00000001"]


# --- a full disk


def write_with_little_space(folder: Path) -> tuple[float, list[str], str]:
    """Let rank 1 write 4 kB at most from the second checkpoint on."""
    run, before, step = Run(folder, "fsdp", hidden=200), resource.getrlimit(resource.RLIMIT_FSIZE), 0
    try:
        while step < 3:
            step += 1
            run.step(step)
            run.checkpoints.save(step)
            if step == 1:
                run.checkpoints.wait()
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if run.rank else before[0], before[1]))
    except CheckpointError as error:
        dist.barrier()
        return step, steps(folder), str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    raise AssertionError("no error")


def test_a_full_disk_is_an_error_of_all_ranks_at_the_next_save(ranks: Ranks, tmp_path: Path) -> None:
    for step, found, said in ranks.run(2, write_with_little_space, tmp_path):
        assert step == 3
        assert found == ["step-00000001"]
        assert "step-00000002 could not be written: process 1: OSError: [Errno 27] File too large" in said


def test_a_full_disk_is_an_error_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    run = Run(tmp_path, "plain").train(1)
    monkeypatch.setattr(Writer, "write_data", full)
    with pytest.raises(CheckpointError, match=r"step-00000002 could not be written: process 0: OSError: .* No space"):
        Run(tmp_path, "plain").train(2)
    assert steps(tmp_path) == ["step-00000001"]
    assert run.losses


# --- in the background


def change_while_it_is_written(folder: Path) -> tuple[bool, bool, bool]:
    run, go_on, write = Run(folder, "fsdp"), threading.Event(), Writer.write_data
    run.step(1)

    def wait(*args: Any) -> Any:
        assert go_on.wait(20)
        return write(*args)

    setattr(Writer, "write_data", wait)  # noqa: B010
    try:
        run.checkpoints.save(1)
        saved = [each.to_local().clone() for each in run.model.parameters()]  # type: ignore[attr-defined]
        complete = (folder / "step-00000001").exists()
        run.step(2)
        go_on.set()
        run.checkpoints.wait()
    finally:
        setattr(Writer, "write_data", write)  # noqa: B010
    again = Run(folder, "fsdp")
    step = again.checkpoints.resume()
    found = [each.to_local() for each in again.model.parameters()]  # type: ignore[attr-defined]
    changed = [each.to_local() for each in run.model.parameters()]  # type: ignore[attr-defined]
    same = all(map(torch.equal, saved, found)) and step == 1
    return complete, same, any(not torch.equal(*each) for each in zip(found, changed, strict=True))


def test_training_goes_on_while_a_checkpoint_is_written(ranks: Ranks, tmp_path: Path) -> None:
    assert ranks.run(2, change_while_it_is_written, tmp_path) == [(False, True, True)] * 2


# --- another network, optimizer, code


class Small:
    """A network, as a checkpoint of ``Run`` does not expect it, and its optimizer."""

    def __init__(self, *layers: nn.Module, kind: Any = torch.optim.Adam) -> None:
        self.model = SpikingNet(nn.Sequential(*layers))
        self.optimizer = kind(self.model.parameters())

    def save(self, folder: Path) -> None:
        self.model(torch.rand(2, 3, 4)).mean().backward()
        self.optimizer.step()
        Checkpoints(folder, self.model, self.optimizer).save(1)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Small(nn.Linear(4, 5), LIF()), r"model.net.0.weight is torch.float32 \(5, 4\) and not torch.float32 \(3, 4\)"),
        (Small(nn.Linear(4, 3, bias=False), LIF()), r"Here: lacks model.net.0.bias, lacks optimizer"),
        (Small(nn.Linear(4, 3), LIF(), nn.Linear(3, 2)), r"Here: has model.net.2.weight, has model.net.2.bias, .*more"),
        (Small(nn.Linear(4, 3), LIF(), kind=torch.optim.SGD), r"Here: lacks optimizer.state.net.0.weight.step"),
    ],
    ids=["wider", "without_bias", "deeper", "SGD"],
)
def test_a_checkpoint_of_another_network_says_what_differs(tmp_path: Path, other: Small, said: str) -> None:
    Small(nn.Linear(4, 3), LIF()).save(tmp_path)
    before = [each.detach().clone() for each in other.model.parameters()]
    with pytest.raises(CheckpointError, match=f"step-00000001 is not of this model and optimizer. .*{said}"):
        Checkpoints(tmp_path, other.model, other.optimizer).resume()
    assert all(map(torch.equal, before, other.model.parameters()))
    assert steps(tmp_path) == ["step-00000001"]


def test_what_each_process_has_of_its_own_has_other_names(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(1)
    run = Run(tmp_path, "plain")
    run.checkpoints.own["dropout"] = run.checkpoints.own.pop("encoder")
    with pytest.raises(CheckpointError, match=r"saved with another own=\. Here: lacks encoder, has dropout"):
        run.checkpoints.resume()


def test_other_dtypes_are_another_network(tmp_path: Path) -> None:
    Small(nn.Linear(4, 3), LIF()).save(tmp_path)
    other = Small(nn.Linear(4, 3).double(), LIF())
    with pytest.raises(CheckpointError, match=r"net.0.weight is torch.float64 \(3, 4\) and not torch.float32 \(3, 4\)"):
        Checkpoints(tmp_path, other.model, other.optimizer).resume()


def versions() -> dict[str, str]:
    return {"Python": "3.99", "torch": torch.__version__, "spikingtorch": "0.1"}


def test_a_checkpoint_that_other_versions_wrote_is_taken_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run(tmp_path, "plain").train(2)
    monkeypatch.setattr(checkpoints, "_versions", versions)
    with pytest.warns(UserWarning, match=r"Other versions wrote .* Here: Python is 3.99 and not 3\.\d+.*spikingtorch"):
        assert Run(tmp_path, "plain").checkpoints.resume() == 2


def differ(folder: Path, what: str) -> None:
    own, before = what if dist.get_rank() == 1 else "", checkpoints._versions
    if own == "versions":
        checkpoints._versions = versions
    try:
        Checkpoints(folder, SpikingNet(nn.Sequential(nn.Linear(4, 9 if own == "network" else 8), LIF())))
    finally:
        checkpoints._versions = before


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("versions", r"Process 1 differs from process 0: Python is 3.99 and not"),
        ("network", r"Process 1 differs from process 0: net.0.weight is torch.float32 \(9, 4\) and not"),
    ],
)
def test_ranks_with_other_code_are_refused(ranks: Ranks, tmp_path: Path, what: str, said: str) -> None:
    with pytest.raises(RankError, match=said) as found:
        ranks.run(2, differ, tmp_path, what)
    assert [*found.value.errors] in ([0, 1], [1, 0])


# --- a run that does not expect them


def test_an_earlier_run_is_not_written_over(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    run = Run(tmp_path, "plain")
    run.step(1)
    with pytest.raises(CheckpointError, match=r"holds step 2 of an earlier run. Call resume\(\) before the first save"):
        run.checkpoints.save(1)
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


def test_so_many_are_kept(tmp_path: Path) -> None:
    Run(tmp_path, "plain", keep=1).train(3)
    assert steps(tmp_path) == ["step-00000003"]
    Run(tmp_path, "plain", keep=3).train(6)
    assert steps(tmp_path) == [f"step-{step:08}" for step in (4, 5, 6)]


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep is 0, expected at least 1"):
        Run(tmp_path, "plain", keep=0)
    run = Run(tmp_path, "plain")
    with pytest.raises(ValueError, match="step is 0, expected how many steps the optimizer has taken, from 1 on"):
        run.checkpoints.save(0)


def test_one_process_needs_no_group_and_hears_nothing_of_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Run(tmp_path, "plain").train(1)
        assert Run(tmp_path, "plain").checkpoints.resume() == 1
