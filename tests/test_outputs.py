"""What a network may return: a tensor or a tree of them; errors of an input without time, a batch or its features."""

import copy
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikingtorch import LIF, SpikingNet, StepLayer
from spikingtorch import functional as F
from spikingtorch.spikeio import ConstantEncoder
from spikingtorch.testing import assert_close
from tests.folded_layer import Coded

Pair = namedtuple("Pair", ["spikes", "rate"])


def network(form: Any) -> Any:
    """Return a network that returns its spikes in a form of choice."""
    torch.manual_seed(0)
    parts = {"linear": nn.Linear(5, 4), "neurons": LIF(v0=0.3)}
    return Coded(lambda net, x, init: form(x, net.neurons(net.linear(x), init)), **parts)


FORMS: dict[str, Any] = {
    "tensor": lambda x, s: s,
    "pair": lambda x, s: (s, s.mean(1)),
    "list": lambda x, s: [s, x],
    "dict": lambda x, s: {"s": s, "inner": {"h": (2 * s, s[:, :1])}},
    "named": lambda x, s: Pair(s, s.mean(1)),
    "twice": lambda x, s: {"a": s, "b": s},
}


@pytest.mark.parametrize("mode", [{"mode": "auto"}, {"mode": "step"}, {"mode": "fold"}, {"time_chunk": 2}], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_time_is_in_each_leaf(form: str, mode: Any) -> None:
    net = network(FORMS[form])
    x = torch.rand(3, 7, 5, requires_grad=True)
    steps = [net(x_t, t == 0) for t, x_t in enumerate(x.unbind(1))]
    expected = pytree.tree_map(lambda *each: torch.stack(each, 1), *steps)
    model = SpikingNet(copy.deepcopy(net), **mode)
    found = model(x)
    spec = pytree.tree_flatten(expected)[1]
    assert pytree.tree_flatten(found)[1] == spec
    assert_close(found, expected)
    leaves, others = pytree.tree_leaves(found), pytree.tree_leaves(expected)
    cotangents = [torch.rand(leaf.shape) for leaf in leaves]
    sources = [x, *net.parameters()]
    mine = torch.autograd.grad(leaves, [x, *model.parameters()], cotangents)
    theirs = torch.autograd.grad(others, sources, cotangents)
    assert_close(mine, theirs, "gradient")
    shapes = pytree.tree_map(lambda leaf: tuple(leaf.shape[2:]), expected)
    assert model.Nout == shapes
    assert model.explain().mode == ("step" if mode == {"mode": "step"} else "fold")


@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("form", ["list", "twice"])
def test_no_output_is_a_view_of_the_input_or_of_another(form: str, mode: Any) -> None:
    x = torch.rand(3, 7, 5)
    with torch.no_grad():
        one, other = pytree.tree_leaves(SpikingNet(network(FORMS[form]), mode=mode)(x))
    before = x.clone(), one.clone()
    other += 1.0
    assert torch.equal(x, before[0])
    assert torch.equal(one, before[1])


@pytest.mark.long
def test_a_tree_of_a_compiled_network() -> None:
    model, x = SpikingNet(network(FORMS["dict"])), torch.rand(3, 7, 5)
    expected = model(x)
    found = torch.compile(model, backend="eager", fullgraph=True)(x)
    for one, other in zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True):
        assert torch.equal(one, other)


def test_Nout_is_found_anew_and_a_promise_is_kept() -> None:
    model = SpikingNet(network(FORMS["tensor"]))
    assert model.Nout is None
    model(torch.rand(3, 2, 5))
    assert model.Nout == (4,)
    model(torch.rand(3, 2, 6, 5))
    assert model.Nout == (6, 4)
    with pytest.raises(ValueError, match=r"expected \(N, \*Nout\) = \(3, 9\)"):
        SpikingNet(network(FORMS["tensor"]), 9)(torch.rand(3, 2, 5))
    with pytest.raises(TypeError, match=r"net returned a dict, expected a tensor .* made without Nout"):
        SpikingNet(network(FORMS["dict"]), 4)(torch.rand(3, 2, 5))


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing": (lambda x, s: None, TypeError, "net returned a NoneType, expected a tensor, or a tuple"),
    "a number": (lambda x, s: (s, 1.0), TypeError, "net returned a float in its tuple"),
    "no batch": (lambda x, s: {"loss": s.sum()}, ValueError, r"net returned shape \(\) for a batch of 3"),
    "turned": (lambda x, s: s.T, ValueError, r"net returned shape \(4, 3\) for a batch of 3"),
}


@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
@pytest.mark.parametrize("form", WRONG)
@pytest.mark.filterwarnings("ignore:SpikingNet")
def test_what_no_output_can_be(form: str, mode: Any) -> None:
    make, error, text = WRONG[form]
    size = "(6|3)" if mode == "fold" else "3"
    with pytest.raises(error, match=text.replace(" of 3", f" of {size}").replace("4, 3", f"4, {size}")):
        SpikingNet(network(make), mode=mode)(torch.rand(3, 2, 5))


def test_another_tree_at_another_step_is_an_error() -> None:
    net = Coded(lambda net, x, init: [net.lif(x, init)] if init else (net.lif(x, init), x), lif=LIF())
    with pytest.raises(ValueError, match="another tree of outputs at step 1 than at the first"):
        SpikingNet(net, mode="step")(torch.rand(3, 2, 5))


def written(gives: Any) -> nn.Module:
    """Return a network that gives out what a backward pass reads."""
    parts = {"l1": nn.Linear(5, 6), "l2": nn.Linear(6, 6), "s1": LIF()}
    return Coded(lambda net, x, init: gives(net, net.s1(4 * net.l1(x), init)), **parts)


@pytest.mark.parametrize("mode", ["auto", "fold"])
@pytest.mark.parametrize(
    "gives",
    [
        lambda net, z: (net.l2(z).sigmoid(),),
        lambda net, z: (z, net.l2(z)),
        lambda net, z: (z.detach(), net.l2(z)),
        lambda net, z: (z, net.l2(z.view(-1, 6))),
        lambda net, z: (z, z**2),
        lambda net, z: (net.l2(z).relu(),),
    ],
    ids=["saved", "read", "detached", "viewed", "squared", "relu"],
)
def test_outputs_may_be_written_on(gives: Any, mode: Any) -> None:
    """In place, or behind autograd's back: the gradients are those of stepping."""
    writes: list[Any] = [lambda out: out.mul_(0.5), lambda out: out.data.mul_(0.5)]
    for write in writes:
        found = []
        for how in (mode, "step"):
            torch.manual_seed(0)
            model = SpikingNet(written(gives), mode=how, event_driven="off")
            outs = model(torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1)))
            write(outs[0])
            torch.stack([out.sum() for out in outs]).sum().backward()
            found.append([torch.zeros(1) if p.grad is None else p.grad for p in model.parameters()])
        assert_close(found[0], found[1])


def test_outputs_that_nothing_holds_are_not_copied() -> None:
    """That of a layer of neurons, or of a linear layer."""
    for gives in (lambda net, z: z, lambda net, z: net.l2(z)):
        model = SpikingNet(written(gives), mode="fold")
        out = model(torch.rand(3, 4, 5))
        assert "CloneBackward0" not in str(out.grad_fn.next_functions[0][0])


MODES: tuple[Any, ...] = ("auto", "step", "fold")
REMEDY = (
    r"\. If x has no time, write x\.unsqueeze\(1\) for one step or ConstantEncoder\(T\)\(x\) of spikingtorch\.spikeio "
    r"for T steps; if x has no batch, write x\.unsqueeze\(0\)$"
)


def product() -> nn.Module:
    """Return a network whose product is its own code, and no module's."""
    weight = nn.Parameter(torch.ones(20, 3))
    return Coded(lambda net, x, init: net.neurons(x @ net.weight, init), weight=weight, neurons=LIF())


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 4), LIF())


CASES: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "no time, or no batch": (
        linear,
        (8, 20),
        r"x has shape \(8, 20\), taken as \(N, T, \.\.\.\): 8 samples of 20 steps without features, which layer 0 "
        r"\(Linear\) does not take: (\w+: )?mat1 and mat2",
    ),
    "other features": (
        linear,
        (5, 8, 21),
        r"x has shape \(5, 8, 21\), .* 8 steps of shape \(21,\), which layer 0 \(Linear\) does not take: (\w+: )?mat1",
    ),
    "images without time": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), LIF()),
        (8, 1, 28, 28),
        r"8 samples of 1 step of shape \(28, 28\), which layer 0 \(Conv2d\) does not take: Given groups=1.*"
        r"\. If x has no channels, write x\.unsqueeze\(2\)",
    ),
    "behind what has no weights": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 4), LIF()),
        (5, 28, 28),
        r"28 steps of shape \(28,\), which layer 1 \(Linear\) does not take: (\w+: )?mat1 and mat2",
    ),
    "an axis that is not there": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 4), LIF()),
        (5, 784),
        r"784 steps without features, which layer 0 \(Flatten\) does not take: Dimension out of range",
    ),
    "what torch checks in Python": (
        lambda: nn.Sequential(nn.BatchNorm1d(20), nn.Linear(20, 4), LIF()),
        (8, 20),
        r"20 steps without features, which layer 0 \(BatchNorm1d\) does not take: expected 2D or 3D input",
    ),
    "code of the network": (product, (8, 20), r"without features, which Coded does not take: (\w+: )?mat1 and mat2"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_the_first_line_speaks_of_the_input(case: str, mode: Any) -> None:
    make, shape, message = CASES[case]
    with pytest.raises(ValueError, match=f"^SpikingNet: .*{message}.*{REMEDY}") as caught:
        SpikingNet(make(), mode=mode)(torch.rand(shape))
    cause = caught.value.__cause__
    assert cause is not None
    assert str(cause) in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_advised_runs(mode: Any) -> None:
    x = torch.rand(8, 20)
    shapes = [SpikingNet(linear(), mode=mode)(each).shape for each in (x.unsqueeze(1), x[None], ConstantEncoder(5)(x))]
    assert shapes == [(8, 1, 4), (1, 8, 4), (8, 5, 4)]


@pytest.mark.parametrize("mode", MODES)
def test_steps_without_features_run_where_a_network_takes_them(mode: Any) -> None:
    assert SpikingNet(nn.Sequential(LIF()), mode=mode)(torch.rand(8, 20)).shape == (8, 20)


@pytest.mark.parametrize("mode", MODES)
def test_an_error_further_on_stays_torch_s_with_a_note(mode: Any) -> None:
    model = SpikingNet(nn.Sequential(nn.Linear(20, 4), LIF(), nn.Linear(5, 3)), mode=mode)
    with pytest.raises(RuntimeError, match=r"^(\w+: )?mat1 and mat2 shapes") as caught:
        model(torch.rand(3, 8, 20))
    note = "SpikingNet: x has shape (3, 8, 20), taken as (N, T, ...): 3 samples of 8 steps of shape (20,)"
    note += ". It is layer 2 (Linear) that does not take what it is given"
    assert caught.value.__notes__ == [note]


def own_error(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
    return state, x @ x


def test_errors_of_a_step_and_of_other_kinds_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match=r"^(\w+: )?mat1|^size mismatch|^The size|^1D tensors|^inconsistent") as step:
        SpikingNet(StepLayer(own_error, F.LIFState))(torch.rand(8, 20, 3))
    assert any("first step of own_error" in note for note in step.value.__notes__)

    class Failing(nn.Module):
        def forward(self, x: Tensor, init: Any) -> Tensor:
            raise RuntimeError("the pump is off")

    with pytest.raises(RuntimeError, match=r"^the pump is off$"):
        SpikingNet(Failing())(torch.rand(8, 20))
    with pytest.raises(TypeError, match="SpikingNet: x is a list"):
        SpikingNet(linear())([[0.5]])
