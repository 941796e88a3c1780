"""Checkpoints that survive: written aside and moved into place, read with a clear word when they are damaged."""

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class CheckpointError(Exception):
    """A checkpoint cannot be read or written; what is on the disk is left as it is."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint. Until the last byte is on the disk, an earlier one at this path stays untouched.

    Raises:
        OSError: the disk is full or the folder cannot be written; the earlier checkpoint is intact.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path, keys: set[str]) -> dict[str, Any]:
    """Read a checkpoint that holds these keys.

    Raises:
        CheckpointError: there is none, or it is damaged, cut short or something else.
    """
    if not path.exists():
        raise CheckpointError(f"There is no checkpoint at {path}. Leave --resume out to train from the start.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums that torch.save writes
            wrong = archive.testzip()
        content = None if wrong else torch.load(path, weights_only=True)
    except Exception as error:  # a damaged archive raises whatever its first wrong byte leads to
        raise CheckpointError(_damaged(path, f"{type(error).__name__}: {error}".splitlines()[0])) from error
    if wrong:
        raise CheckpointError(_damaged(path, f"the checksum of {wrong} does not match"))
    if not isinstance(content, dict) or not keys <= content.keys():
        raise CheckpointError(_damaged(path, f"it does not hold {sorted(keys)}"))
    return content


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one run at a time; the lock goes with the process, however it ends.

    Raises:
        CheckpointError: another run holds it.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows has none; there, two runs in one folder are the user's to avoid
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"Another run is training into {folder}. Give this one its own: --out FOLDER"
            ) from None
        yield


def _damaged(path: Path, reason: str) -> str:
    return (
        f"The checkpoint {path} cannot be read ({reason}). The file was left as it is. Put a copy in its place, or "
        "leave --resume out to train from the start."
    )
