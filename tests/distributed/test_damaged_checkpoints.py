"""What happens to checkpoints: damage, a full disk, another network, other versions, a run that did not expect them."""

import contextlib
import pickle
import platform
import random
import re
import resource
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

import spikingtorch
from spikingtorch import LIF, SpikingNet
from spikingtorch.checkpoints import CheckpointError, Checkpoints
from spikingtorch.checkpoints.storage import Writer
from tests.distributed.ranks import Ranks, refusal
from tests.distributed.training import Run, cut, steps

# --- damage -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of a run that nothing damages."""
    return Run(tmp_path_factory.mktemp("whole"), "plain").train(4).losses


def a_byte(path: Path, _: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= draw.choice([*range(1, 256), *[1, 2, 4, 8, 16, 32, 64, 128] * 30])
    path.write_bytes(content)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("the code in a file ran",)


DAMAGES: dict[str, Callable[[Path, Path, random.Random], Any]] = {
    "a bit": a_byte,
    "a byte": a_byte,
    "a torn file": lambda path, _, draw: cut(path, draw.random() * 0.999),
    "a lost file": lambda path, *_: path.unlink(),
    "zeros": lambda path, _, draw: path.write_bytes(path.read_bytes()[: draw.randrange(99)] + bytes(512)),
    "that of another checkpoint": lambda path, other, _: shutil.copy(other / path.name, path),
    "all of another checkpoint": lambda path, other, _: shutil.copytree(other, path.parent, dirs_exist_ok=True),
    "tensors of another": lambda path, other, _: shutil.copy(next(other.glob("sh*")), path.parent / "x.safetensors"),
    "hidden tensors": lambda path, other, _: shutil.copy(next(other.glob("sh*")), path.parent / ".safetensors"),
    "a foreign state": lambda path, *_: path.with_name("process-9.json").write_text("{}"),
    "code": lambda path, *_: path.write_bytes(pickle.dumps(Code())),
}


@pytest.mark.parametrize("number", [33, pytest.param(330, marks=pytest.mark.long)])
def test_any_damage_is_passed_over(tmp_path: Path, number: int) -> None:
    saved, run, draw = Run(tmp_path / "saved", "plain").train(1), Run(tmp_path / "here", "plain"), random.Random(number)
    weight = saved.model.get_parameter("net.0.weight").detach().clone()
    saved.train(2)
    first, second = (tmp_path / "here" / f"step-0000000{step}" for step in (1, 2))
    for k, kind in enumerate([*DAMAGES] * (number // len(DAMAGES))):
        shutil.rmtree(tmp_path / "here")
        shutil.copytree(tmp_path / "saved", tmp_path / "here")
        file = draw.choice(sorted(second.iterdir()))
        DAMAGES[kind](file, first, draw)
        with pytest.warns(UserWarning, match=r"step-00000002 is damaged \(.*The checkpoint before it takes its place"):
            assert run.checkpoints.resume() == 1, (k, kind, file)
        assert run.model.get_parameter("net.0.weight").equal(weight)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(whole: dict[int, float], tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    cut(tmp_path / "step-00000002" / "state.json", 0.5)
    (tmp_path / "step-00000001" / ".DS_Store").touch()  # which a system puts into each folder
    run = Run(tmp_path, "plain")
    with pytest.warns(UserWarning, match="the checksum of state.json does not match"):
        run.train(4)
    assert run.losses == {step: whole[step] for step in (2, 3, 4)}
    assert steps(tmp_path) == ["step-00000003", "step-00000004"]


def test_if_all_are_damaged_nothing_is_trained_from_the_start(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    for step in (1, 2):
        cut(tmp_path / f"step-{step:08}" / "SHA256SUMS", 0.5)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(CheckpointError, match="Put a copy in its place"):
        Run(tmp_path, "plain").train(3)
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


# --- a full disk --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def little_space(size: int = 4096) -> Iterator[None]:
    """Let this process write files of so many bytes at most."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save(run: Run, step: int) -> None:
    run.checkpoints.save(step)
    run.checkpoints.wait()


def save_with_little_space_on_one(folder: Path) -> tuple[str, list[str], list[str]]:
    """Write two checkpoints, of which rank 1 cannot write the second; return the third's error, and what is there."""
    run = Run(folder, "fsdp", hidden=200)
    save(run, 1)
    with little_space() if run.rank == 1 else contextlib.nullcontext():
        run.checkpoints.save(2)
        said = refusal(run.checkpoints.save, 3)
    dist.barrier()
    before = steps(folder)
    dist.barrier()
    save(run, 2)
    return said, before, steps(folder)


def test_a_full_disk_is_an_error_of_all_ranks_at_the_next_save(ranks: Ranks, tmp_path: Path) -> None:
    for said, before, after in ranks.run(2, save_with_little_space_on_one, tmp_path):
        assert "step-00000002 could not be written: process 1: OSError: [Errno 27] File too large" in said
        assert before == ["step-00000001"]
        assert after == ["step-00000001", "step-00000002"]  # it may be saved again


def test_a_full_disk_is_an_error_at_the_end(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain", hidden=200).train(1)
    message = r"step-00000002 could not be written: process 0: OSError: .* File too large"
    with little_space(), pytest.raises(CheckpointError, match=message):
        Run(tmp_path, "plain", hidden=200).train(2)
    assert steps(tmp_path) == ["step-00000001"]
    assert run.losses
    run = Run(tmp_path, "plain", hidden=200)
    run.checkpoints.resume()
    with little_space(), pytest.raises(CheckpointError, match=message):
        save(run, 2)
    save(run, 2)
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


# --- in the background --------------------------------------------------------------------------------------------


def change_while_it_is_written(folder: Path) -> tuple[bool, bool, bool]:
    run, go_on, write = Run(folder, "fsdp"), threading.Event(), HuggingFaceStorageWriter.write_data
    run.step(1)

    def wait(*args: Any) -> Any:
        assert go_on.wait(20)
        return write(*args)

    with mock.patch.object(HuggingFaceStorageWriter, "write_data", wait):
        run.checkpoints.save(1)
        saved = [each.to_local().clone() for each in run.model.parameters()]  # type: ignore[attr-defined]
        complete = (folder / "step-00000001").exists()
        run.step(2)
        go_on.set()
        run.checkpoints.wait()
    again = Run(folder, "fsdp")
    step = again.checkpoints.resume()
    found = [each.to_local() for each in again.model.parameters()]  # type: ignore[attr-defined]
    changed = [each.to_local() for each in run.model.parameters()]  # type: ignore[attr-defined]
    same = all(map(torch.equal, saved, found)) and step == 1
    return complete, same, any(not torch.equal(*each) for each in zip(found, changed, strict=True))


def test_training_goes_on_while_a_checkpoint_is_written(ranks: Ranks, tmp_path: Path) -> None:
    assert ranks.run(2, change_while_it_is_written, tmp_path) == [(False, True, True)] * 2


# --- another network, optimizer, code -----------------------------------------------------------------------------


class Small:
    """A network, as a checkpoint of another one does not expect it, and its optimizer."""

    def __init__(self, *layers: nn.Module, kind: Any = torch.optim.Adam) -> None:
        self.model = SpikingNet(nn.Sequential(*layers))
        self.optimizer = kind(self.model.parameters())


OTHERS: dict[str, tuple[Small, str]] = {
    "wider": (Small(nn.Linear(4, 5), LIF()), r".*weight is torch.float32 \(5, 4\) and not torch.float32 \(3, 4\)"),
    "in double": (
        *(Small(nn.Linear(4, 3).double(), LIF()),),
        r".*model.net.0.weight is torch.float64 \(3, 4\) and not torch.float32 \(3, 4\)",
    ),
    "without bias": (Small(nn.Linear(4, 3, bias=False), LIF()), "Here: lacks model.net.0.bias, lacks optimizer"),
    "deeper": (
        Small(nn.Linear(4, 3), LIF(), nn.Linear(3, 2)),
        "Here: has model.net.2.weight, has model.net.2.bias, .*more",
    ),
    "SGD": (*(Small(nn.Linear(4, 3), LIF(), kind=torch.optim.SGD),), "Here: optimizer 0 is SGD and not Adam"),
    "other groups": (
        *(Small(nn.Linear(4, 3), LIF(), kind=lambda it: torch.optim.Adam([{"params": each} for each in [*it][::-1]])),),
        "Here: optimizer.param_groups.0.params.0 is net.0.bias and not net.0.weight, lacks ",
    ),
    "AdamW": (Small(nn.Linear(4, 3), LIF(), kind=torch.optim.AdamW), "Here: optimizer 0 is AdamW and not Adam"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_network_says_what_differs(tmp_path: Path, name: str) -> None:
    saved, (other, said) = Small(nn.Linear(4, 3), LIF()), OTHERS[name]
    saved.model(torch.rand(2, 3, 4)).mean().backward()
    saved.optimizer.step()
    Checkpoints(tmp_path, saved.model, saved.optimizer).save(1)
    before = [each.detach().clone() for each in other.model.parameters()]
    with pytest.raises(CheckpointError, match=f"step-00000001 is not of this model and optimizer. {said}"):
        Checkpoints(tmp_path, other.model, other.optimizer).resume()
    assert all(map(torch.equal, before, other.model.parameters()))
    assert steps(tmp_path) == ["step-00000001"]


def test_a_checkpoint_of_another_format_names_it(tmp_path: Path) -> None:
    small = Small(nn.Linear(4, 3), LIF())
    with mock.patch("spikingtorch.checkpoints.storage.FORMAT", 3):
        Checkpoints(tmp_path, small.model, small.optimizer).save(1)
    with pytest.raises(CheckpointError, match=r"step-00000001 has another format: 3\. Use the spikingtorch that wrote"):
        Checkpoints(tmp_path, small.model, small.optimizer).resume()


def of_other_versions() -> Any:
    """Return a context in which Python and the library have other versions."""
    found = contextlib.ExitStack()
    found.enter_context(mock.patch.object(platform, "python_version", return_value="3.99"))
    found.enter_context(mock.patch.object(spikingtorch, "__version__", "0.1"))
    return found


def test_a_checkpoint_that_other_versions_wrote_is_taken_with_a_warning(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    said = r"Other versions wrote .* Here: Python is 3.99 and not 3\.\d+.*spikingtorch"
    with of_other_versions(), pytest.warns(UserWarning, match=said):
        assert Run(tmp_path, "plain").checkpoints.resume() == 2


# --- what all hear of one -----------------------------------------------------------------------------------------


class Differs:
    def state_dict(self) -> dict[str, int]:
        if dist.get_rank() == 1:
            raise ValueError("no state")
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None: ...


def opened(folder: Path, model: nn.Module, *optimizers: Any, **own: Any) -> Checkpoints:
    return Checkpoints(folder, model, optimizers, own=own, timeout=20)


def in_a_file(folder: Path, rank: int) -> None:
    if rank == 0:
        folder.touch()
    dist.barrier()
    opened(folder, nn.Linear(2, 2))


def resume_with_other_names(folder: Path, rank: int) -> None:
    own = {"encoder": torch.Generator()}
    with opened(folder, nn.Linear(2, 2), **own) as checkpoints:
        checkpoints.save(1)
    dist.barrier()
    opened(folder, nn.Linear(2, 2), **({} if rank == 1 else own)).resume()


def open_with_other_optimizers(folder: Path, rank: int) -> None:
    model = nn.Linear(2, 2)
    opened(folder, model, (torch.optim.Adam if rank == 1 else torch.optim.SGD)(model.parameters()))


def open_with_other_versions(folder: Path, rank: int) -> None:
    with of_other_versions() if rank == 1 else contextlib.nullcontext():
        opened(folder, nn.Linear(2, 2))


DIFFER = "Process 1 differs from process 0: "
OF_ONE: list[tuple[Callable[[Path, int], Any], str]] = [
    (in_a_file, r"process 0: FileExistsError"),
    (resume_with_other_names, "saved with another own= or other buffers. Here: lacks encoder"),
    (lambda folder, _: opened(folder, nn.Linear(2, 2), loader=Differs()).save(1), "process 1: ValueError: no state"),
    (
        lambda folder, rank: opened(folder, SpikingNet(nn.Sequential(nn.Linear(2, 2), LIF(tau=4.0 + rank)))),
        DIFFER + "layer net.1 is LIF.*tau=5",
    ),
    (lambda folder, rank: opened(folder, nn.Linear(4, 8 + rank)), DIFFER + r"weight is torch.float32 \(9, 4\) and not"),
    (open_with_other_optimizers, DIFFER + "optimizer 0 is Adam and not SGD"),
    (open_with_other_versions, DIFFER + "Python is 3.99 and not"),
    (
        lambda folder, rank: opened(folder, nn.Linear(2, 2)).save(1 + rank),
        r"processes are at steps \[1, 2\]. Call save\(\) after equal steps",
    ),
]


def refusals(folder: Path) -> list[str]:
    return [refusal(work, folder / str(k), dist.get_rank()) for k, (work, _) in enumerate(OF_ONE)]


def test_all_hear_of_an_error_of_one(ranks: Ranks, tmp_path: Path) -> None:
    for found in ranks.run(2, refusals, tmp_path):
        for (_, said), text in zip(OF_ONE, found, strict=True):
            assert re.match(f"CheckpointError: .*{said}", text, re.DOTALL), text


# --- whose a folder is ----------------------------------------------------------------------------------------------


def test_one_run_saves_in_a_folder_and_readers_change_nothing(tmp_path: Path) -> None:
    first, second = Run(tmp_path, "plain"), Run(tmp_path, "plain")
    assert [first.checkpoints.resume(), second.checkpoints.resume()] == [0, 0]
    write = Writer.write_data

    def and_meanwhile(*args: Any) -> Any:
        found, before = write(*args), sorted(tmp_path.rglob("*"))
        assert Run(tmp_path, "plain").checkpoints.resume() in (0, 1)
        assert sorted(tmp_path.rglob("*")) == before
        return found

    with mock.patch.object(Writer, "write_data", and_meanwhile):
        first.train(1)
        with pytest.raises(CheckpointError, match=r"belongs to another run: process \d+ on .* Call resume\(\)"):
            second.checkpoints.save(1)
        first.train(2)
    assert second.checkpoints.resume() == 2  # which takes nothing
    first.train(3)
    with pytest.raises(CheckpointError, match=r"holds step 3 of another run\. Call resume\(\)"):
        second.checkpoints.save(3)
    second.train(4)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        first.checkpoints.save(4)
    with mock.patch("os.getpid", return_value=1), pytest.raises(CheckpointError, match="belongs to another run"):
        second.checkpoints.save(5)  # in a fork
    assert steps(tmp_path) == ["step-00000003", "step-00000004"]
    assert [path.name for path in tmp_path.glob("owner-*")] == ["owner-00000002"]


# --- a run that does not expect them ------------------------------------------------------------------------------


def test_refusals(tmp_path: Path) -> None:
    Run(tmp_path, "plain").train(2)
    run, saved = Run(tmp_path, "plain"), Run(tmp_path, "plain")
    saved.checkpoints.resume()
    other = Run(tmp_path, "plain")
    other.checkpoints.own["dropout"] = other.checkpoints.own.pop("encoder")
    renamed, buffered = Run(tmp_path, "plain"), Run(tmp_path, "plain")
    renamed.checkpoints.shared["rates"] = renamed.checkpoints.shared.pop("scheduler")
    buffered.model.get_submodule("net.0").register_buffer("seen", torch.zeros(1), persistent=False)
    save = [each.checkpoints.save for each in (run, saved)]
    before = "expected more than 2, the step of the checkpoint before"
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: save[0](1), r"belongs to another run: .*\. Call resume\(\) before the first save"),
        (other.checkpoints.resume, r"saved with another own= or other buffers\. Here: lacks encoder, has dropout"),
        (buffered.checkpoints.resume, r"other buffers\. Here: has net\.0\.seen"),
        (renamed.checkpoints.resume, r"not of this model and optimizer\. Here: lacks scheduler, has rates"),
        (lambda: Checkpoints(tmp_path, nn.Linear(2, 2), run.optimizer), "expected optimizers of parameters of the"),
        (lambda: Checkpoints(tmp_path, run.model, [run.optimizer] * 2), "of the model, and each in one optimizer"),
        (lambda: save[0](cast(int, 1.5)), "step is 1.5, expected how many steps the optimizer has taken"),
        (lambda: Run(tmp_path, "plain", keep=0), "keep is 0, expected at least 1"),
        (lambda: save[0](0), "step is 0, expected how many steps the optimizer has taken, from 1 on"),
        (lambda: save[1](1), f"step is 1, {before}"),
        (lambda: save[1](2), f"step is 2, {before}"),
    ]
    for call, said in wrong:
        assert re.search(said, refusal(call)), refusal(call)
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


def test_one_process_needs_no_group_and_may_change_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(action="error"):
        run = Run(Path("run"), "plain")
        monkeypatch.chdir("there")
        run.train(1)
        assert Run(tmp_path / "run", "plain").checkpoints.resume() == 1
