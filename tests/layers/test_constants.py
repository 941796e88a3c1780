"""The constants of layers in a checkpoint."""

import copy
import io
import warnings
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import IF, LI, LIF, BioLIF, CoarseLIF, McPitts, SequenceDropout, SpikingDecay, SpikingNet, StepLayer
from spikingtorch import functional as F


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def my_step(state: F.LIFState, x: Tensor, *, decay: float, kind: str) -> tuple[F.LIFState, Tensor]:
    v = decay * state.v + (x if kind == "plus" else -x)
    return F.LIFState(v), v


PAIRS: dict[str, tuple[Any, Any]] = {
    "IF": (lambda: IF(v0=0.3, beta=2.0), lambda: IF()),
    "LIF": (lambda: LIF(tau=1.0 / 3.0, v0=0.1), lambda: LIF(tau=8.0)),
    "decay": (
        lambda: LIF(decay=0.1, reset=F.detached(F.by_subtraction)),
        lambda: LIF(decay=0.9, reset=F.detached(F.by_subtraction)),
    ),
    "surrogate": (lambda: LIF(surrogate=F.Arctan(3.7)), lambda: LIF(surrogate=F.Arctan())),
    "surrogate of tensors": (
        lambda: LIF(surrogate=F.Sigmoid(torch.tensor(1.5, dtype=torch.double))),
        lambda: LIF(surrogate=F.Sigmoid(torch.ones(()))),
    ),
    "primitive": (
        lambda: LIF(v0=2.0, surrogate=F.FromPrimitive(torch.tanh)),
        lambda: LIF(surrogate=F.FromPrimitive(torch.tanh)),
    ),
    "learnable": (lambda: LIF(tau=2.0, v0=0.25, learnable="tau"), lambda: LIF(tau=3.0, learnable="tau")),
    "buffer": (lambda: LIF(tau=torch.tensor([2.0, 3.0]), v0=0.5), lambda: LIF(tau=torch.ones(2))),
    "LI": (lambda: LI(tau=3.0), lambda: LI()),
    "CoarseLIF": (lambda: CoarseLIF(2.5, v0=0.7), lambda: CoarseLIF(4.0)),
    "SpikingDecay": (lambda: SpikingDecay(2.5, v0=0.7), lambda: SpikingDecay(4.0)),
    "McPitts": (lambda: McPitts(0.4), lambda: McPitts(0.9)),
    "BioLIF": (lambda: BioLIF(0.4, v0=0.3), lambda: BioLIF(0.9)),
    "recurrent": (lambda: LIF(v0=0.2, recurrent=torch.ones(2)), lambda: LIF(recurrent=torch.zeros(2))),
    "own step": (
        lambda: StepLayer(my_step, F.LIFState, decay=0.25, kind="plus"),
        lambda: StepLayer(my_step, F.LIFState, decay=0.5, kind="plus"),
    ),
    "dropout": (lambda: SequenceDropout(0.1), lambda: SequenceDropout(0.1)),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_a_checkpoint_is_taken_over_by_a_layer_of_other_constants(kind: str) -> None:
    make, other = PAIRS[kind]
    torch.manual_seed(0)
    one, two = nn.Sequential(nn.Linear(3, 2), make()), nn.Sequential(nn.Linear(3, 2), other())
    state = through_a_file(one.state_dict())
    assert all(isinstance(each, Tensor) for each in state.values())
    assert state["1._extra_state"].dtype == torch.uint8
    two.load_state_dict({key: value.clone() for key, value in state.items()})
    assert repr(one) == repr(two)
    assert all(torch.equal(each, two.state_dict()[key]) for key, each in one.state_dict().items())
    if kind not in ("BioLIF", "dropout"):
        x = torch.rand(5, 7, 3)
        assert torch.equal(SpikingNet(one)(x), SpikingNet(two)(x))


OTHERS: dict[str, tuple[Any, Any, str]] = {
    "reset": (
        lambda: LIF(reset=F.by_subtraction),
        lambda: LIF(),
        "reset_rule is by_subtraction in the checkpoint and to_zero in the layer",
    ),
    "detached": (
        lambda: LIF(reset=F.detached(F.to_zero)),
        lambda: LIF(),
        r"reset_rule is Detached\(to_zero\) in the checkpoint and to_zero in the layer",
    ),
    "surrogate": (
        lambda: IF(surrogate=F.Arctan()),
        lambda: IF(),
        r"surrogate is Arctan\(alpha=2.0\) in the checkpoint and Sigmoid\(beta=5.0\) in the layer",
    ),
    "primitive": (
        lambda: IF(surrogate=F.FromPrimitive(torch.tanh)),
        lambda: IF(surrogate=F.FromPrimitive(torch.sigmoid)),
        r"surrogate is FromPrimitive\(tanh\) in the checkpoint and FromPrimitive\(sigmoid\)",
    ),
    "learnable": (
        lambda: LIF(tau=2.0, learnable="tau"),
        lambda: LIF(),
        "tau is learnable in the checkpoint and 8.0 in the layer",
    ),
    "fixed": (
        lambda: LIF(tau=2.0),
        lambda: LIF(learnable="tau"),
        "tau is 2.0 in the checkpoint and learnable in the layer",
    ),
    "per neuron": (
        lambda: LIF(tau=torch.ones(2)),
        lambda: LIF(),
        "tau is a tensor in the checkpoint and 8.0 in the layer",
    ),
    "frozen": (
        lambda: LIF(tau=torch.ones(2)),
        lambda: LIF(tau=torch.ones(2), learnable="tau"),
        "tau is a tensor in the checkpoint and learnable in the layer",
    ),
    "names": (
        lambda: LIF(decay=0.5),
        lambda: LIF(),
        "the checkpoint has decay, v0, surrogate, reset_rule, and the layer tau",
    ),
    "string": (
        lambda: StepLayer(my_step, F.LIFState, decay=0.25, kind="plus"),
        lambda: StepLayer(my_step, F.LIFState, decay=0.25, kind="minus"),
        "kind is 'plus' in the checkpoint and 'minus' in the layer",
    ),
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", OTHERS)
def test_a_layer_of_another_kind_is_an_error_that_names_both(kind: str, strict: bool) -> None:
    make, other, message = OTHERS[kind]
    one, two = nn.Sequential(nn.Identity(), make()), nn.Sequential(nn.Identity(), other())
    before = repr(two)
    with pytest.raises(RuntimeError, match=rf"1 \({type(two[1]).__name__}\): {message}"):
        two.load_state_dict(one.state_dict(), strict=strict)
    assert repr(two) == before


def test_an_older_checkpoint_loads_strictly_with_one_warning() -> None:
    net = nn.Sequential(nn.Linear(3, 2), LIF(tau=2.0), nn.Linear(2, 2), LIF(learnable=True), LI())
    for model in (net, SpikingNet(copy.deepcopy(net))):
        old = OrderedDict((key, each) for key, each in model.state_dict().items() if not key.endswith("_extra_state"))
        for _ in range(2):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = model.load_state_dict(old)
            assert [str(each.message).split(" (")[0] for each in caught] == [
                "load_state_dict: the checkpoint is older than the constants of spiking layers in it"
            ]
            assert (result.missing_keys, result.unexpected_keys) == ([], [])
    with pytest.raises(RuntimeError, match="Missing key"), pytest.warns(UserWarning, match="load_state_dict"):
        net.load_state_dict({})


@pytest.mark.parametrize(
    "junk", [torch.zeros(3, dtype=torch.uint8), torch.ones(2, 2), "text"], ids=["bytes", "matrix", "text"]
)
def test_what_is_no_constants(junk: Any) -> None:
    with pytest.raises(RuntimeError, match=r"the layer \(IF\): is not what a spiking layer has saved"):
        IF().load_state_dict({"_extra_state": junk})


def test_moves_and_copies_of_models() -> None:
    model = SpikingNet(nn.Sequential(nn.Linear(3, 2), LIF(tau=2.0, v0=0.3)))
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    other = torch.optim.swa_utils.AveragedModel(SpikingNet(nn.Sequential(nn.Linear(3, 2), LIF())))
    other.load_state_dict(average.state_dict())
    x = torch.rand(4, 5, 3)
    assert torch.equal(other(x), average(x))
    half = copy.deepcopy(model).bfloat16()
    assert half.state_dict()["net.1._extra_state"].dtype == torch.uint8
    assigned = SpikingNet(nn.Sequential(nn.Linear(3, 2), LIF()))
    assigned.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(assigned(x), model(x))
