"""SpikingJelly's own models, with its nodes and with ours: spikes, gradients and running statistics are equal."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import spiking_vgg
from torch import Tensor, nn

from benchmarks import models
from benchmarks.suite import Size
from spikingtorch import like

SIZE = Size(T=3, B=2, N=3 * 32 * 32)
TOLERANCE = 1e-10  # of the largest entry
# nodes of SpikingJelly and of ours
NODES = (neuron.BaseNode, like.spikingjelly.IFNode.__mro__[1])


@pytest.fixture(autouse=True)
def _one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pair_of(name: str) -> tuple[nn.Module, nn.Module]:
    """Return a model of SpikingJelly, and a copy of it with nodes of ours."""
    theirs = models.made(name, ours=False)
    if isinstance(theirs, spiking_vgg.SpikingVGG):  # whose classifier takes a gigabyte
        node = theirs.get_submodule("classifier.1")
        theirs.classifier = nn.Sequential(layer.Linear(512 * 7 * 7, 16), node)
        functional.set_step_mode(theirs, "m")
    run_in(models.excited(theirs.double()))
    ours = copy.deepcopy(theirs)
    like.spikingjelly.replace_nodes_(ours)
    return theirs, ours


def run_in(net: nn.Module) -> None:
    """Give batch norm the statistics of an input."""
    norms = [each for each in net.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net(inputs())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    functional.reset_net(net)


def inputs() -> Tensor:
    return torch.randn(SIZE.T, SIZE.B, 3, 32, 32, dtype=torch.float64)


class Ran:
    """What a call of a model gives: the output, the spikes of each node, and gradients by random output gradients."""

    def __init__(self, net: nn.Module, x: Tensor) -> None:
        self.spikes: dict[str, Tensor] = {}
        x = x.clone().requires_grad_()
        nodes: dict[str, Any] = {path: module for path, module in net.named_modules() if isinstance(module, NODES)}
        hooks = [module.register_forward_hook(partial(self._keep, path)) for path, module in nodes.items()]
        torch.manual_seed(1)  # of dropout
        self.out: Tensor = net(x)
        for hook in hooks:
            hook.remove()
        pull = torch.randn(self.out.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
        weights = {"input": x, **dict(net.named_parameters())}
        found = torch.autograd.grad(self.out, [*weights.values()], pull, retain_graph=True, materialize_grads=True)
        self.gradients = dict(zip(weights, found, strict=True))
        self.statistics = {name: each.clone() for name, each in net.named_buffers()}

    def _keep(self, path: str, _: nn.Module, __: Any, out: Tensor) -> None:
        self.spikes[path] = out.detach()


def same(ours: Ran, theirs: Ran) -> None:
    assert ours.spikes.keys() == theirs.spikes.keys()
    for path, each in theirs.spikes.items():
        assert torch.equal(ours.spikes[path], each), f"spikes of {path}"
    close(ours.out, theirs.out, "output")
    assert ours.gradients.keys() == theirs.gradients.keys()
    for name, each in theirs.gradients.items():
        # a bias in front of batch norm has none but for rounding, so what counts is its module's
        own = [g for other, g in theirs.gradients.items() if other.rpartition(".")[0] == name.rpartition(".")[0]]
        close(ours.gradients[name], each, f"gradient of {name}", *own)
    for name, each in theirs.statistics.items():
        close(ours.statistics[name], each, name)


def close(got: Tensor, want: Tensor, what: str, *others: Tensor) -> None:
    scale = max([float(each.detach().abs().max()) for each in (want, *others)])
    worst = float((got - want).detach().abs().max())
    assert worst <= TOLERANCE * scale, f"{what}: off by {worst / scale:.3g} of the largest entry"


@pytest.mark.parametrize("trains", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", models.MODELS)
def test_a_model_runs_unchanged_but_for_its_nodes(name: str, trains: bool) -> None:
    nets = [net.train(trains) for net in pair_of(name)]
    for k, x in enumerate([inputs() for _ in range(3)]):
        theirs, ours = (Ran(net, x) for net in nets)
        same(ours, theirs)
        if k == 0:
            rates = torch.stack([each.mean() for each in theirs.spikes.values()])
            assert float(rates.min()) > 0.0, f"a node is silent: {rates}"
            assert float(rates.median()) < 0.9, f"the nodes always fire: {rates}"
            assert all(float(each.abs().max()) > 0.0 for each in theirs.gradients.values())
        # after the first call nothing is reset, so that the second goes on from its states; but not its graph
        for net in nets:
            (functional.reset_net if k else functional.detach_net)(net)


NODES_OF_THEIRS: dict[str, Any] = {
    "IFNode": partial(neuron.IFNode, v_threshold=0.7, v_reset=None),
    "LIFNode": partial(neuron.LIFNode, tau=3.0, decay_input=False, v_reset=-0.1, detach_reset=True),
    "ParametricLIFNode": partial(neuron.ParametricLIFNode, init_tau=1.5, surrogate_function=surrogate.Erf(3.0)),
    "KLIFNode": partial(neuron.KLIFNode, scale_reset=True, tau=1.5),
    "LIAFNode": partial(neuron.LIAFNode, torch.tanh, False, tau=1.5),
    "CUBALIFNode": partial(neuron.CUBALIFNode, c_decay=0.3, v_decay=0.6),
    "QIFNode": partial(neuron.QIFNode, v_c=0.6, a0=1.2, v_threshold=0.9, v_rest=0.1, v_reset=-0.2),
    "EIFNode": partial(neuron.EIFNode, delta_T=0.9, theta_rh=0.7),
    "IzhikevichNode": partial(neuron.IzhikevichNode, a0=1.1, b=0.2, tau_w=3.0),
}


@pytest.mark.parametrize("name", NODES_OF_THEIRS)
def test_a_node_is_replaced_with_its_options(name: str) -> None:
    theirs = nn.Sequential(layer.Linear(4, 5), NODES_OF_THEIRS[name]()).double()
    functional.set_step_mode(theirs, "s" if name == "LIAFNode" else "m")
    ours = copy.deepcopy(theirs)
    assert like.spikingjelly.replace_nodes_(ours) is ours
    assert type(ours[1]) is getattr(like.spikingjelly, name)
    x = 2.0 * torch.rand(3, 4, dtype=torch.float64) if name == "LIAFNode" else 2.0 * torch.rand(6, 3, 4).double()
    wanted, got = theirs(x), ours(x)
    assert wanted.count_nonzero() > 0
    close(got, wanted, "output")
    pull = torch.randn_like(wanted)
    for out in (wanted, got):
        out.backward(pull)
    others: Any = [weight.grad for weight in theirs[0].parameters()]
    for key, weight in theirs.named_parameters():
        if weight.grad is not None:
            grad: Any = ours.get_parameter(key).grad
            close(grad, weight.grad, key, *others)


def test_a_node_at_two_places_is_one_node_at_both() -> None:
    node = neuron.IFNode()
    net = nn.Sequential(nn.Sequential(node), nn.Sequential(node))
    like.spikingjelly.replace_nodes_(net)
    assert type(net.get_submodule("0.0")) is like.spikingjelly.IFNode
    assert net.get_submodule("1.0") is net.get_submodule("0.0")


def test_what_is_not_replaced() -> None:
    class Mine(neuron.IFNode):  # type: ignore[misc]
        """A node of the user's."""

    for node, said in (
        (neuron.GatedLIFNode(4), "1 is a GatedLIFNode, which has no equal in spikingtorch.like"),
        (Mine(), "1 is a Mine"),
    ):
        net = nn.Sequential(neuron.IFNode(), node)
        with pytest.raises(TypeError, match=said):
            like.spikingjelly.replace_nodes_(net)
        assert type(net[0]) is neuron.IFNode  # nothing has changed
    held = nn.Sequential(neuron.IFNode())
    held(torch.rand(2, 3))
    with pytest.raises(ValueError, match="0 is the IFNode of SpikingJelly, which still holds the state"):
        like.spikingjelly.replace_nodes_(held)
    with pytest.raises(TypeError, match=r"0: IFNode: store_v_seq=True .*returns="):
        like.spikingjelly.replace_nodes_(nn.Sequential(neuron.IFNode(step_mode="m", store_v_seq=True)))
    with pytest.raises(TypeError, match="net itself is a node"):
        like.spikingjelly.replace_nodes_(neuron.IFNode())
