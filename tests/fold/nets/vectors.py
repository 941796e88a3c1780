"""Code for vectors of features that leaves samples to themselves."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm
from torch.utils.checkpoint import checkpoint

from tests.fold.nets.entry import Entry, between, folds, hides, linear, module, steps, weight


class Quantised(torch.autograd.Function):
    """Rounds to multiples of a step size that is learned too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Tensor) -> Tensor:
        ctx.save_for_backward(x, size)
        return torch.round(x / size) * size

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, size = ctx.saved_tensors
        inside = (x.abs() < 4 * size).to(x)
        return gradients[0] * inside, (gradients[0] * (x / size).round()).sum()


class Squashed(nn.Module):
    """A linear layer and tanh, to be scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


class Levels(nn.Parameter):
    """A weight whose product takes inputs in a few levels, with one scale for all."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is F.linear:
                scale = args[0].abs().max()
                return F.linear((args[0] / scale * 7).round() * scale / 7, *args[1:])
            return func(*args, **(kwargs or {}))


def leveled() -> nn.Module:
    layer = nn.Linear(6, 6, dtype=torch.float64)
    layer.weight = Levels(layer.weight.detach())
    return layer


class Square(nn.Module):
    """A parametrisation."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


quantised: Any = Quantised.apply


def distinct(x: Tensor) -> Tensor:
    """Add a number of its own to each feature, so that no two are the same."""
    return x + torch.linspace(0.0, 0.5, x.shape[-1], dtype=x.dtype)


def copied_into_zeros(net: Any, x: Tensor) -> Any:
    room = torch.zeros(x.shape[0], 8, dtype=x.dtype)
    room[:, 1:7] = x
    return room


def nearest_code(net: Any, x: Tensor) -> Any:
    """Replace samples by the nearest vectors of a code book, and hand the gradient straight through."""
    found = F.embedding(torch.cdist(x, net.codes).argmin(1), net.codes)
    return found + x - x.detach()


def mixture_of_experts(net: Any, x: Tensor) -> Any:
    shares = net.gate(x).softmax(-1)
    found = torch.stack([expert(x) for expert in net.experts], -1)
    return (found * shares[:, None]).sum(-1)


def binary(net: Any, x: Tensor) -> Any:
    soft = net.module(x).sigmoid()
    return soft + ((soft > 0.5).to(soft) - soft).detach()


def with_other_weights(net: Any, x: Tensor) -> Any:
    return torch.func.functional_call(net.module, {"weight": net.module.weight * net.w}, (x,))


def gradient_of_energy(net: Any, x: Tensor) -> Any:
    """Return the gradient of an energy of each sample, which is that of their sum."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad(net.module(y).tanh().sum(), y, create_graph=True)[0]


def quiet(net: Any, x: Tensor) -> Any:
    with torch.no_grad():
        more = net.module(x)
    return x + more


def changed(change: Any, *options: Any) -> Any:
    """Return what makes a linear layer to which something has been done."""

    def make() -> nn.Module:
        layer = nn.Linear(6, 6)
        change(layer, *options)
        return layer

    return make


def attention_of_heads(net: Any, x: Tensor) -> Any:
    """Attend in four axes, for which torch has a kernel that may draw."""
    q, k, v = net.module(x).view(-1, 3, 2, 2, 2).unbind(1)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).flatten(1)


norm_of_weight = parametrizations.weight_norm
spectral = parametrizations.spectral_norm
VECTORS: dict[str, Entry] = {
    # weights that are made of other weights
    "weight norm": folds("a parametrization", module(changed(norm_of_weight))),
    "orthogonal weight": folds("matrices without samples", module(changed(parametrizations.orthogonal))),
    "own parametrization": folds(
        "a module of the user's makes a weight",
        module(changed(parametrize.register_parametrization, "weight", Square())),
    ),
    "spectral norm in evaluation": folds(
        "it changes its state in training alone", module(changed(spectral)), training=False
    ),
    "spectral norm by hooks in evaluation": folds(
        "so does the older one, whose code is a hook", module(changed(spectral_norm)), training=False
    ),
    "spectral norm": steps(
        "an iteration at each step goes on from the last", module(changed(spectral)), "writes on a tensor that outlives"
    ),
    "pruned weight": folds(
        "a hook multiplies a weight by a buffer", module(changed(prune.l1_unstructured, "weight", 0.5))
    ),
    "called with other weights": folds(
        "functional_call in a step", between(with_other_weights, module=linear(), w=weight(6, 6))
    ),
    "sparse weight": steps(
        "it could fold, but a sparse product is not known",
        between(lambda net, x: torch.sparse.mm(net.module.weight.to_sparse(), x.T).T, module=linear()),
        "runs an operation that is not known to keep samples apart.*_sparse_addmm",
    ),
    # modules
    "mixture of experts": folds(
        "modules in a list, called in turn",
        between(
            mixture_of_experts, gate=linear(6, 3), experts=lambda: nn.ModuleList([nn.Linear(6, 6) for _ in range(3)])
        ),
    ),
    "shared linear": folds(
        "one module called twice", between(lambda net, x: x + net.module(net.module(x)), module=linear())
    ),
    "LSTM cell": folds(
        "a fused cell that returns two", between(lambda net, x: net.module(x)[0], module=lambda: nn.LSTMCell(6, 6))
    ),
    "compiled": folds(
        "a compiled module is run as it was written", module(lambda: torch.compile(nn.Linear(6, 6), backend="eager"))
    ),
    "scripted": steps(
        "its code is not in sight",
        module(lambda: torch.jit.script(Squashed())),
        "a scripted module, whose code is not in sight",
    ),
    "weight of another class": hides("its product is taken with one scale for all", module(leveled)),
    "float32 alone": folds(
        "a network that runs in no other dtype",
        between(lambda net, x: x.float() @ net.w, w=lambda: torch.rand(6, 6)),
        dtype=torch.float32,
    ),
    "in float32": folds(
        "sums of fewer digits", between(lambda net, x: net.module(x).tanh(), module=linear()), dtype=torch.float32
    ),
    # tables
    "embedding bag": steps(
        "it could fold, but torch makes an offset for each sample",
        between(lambda net, x: net.module(x.long()), module=lambda: nn.EmbeddingBag(5, 6)),
        "computes with the number of samples, or with a number that c.*arange",
    ),
    "embedding with sparse gradient": folds(
        "a gradient that is sparse",
        between(lambda net, x: net.module(x.long()).mean(1), module=lambda: nn.Embedding(5, 6, sparse=True)),
    ),
    "one hot": folds(
        "its number of classes is given", between(lambda net, x: F.one_hot(distinct(x).argmax(1), 6).to(x))
    ),
    "code book": steps(
        "it could fold, but torch measures many samples otherwise than few",
        between(nearest_code, codes=weight(6, 6)),
        "measures distances by another formula if there are more samples",
    ),
    # operations
    "vmap over samples": folds(
        "a transform along the batch", between(lambda net, x: torch.vmap(lambda one: one / (1.0 + one.sum()))(x))
    ),
    "rewritten in place": folds(
        "operations on one memory", between(lambda net, x: (x * 1.0).mul_(2.0).add_(1.0).relu_())
    ),
    "copied into zeros": folds("a view of a tensor made anew is written on by samples", between(copied_into_zeros)),
    # gradients
    "learned quantiser": folds(
        "a backward pass of the user's that sums over samples",
        between(
            lambda net, x: quantised(x * net.w, net.size), w=weight(6), size=lambda: nn.Parameter(torch.tensor(0.5))
        ),
    ),
    "straight through": folds("a part without a gradient", between(binary, module=linear())),
    "without gradient": folds("a module whose weights get none", between(quiet, module=linear())),
    "checkpoint": folds(
        "the forward pass runs again",
        between(lambda net, x: checkpoint(net.module, x, use_reentrant=False), module=linear()),
    ),
    "reentrant checkpoint": steps(
        "an autograd Function that hides its code",
        between(lambda net, x: checkpoint(net.module, x, use_reentrant=True), module=linear()),
        "runs a checkpoint with use_reentrant=True",
    ),
    "gradient of an energy": steps(
        "it could fold, but a gradient of a sum over samples is taken",
        between(gradient_of_energy, module=linear()),
        "reads grad of a tensor",
    ),
    # sizes and places that do no harm
    "pool of features": folds(
        "samples are taken for channels", between(lambda net, x: F.avg_pool1d(x, 3, 1, 1) + F.max_pool1d(x, 3, 1, 1))
    ),
    "instance norm with samples as channels": folds(
        "and each channel is normalised", between(lambda net, x: F.instance_norm(x[None])[0])
    ),
    "copies of samples": folds(
        "copies of a sample stay beside it",
        between(lambda net, x: net.module(x.repeat_interleave(2, 0)).view(-1, 2, 6).amax(1), module=linear()),
    ),
    "copies of the batch": steps(
        "it could fold, but copies of a sample are far from it",
        between(lambda net, x: net.module(x.repeat(2, 1)).view(2, -1, 6).mean(0), module=linear()),
        "repeats the samples of the batch.*repeat",
    ),
    "value at the largest": steps(
        "it could fold, but rows are numbered",
        between(lambda net, x: x[torch.arange(len(x)), distinct(x).argmax(1)][:, None] + x),
        "computes with the number of samples, or with a number that c.*arange",
    ),
    "sample by sample": steps(
        "it could fold, but as many calls as samples are made",
        between(lambda net, x: torch.stack([net.module(one) for one in x]), module=linear()),
        "computes something else for another number of samples, or at",
    ),
    "size by size": steps(
        "it could fold, but sizes cancel in Python",
        between(lambda net, x: x * len(x) / x.shape[0]),
        "computes with the number of samples, or with a number that c.*mul",
    ),
    # random numbers, a draw for each step and sample
    "attention of heads with dropout": folds(
        "a fused kernel draws", between(attention_of_heads, module=linear(6, 24)), draws=True
    ),
    "dropouts": folds(
        "masks of features, and of others",
        module(
            lambda: nn.Sequential(
                nn.Dropout(0.3), nn.AlphaDropout(0.3), nn.Unflatten(1, (3, 2)), nn.Dropout1d(0.5), nn.Flatten()
            )
        ),
        draws=True,
    ),
    "dropout in a checkpoint": folds(
        "the same mask is drawn once more",
        between(lambda net, x: checkpoint(nn.Dropout(0.5), x * net.w, use_reentrant=False), w=weight(6)),
        draws=True,
    ),
    "encoder": folds(
        "a draw is compared with a sample", between(lambda net, x: (torch.rand_like(x) < 0.5 * x).to(x)), draws=True
    ),
}
