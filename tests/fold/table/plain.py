"""Code for vectors of features that leaves samples to themselves."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from tests.fold.table.case import Case, buffer, drawing, evaluated, folds, in_float32, linear, through, weight


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


class Reversed(torch.autograd.Function):
    """Hands the gradient on with the opposite sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class Squashed(nn.Module):
    """A linear layer and tanh, to be scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


class LowRank(nn.Module):
    """A frozen linear layer with a learned change of rank 2."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)

    def forward(self, x: Tensor) -> Any:
        return self.frozen(x) + 0.5 * self.up(self.down(x))


quantised: Any = Quantised.apply
turned_round: Any = Reversed.apply


def distinct(x: Tensor) -> Tensor:
    """Add a number of its own to each feature, so that no two are the same."""
    return x + torch.linspace(0.0, 0.5, x.shape[-1], dtype=x.dtype)


def rewritten(net: Any, x: Tensor) -> Any:
    return (x * 1.0).mul_(2.0).add_(1.0).relu_()


def first_cleared(net: Any, x: Tensor) -> Any:
    x = x.clone()
    x[:, 0] = 0.0
    return x


def copied_into_zeros(net: Any, x: Tensor) -> Any:
    room = torch.zeros(x.shape[0], 8, dtype=x.dtype)
    room[:, 1:7] = x
    return room


def logged(net: Any, x: Tensor) -> Any:
    x.detach().mean()
    return x * 2.0


def nearest_code(net: Any, x: Tensor) -> Any:
    """Replace samples by the nearest vectors of a code book, and hand the gradient straight through."""
    found = F.embedding(torch.cdist(x, net.codes).argmin(1), net.codes)
    return found + x - x.detach()


def similar(net: Any, x: Tensor) -> Any:
    near = F.cosine_similarity(x, net.w, 1) + F.pairwise_distance(x, net.w)
    return x * near[:, None]


def standardised_features(net: Any, x: Tensor) -> Any:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1.0)


def mixture_of_experts(net: Any, x: Tensor) -> Any:
    shares = net.gate(x).softmax(-1)
    found = torch.stack([expert(x) for expert in net.experts], -1)
    return (found * shares[:, None]).sum(-1)


def maxout(net: Any, x: Tensor) -> Any:
    return net.module(x).unflatten(-1, (6, 2)).amax(-1)


def weights_of_each_sample(net: Any, x: Tensor) -> Any:
    own = net.module(x).view(-1, 6, 6)
    return torch.bmm(own, x[:, :, None])[:, :, 0]


def highway(net: Any, x: Tensor) -> Any:
    share = net.gate(x).sigmoid()
    return share * net.module(x).relu() + (1.0 - share) * x


def modulated(net: Any, x: Tensor) -> Any:
    scale, shift = net.module(x).chunk(2, -1)
    return x * (1.0 + scale) + shift


def binary(net: Any, x: Tensor) -> Any:
    soft = net.module(x).sigmoid()
    return soft + ((soft > 0.5).to(soft) - soft).detach()


def soft_tree(net: Any, x: Tensor) -> Any:
    """Weigh the four leaves of a tree by the way that leads to them."""
    right = net.module(x).sigmoid()
    first, second = torch.stack([1.0 - right, right], -1).unbind(1)
    return torch.einsum("na,nb,abf->nf", first, second, net.leaves)


def products_of_pairs(net: Any, x: Tensor) -> Any:
    pairs = list(itertools.combinations(range(6), 2))
    return x[:, [a for a, _ in pairs]] * x[:, [b for _, b in pairs]]


def counted_in_bins(net: Any, x: Tensor) -> Any:
    """Add features up by a fixed assignment to three bins."""
    where = torch.tensor([0, 1, 2, 0, 1, 2]).expand(x.shape[0], -1)
    return torch.zeros(x.shape[0], 3, dtype=x.dtype).scatter_add(1, where, x)


def put_by_row(net: Any, x: Tensor) -> Any:
    rows = torch.arange(len(x))
    return torch.zeros_like(x).index_put((rows, distinct(x).argmax(1)), x.sum(1), accumulate=True)


def winners(net: Any, x: Tensor) -> Any:
    """Keep the largest three features of each sample."""
    x = distinct(x)
    return x * (x >= x.topk(3, -1).values[:, -1:]).to(x)


def small_recurrence(net: Any, x: Tensor) -> Any:
    h = x.new_zeros(x.shape[0], 4)
    for part in x.unflatten(-1, (3, 2)).unbind(1):
        h = net.module(part, h)
    return h


def upper_triangle(net: Any, x: Tensor) -> Any:
    row, column = torch.triu_indices(6, 6)
    return (x[:, :, None] * x[:, None, :])[:, row, column]


def weight_without_mean(net: Any, x: Tensor) -> Any:
    w = net.module.weight
    return F.linear(x, (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-3), net.module.bias)


def with_other_weights(net: Any, x: Tensor) -> Any:
    return torch.func.functional_call(net.module, {"weight": net.module.weight * net.w}, (x,))


def gradient_of_energy(net: Any, x: Tensor) -> Any:
    """Return the gradient of an energy of each sample, which is that of their sum."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad(net.module(y).tanh().sum(), y, create_graph=True)[0]


def fixed_point(net: Any, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    for _ in range(5):
        z = torch.tanh(0.5 * net.module(z) + x)
    return z


def pruned() -> nn.Module:
    layer = nn.Linear(6, 6)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


def kept_in_range(net: Any, x: Tensor) -> Any:
    return torch.where(x > 0, x, x.masked_fill(x < 0, 0.0)).clamp(0.0, 1.0)


PLAIN: dict[str, Case] = {
    # weights that are made of other weights
    "weight norm": folds(through, module=lambda: parametrizations.weight_norm(nn.Linear(6, 6))),
    "weight norm by hooks": folds(through, module=lambda: weight_norm(nn.Linear(6, 6))),
    "orthogonal weight": folds(through, module=lambda: parametrizations.orthogonal(nn.Linear(6, 6))),
    "spectral norm in evaluation": evaluated(
        folds(through, module=lambda: parametrizations.spectral_norm(nn.Linear(6, 6)))
    ),
    "spectral norm by hooks in evaluation": evaluated(folds(through, module=lambda: spectral_norm(nn.Linear(6, 6)))),
    "standardised weight": folds(weight_without_mean, module=linear()),
    "change of low rank": folds(through, module=LowRank),
    "weights of each sample": folds(weights_of_each_sample, module=linear(6, 36)),
    "circulant weight": folds(lambda net, x: x @ torch.stack([net.w.roll(k) for k in range(6)]), w=weight(6)),
    # gates
    "GLU": folds(lambda net, x: F.glu(net.module(x)), module=linear(6, 12)),
    "SwiGLU": folds(
        lambda net, x: net.down(F.silu(net.gate(x)) * net.up(x)), gate=linear(), up=linear(), down=linear()
    ),
    "GEGLU": folds(lambda net, x: F.gelu(net.gate(x), approximate="tanh") * net.up(x), gate=linear(), up=linear()),
    "highway": folds(highway, gate=linear(), module=linear()),
    "modulated": folds(modulated, module=linear(6, 12)),
    "mixture of experts": folds(
        mixture_of_experts,
        gate=linear(6, 3),
        experts=lambda: nn.ModuleList([nn.Linear(6, 6) for _ in range(3)]),
    ),
    "maxout": folds(maxout, module=linear(6, 12)),
    "soft tree": folds(soft_tree, module=linear(6, 2), leaves=weight(2, 2, 6)),
    # tables
    "embedding": folds(lambda net, x: net.module(x.long()).mean(1), module=lambda: nn.Embedding(5, 6)),
    "embedding bag": folds(lambda net, x: net.module(x.long()), module=lambda: nn.EmbeddingBag(5, 6)),
    "embedding with sparse gradient": folds(
        lambda net, x: net.module(x.long()).mean(1), module=lambda: nn.Embedding(5, 6, sparse=True)
    ),
    "one hot": folds(lambda net, x: F.one_hot(distinct(x).argmax(1), 6).to(x)),
    "code book": folds(nearest_code, codes=weight(6, 6)),
    "bins": folds(
        lambda net, x: net.module(torch.bucketize(distinct(x), net.edges)).sum(1),
        module=lambda: nn.Embedding(5, 6),
        edges=lambda: nn.Buffer(torch.linspace(0, 1, 4)),
    ),
    # several things at once
    "bilinear": folds(lambda net, x: net.module(x, x), module=lambda: nn.Bilinear(6, 6, 6)),
    "distances to prototypes": folds(lambda net, x: torch.cdist(x, net.w), w=weight(6, 6)),
    "similarity to a vector": folds(similar, w=weight(1, 6)),
    "outer product": folds(lambda net, x: (x[:, :, None] * distinct(x)[:, None, :]).sum(2)),
    "upper triangle": folds(upper_triangle),
    "products of pairs": folds(products_of_pairs),
    "factors by einsum": folds(lambda net, x: torch.einsum("nf,rf,rg,nf->ng", x, net.w, net.w, x), w=weight(3, 6)),
    "quadratic form by einsum": folds(
        lambda net, x: x * torch.einsum("...i,ij,...j", x, net.w, x)[:, None], w=weight(6, 6)
    ),
    # along the features
    "cumulative sum of features": folds(lambda net, x: x.cumsum(1)),
    "sorted features": folds(lambda net, x: x.sort(-1).values + distinct(x).topk(6, -1).values),
    "gathered by rank": folds(lambda net, x: x.gather(1, distinct(x).argsort(1))),
    "winners": folds(winners),
    "standardised features": folds(standardised_features),
    "log-sum-exp": folds(lambda net, x: x - x.logsumexp(-1, keepdim=True)),
    "median of features": folds(lambda net, x: x - distinct(x).median(-1, keepdim=True).values),
    "sums by bin": folds(counted_in_bins),
    "recurrent cell over parts": folds(small_recurrence, module=lambda: nn.GRUCell(2, 4)),
    "LSTM cell": folds(lambda net, x: net.module(x)[0], module=lambda: nn.LSTMCell(6, 6)),
    "vmap over samples": folds(lambda net, x: torch.vmap(lambda one: one / (1.0 + one.sum()))(x)),
    # written in place
    "rewritten in place": folds(rewritten),
    "feature assigned": folds(first_cleared),
    "copied into zeros": folds(copied_into_zeros),
    "where, masked_fill, clamp": folds(kept_in_range),
    # constants
    "tensors made anew": folds(lambda net, x: x + torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=x.dtype) + torch.arange(6)),
    "normalised by a constant buffer": folds(lambda net, x: (x - net.mean) / (net.mean + 1.0), mean=buffer(6)),
    # gradients
    "learned quantiser": folds(
        lambda net, x: quantised(x * net.w, net.size), w=weight(6), size=lambda: nn.Parameter(torch.tensor(0.5))
    ),
    "straight through": folds(binary, module=linear()),
    "without gradient": folds(lambda net, x: x + net.module(x).detach(), module=linear()),
    "checkpoint": folds(lambda net, x: checkpoint(net.module, x, use_reentrant=False), module=linear()),
    "reentrant checkpoint": folds(lambda net, x: checkpoint(net.module, x, use_reentrant=True), module=linear()),
    "in float32": in_float32(folds(lambda net, x: net.module(x).tanh(), module=linear())),
    # other things
    "logged": folds(logged),
    "scripted": folds(through, module=lambda: torch.jit.script(Squashed())),
    "compiled": folds(through, module=lambda: torch.compile(nn.Linear(6, 6), backend="eager")),
    "called with other weights": folds(with_other_weights, module=linear(), w=weight(6, 6)),
    "gradient of an energy": folds(gradient_of_energy, module=linear()),
    "gradient turned round": folds(lambda net, x: turned_round(x)),
    "fixed point": folds(fixed_point, module=linear()),
    "sparse weight": folds(lambda net, x: torch.sparse.mm(net.module.weight.to_sparse(), x.T).T, module=linear()),
    "pruned weight": folds(through, module=pruned),
    # sizes and places that do no harm
    "pool of features": folds(lambda net, x: F.avg_pool1d(x, 3, 1, 1) + F.max_pool1d(x, 3, 1, 1)),
    "resampled features": folds(lambda net, x: F.interpolate(x[None], scale_factor=2.0)[0]),
    "instance norm with samples as channels": folds(lambda net, x: F.instance_norm(x[None])[0]),
    "layer norm by shape": folds(lambda net, x: F.layer_norm(x, x.shape[1:])),
    "copies of samples": folds(
        lambda net, x: net.module(x.repeat_interleave(2, 0)).view(-1, 2, 6).amax(1), module=linear()
    ),
    "copies of the batch": folds(lambda net, x: net.module(x.repeat(2, 1)).view(2, -1, 6).mean(0), module=linear()),
    "value at the largest": folds(lambda net, x: x[torch.arange(len(x)), distinct(x).argmax(1)][:, None] + x),
    "views by size": folds(lambda net, x: x.view(x.size(0), 2, -1).transpose(1, 2).reshape(x.size(0), -1)),
    "identity for each sample": folds(
        lambda net, x: (torch.eye(6, dtype=x.dtype).repeat(len(x), 1, 1) @ x[..., None])[..., 0]
    ),
    "sample by sample": folds(lambda net, x: torch.stack([net.module(one) for one in x]), module=linear()),
    "part by part": folds(lambda net, x: torch.cat([net.module(part) for part in x.split(2)]), module=linear()),
    "bags by offset": folds(
        lambda net, x: F.embedding_bag(x.long().flatten(), net.w, 6 * torch.arange(len(x))), w=weight(5, 6)
    ),
    "put by row": folds(put_by_row),
    "batch moved last and back": folds(lambda net, x: x.movedim(0, -1).softmax(0).movedim(-1, 0)),
    "weights from the left": folds(lambda net, x: (net.w @ x.T).T, w=weight(3, 6)),
    "added to a product": folds(lambda net, x: torch.addmm(x, x, net.w, beta=0.5), w=weight(6, 6)),
    "size by size": folds(lambda net, x: x * len(x) / x.shape[0]),
    # random numbers
    "dropout of nothing": folds(through, module=lambda: nn.Dropout(0.0)),
    "dropout in a checkpoint": drawing(
        folds(lambda net, x: checkpoint(nn.Dropout(0.5), x * net.w, use_reentrant=False), w=weight(6))
    ),
    "drawn slopes": drawing(folds(lambda net, x: F.rrelu(net.module(x), training=True), module=linear())),
    "drawn category": drawing(folds(lambda net, x: F.gumbel_softmax(net.module(x), hard=True), module=linear())),
    "drawn index": drawing(folds(lambda net, x: net.w[torch.multinomial(x + 0.1, 1)[:, 0]], w=weight(6, 6))),
    "dropout": drawing(folds(through, module=lambda: nn.Sequential(nn.Dropout(0.3), nn.AlphaDropout(0.3)))),
    "noise for each sample": drawing(folds(lambda net, x: x + 0.1 * torch.randn_like(x))),
}
