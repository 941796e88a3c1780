"""SpikingNet: shapes, the init contract, streams, state, and errors."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close


class Net(nn.Module):
    """Linear layers and LIF neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Linear(4, 6)
        self.l2 = nn.Linear(6, 3)
        self.sl1 = st.LIF(v0=0.3)
        self.sl2 = st.LIF(v0=0.2)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out: Tensor = self.sl2(self.l2(self.sl1(self.l1(x), init)), init)
        return out


class Diary(Net):
    """Writes down each init that it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.inits: list[object] = []

    def forward(self, x: Tensor, init: bool) -> Tensor:
        self.inits.append(init)
        return super().forward(x, init)


class Identity(nn.Module):
    """One IF neuron for each input."""

    def __init__(self) -> None:
        super().__init__()
        self.sl = st.IF()

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out: Tensor = self.sl(x, init)
        return out


def membrane(model: st.SpikingNet) -> Tensor:
    layer = model.net.sl1
    assert isinstance(layer, st.LIF)
    assert layer.v is not None
    return layer.v


@pytest.fixture
def model() -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(Net(), (3,))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 7, 4, generator=torch.Generator().manual_seed(1))


def test_shape_and_init_contract(x: Tensor) -> None:
    torch.manual_seed(0)
    net = Diary()
    out = st.SpikingNet(net, 3, mode="step")(x)
    assert out.shape == (5, 7, 3)
    assert net.inits == [True] + [False] * 6
    assert all(type(init) is bool for init in net.inits)
    assert 0 < out.mean() < 1


def test_is_the_loop_over_time(model: st.SpikingNet, x: Tensor) -> None:
    twin = copy.deepcopy(model.net)
    want = torch.stack([twin(x[:, t], t == 0) for t in range(7)], 1)
    got = model(x)
    assert torch.equal(got, want)
    cotangent = torch.randn(got.shape)
    params = list(model.net.parameters()), list(twin.parameters())
    assert_close(torch.autograd.grad(got, params[0], cotangent), torch.autograd.grad(want, params[1], cotangent))


@pytest.mark.parametrize("Nout", [3, (3,), [3], torch.Size([3]), np.int64(3)])
def test_nout(Nout: Any, x: Tensor) -> None:
    assert st.SpikingNet(Net(), Nout)(x).shape == (5, 7, 3)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 4, 4), (2, 3, 4, 5)])
def test_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    out = st.SpikingNet(Identity(), shape)(torch.ones(2, 3, *shape))
    assert out.shape == (2, 3, *shape)


def test_each_call_starts_anew(model: st.SpikingNet, x: Tensor) -> None:
    assert torch.equal(model(x), model(x))
    assert model(x[:2]).shape == (2, 7, 3)


def test_stream_goes_on(model: st.SpikingNet, x: Tensor) -> None:
    whole = model(x)
    parts = [model(x[:, :3]), model(x[:, 3:5], init=False), model(x[:, 5:], init=False)]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_init_may_reset_some_samples(model: st.SpikingNet, x: Tensor) -> None:
    model(x)
    anew = torch.tensor([True, False, True, False, False])
    got = model(x, init=anew)
    stream = torch.cat([x, x], 1)
    assert torch.equal(got[~anew], model(stream)[~anew, 7:])
    assert torch.equal(got[anew], model(x)[anew])


def test_state_after_a_call_is_detached(model: st.SpikingNet, x: Tensor) -> None:
    out = model(x)
    assert membrane(model).grad_fn is None
    out.sum().backward()
    model(x, init=False).sum().backward()  # would fail if the graph of the first call were carried over


def test_carry_graph(x: Tensor) -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(Net(), 3, carry_graph=True)
    x.requires_grad_()
    cotangent = torch.randn(5, 7, 3)
    parts = torch.cat([model(x[:, :4]), model(x[:, 4:], init=False)], 1)
    got = torch.autograd.grad(parts, x, cotangent)
    assert_close(got, torch.autograd.grad(model(x), x, cotangent))
    copy.deepcopy(model)


def test_truncated_backpropagation(x: Tensor) -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(Net(), 3, carry_graph=True)
    x.requires_grad_()
    model(x[:, :4])
    model.detach_()
    (gradient,) = torch.autograd.grad(model(x[:, 4:], init=False).sum(), x)
    assert gradient[:, :4].abs().sum() == 0
    assert gradient[:, 4:].abs().sum() > 0


def test_reset(model: st.SpikingNet, x: Tensor) -> None:
    first = model(x)
    model.reset()
    assert torch.equal(model(x, init=False), first)


def test_networks_share_nothing(x: Tensor) -> None:
    torch.manual_seed(0)
    one, two = st.SpikingNet(Net(), 3), st.SpikingNet(Net(), 3)
    one(x)
    before = membrane(one).clone()
    two(x)
    two.reset()
    assert torch.equal(membrane(one), before)


def test_state_dict_has_weights_only(model: st.SpikingNet, x: Tensor) -> None:
    names = {"net.l1.weight", "net.l1.bias", "net.l2.weight", "net.l2.bias"}
    assert set(model.state_dict()) == names
    model(x)
    assert set(model.state_dict()) == names


def test_deepcopy_and_pickle_after_a_call(model: st.SpikingNet, x: Tensor) -> None:
    model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x, init=False), copy.deepcopy(model)(x, init=False))


def test_per_sample_gradients_leave_the_model_in_order(model: st.SpikingNet, x: Tensor) -> None:
    params = {name: weight.detach() for name, weight in model.named_parameters()}

    def total(params: dict[str, Tensor], sample: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, params, (sample[None],))
        return out.sum()

    first = model(x)
    got = torch.func.vmap(torch.func.grad(total), (None, 0))(params, x)
    for n in range(5):
        want = torch.autograd.grad(model(x[n : n + 1]).sum(), list(model.parameters()))
        assert_close([gradient[n] for gradient in got.values()], list(want))
    copy.deepcopy(model)
    torch.func.vmap(torch.func.grad(total), (None, 0))(params, x)
    assert torch.equal(model(x, init=False), first)  # nothing was left to go on from


def test_autocast(model: st.SpikingNet, x: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        out = model(x)
    assert out.shape == (5, 7, 3)
    assert membrane(model).dtype == torch.float32
    out.sum().backward()


def test_learnable_parameters_train(x: Tensor) -> None:
    class Learned(Net):
        def __init__(self) -> None:
            super().__init__()
            self.sl1 = st.LIF(tau=torch.full((6,), 4.0), learnable="tau")

    model = st.SpikingNet(Learned(), 3)
    assert "net.sl1.tau" in dict(model.named_parameters())
    model(x).sum().backward()
    gradient = model.get_parameter("net.sl1.tau").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_repr(model: st.SpikingNet) -> None:
    assert "Nout=(3,)" in repr(model)
    assert "LIF(tau=8.0, v0=0.3" in repr(model)


def test_layer_that_is_not_handed_init_starts_anew_all_the_same(x: Tensor) -> None:
    class Forgetful(Net):
        def forward(self, x: Tensor, init: bool) -> Tensor:
            out: Tensor = self.sl2(self.l2(self.sl1(self.l1(x))), init)
            return out

    model = st.SpikingNet(Forgetful(), 3, mode="step")
    assert torch.equal(model(x), model(x))
    assert model(x[:2]).shape == (2, 7, 3)


def test_activity_enters_a_loss_inside_a_transform() -> None:
    class Active(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sl = st.BioLIF(0.5, v0=0.1, track_act=True)

        def forward(self, x: Tensor, init: bool) -> Tensor:
            out: Tensor = self.sl(x, 0 * x, init)
            return out

    net = Active()
    model = st.SpikingNet(net, 2)

    def loss(x: Tensor) -> Tensor:
        model(x)
        assert net.sl.act is not None
        return net.sl.act.sum()

    x = torch.rand(2, 3, 2)
    want = x.clone().requires_grad_()
    loss(want).backward()
    assert want.grad is not None
    assert_close(torch.func.grad(loss)(x), want.grad)
    copy.deepcopy(model)


@pytest.mark.parametrize("chunks", [1, 3])
def test_checkpointed_scan(chunks: int) -> None:
    x = torch.rand(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def run(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        state, out = F.scan(F.lif_step, F.LIFState(v), x, params={"decay": 0.9})
        return state.v, out

    v, spikes = torch.zeros(4, dtype=torch.float64), []
    for part in x.chunk(chunks):
        v, out = checkpoint(run, v, part, use_reentrant=False)
        spikes.append(out)
    cotangent = torch.randn(6, 4, dtype=torch.float64)
    want = run(torch.zeros(4, dtype=torch.float64), x)[1]
    got = torch.cat(spikes)
    assert_close(torch.autograd.grad(got, x, cotangent), torch.autograd.grad(want, x, cotangent))


def test_checkpointed_model(model: st.SpikingNet, x: Tensor) -> None:
    cotangent = torch.randn(5, 7, 3)
    params = list(model.parameters())
    got = torch.autograd.grad(checkpoint(model, x, use_reentrant=False), params, cotangent)
    assert_close(got, torch.autograd.grad(model(x), params, cotangent))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(5, 7, 4, dtype=torch.int64), TypeError, r"x has dtype torch\.int64.*x\.float\(\)"),
        (torch.ones(5, 7, 4, dtype=torch.bool), TypeError, r"x has dtype torch\.bool"),
        (torch.full((5, 7, 4), torch.nan), ValueError, r"SpikingNet: x holds NaN or infinite values"),
        (torch.ones(5), ValueError, r"x has shape \(5,\), expected \(N, T, \.\.\.\).*an encoder adds the steps"),
        (torch.ones(5, 0, 4), ValueError, r"x has shape \(5, 0, 4\), which has no steps"),
        (torch.ones(5, 7, 4).double(), TypeError, r"x is torch\.float64, the network torch\.float32.*\.to\(dtype\)"),
        (torch.ones(5, 7, 4, device="meta"), ValueError, r"x is on meta, the network on cpu.*\.to\(device\)"),
        ([1.0], TypeError, r"x is a list, expected a torch\.Tensor"),
    ],
)
def test_bad_input(model: st.SpikingNet, x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model(x)


def test_input_without_steps_is_told_of_encoders(model: st.SpikingNet) -> None:
    with pytest.raises(RuntimeError) as caught:
        model(torch.ones(5, 4))
    assert "SpikingNet takes (N, T, ...); an encoder adds the steps" in caught.value.__notes__[0]


def test_class_in_place_of_a_net() -> None:
    with pytest.raises(TypeError, match=r"net is a type.*make one of the class: Net\(\)"):
        st.SpikingNet(Net, 3)  # type: ignore[arg-type]


def test_wrong_nout(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"net returned shape \(5, 3\), expected \(N, \*Nout\) = \(5, 4\)"):
        st.SpikingNet(Net(), (4,))(x)
    for bad in (0, (0,), (2.5,), (-1,), True, None, 10.0):
        with pytest.raises(ValueError, match="expected the shape of one output"):
            st.SpikingNet(Net(), bad)  # type: ignore[arg-type]


def test_net_that_takes_no_init() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    for net in (Plain(), nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), st.IF())):
        with pytest.raises(TypeError, match=r"must take two arguments, forward\(self, x, init\)"):
            st.SpikingNet(net, 2)
    with pytest.raises(TypeError, match=r"net is a function, expected a torch\.nn\.Module"):
        st.SpikingNet(lambda x, init: x, 2)  # type: ignore[arg-type]


def test_net_that_returns_no_tensor(x: Tensor) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor, init: bool) -> Any:
            return x, init

    with pytest.raises(TypeError, match="net returned a tuple, expected a tensor"):
        st.SpikingNet(Pair(), 4)(x)


def test_empty_batch(model: st.SpikingNet) -> None:
    out = model(torch.ones(0, 7, 4))
    assert out.shape == (0, 7, 3)
    out.sum().backward()


def test_other_batch_size_in_a_stream(model: st.SpikingNet, x: Tensor) -> None:
    model(x)
    with pytest.raises(ValueError, match=r"LIF holds the state of inputs of shape \(5, 6\).*got \(2, 6\).*init=True"):
        model(x[:2], init=False)
