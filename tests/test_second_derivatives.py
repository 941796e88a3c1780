"""``create_graph=True`` through fused scans and folded networks: the second derivatives are those of the loop."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close

N, T = 5, 19


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pull(tensor: Tensor, seed: int = 7) -> Tensor:
    return (tensor * (draw(*tensor.shape, seed=seed) - 0.5)).sum()


def derivatives(value: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient, and that of a random sum of the gradient."""
    options: Any = {"allow_unused": True, "materialize_grads": True}
    first = torch.autograd.grad(value, leaves, create_graph=True, **options)
    total = sum((pull(grad, seed) for seed, grad in enumerate(first)), torch.zeros(()))
    return [*first, *torch.autograd.grad(total, leaves, **options)]


def check(run: Callable[[str], tuple[Tensor, Sequence[Tensor]]]) -> None:
    """Compare the fused backend with the loop, at the first call and at a later one."""
    want = derivatives(*run("loop"))
    assert all(grad.abs().max() > 0 for grad in want[: len(want) // 2])
    assert max(grad.abs().max() for grad in want[len(want) // 2 :]) > 0
    for _ in range(3):
        assert_close(derivatives(*run("fused")), want)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("reset", [F.to_zero, F.by_subtraction, F.detached(F.to_zero)])
def test_scan(dim: int, reset: Any) -> None:
    shape = {0: (T, 3, N), 1: (3, T, N), -1: (3, N, T)}[dim]

    def run(backend: Any) -> tuple[Tensor, Sequence[Tensor]]:
        xs, v = draw(*shape).requires_grad_(), draw(3, N, seed=1).requires_grad_()
        decay, threshold = (draw(N, seed=2) / 5 + 0.7).requires_grad_(), torch.tensor(0.9, dtype=torch.float64)
        params = {"decay": decay, "threshold": threshold.requires_grad_(), "reset": reset}
        final, spikes = F.scan(F.lif_step, F.LIFState(v), xs, params=params, dim=dim, backend=backend)
        return pull(spikes) + pull(final.v.square()), (xs, v, decay, threshold)

    check(run)


def test_one_tensor_in_two_places_has_a_gradient_for_each() -> None:
    def run(backend: Any) -> tuple[Tensor, Sequence[Tensor]]:
        a = draw(3, N).requires_grad_()
        params = {"decay": 0.5, "threshold": a}
        final, spikes = F.scan(F.lif_step, F.LIFState(a), draw(T, 3, N), params=params, backend=backend)
        return pull(spikes.square()) + pull(final.v**3), (a,)

    check(run)


def test_half_of_the_leaves_wanted() -> None:
    def run(backend: Any) -> tuple[Tensor, Sequence[Tensor]]:
        xs, decay = draw(T, N), torch.tensor(0.8, dtype=torch.float64).requires_grad_()
        return pull(F.scan(F.lif_step, F.LIFState(draw(N)), xs, params={"decay": decay}, backend=backend)[1]), (decay,)

    check(run)


def test_mapped_by_vmap_and_differentiated_outside() -> None:
    def run(backend: Any) -> tuple[Tensor, Sequence[Tensor]]:
        xs, v = draw(7, T, N).requires_grad_(), draw(N, seed=1).requires_grad_()

        def one(x: Tensor) -> Tensor:
            return F.scan(F.lif_step, F.LIFState(v), x, params={"decay": 0.9}, backend=backend)[1]

        return pull(torch.func.vmap(one)(xs)), (xs, v)

    check(run)


def test_step_of_the_users_with_a_literal_and_a_closure() -> None:
    slope = 0.3

    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        v = torch.tanh(0.9 * state.v + slope * x)
        return F.LIFState(v), v * v

    def run(backend: Any) -> tuple[Tensor, Sequence[Tensor]]:
        xs = draw(T, N).requires_grad_()
        return pull(F.scan(step, F.LIFState(torch.zeros(N, dtype=torch.float64)), xs, backend=backend)[1]), (xs,)

    check(run)


def test_a_step_that_changes_between_the_passes_is_an_error() -> None:
    scale = [0.5]

    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        v = scale[0] * state.v + x * x
        return F.LIFState(v), v

    for _ in range(2):
        scale[0] = 0.5
        xs = draw(T, N).requires_grad_()
        spikes = F.scan(step, F.LIFState(torch.zeros(N, dtype=torch.float64)), xs)[1]
        scale[0] = 0.6
        with pytest.raises(RuntimeError, match=r"changed between the forward and the backward pass.*in params"):
            torch.autograd.grad(spikes.sum(), xs, create_graph=True)


def test_a_default_that_changes_between_the_passes_does_not_count() -> None:
    def step(state: F.LIFState, x: Tensor, *, scale: float = 0.5) -> tuple[F.LIFState, Tensor]:
        v = scale * state.v + x * x
        return F.LIFState(v), v

    defaults: Any = step.__kwdefaults__
    for _ in range(3):
        defaults["scale"] = 0.5
        xs = draw(T, N).requires_grad_()
        spikes = F.scan(step, F.LIFState(torch.zeros(N, dtype=torch.float64)), xs)[1]
        (want,) = torch.autograd.grad(spikes.sum(), xs, retain_graph=True)
        defaults["scale"] = 0.6
        (got,) = torch.autograd.grad(spikes.sum(), xs, create_graph=True)
        assert_close(got, want)


class Net(nn.Module):
    def __init__(self, recurrent: Any) -> None:
        super().__init__()
        self.conv, self.first = nn.Conv2d(2, 3, 3), st.LIF(learnable="tau")
        self.linear = nn.Linear(3 * 16, 6)
        self.second = st.LIF(tau=torch.full((6,), 4.0), v0=0.2, learnable=True, recurrent=recurrent)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        spikes = self.first(3 * self.conv(x), init).flatten(1)
        return self.second(self.linear(spikes), init)  # type: ignore[no-any-return]


@pytest.mark.parametrize("recurrent", ["none", "dense", "per channel"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_networks(recurrent: str, channels_last: bool) -> None:
    torch.manual_seed(0)
    weights = {"none": None, "dense": nn.Linear(6, 6, bias=False), "per channel": torch.rand(6)}[recurrent]
    net: Any = Net(weights).double()
    x = 2 * draw(4, 12, 2, 6, 6)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 12))

    def found(mode: Any) -> list[list[Tensor]]:
        model = st.SpikingNet(copy.deepcopy(net), 6, mode=mode)
        return [derivatives(pull(model(x)), list(model.parameters())) for _ in range(3)]

    want = found("step")[0]
    assert want[-1].abs().max() > 0
    for got in found("auto"):
        assert_close(got, want)


def test_backward_with_create_graph_accumulates_both_orders() -> None:
    torch.manual_seed(0)
    net, x = Net(None).double(), 2 * draw(4, 12, 2, 6, 6)
    grads: list[Any] = []
    modes: tuple[Any, ...] = ("step", "auto")
    for mode in modes:
        model = st.SpikingNet(copy.deepcopy(net), 6, mode=mode)
        weight: Any = dict(model.named_parameters())["net.conv.weight"]
        (grad,) = torch.autograd.grad(pull(model(x)), weight, create_graph=True)
        (pull(model(x)) + grad.square().sum()).backward()
        grads.append(weight.grad)
    assert_close(grads[1], grads[0])
