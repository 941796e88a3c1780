"""Networks that mode "auto" must step, with the numbers of mode "step", and with the reason."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, spectral_norm

import spikingtorch as st
from tests.nets_that_step import Own, Two, besides, centred, differences, run, through, train, with_l1

Make = Callable[[], nn.Module]


@dataclass
class Holder:
    n: int = 0


def object_attribute(net: Any, x: Tensor, init: Any) -> Tensor:
    net.holder.n += 1
    return x * (1.0 + 0.1 * (net.holder.n % 4))  # type: ignore[no-any-return]


def counts(net: Any, x: Tensor, init: Any) -> Tensor:
    net.count = (net.count + 1) % 3
    return x * net.count  # type: ignore[no-any-return]


def tensor_attribute(net: Any, x: Tensor, init: Any) -> Tensor:
    net.last = 0.5 * net.last + x.detach().mean()
    return x + net.last  # type: ignore[no-any-return]


def feeds_back(net: Any, x: Tensor, init: Any) -> Tensor:
    return x if net.last is None or net.last.shape[0] != x.shape[0] else x + net.last.mean(1, keepdim=True)


def weight_over_time(net: Any, x: Tensor, init: Any) -> Tensor:
    net.factor *= 0.99
    return x @ (torch.eye(6) + net.mix * net.factor)  # type: ignore[no-any-return]


def by_turns(net: Any, x: Tensor, init: Any) -> Tensor:
    net.turn = 1 - net.turn
    first, second = (net.sl1, net.sl3) if net.turn else (net.sl3, net.sl1)
    return net.sl2(net.l2(first(net.l1(x), init) + second(net.l1(x), init)), init)  # type: ignore[no-any-return]


def sequence(net: Any, x: Tensor, init: Any) -> Tensor:
    out = net.module(x[:, None])
    first: Tensor = out[0] if isinstance(out, tuple) else out
    return first[:, 0]


def attention(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.module(x[:, None], x[:, None], x[:, None])[0][:, 0]  # type: ignore[no-any-return]


def active(net: Any, x: Tensor, init: Any) -> Tensor:
    s = net.sl1(net.l1(x).relu(), net.l1(x).relu(), init)
    return net.sl2(net.l2(s + 0.1 * net.sl1.act), init)  # type: ignore[no-any-return]


def nested(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.inner(net.l1(x)[:, None])[:, 0]), init)  # type: ignore[no-any-return]


def handing_on(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.inner(net.l1(x)[:, None], init)[:, 0]), init)  # type: ignore[no-any-return]


def hidden(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.hidden[0](net.l1(x), init)), init)  # type: ignore[no-any-return]


def transposed(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.sl1(net.l1(x).T.contiguous(), init).T), init)  # type: ignore[no-any-return]


def put_last(net: Any, x: Tensor) -> None:
    net.last = x.detach()


def raise_threshold(net: Any, x: Tensor) -> None:
    net.sl2.v0 = min(net.sl2.v0 + 0.01, 0.9)


def unit_gradient(module: nn.Module, given: Any, grads: Any) -> Any:
    return (given[0] / given[0].norm(),)


def without_gradient(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        mean = x.mean(0)
    return x - mean


class Noisy(st.LIF):
    """A threshold that is drawn at each step."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"threshold": 0.2 * self.drawn()}

    def drawn(self) -> Any:
        return torch.rand((), dtype=torch.float64)


class OfItsOwn(Noisy):
    """... from a generator that nobody sees."""

    def drawn(self) -> Any:
        if "generator" not in self.__dict__:
            self.generator = torch.Generator().manual_seed(0)
        return torch.rand((), generator=self.generator).item()


class Dropped(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return F.dropout(weight, 0.5)


def dropped(layer: Any, path: str, name: str) -> Two:
    """Return a network with a layer of whose parameters one drops out."""
    parametrize.register_parametrization(layer.get_submodule(path), name, Dropped())
    return Two(sl2=layer)


def made_anew(net: Any, x: Tensor, init: Any) -> Any:
    h = st.LIF(v0=0.3).double()(net.l1(x), init)
    return net.sl2(net.l2(h), init)


def shortcut(net: Any, x: Tensor, init: Any) -> Tensor:
    h = net.l2(net.l1(x))
    h += net.sl2(h, init)
    return h  # type: ignore[no-any-return]


def tied() -> nn.Module:
    net = Two(after=lambda net, x, init: x[:, :3], l2=nn.Linear(6, 6))
    net.sl2 = net.sl1
    return net


def changing_l1(change: Callable[[Any], object]) -> Make:
    return lambda: with_l1(change)


# what the reason says -> networks for which it does
CASES: dict[str, dict[str, Make]] = {
    "changes last.*keeps a state": {"tensor": lambda: Two(tensor_attribute, last=torch.zeros(()))},
    "writes on a tensor that outlives the step": {
        "buffer": lambda: Two(
            lambda net, x, init: x + net.b.mul_(0.5).add_(x.detach().mean()), b=nn.Buffer(torch.zeros(()))
        )
    },
    "changes record": {
        "list append": lambda: Two(besides(lambda net, x: net.record.append(x.detach())), record=[]),
        "dict": lambda: Two(besides(lambda net, x: net.record.update(last=x.detach())), record={}),
    },
    "changes count": {"counter": lambda: Two(counts, count=0)},
    r"changes holder\.n": {"object": lambda: Two(object_attribute, holder=Holder())},
    "changes last": {"feedback": lambda: Two(feeds_back, after=besides(put_last), last=None)},
    "computes other parameters of a spiking layer": {"slow threshold": lambda: Two(between=besides(raise_threshold))},
    "changes factor": {
        "weight over time": lambda: Two(between=weight_over_time, mix=nn.Parameter(torch.eye(6)), factor=1.0)
    },
    r"changes drop\.training": {
        "switches training": lambda: Two(
            besides(lambda net, x: net.drop.train(not net.drop.training)), drop=nn.Dropout(0.0)
        )
    },
    "changes turn": {"by turns": lambda: Own(by_turns, sl3=st.LIF(), turn=0)},
    "writes on a tensor that outlives .*div": {
        "spectral_norm": changing_l1(parametrizations.spectral_norm),
        "old spectral_norm": changing_l1(spectral_norm),
    },
    "works along the axis of the batch .mean, line": {
        "minus mean of output": lambda: Two(after=lambda net, x, init: centred(x))
    },
    "batch|number of samples|another step": {
        "minus mean": lambda: Two(lambda net, x, init: centred(x)),
        "minus mean of spikes": lambda: Two(between=lambda net, x, init: centred(x)),
        "softmax": lambda: Two(lambda net, x, init: x.softmax(0)),
        "Softmax": lambda: Two(through, module=nn.Softmax(0)),
        "flip": lambda: Two(lambda net, x, init: x.flip(0)),
        "cumsum": lambda: Two(lambda net, x, init: x.cumsum(0)),
        "roll": lambda: Two(lambda net, x, init: x.roll(1, 0)),
        "sort": lambda: Two(lambda net, x, init: x.sort(0).values),
        "first sample": lambda: Two(lambda net, x, init: x - x[:1]),
        "normalize": lambda: Two(lambda net, x, init: F.normalize(x, dim=0)),
        "layer norm over all": lambda: Two(lambda net, x, init: F.layer_norm(x, x.shape)),
        "position": lambda: Two(lambda net, x, init: x + torch.arange(len(x))[:, None] / 100),
        "batch size": lambda: Two(lambda net, x, init: x / x.shape[0]),
        "matrix of samples": lambda: Two(lambda net, x, init: x + x.new_ones(len(x), len(x)).tril() @ x),
        "similarities": lambda: Two(lambda net, x, init: (x @ x.T) @ x),
        "reshape": lambda: Two(lambda net, x, init: x.reshape(4, -1).T.reshape(-1, 4)),
        "mixes in training": lambda: Two(lambda net, x, init: centred(x) if net.training else x),
        "data": lambda: Two(lambda net, x, init: x - x.data.mean(0)),
        "no_grad": lambda: Two(without_gradient),
        "output in place": lambda: Two(between=lambda net, x, init: x.sub_(x.detach().mean(0))),
        "view of the first": lambda: Two(lambda net, x, init: x[:1].expand(len(x), -1)),
        "permuted": lambda: Two(lambda net, x, init: x[torch.randperm(x.shape[0])]),
        "init is True": lambda: Two(lambda net, x, init: 2 * x if init is True else x),
        "str(init)": lambda: Two(lambda net, x, init: 2 * x if str(init) == "True" else x),
        "isinstance and": lambda: Two(lambda net, x, init: 2 * x if isinstance(init, bool) and init else x),
        "isinstance": lambda: Two(lambda net, x, init: x if isinstance(init, bool) else 2 * x),
    },
    "does not run": {"hard-coded batch": lambda: Two(lambda net, x, init: x.view(5, 4))},
    "writes on a tensor that outlives .*copy_": {
        "InstanceNorm": lambda: Two(sequence, module=nn.InstanceNorm1d(1, track_running_stats=True))
    },
    "samples of a batch with each other": {
        "MultiheadAttention": lambda: Two(attention, module=nn.MultiheadAttention(4, 2))
    },
    "init": {
        "if init": lambda: Two(lambda net, x, init: 2 * x if init else x),
        "init == True": lambda: Two(lambda net, x, init: 2 * x if init == True else x),  # noqa: E712
        "init != False": lambda: Two(lambda net, x, init: 2 * x if init != False else x),  # noqa: E712
        "not init": lambda: Two(lambda net, x, init: x if not init else 2 * x),
        "x * init": lambda: Two(lambda net, x, init: x + x * init),
        "init * x": lambda: Two(lambda net, x, init: x + init * x),
        "float(init)": lambda: Two(lambda net, x, init: x + float(init)),
        "int(init)": lambda: Two(lambda net, x, init: x + int(init)),
        "index": lambda: Two(lambda net, x, init: x * [1.0, 2.0][init]),
        "dict of init": lambda: Two(lambda net, x, init: x * {True: 2.0, False: 1.0}[init]),
    },
    "init|fails": {"where": lambda: Two(lambda net, x, init: torch.where(torch.as_tensor(init), 2 * x, x))},
    "branches on init": {
        "where directly": lambda: Two(lambda net, x, init: torch.where(torch.tensor(bool(init)), 2 * x, x))
    },
    r"uses LIF\.v": {"v": lambda: Two(between=lambda net, x, init: x + net.sl1.v)},
    r"uses LIF\.s": {"s": lambda: Two(between=lambda net, x, init: x + net.sl1.s)},
    r"uses BioLIF\.act": {"act": lambda: Own(active, sl1=st.BioLIF(0.5, v0=0.1, track_act=True))},
    r"uses LIF\.reset": {"reset": lambda: Two(between=besides(lambda net, x: net.sl2.reset()))},
    r"uses LIF\.detach_": {"detach_": lambda: Two(between=besides(lambda net, x: net.sl2.detach_()))},
    "reads the value of a tensor": {
        "nested": lambda: Own(nested, inner=st.SpikingNet(Own(lambda net, x, init: net.sl1(x, init)), 6))
    },
    "hands init to a SpikingNet, which runs over time by itself": {
        "nested, handed init": lambda: Own(
            handing_on, inner=st.SpikingNet(Own(lambda net, x, init: net.sl1(x, init)), 6)
        )
    },
    "twice in a step, and both calls change the same membranes|several times": {
        "twice": lambda: Own(lambda net, x, init: net.sl2(net.l2(net.sl1(net.sl1(net.l1(x), init), init)), init)),
        "tied": tied,
    },
    "without handing it the init": {
        "always False": lambda: Own(lambda net, x, init: net.sl2(net.l2(net.sl1(net.l1(x), False)), init)),
        "always True": lambda: Own(lambda net, x, init: net.sl2(net.l2(net.sl1(net.l1(x), True)), init)),
    },
    "not among its submodules, so that nothing of it is": {"list": lambda: Own(hidden, hidden=[st.LIF(v0=0.3)])},
    "axis|batch|does not run": {"transposed": lambda: Own(transposed)},
    "reads the value": {
        "if x.sum()": lambda: Two(lambda net, x, init: x if x.sum() > 11 else 2 * x),
        "item": lambda: Two(lambda net, x, init: x * x.detach().max().item()),
        "isnan": lambda: Two(lambda net, x, init: x * 2 if torch.isnan(x).any() else x),
        "equal": lambda: Two(lambda net, x, init: x if torch.equal(x, x) else 2 * x),
    },
    "makes a LIF while it runs": {"layer of each step": lambda: Own(made_anew)},
    "leaves torch": {
        "tolist": lambda: Two(lambda net, x, init: x * len(x.detach().sum(0).tolist())),
        "numpy": lambda: Two(lambda net, x, init: x + torch.from_numpy(x.detach().numpy() * 0.5)),
    },
    "all samples share": {
        "noise for all": lambda: Two(lambda net, x, init: x + 0.1 * torch.randn(x.shape[1], dtype=x.dtype)),
        "stochastic depth": lambda: Two(lambda net, x, init: x * (torch.rand(()) < 0.8)),
    },
    "random numbers of Python or numpy": {
        "Python's numbers": lambda: Two(lambda net, x, init: x * random.random()),
        "numpy's numbers": lambda: Two(lambda net, x, init: x * float(np.random.rand())),
    },
    "all samples share|something else": {
        "drawn threshold": lambda: Two(sl2=Noisy(decay=0.0)),
        "drawn parameter": lambda: dropped(st.LIF(v0=torch.full((3,), 0.3), learnable="v0"), "", "v0"),
        "drawn weight": lambda: dropped(st.LIF(v0=0.3, recurrent=nn.Linear(3, 3, False)), "recurrent", "weight"),
    },
    "a generator that is not in sight|reads sl2": {"generator of a layer": lambda: Two(sl2=OfItsOwn(decay=0.0))},
    r"input of sl2.*h = h \+ layer\(h, init\)": {"shortcut": lambda: Own(shortcut)},
    "hooks on l1": {
        "hook": changing_l1(lambda l1: l1.register_forward_hook(lambda module, args, out: 2 * out)),
        "backward hook": changing_l1(lambda l1: l1.register_full_backward_hook(unit_gradient)),
    },
}


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("make", "reason"),
    [pytest.param(make, reason, id=name) for reason, makes in CASES.items() for name, make in makes.items()],
)
def test_steps(make: Make, reason: str) -> None:
    torch.manual_seed(0)
    net = make().double()
    want, got = run(net, "step", train()), run(net, "auto", train())
    report = got.model.explain()
    assert (report.mode, differences(got, want)) == ("step", []), report.reason
    assert len(got.warned) == 1, got.warned
    assert re.search(reason, report.reason), report.reason
    assert re.search(reason, got.warned[0]), got.warned
    assert "step by step, with the same results as all steps at once but slower, because it " in got.warned[0]
    assert not want.warned
    assert want.outputs[0].abs().sum() > 0
