"""The constants of layers in a checkpoint."""

import copy
import warnings
from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.layers import constants
from tests.every_layer import through_a_file


def my_step(state: F.LIFState, x: Tensor, *, decay: float, kind: str) -> tuple[F.LIFState, Tensor]:
    v = decay * state.v + (x if kind == "plus" else -x)
    return F.LIFState(v), v


def my_other_step(state: F.LIFState, x: Tensor, *, taus: tuple[float, ...]) -> tuple[F.LIFState, Tensor]:
    v = taus[0] * state.v + taus[1] * x
    return F.LIFState(v), v


def of_numpy(number: float) -> Any:
    return np.float32(number)


def my_reset(u: Tensor, spike: Tensor, threshold: Any, share: float = 1.0) -> Any:
    return u - share * spike * threshold


own, CUT = partial(st.StepLayer, my_step, F.LIFState), F.detached(F.by_subtraction)
PAIRS: dict[str, tuple[nn.Module, nn.Module]] = {
    "IF": (st.IF(v0=0.3, beta=2.0), st.IF()),
    "LIF": (st.LIF(tau=4.0 / 3.0, v0=0.1), st.LIF(tau=8.0)),
    "decay": (st.LIF(decay=0.1, reset=CUT), st.LIF(decay=0.9, reset=CUT)),
    "surrogate": (st.LIF(surrogate=F.Arctan(3.7)), st.LIF(surrogate=F.Arctan())),
    "surrogate of tensors": (
        st.LIF(surrogate=F.Sigmoid(torch.tensor(1.5, dtype=torch.double))),
        st.LIF(surrogate=F.Sigmoid(torch.ones((), dtype=torch.double))),
    ),
    "primitive": (st.LIF(v0=2.0, surrogate=F.FromPrimitive(torch.tanh)), st.LIF(surrogate=F.FromPrimitive(torch.tanh))),
    "learnable": (st.LIF(tau=2.0, v0=0.25, learnable="tau"), st.LIF(tau=3.0, learnable="tau")),
    "buffer": (st.LIF(tau=torch.tensor([2.0, 3.0]), v0=0.5), st.LIF(tau=torch.ones(2))),
    "LI": (st.LI(tau=3.0), st.LI()),
    "CoarseLIF": (st.CoarseLIF(2.5, v0=0.7), st.CoarseLIF(4.0)),
    "SpikingDecay": (st.SpikingDecay(2.5, v0=0.7), st.SpikingDecay(4.0)),
    "McPitts": (st.McPitts(0.4), st.McPitts(0.9)),
    "BioLIF": (st.BioLIF(0.4, v0=0.3), st.BioLIF(0.9)),
    "recurrent": (st.LIF(v0=0.2, recurrent=torch.ones(2)), st.LIF(recurrent=torch.zeros(2))),
    "own step": (own(decay=0.25, kind="plus"), own(decay=0.5, kind="plus")),
    "dropout": (st.SequenceDropout(0.1), st.SequenceDropout(0.4)),
    "whole numbers": (st.IF(v0=1, beta=3), st.IF(beta=10)),
    "a whole slope": (st.IF(surrogate=F.Arctan(9)), st.IF(surrogate=F.Arctan(2))),
    "of numpy": (st.IF(surrogate=F.Sigmoid(of_numpy(3))), st.IF(surrogate=F.Sigmoid(of_numpy(10)))),
    "norm": (st.ThresholdDependentBatchNorm(2, 0.5).eval(), st.ThresholdDependentBatchNorm(2, 1.0).eval()),
    "several numbers": (
        st.StepLayer(my_other_step, F.LIFState, taus=(1.0, 2.0)),
        st.StepLayer(my_other_step, F.LIFState, taus=(3.0, 4)),
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", PAIRS)
def test_a_checkpoint_is_taken_over_by_a_layer_of_other_constants(kind: str) -> None:
    torch.manual_seed(0)
    one, two = (nn.Sequential(nn.Linear(3, 2), layer) for layer in copy.deepcopy(PAIRS[kind]))
    state = through_a_file(one.state_dict(), True)
    assert all(isinstance(each, Tensor) for each in state.values())
    assert state["1._extra_state"].dtype == torch.uint8
    two.load_state_dict({key: value.clone() for key, value in state.items()})
    assert one.state_dict().keys() == two.state_dict().keys()
    assert all(torch.equal(each, two.state_dict()[key]) for key, each in one.state_dict().items())
    if kind not in ("BioLIF", "dropout"):
        x = torch.rand(5, 7, 3)
        assert torch.equal(st.SpikingNet(one)(x), st.SpikingNet(two)(x))


# what is said, that of the checkpoint before that of the layer, and the layers of the checkpoint and of the network
OTHERS: dict[str, tuple[nn.Module, nn.Module]] = {
    "reset_rule is by_subtraction | to_zero": (st.LIF(reset=F.by_subtraction), st.LIF()),
    r"reset_rule is Detached\(to_zero\) | to_zero": (st.LIF(reset=F.detached(F.to_zero)), st.LIF()),
    r"surrogate is Arctan\(alpha=2.0\) | Sigmoid\(beta=5.0\)": (st.IF(surrogate=F.Arctan()), st.IF()),
    r"surrogate is FromPrimitive\(tanh\) | FromPrimitive\(sigmoid\)": (
        st.IF(surrogate=F.FromPrimitive(torch.tanh)),
        st.IF(surrogate=F.FromPrimitive(torch.sigmoid)),
    ),
    "tau is learnable | 8.0": (st.LIF(tau=2.0, learnable="tau"), st.LIF()),
    "tau is 2.0 | learnable": (st.LIF(tau=2.0), st.LIF(learnable="tau")),
    "tau is a tensor | 8.0": (st.LIF(tau=torch.ones(2)), st.LIF()),
    "tau is a tensor | learnable": (st.LIF(tau=torch.ones(2)), st.LIF(tau=torch.ones(2), learnable="tau")),
    "the checkpoint has decay, v0, surrogate, reset_rule, and the layer tau": (st.LIF(decay=0.5), st.LIF()),
    r"reset_rule is partial\(my_reset, args=\[\], dict\(share=0.5\)\) | partial\(my_reset.*": (
        st.IF(reset=partial(my_reset, share=0.5)),
        st.IF(reset=partial(my_reset, share=0.9)),
    ),
    "kind is 'plus' | 'minus'": (own(decay=0.25, kind="plus"), own(decay=0.25, kind="minus")),
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("message", OTHERS)
def test_a_layer_of_another_kind_is_an_error_that_names_both(message: str, strict: bool) -> None:
    one, two = (nn.Sequential(nn.Identity(), layer) for layer in OTHERS[message])
    before, said = repr(two), message.replace(" | ", " in the checkpoint and ") + " in the layer" * (" | " in message)
    with pytest.raises(RuntimeError, match=rf"1 \({type(two[1]).__name__}\): {said}"):
        two.load_state_dict(one.state_dict(), strict=strict)
    assert repr(two) == before


def test_an_older_checkpoint_loads_strictly_with_one_warning() -> None:
    net = nn.Sequential(nn.Linear(3, 2), st.LIF(tau=2.0), nn.Linear(2, 2), st.LIF(learnable=True), st.LI())
    for model in (net, st.SpikingNet(copy.deepcopy(net))):
        old = OrderedDict((key, each) for key, each in model.state_dict().items() if not key.endswith("_extra_state"))
        for _ in range(2):
            with warnings.catch_warnings(record=True, action="always") as caught:
                result = model.load_state_dict(old)
            assert [str(each.message).split(" (")[0] for each in caught] == [
                "load_state_dict: the checkpoint has no constants of spiking layers"
            ]
            assert (result.missing_keys, result.unexpected_keys) == ([], [])


def test_a_checkpoint_of_another_architecture_raises_without_a_warning() -> None:
    net = nn.Sequential(nn.Linear(3, 2), st.LIF(tau=2.0), nn.Linear(2, 2))
    for other in ({}, nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2)).state_dict(), {"conv.weight": torch.ones(2)}):
        with warnings.catch_warnings(action="error"), pytest.raises(RuntimeError, match=r"Missing key|size mismatch"):
            net.load_state_dict(other)


@pytest.mark.parametrize("junk", [torch.zeros(3, dtype=torch.uint8), torch.ones(2, 2), "text"], ids=range(3))
def test_what_is_no_constants(junk: Any) -> None:
    with pytest.raises(RuntimeError, match=r"the layer \(IF\): is not what a spiking layer has saved"):
        st.IF().load_state_dict({"_extra_state": junk})


def test_moves_and_copies_of_models() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(3, 2), st.LIF(tau=2.0, v0=0.3)))
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    other = torch.optim.swa_utils.AveragedModel(st.SpikingNet(nn.Sequential(nn.Linear(3, 2), st.LIF())))
    other.load_state_dict(average.state_dict())
    x = torch.rand(4, 5, 3)
    assert torch.equal(other(x), average(x))
    half = copy.deepcopy(model).bfloat16()
    assert half.state_dict()["net.1._extra_state"].dtype == torch.uint8
    assigned = st.SpikingNet(nn.Sequential(nn.Linear(3, 2), st.LIF()))
    assigned.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(assigned(x), model(x))


def test_averages_and_other_dtypes_of_a_checkpoint() -> None:
    one, two = st.LIF(tau=2.0, threshold=0.3), st.LIF()
    state = {name: 0.5 * each + 0.5 * each for name, each in one.state_dict().items()}
    two.load_state_dict(state)
    assert repr(one) == repr(two)
    two.load_state_dict({name: each.to("meta") for name, each in st.LIF(tau=9.0).state_dict().items()}, assign=True)
    assert repr(one) == repr(two)


def test_a_hook_that_renames_and_a_layer_with_an_extra_state_of_its_own() -> None:
    class Counting(st.LIF):
        count = 1

        def get_extra_state(self) -> Tensor:
            return torch.tensor(self.count)

        def set_extra_state(self, state: Any) -> None:
            self.count += int(state)

    one, two = Counting(), Counting()
    one.count = 5
    two.load_state_dict(one.state_dict())
    assert two.count == 6
    layer: Any = st.LIF(recurrent=nn.Linear(2, 2, bias=False))
    old = {name.replace("recurrent.", "back."): each for name, each in layer.state_dict().items()}

    def rename(module: Any, state: Any, prefix: str, *_: Any) -> None:
        state[f"{prefix}recurrent.weight"] = state.pop(f"{prefix}back.weight")

    layer.register_load_state_dict_pre_hook(rename)
    layer.load_state_dict(old)


def test_a_norm_over_time_has_the_keys_of_a_batch_norm() -> None:
    """A trained network takes the norm of another one, whichever of the two it has; older checkpoints load as well."""
    torch.manual_seed(0)
    ours: Any = nn.Sequential(st.TimeBatchNorm2d(3))
    theirs = nn.Sequential(nn.BatchNorm2d(3))
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    for value in theirs.state_dict().values():
        value.copy_(torch.rand(value.shape) * 10)
    with warnings.catch_warnings(action="error"):
        ours.load_state_dict(theirs.state_dict())
        older = {key.replace("0.", "0.norm."): value for key, value in theirs.state_dict().items()}
        older["0._extra_state"] = constants.packed({"scale": 1.0})
        copied = nn.Sequential(st.TimeBatchNorm2d(3))
        copied.load_state_dict(older)
        back = nn.Sequential(nn.BatchNorm2d(3))
        back.load_state_dict(ours.state_dict())
    x = torch.rand(4, 3, 2, 2)
    for norm in (ours, theirs, copied, back):
        norm.eval()
    assert all(torch.equal(norm(x), theirs(x)) for norm in (ours, copied, back))
    assert ours[0].weight is ours[0].norm.weight
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"0\.norm\.weight\""):
        ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if "weight" not in key})


def multi_step(tau: float) -> nn.Module:
    recurrent = nn.Linear(4, 4, bias=False)
    return nn.Sequential(nn.Linear(3, 4), st.MultiStep(st.LIF(tau=tau, learnable="tau", recurrent=recurrent)))


def normed(tau: float) -> nn.Module:
    return st.SpikingNet(nn.Sequential(nn.Conv2d(1, 2, 3), st.TimeBatchNorm2d(2), st.LIF(tau=tau)))


@pytest.mark.parametrize(("make", "shape"), [(multi_step, (5, 2, 3)), (normed, (2, 3, 1, 6, 6))])
def test_a_distributed_checkpoint_has_the_network_and_its_optimizer(make: Any, shape: tuple[int, ...]) -> None:
    checkpoint: Any = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    nets = [make(tau) for tau in (3.0, 5.0)]
    optimizers = [torch.optim.Adam(net.parameters()) for net in nets]
    nets[0](torch.rand(shape)).sum().backward()
    optimizers[0].step()
    model, state = checkpoint.get_state_dict(nets[0], optimizers[0])
    checkpoint.set_state_dict(nets[1], optimizers[1], model_state_dict=model, optim_state_dict=state)
    for one, other in zip(nets[0].state_dict().items(), nets[1].state_dict().items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])
    found, wanted = (optimizer.state_dict()["state"] for optimizer in reversed(optimizers))
    assert all(torch.equal(found[key]["exp_avg"], wanted[key]["exp_avg"]) for key in wanted)
    if make is multi_step:
        assert [name for name in model if name.startswith("1.")] == ["1.tau", "1._extra_state", "1.recurrent.weight"]
