"""The folders of checkpoints: written under another name, listed, looked through for damage, compared."""

import io
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future as TorchFuture


def named(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return folder / f"step-{step:08}"


def steps(folder: Path) -> list[int]:
    """Return the steps of all complete checkpoints, the newest last."""
    found = [re.fullmatch(r"step-(\d+)", path.name) for path in folder.iterdir()]
    return sorted(int(each[1]) for each in found if each)


def remove(path: Path) -> None:
    """Remove the folder of a checkpoint, which has another name before the first of its files is gone."""
    part = path.with_suffix(".part")
    if path != part and path.exists():
        shutil.rmtree(part, ignore_errors=True)  # what could not be removed before
        path.rename(part)
    shutil.rmtree(part, ignore_errors=True)


class Writer(FileSystemWriter):
    """Writes a checkpoint under another name, and names it when every process has written its part.

    Args:
        path: the folder of the checkpoint.
        keep: how many checkpoints stay beside each other.
    """

    def __init__(self, path: Path, keep: int) -> None:
        super().__init__(path.with_suffix(".part"))
        self.complete, self.keep = path, keep

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
        """Write the part of this process; raise what the disk has said, which an error of torch's archive hides."""
        try:
            return super().write_data(plan, planner)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            raise cause or error from error

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Name the folder and remove older ones; the first process calls this after all have written.

        What it raises, every process raises.
        """
        super().finish(metadata, results)
        _sync(Path(self.path))
        if self.complete.exists():  # a damaged one, which resume() has passed over
            shutil.rmtree(self.complete)
        os.replace(self.path, self.complete)
        _sync(self.complete.parent)
        # those after this one are damaged: they do not count
        until = [step for step in steps(self.complete.parent) if named(self.complete.parent, step) <= self.complete]
        for step in until[: -self.keep]:
            remove(named(self.complete.parent, step))


def _sync(folder: Path) -> None:
    """Let the disk have the names of the files in a folder."""
    if os.name == "posix":  # Windows opens no folder
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def damage(path: Path, rank: int, size: int) -> str | None:
    """Return what is wrong with the files of a checkpoint, of which each process looks at its share.

    Every tensor is an archive of ``torch.save``, with a checksum that ``torch.load`` does not look at.
    """
    try:
        stored = FileSystemReader(path).read_metadata().storage_data
        for item in list(stored.values())[rank::size]:
            with (path / item.relative_path).open("rb") as file:
                file.seek(item.offset)
                content = file.read(item.length)
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if archive.testzip():
                    return f"the checksum of a tensor in {item.relative_path} does not match"
    except Exception as error:  # a damaged file raises whatever its first wrong byte leads to
        return told(error)
    return None


def layout(state: Mapping[str, Any]) -> dict[str, str]:
    """Return dtype and shape of each tensor by its name, and nothing for other values."""
    return {name: _described(value) for name, value in state.items()}


def _described(value: Any) -> str:
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
