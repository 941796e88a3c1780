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
_DRAWS = 8
# A sum whose terms cancel is off by a fifth of it. What is off by more has a spike within rounding of its threshold, on
# one side of it in float32 and on the other in float64, and tells nothing.
_MOST = 2.0**-10


def assert_as_exact(got: Results, way: Callable[[Change], Results], what: str = "result") -> None:
    """Assert that float32 results are as near to float64 as another way's, but for a factor of four.

    A single number, or a few of them, may be rounded well by luck. So where results are not as near, the other way is
    asked how near it usually is, at inputs that differ from those in their last bits; and four times what these bits
    change in float64 is near enough.

    Args:
        got: results in float32.
        way: the other way to them, such as the layers of torch. It passes each tensor that it computes with, parameters
            included, through the function that it is given.
        what: a name for messages.
    """
    plain, exact = way(torch.clone), way(torch.Tensor.double)
    nearby: list[tuple[Results, Results]] = []
    for index, (a, b, want) in enumerate(zip(got, plain, exact, strict=True)):
        name = f"{what}[{index}]"
        assert (a is None) == (b is None), f"{name}: {a}, expected {b}"
        if a is None or b is None or want is None:
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{name}: {a.dtype} {a.shape}, expected {b.dtype} {b.shape}"
        other = ~(a.isfinite() & b.isfinite())
        torch.testing.assert_close(a[other], b[other], rtol=0.0, atol=0.0, equal_nan=True)
        found, allowed = error(a, want), FACTOR * error(b, want)
        if found > allowed:
            nearby = nearby or [(way(_nearby(seed)), way(_nearby(seed, torch.float64))) for seed in range(_DRAWS)]
            pairs = [(of_plain[index], of_exact[index]) for of_plain, of_exact in nearby]
            allowed = FACTOR * max(_mean([error(x, y) for x, y in pairs]), _mean([error(y, want) for _, y in pairs]))
        assert allowed < _MOST, f"{name}: float32 and float64 may differ by {allowed:.3g}; draw other inputs"
        assert found <= allowed, f"{name}: error {found:.3g}, allowed {allowed:.3g}\ngot  {a}\nwant {want}"


@torch.no_grad()
def error(got: Tensor | None, want: Tensor | None) -> float:
    """Return the error in the mean, as a part of what is exact, of the numbers that are finite.

    In float64 a convolution multiplies its padding as well, and zero times infinity is NaN.
    """
    assert got is not None
    assert want is not None
    some = got.isfinite() & want.isfinite()
    return float((got[some].double() - want[some]).norm() / want[some].norm().clamp(min=1e-30))


def _mean(errors: Sequence[float]) -> float:
    return math.hypot(*errors) / math.sqrt(len(errors))


def changed(model: Model, change: Change) -> Model:
    """Return a copy of a model whose floating parameters and buffers are changed."""
    model = copy.deepcopy(model)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = change(tensor.data)
    return model


def _nearby(seed: int, dtype: torch.dtype = torch.float32) -> Change:
    """Return what moves the numbers of tensors to a neighbour, up or down."""
    draw = torch.Generator().manual_seed(seed)

    def moved(tensor: Tensor) -> Tensor:
        up = torch.randint(0, 2, tensor.shape, generator=draw, dtype=tensor.dtype)
        return (tensor * (1 + (2 * up - 1) * torch.finfo(tensor.dtype).eps)).to(dtype)

    return moved
