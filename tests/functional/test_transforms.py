"""scan under everything that torch offers is the loop: values, gradients, which road it takes, and how often."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fold_nets import network, train
from tests.fused_steps import counting, loop
from tests.ways import MAPS, SCANS, WAYS, by_grad, compiled, eager, func, grad, pairs, scanned, slopes

pytestmark = pytest.mark.usefixtures("afresh")


@pytest.mark.sampled
@pytest.mark.parametrize(("scan", "way"), pairs(WAYS))
def test_is_the_loop(scan: str, way: str) -> None:
    WAYS[way].check(SCANS[scan], *SCANS[scan].tensors(), first=True)


@pytest.mark.sampled
@pytest.mark.parametrize("roles", ["x", "p", "sxp"])
@pytest.mark.parametrize(("scan", "way"), pairs(MAPS))
def test_of_many_members_is_one_loop_for_each(scan: str, way: str, roles: str) -> None:
    MAPS[way].check(SCANS[scan], *SCANS[scan].members(roles), first=True)


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # torch's own
@pytest.mark.parametrize("mode", ["auto", "step"])
def test_linearize(mode: Any) -> None:
    """It runs a function, and writes down what becomes of a tangent; a network keeps nothing of that."""
    model = network("linear", mode=mode)
    x = train(model, 3, 5)
    want, tangent = func.jvp(model, (x,), (x.flip(0),))
    found, push = func.linearize(model, x)
    assert want.any()
    assert_close((found, push(x.flip(0))), (want, tangent))
    assert_close(model(x), want)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
def test_make_fx_of_a_network(mode: Any, early: bool) -> None:
    model = network("linear", mode=mode).requires_grad_(False)
    x = train(model, 3, 5)
    graph = make_fx(lambda x: model(x), pre_dispatch=early)(x)
    want = model(x.flip(0))
    assert want.any()
    assert_close(graph(x.flip(0)), want)


@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
def test_meta_tensors(mode: Any) -> None:
    model = network("linear", mode=mode)
    x = train(model, 3, 5)
    assert model.to("meta")(x.to("meta")).shape == network("linear")(x).shape


def test_one_way_after_the_other() -> None:
    case, tensors = SCANS["leaky"], SCANS["leaky"].tensors()
    wanted = {want: want(case(loop), *tensors) for want in {way.want for way in WAYS.values()}}
    with counting() as all_of_them:
        for way in (*WAYS.values(), *reversed(WAYS.values())):
            assert_close(way.by(case(scanned), *tensors), wanted[way.want])
    assert all_of_them.traces == 1


# --- stateless layers over time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [eager, compiled])
def test_time_map(run: Callable[[Any], Any]) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(2, 3, 3).double()
    xs = torch.rand(5, 5, 2, 6, 6, dtype=torch.float64)

    def over_time(xs: Tensor) -> Any:
        return F.time_map(layer, xs), F.time_map(layer, xs, dim=1)

    def looped(xs: Tensor) -> Any:
        return tuple(torch.stack([layer(x) for x in xs.unbind(dim)], dim) for dim in (0, 1))

    got = run(lambda xs: (over_time(xs), by_grad(over_time, xs)))(xs)
    assert_close(pytree.tree_map(Tensor.detach, got), pytree.tree_map(Tensor.detach, (looped(xs), slopes(looped, xs))))


def test_time_map_draws_anew_at_each_step() -> None:
    torch.manual_seed(0)
    out = F.time_map(torch.nn.Dropout(0.5), torch.ones(4, 100))
    assert not torch.equal(out[0], out[1])


def test_time_map_refuses_a_layer_with_a_state() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), st.LIF())
    for layer in (st.IF(), net, net.forward, functools.partial(st.LIF(), init=True), functools.partial(net.forward)):
        with pytest.raises(TypeError, match="keeps a state from step to step; use scan, or SpikingNet"):
            F.time_map(layer, torch.ones(4, 2, 2))


# --- whole networks ---------------------------------------------------------------------------------------------------


def test_a_stream_cannot_go_on_inside_a_transform() -> None:
    model = network("LIF, learning")
    x = train(model, 3, 4)

    with torch.no_grad():
        message = r"init is not True inside a torch\.func transform, .*no call leaves a state.*spikingtorch\.run"
        with pytest.raises(ValueError, match=message):
            grad(lambda x: torch.cat([model(x[:, :2]), model(x[:, 2:], init=False)], 1).sum())(x)
        model(x)
        assert grad(lambda x: model(x, init=False).sum())(x).abs().sum() > 0  # from a state outside of it, it can
