"""What mixes samples, or computes otherwise for some numbers of samples, and is hard to see."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.fold.rules.cases import SQUARE, THREE, Case, halves, hands
from tests.fold.rules.gradients import of_sum, own

MASK, FIRST, TALL = torch.eye(4) > 0, torch.tensor([0]), SQUARE.repeat(2, 1)[:8]
FAR = torch.arange(100, dtype=torch.float64) + 1000
aten = torch.ops.aten


def zeros_on_merged(x: Tensor) -> Tensor:
    x = x.detach()
    y = halves(x).clone()
    read = y.view(2, -1, 3)
    torch.zeros(y.shape, dtype=y.dtype, out=y)  # taken to number the samples from the outside
    y.copy_(x.view(-1, 3))
    return read[0]


def rows_on_merged(x: Tensor) -> Tensor:
    y = x.new_zeros(2 * len(x), 3)
    read = y.view(-1, 6)
    torch.index_select(SQUARE[:, :3], 0, halves(x.detach())[:, 0].mul(5).long(), out=y)
    return read


def resized(x: Tensor) -> Tensor:
    y = x.new_zeros(x.shape)
    torch.add(x.detach()[:, :3], 0, out=y[:, :0])  # of no entries: it gets the strides of (N, 3) in memory of (N, 6)
    return y


def reduced_on_view(x: Tensor) -> Tensor:
    y = torch.zeros((), dtype=torch.int64)
    read = y[None]
    aten.bucketize.Scalar_out(0.5, x.detach()[:, 0].contiguous(), out=y)
    return x * read


def data_replaced(x: Tensor) -> Tensor:
    y = x.detach() * 1
    y.data = y - y.mean(0)
    return y


def swapped(x: Tensor) -> Tensor:
    y = x.detach() * 1
    z = y - y.mean(0)
    torch.utils.swap_tensors(y, z)
    return y


def copied_unseen(x: Tensor) -> Tensor:
    return x * nn.Parameter((x.detach() > 0.99).any().double())  # what noise has not shown


def running_mean_expanded(x: Tensor) -> Tensor:
    N = len(x)
    mean, var = torch.zeros(1, dtype=x.dtype).expand(N), torch.ones(N, dtype=x.dtype)
    torch.native_batch_norm(x.detach().T, None, None, mean, var, True, 1.0, 1e-5)
    return x + mean[:, None]


def taken_to_be_unique(x: Tensor) -> Tensor:
    return torch.isin((x.detach() * 50).floor(), FAR, assume_unique=True) * x


def crossed_by_default(x: Tensor) -> Tensor:
    return torch.cross(x, THREE.expand_as(x), None)


def mask_of_two_axes(x: Tensor) -> Tensor:
    y = x.permute(1, 2, 0).clone()
    y[MASK, FIRST] = 0.0  # the second index is of the third axis
    return y.permute(2, 0, 1)


def constant_cut_by_size(x: Tensor) -> Tensor:
    return x * SQUARE[0][: len(x)].sum()


def other_axis_cut_by_size(x: Tensor) -> Tensor:
    return x.T[: len(x)].sum(0)[:, None]


def median_of_expanded(x: Tensor) -> Tensor:
    return x[:, None].expand(-1, 2, -1).median(1).values


def same_size(x: Tensor) -> Tensor:
    return x * (2.0 if torch.is_same_size(x, TALL) else 1.0)


def offset(x: Tensor) -> Tensor:
    return x * (2.0 if x.T.contiguous()[1].storage_offset() > 50 else 1.0)


def contiguous(x: Tensor) -> Tensor:
    return x * (2.0 if x.T.is_contiguous() else 1.0)


def tried(x: Tensor) -> Tensor:
    try:
        return x + TALL
    except RuntimeError:
        return x * 1


def saved_otherwise(x: Tensor) -> Tensor:
    with torch.autograd.graph.saved_tensors_hooks(lambda y: y.flip(0), lambda y: y):
        return x * x


class _OtherPlaces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view(2, -1, 3).transpose(0, 1).flatten(1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        return grad.reshape(-1, 3)


def gradient_of_other_places(x: Tensor) -> Tensor:
    y: Tensor = _OtherPlaces.apply(halves(x))  # type: ignore[no-untyped-call]
    return y


def by_sum_on_view(grad: Tensor) -> Tensor:
    total = torch.zeros(6, dtype=grad.dtype)
    read = total.view(6)
    torch.sum(grad, 0, out=total)
    return grad * read


def handed_for_few(x: Tensor) -> Tensor:
    y = x * 2
    return y if len(x) < 50 else x


# code, and why it could fold
HIDDEN = {
    "factory writes on merged axes": (Case(zeros_on_merged), "a factory with out= makes the outer factor 1"),
    "rows written on merged axes": (Case(rows_on_merged), "no rule compares the outer factor of out= with its own"),
    "out= resizes a view": (Case(resized), "what is written may get other strides in the memory of others"),
    "reduced into a tensor with a view": (Case(reduced_on_view), "what is lost poisons one tensor, not its memory"),
    "data replaced": (Case(data_replaced), "setting .data is no operation, and the tensor keeps its number"),
    "tensors swapped": (Case(swapped), "swap_tensors is no operation, and tensors keep their numbers"),
    "parameter made of the batch": (Case(copied_unseen), "nn.Parameter is no operation: a constant, if noise is alike"),
    "running mean of one entry": (
        Case(running_mean_expanded),
        "native_batch_norm writes, and its schema does not say so",
    ),
    "taken to be unique": (Case(taken_to_be_unique), "isin with assume_unique finds entries in each other"),
    "cross product along None": (
        Case(crossed_by_default, (3,)),
        "an axis that is given as None is the first of size 3",
    ),
    "mask of two axes": (Case(mask_of_two_axes, (4, 4)), "a mask takes as many axes as it has; indices are of others"),
    "constant cut by size": (Case(constant_cut_by_size), "a slice may end at the size of the batch on any axis"),
    "other axis cut by size": (Case(other_axis_cut_by_size), "a slice may end at the size of the batch on any axis"),
    "median of an expanded tensor": (Case(median_of_expanded), "torch's own mistake where a stride is 0"),
    "same size": (Case(same_size), "is_same_size returns no tensor, and asks for a size"),
    "offset in memory": (Case(offset), "storage_offset asks for a size"),
    "contiguous for one sample": (Case(contiguous), "is_contiguous asks for a size"),
    "error caught": (Case(tried), "an operation that fails is not noted, and asks for a size"),
    "saved otherwise": (Case(saved_otherwise), "torch's backward passes read what a hook has saved"),
    "gradient of other places": (Case(gradient_of_other_places), "gradients are not compared with what they are of"),
    "gradient by a sum written on a view": (
        Case(lambda x: hands(x, by_sum_on_view)),
        "what is a sum is known of one tensor, not its memory",
    ),
    "handed on for few": (Case(handed_for_few), "a replay compares operations, and not what layers are handed"),
    "gradient for few": (
        own(lambda g, x: (g, g.sum(0) if len(g) < 50 else None)),
        "a replay does not compare what backward returns",
    ),
    "gradient of a coarse sum": (
        of_sum(lambda s: s.to(torch.float8_e8m0fnu).to(s.dtype)),
        "eight bits of a sum are no sum",
    ),
}
