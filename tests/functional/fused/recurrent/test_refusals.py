"""What a recurrent step refuses, in which words."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.functional.fused.recurrent.cases import BACKENDS

V, WEIGHT = torch.zeros(3, 5), torch.zeros(5, 5)


def refused(kind: type[Exception], *words: str, v: Tensor = V, synapse: Any = F.dense, **changes: Any) -> None:
    """Assert that every backend refuses a scan, of three samples of five neurons by default, in these words."""
    step: Any = F.Recurrent(F.lif_step, synapse)
    given: dict[str, Any] = {"state": F.RecurrentState(F.LIFState(v), v), "xs": torch.rand(4, *v.shape)} | changes
    params = {"decay": 0.9, **given.pop("weights", {"recurrent_weight": WEIGHT})}
    for backend in BACKENDS:
        with pytest.raises(kind) as caught:
            F.scan(step, **given, params=params, backend=backend)
        message = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        for word in words:
            assert re.search(word, message), f"{backend}: {word!r} is not in {message!r}"


# neurons, what is said of the shapes that weights should have, and shapes that do not fit
KERNELS = [(4, 4, 2, 3), (3, 4, 3, 3), (4, 3, 3, 3), (8, 4, 3, 3), (4, 4, 3), (4, 4)]
WRONG: dict[Any, tuple[Tensor, str, list[Any]]] = {
    F.dense: (V, "5", [(4, 5), (5, 4), (4, 4), (1, 5), (5,), (), (5, 5, 1)]),
    F.per_channel: (V, r"3, 5|\(5,\)", [(4,), (5, 1), (2, 5), (7, 1, 3, 5)]),
    F.convolution: (torch.zeros(2, 4, 5, 5), "odd sizes", KERNELS),
}


@pytest.mark.parametrize("synapse", WRONG, ids=lambda synapse: synapse.__name__)
def test_weights_of_a_wrong_shape(synapse: Any) -> None:
    v, expected, shapes = WRONG[synapse]
    for shape in shapes:
        came = re.escape(str(shape))
        refused(ValueError, came, expected, v=v, synapse=synapse, weights={"recurrent_weight": torch.zeros(shape)})


def state(v: Any, s: Any) -> dict[str, Any]:
    return {"state": F.RecurrentState(F.LIFState(v), s)}


def weight(given: Any) -> dict[str, Any]:
    return {"weights": {"recurrent_weight": given}}


DTYPES = ("float32", "float64")
# what does not fit, and what is said of it
REFUSED: dict[str, tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = {
    "no weight": ({"weights": {}}, TypeError, ("recurrent_weight",)),
    "a number": (weight(0.5), TypeError, ("recurrent_weight",)),
    "a string": (weight("all to all"), TypeError, ("recurrent_weight",)),
    "none": (weight(None), TypeError, ("recurrent_weight",)),
    "integers": (weight(WEIGHT.long()), TypeError, ("recurrent_weight",)),
    "weights in double": (weight(WEIGHT.double()), TypeError, DTYPES),
    "s in double": (state(V, V.double()), TypeError, DTYPES),
    "v in double": (state(V.double(), V), TypeError, DTYPES),
    "inputs in double": ({"xs": torch.rand(4, 3, 5, dtype=torch.float64)}, TypeError, DTYPES),
    "no s": ({"state": F.LIFState(V)}, TypeError, ("RecurrentState", "LIFState")),
    "a tuple": ({"state": (F.LIFState(V), V)}, TypeError, ("RecurrentState", "tuple")),
    "fewer neurons": (state(V, V[:, :4]), ValueError, (r"\bs\b", r"\(3, 4\)", r"\(3, 5\)")),
    "fewer axes": (state(V, V[0]), ValueError, (r"\bs\b", r"\(5,\)", r"\(3, 5\)")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit(name: str) -> None:
    changes, kind, words = REFUSED[name]
    refused(kind, *words, **changes)
