"""Code whose samples keep to themselves, and whose gradients or random numbers do not."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from tests.fold.corpus import entry
from tests.fold.corpus.entry import SEQUENCE, Entry, buffer, folds, hides, linear, module, own, steps, weight
from tests.folded_layer import Lambda
from tests.nets_that_step import with_backward

# --- gradients --------------------------------------------------------------------------------------------------------


class UnitWeightGradient(torch.autograd.Function):
    """Hands its weight a gradient of length one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        whole = (grads[0] * ctx.saved_tensors[0]).sum(0) if ctx.needs_input_grad[1] else None
        return None, None if whole is None else whole / whole.norm()


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


of_norm_one = with_backward(lambda grad: grad / (grad.norm() + 1e-6))
unit_weight_gradient: Any = UnitWeightGradient.apply
kept_norm: Any = KeptNorm.apply


def hooked(net: Any, x: Tensor) -> Any:
    if x.requires_grad:
        x = x * 1.0
        x.register_hook(lambda gradient: gradient / gradient.norm())
    return x


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


GRADIENTS: dict[str, Entry] = {
    "a backward pass of the user's mixes": steps(lambda net, x: of_norm_one(x)),
    "a backward pass writes on a buffer": steps(lambda net, x: kept_norm(x, net.norm), norm=buffer()),
    "a backward pass comes to mix": folds(
        lambda net, x: unit_weight_gradient(x, net.w),
        w=lambda: nn.Parameter(torch.ones(6), requires_grad=False),
        change=lambda net: net.w.requires_grad_(),
        then="",
    ),
    "a hook on a tensor": steps(hooked, "changes its backward pass by hooks, with register_hook"),
    "mixed in the gradient alone": hides(straight_through_batch),
    "mixed while gradients are recorded": hides(lambda net, x: x - x.mean(0) if torch.is_grad_enabled() else x),
    "mixed where a gradient is": hides(lambda net, x: x - x.mean(0) if x.requires_grad else x),
    "hooks on saved tensors": hides(compressed),
    "a checkpoint that hides its code": steps(
        lambda net, x: checkpoint(net.module, x, use_reentrant=True),
        "runs a checkpoint with use_reentrant=True",
        module=linear(),
    ),
}

# --- random numbers ---------------------------------------------------------------------------------------------------


def seeded_anew(net: Any, x: Tensor) -> Any:
    torch.manual_seed(7)
    return x * torch.rand_like(x)


def rarely_drawn_in_a_fork(net: Any, x: Tensor) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return x + torch.bernoulli(torch.full_like(x, 0.01))


def drawn_once_for_a_shape(net: Any, x: Tensor) -> Any:
    if x.shape not in net.drawn:
        net.drawn[x.shape] = torch.rand(x.shape, dtype=x.dtype)
    return x * net.drawn[x.shape]


def halved_now_and_then(net: Any, x: Tensor) -> Any:
    return x * 0.5 if net.rng.random() < 0.1 else x


def dropout_then_failure(net: Any, x: Tensor) -> Any:
    x = F.dropout(x, 0.5, training=net.training)
    if x.shape[0] > 16:
        raise ValueError("at most 16 samples")
    return x


def failure_at_once(net: Any, x: Tensor, init: Any) -> Tensor:
    h = net.module(x)
    if "steps at once" in repr(init) and "of 1 steps" not in repr(init):  # as in no trace of it
        raise ValueError("takes one step")
    return net.sl2(net.l2(net.sl1(net.l1(h), init)), init)


def left_out_at_random(net: Any, x: Tensor) -> Any:
    """Leave the block out for some samples, by a mask that is written on in place."""
    mask = torch.rand((x.shape[0], 1), dtype=x.dtype) + 0.6
    return x + net.module(x).div(0.6) * mask.floor_()


def dropouts() -> nn.Module:
    parts = [nn.Dropout(0.3), nn.AlphaDropout(0.3), nn.Unflatten(1, (3, 2)), nn.Dropout1d(0.5), nn.Flatten()]
    return nn.Sequential(*parts)


# adds noise to a weight whenever it is read
NOISY_WEIGHT = Lambda(lambda _, w: w + 0.1 * torch.randn_like(w))
OF_PYTHON = "random numbers of Python or numpy"
MANY = torch.rand(400, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
RANDOM: dict[str, Entry] = {
    "a draw of no shape": steps(lambda net, x: x * (torch.rand((), dtype=x.dtype) < 0.8), "all samples share"),
    "a draw for a weight": steps(
        module,
        "all samples share",
        module=entry.parametrized(parametrize.register_parametrization, "weight", NOISY_WEIGHT),
    ),
    "each step draws the same": steps(seeded_anew),
    "each step draws the same in a fork": hides(rarely_drawn_in_a_fork, input=MANY),
    "a generator goes on from step to step": steps(
        lambda net, x: x * torch.rand(x.shape, generator=net.generator, dtype=x.dtype),
        "a Generator whose content is not in sight",
        generator=lambda: torch.Generator().manual_seed(3),
    ),
    "a generator is made anew": steps(
        lambda net, x: x * torch.rand(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    ),
    "a draw is kept for each shape": steps(drawn_once_for_a_shape, drawn=dict),
    "a number of Python's is drawn": steps(lambda net, x: x * random.random(), OF_PYTHON),
    "a number of numpy's is drawn": steps(lambda net, x: x * float(np.random.rand()), OF_PYTHON),
    "an object of Python's draws, and it shows rarely": hides(halved_now_and_then, rng=lambda: random.Random(2)),
    "an object of numpy's draws, and it shows rarely": hides(halved_now_and_then, rng=lambda: np.random.default_rng(4)),
    "a call that fails has drawn already": hides(dropout_then_failure, input=MANY[:5].repeat(1, 2, 1)),
    **{
        f"a fold that fails has {done}": folds(
            own(failure_at_once), module=make, then="failed with all steps at once .*takes one step", each_time=True
        )
        for done, make in (("drawn already", nn.Dropout), ("written statistics already", lambda: nn.BatchNorm1d(4)))
    },
    # a draw for each step and sample
    "masks of features, and of others": folds(module, module=dropouts, draws=True),
    "a mask that a checkpoint draws once more": folds(
        lambda net, x: checkpoint(nn.Dropout(0.5), x * net.w, use_reentrant=False), w=weight(6), draws=True
    ),
    "a block is left out at random": folds(left_out_at_random, module=linear(), draws=True),
    "a module of torch's draws between its layers": folds(
        lambda net, x: net.module(x)[0],
        module=lambda: nn.LSTM(8, 4, 2, dropout=0.1, batch_first=True),
        shape=SEQUENCE,
        draws=True,
    ),
}
EFFECTS = GRADIENTS | RANDOM
