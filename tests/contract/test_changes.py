"""Whatever changes after calls of one form have their plan, the next calls give what stepping gives."""

import copy
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.spikingnet.plan import CallPlan
from tests.processes import at_once

pytestmark = pytest.mark.filterwarnings("ignore")  # a network that steps after a change says so
SCALE = 1.0
SETTINGS = {"scale": 1.0}
GRID = 16  # numbers are multiples of 1 / GRID, so that sums in any order are exact


class Net(nn.Module):
    scale = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.l1, self.s1 = nn.Linear(8, 8), st.LIF(tau=2.0, threshold=0.125, learnable="tau")
        self.l2, self.s2 = nn.Linear(8, 8), st.LIF(decay=0.75, threshold=torch.full((8,), 0.5), learnable="decay")
        self.s3 = st.LIF(decay=0.5, threshold=1.75, returns=("v", "spikes"))
        self.factor, self.factors, self.bag = 1.0, [1.0], np.ones(1)
        for weight in (*self.l1.parameters(), *self.l2.parameters()):
            weight.data = (weight.data * GRID).round() / GRID

    def forward(self, x: Tensor, init: Any) -> Any:
        factor = self.factor * self.factors[0] * self.scale * SCALE * SETTINGS["scale"] * float(self.bag[0])
        return self.s3(self.s2(self.l2(self.s1(self.l1(x * factor), init)), init), init)[0]


def fresh(mode: Any) -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(Net(), 8, mode).eval()


X = torch.randint(-GRID, GRID, (4, 6, 8), generator=torch.Generator().manual_seed(1)) / GRID * 2
Change = Callable[[Any, pytest.MonkeyPatch], object]
PLANNED = os.environ.get("SPIKINGTORCH_PLANS") != "0"


def sets(path: str, name: str, value: Any) -> Change:
    made = isinstance(value, FunctionType)
    return lambda model, _: setattr(model.get_submodule(path), name, value() if made else value)


def ones(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.ones(shape)


def new_weight() -> nn.Parameter:
    return nn.Parameter(torch.eye(8))


class Above(nn.Identity):
    def forward(self, input: Tensor) -> Tensor:
        return (input > 0).to(input.dtype)


class Doubles(nn.Identity):
    def forward(self, input: Tensor) -> Tensor:
        return input * 2


def of_the_sequence(model: Any, _: object) -> None:
    if model.mode != "step":  # which has no statistics of a sequence
        model.statistics = "sequence"


def in_chunks(option: str) -> Change:
    def change(model: Any, _: object) -> None:
        model.time_chunk = 2
        setattr(model, option, True)

    return change


CHANGES: dict[str, Change] = {
    "global": lambda _, patch: patch.setitem(globals(), "SCALE", 3.0),
    "entry of a global dict": lambda _, patch: patch.setitem(SETTINGS, "scale", 3.0),
    "class attribute": lambda _, patch: patch.setattr(Net, "scale", 3.0),
    "attribute": sets("net", "factor", 3.0),
    "entry of __dict__": lambda model, _: vars(model.net).update(factor=3.0),
    "entry of a list": lambda model, _: model.net.factors.__setitem__(0, 3.0),
    "entry of an array": lambda model, _: model.net.bag.__setitem__(0, 3.0),
    "weight": sets("net.l1", "weight", lambda: new_weight()),
    "weight in place": lambda model, _: model.net.l1.weight.data.mul_(3),
    "weight.data": lambda model, _: setattr(model.net.l1.weight, "data", torch.eye(8)),
    "weight.data of another shape": lambda model, _: setattr(model.net.l1.weight, "data", torch.ones(4, 8)),
    "weight.data of another dtype": lambda model, _: setattr(model.net.l1.weight, "data", torch.eye(8).double()),
    "entry of _parameters": lambda model, _: model.net.l1._parameters.update(weight=new_weight()),
    "bias away": sets("net.l1", "bias", None),
    "state dict": lambda model, _: model.load_state_dict(
        {k: v * 2 if ".l" in k else v for k, v in model.state_dict().items()}
    ),
    "module": sets("net", "l1", lambda: Doubles()),
    "module away": lambda model, _: delattr(model.net, "l2"),
    "layer": sets("net", "s1", lambda: st.IF(threshold=0.75)),
    "one layer for two": lambda model, _: setattr(model.net, "s2", model.net.s1),
    "net": sets("", "net", lambda: nn.Sequential(st.LIF(decay=0.5))),
    "forward of an instance": lambda model, _: vars(model.net.l1).update(forward=lambda x: x * 3),
    "forward of a class of torch": lambda _, patch: patch.setattr(nn.Linear, "forward", lambda _, x: x * 2),
    "forward of the network's class": lambda _, patch: patch.setattr(Net, "forward", lambda net, x, init: net.s1(x)),
    "function of torch": lambda _, patch: patch.setattr(nn.functional, "linear", lambda x, *_: x * 2),
    "parametrized": lambda model, _: nn.utils.parametrize.register_parametrization(model.net.l1, "weight", Doubles()),
    "threshold": sets("net.s1", "threshold", 0.0625),
    "trained tau in place": lambda model, _: model.net.s1.tau.data.fill_(1.0),
    "trained decay in place": lambda model, _: model.net.s2.decay.data.fill_(0.125),
    "trained decay out of its limits": lambda model, _: model.net.s2.decay.data.fill_(-3.0),
    "buffer in place": lambda model, _: model.net.s2.threshold.fill_(0.0625),
    "data of gaps": lambda model, _: setattr(model.net.s2.threshold, "data", torch.arange(16.0).view(8, 2)[:, 0] / 32),
    "buffer.data of another shape": lambda model, _: setattr(model.net.s2.threshold, "data", torch.ones(3)),
    "returns": sets("net.s2", "returns", ("spikes", "v")),
    "forward hook": lambda model, _: model.net.l1.register_forward_hook(lambda _m, _x, out: out * 2),
    "forward hook on a layer": lambda model, _: model.net.s1.register_forward_hook(lambda _m, _x, out: out * 0),
    "forward pre-hook": lambda model, _: model.net.register_forward_pre_hook(lambda _m, args: (args[0] * 3, args[1])),
    "hook on the whole": lambda model, _: model.register_forward_hook(lambda _m, _x, out: out * 2),
    "option Nout": sets("", "Nout", (9,)),
    "option mode": sets("", "mode", "step"),
    "option time_chunk": sets("", "time_chunk", 2),
    "option batch_first": sets("", "batch_first", False),
    "option event_driven": sets("", "event_driven", "on"),
    "option carry_graph": sets("", "carry_graph", True),
    "option statistics": of_the_sequence,
    "option hooks": sets("", "hooks", "sequence"),
    "option warn_silent": sets("", "warn_silent", False),
    "option recompute": in_chunks("recompute"),
    "option truncate": in_chunks("truncate"),
    "training": lambda model, _: model.train(),
    "training of a module": lambda model, _: model.net.l1.train(),
    "frozen": lambda model, _: model.requires_grad_(False),
    "double()": lambda model, _: model.double(),
    "reset()": lambda model, _: model.reset(),
    "set_state()": lambda model, _: model.set_state({k: v * 0 + 0.25 for k, v in model.get_state().items()}),
    "set_state() in another layout": lambda model, _: model.set_state(
        {name: each.t().contiguous().t() for name, each in model.get_state().items()}
    ),
    "detach_()": lambda model, _: model.detach_(),
    "a layer by itself": lambda model, _: model.net.s1(X[:, 0], init=True),
    "another batch in between": lambda model, _: model(X[:2]),
}
# what changes no output of the calls below, or is set back before they can see it
UNSEEN = {
    *("option event_driven", "option carry_graph", "option statistics", "option hooks", "option warn_silent"),
    *("option recompute", "option truncate", "option time_chunk", "option mode", "training", "training of a module"),
    *("reset()", "detach_()", "frozen", "set_state()", "set_state() in another layout", "a layer by itself"),
    "another batch in between",
}


class OfFunctions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out * 2 if func is nn.functional.linear else out


class OfOperations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out * 2 if func in (torch.ops.aten.addmm.default,) else out


@contextmanager
def double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def hook_of_all_modules() -> Any:
    with nn.modules.module.register_module_forward_hook(lambda m, _, out: out * 2 if type(m) is nn.Linear else None):
        yield


def same(tensor: Tensor) -> Tensor:
    return tensor


WITHIN: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": double,
    "default device": lambda: torch.device("cpu"),
    "function mode": OfFunctions,
    "dispatch mode": OfOperations,
    "saved tensors' hooks": lambda: torch.autograd.graph.saved_tensors_hooks(same, same),
    "hook of all modules": hook_of_all_modules,
    "profiler": torch.profiler.profile,
    "anomaly mode": torch.autograd.detect_anomaly,
}


def watched(model: st.SpikingNet) -> Any:
    with st.SpikeMonitor(model) as monitor:
        out = model(X)
    return out, [*monitor.metrics().values()]


def of_a_copy(model: st.SpikingNet) -> Any:
    other: Any = copy.deepcopy(model)
    other.net.factor = 3.0
    return other(X)


CALLS: dict[str, Callable[[st.SpikingNet], Any]] = {
    "gradient of x": lambda model: (
        torch.autograd.grad(model(leaf := X.clone().requires_grad_()).sum(), leaf)[0].mul(2**12).round()
    ),
    "not contiguous": lambda model: model(X.transpose(0, 1).contiguous().transpose(0, 1)),
    "another shape": lambda model: model(X[:2]),
    "one step": lambda model: model(X[:, :1], False),
    "wrong features": lambda model: model(X[..., :5]),
    "no samples": lambda model: model(X[:0]),
    "a parameter": lambda model: model(nn.Parameter(X)),
    "double": lambda model: model(X.double()),
    "negative bit": lambda model: model(torch._neg_view(X)),
    "NaN": lambda model: model(X.clone().index_fill_(1, torch.tensor([3]), float("nan"))),
    "init of each sample": lambda model: model(X, torch.tensor([True, False, True, False])),
    "lengths": lambda model: model(X, lengths=[6, 1, 3, 2]),
    "goes on": lambda model: (model(X), model(X, False)),
    "goes on in another thread": lambda model: at_once(lambda: outcome(partial(model, X, False)))[0],
    "vmap": lambda model: torch.func.vmap(model)(torch.stack([X, -X])),
    "checkpoint": lambda model: checkpoint(model, X.clone().requires_grad_(), use_reentrant=False),
    "monitor": watched,
    "a copy that has changed": of_a_copy,
    "record": lambda model: [*st.record(model, X, "v").values()],
    "run": lambda model: st.run(model, None, X)[2],
}


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        return type(error)


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.requires_grad == other.requires_grad and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and alike([*one.values()], [*other.values()])
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


@pytest.fixture(params=[True, False], ids=["graph", "no graph"])
def models(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[st.SpikingNet, st.SpikingNet]]:
    """Yield a network whose calls have a plan, those that go on as well without gradients, and the same one that steps.

    Gradients are recorded meanwhile, or not.
    """
    runs, run = [], CallPlan.run

    def counted(*args: Any) -> Tensor | None:
        runs.append(run(*args))
        return runs[-1]

    monkeypatch.setattr(CallPlan, "run", counted)
    made = fresh("auto"), fresh("step")
    with torch.set_grad_enabled(request.param):
        for model in made:
            before = [model(X, init) for init in (True, True, True, False, False, False)]
            assert alike(before[0], before[2])
            assert before[0].any()
        assert [out is not None for out in runs] == [True] * 4 * PLANNED
        assert bool(made[0].explain().decides) is not PLANNED
        yield made


@pytest.mark.parametrize("name", CHANGES)
def test_change(name: str, models: tuple[st.SpikingNet, st.SpikingNet], monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = [model(X) for model in models]
    for model in models:
        CHANGES[name](model, monkeypatch)
    for init in (False, True, True):
        found, wanted = [outcome(partial(model, X, init)) for model in models]
        assert alike(found, wanted), (name, found, wanted)
        assert alike(outcome(models[0].get_state), outcome(models[1].get_state))
    assert name in UNSEEN or not alike(found, before)


@pytest.mark.parametrize("name", WITHIN)
def test_mode(name: str, models: tuple[st.SpikingNet, st.SpikingNet]) -> None:
    for _ in range(3):
        found = []
        for model in models:
            with WITHIN[name]():
                found.append(outcome(partial(model, X)))
        assert alike(*found), (name, *found)
    assert alike(*[model(X) for model in models])


@pytest.mark.parametrize("name", CALLS)
def test_call(name: str, models: tuple[st.SpikingNet, st.SpikingNet]) -> None:
    for _ in range(3):
        found, wanted = [outcome(partial(CALLS[name], model)) for model in models]
        assert alike(found, wanted), (name, found, wanted)
    assert alike(*[model(X) for model in models])


def test_a_nan_that_no_layer_gets_is_found() -> None:
    model = st.SpikingNet(nn.Sequential(Above(), st.LIF(decay=0.5)))
    for _ in range(3):
        model(X)
    assert bool(model.explain().decides) is not PLANNED
    with pytest.raises(ValueError, match="SpikingNet: x holds NaN"):
        model(X.clone().index_fill_(1, torch.tensor([3]), float("nan")))


def test_each_option_has_a_row() -> None:
    options = {*inspect.signature(st.SpikingNet).parameters} - {"net", "fold_rules"}  # which cannot be set later
    assert {f"option {name}" for name in options} <= CHANGES.keys()
