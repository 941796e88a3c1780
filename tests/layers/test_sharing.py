"""A state that is kept shares memory with nothing that the caller can write on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.every_layer import leaves_of
from tests.folded_layer import over_time


class Two(NamedTuple):
    v: Tensor
    n: Tensor


def returns_its_input(state: Two, x: Tensor) -> tuple[Two, Tensor]:
    return Two(x, state.n), x - state.v


def returns_a_view_of_its_input(state: Two, x: Tensor) -> tuple[Two, Tensor]:
    return Two(x[None].squeeze(0), state.n), x - state.v


def returns_its_output(state: Two, x: Tensor) -> tuple[Two, Tensor]:
    v = 0.5 * state.v + x
    return Two(v, v), v


def returns_a_parameter(state: Two, x: Tensor, *, shift: Tensor) -> tuple[Two, Tensor]:
    return Two(shift, state.n), x + state.v


STEPS: list[Callable[..., Any]] = [returns_its_input, returns_a_view_of_its_input, returns_its_output]


def aliases(*trees: Any) -> bool:
    one, other = (
        {leaf.untyped_storage().data_ptr() for leaf in leaves_of(tree) if isinstance(leaf, Tensor)} for tree in trees
    )
    return not one.isdisjoint(other)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("backend", ["loop", "auto"])
@pytest.mark.parametrize("T", [0, 1, 3, 17])
@pytest.mark.parametrize("step", [*STEPS, returns_a_parameter])
def test_final_state_of_a_scan(step: Any, T: int, backend: Any, mode: Any) -> None:
    params = {"shift": torch.rand(2, 3)} if step is returns_a_parameter else {}
    for _ in range(2):  # the second call takes another way to the kernel
        state, xs = Two(torch.rand(2, 3), torch.rand(2, 3)), torch.rand(T, 2, 3)
        with mode():
            final, outs = F.scan(step, state, xs, params=params, backend=backend)
        assert not aliases(final, (state, xs, params, outs))
        assert not aliases(outs, (state, xs, params))


def test_final_state_inside_vmap_and_grad() -> None:
    def run(x: Tensor) -> Tensor:
        state, out = F.scan(returns_its_input, Two(torch.zeros(3), torch.zeros(3)), x[None], backend="loop")
        out.zero_()
        x.mul_(0.0)
        return state.v.sum()

    assert torch.equal(torch.func.vmap(run)(torch.ones(4, 3)), torch.full((4,), 3.0))


def test_outputs_of_a_stepped_layer_are_apart() -> None:
    layer = st.StepLayer(lambda state, x: (state, (x, x, state.v)), Two)
    for x in (torch.ones(1, 3), torch.ones(1, 3)):
        out = layer(x)
    assert not aliases(out, (x, layer.state))
    assert not any(aliases(out[k], out[k - 1]) for k in range(3))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("size", [1, 2**17])  # a large layer takes the kernel for one step
def test_state_of_a_layer(step: Any, size: int) -> None:
    found = []
    for writes in (False, True):
        torch.manual_seed(0)
        layer, outs, buffer = st.StepLayer(step, Two), [], torch.empty(1, size)
        for _ in range(4):
            out = layer(buffer.uniform_() if writes else torch.empty(1, size).uniform_())
            outs.append(out.clone())
            if writes:
                out.fill_(9.0)
        assert torch.equal(layer.s, outs[-1])
        found.append(torch.stack([*outs, layer.v]))  # type: ignore[list-item]
    assert torch.equal(found[0], found[1])


# a state that was the output, and an output that the gradient of its layer needs
@pytest.mark.parametrize("options", [{"recurrent": torch.tensor(-0.5)}, {"reset": F.by_subtraction}], ids=range(2))
def test_gradient_though_outputs_are_written_on(options: dict[str, Any]) -> None:
    found = []
    for inplace in (False, True):
        layer = st.LIF(v0=torch.tensor(0.3), learnable="v0", **options)
        x, total = torch.full((1, 4), 0.2).requires_grad_(), torch.zeros(())
        for t in range(5):
            out = layer(x * (t + 1), init=t == 0)
            total = total + nn.Hardtanh(-5.0, 5.0, inplace=inplace)(out).sum() * (t + 1)
        found.append(torch.autograd.grad(total, [x, *layer.parameters()]))
    for got, want in zip(*found, strict=True):
        assert want.any()
        assert torch.equal(got, want)


def test_state_that_reset_takes_from_an_input() -> None:
    class Holds(st.StepLayer):
        def rest_state(self, x: Tensor) -> Two:
            return Two(x, x)

    layer, x = Holds(returns_its_output, Two), torch.ones(1, 2)
    layer.reset(x)
    x.fill_(7.0)
    assert torch.equal(layer.v, torch.ones(1, 2))  # type: ignore[arg-type]


class Counted(NamedTuple):
    v: Tensor
    n: Tensor
    quiet: Tensor


def count(state: Counted, x: Tensor) -> tuple[Counted, Tensor]:
    v = torch.where(state.quiet, 0.0 * state.v, 0.5 * state.v + x)
    spike = v > 0.8
    return Counted(v, state.n + spike.long(), spike), v * state.n.to(v.dtype)


class CountLayer(st.StepLayer):
    def rest_state(self, x: Tensor) -> Counted:
        return Counted(*(torch.zeros_like(x, dtype=dtype) for dtype in (x.dtype, torch.long, torch.bool)))


def test_counter_and_flag_as_state_stepped_and_folded() -> None:
    x = torch.rand(3, 20, 5, generator=torch.Generator().manual_seed(0))
    models = [over_time(CountLayer(count, Counted), 5, mode=mode) for mode in ("step", "auto")]
    for k in range(3):
        outs = [model(x * (1 + k)) for model in models]
        assert torch.equal(outs[0], outs[1])
        assert int(outs[0].max()) > 0
    assert models[1].explain().mode == "fold"
    for model in models:
        model(x[:, :7])
    streams = [model(x[:, 7:], init=torch.tensor([True, False, False])) for model in models]
    assert torch.equal(streams[0], streams[1])
    layer: Any = models[0].net
    layer.type(torch.float64)
    assert [leaf.dtype for leaf in layer.layer.state] == [torch.float64, torch.long, torch.bool]
