"""What other libraries save of their neurons, written by hand, loads into layers of spikingtorch.like."""

import copy
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import like


class Saved(NamedTuple):
    """A layer, what the other library saves of its neuron, and what the layer is to be afterwards."""

    make: Callable[[], Any]
    state: dict[str, Tensor]
    numbers: dict[str, Any]


def of(**numbers: float) -> dict[str, Tensor]:
    return {name: torch.tensor(number) for name, number in numbers.items()}


_SNNTORCH = of(threshold=0.75, graded_spikes_factor=1.0, reset_mechanism_val=0, beta=0.5)
_WEIGHTS = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
_BACK = {f"recurrent.{name}": each for name, each in _WEIGHTS.items()}
SAVED: dict[str, Saved] = {
    "snntorch.Leaky": Saved(lambda: like.snntorch.Leaky(0.9), _SNNTORCH, {"beta": 0.5, "threshold": 0.75}),
    "snntorch.Leaky-learned": Saved(lambda: like.snntorch.Leaky(0.9, learn_beta=True), _SNNTORCH, {"beta": 0.5}),
    "snntorch.Synaptic": Saved(
        lambda: like.snntorch.Synaptic(0.9, 0.9), {**_SNNTORCH, **of(alpha=0.25)}, {"alpha": 0.25, "beta": 0.5}
    ),
    "snntorch.Lapicque": Saved(
        lambda: like.snntorch.Lapicque(0.9), {**_SNNTORCH, **of(R=2.0, C=4.0, time_step=1.0)}, {"R": 2.0, "C": 4.0}
    ),
    "snntorch.RLeaky": Saved(
        lambda: like.snntorch.RLeaky(0.9, linear_features=2),
        {**_SNNTORCH, **_BACK},
        {"beta": 0.5, "recurrent.weight": torch.ones(2, 2), "recurrent.bias": torch.ones(2)},
    ),
    "snntorch.RLeaky-one": Saved(
        lambda: like.snntorch.RLeaky(0.9, all_to_all=False),
        {**_SNNTORCH, "V": torch.tensor(0.5), "recurrent.V": torch.tensor(0.5)},
        {"V": 0.5},
    ),
    "spikingjelly.LIFNode": Saved(lambda: like.spikingjelly.LIFNode(3.0), {}, {"tau": 3.0}),
    "spikingjelly.ParametricLIFNode": Saved(lambda: like.spikingjelly.ParametricLIFNode(), of(w=0.5), {"w": 0.5}),
    "norse.LIFCell": Saved(lambda: like.norse.LIFCell(), {}, {"v_th": 1.0}),
    "norse.LIFRecurrentCell": Saved(
        lambda: like.norse.LIFRecurrentCell(3, 2),
        {"input_weights": torch.ones(2, 3), "recurrent_weights": torch.ones(2, 2)},
        {"input_weights": torch.ones(2, 3), "recurrent_weights": torch.ones(2, 2)},
    ),
    "sinabs.LIF": Saved(
        lambda: like.sinabs.LIF(3.0),
        {**of(tau_mem=5.0, spike_threshold=0.5), "v_mem": torch.ones(4, 2)},
        {"tau_mem": 5.0, "spike_threshold": 0.5},
    ),
    "sinabs.ALIF": Saved(
        lambda: like.sinabs.ALIF(3.0, 4.0),
        {**of(tau_mem=5.0, tau_adapt=6.0), **dict.fromkeys(("v_mem", "b", "spike_threshold"), torch.ones(4, 2))},
        {"tau_mem": 5.0, "tau_adapt": 6.0, "spike_threshold": 1.0},
    ),
    "sinabs.LIFRecurrent": Saved(
        lambda: like.sinabs.LIFRecurrent(3.0, nn.Linear(2, 2)),
        {
            **of(tau_mem=5.0, spike_threshold=0.5),
            "v_mem": torch.ones(4, 2),
            **{f"rec_connect.{name}": each for name, each in _WEIGHTS.items()},
        },
        {"rec_connect.weight": torch.ones(2, 2), "recurrent.bias": torch.ones(2), "tau_mem": 5.0},
    ),
}


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("place", ["", "lif."])
def test_what_they_save_loads_without_a_warning(name: str, place: str) -> None:
    make, state, numbers = SAVED[name]
    layer = make()
    net = nn.ModuleDict({"lif": layer, "l": nn.Linear(1, 1)}) if place else layer
    given = {f"{place}{key}": each for key, each in state.items()}
    given |= {key: each for key, each in net.state_dict().items() if place and key.startswith("l.")}
    before = copy.deepcopy(given)
    with warnings.catch_warnings(action="error"):
        net.load_state_dict(given)
    for path, number in numbers.items():
        found: Any = layer
        for part in path.split("."):
            found = getattr(found, part)
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(number)), path
    assert given.keys() == before.keys()  # which is the caller's
    # and a checkpoint of ours holds all of it
    again = make()
    again.load_state_dict(layer.state_dict())
    assert repr(again) == repr(layer)


# what is said, a layer, and what is loaded into it
WRONG: dict[str, tuple[Callable[[], nn.Module], dict[str, Tensor]]] = {
    "the layer (Leaky): reset_mechanism is 'subtract' in the checkpoint and 'zero' in the layer": (
        lambda: like.snntorch.Leaky(0.9, reset_mechanism="zero"),
        _SNNTORCH,
    ),
    (
        "the layer (Leaky): beta has shape (5,) in the checkpoint, and is a number in the layer; make it with "
        "beta=torch.empty(5,)"
    ): (lambda: like.snntorch.Leaky(0.9), {**_SNNTORCH, "beta": torch.rand(5)}),
    'Unexpected key(s) in state_dict: "graded_spikes_factor"': (
        lambda: like.snntorch.Synaptic(0.9, 0.9),
        {**_SNNTORCH, **of(alpha=0.25, graded_spikes_factor=0.5)},
    ),
    'Unexpected key(s) in state_dict: "tau_mem"': (lambda: like.sinabs.IAF(), of(tau_mem=5.0)),
    "Missing key(s) in state_dict: ": (lambda: like.norse.LSNNRecurrentCell(2, 2), {}),
    'Missing key(s) in state_dict: "alpha"': (lambda: like.snntorch.Synaptic(torch.rand(3), 0.9), _SNNTORCH),
    "the layer (IAF): spike_threshold has shape (2,)": (
        lambda: like.sinabs.IAF(),
        {"spike_threshold": torch.rand(2), "v_mem": torch.ones(3)},
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_raises(message: str) -> None:
    make, state = WRONG[message]
    layer = make()
    with warnings.catch_warnings(action="error"), pytest.raises(RuntimeError, match=re.escape(message)):
        layer.load_state_dict(state)
