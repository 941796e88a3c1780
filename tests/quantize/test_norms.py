"""Batch norm that becomes part of the weights before it, against the norm in evaluation."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import spikingtorch as st
from spikingtorch.quantize import FoldedNorm, fold_norms, prepare_qat
from tests.folded_layer import Coded, Lambda

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(norm: Any) -> Any:
    """Return a norm with statistics and weights as after training; some gains are negative, one is zero."""
    inner = norm.norm if hasattr(norm, "norm") else norm
    inner.running_mean.normal_()
    inner.running_var.uniform_(0.2, 3.0)
    if inner.weight is not None:
        with torch.no_grad():
            inner.weight.normal_()[0] = 0.0
            inner.bias.normal_()
    return norm


def net() -> nn.Module:
    """Return code of its own, in which the norm over time gets init."""
    over_time, last = trained(st.TimeBatchNorm2d(4)), trained(nn.BatchNorm1d(5))
    return Coded(
        lambda net, x, init: net.last(net.out(net.lif(net.norm(net.conv(x), init), init).flatten(1))),
        **{"conv": nn.Conv2d(2, 4, 3, bias=False), "norm": over_time, "lif": st.LIF(), "out": nn.Linear(144, 5)},
        last=last,
    )


def chain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, st.LI(tau=2.0, dt=1.0))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: chain(nn.Linear(6, 5), trained(nn.BatchNorm1d(5))), (6,)),
    "without a bias": (lambda: chain(nn.Linear(6, 5, bias=False), trained(nn.BatchNorm1d(5))), (6,)),
    "without weights": (lambda: chain(nn.Linear(6, 5), trained(nn.BatchNorm1d(5, affine=False))), (6,)),
    "of one dimension": (lambda: chain(nn.Conv1d(6, 4, 3), trained(nn.BatchNorm1d(4))), (6, 9)),
    "of two": (lambda: chain(nn.Conv2d(6, 4, 3, groups=2, stride=2), trained(nn.BatchNorm2d(4, eps=0.3))), (6, 9, 9)),
    "of three": (lambda: chain(nn.Conv3d(2, 4, 3), trained(nn.BatchNorm3d(4))), (2, 5, 5, 5)),
    "over time": (lambda: chain(nn.Linear(6, 5), trained(st.TimeBatchNorm1d(5)), st.LIF()), (6,)),
    "to a threshold": (
        lambda: chain(nn.Conv2d(2, 4, 3), trained(st.ThresholdDependentBatchNorm(4, 0.7, 0.5)), st.LIF()),
        (2, 8, 8),
    ),
    "two in a net of its own": (net, (2, 8, 8)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETS)
def test_results_are_those_of_the_norm_in_evaluation(name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETS[name]
    net = make().double().eval()
    model = st.SpikingNet(net)
    x = torch.randn(3, 4, *shape).double()
    expected, keys = model(x), [*model.state_dict()]
    parameters = {id(each) for each in model.parameters()}
    assert fold_norms(model) is model
    found = model(x)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    gone = {key for key in keys if key not in model.state_dict()}
    assert all(any(word in key for word in ("running", "tracked", "1.", "norm.", "last.", "extra")) for key in gone)
    assert {id(each) for name, each in model.named_parameters() if name.endswith("weight")} <= parameters
    prepare_qat(model, 8)
    assert model(x).shape == expected.shape
    assert fold_norms(model) is model  # nothing is left to do


def test_it_takes_the_running_statistics_in_training_as_well() -> None:
    layer, norm = nn.Linear(3, 2), trained(nn.BatchNorm1d(2))
    x = torch.randn(5, 3)
    expected = norm.eval()(layer(x))
    norm.train()
    assert torch.allclose(fold_norms(nn.Sequential(layer, norm).train())(x), expected, atol=1e-6)


def coded(code: Callable[[Any, Tensor], Any]) -> nn.Module:
    return Lambda(code, linear=nn.Linear(4, 4), norm=nn.BatchNorm1d(4))


def shared() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.weight = (other := nn.Linear(4, 4)).weight
    return chain(other, layer, nn.BatchNorm1d(4))


def hooked() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, args, out: -out)
    return chain(layer, nn.BatchNorm1d(4))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "something between": (
        lambda: chain(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)),
        r"'2\.2' \(BatchNorm1d\) does not directly follow a Linear or a convolution",
    ),
    "first": (lambda: chain(nn.BatchNorm1d(4), nn.Linear(4, 4)), "does not directly follow"),
    "transposed": (lambda: chain(nn.ConvTranspose1d(4, 4, 3), nn.BatchNorm1d(4)), "does not directly follow"),
    "a skip connection": (
        lambda: coded(lambda net, x: (y := net.linear(x)) + net.norm(y)),
        r"'2\.norm'.*not alone in reading the output of '2\.linear'",
    ),
    "called twice": (
        lambda: coded(lambda net, x: net.norm(net.linear(net.linear(x)))),
        "called twice; give each call a module of its own",
    ),
    "never called": (lambda: coded(lambda net, x: net.linear(x)), "is never called; take it out"),
    "branches": (
        lambda: coded(lambda net, x: net.norm(net.linear(x)) if x.sum() > 0 else x),
        "cannot trace Sequential.*may not branch on values",
    ),
    "shared": (shared, r"another layer shares.*copy\.deepcopy"),
    "hooked": (hooked, "has a forward hook; remove it"),
    "rounded": (
        lambda: chain(prepare_qat(nn.Linear(4, 4)), nn.BatchNorm1d(4)),
        "weights that are computed.*Merge it before prepare_qat",
    ),
    "weight norm": (lambda: chain(parametrizations.weight_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4)), "are computed"),
    "no statistics": (
        lambda: chain(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)),
        "has no running statistics",
    ),
    "other channels": (lambda: chain(nn.Linear(4, 4), nn.BatchNorm1d(3)), "normalises 3 channels.*has 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_merged_is_refused_and_nothing_changes(name: str) -> None:
    make, message = REFUSED[name]
    model = make()
    first = nn.Sequential(nn.Linear(4, 4), trained(nn.BatchNorm1d(4)), model)
    if name == "first":
        first = nn.Sequential(model)
    before = copy.deepcopy(first.state_dict())
    with pytest.raises(ValueError, match=f"fold_norms: .*{message}"):
        fold_norms(first)
    assert all(torch.equal(value, before[key]) for key, value in first.state_dict().items())


def test_a_linear_on_more_axes_is_refused_where_it_is_called() -> None:
    """BatchNorm1d normalises the second of three axes, and the weights would scale the third."""
    net = fold_norms(nn.Sequential(nn.Linear(4, 4), trained(nn.BatchNorm1d(4))))
    assert isinstance(net[1], FoldedNorm)
    with pytest.raises(ValueError, match=r"gets 3 axes here, expected 2: \(N, features\)"):
        net(torch.ones(2, 4, 4))
