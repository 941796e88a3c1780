"""Functions of a batch for the proof to judge: with samples apart, mixed, and mixed in ways that are hard to see."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.rules.oracle import Code


class Case(NamedTuple):
    """Code between two layers, (N, *shape) -> (N, ...).

    Attributes:
        code: the function.
        shape: of a sample.
        weights: what else is differentiated.
        gradients: whether gradients are recorded.
    """

    code: Code
    shape: tuple[int, ...] = (6,)
    weights: Sequence[Tensor] = ()
    gradients: bool = True


def _numbers(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


THREE, SIX, SQUARE = _numbers(3), nn.Parameter(_numbers(6)), _numbers(6, 6)
FOR_FEW, FOR_MANY = _numbers(6), _numbers(6) + 1


def halves(x: Tensor) -> Tensor:
    """Put the second half of all samples behind the first half of all samples: (N, 6) -> (2 N, 3)."""
    return x.reshape(-1, 2, 3).transpose(0, 1).reshape(-1, 3)


def entry_by_index(x: Tensor) -> Tensor:
    y = x[:, 0].clone()
    y[x[:, 1].long()] = 5.0  # an index of the shape of y, which is no mask
    return y[:, None]


def constant_flattened(x: Tensor) -> Tensor:
    N = len(x)
    return x * THREE.expand(2 * N, 3).reshape(-1).view(6, N).T


def constant_written(x: Tensor) -> Tensor:
    N = len(x)
    zeros = x.new_zeros(2 * N, 3)
    flat = zeros.view(6 * N)
    zeros.copy_(THREE.expand(2 * N, 3))
    return x * flat.view(6, N).T


def two_views(x: Tensor) -> Tensor:
    N = len(x)
    zeros = x.new_zeros(2 * N, 6)
    read, written = zeros.view(N, 2, 6), zeros.view(2, N, 6)
    written[0].copy_(x)
    return read.sum(1)


def squeezed(x: Tensor) -> Tensor:
    return x.squeeze(0).softmax(1).view(-1, 4, 4)  # along another axis for a single sample


def solved(x: Tensor) -> Tensor:
    a = torch.eye(6, dtype=x.dtype) * (x[:, :, None] + 1) + 0.1
    y: Tensor = torch.linalg.solve(a, SQUARE)  # six samples make six vectors of a matrix
    return (x[:, None] @ y)[:, 0]


def crossed(x: Tensor) -> Tensor:
    y: Tensor = x.cross(THREE.expand_as(x))  # along the first axis of size 3, as a method
    return y


def groups_of_rows(x: Tensor) -> Tensor:
    N = len(x)
    rows = x.view(N, 2, 2, 3).transpose(0, 1).reshape(2 * N, 2, 3)
    y: Tensor = torch.ops.aten.native_group_norm(rows, None, None, N, 4, 3, 1, 1e-5)[0]
    return y.view(2, N, 2, 3).transpose(0, 1)


def other_mask(x: Tensor) -> Tensor:
    N = len(x)
    q, mask = x.reshape(2 * N, 1, 4, 8), x[..., :4].transpose(0, 1).reshape(2 * N, 1, 4, 4)
    return F.scaled_dot_product_attention(q, q, q, mask).reshape(N, 2, 4, 8)


def written_on_itself(x: Tensor) -> Tensor:
    y = torch.empty_strided(x.shape, (1, 1), dtype=x.dtype)
    return y.copy_(x.detach()) * 1.0


def tensor_by_size(x: Tensor) -> Tensor:
    return x * torch.tensor(1.0 if len(x) < 50 else 2.0, dtype=x.dtype)


def weight_by_size(x: Tensor) -> Tensor:
    return x * (FOR_FEW if len(x) < 50 else FOR_MANY)


@torch.library.custom_op("spikingtorch_rules::full_like", mutates_args=())
def _full_like(x: Tensor) -> Tensor:
    return x - x.mean(0)


def named_as_factory(x: Tensor) -> Tensor:
    y: Tensor = torch.ops.spikingtorch_rules.full_like(x.detach())
    return y


class _Hands(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, backward: Code) -> Tensor:
        ctx.own = backward
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return ctx.own(*grads), None


def hands(x: Tensor, backward: Code) -> Tensor:
    """Return 2 x, whose gradient is what ``backward`` makes of the one that comes."""
    y: Tensor = _Hands.apply(x, backward)  # type: ignore[no-untyped-call]
    return y


def for_few(x: Tensor) -> bool:
    return len(x) < 9


def kind_by_size(x: Tensor) -> Tensor:
    whole = (x.detach() * 9).long()
    return x * torch.full_like(whole * (1 if for_few(x) else 1.0), 0.5)  # of integers, where both are


def with_statistics(x: Tensor) -> Tensor:
    y, mean, _ = torch.native_batch_norm(x, None, None, FOR_FEW, FOR_MANY, False, 0.1, 1e-5)
    return torch.cat([y, mean], 1)  # of no entries, without training


def asserted(x: Tensor) -> Tensor:
    torch.ops.aten._assert_async(x.detach().sum() > 5.0)
    return x * 2


def one_of(x: Tensor, y: Tensor) -> Tensor:
    return x if for_few(x) else y


def groups_of_samples(x: Tensor) -> Tensor:
    N = len(x)
    return F.conv1d(x.reshape(1, 2 * N, 3), x[:, :4].reshape(4 * N, 1, 1), groups=2 * N).view(N, -1)


def groups_of_others(x: Tensor) -> Tensor:
    N = len(x)
    return F.conv1d(x.reshape(1, 2 * N, 3), halves(x)[:, :1, None], groups=2 * N).view(N, 6)


def overlapping(x: Tensor) -> Tensor:
    y = x.clone()
    y.unfold(1, 3, 1).mul_(2.0)
    return y


APART = {
    "samples as groups": Case(groups_of_samples),
    "write on windows": Case(overlapping),
    "instance norm": Case(lambda x: F.instance_norm(x.view(-1, 2, 3)).flatten(1)),
    "samples along the last axis": Case(lambda x: x.T.topk(5, 0).values.T),
    "repeated and cut": Case(lambda x: x.repeat(1, 77)[:, :100]),
    "batch of products": Case(lambda x: (x.view(-1, 2, 3) @ x.view(-1, 3, 2)).flatten(1)),
    "mask of entries": Case(lambda x: x.masked_fill(x > 0.5, 0.0)),
    "mask of no numbers": Case(lambda x: x.masked_fill(x > 0.5, float("nan")).nan_to_num(0.3)),
    "mixed and not used": Case(lambda x: (x.cumsum(0), x * 2)[1]),
    "constant of the batch's kind": Case(lambda x: x + x.new_ones(6)),
    "empty statistics": Case(with_statistics),
}
MIXED = {
    "samples as groups of others": Case(groups_of_others),
    "transposed and viewed": Case(lambda x: x.T.reshape(-1).view(-1, 6)),
    "numbered": Case(lambda x: x * x.new_ones(x.shape).cumsum(0)),
    "Gram matrix": Case(lambda x: torch.einsum("ni,mi->nm", x, x) @ x),
    "halves of others": Case(lambda x: torch.bmm(halves(x)[:, None], x.reshape(-1, 3, 1)).view(-1, 2)),
    "moved by padding": Case(lambda x: F.pad(x, (0, 0, 1, -1))),
    "operation by size": Case(lambda x: x.sin() if for_few(x) else x.cos()),
    "tensor of samples by size": Case(lambda x: one_of(x * 2, x * 3) + 1),
    "pairs": Case(lambda x: (x[:, None] * x[None]).sum(1)),
    "number by size": Case(lambda x: x * (3.0 if for_few(x) else 2.0)),
    "divided by size": Case(lambda x: x / len(x)),
    "constant by size": Case(lambda x: x * (FOR_FEW if for_few(x) else FOR_MANY)),
    "argument by size": Case(lambda x: x.clamp(None if for_few(x) else 0.5)),
    "parts by size": Case(lambda x: torch.cat([x, x] if for_few(x) else [x, x, x], 1)),
    "axes by size": Case(lambda x: x.view(-1, 2, 3) if for_few(x) else x.view(-1, 6)),
    "sign of a gradient of weights": Case(lambda x: x * hands(SIX, torch.sign), weights=[SIX]),
    "unknown operation": Case(lambda x: x.renorm(2, 1, 1.0)),
    "counted by a square": Case(lambda x: x * x.new_ones(len(x), len(x)).sum(1, True)),
    "asserted of all": Case(asserted),
    "weight or none by size": Case(lambda x: F.layer_norm(x, (6,), FOR_FEW if for_few(x) else None)),
    "none or weight by size": Case(lambda x: F.layer_norm(x, (6,), None if for_few(x) else FOR_FEW)),
    "kind of number by size": Case(kind_by_size),
    "scattered over samples": Case(lambda x: torch.zeros_like(x).scatter_add(0, x.long(), x)),
}
# mixed, or otherwise for some numbers of samples
SUBTLE = {
    "entry by index": Case(entry_by_index),
    "constant flattened": Case(constant_flattened),
    "constant written on a view": Case(constant_written),
    "written in one view, read in another": Case(two_views),
    "single sample squeezed": Case(squeezed, (4, 4)),
    "solved for as many vectors as samples": Case(solved),
    "cross product along the first axis of 3": Case(crossed, (3,)),
    "group norm of two samples": Case(groups_of_rows, (4, 3)),
    "mask of other samples": Case(other_mask, (2, 4, 8), gradients=False),
    "written on itself": Case(written_on_itself),
    "tensor by size": Case(tensor_by_size),
    "weight by size": Case(weight_by_size),
    "custom operation named as a factory": Case(named_as_factory),
    "gradient spreads a sum": Case(lambda x: hands(x, lambda g: g.sum(0).expand_as(g))),
}
