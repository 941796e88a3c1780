"""The folders of checkpoints: owned by a run, written under another name, listed, searched for damage, compared."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future as TorchFuture

from spikingtorch.checkpoints.document import packed

FORMAT = 2  # 1 was that of 1.0.0rc1, in pickles
STATE, SUMS = "state.json", "SHA256SUMS"


def named(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return folder / f"step-{int(step):08}"


def documents(
    about: Mapping[str, Any], states: Mapping[str, Any], own: Mapping[int, Any], tensors: dict[str, Tensor]
) -> dict[str, Any]:
    """Return the files of JSON of some processes, which have ``own`` states by rank; add tensors to ``tensors``."""
    state = {"format": FORMAT, **about, **{name: packed(dict(each), name, tensors) for name, each in states.items()}}
    of_processes = {f"process-{rank}.json": packed(each, f"process.{rank}", tensors) for rank, each in own.items()}
    return of_processes | ({STATE: state} if 0 in own else {})


def is_pickled(path: Path) -> bool:
    """Return True if spikingtorch 1.0.0rc1 has written a checkpoint."""
    return (path / ".metadata").exists() and not (path / SUMS).exists()


def steps(folder: Path) -> list[int]:
    """Return the steps of all complete checkpoints, the newest last."""
    found = {int(path.name[5:]): path for path in folder.iterdir() if re.fullmatch(r"step-\d{8,}", path.name)}
    return sorted(step for step, path in found.items() if named(folder, step) == path)


def remove(path: Path) -> None:
    """Remove the folder of a checkpoint, which has another name before the first of its files is gone."""
    part = path.with_suffix(".part")
    if path != part and path.exists():
        shutil.rmtree(part, ignore_errors=True)  # what could not be removed before
        path.rename(part)
    shutil.rmtree(part, ignore_errors=True)


class Owner:
    """Takes a folder for a run, from nobody or from the run that it was seen to belong to; the first process asks.

    Each run that takes the folder makes a file of the next number, which only one of several can make.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen, self.mine, self.known = folder, 0, 0, list[int]()

    def look(self) -> list[int]:
        """Return the steps in the folder, and note whose they are, so that the first ``save()`` takes it over."""
        self.mine = 0 if self.refused() else self.mine
        self.seen, self.known = self._newest(), steps(self.folder)
        return self.known

    def take(self) -> str:
        """Make this run the owner, if it is not; return why it cannot be."""
        if self.mine == self.seen > 0 or self.seen != self._newest():
            return self.refused()
        if unknown := [step for step in steps(self.folder) if step not in self.known]:
            return self.refused(f"holds step {unknown[-1]} of another run")
        with contextlib.suppress(FileExistsError), self._mark(self.seen + 1).open("x") as file:
            file.write(self._me())
            self.mine = self.seen = self.seen + 1
        if not (refused := self.refused()):
            self._mark(self.mine - 1).unlink(missing_ok=True)
            for part in self.folder.glob("step-*.part"):  # of a run that was killed
                remove(part)
        return refused

    def refused(self, why: str = "") -> str:
        """Return why this run may not write, and nothing if it may."""
        newest = self._newest()
        whose = self._mark(newest).read_text() if newest else "its file is gone"
        if newest != self.mine or whose != self._me():  # a fork has the number of its parent
            why = why or f"belongs to another run: {whose}"
        ending = "Call resume() before the first save() to go on with it, or choose another folder."
        return f"{self.folder} {why}. {ending}" if why else ""

    def _me(self) -> str:
        return f"process {os.getpid()} on {platform.node()}"

    def _mark(self, number: int) -> Path:
        return self.folder / f"owner-{number:08}"

    def _newest(self) -> int:
        return max((int(path.name[6:]) for path in self.folder.glob("owner-*") if path.name[6:].isdecimal()), default=0)


class Writer(HuggingFaceStorageWriter):
    """Writes a checkpoint and files of JSON under the name ``part``, and names it ``path`` when all processes have.

    The ``keep`` newest stay, besides those in ``damaged``. ``refused`` returns why this run may not name it.
    """

    def __init__(
        self,
        path: Path,
        part: Path,
        documents: Mapping[str, Any],
        keep: int,
        refused: Callable[[], str] = str,
        damaged: Collection[int] = (),
    ) -> None:
        super().__init__(str(part), save_distributed=True)
        self.complete, self.documents, self.keep, self.refused = path, documents, keep, refused
        self.damaged = damaged

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
        """Write the part of this process: its tensors into one file, and its documents; return their checksums."""
        if len({item.index.fqn for item in plan.items}) < len(plan.items):
            raise NotImplementedError("a process has several parts of one tensor, of which torch would write the last")
        names = {each.storage_data.relative_path for each in super().write_data(plan, planner).wait()}
        for name, document in self.documents.items():
            text = json.dumps(document, allow_nan=False, ensure_ascii=False)
            _write(Path(self.path, name), text.encode(errors="surrogatepass"))  # as json.loads decodes
        done: TorchFuture[list[WriteResult]] = TorchFuture()
        sums = {name: _sum(Path(self.path, name)) for name in [*names, *self.documents]}
        done.set_result([WriteResult(MetadataIndex(name), 0, each) for name, each in sums.items()])
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:  # noqa: ARG002
        """Name the folder and remove older ones; the first process calls this after all have written.

        What it raises, every process raises.
        """
        sums = {each.index.fqn: str(each.storage_data) for of_process in results for each in of_process}
        _write(Path(self.path, SUMS), _manifest(self.complete.name, sums))
        _sync(Path(self.path))
        if refused := self.refused():
            raise RuntimeError(refused)
        if self.complete.exists():  # a damaged one, which resume() has passed over
            shutil.rmtree(self.complete)
        os.replace(self.path, self.complete)
        _sync(self.complete.parent)
        # those after this one are damaged, too: they do not count
        there, mine = steps(self.complete.parent), int(self.complete.name[5:])
        whole = sorted({step for step in there if step < mine} - {*self.damaged} | {mine})
        for step in [each for each in there if each < whole[-self.keep :][0]]:
            remove(named(self.complete.parent, step))


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(name: str, sums: Mapping[str, str]) -> bytes:
    """Return the checksums of all files as ``sha256sum -c`` reads them, with one of their own."""
    text = "".join([f"# {name}\n", *(f"{sums[file]}  {file}\n" for file in sorted(sums))]).encode()
    return text + f"# {hashlib.sha256(text).hexdigest()}\n".encode()


def _sync(folder: Path) -> None:
    """Let the disk have the names of the files in a folder."""
    if os.name == "posix":  # Windows opens no folder
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def damage(path: Path, rank: int, size: int) -> str | None:
    """Return what is wrong with the files of a checkpoint, of which each process compares its share with the checksums.

    Other files than those of a checkpoint, such as systems put into folders, do no harm.
    """
    try:
        content = (path / SUMS).read_bytes()
        sums = {line[66:]: line[:64] for line in content.decode().splitlines() if line[:1] != "#"}
        if content != _manifest(path.name, sums):
            return f"{SUMS} has changed, or is that of another checkpoint"
        names = {each.name for each in path.iterdir() if each.name.endswith((".json", ".safetensors"))}
        if names != {*sums}:
            return f"of {', '.join(sorted(names ^ {*sums}))}, there is a file or a checksum alone"
        wrong = [name for name in sorted(names)[rank::size] if _sum(path / name) != sums[name]]
    except (OSError, ValueError) as error:
        return told(error)
    return f"the checksum of {wrong[0]} does not match" if wrong else None


def layout(state: Mapping[str, Any]) -> dict[str, str]:
    """Return dtype and shape of each tensor by its name, parameters of a group of an optimizer, and "" for others."""
    return {name: _described(value, ".params." in name) for name, value in state.items()}


def _described(value: Any, in_group: bool) -> str:
    if isinstance(value, str) and in_group:
        return value
    if isinstance(value, TensorStorageMetadata):
        return f"{value.properties.dtype} {tuple(value.size)}"
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else ""


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Return the first differences between two descriptions by name: "a is 1 and not 2, lacks b, has c"."""
    said = [f"{name} is {one[name]} and not {other[name]}" for name in one if one[name] != other.get(name, one[name])]
    said += [f"lacks {name}" for name in other if name not in one]
    said += [f"has {name}" for name in one if name not in other]
    return ", ".join(said[:3]) + (f", and {len(said) - 3} more" if len(said) > 3 else "")


def told(error: BaseException) -> str:
    """Return the first line of an error, by process if several have raised."""
    if isinstance(error, CheckpointException):
        return "; ".join(f"process {rank}: {told(each)}" for rank, (each, _) in error.failures.items())
    return f"{type(error).__name__}: {error}".splitlines()[0]
