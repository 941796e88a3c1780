"""Every operation of a program in Triton's interpreter beside eager torch, at special and at random numbers."""

import pytest
import torch

from tests.functional.fused.lower import test_operations as operations
from tests.gpu_text.launch import Interpreter
from tests.verification.kernels import KERNELS, WHOLE

# stores of bfloat16 truncate in the interpreter
RIGHT = [name for name in (*KERNELS, *WHOLE) if name != "halves"]


@pytest.mark.parametrize("dtype", operations.FLOATS, ids=str)
@pytest.mark.parametrize("names", operations.GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_values(target: Interpreter, names: list[str], dtype: torch.dtype) -> None:
    operations.test_values_and_gradients(names, dtype)
    assert target.launches > 0


@pytest.mark.parametrize("name", RIGHT)
def test_kernels(target: Interpreter, name: str) -> None:
    (KERNELS | WHOLE)[name]()
    assert target.launches > 0 or name == "exactness"
