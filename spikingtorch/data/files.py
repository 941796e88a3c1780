"""The files of data sets: where they are, and how they come there."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

Split = Literal["train", "validation", "test"]
Root = str | Path | None


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Source(NamedTuple):
    """A file of a data set: its path below the folder of all data, its public home, its licence and its digest."""

    place: str
    url: str
    licence: str
    digest: str
    digest_of: Callable[[Path], str] = sha256


def check_split(owner: str, split: str) -> None:
    """Raise unless a split is one of three."""
    if split not in ("train", "validation", "test"):
        raise ValueError(f"{owner}: split={split!r} is not one of 'train', 'validation', 'test'")


def find(owner: str, source: Source, root: Root, download: bool) -> Path:
    """Return the path of a file: in root, or by its place in ``$SPIKINGTORCH_DATA`` or else in the user's cache.

    If it is not there, download it, check its digest, and say what it is; or raise if download is False.
    """
    folder = os.environ.get("SPIKINGTORCH_DATA") or Path.home() / ".cache" / "spikingtorch" / "data"
    path = (Path(folder, source.place) if root is None else Path(root, Path(source.place).name)).expanduser()
    if path.exists():
        return path
    if not download:
        raise FileNotFoundError(
            f"{owner}: there is no {path}. download=True takes it from {source.url}; or name the folder that has "
            f"{path.name} as root=, or the one that has {source.place} in the environment variable SPIKINGTORCH_DATA"
        )
    try:
        import pooch
    except ImportError:
        raise ImportError(f'{owner}: download=True needs the package pooch: pip install ".[data]"') from None
    print(f"{owner}: {source.url} (licence {source.licence}, sha256 {source.digest}) to {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # under another name until it is whole and checked
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        pooch.HTTPDownloader()(source.url, str(part), None)
        if (came := source.digest_of(part)) != source.digest:
            raise ValueError(f"{owner}: {source.url} has sha256 {came}, expected {source.digest}; it is not kept")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
