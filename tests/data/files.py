"""Small files in the formats of data sets, and the place of the real ones."""

import io
import os
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

Array = np.ndarray[Any, Any]
# without it, each of these tests says what it has not checked
real = pytest.mark.skipif("SPIKINGTORCH_DATA" not in os.environ, reason="SPIKINGTORCH_DATA names no real data sets")
VOICES = ("ada", "theo", "yweweler")


def wav(numbers: Array, channels: int = 1, rate: int = 8000) -> bytes:
    """Return a wav file of int32 numbers, of which the highest ``width`` bytes are kept, or of uint8, int16 ones."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((channels, numbers.itemsize, rate, 0, "NONE", ""))
        file.writeframes(numbers.tobytes())
    return content.getvalue()


def digits(path: Path, takes: int = 11) -> None:
    """Write a zip of two digits of three voices; a waveform has 10 digit + take + 1 samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for voice, digit, take in ((v, d, t) for v in VOICES for d in (3, 0) for t in range(takes)):
            archive.writestr(f"x/{digit}_{voice}_{take}.wav", wav(np.full(10 * digit + take + 1, take, np.int16)))
        archive.writestr("x/noise.wav", b"")


def heartbeats(folder: Path, N: int = 20) -> None:
    """Write QTDB's files with N samples for training, and 3 for tests, of six steps; the second step has no label."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", N), ("test", 3)):
        x = np.zeros((count, 6, 4), np.int16)
        x[:, :, 0], x[:, -1] = np.arange(count)[:, None], -1
        y = np.eye(6, dtype=np.uint8)[np.tile([5, 1, 2, 3, 4, 0], (count, 1))]
        y[:, 1] = 0
        savemat(folder / f"QTDB_{name}.mat", {"x": x, "y": y})
