"""One step, as layers take it that are called step by step: by a kernel where there are many neurons."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
import spikingtorch.functional as F
from tests.fused_steps import counting


def mean_step(state: F.LIFState, x: Tensor, decay: Any = 0.9) -> tuple[F.LIFState, Tensor]:
    """A membrane that all neurons share in, which no kernel knows."""
    v = decay * state.v + x
    return F.LIFState(v), (v - v.mean(-1, keepdim=True)).sin()


@pytest.mark.filterwarnings("ignore:.*aten.mean")
@pytest.mark.parametrize(
    ("step", "neurons", "kernels"), [(F.lif_step, 2047, 0), (F.lif_step, 2048, 3), (mean_step, 4096, 0)]
)
def test_many_neurons_take_a_kernel(step: Any, neurons: int, kernels: int) -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(st.StepLayer(step, F.LIFState, decay=0.9), mode="step")
    x, cotangent = (2 * torch.rand(1, 3, neurons)).requires_grad_(), torch.randn(1, 3, neurons)
    with counting() as ran:
        got = model(x)
    assert ran.forward == kernels
    rest = F.LIFState(torch.zeros(1, neurons))
    want = F.scan(step, rest, x, params={"decay": 0.9}, dim=1, backend="loop")[1]
    assert torch.equal(got, want)
    # the slope of the surrogate may differ in the last digit
    torch.testing.assert_close(*(torch.autograd.grad(out, x, cotangent)[0] for out in (got, want)))


def test_what_no_kernel_knows_is_told() -> None:
    def least_step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        return F.LIFState(state.v + x), x - x.min()

    with pytest.warns(RuntimeWarning, match=r"least_step ran on the Python loop .* aten\.min"):
        st.StepLayer(least_step, F.LIFState)(torch.rand(1, 4096), True)


def test_a_product_is_computed_apart() -> None:
    layer = st.LIF(recurrent=nn.Linear(64, 64, bias=False))
    with counting() as ran:
        layer(torch.rand(64, 64), True)
    assert ran.forward == 0


def test_channels_last_images_stay_channels_last() -> None:
    x = torch.rand(4, 8, 9, 10).to(memory_format=torch.channels_last)
    layer: Any = st.LIF(decay=0.9)
    with counting() as ran:
        out = layer(x, True)
    assert ran.forward == 1
    assert x.stride() == out.stride() == layer.v.stride()
    want = layer(x.contiguous(), True)
    assert torch.equal(out, want)
