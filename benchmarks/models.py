"""SpikingJelly's own models: as they come, and with our nodes in the place of its nodes; nothing else is changed.

Theirs run in multi-step mode, time first. A node of ours is made from the options of the one that it replaces, and
takes over its parameters.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.subject import Trained
from benchmarks.suite import OURS, Case, Size

CLASSES = 10
# whom ours is compared with, at which size and in which arithmetic
REFERENCE, CHECKED, CHECKED_IN = "spikingjelly", Size(T=4, B=2, N=3 * 32 * 32), torch.float64
PREFIX = "spikingjelly.activation_based"
# the options of nodes, for the models that have none of their own, as their authors train them
OPTIONS = {"detach_reset": True}


def _part(name: str) -> Any:
    return importlib.import_module(f"{PREFIX}.{name}")


def _of(file: str, kind: str, **options: Any) -> Callable[[], nn.Module]:
    """Return what makes a model with the nodes that are its own."""
    return lambda: getattr(_part(f"model.{file}"), kind)(num_classes=CLASSES, **options)


def _with(node: str, file: str, kind: str, **options: Any) -> Callable[[], nn.Module]:
    """Return what makes a model that takes the class of its nodes."""

    def make() -> nn.Module:
        spike: Any = _part("surrogate").ATan()
        return getattr(_part(f"model.{file}"), kind)(
            spiking_neuron=getattr(_part("neuron"), node), surrogate_function=spike, **OPTIONS, **options
        )

    return make


def _sew(function: str) -> Callable[[], nn.Module]:
    return _with("IFNode", "sew_resnet", "sew_resnet18", num_classes=CLASSES, cnf=function)


# in the sizes of their classes or, of the transformers, of their papers for 32 x 32 images, but for fewer blocks
IMAGE = {"img_size_h": 32, "img_size_w": 32, "patch_size": 4}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "SEW-ResNet-18, ADD": _sew("ADD"),
    "SEW-ResNet-18, AND": _sew("AND"),
    "SEW-ResNet-18, IAND": _sew("IAND"),
    "Spiking-ResNet-18": _with("IFNode", "spiking_resnet", "spiking_resnet18", num_classes=CLASSES),
    "MS-ResNet-18": _of("ms_resnet", "MSResNet", T=4, layers=(2, 2, 2, 2)),
    "Spiking-VGG-11": _with("LIFNode", "spiking_vgg", "spiking_vgg11_bn", num_classes=CLASSES),
    "PLIF-Net": _with("ParametricLIFNode", "parametric_lif_net", "CIFAR10Net", channels=128),
    "Spikformer": _of("spikformer", "Spikformer", embed_dims=384, num_heads=12, depths=1, **IMAGE),
    "QKFormer": _of("qkformer", "QKFormer", embed_dims=384, depths=(1, 1, 1)),
    "SDT": _of("spike_driven_transformer", "SpikeDrivenTransformer", embed_dims=256, depths=1, pooling_stat="0011"),
    "MaxFormer": _of("maxformer", "MaxFormer", embed_dims=384, depths=(1, 1, 1), cifar=True),
}


def made(model: str, ours: bool, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a model with random weights, the same at each call, with which all of its nodes fire."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = excited(MODELS[model]().to(dtype))
    if ours:
        from spikingtorch import like

        like.spikingjelly.replace_nodes_(net)
    _part("functional").set_step_mode(net, "m")
    return net


def excited(net: nn.Module) -> nn.Module:
    """Return a network with weights in front of its nodes with which they fire."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(1.5, 2.5)
                module.bias.uniform_(0.2, 0.8)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0.1, 3.0).div_(module.in_features**0.5)
    return net


def sequence(size: Size, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return images (T, B, 3, 32, 32), the same at each step, and classes (B,)."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(size.B, 3, 32, 32, generator=generator).to(dtype)
    return images.expand(size.T, -1, -1, -1, -1).clone(), torch.randint(CLASSES, (size.B,), generator=generator)


def trained(case: Case, dtype: torch.dtype = torch.float32) -> Trained:
    """Return a model of a case with its inputs, and the cross entropy of the mean over time."""
    net = made(case.model, case.contestant == OURS, dtype)
    images, classes = sequence(case.size, dtype)
    return Trained(
        net,
        lambda: readout(net, images),
        lambda out: nn.functional.cross_entropy(out, classes),
        lambda: _part("functional").reset_net(net),
    )


def readout(net: nn.Module, images: Tensor) -> Tensor:
    """Return the mean over time of what a model gives out, if it has not taken it itself."""
    out: Tensor = net(images)
    return out.mean(0) if out.ndim == 3 else out
