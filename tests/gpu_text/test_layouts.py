"""Arrays that lie in memory in other ways, and parameters of all shapes, in Triton's interpreter or on a card."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests.functional.fused.codegen.test_exactness import with_a_float
from tests.functional.fused.runtime.test_trees import ODD
from tests.fused import Scan, draw
from tests.gpu_text.compare import Agrees

T = 17
SHAPE = (2, 3, 4, 5)
# of a parameter of neurons of that shape
PARAMETERS = {
    "shared": (),
    "shared, one axis": (1,),
    "channel": (3, 1, 1),
    "neuron": (3, 4, 5),
    "sample": (2, 1, 1, 1),
    "column": (5,),
    "sample and neuron": (2, 3, 4, 5),
    "row of an image": (4, 1),
}


def lif(x: Tensor, dim: int, shape: tuple[int, ...] = (), v: Tensor | None = None) -> Scan:
    """Return a scan of LIF neurons with learnable parameters of a shape."""
    params = {
        "decay": draw(*shape, dtype=x.dtype, low=0.5, high=0.98),
        "gain": draw(*shape, dtype=x.dtype, low=0.5, high=1.2, seed=1),
        "threshold": draw(*shape, dtype=x.dtype, low=0.5, high=1.2, seed=2),
    }
    first = x.select(dim, 0)
    v = draw(*first.shape, dtype=x.dtype, high=0.4, seed=3) if v is None else v
    return Scan(F.lif_step, F.LIFState(v), x, params, dim)


def inputs(dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
    sizes = [*SHAPE]
    sizes.insert(dim, T)
    return draw(*sizes, dtype=dtype, low=-0.6, high=1.4)


@pytest.mark.parametrize("dim", [0, 1, 3])
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_all_shapes(agrees: Agrees, name: str, dim: int) -> None:
    agrees(lif(inputs(dim), dim, PARAMETERS[name]))


STRIDED: dict[str, Callable[[Tensor], Tensor]] = {
    "every other row": lambda x: x[:, :, ::2],
    "columns of a wider array": lambda x: x[..., 1:4],
    "time from behind": lambda x: x.movedim(-1, 0).contiguous().movedim(0, -1),
    "one value for all": lambda x: x[..., :1].expand(x.shape),
    "samples in another order": lambda x: x.transpose(0, 2),
}


@pytest.mark.parametrize("name", STRIDED)
def test_strided_inputs(agrees: Agrees, name: str) -> None:
    x = STRIDED[name](draw(3, 9, 4, 6, low=-0.6, high=1.4))
    for dim in (0, 1, 2):
        agrees(lif(x, dim))


def test_a_state_that_neurons_share(agrees: Agrees) -> None:
    for v in (draw(1, 1, 1, 1).expand(SHAPE), draw(2, 1, 1, 1).expand(SHAPE), draw(5).expand(SHAPE)):
        agrees(lif(inputs(1), 1, (3, 1, 1), v))


def of_half(half: torch.dtype, dim: int) -> list[Scan]:
    """Return scans with inputs and outputs of half precision."""
    x, v = inputs(dim, torch.float32).to(half), draw(*SHAPE, dtype=torch.float32, high=0.4)
    step: Any = lambda v, x: (0.5 * v + x, v * x)  # noqa: E731
    return [Scan(F.lif_step, F.LIFState(v), x, {"decay": 0.9}, dim), Scan(step, v, x, {}, dim)]


@pytest.mark.parametrize("dim", [0, 1])
def test_float16(agrees: Agrees, dim: int) -> None:
    for scan in of_half(torch.float16, dim):
        agrees(scan)


@pytest.mark.parametrize("name", ODD)
def test_odd_scans(agrees: Agrees, name: str) -> None:
    agrees(ODD[name](T))


def test_a_float_is_not_rounded_first(agrees: Agrees) -> None:
    agrees(with_a_float(0.9))
