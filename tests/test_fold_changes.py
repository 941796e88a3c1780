"""What a model must notice after its first call, what it must leave as it was, and what it says."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.fold.rehearsal import check_same
from spikingtorch.layers.fold_token import FoldError
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, train
from tests.test_fold_attacks import centred, gated, homeostasis_no_grad, module_in_list, parameter

# --- what changes after the trial -------------------------------------------------------------------------------------


@dataclass
class Options:
    mix: bool = False


def by_dict(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x) if net.options["mix"] else x


def by_object(net: Any, x: Tensor, init: Any) -> Tensor:
    return centred(x) if net.options.mix else x


def by_function(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.normalise(x)
    return out


def by_buffer(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x - net.share * x.mean(0)
    return out


def by_none(net: Any, x: Tensor, init: Any) -> Tensor:
    return x if net.share is None else centred(x)


def through_norm(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.norm(x)
    return out


def set_dict(net: Any) -> None:
    net.options["mix"] = True


def set_object(net: Any) -> None:
    net.options.mix = True


def set_function(net: Any) -> None:
    net.normalise = centred


def set_buffer(net: Any) -> None:
    net.share = torch.ones((), dtype=torch.float64)


def adapt_at_test_time(net: Any) -> None:
    net.norm.track_running_stats = False
    net.norm.running_mean = net.norm.running_var = None


def set_training_in_list(net: Any) -> None:
    net.hidden[0].train()


CHANGED: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], None]]] = {
    "dict": (lambda: Two(by_dict, options={"mix": False}), set_dict),
    "object": (lambda: Two(by_object, options=Options()), set_object),
    "function": (lambda: Two(by_function, normalise=torch.relu), set_function),
    "buffer": (lambda: Two(by_buffer, share=torch.zeros((), dtype=torch.float64)), set_buffer),
    "none": (lambda: Two(by_none, share=None), set_buffer),
    "test_time_adaptation": (lambda: Two(through_norm, norm=nn.BatchNorm1d(4)), adapt_at_test_time),
    "training_of_a_hidden_module": (
        lambda: Two(module_in_list, hidden=[nn.BatchNorm1d(4, dtype=torch.float64).eval()]),
        set_training_in_list,
    ),
}


@pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")
@pytest.mark.parametrize("name", CHANGED)
def test_notices_a_change_after_the_first_call(name: str) -> None:
    make, change = CHANGED[name]
    torch.manual_seed(0)
    auto = st.SpikingNet(make().double().eval(), 3)
    auto(train())
    assert auto.explain().mode == "fold" or name == "buffer"  # a trial moves buffers, and sees what they could do
    change(auto.net)
    step = st.SpikingNet(copy.deepcopy(auto.net), 3, mode="step")
    assert_close(auto(train()), step(train()))


def test_trained_parameter_that_was_zero() -> None:
    torch.manual_seed(0)
    auto = st.SpikingNet(Two(gated, alpha=parameter(1)).double(), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto(train())
        with torch.no_grad():
            auto.get_parameter("net.alpha").fill_(2.0)
        step = st.SpikingNet(copy.deepcopy(auto.net), 3, mode="step")
        assert_close(auto(train()), step(train()))


@pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")
def test_notices_a_hook_of_all_modules_after_the_first_call() -> None:
    auto = st.SpikingNet(Two().double(), 3)
    auto(train())
    calls: list[int] = []

    def count(module: nn.Module, args: Any, out: Any) -> None:
        calls.append(1)

    handle = nn.modules.module.register_module_forward_hook(count)
    try:
        auto(train())
    finally:
        handle.remove()
    assert len(calls) == 7 * 5 + 1


@pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")
@pytest.mark.parametrize("inference", [False, True])
def test_buffer_written_in_place(inference: bool) -> None:
    torch.manual_seed(0)
    net = Two(homeostasis_no_grad, sl2=st.LIF(v0=torch.full((3,), 0.2))).double()
    outputs = []
    for mode in ("auto", "step"):
        model = st.SpikingNet(copy.deepcopy(net), 3, mode=mode)
        with torch.inference_mode(inference):
            outputs.append([model(train()).clone() for _ in range(2)])
    assert_close(outputs[0], outputs[1])


@pytest.mark.parametrize("inference", [False, True])
def test_record_in_place(inference: bool) -> None:
    def recorded(net: Any, x: Tensor, init: Any) -> Tensor:
        net.rate.mul_(0.9).add_(0.1 * x.detach().mean())
        return x

    torch.manual_seed(0)
    rates = []
    for mode in ("auto", "step"):
        model: Any = st.SpikingNet(Two(recorded, rate=torch.zeros((), dtype=torch.float64)).double(), 3, mode=mode)
        with torch.inference_mode(inference), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.net.rate = torch.zeros((), dtype=torch.float64)
            model(train())
        rates.append(model.net.rate.item())
    assert rates[0] == pytest.approx(rates[1])


# --- memory that is shared --------------------------------------------------------------------------------------------


def halved_in_place(net: Any, x: Tensor, init: Any) -> Tensor:
    return x.mul_(0.5)


def halved_then_failure(net: Any, x: Tensor, init: Any) -> Tensor:
    x = x.mul_(0.5)
    if x.shape[0] > 16:
        raise ValueError("at most 16 samples")
    return x


class PassThrough(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        super().forward(x, init)
        return x[:, :3]


@pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")
@pytest.mark.parametrize("layout", ["contiguous", "time first", "one image for all steps"])
@pytest.mark.parametrize("code", [halved_in_place, halved_then_failure])
def test_writes_on_its_input(code: Any, layout: str) -> None:
    torch.manual_seed(0)
    net = Two(code).double()
    outputs, left = [], []
    for mode in ("auto", "step"):
        x = 2 * train()
        if layout == "time first":
            x = x.transpose(0, 1).contiguous().transpose(0, 1)
        elif layout == "one image for all steps":
            x = x[:, :1].clone().expand(-1, 7, -1)
        outputs.append(st.SpikingNet(copy.deepcopy(net), 3, mode=mode)(x))
        left.append(x)
    assert_close(outputs[0], outputs[1])
    assert_close(left[0], left[1])


def test_output_is_no_view_of_the_input() -> None:
    x = train()
    before = x.clone()
    st.SpikingNet(PassThrough().double(), 3)(x).add_(1.0)
    assert torch.equal(x, before)


# --- what is said about it --------------------------------------------------------------------------------------------


def test_last_chunk_of_one_step_does_not_hide_the_others() -> None:
    model = st.SpikingNet(Two().double(), 3, time_chunk=3)
    model(train())
    assert model.explain().mode == "fold"


def test_warns_once_in_training_and_evaluation() -> None:
    def noisy(net: Any, x: Tensor, init: Any) -> Tensor:
        return centred(x) + (0.1 * torch.randn(4) if net.training else 0.0)

    model = st.SpikingNet(Two(noisy).double(), 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for training in (True, False, True, False):
            model.train(training)(train())
    assert len(caught) == 1, [str(warning.message) for warning in caught]


def test_warns_once_for_images_of_several_sizes() -> None:
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sl = st.LIF()

        def forward(self, x: Tensor, init: bool) -> Tensor:
            assert x.shape[0] <= 20, f"{tuple(x.shape)}"
            out: Tensor = self.sl(x.flatten(1)[:, :3], init)
            return out

    model = st.SpikingNet(Images(), 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for size in (4, 6, 8):
            model(torch.rand(5, 7, size, size))
    assert len(caught) == 1, [str(warning.message) for warning in caught]


def test_eight_refusals_in_training_leave_evaluation_alone() -> None:
    model: Any = st.SpikingNet(Two(through_norm, norm=nn.BatchNorm1d(4), temperature=1.0).double(), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in range(9):
            model.net.temperature = 0.9**epoch
            model(train())
    assert model.eval().explain(train()).mode == "fold", model.explain().reason


def test_warns_of_a_number_that_grows_at_the_first_call() -> None:
    def grows(net: Any, x: Tensor, init: Any) -> Tensor:
        net.steps += 1
        return x

    model = st.SpikingNet(Two(grows, steps=0).double(), 3)
    with pytest.warns(RuntimeWarning, match="changes steps"):
        model(train())


def test_tries_no_network_out_again_for_each_value_of_a_number() -> None:
    model: Any = st.SpikingNet(Two(lambda net, x, init: x * net.temperature, temperature=1.0).double(), 3)
    for epoch in range(50):
        model.net.temperature = 0.9**epoch
        model(train())
    assert len(model._policy._findings) < 20


def test_functional_call_with_computed_weights() -> None:
    """As a step of MAML: the weights are no leaves, and such tensors cannot be copied."""
    torch.manual_seed(0)
    model = st.SpikingNet(Two().double(), 3)
    weights = {name: 0.9 * weight for name, weight in model.named_parameters()}
    torch.func.functional_call(model, weights, (train(),))
    model(train())
    assert model.explain().mode == "fold", model.explain().reason


def test_no_trial_is_cached_from_inference_mode() -> None:
    torch.manual_seed(0)
    net = Two(homeostasis_no_grad, sl2=st.LIF(v0=torch.full((3,), 0.2))).double()
    model = st.SpikingNet(net, 3)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.explain(train())
    assert model.explain(train()).mode == "step"


def test_warning_points_at_the_call() -> None:
    model = st.SpikingNet(Two(lambda net, x, init: centred(x)).double(), 3)
    with pytest.warns(RuntimeWarning, match="step by step") as caught:
        model(train())
    assert caught[0].filename == __file__


def test_a_large_tensor_of_small_numbers_is_compared() -> None:
    want = torch.full((1_100_000,), 1e-12, dtype=torch.float64)
    check_same(want, want, "the gradient")
    with pytest.raises(FoldError, match="the gradient"):
        check_same(2 * want, want, "the gradient")
