"""Results in float32 beside the same in float64, where two ways to them sum in different orders.

The order of a sum depends on the processor, on the libraries below torch and on the number of threads, and its rounding
on the order. So no number says how far two float32 results may lie apart; float64 does, each time anew.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

# what is done with each tensor that results are computed from
Change = Callable[[Tensor], Tensor]
# None for what has no gradient
Results = Sequence[Tensor | None]
Model = TypeVar("Model", bound=nn.Module)

# Terms are added one by one, or in the sixteen lanes of a vector, whose errors are less by the root of sixteen.
FACTOR = 4
_DRAWS = 4
# where a rounding of the inputs moves the results by more, a spike is within one of its threshold
_MOST = 2.0**-13


def assert_as_exact(got: Results, way: Callable[[Change], Results], what: str = "result") -> None:
    """Assert that float32 results are as near to float64 as another way's, but for a factor of four.

    Each may also be four times as far from float64 as one rounding of all inputs moves it there: what torch happens to
    round well, as it may a single number, is nothing to be measured by.

    Args:
        got: results in float32.
        way: the other way to them, such as the layers of torch. It passes each tensor that it computes with, parameters
            included, through the function that it is given.
        what: a name for messages.
    """
    plain, exact = way(torch.clone), way(torch.Tensor.double)
    moved: list[Results] = []
    for index, (a, b, want) in enumerate(zip(got, plain, exact, strict=True)):
        name = f"{what}[{index}]"
        assert (a is None) == (b is None), f"{name}: {a}, expected {b}"
        if a is None or b is None or want is None:
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{name}: {a.dtype} {a.shape}, expected {b.dtype} {b.shape}"
        whole = b.isfinite()
        torch.testing.assert_close(a[~whole], b[~whole], rtol=0.0, atol=0.0, equal_nan=True)
        # in float64 a convolution multiplies its padding as well: zero times infinity
        some = whole & want.isfinite()
        found, allowed = error(a[some], want[some]), FACTOR * error(b[some], want[some])
        if found > allowed:
            moved = moved or [way(_rounding(seed)) for seed in range(_DRAWS)]
            moves = [error(near[some], want[some]) for each in moved if (near := each[index]) is not None]
            allowed = FACTOR * math.hypot(*moves) / math.sqrt(_DRAWS)
        assert allowed < _MOST, f"{name}: a rounding of its inputs moves it by {allowed:.3g}; draw other inputs"
        assert found <= allowed, f"{name}: error {found:.3g}, allowed {allowed:.3g}\ngot  {a}\nwant {want}"


@torch.no_grad()
def error(got: Tensor, want: Tensor) -> float:
    """Return the error in the mean, as a part of what is exact."""
    return float((got.double() - want).norm() / want.norm().clamp(min=1e-30))


def changed(model: Model, change: Change) -> Model:
    """Return a copy of a model whose floating parameters and buffers are changed."""
    model = copy.deepcopy(model)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = change(tensor.data)
    return model


def _rounding(seed: int) -> Change:
    """Return what makes tensors float64, and each number larger or smaller by one rounding of float32."""
    draw = torch.Generator().manual_seed(seed)

    def moved(tensor: Tensor) -> Tensor:
        up = torch.randint(0, 2, tensor.shape, generator=draw, dtype=torch.float64)
        return tensor.double() * (1 + (2 * up - 1) * 2.0**-24)

    return moved
