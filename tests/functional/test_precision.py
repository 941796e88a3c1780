"""Half precision: computed in float32, rounded once."""

import pytest
import torch

from spikingtorch import functional as F


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(40, 4, 1), (40, 1, 1), (40, 1)], ids=str)
def test_the_gradient_of_an_input_that_neurons_share_is_rounded_once(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator).to(dtype).requires_grad_()
    cotangent = torch.rand(40, 4, 300, generator=generator)

    def run(backend: F.Backend) -> tuple[torch.Tensor, torch.Tensor]:
        _, out = F.scan(F.lif_step, F.LIFState(torch.zeros(4, 300)), x, params={"decay": 0.9}, backend=backend)
        return out, torch.autograd.grad((out.float() * cotangent).sum(), x)[0]

    want, gradient = run("loop")
    for _ in range(2):  # a first call, and one that is found again
        out, found = run("fused")
        assert out.dtype == found.dtype == dtype
        assert torch.equal(out, want)
        # as good as one rounding, and not as three hundred
        torch.testing.assert_close(found, gradient, rtol=torch.finfo(dtype).eps, atol=0.0)
