"""Every neuron, surrogate and reset rule, every layout and every synapse on the device, beside the loop there."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.verification.cases import CASES, LENGTHS, Case, by_name
from tests.functional.fused.recurrent import cases as recurrent
from tests.functional.fused.runtime.test_trees import ODD
from tests.fused import Scan, assert_close_gradients, assert_same_bits, draw
from tests.gpu.device import DEVICE, on_device, placed
from tests.gpu_text import test_layouts as layouts
from tests.gpu_text import test_neurons as neurons
from tests.gpu_text.compare import agree


@pytest.mark.parametrize("dim", [0, 1], ids=["time first", "batch first"])
@pytest.mark.parametrize("dtype", neurons.FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_neuron(case: Case, dtype: torch.dtype, dim: int) -> None:
    for T in (*LENGTHS, 33):
        scan = on_device(neurons.of_case(case, T, dtype, dim))
        agree(scan, exact=case.name not in neurons.TRANSCENDENTAL, well_posed=case.name not in neurons.ILL)


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("surrogate", neurons.SURROGATES, ids=by_name)
def test_every_surrogate_and_reset(surrogate: Any, turn: int) -> None:
    agree(on_device(neurons.of_surrogate(surrogate, turn)), exact=not isinstance(surrogate, neurons.INEXACT))


@pytest.mark.parametrize("dim", [0, 1], ids=["time first", "batch first"])
@pytest.mark.parametrize("dtype", neurons.FLOATS, ids=str)
def test_a_step_of_a_user(dtype: torch.dtype, dim: int) -> None:
    for T in (*LENGTHS, 33):
        agree(on_device(neurons.of_user(T, dtype, dim)), exact=False)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(half: torch.dtype, dim: int) -> None:
    x = layouts.inputs(dim, torch.float32).to(half)
    state = F.LIFState(draw(*layouts.SHAPE, dtype=torch.float32, high=0.4))
    agree(on_device(Scan(F.lif_step, state, x, {"decay": 0.9}, dim)))
    step: Any = lambda v, x: (0.5 * v + x, v * x)  # noqa: E731
    agree(on_device(Scan(step, draw(*layouts.SHAPE, dtype=torch.float32), x, {}, dim)))


@pytest.mark.parametrize("dim", [0, 1, 3])
@pytest.mark.parametrize("name", layouts.PARAMETERS)
def test_parameters_of_all_shapes(name: str, dim: int) -> None:
    agree(on_device(layouts.lif(layouts.inputs(dim), dim, layouts.PARAMETERS[name])))


@pytest.mark.parametrize("name", layouts.STRIDED)
def test_strided_inputs(name: str) -> None:
    x = layouts.STRIDED[name](draw(3, 9, 4, 6, low=-0.6, high=1.4).to(DEVICE))
    for dim in (0, 1, 2):
        agree(on_device(layouts.lif(x, dim)))


@pytest.mark.parametrize("offset", range(1, 4))
def test_arrays_that_begin_anywhere(offset: int) -> None:
    """Nothing is told to the compiler of how an address is aligned."""
    for dtype in (torch.float16, torch.float32, torch.float64):
        whole = draw(9 * 21 + offset, dtype=torch.float64, low=-0.6, high=1.4).to(DEVICE, dtype)
        agree(on_device(layouts.lif(whole[offset:].view(9, 21), 0)._replace(params={"decay": 0.9})))


@pytest.mark.parametrize("name", ODD)
def test_odd_scans(name: str) -> None:
    scan = on_device(ODD[name](layouts.T))
    (results, got), (expected, wanted) = scan.found("fused"), scan.found("loop")
    assert_same_bits(results, expected)
    assert_close_gradients(got, wanted)


@pytest.mark.parametrize("sizes", [(3, 2**16 + 1), (2, 7, 40_000), (1000, 33)])
def test_many_neurons(sizes: tuple[int, ...]) -> None:
    """More than one program, the last of which is not full."""
    agree(on_device(layouts.lif(draw(*sizes, dtype=torch.float32, low=-0.6, high=1.4), 0)))


def test_gradients_are_the_same_each_time() -> None:
    scan = on_device(layouts.lif(draw(17, 64, 500, dtype=torch.float32, high=1.4), 0, (1,)))
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
