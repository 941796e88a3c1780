"""Checkpoints of a training run, on one process or many, of which the newest is always complete."""

import json
import platform
import re
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
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save

import spikingtorch
from spikingtorch.checkpoints.document import leaves, packed, unpacked
from spikingtorch.checkpoints.own import Stateful, layers_said, own_state, take_own_state, tensors_of
from spikingtorch.checkpoints.storage import (
    FORMAT,
    STATE,
    Owner,
    Writer,
    damage,
    difference,
    documents,
    is_pickled,
    layout,
    named,
    remove,
    told,
)
from spikingtorch.functional.core.names import level_of_user

__all__ = ["CheckpointError", "Checkpoints", "Stateful"]
T = TypeVar("T")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; complete checkpoints are left as they are."""


class Checkpoints:
    """Writes the state of a run in the background, and takes it up again on as many processes or on others.

    A checkpoint is a folder ``step-00000120`` with files of safetensors, which ``torch.distributed.checkpoint`` writes,
    and of JSON: to load one runs no code that is in it. The folder has another name until every process has written its
    part. All processes construct this, and call its methods in the same order. One run may save in a folder: the
    first ``save()`` takes it, from an earlier run if ``resume()`` was called before.

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
        ValueError: a parameter of an optimizer is not in the model, or in two optimizers.

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
        self.folder, self.keep, self._damaged = Path(folder).absolute(), keep, list[int]()
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
        self._names()
        self._newest, self._owner = 0, Owner(self.folder)
        self._of_first(lambda: self.folder.mkdir(parents=True, exist_ok=True))

    def resume(self) -> int:
        """Take up the newest checkpoint that is complete and undamaged, and return its step; 0 if there is none.

        Call it last before the loop, because it sets the random numbers. A later call goes back to what this run has
        saved. On another number of processes, each takes the random numbers and ``own`` of its rank where the
        checkpoint has them. The states that networks keep between calls are put together in the order of the processes
        and cut by ``tensor_split``.

        Raises:
            CheckpointError: the checkpoint is of another network or optimizer, or all are damaged. Checkpoints of
                1.0.0rc1 are pickles, which ``python -m spikingtorch checkpoints convert`` converts.
        """
        self.wait()
        damaged: list[str] = []
        for step in reversed(self._of_first(self._owner.look)):
            path = named(self.folder, step)
            if any(self._gather(is_pickled(path))):
                raise CheckpointError(
                    f"{path} was written by 1.0.0rc1, as pickles, which run the code that is in them. If you trust it, "
                    f"convert it: python -m spikingtorch checkpoints convert {self.folder} NEW_FOLDER"
                )
            found = [each for each in self._gather(damage(path, self._rank, self._size)) if each]
            if not found:
                with torch.inference_mode(False):  # whose tensors cannot be trained
                    self._load(path)
                self._newest = step
                return step
            damaged.append(f"{path} is damaged ({found[0]})")
            self._damaged.append(step)
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
                earlier run, or belongs to another one; or a state holds a value that is not stored.
            ValueError: ``step`` is not positive, or not above that of the checkpoint before.
        """
        if step != int(step) or step < 1:
            raise ValueError(f"Checkpoints: step is {step}, expected how many steps the optimizer has taken, from 1 on")
        self.wait()
        if step <= self._newest:
            raise ValueError(
                f"Checkpoints: step is {step}, expected more than {self._newest}, the step of the checkpoint before"
            )
        refused, self._owner.mine = self._of_first(lambda: (self._owner.take(), self._owner.mine))
        if refused:
            raise CheckpointError(refused)
        path, tensors = named(self.folder, step), dict[str, torch.Tensor]()
        files = self._of_all(lambda: self._documents(tensors), f"{path} could not be written", step)
        writer = Writer(path, self._part(path), files, self.keep, self._owner.refused, self._damaged)
        # what is not sharded and differs is that of the first process
        planner = DefaultSavePlanner(dedup_save_to_lowest_rank=True)
        write: Any = save if self._group is None else async_save
        try:
            with _one_process_is_meant():
                # dense copies, which async_save makes by itself
                state = writer.stage(tensors) if self._group is None else tensors
                written = write(state, storage_writer=writer, planner=planner, process_group=self._group)
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

    def _of_first(self, work: Callable[[], T]) -> T:
        """Return what ``work`` with the folder gives on the first process."""
        cannot = f"{self.folder} cannot hold checkpoints"
        found = self._of_all(lambda: work() if self._rank == 0 else None, cannot)
        return cast(T, self._gather(found)[0])

    def _part(self, path: Path) -> Path:
        """Return the name of a checkpoint that is being written: no other run has the same."""
        return path.with_suffix(f".{self._owner.mine}.part")

    def _states(self) -> dict[str, Any]:
        # torch's get_state_dict would take a step with an optimizer that has not begun
        state, groups = dict[str, Any](), list[dict[str, Any]]()
        for optimizer, names in zip(self.optimizers, self._names(), strict=True):
            given = optimizer.state_dict()
            state |= {names[number]: each for number, each in given["state"].items()}
            groups += [{**each, "params": [names[k] for k in each["params"]]} for each in given["param_groups"]]
        return {"model": get_model_state_dict(self.model), "optimizer": {"state": state, "param_groups": groups}}

    def _names(self) -> list[list[str]]:
        """Return the names of the parameters of each optimizer, for each the first that it has, or raise."""
        of = {id(each): name for name, each in reversed(tensors_of(self.model, "parameters").items())}
        found = [[of.get(id(p), "") for each in it.param_groups for p in each["params"]] for it in self.optimizers]
        every = [name for names in found for name in names]
        if "" in every or len({*every}) < len(every):
            raise ValueError("Checkpoints: expected optimizers of parameters of the model, and each in one optimizer")
        return found

    def _documents(self, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Return what this process writes as JSON, and put the tensors in it into ``tensors``."""
        about = {"processes": self._size, "versions": _versions() | self._kinds()}
        shared = {name: each.state_dict() for name, each in self.shared.items()}
        own = {self._rank: own_state(self.model, self.own)}
        return documents(about, self._states() | {"shared": shared}, own, tensors)

    def _load(self, path: Path) -> None:
        """Take up a checkpoint that is complete."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # a checkpoint holds no gradients
        reader, saved = HuggingFaceStorageReader(str(path)), json.loads((path / STATE).read_bytes())
        if saved["format"] != FORMAT:
            raise CheckpointError(f"{path} has another format: {saved['format']}. Use the spikingtorch that wrote it.")
        stored, as_many = reader.read_metadata().state_dict_metadata, saved["processes"] == self._size
        ranks = [self._rank] if as_many else range(saved["processes"])
        own = {rank: json.loads((path / f"process-{rank}.json").read_bytes()) for rank in ranks}
        states, ours = self._states(), dict[str, Any]()
        here = {name: packed(dict(each), name, ours) for name, each in states.items()}
        self._compare(path, saved, leaves(here, ours), leaves({name: saved[name] for name in here}, stored))
        like = dict[str, Any]()  # shards and devices of today
        packed({name: each.state_dict() for name, each in self.shared.items()}, "shared", like)
        for name, parameter in tensors_of(self.model, "parameters").items():
            of = leaves(saved["optimizer"].get("state", {}).get(name), stored)
            like |= {key: parameter.to(each.properties.dtype) for key, each in of.items() if key in stored}
        ours |= {name: torch.empty_like(each) for name, each in like.items()}
        tensors = self._read(path, reader, leaves([saved, *own.values()], stored), ours)
        state = {name: unpacked(saved[name], tensors) for name in ("model", "optimizer", "shared")}
        saved_own = {rank: unpacked(each, tensors) for rank, each in own.items()}
        mine, has = saved_own.get(self._rank), dict.fromkeys(self.own, "") | layout(tensors_of(self.model, "buffers"))
        differ = difference(has, dict.fromkeys(mine["own"], "") | layout(mine["buffers"])) if mine else ""
        if found := [each for each in self._gather(differ) if each]:
            raise CheckpointError(
                f"{path} was saved with another own= or other buffers. Here: {found[0]}. Pass what it was saved with."
            )
        states["model"].update(state["model"])  # torch keeps the versions of its modules at that dict
        set_model_state_dict(self.model, states["model"])
        of_parameters, groups = state["optimizer"].get("state", {}), iter(state["optimizer"].get("param_groups", []))
        for optimizer, names in zip(self.optimizers, self._names(), strict=True):
            theirs = {name: of_parameters[name] for name in names if name in of_parameters}
            optimizer.load_state_dict({"state": theirs, "param_groups": [next(groups) for _ in optimizer.param_groups]})
        for name, each in self.shared.items():
            each.load_state_dict(state["shared"].get(name, {}))
        take_own_state(self.model, self.own, saved_own, self._rank, None if as_many else self._size)

    def _read(self, path: Path, reader: HuggingFaceStorageReader, of: dict[str, Any], into: dict[str, Any]) -> Any:
        """Return tensors by name, those of ``into`` with what is read."""
        stored = {name: each for name, each in of.items() if isinstance(each, TensorStorageMetadata)}
        found = {name: each for name, each in into.items() if layout({"": each}) == layout({"": stored.get(name)})}
        for name in sorted(stored.keys() - found.keys()):
            found[name] = torch.empty(stored[name].size, dtype=stored[name].properties.dtype)
        try:
            with _one_process_is_meant():
                load(found, storage_reader=reader, process_group=self._group)
        except CheckpointException as error:
            raise CheckpointError(f"{path} cannot be read: {told(error)}") from error
        return found

    def _compare(self, path: Path, saved: dict[str, Any], here: dict[str, Any], there: dict[str, Any]) -> None:
        """Raise unless a checkpoint is of this network and its optimizer; warn if other versions have written it."""
        kinds = {name: saved["versions"].pop(name, kind) for name, kind in self._kinds().items()}
        versions = {name: each for name, each in saved["versions"].items() if not name.startswith("optimizer ")}
        other = difference(_versions(), versions)
        # 1.0.0rc1 has not stored objects without a state
        objects = [name for name, each in self.shared.items() if name in saved["shared"] or each.state_dict()]
        free = re.compile(r"optimizer\.state\.|.*\._extra_state")  # of another form in each checkpoint
        here, there = ({name: it for name, it in each.items() if not free.match(name)} for each in (here, there))
        here, there = layout(here) | dict.fromkeys(objects, ""), layout(there) | dict.fromkeys(saved["shared"], "")
        if differ := difference(self._kinds(), kinds) or difference(here, there):
            raise CheckpointError(
                f"{path} is not of this model and optimizer. Here: {differ}. "
                + (f"Its versions are others, too. Here: {other}. " if other else "")
                + "Build what it was saved from, or begin in another folder."
            )
        if other:
            warnings.warn(
                f"Other versions wrote {path}, so that numbers may differ. Here: {other}.", stacklevel=level_of_user()
            )

    def _failed(self, path: Path, error: BaseException) -> CheckpointError:
        """Clear away what has been written, and return the error that says which process could not write."""
        if self._rank == 0:
            remove(self._part(path))
        return CheckpointError(f"{path} could not be written: {told(error)}. Earlier checkpoints are complete.")


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), "torch": torch.__version__, "spikingtorch": spikingtorch.__version__}


def _one_process_is_meant() -> "warnings.catch_warnings[None]":
    """Return a context without torch's warning that there is no process group."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
