"""The guard of a network: what it must notice between two calls, and that it holds where nothing has changed."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrizations, prune

import spikingtorch as st
from spikingtorch.fold.guard import NetworkGuard, modules_of
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, train
from tests.test_fold_attacks import centred

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


def mixing(net: Any, x: Tensor, init: Any) -> Tensor:
    """Mix the samples if anything asks for it."""
    asked = net.flag, net.count > 300, net.rate > 0.5, net.kind == "mix", net.maybe is not None, net.pair[0]
    return centred(x) if any(asked) or getattr(net, "late", False) else x


def normed(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.dropout(net.norm(net.inner(x)))
    return out


def plain(**more: Any) -> Any:
    """Return a network that holds one of each kind of attribute, in evaluation."""
    torch.manual_seed(0)
    values: dict[str, Any] = {"flag": False, "count": 257, "rate": 0.1, "kind": "as is", "maybe": None}
    held = nn.ModuleList([nn.Identity()]), nn.ModuleDict({"a": nn.ReLU()})
    net = Two(
        mixing,
        normed,
        **values,
        pair=(False, torch.relu),
        inner=nn.Sequential(nn.Linear(6, 6), nn.ReLU()),
        norm=nn.BatchNorm1d(6),
        dropout=nn.Dropout(0.0),
        extra=held[0],
        named=held[1],
        device=torch.device("cpu"),
        dtype=torch.float64,
        table=torch.ones(3),
        **more,
    )
    net.register_buffer("seen", torch.zeros(3))
    net.register_buffer("absent", None)
    return net.double().eval()


def look(net: nn.Module) -> NetworkGuard:
    guard = NetworkGuard(net)
    assert guard.is_exact
    assert guard.unchanged()
    return guard


# --- what changes -----------------------------------------------------------------------------------------------------


def put(path: str, value: Any) -> Callable[[Any], None]:
    owner, _, name = path.rpartition(".")
    return lambda net: setattr(net.get_submodule(owner), name, value)


def hook(path: str, register: str, answer: Any = None) -> Callable[[Any], None]:
    return lambda net: getattr(net.get_submodule(path), register)(lambda *args: answer)


def shout(self: Any, x: Tensor) -> Tensor:
    return x.relu() - x.relu().mean(0)


def replace_child(net: Any) -> None:
    net.inner[1] = nn.Tanh()


def delete_child(net: Any) -> None:
    del net.inner[1]


def put_anew(name: str, value: Any) -> Callable[[Any], None]:
    def change(net: Any) -> None:
        delattr(net, name)
        setattr(net, name, value)

    return change


def rename(net: Any) -> None:
    net.late = net.early
    del net.early


def no_statistics(net: Any) -> None:
    net.norm.running_mean = net.norm.running_var = None


CHANGES: dict[str, Callable[[Any], Any]] = {
    "train": lambda net: net.train(),
    "train one": lambda net: net.norm.train(),
    "train a layer": lambda net: net.sl1.train(),
    "train one that is deep": lambda net: net.inner[1].train(),
    "module replaced": put("dropout", nn.Identity()),
    "module of a list replaced": replace_child,
    "module added": lambda net: net.add_module("more", nn.ReLU()),
    "module added to a list": lambda net: net.extra.append(nn.ReLU()),
    "module added to a dict": lambda net: net.named.update({"b": nn.ReLU()}),
    "module added to a layer": lambda net: net.sl1.add_module("more", nn.ReLU()),
    "module removed": delete_child,
    "module set to None": put("dropout", None),
    "layer replaced": put("sl1", st.IF()),
    "bool": put("flag", True),
    "int": put("count", 301),
    "float": put("rate", 0.9),
    "str": put("kind", "mix"),
    "None": put("maybe", 1),
    "tuple": put("pair", (True, torch.relu)),
    "function": put("before", lambda net, x, init: centred(x)),
    "device": put("device", torch.device("meta")),
    "dtype": put("dtype", torch.float32),
    "tensor": put("table", torch.zeros(3)),
    "attribute added": put("late", True),
    "attribute put anew": put_anew("flag", True),
    "attribute removed": lambda net: delattr(net, "kind"),
    "list in place of a float": put("rate", [0.1]),
    "forward": lambda net: setattr(net.inner[1], "forward", shout.__get__(net.inner[1])),
    "forward of a layer": lambda net: setattr(net.sl1, "forward", lambda x, init: x),
    "class": lambda net: setattr(net.inner[1], "__class__", nn.Tanh),
    "class of a layer": lambda net: setattr(net.sl1, "__class__", type("Mine", (st.LIF,), {})),
    "parametrized": lambda net: parametrizations.weight_norm(net.l1),
    "pruned": lambda net: prune.identity(net.l1, "weight"),
    "buffer set to None": put("seen", None),
    "buffer put in": put("absent", torch.ones(3)),
    "buffer replaced": put("seen", torch.ones(3)),
    "buffer added": lambda net: net.register_buffer("other", torch.ones(3)),
    "buffer added at the very end": lambda net: modules_of(net)[-1].register_buffer("other", torch.ones(3)),
    "buffers of a norm": no_statistics,
    "norm without statistics": put("norm.track_running_stats", False),
    "dropout": put("dropout.p", 0.5),
    "forward hook": hook("l1", "register_forward_hook"),
    "forward hook on the network": hook("", "register_forward_hook"),
    "forward hook on a layer": hook("sl1", "register_forward_hook"),
    "forward hook deep down": hook("inner.1", "register_forward_hook"),
    "forward pre-hook": hook("l1", "register_forward_pre_hook"),
    "forward pre-hook on a layer": hook("sl1", "register_forward_pre_hook"),
    "backward hook": hook("l1", "register_full_backward_hook"),
    "backward hook on a layer": hook("sl1", "register_full_backward_hook"),
    "backward pre-hook": hook("l1", "register_full_backward_pre_hook"),
    "backward pre-hook on a layer": hook("sl1", "register_full_backward_pre_hook"),
    "old backward hook": hook("l1", "register_backward_hook"),
    "hooks put anew": lambda net: setattr(net.l1, "_forward_hooks", OrderedDict({0: lambda *args: None})),
    "hooks put anew on a layer": lambda net: setattr(net.sl1, "_forward_hooks", OrderedDict({0: lambda *args: None})),
}
# after these it cannot run, or not be copied
ENDS = {"attribute removed", "module set to None", "list in place of a float", "old backward hook", "pruned"}


@pytest.mark.parametrize("name", CHANGES)
def test_notices(name: str) -> None:
    net = plain()
    guard = look(net)
    CHANGES[name](net)
    assert not guard.unchanged()


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - ENDS))
def test_decides_as_a_fresh_one(name: str) -> None:
    model = st.SpikingNet(plain(), 3)
    for _ in range(3):
        model(train())
    assert model._policy._guard is not None
    CHANGES[name](model.net)
    fresh = st.SpikingNet(copy.deepcopy(model.net), 3)
    torch.manual_seed(1)
    got = model(train())
    torch.manual_seed(1)
    want = fresh(train())
    assert_close(got, want)
    assert model.explain().mode == fresh.explain().mode


def test_notices_another_name() -> None:
    """The last attribute, with the same value under another name."""
    net = plain(early=True)
    guard = look(net)
    rename(net)
    assert not guard.unchanged()
    model = st.SpikingNet(plain(early=True), 3)
    model(train())
    assert model.explain().mode == "fold"
    rename(model.net)
    assert model.explain(train()).mode == "step"


@pytest.fixture
def handles() -> Iterator[list[Any]]:
    found: list[Any] = []
    yield found
    for handle in found:
        handle.remove()


@pytest.mark.parametrize(
    "register",
    [
        "register_module_forward_hook",
        "register_module_forward_pre_hook",
        "register_module_full_backward_hook",
        "register_module_full_backward_pre_hook",
    ],
)
def test_notices_hooks_of_all_modules(register: str, handles: list[Any]) -> None:
    net = plain()
    guard = look(net)
    handles.append(getattr(torch_module, register)(lambda *args: None))
    assert not guard.unchanged()
    assert not NetworkGuard(net).is_exact
    handles.pop().remove()
    assert guard.unchanged()


def test_a_hook_that_is_gone_again() -> None:
    net = plain()
    guard = look(net)
    handle = net.sl1.register_forward_hook(lambda *args: None)
    assert not NetworkGuard(net).is_exact
    handle.remove()
    assert guard.unchanged()


def test_hooks_dropped_and_registered_anew() -> None:
    """As those do who clear all hooks of a model by hand."""
    model = st.SpikingNet(plain(), 3)
    model(train())
    layer: Any = model.net.sl1
    layer._forward_hooks = OrderedDict()
    model(train())
    calls: list[int] = []
    layer.register_forward_hook(lambda *args: calls.append(1))
    model(train())
    assert len(calls) == train().shape[1]
