"""What a recurrent step refuses, in which words."""

import re
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.recurrences import BACKENDS

V, WEIGHT = torch.zeros(3, 5), torch.zeros(5, 5)


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
# for each synapse: neurons, what is said of the shapes that weights should have, and shapes that do not fit
KERNELS = [(4, 4, 2, 3), (3, 4, 3, 3), (4, 3, 3, 3), (8, 4, 3, 3), (4, 4, 3), (4, 4)]
WRONG: dict[Any, tuple[Tensor, str, list[Any]]] = {
    F.dense: (V, "5", [(4, 5), (5, 4), (4, 4), (1, 5), (5,), (), (5, 5, 1)]),
    F.per_channel: (V, r"3, 5|\(5,\)", [(4,), (5, 1), (2, 5), (7, 1, 3, 5)]),
    F.convolution: (torch.zeros(2, 4, 5, 5), "odd sizes", KERNELS),
}
REFUSED |= {
    f"{synapse.__name__}, weights of {shape}": (
        {"v": v, "synapse": synapse, **weight(torch.zeros(shape))},
        ValueError,
        (re.escape(str(shape)), expected),
    )
    for synapse, (v, expected, shapes) in WRONG.items()
    for shape in shapes
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit(name: str) -> None:
    """Every backend refuses a scan, of three samples of five neurons by default, in these words."""
    changes, kind, words = REFUSED[name]
    given: dict[str, Any] = {"v": V, "synapse": F.dense, **weight(WEIGHT), **changes}
    v, step = given.pop("v"), cast(Any, F.Recurrent(F.lif_step, given.pop("synapse")))
    given = state(v, v) | {"xs": torch.rand(4, *v.shape)} | given
    params = {"decay": 0.9, **given.pop("weights")}
    for backend in BACKENDS:
        with pytest.raises(kind) as caught:
            F.scan(step, **given, params=params, backend=backend)
        message = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        for word in words:
            assert re.search(word, message), f"{backend}: {word!r} is not in {message!r}"
