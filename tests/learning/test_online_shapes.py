"""Online rules for convolutions, norms and dropout, and the memory of a long sequence."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import learning
from spikingtorch.learning.online_learner import Rule
from tests.learning.online_nets import CONSTANT, NEURONS, by_bptt, data, errors, network, online_gradients

pytestmark = pytest.mark.sampled

EXACT = 1e-12
CONVOLUTIONS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "1d, strided": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1), (2, 7)),
    "2d, same": (lambda: nn.Conv2d(2, 4, 3, padding="same"), (2, 5, 4)),
    "2d, groups": (lambda: nn.Conv2d(2, 4, (3, 2), padding=(1, 0), groups=2), (2, 4, 4)),
    "2d, dilated and circular": (lambda: nn.Conv2d(2, 4, 2, dilation=2, padding=1, padding_mode="circular"), (2, 4, 4)),
    "2d, without bias": (lambda: nn.Conv2d(2, 4, 1, bias=False), (2, 3, 3)),
    "3d": (lambda: nn.Conv3d(1, 2, 2), (1, 3, 3, 2)),
}


def louder(layers: list[nn.Module]) -> st.SpikingNet:
    """Return a network that fires."""
    for each in layers:
        if isinstance(each, (nn.Linear, nn.Conv2d)):
            with torch.no_grad():
                each.weight.mul_(3.0)
    return st.SpikingNet(nn.Sequential(*layers), mode="step").double()


def convolutional(name: str) -> tuple[st.SpikingNet, Tensor, Tensor]:
    make, shape = CONVOLUTIONS[name]
    torch.manual_seed(0)
    x, y = data(*shape, steps=6)
    module = make().double()
    size = module(x[:, 0])[0].numel()
    with torch.no_grad():
        module.weight.mul_(3.0)
    lif = st.LIF(tau=4.0, reset=CONSTANT)
    return st.SpikingNet(nn.Sequential(module, lif, nn.Flatten(), nn.Linear(size, 3))).double(), x, y


@pytest.mark.parametrize("rule", ["exact", "diagonal", "presynaptic"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_exact_in_one_layer(name: str, rule: Rule) -> None:
    model, x, y = convolutional(name)
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, rule), x, y), true).values()) < EXACT


@pytest.mark.parametrize("rule", ["diagonal", "presynaptic"])
def test_convolutional_recurrent_weights_have_traces(rule: Rule) -> None:
    """Both rules agree; the spikes that come back are left out in both."""
    torch.manual_seed(0)
    back = nn.Conv2d(2, 2, 3, padding="same", bias=False)
    layers = [nn.Conv2d(1, 2, 3), st.LIF(tau=4.0, reset=CONSTANT, recurrent=back), nn.Flatten(), nn.Linear(8, 3)]
    model, (x, y) = louder(layers), data(1, 4, 4, steps=8)
    true = by_bptt(model, x, y)
    learner = learning.online(model, rule)
    found = errors(online_gradients(learner, x, y), true)
    assert found["net.3.weight"] < EXACT
    assert 0.0 < found["net.1.recurrent.weight"] < 1.0
    assert "the past through recurrent spikes" in str(learner.explain())


@pytest.mark.parametrize("rule", ["exact", "last_step"])
def test_batch_norm_counts_each_step_once(rule: Rule) -> None:
    layers = [nn.Linear(4, 5), nn.BatchNorm1d(5), st.LIF(tau=4.0), nn.Linear(5, 3)]
    torch.manual_seed(0)
    model, (x, y) = st.SpikingNet(nn.Sequential(*layers), mode="step").double(), data()
    with torch.no_grad():
        layers[1].weight.add_(1.0)  # type: ignore[operator]
    norm: Any = model.net[1]  # type: ignore[index]
    true = by_bptt(model, x, y)
    mean = norm.running_mean.clone()
    norm.reset_running_stats()
    learner = learning.online(model, rule)
    found = online_gradients(learner, x, y)
    assert int(norm.num_batches_tracked) == x.shape[1]
    torch.testing.assert_close(norm.running_mean, mean)
    if rule == "exact":
        del true["net.0.bias"], found["net.0.bias"]  # the norm takes it off again
        assert max(errors(found, true).values()) < EXACT


def test_exact_follows_a_norm_that_mixes_the_states_of_samples() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5)
    layers = [nn.Linear(4, 6), st.LIF(tau=4.0), nn.Linear(6, 5, bias=False), norm, st.LIF(tau=4.0), nn.Linear(5, 3)]
    model, (x, y) = louder(layers), data()
    with torch.no_grad():
        norm.bias.add_(0.5)
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


def test_exact_repeats_the_masks_of_dropout() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), st.LIF(tau=4.0), nn.Dropout(0.3), nn.Linear(6, 5), st.LIF(tau=4.0), nn.Linear(5, 3)]
    model, (x, y) = louder(layers), data()
    torch.manual_seed(1)
    true = by_bptt(model, x, y)
    torch.manual_seed(1)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


def test_exact_is_bptt_without_any_state() -> None:
    torch.manual_seed(0)
    model, (x, y) = louder([nn.Linear(4, 6), st.McPitts(threshold=0.1), nn.Linear(6, 3)]), data()
    true = by_bptt(model, x, y)
    assert max(errors(online_gradients(learning.online(model, "exact"), x, y), true).values()) < EXACT


def tensors() -> dict[int, Tensor]:
    gc.collect()
    return {id(each): each for each in gc.get_objects() if isinstance(each, Tensor)}


@pytest.mark.parametrize("rule", ["exact", "diagonal", "presynaptic", "last_step"])
def test_memory_does_not_grow_with_the_number_of_steps(rule: Rule) -> None:
    others = tensors()  # held, so that what other tests have left is neither counted nor freed meanwhile
    model = network(NEURONS["LIF, detached subtraction"], 2)
    learner, x = learning.online(model, rule), torch.rand(2, 4, dtype=torch.float64)
    found = []
    for steps in (5, 40 if rule == "exact" else 400):
        for _ in range(steps):
            learner.backward(learner.step(x).square().sum())
        ours = [each for key, each in tensors().items() if key not in others]
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in ours}
        found.append((sum(storages.values()), len(ours)))
        del ours
    assert found[1] == found[0]
