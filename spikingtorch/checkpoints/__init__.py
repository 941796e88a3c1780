"""Checkpoints of a training run, on one process or many, of which the newest is always complete."""

import platform
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save

import spikingtorch
from spikingtorch.checkpoints.own import Stateful, layers_said, own_state, take_own_state
from spikingtorch.checkpoints.storage import Writer, damage, difference, layout, named, remove, steps, told
from spikingtorch.functional.core.names import level_of_user

__all__ = ["CheckpointError", "Checkpoints", "Stateful"]
T = TypeVar("T")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; complete checkpoints are left as they are."""


class Checkpoints:
    """Writes the state of a run in the background, and takes it up again on as many processes or on others.

    A checkpoint is a folder ``step-00000120``, written by ``torch.distributed.checkpoint``. The folder has another name
    until every process has written its part. All processes construct this, and call its methods in the same order.

    It holds the parameters and buffers of the model, the optimizer, ``shared`` and, for each process, what differs
    between processes: the random numbers of Python, NumPy and torch, the state that each ``SpikingNet`` keeps between
    two calls, buffers such as the statistics of a batch norm, and ``own``.

    Args:
        folder: where the checkpoints are: the same for all processes, on a disk that all of them see.
        model: the network as it is trained: plain, wrapped in ``DistributedDataParallel``, or after ``fully_shard``.
        optimizer: its optimizer, or several.
        own: by name, what each process has of its own: generators of encoders, loaders with a state.
        keep: how many complete checkpoints stay.
        timeout: seconds that a process waits for the others before it raises.
        **shared: by name, what is equal in all processes: ``scheduler=scheduler``.

    Raises:
        CheckpointError: the processes have other networks, or other versions of Python, torch or spikingtorch.

    >>> import tempfile
    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(4, 3), LIF()))
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> folder = tempfile.TemporaryDirectory()
    >>> with Checkpoints(folder.name, model, optimizer) as checkpoints:
    ...     for step in range(checkpoints.resume() + 1, 6):
    ...         model(torch.rand(2, 10, 4)).mean().backward()
    ...         optimizer.step()
    ...         checkpoints.save(step)
    >>> Checkpoints(folder.name, model, optimizer).resume()
    5
    >>> folder.cleanup()
    """

    def __init__(
        self,
        folder: Path | str,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Iterable[torch.optim.Optimizer] = (),
        *,
        own: Mapping[str, Stateful | torch.Generator] | None = None,
        keep: int = 2,
        timeout: float = 600.0,
        **shared: Stateful,
    ) -> None:
        if keep < 1:
            raise ValueError(f"Checkpoints: keep is {keep}, expected at least 1")
        self.folder, self.keep = Path(folder), keep
        self.model, self.own, self.shared = model, dict(own or {}), shared
        self.optimizers = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
        self._writing: tuple[int, Future[Any]] | None = None
        together = dist.is_available() and dist.is_initialized()
        # a group of its own: the background must not mix its messages with those of the training
        self._group: Any = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout)) if together else None
        self._rank, self._size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        first, *others = self._gather(_versions() | layout(model.state_dict()) | layers_said(model) | self._kinds())
        for rank, other in enumerate(others, 1):
            if differ := difference(other, first):
                raise CheckpointError(f"Process {rank} differs from process 0: {differ}. Start the same code on all.")
        self._newest, self._earlier = 0, self._look()

    def resume(self) -> int:
        """Take up the newest checkpoint that is complete and undamaged, and return its step; 0 if there is none.

        Call it last before the loop, because it sets the random numbers. A later call goes back to what this run has
        saved. On another number of processes, each takes the random numbers and ``own`` of its rank where the
        checkpoint has them. The states that networks keep between calls are put together in the order of the processes
        and cut by ``tensor_split``.

        Raises:
            CheckpointError: the checkpoint is of another network or optimizer, or all are damaged.
        """
        self.wait()
        damaged: list[str] = []
        self._earlier = self._look()
        for step in reversed(self._earlier):
            path = named(self.folder, step)
            found = [each for each in self._gather(damage(path, self._rank, self._size)) if each]
            if not found:
                self._load(path)
                self._newest, self._earlier = step, []
                return step
            damaged.append(f"{path} is damaged ({found[0]})")
            warnings.warn(f"{damaged[-1]}. The checkpoint before it takes its place.", stacklevel=level_of_user())
        if damaged:
            raise CheckpointError(f"{', '.join(damaged)}. Put a copy in its place, or begin in another folder.")
        return 0

    def save(self, step: int) -> None:
        """Write a checkpoint after so many steps of the optimizer.

        It copies the state and returns; files are written in the background. One checkpoint is written at a time:
        ``save`` waits for the one before. Without a process group, it writes before it returns.

        Raises:
            CheckpointError: this checkpoint, or the one before, could not be written; or the folder holds those of an
                earlier run.
            ValueError: ``step`` is not positive, or not above that of the checkpoint before.
        """
        if step < 1:  # an optimizer that has not stepped is stepped by torch, to see what it will hold
            raise ValueError(f"Checkpoints: step is {step}, expected how many steps the optimizer has taken, from 1 on")
        if self._earlier:
            raise CheckpointError(
                f"{self.folder} holds step {self._earlier[-1]} of an earlier run. Call resume() before the first "
                "save() to go on with it, or choose another folder."
            )
        self.wait()
        if step <= self._newest:
            raise ValueError(
                f"Checkpoints: step is {step}, expected more than {self._newest}, the step of the checkpoint before"
            )
        path = named(self.folder, step)
        own = self._of_all(lambda: own_state(self.model, self.own), f"{path} could not be written", about=step)
        # what is not sharded and differs is that of the first process
        planner = DefaultSavePlanner(dedup_save_to_lowest_rank=True)
        write: Any = save if self._group is None else async_save
        try:
            with _one_process_is_meant():
                written = write(
                    self._state({str(self._rank): own}),
                    storage_writer=Writer(path, self.keep),
                    planner=planner,
                    process_group=self._group,
                )
        except (Exception, CheckpointException) as error:
            raise self._failed(path, error) from error
        if isinstance(written, Future):
            self._writing = (step, written)
        else:
            self._newest = step

    def wait(self) -> None:
        """Wait until the last checkpoint is complete.

        Raises:
            CheckpointError: it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            step, written = writing
            try:
                written.result()
            except (Exception, CheckpointException) as error:
                raise self._failed(named(self.folder, step), error) from error
            self._newest = step

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:  # after an error, the others may have ended, and this process would wait for them
            self.wait()

    def _kinds(self) -> dict[str, str]:
        return {f"optimizer {number}": type(each).__qualname__ for number, each in enumerate(self.optimizers)}

    def _gather(self, mine: T) -> list[T]:
        """Return what every process gives."""
        found = [mine] * self._size
        if self._group is not None:
            dist.all_gather_object(found, mine, self._group)
        return found

    def _of_all(self, work: Callable[[], T], said: str, about: int = 0) -> T:
        """Return what ``work`` gives here, after it has ended on all processes.

        Raises:
            CheckpointError: it has raised on a process, or ``about`` differs.
        """
        mine: T | None = None
        cause: Exception | None = None
        try:
            mine = work()
        except Exception as error:  # the others wait for this process: they are told first
            cause = error
        found = self._gather((about, told(cause) if cause else ""))
        if any(failure for _, failure in found):
            errors = "; ".join(f"process {rank}: {failure}" for rank, (_, failure) in enumerate(found) if failure)
            raise CheckpointError(f"{said}: {errors}") from cause
        if len({each for each, _ in found}) > 1:
            raise CheckpointError(
                f"{said}: processes are at steps {[each for each, _ in found]}. Call save() after equal steps."
            )
        return cast(T, mine)

    def _look(self) -> list[int]:
        """Clear away what a run that was killed has left, and return the steps of complete checkpoints."""

        def look() -> list[int]:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part in self.folder.glob("step-*.part"):
                remove(part)
            return steps(self.folder)

        found = self._of_all(lambda: look() if self._rank == 0 else [], f"{self.folder} cannot hold checkpoints")
        return self._gather(found)[0]

    def _state(self, of_processes: dict[str, Any]) -> dict[str, Any]:
        """Return the state in the form of ``torch.distributed.checkpoint``."""
        model, optimizer = get_state_dict(self.model, self.optimizers)
        shared = {name: each.state_dict() for name, each in self.shared.items()}
        return {
            "model": model,
            "optimizer": optimizer,
            "shared": shared,
            "process": of_processes,
            "versions": tuple((_versions() | self._kinds()).items()),
        }

    def _load(self, path: Path) -> None:
        """Take up a checkpoint that is complete."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # torch sets up the state of an optimizer that has no gradients alone
        reader = FileSystemReader(path)
        saved = reader.read_metadata().state_dict_metadata
        size = sum(name.startswith("process.") for name in saved)
        as_many = size == self._size
        state = self._state({str(rank): () for rank in ([self._rank] if as_many else range(size))})
        self._leave_out(state["optimizer"].get("state", {}), saved)
        self._compare(path, state, reader)
        self._read(state, reader)
        saved_own = {int(rank): each for rank, each in state["process"].items()}
        differ = [_names_differ(self.own, saved_own[self._rank][-1]) if self._rank in saved_own else ""]
        if differ := [each for each in self._gather(*differ) if each]:
            raise CheckpointError(
                f"{path} was saved with another own=. Here: {differ[0]}. Pass what it was saved with."
            )
        set_state_dict(
            self.model,
            self.optimizers,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=StateDictOptions(strict=False),  # _compare has been strict
        )
        for name, each in self.shared.items():
            each.load_state_dict(state["shared"].get(name, {}))
        take_own_state(self.model, self.own, saved_own, self._rank, None if as_many else self._size)

    @staticmethod
    def _leave_out(of_parameters: dict[str, Any], saved: Mapping[str, Any]) -> None:
        """Leave out parameters that had no gradient before the checkpoint: torch has set up a state for them here."""
        stored = {name for name in of_parameters if any(each.startswith(f"optimizer.state.{name}.") for each in saved)}
        for name in [*of_parameters] if stored else []:
            if name not in stored and f"model.{name}" in saved:
                del of_parameters[name]

    def _compare(self, path: Path, state: dict[str, Any], reader: FileSystemReader) -> None:
        """Raise unless a checkpoint is of this network and its optimizer; warn if other versions have written it."""
        metadata = reader.read_metadata()
        made: dict[str, Any] = {"versions": ()}
        self._read(made, reader)
        saved_by = dict(made["versions"])
        kinds = {name: saved_by.pop(name, kind) for name, kind in self._kinds().items()}
        other = difference(
            _versions(), {name: saved_by[name] for name in saved_by if not name.startswith("optimizer ")}
        )
        planner = DefaultLoadPlanner()
        planner.set_up_planner(state, metadata)
        ours, theirs = (
            {name: each for name, each in layout(found).items() if not name.startswith("process.")}
            for found in (planner.state_dict, metadata.state_dict_metadata)
        )
        if differ := difference(ours, theirs) or difference(self._kinds(), kinds):
            raise CheckpointError(
                f"{path} is not of this model and optimizer. Here: {differ}. "
                + (f"Its versions are others, too. Here: {other}. " if other else "")
                + "Build what it was saved from, or begin in another folder."
            )
        if other:
            warnings.warn(
                f"Other versions wrote {path}, so that numbers may differ. Here: {other}.", stacklevel=level_of_user()
            )

    def _read(self, state: dict[str, Any], reader: FileSystemReader) -> None:
        """Read the entries of ``state`` into it."""
        with _one_process_is_meant():
            load(state, storage_reader=reader, process_group=self._group)

    def _failed(self, path: Path, error: BaseException) -> CheckpointError:
        """Clear away what has been written, and return the error that says which process could not write."""
        if self._rank == 0:
            remove(path.with_suffix(".part"))
        return CheckpointError(f"{path} could not be written: {told(error)}. Earlier checkpoints are complete.")


def _names_differ(one: Iterable[str], other: Iterable[str]) -> str:
    return difference(dict.fromkeys(one, ""), dict.fromkeys(other, ""))


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), "torch": torch.__version__, "spikingtorch": spikingtorch.__version__}


def _one_process_is_meant() -> "warnings.catch_warnings[None]":
    """Return a context without torch's warning that there is no process group."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
