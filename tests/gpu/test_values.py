"""Every neuron, surrogate and reset rule, every layout and every synapse on the device, beside the loop there.

What is imported are the tests of kernels in Triton's interpreter, which run here as well.
"""

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from tests import recurrences as recurrent
from tests.fused import assert_same_bits, draw
from tests.gpu.device import DEVICE, on_device, placed
from tests.gpu_text.compare import Agrees
from tests.gpu_text.test_layouts import *  # noqa: F403
from tests.gpu_text.test_layouts import lif, of_half
from tests.gpu_text.test_neurons import *  # noqa: F403


@pytest.mark.parametrize("dim", [0, 1])
def test_bfloat16(agrees: Agrees, dim: int) -> None:
    """Which the interpreter truncates."""
    for scan in of_half(torch.bfloat16, dim):
        agrees(scan)


@pytest.mark.parametrize("offset", range(1, 4))
def test_arrays_that_begin_anywhere(agrees: Agrees, offset: int) -> None:
    """Nothing is told to the compiler of how an address is aligned."""
    for dtype in (torch.float16, torch.float32, torch.float64):
        whole = draw(9 * 21 + offset, dtype=torch.float64, low=-0.6, high=1.4).to(DEVICE, dtype)
        agrees(lif(whole[offset:].view(9, 21), 0)._replace(params={"decay": 0.9}))


@pytest.mark.parametrize("sizes", [(3, 2**16 + 1), (2, 7, 40_000), (1000, 33)])
def test_many_neurons(agrees: Agrees, sizes: tuple[int, ...]) -> None:
    """More than one program, the last of which is not full."""
    agrees(lif(draw(*sizes, dtype=torch.float32, low=-0.6, high=1.4), 0))


def test_gradients_are_the_same_each_time() -> None:
    scan = on_device(lif(draw(17, 64, 500, dtype=torch.float32, high=1.4), 0, (1,)))
    first, second = scan.gradients("fused"), scan.gradients("fused")
    assert_same_bits(second, first)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@recurrent.each_of(recurrent.CASES)
def test_every_synapse(case: recurrent.Case, dtype: torch.dtype) -> None:
    shape = () if dtype == torch.float64 else case.shape
    for steps in (1, 2, 17):
        recurrent.check(on_device(recurrent.draw(case, steps, dtype=dtype, decay=shape, threshold=shape)))


def test_no_neurons_and_one() -> None:
    for sizes in ((4, 0), (4, 1), (1, 1)):
        x = placed(torch.rand(*sizes)).requires_grad_()
        for backend in ("fused", "loop"):
            v, out = F.scan(F.if_step, F.IFState(torch.zeros_like(x[0])), x, backend=backend)
            grad: Tensor = torch.autograd.grad(out.sum() + v.v.sum(), x)[0]
            assert (out.shape, grad.shape, out.device.type) == (x.shape, x.shape, DEVICE.type)
