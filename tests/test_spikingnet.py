"""SpikingNet: shapes, the init contract, streams, state, and errors. How it runs all steps at once: tests/fold."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.every_layer import COPIES
from tests.folded_layer import over_time


class Net(nn.Module):
    """Linear layers and LIF neurons."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.l1, self.l2 = nn.Linear(4, 6), nn.Linear(6, 3)
        self.sl1: Any = st.LIF(v0=0.3, **options)
        self.sl2 = st.LIF(v0=0.2)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.sl2(self.l2(self.sl1(self.l1(x), init)), init)  # type: ignore[no-any-return]


class Forgetful(Net):
    """Does not hand init to its first layer."""

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.sl2(self.l2(self.sl1(self.l1(x))), init)  # type: ignore[no-any-return]


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Pair(nn.Module):
    def forward(self, x: Tensor, init: bool) -> Any:
        return x, init


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def model(net: Net) -> st.SpikingNet:
    return st.SpikingNet(net, (3,))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 7, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mode", ["step", "auto"])
def test_is_the_loop_over_time(mode: Any, net: Net, x: Tensor) -> None:
    model, twin, cotangent = st.SpikingNet(net, 3, mode), Net(), torch.randn(5, 7, 3)
    want = torch.stack([twin(x[:, t], t == 0) for t in range(7)], 1)
    got = model(x)
    assert got.shape == (5, 7, 3)
    assert 0 < got.mean() < 1
    assert torch.equal(got, want)
    grads = [torch.autograd.grad(out, list(each.parameters()), cotangent) for out, each in ((got, net), (want, twin))]
    assert_close(grads[0], grads[1])


def test_init_contract(net: Net, x: Tensor) -> None:
    inits: list[object] = []
    net.register_forward_pre_hook(lambda _, given: inits.append(given[1]))
    st.SpikingNet(net, 3, mode="step")(x)
    assert inits == [True] + [False] * 6
    assert all(type(init) is bool for init in inits)


@pytest.mark.parametrize("kind", [Net, Forgetful])
def test_streams(kind: type[Net], x: Tensor) -> None:
    model = st.SpikingNet(kind(), 3, mode="step")
    whole = model(x)
    assert torch.equal(model(x), whole)  # each call starts anew
    assert model(x[:2]).shape == (2, 7, 3)
    parts = [model(x[:, :3]), model(x[:, 3:5], init=False), model(x[:, 5:], init=False)]
    assert torch.equal(torch.cat(parts, 1), whole)
    model.reset()
    assert torch.equal(model(x, init=False), whole)


@pytest.mark.parametrize("Nout", [3, (3,), [3], torch.Size([3]), np.int64(3)])
def test_nout(Nout: Any, net: Net, x: Tensor) -> None:
    assert st.SpikingNet(net, Nout)(x).shape == (5, 7, 3)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 4, 4), (2, 3, 4, 5)])
def test_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    model = st.SpikingNet(over_time(st.IF()).net, shape)
    assert model(torch.ones(2, 3, *shape)).shape == (2, 3, *shape)


def test_truncated_backpropagation(net: Net, x: Tensor) -> None:
    model = st.SpikingNet(net, 3, carry_graph=True)
    x.requires_grad_()
    model(x[:, :4])
    model.detach_()
    (gradient,) = torch.autograd.grad(model(x[:, 4:], init=False).sum(), x)
    assert not gradient[:, :4].any()
    assert gradient[:, 4:].any()


def test_networks_share_nothing(model: st.SpikingNet, net: Net, x: Tensor) -> None:
    model(x)
    before = net.sl1.v.clone()
    two = st.SpikingNet(Net(), 3)
    two(x)
    two.reset()
    assert torch.equal(net.sl1.v, before)


def test_state_dict_has_weights_only(model: st.SpikingNet, x: Tensor) -> None:
    model(x)
    assert {*model.state_dict()} == {"net.l1.weight", "net.l1.bias", "net.l2.weight", "net.l2.bias"}


@pytest.mark.parametrize("way", COPIES)
def test_transforms_leave_the_model_in_order(way: str, model: st.SpikingNet, x: Tensor) -> None:
    params = {name: weight.detach() for name, weight in model.named_parameters()}

    def total(params: dict[str, Tensor], sample: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, params, (sample[None],))
        return out.sum()

    first = model(x)
    for _ in range(2):
        torch.func.vmap(torch.func.grad(total), (None, 0))(params, x)
        COPIES[way](model)
    assert torch.equal(model(x, init=False), first)  # nothing was left to go on from


def test_learnable_parameters_train(x: Tensor) -> None:
    model = st.SpikingNet(Net(tau=torch.full((6,), 4.0), learnable="tau"), 3)
    model(x).sum().backward()
    gradient = model.get_parameter("net.sl1.tau").grad
    assert gradient is not None
    assert gradient.any()


def test_repr(model: st.SpikingNet) -> None:
    assert "Nout=(3,)" in repr(model)
    assert "LIF(tau=8.0, v0=0.3" in repr(model)


def test_activity_enters_a_loss_inside_a_transform() -> None:
    layer: Any = st.BioLIF(0.5, v0=0.1, track_act=True)
    model = over_time(layer, 2, mode="auto")

    def loss(x: Tensor) -> Tensor:
        model(x)
        total: Tensor = layer.act.sum()
        return total

    x = torch.rand(2, 3, 2, requires_grad=True)
    (want,) = torch.autograd.grad(loss(x), x)
    assert want.any()
    assert_close(torch.func.grad(loss)(x.detach()), want)
    copy.deepcopy(model)


@pytest.mark.parametrize("chunks", [1, 3])
def test_checkpointed_scan(chunks: int) -> None:
    x = torch.rand(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def run(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        state, out = F.scan(F.lif_step, F.LIFState(v), x, params={"decay": 0.9})
        return state.v, out

    rest, spikes, cotangent = torch.zeros(4).double(), [], torch.randn(6, 4).double()
    v = rest
    for part in x.chunk(chunks):
        v, out = checkpoint(run, v, part, use_reentrant=False)
        spikes.append(out)
    want = torch.autograd.grad(run(rest, x)[1], x, cotangent)
    assert_close(torch.autograd.grad(torch.cat(spikes), x, cotangent), want)


# --- bad input --------------------------------------------------------------------------------------------------------

ONES = torch.ones(5, 7, 4)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (ONES.long(), TypeError, r"x has dtype torch\.int64.*x\.float\(\)"),
        (ONES.bool(), TypeError, r"x has dtype torch\.bool"),
        (ONES * torch.nan, ValueError, r"SpikingNet: x holds NaN or infinite values"),
        (torch.ones(5), ValueError, r"x has shape \(5,\), expected \(N, T, \.\.\.\).*an encoder adds the steps"),
        (ONES[:, :0], ValueError, r"x has shape \(5, 0, 4\), which has no steps"),
        (ONES.double(), TypeError, r"x is torch\.float64, the network torch\.float32.*\.to\(dtype\)"),
        (ONES.to("meta"), ValueError, r"x is on meta, the network on cpu.*\.to\(device\)"),
        ([1.0], TypeError, r"x is a list, expected a torch\.Tensor"),
    ],
    ids=range(8),
)
def test_bad_input(model: st.SpikingNet, x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model(x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Net, r"net is a type.*make one of the class: Net\(\)"),
        (lambda x, init: x, r"net is a function, expected a torch\.nn\.Module"),
        *[
            (net, r"must take two arguments, forward\(self, x, init\)")
            for net in (Plain(), nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), st.IF()))
        ],
    ],
    ids=range(5),
)
def test_bad_net(net: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        st.SpikingNet(net, 3)


@pytest.mark.parametrize("Nout", [0, (0,), (2.5,), (-1,), True, None, 10.0])
def test_bad_nout(Nout: Any, net: Net) -> None:
    with pytest.raises(ValueError, match="expected the shape of one output"):
        st.SpikingNet(net, Nout)


def test_bad_output(net: Net, x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"net returned shape \(5, 3\), expected \(N, \*Nout\) = \(5, 4\)"):
        st.SpikingNet(net, (4,), mode="step")(x)
    with pytest.raises(TypeError, match="net returned a tuple, expected a tensor"):
        st.SpikingNet(Pair(), 4)(x)


def test_input_without_steps_is_told_of_encoders(model: st.SpikingNet) -> None:
    with pytest.raises(RuntimeError) as caught:
        model(torch.ones(5, 4))
    assert "SpikingNet takes (N, T, ...); an encoder adds the steps" in caught.value.__notes__[0]


def test_other_batch_size_in_a_stream(model: st.SpikingNet, x: Tensor) -> None:
    model(x)
    with pytest.raises(ValueError, match=r"LIF holds the state of inputs of shape \(5, 6\).*got \(2, 6\).*init=True"):
        model(x[:2], init=False)
