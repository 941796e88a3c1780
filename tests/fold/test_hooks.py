"""Hooks of users that only look, called once with all steps on request, and hooks that torch or others put there."""

import copy
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

import spikingtorch as st
from spikingtorch.testing import assert_close

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet.*step by step:RuntimeWarning")
X = 2.0 * torch.rand(5, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(mode: Any = "auto", **options: Any) -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), st.LIF(v0=0.1), nn.Linear(8, 3), st.LIF(v0=0.1))
    return st.SpikingNet(net.double(), warn_silent=False, mode=mode, **options)


WANTED = network("step")(X).detach()


def looked_at(**options: Any) -> tuple[Any, list[Any]]:
    """Return a network, and the shapes of what a hook on its first layer sees."""
    model, seen = network(**options), list[Any]()
    model.net[0].register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    return model, seen


# --- of users ---------------------------------------------------------------------------------------------------------


def test_steps_by_default_and_says_what_would_let_it_fold() -> None:
    model, seen = looked_at()
    with pytest.warns(RuntimeWarning, match=r"hooks on 0.*To let it fold, .*pass hooks='sequence'"):
        model(X)
    assert seen == [(5, 8)] * 7


def test_are_called_once_with_all_steps() -> None:
    model, seen = looked_at(hooks="sequence")
    for _ in range(2):
        assert_close(model(X), WANTED)
    assert model.explain().mode == "fold"
    assert seen == [(35, 8)] * 2  # and not when the network was looked at
    found: list[Any] = []
    handle = model.net[2].register_forward_hook(lambda *args: found.append((len(args[1]), args[2])), with_kwargs=True)
    model(X)
    handle.remove()
    model(X)
    assert found == [(1, {})]


def test_one_that_returns_something_steps() -> None:
    model = network(hooks="sequence")
    model(X)
    assert model.explain().mode == "fold"
    model.net[0].register_forward_hook(lambda module, args, out: out - out.mean(0))
    assert_close(model(X), st.SpikingNet(model.net, mode="step")(X))
    assert "has a forward hook that returns something" in model.explain().reason
    model.hooks = "step"  # what was found out when hooks were only looking counts no more
    model(X)
    assert "has hooks on 0" in model.explain().reason


@pytest.mark.parametrize("register", ["register_forward_pre_hook", "register_full_backward_hook"])
def test_others_step(register: str) -> None:
    model, _ = looked_at(hooks="sequence")
    getattr(model.net[2], register)(lambda *args: None)
    assert model.explain(X).mode == "step"


# --- of torch, and of what drives it ----------------------------------------------------------------------------------


def test_operations_are_counted_and_modules_tracked_in_a_fold() -> None:
    flops = []
    for mode in ("step", "auto"):
        model, found = network(mode), []
        with FlopCounterMode(display=False) as counter, ModuleTracker() as tracker:
            model(X).sum().backward()
            found += [*tracker.parents]
        assert found == ["Global"]  # all that was entered has been left
        assert model.explain().mode == mode.replace("auto", "fold")
        flops.append(counter.get_total_flops())
        # nothing of the copy that a proof runs
        assert not [name for name in counter.get_flop_counts() if name.startswith("Sequential")]
    assert flops[0] == flops[1] > 0


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_hook_of_the_users_on_all_modules_steps_while_it_is_there(kind: str) -> None:
    model, seen = network(), []
    model(X)
    hook = getattr(torch_module, f"register_module_{kind}_hook")(lambda *args: seen.append(1))
    with hook, pytest.warns(RuntimeWarning, match="hooks of all modules"), FlopCounterMode(display=False):
        model(X)
    assert len(seen) == (5 * 7 + 1 if "forward" in kind else 0)
    model(X)
    assert model.explain().mode == "fold"


def observed(observer: str, mode: str) -> tuple[st.SpikingNet, Tensor, dict[str, Tensor]]:
    model = network(mode)
    with warnings.catch_warnings(action="ignore"):  # torch.ao is deprecated
        quantization: Any = pytest.importorskip("torch.ao.quantization")
        made = getattr(quantization, observer).with_args(dtype=torch.quint8)
        model.net.qconfig = quantization.QConfig(made, quantization.default_weight_observer)
        quantization.prepare(model.net, inplace=True)
        out = model(X)
        model(X / 2)
    found = {name: value for name, value in model.state_dict().items() if "activation_post_process" in name}
    return model, out, found


@pytest.mark.parametrize("observer", ["MinMaxObserver", "MovingAverageMinMaxObserver", "HistogramObserver"])
def test_observers_see_what_they_see_step_by_step(observer: str) -> None:
    _, out, steps = observed(observer, "step")
    model, folded, found = observed(observer, "auto")
    assert_close(folded, out)
    assert found.keys() == steps.keys() != set()
    assert all(map(torch.equal, found.values(), steps.values()))
    assert model.explain(X).mode == ("fold" if observer == "MinMaxObserver" else "step")


def of_torch(inner: Any, module: str = "torch.distributed.tensor._api") -> Any:
    """Return a hook that seems to be defined by a module of torch's, and calls what it closes over."""

    def hook(module: nn.Module, args: Any) -> None:
        if inner is not None:
            inner(module, args)

    hook.__module__ = module
    return hook


def user(*args: Any) -> None: ...


@pytest.mark.parametrize("place", ["pytorch_lightning", "lightning.pytorch"])
def test_a_summary_of_lightning_does_not_make_a_network_step(place: str) -> None:
    model, seen = network(), []

    def hook(module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:
        seen.append(out.shape)

    hook.__module__ = f"{place}.utilities.model_summary.model_summary"
    model.net[0].register_forward_hook(hook, with_kwargs=True)
    assert_close(model(X), WANTED)
    assert model.explain().mode == "fold"
    assert seen == [(35, 8)]


HOOKS: dict[str, tuple[Any, str]] = {
    "torch's": (of_torch(None), "fold"),
    "torch's, of another one": (of_torch(of_torch(None)), "fold"),
    "torch's, in a partial": (partial(of_torch(None)), "fold"),
    "the user's": (user, "step"),
    "torch's, of the user's": (of_torch(user), "step"),
    "torch's, of torch's, of the user's": (of_torch(of_torch(user)), "step"),
    "torch's, in a partial with the user's": (partial(lambda inner, module, args: None, user), "step"),
}


@pytest.mark.parametrize("name", HOOKS)
def test_a_function_of_the_users_in_a_hook_of_torchs(name: str) -> None:
    hook, mode = HOOKS[name]
    model = network()
    model.net[0].register_forward_pre_hook(hook)
    assert model.explain(X).mode == mode


def test_weights_that_hooks_of_torch_compute() -> None:
    model, twin = network(), network("step")
    with warnings.catch_warnings(action="ignore"):  # these hooks are deprecated
        for each in (model, twin):
            torch.nn.utils.weight_norm(each.net[0])
        copied = copy.deepcopy(model.net.state_dict())
        for _ in range(2):
            assert_close(model(X), twin(X))
    assert model.explain().mode == "fold"
    assert copied.keys() == model.net.state_dict().keys()


class Named(nn.Sequential):
    """A network that reads a text, so that each change of it is a new network."""

    name = ""

    def forward(self, input: Tensor) -> Any:
        out = nn.Sequential.forward(self, input)  # type: ignore[no-untyped-call]
        return 2.0 * out if self.name == "twice" else out


@pytest.mark.parametrize("talks", [True, False])
def test_a_network_that_talks_to_other_processes_is_examined_however_often_it_changes(talks: bool) -> None:
    model: Any = st.SpikingNet(Named(nn.Linear(6, 8), st.LIF()).double(), warn_silent=False)
    if talks:
        model.net[0].register_forward_pre_hook(of_torch(None, "torch.distributed.fsdp._fully_shard._fsdp_state"))
    modes = []
    for turn in range(12):
        model.net.name = str(turn)
        model(X)
        modes.append(model.explain().mode)
    assert (set(modes) == {"fold"}) == talks
