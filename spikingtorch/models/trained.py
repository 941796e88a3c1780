"""Trained weights that the package ships: files of safetensors, with what they are in their metadata."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from safetensors import SafetensorError, safe_open
from torch import Tensor

from spikingtorch.models.authors import untrained
from spikingtorch.models.digits import digits, digits_int4
from spikingtorch.spikingnet import SpikingNet

TRAINED: Mapping[str, Callable[[], SpikingNet]] = MappingProxyType(
    {"digits": digits, "digits-int4": digits_int4, "ecg-brf": partial(untrained, "higuchi2024-ecg-brf")}
)
# what the metadata of a file say
ENTRIES = ("recipe", "commit", "data", "accuracy", "licence", "sha256")


def load(name: str) -> SpikingNet:
    """Return a trained network, in evaluation mode.

    Args:
        name: one of ``TRAINED``: "digits", the tutorial's network, for 28 x 28 handwritten digits in Poisson coding;
            "digits-int4", for the same digits, with weights of 4 bits, which ``quantize.to_integer`` takes; or
            "ecg-brf", balanced resonate-and-fire neurons for ``data.QTDB``, with a class for each step.

    Raises:
        ValueError: there is no network of that name, or its file is damaged.

    >>> from spikingtorch import models
    >>> models.load("digits").training
    False
    """
    weights, stored = _read(name)
    if (found := checksum(weights)) != stored["sha256"]:
        raise ValueError(
            f"load: the weights of {name!r} have the checksum {found}, and their file says {stored['sha256']}; install "
            "the package again"
        )
    model = TRAINED[name]()
    model.load_state_dict(weights)
    return model.eval()


def about(name: str) -> dict[str, str]:
    """Return what is known of a trained network: recipe, commit, data, accuracy, licence and the weights' checksum."""
    return _read(name)[1]


def checksum(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes, dtypes and bytes of tensors, in the order of their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def path_of(name: str) -> Path:
    """Return the file of a trained network; raise ValueError if there is none of that name."""
    if name not in TRAINED:
        raise ValueError(f"load: there is no network {name!r}; choose from {', '.join(TRAINED)}")
    return Path(__file__).parent / "weights" / f"{name}.safetensors"


def _read(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = path_of(name)
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"load: {path} cannot be read ({error}); install the package again") from error
