"""Linear layers with delays, beside their equation in JAX: outputs and gradients, bits, and kernels of whole steps."""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.testing import assert_close
from tests.drawn import outcome

pytestmark = pytest.mark.usefixtures("one_thread")

# T, N, inputs, outputs, longest, width (None: a tensor), axes of the delays
CASES: list[tuple[int, int, int, int, int, float | None, int]] = [
    (12, 3, 5, 4, 6, 0.27, 2),
    (12, 3, 5, 4, 6, 12.3, 2),
    (17, 2, 4, 3, 24, 2.5, 2),
    (9, 2, 3, 4, 5, None, 2),
    (1, 3, 5, 4, 6, 1.0, 2),
    (12, 1, 5, 1, 6, 0.6, 2),
    (12, 3, 1, 4, 0, 0.5, 2),
    (12, 3, 5, 4, 6, 0.27, 1),
    (9, 2, 3, 4, 5, None, 1),
    (1, 1, 1, 1, 0, 12.3, 1),
]


def drawn(case: Any, spikes: float = 0.0) -> tuple[Tensor, ...]:
    """Return inputs, weights, delays and widths in float64."""
    T, N, ins, outs, longest, width, axes = case
    torch.manual_seed(T + ins)
    x = torch.randn(T, N, ins) if not spikes else (torch.rand(T, N, ins) < spikes).float()
    weight = torch.randn(outs, ins)
    delay = longest * torch.rand((outs, ins)[2 - axes :])
    widths = 0.3 + 3.0 * torch.rand_like(delay) if width is None else torch.tensor(width)
    return tuple([each.double() for each in (x, weight, delay, widths)])


@partial(jax.jit, static_argnums=4)
def by_equation(x: Any, weight: Any, delay: Any, width: Any, longest: int) -> Any:
    """Return the outputs by the equation of the paper, without its 1e-7."""
    k = jnp.arange(longest + 1.0)
    bump = jnp.exp(-(((k - delay[..., None]) / jnp.broadcast_to(width, delay.shape)[..., None]) ** 2) / 2)
    kernel = weight[..., None] * bump / bump.sum(-1, keepdims=True)
    before = jnp.concatenate([jnp.zeros((longest, *x.shape[1:])), x])
    late = jnp.stack([before[longest - k : longest - k + len(x)] for k in range(longest + 1)])
    return jnp.einsum("ktni,oik->tno", late, kernel)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients_are_those_of_the_equation(case: Any) -> None:
    longest, given = case[4], cast(Any, [each.requires_grad_() for each in drawn(case)])
    out = F.delayed_linear(*[*given, longest])
    pull = torch.randn_like(out)
    found = torch.autograd.grad(out, given, pull)
    with jax.enable_x64(True):
        wanted, back = jax.vjp(
            lambda *leaves: by_equation(*[*leaves, longest]), *to_jax([each.detach() for each in given])
        )
        assert_close([out, *found], to_torch([wanted, *back(to_jax(pull))]))


@pytest.mark.parametrize("spikes", [0.0, 0.1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32_by_events_and_by_torch(case: Any, spikes: float) -> None:
    found = []
    for dtype in (torch.float32, torch.float64):
        given: Any = [each.float().to(dtype).requires_grad_() for each in drawn(case, spikes)]
        found.append([each.float() for each in outcome(F.delayed_linear(*[*given, case[4]]), given)])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("kind", ["spikes", "all spike", "few graded", "graded"])
def test_a_part_of_a_sequence_has_its_bits(kind: str, axes: int) -> None:
    """Also one sample of several; graded inputs that are mostly not zero equal torch's convolution."""
    x, weight, delay, _ = (each.float() for each in drawn((40, 3, 20, 33, 9, 2.0, axes)))
    share = {"spikes": 0.1, "all spike": 1.0, "few graded": 0.1, "graded": 1.0}[kind]
    x = (torch.rand_like(x) < share) * (x if "graded" in kind else 1.0)
    whole = F.delayed_linear(x, weight, delay, 2.0, 9)
    if kind == "graded":
        assert_close(F.delayed_linear(x.double(), weight.double(), delay.double(), 2.0, 9).float(), whole)
        return
    assert torch.equal(F.delayed_linear(x[4:20, 1:2], weight, delay, 2.0, 9)[9:], whole[13:20, 1:2])
    assert torch.equal(F.delayed_linear(x[4:14], weight, delay, 2.0, 9)[9:], whole[13:14])


@pytest.mark.parametrize("axes", [1, 2])
def test_width_0_is_a_delay_of_whole_steps(axes: int) -> None:
    case = (30, 2, 6, 5, 7, 0.0, axes)
    x, weight, delay, _ = (each.float() for each in drawn(case, spikes=0.3))
    weight, whole = weight.mul(64).round(), delay.round().long()  # sums of whole numbers have no rounding
    late = torch.stack([torch.cat([torch.zeros_like(x[:k]), x])[: len(x)] for k in range(8)])
    sent = late.permute(1, 2, 3, 0)[:, :, None].expand(-1, -1, 5, -1, -1)
    each = sent.gather(-1, whole.expand(30, 2, 5, 6)[..., None])[..., 0]
    assert torch.equal(F.delayed_linear(x, weight, delay, 0, 7), (weight * each).sum(-1))


@pytest.mark.parametrize(("delay", "width"), [(2.5, 0.01), (2.5, 1e-6), (1.5, 0.27), (0.0, 0.01), (6.0, 0.01)])
def test_no_synapse_is_dead(delay: float, width: float) -> None:
    """Far from a step, the equation of the paper has no weight left; near, and for wide bumps, both are one."""
    x = torch.zeros(9, 1, 1, dtype=torch.double)
    x[0] = 1.0
    kernel = F.delayed_linear(x, torch.ones(1, 1).double(), torch.tensor([[delay]]).double(), width, 8).flatten()
    bump = torch.exp(-0.5 * ((torch.arange(9.0).double() - delay) / width) ** 2)
    theirs = bump / (1e-7 + bump.sum())
    assert kernel.sum() == pytest.approx(1.0, rel=1e-12)
    if delay == 2.5:
        assert theirs.sum() == 0.0
        assert kernel[2:4].tolist() == [0.5, 0.5]
    else:
        torch.testing.assert_close(kernel, theirs, rtol=3e-7, atol=1e-12)
