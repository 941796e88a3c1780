"""What may change between calls without a new proof: tensors of the same form; and what a decision keeps."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold.free import as_stepped, counting, net_of
from tests.nets_that_step import centred, train

pytestmark = pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")
proofs = pytest.fixture(counting)


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


OTHERS = {
    "shape": torch.ones(1, 4, dtype=torch.float64),
    "dtype": torch.full((4,), 0.5),
    "batch": torch.ones(5, 4, dtype=torch.float64),  # of a batch of five: each sample has its own
    "strides": torch.ones(8, dtype=torch.float64)[::2],
    "parameter": nn.Parameter(torch.full((4,), 0.5, dtype=torch.float64)),
    "with a gradient": torch.ones(4, dtype=torch.float64, requires_grad=True),
}
# torch puts no parameter into the place of a buffer
PLACES = [(holder, other) for holder in HOLDERS for other in OTHERS if (holder, other) != ("buffer", "parameter")]


@pytest.mark.sampled
@pytest.mark.parametrize(("holder", "other"), PLACES)
def test_a_mask_of_another_form_is_proven_anew(holder: str, other: str) -> None:
    net = with_mask(holder)
    model = st.SpikingNet(net, 3)
    as_stepped(net, model)
    put_mask(net, OTHERS[other])
    assert as_stepped(net, model) == ("step" if other == "batch" else "fold")


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


OUTSIDE: dict[str, Tensor] = {}


def masked_from_outside(net: Any, x: Tensor, init: Any) -> Tensor:
    return x.mul(OUTSIDE["mask"])


def test_a_look_at_another_number_of_samples_leaves_a_new_mask_outside_of_the_network() -> None:
    OUTSIDE["mask"] = torch.ones(4, dtype=torch.float64)
    net = net_of(masked_from_outside)
    model = st.SpikingNet(net, 3)
    assert as_stepped(net, model) == "fold"
    OUTSIDE["mask"] = mask = torch.full((4,), 2.0, dtype=torch.float64)
    assert as_stepped(net, model) == "fold"
    assert as_stepped(net, model, 1) == "fold"
    assert OUTSIDE["mask"] is mask


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


@pytest.mark.long
def test_states_that_no_call_comes_back_to_are_let_go() -> None:
    class Options:
        def __init__(self) -> None:
            self.mask = torch.ones(4, dtype=torch.float64)

    net = net_of(lambda net, x, init: x * net.options.mask, options=Options())
    model = st.SpikingNet(net, 3)
    masks = []
    for _ in range(40):
        net.options = Options()
        masks.append(weakref.ref(net.options.mask))
        as_stepped(net, model)
    gc.collect()
    assert sum(mask() is not None for mask in masks) <= 8 + 2 * 40 // 16 + 1
