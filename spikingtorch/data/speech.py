"""Spoken digits, and files of sound."""

import hashlib
import io
import re
import wave
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import StackDataset

from spikingtorch.data.files import Root, Source, Split, check_split, find


def read_wav(file: str | Path | IO[bytes]) -> tuple[Tensor, int]:
    """Return the waveform of a wav file, and its number of samples a second.

    The waveform is float32 in [-1, 1), of shape (samples,), or (samples, channels) if there are several. Python's
    module ``wave`` reads the file; its numbers are whole (PCM), of 8 to 32 bits.
    """
    with wave.open(str(file) if isinstance(file, Path) else file) as opened:
        width, channels, rate = opened.getsampwidth(), opened.getnchannels(), opened.getframerate()
        numbers = np.frombuffer(opened.readframes(opened.getnframes()), np.uint8).reshape(-1, width)
    # the high bytes of 32 bits; numbers of one byte have no sign, and their zero is 128
    whole = np.zeros((len(numbers), 4), np.uint8)
    whole[:, 4 - width :] = numbers ^ 128 if width == 1 else numbers
    waveform = torch.from_numpy(whole.view("<i4").astype(np.float32) / np.float32(2**31))
    return waveform.reshape(-1, channels).squeeze(1), rate


def _contents(path: Path) -> dict[str, bytes]:
    """Return the wav files in a folder or a zip, and in their folders, by name."""
    if path.is_dir():
        return {each.name: each.read_bytes() for each in sorted(path.rglob("*.wav"))}
    with zipfile.ZipFile(path) as archive:
        return {each.rpartition("/")[2]: archive.read(each) for each in archive.namelist() if each.endswith(".wav")}


def digest_of_recordings(path: Path) -> str:
    """Return the sha256 of what ``sha256sum *.wav`` prints of the recordings in a zip, in the C locale."""
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(_contents(path).items())]
    return hashlib.sha256("".join(sums).encode()).hexdigest()


_FILE = Source(
    "fsdd/recordings.zip",
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip",
    "CC BY-SA 4.0",
    "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
    digest_of_recordings,
)


class SpokenDigits(StackDataset[Any]):
    """Free Spoken Digit Dataset: ten digits in English, fifty times by each of six speakers, 8000 samples a second.

    A sample is (waveform, digit); see ``read_wav``. All waveforms of a split are held in memory. ``pad_sequences``
    makes batches of them.

    With ``speaker=None`` the takes 0 to 4 are for tests, as published, and 5 to 9 for validation: every voice is known.
    With ``speaker="theo"`` his recordings are for tests, and those of the next speaker in the alphabet for validation.

    Args:
        split: "train", "validation" or "test".
        speaker: the speaker for tests; None splits by takes.
        root: a folder or a zip of files that are called digit_speaker_take.wav, such as your own. By default it is
            fsdd/recordings.zip in the folder that the environment variable SPIKINGTORCH_DATA names, or else in
            ~/.cache/spikingtorch/data.
        download: download this zip if it is missing and there is no root; 16 MB, licence CC BY-SA 4.0.

    Attributes:
        rate: samples a second.
        speakers, takes: those of each recording.

    Raises:
        FileNotFoundError: there is no such file, and download is False.
        ImportError: pooch is missing for a download: ``pip install ".[data]"``.
        ValueError: the split or the speaker is another one, a split is empty, rates differ, or a download has a wrong
            checksum.

    Source: Z. Jackson et al., Free Spoken Digit Dataset, https://doi.org/10.5281/zenodo.1342401.
    """

    def __init__(self, split: Split, *, speaker: str | None = None, root: Root = None, download: bool = False) -> None:
        check_split("SpokenDigits", split)
        path = Path(root) if root is not None else find("SpokenDigits", _FILE, None, download)
        contents = _contents(path)
        names = [re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", name) for name in contents]
        parts = sorted((int(name[1]), name[2], int(name[3]), name[0]) for name in names if name)
        voices = sorted({voice for _, voice, _, _ in parts})
        if speaker not in (None, *voices):
            raise ValueError(f"SpokenDigits: speaker={speaker!r} is not one of {voices}, or None for a split by takes")
        others = [*voices, *voices][voices.index(speaker) + 1] if speaker else ""

        def split_of(voice: str, take: int) -> str:
            test, validation = (voice == speaker, voice == others) if speaker else (take < 5, take < 10)
            return "test" if test else "validation" if validation else "train"

        kept = [part for part in parts if split_of(*part[1:3]) == split]
        read = [read_wav(io.BytesIO(contents[name])) for *_, name in kept]
        if len(rates := {rate for _, rate in read}) != 1:
            raise ValueError(f"SpokenDigits: {len(kept)} recordings for {split!r} in {path}, with the rates {rates}")
        (self.rate,) = rates
        self.digits, self.speakers, self.takes = ([part[k] for part in kept] for k in range(3))
        whole: Any = [waveform for waveform, _ in read], self.digits
        super().__init__(*whole)
