"""Code whose samples keep to themselves, and whose gradients or random numbers do not."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from tests.fold.nets.entry import Entry, between, buffer, hides, linear, module, steps


class UnitGradient(torch.autograd.Function):
    """Hands a gradient of norm one on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        size: Tensor = gradients[0].norm()
        return gradients[0] / (size + 1e-6)


class KeptNorm(torch.autograd.Function):
    """Hands the gradient on, and writes its norm into a buffer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor) -> Tensor:
        ctx.norm = norm
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.norm.copy_(gradients[0].norm())
        return gradients[0], None


unit_gradient: Any = UnitGradient.apply
kept_norm: Any = KeptNorm.apply


class NoisyWeight(nn.Module):
    """Adds noise to a weight whenever it is read."""

    def forward(self, w: Tensor) -> Tensor:
        return w + 0.1 * torch.randn_like(w)


def noisy_linear() -> nn.Module:
    layer = nn.Linear(6, 6)
    parametrize.register_parametrization(layer, "weight", NoisyWeight())
    return layer


# --- gradients --------------------------------------------------------------------------------------------------------


def hooked(net: Any, x: Tensor) -> Any:
    if x.requires_grad:
        x = x * 1.0
        x.register_hook(lambda gradient: gradient / gradient.norm())
    return x


def gradient_norm_kept(net: Any, x: Tensor) -> Any:
    x = x * 1.0
    if x.requires_grad:
        x.register_hook(lambda gradient: net.norm.copy_(gradient.norm()) and None)
    return x


def weight_hooked_again(net: Any, x: Tensor) -> Any:
    if net.module.weight.requires_grad:
        net.module.weight.register_hook(lambda gradient: 0.9 * gradient)
    return net.module(x)


def straight_through_batch(net: Any, x: Tensor) -> Any:
    soft = x.softmax(0)
    return x + (soft - soft.detach())


def compressed(net: Any, x: Tensor) -> Any:
    """Keep activations for the backward pass in a few levels, with one scale for each tensor."""

    def pack(tensor: Tensor) -> Any:
        scale = tensor.abs().max() + 1e-9
        return (tensor / scale * 7).round(), scale

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed[0] * packed[1] / 7):
        return torch.tanh(x) * x


# --- random numbers ---------------------------------------------------------------------------------------------------


def seeded_anew(net: Any, x: Tensor) -> Any:
    torch.manual_seed(7)
    return x * torch.rand_like(x)


def seeded_in_a_fork(net: Any, x: Tensor) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return F.dropout(x, 0.5, net.training)


def rarely_drawn_in_a_fork(net: Any, x: Tensor) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return x + torch.bernoulli(torch.full_like(x, 0.01))


def from_own_generator(net: Any, x: Tensor) -> Any:
    return x * torch.rand(x.shape, generator=net.generator, dtype=x.dtype)


def from_a_new_generator(net: Any, x: Tensor) -> Any:
    return x * torch.rand(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)


def drawn_once_for_a_shape(net: Any, x: Tensor) -> Any:
    if x.shape not in net.drawn:
        net.drawn[x.shape] = torch.rand(x.shape, dtype=x.dtype)
    return x * net.drawn[x.shape]


def layer_dropped(net: Any, x: Tensor) -> Any:
    return x if torch.rand(()) < 0.5 else net.module(x)


def connections_dropped(net: Any, x: Tensor) -> Any:
    return F.linear(x, F.dropout(net.module.weight, 0.5), net.module.bias)


def halved_now_and_then(net: Any, x: Tensor) -> Any:
    return x * 0.5 if net.rng.random() < 0.1 else x


def mixed_now_and_then(net: Any, x: Tensor) -> Any:
    keep = torch.empty(x.shape[0], 1).bernoulli_(0.5)
    return keep * x + (1 - keep) * x.mean(0)


def dropout_then_failure(net: Any, x: Tensor) -> Any:
    x = F.dropout(x, 0.5, training=net.training)
    if x.shape[0] > 16:
        raise ValueError("at most 16 samples")
    return x


ALL = "all samples share"
OF_PYTHON = "random numbers of Python or numpy"
MANY = torch.rand(400, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
EFFECTS: dict[str, Entry] = {
    "gradient of norm one": steps("a backward pass of the user's that mixes", between(lambda net, x: unit_gradient(x))),
    "hook on features": steps("a hook on a tensor", between(hooked)),
    "hook on a weight at each step": steps("as many hooks as steps", between(weight_hooked_again, module=linear())),
    "norm of a gradient kept": steps("a hook that keeps something", between(gradient_norm_kept, norm=buffer())),
    "norm of a gradient kept by a function": steps(
        "a backward pass that does", between(lambda net, x: kept_norm(x, net.norm), norm=buffer())
    ),
    "straight through the batch": hides("it is seen in gradients alone", between(straight_through_batch)),
    "mixed while gradients are recorded": hides(
        "a mode is asked", between(lambda net, x: x - x.mean(0) if torch.is_grad_enabled() else x)
    ),
    "mixed where a gradient is": hides(
        "a tensor is asked", between(lambda net, x: x - x.mean(0) if x.requires_grad else x)
    ),
    "saved tensors hooks": hides("nobody judges what hooks do to saved tensors", between(compressed)),
    # random numbers
    "one number for all": steps(
        "a draw of no shape", between(lambda net, x: x * (torch.rand((), dtype=x.dtype) < 0.8)), ALL
    ),
    "noise for all": steps(
        "a draw of the shape of a sample", between(lambda net, x: x + 0.1 * torch.randn(x.shape[1], dtype=x.dtype)), ALL
    ),
    "connections dropped": steps("a weight drops out", between(connections_dropped, module=linear())),
    "noisy weight": steps("so does one by a parametrization", module(noisy_linear)),
    "seeded anew": steps("each step draws the same", between(seeded_anew)),
    "seeded in a fork": steps("... in a fork", between(seeded_in_a_fork)),
    "rarely drawn in a fork": hides("... which noise may not show", between(rarely_drawn_in_a_fork), input=MANY),
    "layer dropped": steps("a draw decides", between(layer_dropped, module=linear())),
    "features permuted at random": steps(
        "an order of features is drawn", between(lambda net, x: x[:, torch.randperm(6)])
    ),
    "own generator": steps(
        "a generator that goes on", between(from_own_generator, generator=lambda: torch.Generator().manual_seed(3))
    ),
    "new generator": steps("one that does not", between(from_a_new_generator)),
    "drawn once for a shape": steps("a draw that is kept", between(drawn_once_for_a_shape, drawn=dict)),
    "random": steps("Python's numbers", between(lambda net, x: x * random.random()), OF_PYTHON),
    "random choice": steps("... by another function", between(lambda net, x: x * random.choice([1.0, 2.0, 3.0]))),
    "numpy's random": steps("numpy's numbers", between(lambda net, x: x * float(np.random.rand())), OF_PYTHON),
    "numpy's random of an array": steps(
        "a new generator of numpy's, and the old one",
        between(lambda net, x: x * np.random.default_rng(3).random(x.shape)[0, 0] * np.random.rand()),
    ),
    "rarely, by Random": hides("an object of Python's", between(halved_now_and_then, rng=lambda: random.Random(2))),
    "rarely, by numpy's generator": hides(
        "an object of numpy's", between(halved_now_and_then, rng=lambda: np.random.default_rng(4))
    ),
    "mixup now and then": steps(
        "a draw says which samples are mixed",
        between(lambda net, x: torch.where(torch.rand(x.shape[0], 1) < 0.3, x.roll(1, 0), x)),
    ),
    "shuffled by draws": steps(
        "draws are sorted", between(lambda net, x: 0.5 * x + 0.5 * x[torch.rand(x.shape[0]).argsort()])
    ),
    "mean now and then": steps("a draw weighs a mean", between(mixed_now_and_then)),
    "dropout, then a failure": hides(
        "a call that fails has drawn already", between(dropout_then_failure), input=MANY[:5].repeat(1, 2, 1)
    ),
}
