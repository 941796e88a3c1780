"""What may change between calls without a new proof: tensors, and numbers that only enter arithmetic."""

import gc
import math
import weakref
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import spikingtorch as st
from spikingtorch.fold import policy
from spikingtorch.testing import assert_close
from tests.nets_that_step import Hole, Two, centred, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each proof."""
    found: list[int] = []
    prove = getattr(policy, "prove")  # noqa: B009

    def counted(*args: Any) -> Any:
        found.append(1)
        return prove(*args)

    monkeypatch.setattr(policy, "prove", counted)
    return found


def net_of(code: Hole, **attributes: Any) -> Any:
    torch.manual_seed(0)
    return Two(code, sl1=st.LI(), sl2=st.LI(), **attributes).double()


def as_stepped(net: Any, model: st.SpikingNet, N: int = 5) -> str:
    """Check a call, forward and backward, against steps, and return how it ran."""
    other = st.SpikingNet(net, 3, mode="step")
    runs = []
    for each in (model, other):
        torch.manual_seed(1)
        x = train(N=N).requires_grad_()
        out = each(x)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        runs.append((out, *torch.autograd.grad(out, [x, *net.parameters()], weight, allow_unused=True)))
    for a, b in zip(*runs, strict=True):
        assert a is b is None or torch.allclose(a, b, rtol=1e-10, atol=1e-12)
    return model.explain().mode


# --- numbers ----------------------------------------------------------------------------------------------------------

ARITHMETIC: dict[str, Hole] = {
    "divides": lambda net, x, init: x / net.rate,
    "with other numbers": lambda net, x, init: x * (2.0 - 0.5 * net.rate) ** 2,
    "in a text": lambda net, x, init: x * net.rate if x.ndim < 9 else x * len(f"{x.shape}"),
    "bounds": lambda net, x, init: x.clamp(max=net.rate),
    "chosen by entries": lambda net, x, init: torch.where(x > net.rate, x, net.rate * x),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_a_number_that_enters_arithmetic_needs_no_new_proof(name: str, proofs: list[int]) -> None:
    net = net_of(ARITHMETIC[name], rate=1.0)
    model = st.SpikingNet(net, 3)
    for call in range(12):
        net.rate = 0.9**call
        assert as_stepped(net, model) == "fold"
    assert len(proofs) == 3  # of the first value, of the second, and of all


def test_a_count_that_enters_arithmetic_needs_no_new_proof(proofs: list[int]) -> None:
    net = net_of(lambda net, x, init: x * (1 + net.epoch), epoch=0)
    model = st.SpikingNet(net, 3)
    for net.epoch in range(12):
        assert as_stepped(net, model) == "fold"
    assert len(proofs) == 3


CHOICES = {0.2: "low"}
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


@pytest.mark.parametrize("name", DECIDES)
def test_a_number_that_decides_is_proven_anew(name: str) -> None:
    asks = DECIDES[name]
    net = net_of(lambda net, x, init: centred(x) if asks(net.rate) else x * net.rate, rate=0.2)
    model = st.SpikingNet(net, 3)
    modes = {}
    for net.rate in (LOWEST, LOWEST, 0.71, LOWEST, 0.93, 0.71):
        modes[net.rate] = as_stepped(net, model)
    assert modes == {0.2: "fold", 0.71: "step", 0.93: "step"}


def test_a_number_that_becomes_a_truth_value() -> None:
    net = net_of(lambda net, x, init: centred(x) if net.rate is True else x * net.rate, rate=1)
    model = st.SpikingNet(net, 3)
    modes = []
    for net.rate in (1, 2, 3, True, 4, True):
        modes.append(as_stepped(net, model))
    assert modes == ["fold", "fold", "fold", "step", "fold", "step"]


def test_a_number_that_is_multiplied_with_truth_values(proofs: list[int]) -> None:
    net = net_of(lambda net, x, init: net.linear((x > 0.5) * net.rate), linear=nn.Linear(4, 4), rate=1.0).float()
    model = st.SpikingNet(net, 3)
    for call in range(12):
        net.rate = 0.9**call
        model(train(dtype=torch.float32))
        assert model.explain().mode == "fold"
    assert len(proofs) == 3


def test_a_number_that_decides_in_training_alone() -> None:
    code: Hole = lambda net, x, init: centred(x) if net.training and net.rate > 0.5 else x * net.rate  # noqa: E731
    net = net_of(code, rate=0.2)
    model = st.SpikingNet(net, 3)
    modes = []
    for training, rate in [
        (False, 0.2),
        (False, 0.3),
        (True, 0.3),
        (True, 0.7),
        (False, 0.7),
        (True, 0.4),
        (True, 0.8),
    ]:
        net.rate = rate
        model.train(training)
        modes.append(as_stepped(net, model))
    assert modes == ["fold", "fold", "fold", "step", "fold", "fold", "step"]


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


def test_dropout_that_the_network_asks_for_its_probability() -> None:
    net = net_of(lambda net, x, init: centred(x) if net.module.p > 0.3 else x, module=nn.Dropout(0.1))
    model = st.SpikingNet(net, 3)
    for net.module.p, mode in ((0.1, "fold"), (0.2, "fold"), (0.4, "step"), (0.1, "fold")):
        assert as_stepped(net, model) == mode


def test_dropout_of_none_or_all() -> None:
    net = net_of(lambda net, x, init: net.module(x), module=nn.Dropout(0.5))
    model = st.SpikingNet(net, 3)
    for net.module.p in (0.5, 0.0, 1.0, 0.5, 1.0, 0.0):
        if net.module.p != 0.5:
            assert as_stepped(net, model) == "fold"
        else:
            model(train())


# --- tensors ----------------------------------------------------------------------------------------------------------


def masked(net: Any, x: Tensor, init: Any) -> Tensor:
    mask = net.masks["a"] if isinstance(net.masks, dict) else net.masks
    return x.mul(mask)


def put_mask(net: Any, mask: Tensor) -> None:
    if isinstance(net.masks, dict):
        net.masks["a"] = mask
    else:
        net.masks = mask


HOLDERS = ["attribute", "buffer", "dict"]


def with_mask(holder: str) -> Any:
    mask = torch.ones(4, dtype=torch.float64)
    net = net_of(masked, masks={"a": mask} if holder == "dict" else mask)
    if holder == "buffer":
        del net.masks
        net.register_buffer("masks", mask)
    return net


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_new_mask_needs_no_new_proof_and_is_not_kept(holder: str, proofs: list[int]) -> None:
    net = with_mask(holder)
    model = st.SpikingNet(net, 3)
    masks = []
    for _ in range(8):
        mask = (torch.rand(4) < 0.5).double()
        put_mask(net, mask)
        assert as_stepped(net, model) == "fold"
        masks.append(weakref.ref(mask))
        del mask
    gc.collect()
    assert [mask() is None for mask in masks] == [True] * 7 + [False]
    assert len(proofs) == 1


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    "other",
    [
        torch.ones(1, 4, dtype=torch.float64),
        torch.full((4,), 0.5),
        torch.ones(5, 4, dtype=torch.float64),  # of a batch of five: each sample has its own
        torch.ones(8, dtype=torch.float64)[::2],
        nn.Parameter(torch.full((4,), 0.5, dtype=torch.float64)),
        torch.ones(4, dtype=torch.float64, requires_grad=True),
    ],
    ids=["shape", "dtype", "batch", "strides", "parameter", "with a gradient"],
)
def test_a_mask_of_another_form_is_proven_anew(holder: str, other: Tensor) -> None:
    if holder == "buffer" and isinstance(other, nn.Parameter):
        pytest.skip("torch refuses it")
    net = with_mask(holder)
    model = st.SpikingNet(net, 3)
    as_stepped(net, model)
    put_mask(net, other)
    assert as_stepped(net, model) == ("step" if other.shape == (5, 4) else "fold")


def one(x: Tensor) -> float:
    """Ask for the number of samples."""
    return len(x) / x.shape[0]


def constant(net: Any, x: Tensor, init: Any) -> Tensor:
    return x * torch.tensor([net.rate], dtype=x.dtype) * one(x)


def other_numbers_of_samples(net: Any, change: Callable[[int], object]) -> None:
    model = st.SpikingNet(net, 3)
    for call, N in enumerate((5, 5, 5, 3, 1, 8, 3)):
        change(call)
        as_stepped(net, model, N)
        assert model.explain().mode == "fold", model.explain().reason


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_new_mask_for_another_number_of_samples(holder: str) -> None:
    net = with_mask(holder)
    net.before = lambda net, x, init: masked(net, x, init) * one(x)
    other_numbers_of_samples(net, lambda call: put_mask(net, torch.full((4,), 0.9**call, dtype=torch.float64)))


def test_a_number_in_a_tensor_for_another_number_of_samples() -> None:
    net = net_of(constant, rate=1.0)
    other_numbers_of_samples(net, lambda call: setattr(net, "rate", 0.9**call))


def test_a_network_that_asks_for_the_number_of_samples_is_proven_once_more_for_each(proofs: list[int]) -> None:
    net = net_of(lambda net, x, init: x * (2.0 if len(x) in (3, 15) else 1.0))
    model = st.SpikingNet(net, 3)
    for N in (5, 3, 4, 3, 15, 3, 15, 4):
        as_stepped(net, model, N)
        assert model.explain().mode == ("step" if N in (3, 15) else "fold")
    assert len(proofs) == 3


def test_tensors_that_are_told_apart_by_identity() -> None:
    net = net_of(lambda net, x, init: centred(x) if net.a is net.b else x * net.a, a=torch.ones(4), b=torch.ones(4))
    model = st.SpikingNet(net, 3)
    assert as_stepped(net, model) == "fold"
    net.b = net.a
    assert as_stepped(net, model) == "step"


def test_fresh_buffers_in_a_functional_call(proofs: list[int]) -> None:
    net = net_of(lambda net, x, init: net.norm(x), norm=nn.BatchNorm1d(4)).eval()
    model, step = st.SpikingNet(net, 3), st.SpikingNet(net, 3, mode="step")
    for call in range(5):
        buffers = {f"net.{key}": each.clone() + 0.1 * call for key, each in net.named_buffers()}
        assert_close(functional_call(model, buffers, train()), functional_call(step, buffers, train()))
    assert len(proofs) == 1


# --- what a decision keeps --------------------------------------------------------------------------------------------


def test_a_decision_keeps_no_tensor() -> None:
    constant = torch.rand(4, dtype=torch.float64)
    net = net_of(
        lambda net, x, init: net.norm(x) * net.table[0] + constant + torch.tensor([2.0]) * (len(x) // len(x)),
        norm=nn.BatchNorm1d(4),
        table=torch.rand(3, 4, dtype=torch.float64),
    ).eval()
    model = st.SpikingNet(net, 3)
    for N in (1, 2, 5, 6):
        model(train(N=N))
    found = model.explain()
    assert found.mode == "fold", found
    known = {id(each) for each in (*net.parameters(), *net.buffers(), net.table, constant)}
    ahead: list[Any] = [vars(model._policy)]
    kept: list[Tensor] = []
    seen = {id(vars(module)) for module in net.modules()}  # what the network itself holds
    while ahead:
        value = ahead.pop()
        outside = isinstance(value, nn.Module | type(gc)) or (isinstance(value, dict) and "__builtins__" in value)
        if id(value) in seen or outside or (callable(value) and not isinstance(value, weakref.ref)):
            continue
        seen.add(id(value))
        kept += [value] if isinstance(value, Tensor) and id(value) not in known else []
        ahead += gc.get_referents(value) if not isinstance(value, Tensor) else []
    assert not kept


def test_a_network_that_keeps_a_tensor_of_the_same_form_steps() -> None:
    def keep(net: Any, x: Tensor, init: Any) -> Tensor:
        net.last = x.detach().mean(0)
        return x

    net = net_of(keep, last=torch.zeros(4, dtype=torch.float64))
    model, step = st.SpikingNet(net, 3), st.SpikingNet(net_of(keep), 3, mode="step")
    for _ in range(3):
        assert_close([model(train()), net.last], [step(train()), step.net.last])
    assert "changes last" in model.explain().reason
