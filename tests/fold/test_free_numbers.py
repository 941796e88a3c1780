"""What may change between calls without a new proof: numbers that only enter arithmetic, and settings of modules."""

import math
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold.free import as_stepped, counting, net_of
from tests.nets_that_step import Hole, centred, put, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


proofs = pytest.fixture(counting)


# --- numbers ----------------------------------------------------------------------------------------------------------

ARITHMETIC: dict[str, Hole] = {
    "divides": lambda net, x, init: x / net.rate,
    "with other numbers": lambda net, x, init: x * (2.0 - 0.5 * net.rate) ** 2,
    "in a text": lambda net, x, init: x * net.rate if x.ndim < 9 else x * len(f"{x.shape}"),
    "bounds": lambda net, x, init: x.clamp(max=net.rate),
    "as a tensor": lambda net, x, init: x * torch.tensor(net.rate) + torch.tensor(net.rate, dtype=torch.float64),
    "chosen by entries": lambda net, x, init: torch.where(x > net.rate, x, net.rate * x),
}


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("counts", [False, True])
def test_a_number_that_enters_arithmetic_needs_no_new_proof(name: str, counts: bool, proofs: list[int]) -> None:
    net = net_of(ARITHMETIC[name], rate=1.0)
    model = st.SpikingNet(net, 3)
    for call in range(12):
        net.rate = 1 + call if counts else 0.9**call
        assert as_stepped(net, model) == "fold"
    assert len(proofs) == 3  # of the first value, of the second, and of all


CHOICES = {0.2: "low"}
LOWEST, LOW, LOW_HASH = 0.2, Counter({0.2: 1}), hash(0.2)
DECIDES: dict[str, Callable[[float], Any]] = {
    "a condition": lambda rate: rate > 0.35,
    "its truth": lambda rate: rate - 0.2,
    "math": lambda rate: math.exp(rate) > 1.5,
    "numpy": lambda rate: np.exp(rate) > 1.5,
    "rounded": lambda rate: round(rate * 2.0),
    "a whole number": lambda rate: int(rate * 3.0),
    "a text": lambda rate: f"{rate}" != "0.2",
    "a longer text": lambda rate: len(str(rate)) > 3,
    "a key": lambda rate: rate not in CHOICES,
    "a key of a table": lambda rate: CHOICES.get(rate) is None,
    "its kind": lambda rate: not (isinstance(rate, float) and rate < 0.3),
    "an index": lambda rate: [0, 1, 1, 1][int(rate * 4.0)],
    "a maximum": lambda rate: max(rate, 0.3) - 0.3,
    "sorted": lambda rate: sorted([rate, 0.3])[0] == 0.3,
    "a pattern": lambda rate: _matched(rate),
    "equality": lambda rate: rate != 0.2,
    "a size": lambda rate: torch.ones(int(rate * 5)).numel() > 1,
    "a key of a Counter": lambda rate: not LOW[rate],
    "a key of a dict that is made": lambda rate: len({0.2: 1, rate: 1}) == 2,
    "a key that is popped": lambda rate: {0.2: False}.pop(rate, True),
    "a key that is computed": lambda rate: not LOW[rate * 1.0],
    "a member of an Enum": lambda rate: Kind(rate) is Kind.HIGH,
    "its hash": lambda rate: rate.__hash__() != LOW_HASH,
    "what tensors have": lambda rate: getattr(rate, "ndim", None) is None and rate != 0.2,
    "a scalar of numpy": lambda rate: np.isscalar(rate) and rate != 0.2,
    "a comparison with True": lambda rate: (rate != 0.2) is True,
    "its identity": lambda rate: rate is not LOWEST,
}


class Kind(Enum):
    LOW = 0.2
    HIGH = 1.0

    @classmethod
    def _missing_(cls, value: object) -> "Kind":
        return cls.HIGH


def _matched(rate: Any) -> bool:
    match rate:
        case float(x) if x < 0.3:
            return False
    return True


@pytest.mark.sampled
@pytest.mark.parametrize("name", DECIDES)
def test_a_number_that_decides_is_proven_anew(name: str) -> None:
    asks = DECIDES[name]
    net = net_of(lambda net, x, init: centred(x) if asks(net.rate) else x * net.rate, rate=0.2)
    model = st.SpikingNet(net, 3)
    modes = {}
    for net.rate in (LOWEST, LOWEST, 0.71, LOWEST, 0.93, 0.71):
        modes[net.rate] = as_stepped(net, model)
    assert modes == {0.2: "fold", 0.71: "step", 0.93: "step"}


def test_a_number_that_is_multiplied_with_truth_values(proofs: list[int]) -> None:
    net = net_of(lambda net, x, init: net.linear((x > 0.5) * net.rate), linear=nn.Linear(4, 4), rate=1.0).float()
    model = st.SpikingNet(net, 3)
    for call in range(12):
        net.rate = 0.9**call
        model(train(dtype=torch.float32))
        assert model.explain().mode == "fold"
    assert len(proofs) == 3


def test_a_number_that_comes_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = 0.2

        def forward(self, x: Tensor) -> Tensor:
            return x * self.rate

    net = net_of(lambda net, x, init: net.scaled(x), scaled=Scaled())
    model = st.SpikingNet(net, 3)
    for net.scaled.rate in (0.2, 0.3, 0.4):
        assert as_stepped(net, model) == "fold"
    decides = lambda self, x: centred(x) if isinstance(self.rate, float) and self.rate > 0.5 else x  # noqa: E731
    monkeypatch.setattr(Scaled, "forward", decides)
    for net.scaled.rate, mode in ((0.4, "fold"), (0.6, "step"), (0.3, "fold"), (0.8, "step")):
        assert as_stepped(net, model) == mode


# --- modules of torch -------------------------------------------------------------------------------------------------


def anneal(net: Any, call: int) -> None:
    net.module.p = 0.1 + 0.05 * call


def slow(net: Any, call: int) -> None:
    net.module.momentum = 0.1 / (1 + call)


def count(net: Any, call: int) -> None:
    net.module.epoch = call


SETTINGS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, int], None]]] = {
    "dropout": (lambda: nn.Dropout(0.1), anneal),
    "dropout of channels": (lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Dropout1d(0.1), nn.Flatten()), count),
    "batch norm": (lambda: nn.BatchNorm1d(4), slow),
    "a Sequential": (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), count),
    "a Linear": (lambda: nn.Linear(4, 4), count),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_torchs_modules_need_no_new_proof(name: str, proofs: list[int]) -> None:
    make, change = SETTINGS[name]
    net = net_of(lambda net, x, init: net.module(x), module=make())
    model, step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")
    for call in range(6):
        change(net, call)
        if "dropout" in name:  # draws other masks
            model(train()).sum().backward()
        else:
            state = {key: each.clone() for key, each in net.state_dict().items()}
            out, after = model(train()), [each.clone() for each in net.state_dict().values()]
            net.load_state_dict(state)
            assert_close([out, *after], [step(train()), *net.state_dict().values()])
        assert model.explain().mode == "fold"
    assert len(proofs) == 1


# the code, its attributes, and what is set before each call: the last decides whether it folds
TURNS: dict[str, tuple[Hole, dict[str, Any], list[tuple[dict[str, Any], str]]]] = {
    "a truth value": (
        lambda net, x, init: centred(x) if net.rate is True else x * net.rate,
        {"rate": 1},
        [({"rate": rate}, "step" if rate is True else "fold") for rate in (1, 2, 3, True, 4, True)],
    ),
    "in training alone": (
        lambda net, x, init: centred(x) if net.training and net.rate > 0.5 else x * net.rate,
        {"rate": 0.2},
        [
            ({"training": training, "rate": rate}, "step" if training and rate > 0.5 else "fold")
            for training, rate in zip((0, 0, 1, 1, 0, 1, 1), (0.2, 0.3, 0.3, 0.7, 0.7, 0.4, 0.8), strict=True)
        ],
    ),
    "the probability of a dropout": (
        lambda net, x, init: centred(x) if net.module.p > 0.3 else x,
        {"module": nn.Dropout(0.1)},
        [({"module.p": p}, "step" if p > 0.3 else "fold") for p in (0.1, 0.2, 0.4, 0.1)],
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_a_number_that_decides_now_and_then(name: str) -> None:
    code, attributes, calls = TURNS[name]
    net = net_of(code, **attributes)
    model = st.SpikingNet(net, 3)
    for settings, mode in calls:
        for path, value in settings.items():
            put(path, bool(value) if path == "training" else value)(net)
        assert as_stepped(net, model) == mode


def test_dropout_of_none_or_all() -> None:
    net = net_of(lambda net, x, init: net.module(x), module=nn.Dropout(0.5))
    model = st.SpikingNet(net, 3)
    for net.module.p in (0.5, 0.0, 1.0, 0.5, 1.0, 0.0):
        if net.module.p != 0.5:
            assert as_stepped(net, model) == "fold"
        else:
            model(train())
