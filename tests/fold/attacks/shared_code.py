"""A file of settings and of helpers, as a lab keeps them, that the networks of a test import."""

import os
from typing import Any

from torch import Tensor

GAIN = 1.0
MIX = False
CALLS = 0
LOG: list[Tensor] = []
TRACE: Tensor | None = None
FOLDER = ""


def scale(x: Tensor) -> Tensor:
    return 2.0 * x


def log(x: Tensor) -> Tensor:
    LOG.append(x.detach())
    return x


def low_pass(x: Tensor) -> Tensor:
    global TRACE
    TRACE = x if TRACE is None or TRACE.shape != x.shape else 0.8 * TRACE + x
    return TRACE


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


def move_file(x: Tensor) -> Tensor:
    name = os.listdir(FOLDER)[0]
    os.rename(os.path.join(FOLDER, name), os.path.join(FOLDER, name + "0"))
    return x
