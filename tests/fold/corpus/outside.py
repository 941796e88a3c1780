"""Places outside of a network that code of the corpus reads and writes; each run starts with the same content."""

import os
import sys
import types
from typing import Any

import torch
from torch import Tensor, nn

from tests.fold.corpus import shared_code

LOG: list[int] = []
FLAGS: dict[str, Any] = {}
SETTINGS: Any = types.ModuleType("settings_of_the_corpus")


def flagged() -> None:
    """Do nothing; a change gives it an attribute."""


class Single:
    """There is one of it."""

    n = 0

    def __deepcopy__(self, memo: Any) -> "Single":
        return self


class Slots:
    __slots__ = ("n",)
    n: int


SINGLE, SLOTS, GENERATOR = Single(), Slots(), torch.Generator()
_RELU = nn.ReLU.forward


def reset() -> None:
    """Put all places back."""
    LOG.clear()
    FLAGS.update(mix=False, dim=1)
    SINGLE.n = SLOTS.n = SETTINGS.n = 0
    SETTINGS.mix, sys.modules[SETTINGS.__name__] = False, SETTINGS
    GENERATOR.manual_seed(0)
    shared_code.reset()
    vars(flagged).clear()
    os.environ.pop("MIX_SAMPLES", None)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    nn.ReLU.forward = _RELU  # type: ignore[method-assign]


def content() -> dict[str, Any]:
    """Return what the places hold."""
    is_double = torch.get_default_dtype() == torch.float64
    found: dict[str, Any] = {"counts": [len(LOG), SINGLE.n, SLOTS.n, SETTINGS.n, is_double, *shared_code.counts()]}
    trace: Tensor | None = shared_code.TRACE
    return found if trace is None else found | {"trace": trace}
