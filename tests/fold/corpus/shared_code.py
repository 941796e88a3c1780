"""A file of settings and of helpers, as a lab keeps them, that networks of the corpus import."""

import atexit
import os
import shutil
import tempfile
from typing import Any

from torch import Tensor

GAIN = 1.0
MIX = False
CALLS = 0
LOG: list[Tensor] = []
TRACE: Tensor | None = None
FOLDER = tempfile.mkdtemp()
atexit.register(shutil.rmtree, FOLDER)


def reset() -> None:
    """Put everything back."""
    globals().update(GAIN=1.0, MIX=False, CALLS=0, TRACE=None, LOG=[], scale=_scale)
    for name in {"NOTED", "LATE"} & globals().keys():
        del globals()[name]
    for name in os.listdir(FOLDER):
        os.rmdir(os.path.join(FOLDER, name))
    os.makedirs(os.path.join(FOLDER, "0"))


def counts() -> list[int]:
    """Return what the helpers have counted."""
    return [CALLS, globals().get("NOTED", 0), len(LOG), len("".join(os.listdir(FOLDER)))]


def scale(x: Tensor) -> Tensor:
    return 2.0 * x


_scale = scale


def log(x: Tensor) -> Tensor:
    LOG.append(x.detach())
    return x


def count(x: Tensor) -> Tensor:
    global CALLS
    CALLS += 1
    return x * (1 + 0.1 * CALLS)


def count_in(settings: Any, x: Tensor) -> Tensor:
    settings.CALLS += 1
    return x.mul(1 + 0.1 * settings.CALLS)


def note(settings: Any, x: Tensor) -> Tensor:
    """Keep something under a name that was not there before."""
    settings.NOTED = getattr(settings, "NOTED", 0) + 1
    return x.mul(1 + 0.1 * settings.NOTED)


def centred_if(settings: Any, x: Tensor) -> Tensor:
    return x - x.mean(0) if settings.MIX else x


def tell(x: Tensor) -> Tensor:
    print("step", tuple(x.shape))
    return x


def make_folder(x: Tensor) -> Tensor:
    os.makedirs(os.path.join(FOLDER, str(len(os.listdir(FOLDER)))))
    return x


def move_folder(x: Tensor) -> Tensor:
    name = os.listdir(FOLDER)[0]
    os.rename(os.path.join(FOLDER, name), os.path.join(FOLDER, name + "0"))
    return x
