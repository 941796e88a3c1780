"""Integers out of the range of the tensor that they meet: torch wraps them or refuses, and so does every backend."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F

XS = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
MEETS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "less": lambda last, x, number: last < number,
    "equal": lambda last, x, number: last == number,
    "add": lambda last, x, number: last + number,
    "multiply": lambda last, x, number: last * number,
    "choose": lambda last, x, number: torch.where(last < number, x, -x),
    "another dtype": lambda last, x, number: torch.where((last > 0) < number, x, -x),
}
NUMBERS = (2**31, 10**10, 2**33, 2**40, -(2**40), 2**53 - 1, 2**53 + 1)

Counted = namedtuple("Counted", ["last"])


def step_of(meets: Callable[[Tensor, Tensor, int], Tensor], number: int) -> Any:
    return lambda state, x: (Counted(state.last), meets(state.last, x, number))


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:scan")
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("name", MEETS)
def test_numbers_are_those_of_the_loop(name: str, dtype: torch.dtype) -> None:
    state = Counted(torch.tensor([0, 1, 0, 1, 5, 100, -7]).to(dtype))
    for number in NUMBERS:
        step = step_of(MEETS[name], number)
        want, got = (F.scan(step, state, XS, backend=backend)[1] for backend in ("loop", "auto"))
        assert got.dtype == want.dtype
        assert torch.equal(got, want), number


def test_what_fits_is_fused_and_the_rest_says_why() -> None:
    state = Counted(torch.arange(7, dtype=torch.int32))
    for number in (2**31 - 1, -(2**31)):
        assert F.explain_scan(step_of(MEETS["less"], number), state, XS).backend == "fused"
    with pytest.raises(ValueError, match=r"computes in i32 with 2147483648, which is out of its range"):
        F.scan(step_of(MEETS["less"], 2**31), state, XS, backend="fused")
