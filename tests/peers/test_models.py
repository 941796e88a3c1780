"""SpikingJelly's own models, with its nodes and with ours: spikes, gradients and running statistics are equal."""

import copy
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import qkformer, sew_resnet, spike_driven_transformer, spikformer, spiking_vgg
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
    models.replace_nodes(ours)
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
        nodes = {path: module for path, module in net.named_modules() if isinstance(module, NODES)}
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


SPIKE = {"surrogate_function": surrogate.ATan(alpha=3.0), "detach_reset": True}
HANDED: dict[str, Any] = {
    "SEW-ResNet": partial(sew_resnet.sew_resnet18, num_classes=5, cnf="ADD"),
    "Spikformer": partial(spikformer.Spikformer, embed_dims=64, num_heads=4, depths=1, num_classes=5, **models.IMAGE),
    "QKFormer": partial(qkformer.QKFormer, embed_dims=48, depths=(1, 1, 1), num_classes=5),
    "SDT": partial(
        spike_driven_transformer.SpikeDrivenTransformer, embed_dims=64, depths=1, num_classes=5, pooling_stat="0011"
    ),
}


@pytest.mark.parametrize("node", ["IFNode", "ParametricLIFNode"])
@pytest.mark.parametrize("name", HANDED)
def test_a_constructor_takes_a_node_of_ours_with_a_spike_function_of_theirs(name: str, node: str) -> None:
    theirs = HANDED[name](spiking_neuron=getattr(neuron, node), **SPIKE).double()
    ours = HANDED[name](spiking_neuron=getattr(like.spikingjelly, node), **SPIKE).double()
    for net in (theirs, ours):
        functional.set_step_mode(net, "m")
    run_in(models.excited(theirs))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "load_state_dict: the checkpoint", UserWarning)
        ours.load_state_dict(theirs.state_dict())
    x = inputs()
    same(Ran(ours, x), Ran(theirs, x))
