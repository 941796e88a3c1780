"""Changes between a call and its backward pass, in which chunks run again, beside networks that keep everything."""

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.test_recompute import FEATURES, N, T, around, draw, slopes

pytestmark = [
    pytest.mark.sampled,
    pytest.mark.filterwarnings("ignore:SpikingNet.* runs step by step:RuntimeWarning"),
]


def network(*middle: Any, recompute: bool, **options: Any) -> st.SpikingNet:
    torch.manual_seed(0)
    net = around(*middle)().double()
    return st.SpikingNet(net, time_chunk=3, recompute=recompute, warn_silent=False, **options)


def agree(act: Callable[[bool], Any]) -> None:
    """Check that an act with recompute=True returns what it returns without."""
    assert_close(act(True), act(False))


class Gain(nn.Module):
    """Scales its input by a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.linspace(0.5, 2.0, 6, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


def net_of(model: st.SpikingNet) -> Any:
    return model.net


CHANGES: dict[str, Callable[[st.SpikingNet], Any]] = {
    "a time constant": lambda model: setattr(net_of(model)[2], "tau", 9.0),
    "a surrogate": lambda model: setattr(net_of(model)[2], "surrogate", F.Triangular()),
    "a tensor that is no buffer": lambda model: setattr(net_of(model)[1], "gain", torch.full((6,), 3.0)),
    "a layer": lambda model: net_of(model).__setitem__(3, nn.Linear(6, 2).double()),
    "a layer less": lambda model: net_of(model).__delitem__(4),
    "a parametrization": lambda model: parametrizations.weight_norm(net_of(model)[3]),
    "frozen": lambda model: model.requires_grad_(False),
    "the mode": lambda model: setattr(model, "mode", "step"),
    "a hook": lambda model: net_of(model)[3].register_forward_hook(lambda module, given, out: 2 * out),
}


@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_chunk_runs_again_as_it_was(change: str, mode: Any) -> None:
    def act(recompute: bool) -> Any:
        model, x = network(Gain, recompute=recompute, mode=mode), draw(1, N, T, FEATURES).requires_grad_()
        weights = [*model.parameters()]
        out = model(x)
        CHANGES[change](model)
        now = {name: dict(vars(each)) for name, each in net_of(model).named_modules()}
        found = slopes(out, [x] if change == "frozen" else [x, *weights])
        for name, each in net_of(model).named_modules():  # and everything is afterwards as it is now
            after = {key: value for key, value in vars(each).items() if not key.startswith("_")}
            assert all(value is now[name][key] for key, value in after.items())
            assert list(each._modules) == list(now[name]["_modules"])
        assert all(weight.requires_grad is (change != "frozen") for weight in model.parameters())
        return found

    agree(act)


@pytest.mark.parametrize("mode", ["auto", "step"])
def test_a_dropout_that_drops_more_meanwhile(mode: Any) -> None:
    def act(recompute: bool) -> Any:
        model = network(lambda: nn.Dropout(0.3), recompute=recompute, mode=mode)
        x = draw(1, N, T, FEATURES).requires_grad_()
        torch.manual_seed(2)
        out = model(x)
        net_of(model)[1].p = 0.9
        return slopes(out, [x, *model.parameters()])

    agree(act)


class Keeps(nn.Module):
    """A module that keeps something of its own from step to step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.count, self.v = kind, 1, torch.zeros(1)
        self.line: deque[Any] = deque([0.0, 0.0])
        self.held: dict[str, Any] = {"v": 0.0}

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "a counter":
            self.count += 1
            return x * self.count
        if self.kind == "a tensor":
            self.v = 0.5 * self.v + x
            return self.v
        if self.kind == "a name that comes later":
            self.later = 0.5 * getattr(self, "later", 0.0) + x
            return self.later
        if self.kind == "a dict":
            v: Tensor = 0.5 * self.held["v"] + x
            self.held["v"] = v
            return v
        self.line.append(x)
        late: Tensor = x + self.line.popleft()
        return late


@pytest.mark.parametrize(
    "kind", ["a counter", "a tensor", "a name that comes later", "a dict", "a delay line in a deque"]
)
def test_modules_that_keep_something_of_their_own(kind: str) -> None:
    def act(recompute: bool) -> Any:
        model = network(lambda: Keeps(kind), recompute=recompute, mode="step")
        x = draw(1, N, T, FEATURES).requires_grad_()
        out = model(x)
        found = slopes(out, [x, *model.parameters()])
        own = net_of(model)[1]
        return found, own.count, own.v, [*own.line], {**own.held}

    agree(act)


class Noise(nn.Module):
    """Scales its input by random numbers of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.own = kind, torch.Generator().manual_seed(3)
        self.list, self.numpy, self.old = [self.own], np.random.default_rng(3), np.random.RandomState(3)
        self.python = random.Random(3)
        if kind == "list":
            del self.own

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("own", "list"):
            return x * torch.rand(x.shape, generator=self.list[0], dtype=x.dtype)
        if self.kind == "python":
            return x * self.python.random()
        return x * torch.from_numpy(self.numpy.random(x.shape) if self.kind == "numpy" else self.old.rand(*x.shape))


@pytest.mark.parametrize("kind", ["own", "list", "numpy", "old", "python"])
def test_generators_that_a_module_holds_repeat(kind: str) -> None:
    def act(recompute: bool) -> Any:
        model = network(lambda: Noise(kind), recompute=recompute, mode="step")
        x = draw(1, N, T, FEATURES).requires_grad_()
        return slopes(model(x), [x, *model.parameters()]), model(x)

    agree(act)


class Writes(nn.Module):
    """Writes on a buffer that another module reads, and on a tensor that is no buffer."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.ones(1))
        self.counted = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(0.25)
        return x


class Reads(Writes):
    """Reads the buffer."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x * self.seen.clone()


class WritesApart(Writes):
    """Writes on the tensor that is no buffer."""

    def forward(self, x: Tensor) -> Tensor:
        self.counted.add_(1.0)
        return x * self.counted.clone()


def test_a_buffer_of_two_modules_stays_one() -> None:
    def act(recompute: bool) -> Any:
        model = network(Writes, Reads, recompute=recompute, mode="step")
        net_of(model)[2].seen = net_of(model)[1].seen
        x = draw(1, N, T, FEATURES).requires_grad_()
        return slopes(model(x), [x, *model.parameters()]), dict(model.named_buffers())

    agree(act)


def test_a_lazy_layer_that_its_first_call_makes() -> None:
    def act(recompute: bool) -> Any:
        model, x = network(recompute=recompute), draw(1, N, T, FEATURES).requires_grad_()
        model.net = nn.Sequential(nn.LazyLinear(6), *list(net_of(model))[1:]).double()
        torch.manual_seed(1)
        return slopes(model(x), [x, *model.parameters()])

    agree(act)


@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
def test_a_mask_that_the_caller_writes_on(mode: Any) -> None:
    def act(recompute: bool) -> Any:
        model, x = network(recompute=recompute, mode=mode), draw(1, N, T, FEATURES).requires_grad_()
        model(x.detach())
        starts = torch.tensor([True, False, True, False])
        out = model(x, init=starts)
        starts.fill_(True)
        return slopes(out, [x, *model.parameters()])

    agree(act)


def test_a_backward_pass_in_inference_mode() -> None:
    def act(recompute: bool) -> Any:
        model, x = network(recompute=recompute), draw(1, N, T, FEATURES).requires_grad_()
        total = model(x).square().sum()
        with torch.inference_mode():
            found = torch.autograd.grad(total, [x, *model.parameters()])
        return [each.clone() for each in found]

    agree(act)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_tensors_that_were_written_on_are_an_error() -> None:
    x = draw(1, N, T, FEATURES)
    model = network(recompute=True, mode="step")
    model(x)
    v = net_of(model)[1].v
    out = model(x, init=False)
    v.zero_()
    with pytest.raises(RuntimeError, match=r"the state of a layer of shape \(4, 6\) has changed .*layer.v.clone\(\)"):
        out.sum().backward()
    params = {name: each.detach().clone().requires_grad_() for name, each in model.named_parameters()}
    _, _, out = st.run(model, None, x, params=params)
    with torch.no_grad():
        params["net.2.weight"].mul_(2.0)
    with pytest.raises(RuntimeError, match=r"weight, a parameter of shape \(2, 6\) has changed"):
        out.sum().backward()
    out = model(x)
    net_of(model)[2].weight.data = net_of(model)[2].weight.data.clone()
    with pytest.raises(RuntimeError, match=r"weight, a parameter of shape \(2, 6\) has changed"):
        out.sum().backward()
    out = network(WritesApart, recompute=True, mode="step")(x)
    with pytest.raises(RuntimeError, match=r"counted, a tensor of shape .* has changed .*register_buffer\('counted'"):
        out.sum().backward()


def test_cached_parametrizations_are_refused() -> None:
    model = network(lambda: parametrizations.weight_norm(nn.Linear(6, 6)), recompute=True)
    with parametrize.cached(), pytest.raises(ValueError, match=r"does not work inside .*parametrize.cached\(\)"):
        model(draw(1, N, T, FEATURES))
