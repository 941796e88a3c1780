"""Hooks that torch puts on modules by itself, or what drives it: networks with them fold where that is the same."""

import copy
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

import spikingtorch as st
from spikingtorch.fold.hooks import Kind, kind_of
from spikingtorch.testing import assert_close


def network(mode: Any = "auto") -> st.SpikingNet:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), st.LIF(v0=0.1), nn.Linear(8, 3), st.LIF(v0=0.1))
    return st.SpikingNet(net.double(), warn_silent=False, mode=mode)


def inputs() -> Tensor:
    return 2.0 * torch.rand(5, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_operations_are_counted_in_a_fold() -> None:
    flops = []
    for mode in ("step", "auto"):
        model = network(mode)
        with FlopCounterMode(display=False) as counter:
            model(inputs()).sum().backward()
        assert model.explain().mode == mode.replace("auto", "fold")
        flops.append(counter.get_total_flops())
        # nothing of the copy that a proof runs
        assert not [name for name in counter.get_flop_counts() if name.startswith("Sequential")]
    assert flops[0] == flops[1] > 0


def test_modules_are_tracked_in_a_fold() -> None:
    model, found = network(), []
    with ModuleTracker() as tracker:
        model(inputs())
        found += [*tracker.parents]
    assert found == ["Global"]  # all that was entered has been left
    assert model.explain().mode == "fold"


def test_a_hook_of_the_users_on_all_modules_steps() -> None:
    model, seen = network(), []
    handle = register_module_forward_hook(lambda module, args, out: seen.append(module))
    try:
        with pytest.warns(RuntimeWarning, match="hooks of all modules"), FlopCounterMode(display=False):
            model(inputs())
    finally:
        handle.remove()
    assert len(seen) > 7


def observed(observer: str, mode: str) -> tuple[st.SpikingNet, Tensor, dict[str, Tensor]]:
    model = network(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        quantization: Any = pytest.importorskip("torch.ao.quantization")
        made = getattr(quantization, observer)
        model.net.qconfig = quantization.QConfig(
            made.with_args(dtype=torch.quint8), quantization.default_weight_observer
        )
        quantization.prepare(model.net, inplace=True)
        out = model(inputs())
        model(inputs() / 2)
    found = {name: value for name, value in model.state_dict().items() if "activation_post_process" in name}
    return model, out, found


@pytest.mark.parametrize("observer", ["MinMaxObserver", "MovingAverageMinMaxObserver", "HistogramObserver"])
def test_observers_see_what_they_see_step_by_step(observer: str) -> None:
    _, out, steps = observed(observer, "step")
    model, folded, found = observed(observer, "auto")
    assert_close(folded, out)
    assert found.keys() == steps.keys() != set()
    assert all(map(torch.equal, found.values(), steps.values()))
    assert model.explain(inputs()).mode == ("fold" if observer == "MinMaxObserver" else "step")


@pytest.mark.parametrize("place", ["pytorch_lightning", "lightning.pytorch"])
def test_a_summary_of_lightning_does_not_make_a_network_step(place: str) -> None:
    model, seen = network(), []

    def hook(module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:
        seen.append(out.shape)

    hook.__module__ = f"{place}.utilities.model_summary.model_summary"
    model.net.get_submodule("0").register_forward_hook(hook, with_kwargs=True)
    out = model(inputs())
    assert model.explain().mode == "fold"
    assert seen == [(35, 8)]
    assert_close(out, network()(inputs()))


def test_a_function_of_the_users_in_a_hook_of_torchs() -> None:
    def user(x: Any) -> Any:
        return x

    def of_torch(inner: Any) -> Any:
        def hook(module: nn.Module, args: Any) -> Any:
            return inner(args)

        hook.__module__ = "torch.distributed.tensor._api"
        return hook

    known, unknown = of_torch(of_torch(None)), of_torch(user)
    assert kind_of(known, None) is Kind.MOVES
    assert kind_of(partial(known, None), None) is Kind.MOVES
    for hook in (unknown, partial(known, user), user, of_torch(of_torch(user))):
        assert kind_of(hook, None) is None


def test_weights_that_hooks_of_torch_compute() -> None:
    model, twin = network(), network("step")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these hooks are deprecated
        for each in (model, twin):
            torch.nn.utils.weight_norm(each.net.get_submodule("0"))
        copied = copy.deepcopy(model.net.state_dict())
        for _ in range(2):
            assert_close(model(inputs()), twin(inputs()))
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
    model = st.SpikingNet(Named(nn.Linear(6, 8), st.LIF()).double(), warn_silent=False)

    def hook(module: nn.Module, args: Any) -> None: ...

    hook.__module__ = "torch.distributed.fsdp._fully_shard._fsdp_state"
    if talks:
        model.net.get_submodule("0").register_forward_pre_hook(hook)
    modes = []
    for turn in range(12):
        model.net.name = str(turn)  # type: ignore[assignment]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model(inputs())
        modes.append(model.explain().mode)
    assert (set(modes) == {"fold"}) == talks
