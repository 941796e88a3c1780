"""Networks that mode "auto" must step, with the numbers of mode "step", and those that it must fold."""

import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, differences, run, train


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    reason: str
    x_grad: bool = True


# --- state of its own -------------------------------------------------------------------------------------------------


def tensor_attribute(net: Any, x: Tensor, init: Any) -> Tensor:
    net.last = 0.5 * net.last + x.detach().mean()
    out: Tensor = x + net.last
    return out


def buffer_in_place(net: Any, x: Tensor, init: Any) -> Tensor:
    net.seen.mul_(0.5).add_(x.detach().mean())
    out: Tensor = x + net.seen.clone()
    return out


def appends(net: Any, x: Tensor, init: Any) -> Tensor:
    net.record.append(x.detach())
    return x


def writes_dict(net: Any, x: Tensor, init: Any) -> Tensor:
    net.record["last"] = x.detach()
    return x


def counts(net: Any, x: Tensor, init: Any) -> Tensor:
    net.count = (net.count + 1) % 3
    out: Tensor = x * net.count
    return out


class Holder:
    def __init__(self) -> None:
        self.n = 0


def object_attribute(net: Any, x: Tensor, init: Any) -> Tensor:
    net.holder.n += 1
    out: Tensor = x * (1.0 + 0.1 * (net.holder.n % 4))
    return out


def feeds_back(net: Any, x: Tensor, init: Any) -> Tensor:
    return x if net.last is None or net.last.shape[0] != x.shape[0] else x + net.last.mean(1, keepdim=True)


def keeps_output(net: Any, x: Tensor, init: Any) -> Tensor:
    net.last = x.detach()
    return x


def slow_threshold(net: Any, x: Tensor, init: Any) -> Tensor:
    net.sl2.v0 = min(net.sl2.v0 + 0.01, 0.9)
    return x


def weight_over_time(net: Any, x: Tensor, init: Any) -> Tensor:
    net.factor *= 0.99
    out: Tensor = x @ (net.mix * net.factor)
    return out


def switches_training(net: Any, x: Tensor, init: Any) -> Tensor:
    net.drop.train(not net.drop.training)
    return x


# --- samples that meet ------------------------------------------------------------------------------------------------


def pairs(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + x.new_ones(len(x), len(x)).tril() @ x


def similar(net: Any, x: Tensor, init: Any) -> Tensor:
    return (x @ x.T) @ x


def batch_into_features(net: Any, x: Tensor, init: Any) -> Tensor:
    return x.reshape(4, -1).T.reshape(-1, 4)


def own_batch_norm(net: Any, x: Tensor, init: Any) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


def mixes_in_training(net: Any, x: Tensor, init: Any) -> Tensor:
    return x - x.mean(0) if net.training else x


def through(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.module(x)
    return out


def sequence(net: Any, x: Tensor, init: Any) -> Tensor:
    out = net.module(x[:, None])
    first: Tensor = out[0] if isinstance(out, tuple) else out
    return first[:, 0]


def attention(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.module(x[:, None], x[:, None], x[:, None])[0][:, 0]
    return out


def over_channels(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.module(x[:, None])[:, 0]
    return out


# --- init -------------------------------------------------------------------------------------------------------------


def torch_where(net: Any, x: Tensor, init: Any) -> Tensor:
    return torch.where(torch.as_tensor(init), 2 * x, x)


def if_bool(net: Any, x: Tensor, init: Any) -> Tensor:
    return 2 * x if isinstance(init, bool) and init else x


def any_bool(net: Any, x: Tensor, init: Any) -> Tensor:
    return x if isinstance(init, bool) else 2 * x


# --- layers that are used in other ways -------------------------------------------------------------------------------


def reads_v(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x + net.sl1.v
    return out


def reads_s(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x + net.sl1.s
    return out


def resets(net: Any, x: Tensor, init: Any) -> Tensor:
    net.sl2.reset()
    return x


def detaches(net: Any, x: Tensor, init: Any) -> Tensor:
    net.sl2.detach_()
    return x


class Active(Two):
    def __init__(self) -> None:
        super().__init__(sl1=st.BioLIF(0.5, v0=0.1, track_act=True))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        s = self.sl1(self.l1(x).relu(), self.l1(x).relu(), init)
        out: Tensor = self.sl2(self.l2(s + 0.1 * self.sl1.act), init)
        return out


class Twice(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.sl2(self.l2(self.sl1(self.sl1(self.l1(x), init), init)), init)
        return out


class Without(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.sl2(self.l2(self.sl1(self.l1(x))), init)
        return out


class AlwaysTrue(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.sl2(self.l2(self.sl1(self.l1(x), True)), init)
        return out


class ByTurns(Two):
    """Its layers are called in another order at every other step."""

    turn = 0

    def forward(self, x: Tensor, init: Any) -> Tensor:
        self.turn = 1 - self.turn
        x = self.l1(x)
        s = self.sl1(x, init) + self.sl3(x, init) if self.turn else self.sl3(x, init) + self.sl1(x, init)
        out: Tensor = self.sl2(self.l2(s), init)
        return out


class Transposed(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        s = self.sl1(self.l1(x).T.contiguous(), init).T
        out: Tensor = self.sl2(self.l2(s), init)
        return out


class Relay(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sl = st.LIF(v0=0.3)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.sl(x, init)
        return out


class Nested(Two):
    """Another SpikingNet in a network."""

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.sl2(self.l2(self.inner(self.l1(x)[:, None])[:, 0]), init)
        return out


# --- values, and random numbers ---------------------------------------------------------------------------------------


def noise_for_all(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + 0.1 * torch.randn(x.shape[1], dtype=x.dtype)


def stochastic_depth(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * (torch.rand(()) < 0.8)


def pythons_numbers(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * random.random()


def numpys_numbers(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * float(np.random.rand())


def permuted(net: Any, x: Tensor, init: Any) -> Tensor:
    return x[torch.randperm(x.shape[0])]


def through_numpy(net: Any, x: Tensor, init: Any) -> Tensor:
    return x + torch.from_numpy(x.detach().numpy() * 0.5)


def by_list(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * len(x.detach().sum(0).tolist())


def twice_the_output(module: nn.Module, args: Any, out: Any) -> Any:
    return 2 * out


def unit_gradient(module: nn.Module, given: Any, grads: Any) -> Any:
    return (given[0] / given[0].norm(),)


def hooked() -> nn.Module:
    net = Two()
    net.l1.register_forward_hook(twice_the_output)
    return net


def backward_hooked() -> nn.Module:
    net = Two()
    net.l1.register_full_backward_hook(unit_gradient)
    return net


def old_spectral_norm() -> nn.Module:
    net = Two()
    spectral_norm(net.l1)
    return net


def new_spectral_norm() -> nn.Module:
    net = Two()
    parametrizations.spectral_norm(net.l1)
    return net


MIXES = "differently|mixes"
OWN_STATE = "keeps a state"
INIT = "init"
READS = "reads the value"
CASES: dict[str, Case] = {
    "tensor attribute": Case(lambda: Two(tensor_attribute, last=torch.zeros(())), "changes last.*" + OWN_STATE),
    "buffer in place": Case(lambda: Two(buffer_in_place, seen=nn.Buffer(torch.zeros(()))), "changes seen"),
    "list append": Case(lambda: Two(appends, record=[]), "changes record"),
    "dict": Case(lambda: Two(writes_dict, record={}), "changes record"),
    "counter": Case(lambda: Two(counts, count=0), "changes count"),
    "object attribute": Case(lambda: Two(object_attribute, holder=Holder()), r"changes holder\.n"),
    "feedback": Case(lambda: Two(feeds_back, after=keeps_output, last=None), "changes last"),
    "slow threshold": Case(lambda: Two(between=slow_threshold), r"changes sl2\.v0"),
    "weight over time": Case(
        lambda: Two(between=weight_over_time, mix=nn.Parameter(torch.eye(6)), factor=1.0), "changes factor"
    ),
    "switches training": Case(lambda: Two(switches_training, drop=nn.Dropout(0.0)), r"changes drop\.training"),
    "minus mean": Case(lambda: Two(lambda net, x, init: x - x.mean(0)), MIXES),
    "minus mean of spikes": Case(lambda: Two(between=lambda net, x, init: x - x.mean(0)), MIXES),
    "minus mean of output": Case(lambda: Two(after=lambda net, x, init: x - x.mean(0)), "its output differently"),
    "softmax": Case(lambda: Two(lambda net, x, init: x.softmax(0)), MIXES),
    "Softmax": Case(lambda: Two(through, module=nn.Softmax(0)), MIXES),
    "flip": Case(lambda: Two(lambda net, x, init: x.flip(0)), MIXES),
    "cumsum": Case(lambda: Two(lambda net, x, init: x.cumsum(0)), MIXES),
    "roll": Case(lambda: Two(lambda net, x, init: x.roll(1, 0)), MIXES),
    "sort": Case(lambda: Two(lambda net, x, init: x.sort(0).values), MIXES),
    "first sample": Case(lambda: Two(lambda net, x, init: x - x[:1]), MIXES),
    "normalize": Case(lambda: Two(lambda net, x, init: F.normalize(x, dim=0)), MIXES),
    "layer norm over all": Case(lambda: Two(lambda net, x, init: F.layer_norm(x, x.shape)), MIXES),
    "position": Case(lambda: Two(lambda net, x, init: x + torch.arange(len(x))[:, None] / 100), MIXES),
    "batch size": Case(lambda: Two(lambda net, x, init: x / x.shape[0]), MIXES),
    "matrix of samples": Case(lambda: Two(pairs), MIXES),
    "similarities": Case(lambda: Two(similar), MIXES),
    "reshape": Case(lambda: Two(batch_into_features), MIXES),
    "hard-coded batch": Case(lambda: Two(lambda net, x, init: x.view(5, 4)), "does not run"),
    "BatchNorm": Case(lambda: Two(through, module=nn.BatchNorm1d(4)), "module, a BatchNorm1d"),
    "untracked BatchNorm": Case(lambda: Two(through, module=nn.BatchNorm1d(4, track_running_stats=False)), "BatchNorm"),
    "F.batch_norm": Case(lambda: Two(own_batch_norm), MIXES),
    "mixes in training": Case(lambda: Two(mixes_in_training), MIXES),
    "RNN": Case(lambda: Two(sequence, module=nn.RNN(4, 4, batch_first=True)), "a RNN"),
    "LSTM": Case(lambda: Two(sequence, module=nn.LSTM(4, 4, batch_first=True)), "a LSTM"),
    "GRU": Case(lambda: Two(sequence, module=nn.GRU(4, 4, batch_first=True)), "a GRU"),
    "Transformer": Case(
        lambda: Two(sequence, module=nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True)),
        "Transformer|MultiheadAttention",
    ),
    "MultiheadAttention": Case(lambda: Two(attention, module=nn.MultiheadAttention(4, 2)), "MultiheadAttention"),
    "InstanceNorm": Case(
        lambda: Two(over_channels, module=nn.InstanceNorm1d(1, track_running_stats=True)), "InstanceNorm1d"
    ),
    "if init": Case(lambda: Two(lambda net, x, init: 2 * x if init else x), INIT),
    "init is True": Case(lambda: Two(lambda net, x, init: 2 * x if init is True else x), MIXES),
    "init == True": Case(lambda: Two(lambda net, x, init: 2 * x if init == True else x), INIT),  # noqa: E712
    "init != False": Case(lambda: Two(lambda net, x, init: 2 * x if init != False else x), INIT),  # noqa: E712
    "not init": Case(lambda: Two(lambda net, x, init: x if not init else 2 * x), INIT),
    "x * init": Case(lambda: Two(lambda net, x, init: x + x * init), INIT),
    "init * x": Case(lambda: Two(lambda net, x, init: x + init * x), INIT),
    "float(init)": Case(lambda: Two(lambda net, x, init: x + float(init)), INIT),
    "int(init)": Case(lambda: Two(lambda net, x, init: x + int(init)), INIT),
    "index": Case(lambda: Two(lambda net, x, init: x * [1.0, 2.0][init]), INIT),
    "dict of init": Case(lambda: Two(lambda net, x, init: x * {True: 2.0, False: 1.0}[init]), INIT),
    "str(init)": Case(lambda: Two(lambda net, x, init: 2 * x if str(init) == "True" else x), MIXES),
    "where": Case(lambda: Two(torch_where), "init|fails"),
    "where directly": Case(
        lambda: Two(lambda net, x, init: torch.where(torch.tensor(bool(init)), 2 * x, x)), "branches on init"
    ),
    "isinstance and": Case(lambda: Two(if_bool), MIXES),
    "isinstance": Case(lambda: Two(any_bool), MIXES),
    "v": Case(lambda: Two(between=reads_v), r"uses LIF\.v"),
    "s": Case(lambda: Two(between=reads_s), r"uses LIF\.s"),
    "act": Case(Active, r"uses BioLIF\.act"),
    "reset": Case(lambda: Two(between=resets), r"uses LIF\.reset"),
    "detach_": Case(lambda: Two(between=detaches), r"uses LIF\.detach_"),
    "twice": Case(Twice, "twice|several times"),
    "tied": Case(lambda: tied(), "twice|several times"),
    "without init": Case(Without, "without handing it the init"),
    "always True": Case(AlwaysTrue, "without handing it the init"),
    "list": Case(lambda: in_list(), "not among its submodules"),
    "by turns": Case(lambda: ByTurns(sl3=st.LIF()), "changes turn"),
    "transposed": Case(Transposed, "axis|batch|does not run"),
    "nested": Case(lambda: Nested(inner=st.SpikingNet(Relay(), 6)), r"LIF\.reset"),
    "if x.sum()": Case(lambda: Two(lambda net, x, init: x if x.sum() > 11 else 2 * x), READS),
    "item": Case(lambda: Two(lambda net, x, init: x * x.detach().max().item()), READS),
    "isnan": Case(lambda: Two(lambda net, x, init: x * 2 if torch.isnan(x).any() else x), READS),
    "equal": Case(lambda: Two(lambda net, x, init: x if torch.equal(x, x) else 2 * x), READS),
    "tolist": Case(lambda: Two(by_list), "leaves torch"),
    "numpy": Case(lambda: Two(through_numpy), "leaves torch"),
    "noise for all": Case(lambda: Two(noise_for_all), "all samples share"),
    "stochastic depth": Case(lambda: Two(stochastic_depth), "all samples share"),
    "Python's numbers": Case(lambda: Two(pythons_numbers), "random numbers of Python"),
    "numpy's numbers": Case(lambda: Two(numpys_numbers), "random numbers of Python or numpy"),
    "permuted": Case(lambda: Two(permuted), MIXES),
    "hook": Case(hooked, "hooks on l1"),
    "backward hook": Case(backward_hooked, "hooks on l1"),
    "old spectral_norm": Case(old_spectral_norm, "hooks on l1"),
    "spectral_norm": Case(new_spectral_norm, "changes|keeps a state|differently"),
    "writes on x": Case(lambda: Two(lambda net, x, init: x.mul_(0.9).clone()), "writes on", x_grad=False),
    "data": Case(lambda: Two(lambda net, x, init: x - x.data.mean(0)), MIXES),
    "no_grad": Case(lambda: Two(lambda net, x, init: x - mean_without_gradient(x)), MIXES),
    "output in place": Case(lambda: Two(between=lambda net, x, init: x.sub_(x.detach().mean(0))), MIXES),
    "view of the first": Case(lambda: Two(lambda net, x, init: x[:1].expand(len(x), -1)), MIXES),
}


def mean_without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x.mean(0)


def tied() -> nn.Module:
    net = Two()
    net.l2, net.sl2 = nn.Linear(6, 6), net.sl1
    net.after = lambda net, x, init: x[:, :3]
    return net


def in_list() -> nn.Module:
    class Listed(Two):
        def forward(self, x: Tensor, init: Any) -> Tensor:
            out: Tensor = self.sl2(self.l2(self.hidden[0](self.l1(x), init)), init)
            return out

    return Listed(hidden=[st.LIF(v0=0.3)])


@pytest.mark.parametrize("name", CASES)
def test_steps(name: str) -> None:
    make, reason, x_grad = CASES[name]
    torch.manual_seed(0)
    net = make().double()
    want = run(net, "step", train(), x_grad=x_grad)
    got = run(net, "auto", train(), x_grad=x_grad)
    report = got.model.explain()
    assert (report.mode, differences(got, want)) == ("step", []), report.reason
    assert len(got.warned) == 1, got.warned
    assert re.search(reason, report.reason), report.reason
    assert report.reason.removeprefix("the network ") in got.warned[0]
    assert not want.warned
    assert want.outputs[0].abs().sum() > 0


@pytest.mark.parametrize("name", ["mixes in training", "BatchNorm", "InstanceNorm", "old spectral_norm"])
def test_in_evaluation(name: str) -> None:
    torch.manual_seed(0)
    net = CASES[name].make().double().eval()
    got = run(net, "auto", train())
    expected = "step" if name == "old spectral_norm" else "fold"
    assert got.model.explain().mode == expected
    assert not differences(got, run(net, "step", train()), 1e-9)
    assert_close(got.outputs[0], got.outputs[1])
