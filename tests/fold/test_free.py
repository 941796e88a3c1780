"""What may change between calls without a new proof: tensors of the same form, numbers that only enter arithmetic."""

import gc
import math
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from enum import Enum
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.nets_that_step import Hole, Two, centred, put, readout, train


def net_of(code: Hole, **attributes: Any) -> Any:
    torch.manual_seed(0)
    return readout(code, **attributes).double()


class Compared:
    """A network in mode "auto", whose calls are compared with its steps, forward and backward.

    Args:
        net: the network.
        draws: whether it draws random numbers, so that there is nothing to compare.
    """

    def __init__(self, net: Any, draws: bool = False) -> None:
        self.net, self.draws = net, draws
        self.model, self.step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")

    def __call__(self, N: int = 5) -> str:
        """Return how a call ran."""
        return self._compare(N, self.model)

    def known(self, N: int = 5) -> bool:
        """Return whether a call folds without a proof: the code of the network then runs once."""
        runs = 0

        def profile(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal runs
            runs += event == "call" and frame.f_code is Two.forward.__code__

        def watched(x: Tensor) -> Tensor:
            sys.setprofile(profile)
            try:
                out: Tensor = self.model(x)
            finally:
                sys.setprofile(None)
            return out

        return self._compare(N, watched) == "fold" and runs == 1

    def _compare(self, N: int, run: Callable[[Tensor], Tensor]) -> str:
        found = []
        for each in (run, self.step):
            x = train(N=N).requires_grad_()
            out = each(x)
            leaves = [x, *self.net.parameters()]
            found.append([out, *torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)])
        for a, b in zip(*found, strict=True):
            assert self.draws or a is b is None or torch.allclose(a, b, rtol=1e-10, atol=1e-12)
        return self.model.explain().mode


pytestmark = [pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning"), pytest.mark.usefixtures("one_thread")]

# --- numbers ----------------------------------------------------------------------------------------------------------

ARITHMETIC: dict[str, Hole] = {
    "with other numbers": lambda net, x, init: x / (2.0 + 0.5 * net.rate) ** 2,
    "in a text": lambda net, x, init: x * net.rate if x.ndim < 9 else x * len(f"{x.shape}"),
    "bounds": lambda net, x, init: x.clamp(max=net.rate),
    "as a tensor": lambda net, x, init: x * torch.tensor(net.rate) + torch.tensor(net.rate, dtype=torch.float64),
    "chosen by entries": lambda net, x, init: torch.where(x > net.rate, x, net.rate * x),
    "times truth values": lambda net, x, init: (x > 0.5) * net.rate * x,
}


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("counts", [False, True])
def test_a_number_that_enters_arithmetic_needs_no_new_proof(name: str, counts: bool) -> None:
    call = Compared(net_of(ARITHMETIC[name], rate=1.0))
    for number in range(4):  # there are proofs of the first value, of the second, and of all
        call.net.rate = 1 + number if counts else 0.9**number
        assert call() == "fold" if number < 2 else call.known()


LOWEST, LOW, LOW_HASH = 0.2, Counter({0.2: 1}), hash(0.2)


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


DECIDES: dict[str, Callable[[float], Any]] = {
    "a condition": lambda rate: rate > 0.35,
    "its truth": lambda rate: rate - 0.2,
    "math": lambda rate: math.exp(rate) > 1.5,
    "numpy": lambda rate: np.exp(rate) > 1.5,
    "rounded": lambda rate: round(rate * 2.0),
    "a whole number": lambda rate: int(rate * 3.0),
    "a text": lambda rate: f"{rate}" != "0.2",
    "a longer text": lambda rate: len(str(rate)) > 3,
    "a key of a table": lambda rate: {0.2: "low"}.get(rate) is None,
    "its kind": lambda rate: not (isinstance(rate, float) and rate < 0.3),
    "an index": lambda rate: [0, 1, 1, 1][int(rate * 4.0)],
    "a maximum": lambda rate: max(rate, 0.3) - 0.3,
    "sorted": lambda rate: sorted([rate, 0.3])[0] == 0.3,
    "a pattern": _matched,
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


@pytest.mark.sampled
@pytest.mark.parametrize("name", DECIDES)
def test_a_number_that_decides_is_proven_anew(name: str) -> None:
    asks = DECIDES[name]
    call = Compared(net_of(lambda net, x, init: centred(x) if asks(net.rate) else x * net.rate, rate=0.2))
    modes = {}
    for call.net.rate in (LOWEST, LOWEST, 0.71, LOWEST, 0.93, 0.71):
        modes[call.net.rate] = call()
    assert modes == {0.2: "fold", 0.71: "step", 0.93: "step"}


def test_a_number_that_comes_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(nn.Module):
        rate = 0.2

        def forward(self, x: Tensor) -> Tensor:
            return x * self.rate

    call = Compared(net_of(lambda net, x, init: net.scaled(x), scaled=Scaled()))
    for call.net.scaled.rate in (0.2, 0.3, 0.4):
        assert call() == "fold"
    decides = lambda self, x: centred(x) if isinstance(self.rate, float) and self.rate > 0.5 else x  # noqa: E731
    monkeypatch.setattr(Scaled, "forward", decides)
    for call.net.scaled.rate, mode in ((0.6, "step"), (0.3, "fold"), (0.8, "step")):
        assert call() == mode


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
            ({"training": bool(training), "rate": rate}, "step" if training and rate > 0.5 else "fold")
            for training, rate in ((0, 0.2), (0, 0.3), (1, 0.3), (1, 0.7), (0, 0.7), (1, 0.4), (1, 0.8))
        ],
    ),
    "the probability of a dropout": (
        lambda net, x, init: centred(x) if net.module.p > 0.3 else x,
        {"module": nn.Dropout(0.1)},
        [({"module.p": p}, "step" if p > 0.3 else "fold") for p in (0.1, 0.2, 0.4, 0.1)],
    ),
    "a dropout of none or all": (
        lambda net, x, init: net.module(x),
        {"module": nn.Dropout(0.0)},
        [({"module.p": p}, "fold") for p in (0.0, 1.0, 0.0, 1.0)],
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_a_number_that_decides_now_and_then(name: str) -> None:
    code, attributes, calls = TURNS[name]
    call = Compared(net_of(code, **attributes))
    for settings, mode in calls:
        for path, value in settings.items():
            put(path, value)(call.net)
        assert call() == mode


# a module of torch's, and what changes in it at each call
SETTINGS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[str, float]]]] = {
    "dropout": (lambda: nn.Dropout(0.1), lambda call: ("p", 0.1 + 0.05 * call)),
    "batch norm": (lambda: nn.BatchNorm1d(4), lambda call: ("momentum", 0.1 / (1 + call))),
    "a Sequential": (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), lambda call: ("epoch", call)),
    "a Linear": (lambda: nn.Linear(4, 4), lambda call: ("epoch", call)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_torchs_modules_need_no_new_proof(name: str) -> None:
    make, setting = SETTINGS[name]
    call = Compared(net_of(lambda net, x, init: net.module(x), module=make()), draws=name == "dropout")
    for number in range(3):
        attribute, value = setting(number)
        put(f"module.{attribute}", value)(call.net)
        assert call.known() if number else call() == "fold"


# --- tensors ----------------------------------------------------------------------------------------------------------


def masked(net: Any, x: Tensor, init: Any) -> Tensor:
    mask = net.masks["a"] if isinstance(net.masks, dict) else net.masks
    return x.mul(mask) * one(x) if net.asks else x.mul(mask)


def one(x: Tensor) -> float:
    """Ask for the number of samples."""
    return len(x) / x.shape[0]


def put_mask(net: Any, mask: Tensor) -> None:
    if isinstance(net.masks, dict):
        net.masks["a"] = mask
    else:
        net.masks = mask


HOLDERS = ["attribute", "buffer", "dict"]


def with_mask(holder: str, asks: bool = False) -> Any:
    mask = torch.ones(4, dtype=torch.float64)
    net = net_of(masked, masks={"a": mask} if holder == "dict" else mask, asks=asks)
    if holder == "buffer":
        del net.masks
        net.register_buffer("masks", mask)
    return net


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_new_mask_needs_no_new_proof_and_is_not_kept(holder: str) -> None:
    call = Compared(with_mask(holder))
    masks = []
    for number in range(4):
        mask = (torch.rand(4) < 0.5).double()
        put_mask(call.net, mask)
        assert call.known() if number else call() == "fold"
        masks.append(weakref.ref(mask))
        del mask
    gc.collect()
    assert [mask() is None for mask in masks] == [True] * 3 + [False]


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_mask_for_each_sample_is_proven_anew(holder: str) -> None:
    call = Compared(with_mask(holder))
    call()
    put_mask(call.net, torch.ones(5, 4, dtype=torch.float64))  # of a batch of five
    assert call() == "step"


def constant(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * torch.tensor([net.rate], dtype=x.dtype) * one(x)


@pytest.mark.parametrize("holder", [*HOLDERS, "number"])
def test_a_change_for_another_number_of_samples(holder: str) -> None:
    call = Compared(net_of(constant, rate=1.0) if holder == "number" else with_mask(holder, asks=True))
    for number, N in enumerate((5, 5, 3, 1)):
        if holder == "number":
            call.net.rate = 0.9**number
        else:
            put_mask(call.net, torch.full((4,), 0.9**number, dtype=torch.float64))
        assert call(N) == "fold", call.model.explain().reason


def test_a_network_that_asks_for_the_number_of_samples_is_proven_once_more_for_each() -> None:
    call = Compared(net_of(lambda net, x, init: x * (2.0 if len(x) in (3, 15) else 1.0)))
    for N in (5, 3, 4, 3, 15):
        assert call(N) == ("step" if N in (3, 15) else "fold")
    assert call.known(4)
    assert call.known(5)


OUTSIDE: dict[str, Tensor] = {}


def test_a_look_at_another_number_of_samples_leaves_a_new_mask_outside_of_the_network() -> None:
    OUTSIDE["mask"] = torch.ones(4, dtype=torch.float64)
    call = Compared(net_of(lambda net, x, init: x.mul(OUTSIDE["mask"])))
    assert call() == "fold"
    OUTSIDE["mask"] = mask = torch.full((4,), 2.0, dtype=torch.float64)
    assert call() == call(1) == "fold"
    assert OUTSIDE["mask"] is mask


def test_what_does_not_matter_needs_no_new_proof() -> None:
    """The form of a call without gradients is another one; weights, batches and lengths of the same form are not."""
    call = Compared(net_of(lambda net, x, init: net.norm(x), norm=nn.BatchNorm1d(4)).eval())
    for N in (5, 5, 2):
        assert call.known(N) if N == 2 else call(N) == "fold"
        with torch.no_grad():  # as an optimizer does
            call.net.l1.weight.mul_(0.9)
    for number in range(3):  # and so are fresh buffers
        buffers = {f"net.{key}": each.clone() + 0.1 * number for key, each in call.net.named_buffers()}
        assert_close(functional_call(call.model, buffers, train()), functional_call(call.step, buffers, train()))
        assert call.model.explain().mode == "fold"


@pytest.mark.long
def test_states_that_no_call_comes_back_to_are_let_go() -> None:
    class Options:
        def __init__(self) -> None:
            self.mask = torch.ones(4, dtype=torch.float64)

    call = Compared(net_of(lambda net, x, init: x * net.options.mask, options=Options()))
    masks = []
    for _ in range(40):
        call.net.options = Options()
        masks.append(weakref.ref(call.net.options.mask))
        call()
    gc.collect()
    assert sum(mask() is not None for mask in masks) <= 8 + 2 * 40 // 16 + 1


def test_a_decision_keeps_no_tensor() -> None:
    gc.collect()
    before = {id(each) for each in gc.get_objects() if isinstance(each, Tensor)}
    constant = torch.rand(4, dtype=torch.float64)
    net = net_of(
        lambda net, x, init: net.norm(x) * net.table[0] + constant + torch.tensor([2.0]) * (len(x) // len(x)),
        norm=nn.BatchNorm1d(4),
        table=torch.rand(3, 4, dtype=torch.float64),
    ).eval()
    model = st.SpikingNet(net, 3)
    for N in (1, 2, 5):
        model(train(N=N))
    assert model.explain().mode == "fold"
    model.reset()
    gc.collect()
    known = {id(each) for each in (*net.parameters(), *net.buffers(), net.table, constant)}
    assert not [each for each in gc.get_objects() if isinstance(each, Tensor) and id(each) not in before | known]
