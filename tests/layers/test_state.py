"""The state of a layer: how it starts, what it survives, what copies it; nothing that a caller writes on shares it."""

import copy
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.every_layer import COPIES, call, leaves_of
from tests.every_layer import MAKERS as ALL
from tests.folded_layer import draw, over_time

RECURRENT: dict[str, Any] = {
    "alone": None,
    "dense": nn.Linear(3, 3, bias=False),
    "convolution": nn.Conv1d(5, 5, 3, padding="same", bias=False),
    "channels": torch.tensor([-0.5, 1.0, 0.3, -10.0, 0.2]).reshape(5, 1),
}
MAKERS = ALL | {"resting": partial(st.IF, threshold=0.5, refractory=2.0)}
X, Y = 1.2 * draw(0, 4, 5, 3).float(), 1.2 * draw(1, 4, 5, 3).float()


# all synapses for those that differ in how they keep a state, one each for the others
KINDS = {"IF", "CoarseLIF", "McPitts", "BioLIF", "LI", "Delay", "Izhikevich", "StochasticLIF", "resting"}
MADE = [
    f"{name}, {kind}"
    for row, name in enumerate(MAKERS)
    for column, kind in enumerate(RECURRENT)
    if name in KINDS or row % len(RECURRENT) == column
]


@pytest.fixture(params=MADE)
def layer(request: pytest.FixtureRequest) -> Any:
    name, kind = request.param.split(", ")
    return MAKERS[name](recurrent=copy.deepcopy(RECURRENT[kind]))


def test_first_call_and_init_start_at_rest(layer: Any) -> None:
    names = list(layer.state_dict())
    assert {*names} == {"_extra_state", *dict(layer.named_parameters())}
    assert (layer.v, layer.s) == (None, None)
    first = call(layer, X)
    assert torch.equal(layer.s, first)
    call(layer, X)
    assert torch.equal(call(layer, X, True), first)
    layer.reset()
    assert (layer.v, layer.s) == (None, None)
    assert torch.equal(call(layer, X), first)
    layer.reset(X)
    assert layer.state is not None
    assert layer.s is None
    assert torch.equal(call(layer, X), first)
    assert list(layer.state_dict()) == names


@pytest.mark.parametrize("cut", [False, True])
def test_detach_cuts_the_graph(layer: Any, cut: bool) -> None:
    x = X.clone().requires_grad_()
    call(layer, x)
    if cut:
        layer.detach_()
    (gradient,) = torch.autograd.grad(call(layer, Y).sum() + 0.0 * x.sum(), x)
    assert bool(gradient.any()) == (not cut and not layer.memoryless)


@pytest.mark.parametrize("way", COPIES)
def test_copies_carry_the_state_without_its_graph_and_share_nothing(layer: Any, way: str) -> None:
    call(layer, X.clone().requires_grad_(), True)
    twin = COPIES[way](layer)
    assert layer.s.requires_grad
    assert not twin.s.requires_grad
    before = [leaf.clone() for leaf in leaves_of(layer.state)]
    got = call(twin, Y)
    assert all(map(torch.equal, leaves_of(layer.state), before))
    assert torch.equal(got, call(layer, Y))
    params = [*layer.parameters(), *twin.parameters()]
    assert len({parameter.data_ptr() for parameter in params}) == len(params)


def test_a_shallow_copy_has_a_state_of_its_own(layer: Any) -> None:
    call(layer, X)
    twin = copy.copy(layer)
    want = call(copy.deepcopy(layer), Y)
    call(twin, Y)
    twin.reset()
    assert torch.equal(call(layer, Y), want)


def test_init_resets_some_samples(layer: Any) -> None:
    call(layer, X, True)
    going_on, anew = copy.deepcopy(layer), copy.deepcopy(layer)
    got = call(layer, Y, torch.tensor([True, False, True, False]))
    assert torch.equal(got[1::2], call(going_on, Y)[1::2])
    assert torch.equal(got[::2], call(anew, Y, True)[::2])
    if layer.v is not None:
        assert torch.equal(layer.v[1::2], going_on.v[1::2])
        assert torch.equal(layer.v[::2], anew.v[::2])


def test_survives_transforms(layer: Any) -> None:
    first = call(layer, X, True)
    layer.reset()
    torch.func.vmap(lambda x: call(layer, x, True))(X[None])
    assert layer.v is None
    assert torch.equal(call(copy.deepcopy(layer), X), first)
    torch.func.grad(lambda x: call(layer, x, True).sum())(X)
    assert torch.equal(call(COPIES["pickle"](layer), X), first)
    torch.func.jvp(lambda x: call(layer, x, True), (X,), (X,))
    assert torch.equal(call(layer, X), first)


def test_empty_batch(layer: Any) -> None:
    assert call(layer, X[:0], True).shape == (0, 5, 3)


def test_half_precision_keeps_its_state_in_float32() -> None:
    x = torch.full((1,), 0.01, dtype=torch.bfloat16)
    layer: Any = st.LIF(tau=100.0)
    exact: Any = st.LIF(tau=100.0)
    for t in range(60):
        assert layer(x, t == 0).dtype == torch.bfloat16
        exact(x.float(), t == 0)
    assert layer.v.dtype == torch.float32
    assert torch.equal(layer.v, exact.v)
    assert layer.to(torch.float16).v.dtype == torch.float32


def test_init_mask_on_a_first_call_starts_every_sample() -> None:
    assert st.IF()(torch.ones(2, 1), torch.tensor([True, False])).tolist() == [[1.0], [1.0]]


def test_biolif_counts_its_activity() -> None:
    layer: Any = st.BioLIF(0.5, v0=0.1, track_act=True)
    before = layer.act
    x = torch.full((2, 3), 2.0, requires_grad=True)
    for t in range(3):
        layer(x, 0 * x, t == 0)
    assert layer.act.tolist() == torch.full((2, 3), 3.0).tolist()
    assert torch.autograd.grad(layer.act.sum(), x)[0].any()
    layer(x, 0 * x, torch.tensor([True, False]))
    assert layer.act[:, 0].tolist() == [1.0, 4.0]
    for t in range(300):  # bfloat16 counts to 256
        layer(x.bfloat16(), x.bfloat16(), t == 0)
    assert layer.act.tolist() == torch.full((2, 3), 300.0).tolist()
    untracked: Any = st.BioLIF(0.5)
    untracked(x, x)
    assert before is untracked.act is None


Two = namedtuple("Two", ["v", "n"])


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


Counted = namedtuple("Counted", ["v", "n", "quiet"])


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
    assert {leaf.device.type for leaf in layer.to("meta").layer.state} == {"meta"}
