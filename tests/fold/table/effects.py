"""Code whose samples keep to themselves, and whose gradients or random numbers do not."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, spectral_norm

from tests.fold.table.case import Case, buffer, linear, steps, through, weight


class UnitGradient(torch.autograd.Function):
    """Hands a gradient of norm one on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        size: Tensor = gradients[0].norm()
        return gradients[0] / (size + 1e-6)


class CentredGradient(torch.autograd.Function):
    """Rounds, and hands a gradient on whose mean over the batch is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] - gradients[0].mean(0)


class UnitWeightGradient(torch.autograd.Function):
    """Scales features, with a gradient of norm one for the scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        of_w = (gradients[0] * x).sum(0)
        return gradients[0] * w, of_w / (of_w.norm() + 1e-6)


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
centred_gradient: Any = CentredGradient.apply
unit_weight_gradient: Any = UnitWeightGradient.apply
kept_norm: Any = KeptNorm.apply


class NoisyWeight(nn.Module):
    """Adds noise to a weight whenever it is read."""

    def forward(self, w: Tensor) -> Tensor:
        return w + 0.1 * torch.randn_like(w)


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


# --- random numbers ---------------------------------------------------------------------------------------------------


def seeded_anew(net: Any, x: Tensor) -> Any:
    torch.manual_seed(7)
    return x * torch.rand_like(x)


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


def noisy_linear() -> nn.Module:
    layer = nn.Linear(6, 6)
    parametrize.register_parametrization(layer, "weight", NoisyWeight())
    return layer


def seeded_in_a_fork(net: Any, x: Tensor) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return x * torch.rand_like(x)


def connections_dropped(net: Any, x: Tensor) -> Any:
    return F.linear(x, F.dropout(net.module.weight, 0.5), net.module.bias)


def opposite_noise(net: Any, x: Tensor) -> Any:
    noise = torch.randn(len(x) // 2, 6, dtype=x.dtype)
    return x + torch.cat([noise, -noise])


def centred_noise(net: Any, x: Tensor) -> Any:
    noise = torch.randn_like(x)
    return x + noise - noise.mean(0)


def one_mask_for_all(net: Any, x: Tensor) -> Any:
    return x * F.dropout(torch.ones(1, 6, dtype=x.dtype), 0.5)


EFFECTS: dict[str, Case] = {
    "gradient of norm one": steps(lambda net, x: unit_gradient(x)),
    "centred gradient": steps(lambda net, x: centred_gradient(x)),
    "gradient of norm one for a weight": steps(lambda net, x: unit_weight_gradient(x, net.w), w=weight(6)),
    "hook on features": steps(hooked),
    "hook on a weight at each step": steps(weight_hooked_again, module=linear()),
    "norm of a gradient kept": steps(gradient_norm_kept, norm=buffer()),
    "norm of a gradient kept by a function": steps(lambda net, x: kept_norm(x, net.norm), norm=buffer()),
    "spectral norm": steps(through, module=lambda: parametrizations.spectral_norm(nn.Linear(6, 6))),
    "spectral norm by hooks": steps(through, module=lambda: spectral_norm(nn.Linear(6, 6))),
    # random numbers
    "one number for all": steps(lambda net, x: x * torch.rand((), dtype=x.dtype)),
    "one mask for all": steps(lambda net, x: x * (torch.rand(1, 6) < 0.5)),
    "one mask by dropout": steps(one_mask_for_all),
    "connections dropped": steps(connections_dropped, module=linear()),
    "seeded anew": steps(seeded_anew),
    "seeded in a fork": steps(seeded_in_a_fork),
    "layer dropped": steps(layer_dropped, module=linear()),
    "features permuted at random": steps(lambda net, x: x[:, torch.randperm(6)]),
    "opposite noise for halves": steps(opposite_noise),
    "centred noise": steps(centred_noise),
    "path dropped for all": steps(lambda net, x: x * x.new_empty(1, 1).bernoulli_(0.5)),
    "noisy weight": steps(through, module=noisy_linear),
    "own generator": steps(from_own_generator, generator=lambda: torch.Generator().manual_seed(3)),
    "new generator": steps(from_a_new_generator),
    "drawn once for a shape": steps(drawn_once_for_a_shape, drawn=dict),
    "random": steps(lambda net, x: x * random.random()),
    "random choice": steps(lambda net, x: x * random.choice([1.0, 2.0, 3.0])),
    "numpy's random": steps(lambda net, x: x * np.random.default_rng(3).random(x.shape)[0, 0] * np.random.rand()),
}
