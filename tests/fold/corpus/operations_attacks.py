"""Code between two layers that the proof has to judge as a whole, beside the rules of its operations; why is the key.

Samples are mixed, or computed otherwise for some numbers of samples, in ways that are hard to see.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.corpus.operations_forms import SQUARE, THREE, halves
from tests.fold.corpus.operations_oracle import Code, noise
from tests.nets_that_step import with_backward

aten = torch.ops.aten
FOR_FEW, FOR_MANY = noise(6, (), 7), noise(6, (), 7) + 1
MASK, FIRST, TALL = torch.eye(4) > 0, torch.tensor([0]), SQUARE.repeat(2, 1)[:8]
FAR = torch.arange(100, dtype=torch.float64) + 1000


class Attack(NamedTuple):
    """Code, (N, *shape) -> (N, ...).

    Attributes:
        code: the function.
        shape: of a sample.
        weights: what else is differentiated.
        gradients: whether gradients are recorded.
    """

    code: Code
    shape: Sequence[int] = (6,)
    weights: Sequence[Tensor] = ()
    gradients: bool = True


def for_few(x: Tensor) -> bool:
    return len(x) < 9


def kind_by_size(x: Tensor) -> Tensor:
    integers = (x.detach() * 9).long()
    return x * torch.full_like(integers * (1 if for_few(x) else 1.0), 0.5)  # of integers, where both are


def with_statistics(x: Tensor) -> Tensor:
    y, mean, _ = torch.native_batch_norm(x, None, None, FOR_FEW, FOR_MANY, False, 0.1, 1e-5)
    return torch.cat([y, mean], 1)


def asserted(x: Tensor) -> Tensor:
    aten._assert_async(x.detach().sum() > 5.0)
    return x * 2


def one_of(x: Tensor, y: Tensor) -> Tensor:
    return x if for_few(x) else y


def groups(weights: Callable[[Tensor], Tensor]) -> Code:
    """Return code that convolves samples as groups of one sample, with weights of their own."""

    def code(x: Tensor) -> Tensor:
        given = weights(x)
        return F.conv1d(x.reshape(1, 2 * len(x), 3), given[:, None, None], groups=2 * len(x)).view(len(x), -1)

    return code


def on_windows(x: Tensor) -> Tensor:
    y = x.clone()
    y.unfold(1, 3, 1).mul_(2.0)
    return y


APART: dict[str, Attack] = {
    "a convolution with a group for each sample": Attack(groups(lambda x: x[:, :4].flatten())),
    "a write on windows that overlap": Attack(on_windows),
    "a norm of samples as channels, one group each": Attack(lambda x: F.instance_norm(x.view(-1, 2, 3)).flatten(1)),
    "constants of NaN equal themselves": Attack(lambda x: x.masked_fill(x > 0.5, float("nan")).nan_to_num(0.3)),
    "what is mixed is not used": Attack(lambda x: (x.cumsum(0), x * 2)[1]),
    "a constant that a method of the batch makes": Attack(lambda x: x + x.new_ones(6)),
    "statistics of no entries": Attack(with_statistics),
}
MIXED: dict[str, Attack] = {
    "a convolution with groups of other samples": Attack(groups(lambda x: halves(x)[:, :2].flatten())),
    "an operation by size": Attack(lambda x: x.sin() if for_few(x) else x.cos()),
    "a tensor of samples by size": Attack(lambda x: one_of(x * 2, x * 3) + 1),
    "all pairs": Attack(lambda x: (x[:, None] * x[None]).sum(1)),
    "a number by size": Attack(lambda x: x * (3.0 if for_few(x) else 2.0)),
    "a constant by size": Attack(lambda x: x * (FOR_FEW if for_few(x) else FOR_MANY)),
    "an argument or none by size": Attack(lambda x: x.clamp(None if for_few(x) else 0.5)),
    "more parts by size": Attack(lambda x: torch.cat([x, x] if for_few(x) else [x, x, x], 1)),
    "more axes by size": Attack(lambda x: x.view(-1, 2, 3) if for_few(x) else x.view(-1, 6)),
    "an operation without a rule": Attack(lambda x: x.renorm(2, 1, 1.0)),
    "counted by a square": Attack(lambda x: x * x.new_ones(len(x), len(x)).sum(1, True)),
    "asserted of all samples": Attack(asserted),
    "a weight or none by size": Attack(lambda x: F.layer_norm(x, (6,), FOR_FEW if for_few(x) else None)),
    "none or a weight by size": Attack(lambda x: F.layer_norm(x, (6,), None if for_few(x) else FOR_FEW)),
    "a kind of number by size": Attack(kind_by_size),
}


def index_like_a_mask(x: Tensor) -> Tensor:
    y = x[:, 0].clone()
    y[x[:, 1].long()] = 5.0
    return y[:, None]


def constant_flattened(x: Tensor) -> Tensor:
    return x * THREE.expand(2 * len(x), 3).reshape(-1).view(6, len(x)).T


def constant_written(x: Tensor) -> Tensor:
    zeros = x.new_zeros(2 * len(x), 3)
    flat = zeros.view(6 * len(x))
    zeros.copy_(THREE.expand(2 * len(x), 3))
    return x * flat.view(6, len(x)).T


def two_views(x: Tensor) -> Tensor:
    zeros = x.new_zeros(2 * len(x), 6)
    read, written = zeros.view(len(x), 2, 6), zeros.view(2, len(x), 6)
    written[0].copy_(x)
    return read.sum(1)


def solved(x: Tensor) -> Tensor:
    a = torch.eye(6, dtype=x.dtype) * (x[:, :, None] + 1) + 0.1
    return (x[:, None] @ torch.linalg.solve(a, SQUARE))[:, 0]


def groups_of_rows(x: Tensor) -> Tensor:
    N = len(x)
    rows = x.view(N, 2, 2, 3).transpose(0, 1).reshape(2 * N, 2, 3)
    return aten.native_group_norm(rows, None, None, N, 4, 3, 1, 1e-5)[0].view(2, N, 2, 3).transpose(0, 1)


def other_mask(x: Tensor) -> Tensor:
    q, mask = x.reshape(-1, 1, 4, 8), x[..., :4].transpose(0, 1).reshape(-1, 1, 4, 4)
    return F.scaled_dot_product_attention(q, q, q, mask).reshape(-1, 2, 4, 8)


def written_on_itself(x: Tensor) -> Tensor:
    y = torch.empty_strided(x.shape, (1, 1), dtype=x.dtype)
    return y.copy_(x.detach()) * 1.0


@torch.library.custom_op("spikingtorch_rules::full_like", mutates_args=())
def _full_like(x: Tensor) -> Tensor:
    return x - x.mean(0)


def named_as_factory(x: Tensor) -> Tensor:
    return torch.ops.spikingtorch_rules.full_like(x.detach())


def zeros_on_merged(x: Tensor) -> Tensor:
    x = x.detach()
    y = halves(x).clone()
    read = y.view(2, -1, 3)
    torch.zeros(y.shape, dtype=y.dtype, out=y)
    y.copy_(x.view(-1, 3))
    return read[0]


def rows_on_merged(x: Tensor) -> Tensor:
    y = x.new_zeros(2 * len(x), 3)
    read = y.view(-1, 6)
    torch.index_select(SQUARE[:, :3], 0, halves(x.detach())[:, 0].mul(5).long(), out=y)
    return read


def resized(x: Tensor) -> Tensor:
    y = x.new_zeros(x.shape)
    torch.add(x.detach()[:, :3], 0, out=y[:, :0])
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


def running_mean_expanded(x: Tensor) -> Tensor:
    mean, var = torch.zeros(1, dtype=x.dtype).expand(len(x)), torch.ones(len(x), dtype=x.dtype)
    torch.native_batch_norm(x.detach().T, None, None, mean, var, True, 1.0, 1e-5)
    return x + mean[:, None]


def mask_of_two_axes(x: Tensor) -> Tensor:
    y = x.permute(1, 2, 0).clone()
    y[MASK, FIRST] = 0.0
    return y.permute(2, 0, 1)


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
    return _OtherPlaces.apply(halves(x))  # type: ignore[no-untyped-call]


def by_sum_on_view(grad: Tensor) -> Tensor:
    total = torch.zeros(6, dtype=grad.dtype)
    read = total.view(6)
    torch.sum(grad, 0, out=total)
    return grad * read


def handed_on(x: Tensor) -> Tensor:
    y = x * 2
    return y if len(x) < 50 else x


def unseen_by_noise(x: Tensor) -> Tensor:
    return x * nn.Parameter((x.detach() > 0.99).any().double())


SWAPPED = Attack(swapped)  # by a call of Python, which is no operation: the proof does not see it
# it may fold for the numbers of samples that it does not mix
HIDDEN: dict[str, Attack] = {
    "an index of the shape of what it picks from is no mask": Attack(index_like_a_mask),
    "a constant for each sample, its entries in another order": Attack(constant_flattened),
    "a constant for each sample, written on a view": Attack(constant_written),
    "written in one view, read in another": Attack(two_views),
    "an axis is squeezed for a single sample alone": Attack(lambda x: x.squeeze(0).softmax(1).view(-1, 4, 4), (4, 4)),
    "six samples make a matrix of six vectors": Attack(solved),
    "a cross product along the first axis of size 3": Attack(lambda x: x.cross(THREE.expand_as(x)), (3,)),
    "a cross product along None": Attack(lambda x: torch.cross(x, THREE.expand_as(x), None), (3,)),
    "a group norm of half a sample with half another": Attack(groups_of_rows, (4, 3)),
    "a mask of other samples": Attack(other_mask, (2, 4, 8), gradients=False),
    "entries of a tensor that share memory": Attack(written_on_itself),
    "a new tensor each time, by size": Attack(lambda x: x * torch.tensor(1.0 if len(x) < 50 else 2.0, dtype=x.dtype)),
    "a constant by a size that no trace has": Attack(lambda x: x * (FOR_FEW if len(x) < 50 else FOR_MANY)),
    "an operation of a user's has the name of a factory": Attack(named_as_factory),
    "a gradient spreads a sum": Attack(with_backward(lambda g: g.sum(0).expand_as(g), lambda x: x * 2)),
    "a factory with out= makes the outer factor 1": Attack(zeros_on_merged),
    "no rule compares the outer factor of out= with its own": Attack(rows_on_merged),
    "what is written may get other strides in the memory of others": Attack(resized),
    "what is lost poisons one tensor, not its memory": Attack(reduced_on_view),
    "setting .data is no operation, and the tensor keeps its number": Attack(data_replaced),
    "nn.Parameter is no operation: a constant, if noise is alike": Attack(unseen_by_noise),
    "native_batch_norm writes, and its schema does not say so": Attack(running_mean_expanded),
    "isin with assume_unique finds entries in each other": Attack(
        lambda x: torch.isin((x.detach() * 50).floor(), FAR, assume_unique=True) * x
    ),
    "a mask takes as many axes as it has; indices are of others": Attack(mask_of_two_axes, (4, 4)),
    "a slice of a constant may end at the size of the batch": Attack(lambda x: x * SQUARE[0][: len(x)].sum()),
    "a slice of another axis may end there": Attack(lambda x: x.T[: len(x)].sum(0)[:, None]),
    "torch's mistake in a median, where a stride is 0": Attack(lambda x: x[:, None].expand(-1, 2, -1).median(1).values),
    "is_same_size asks for a size": Attack(lambda x: x * (2.0 if torch.is_same_size(x, TALL) else 1.0)),
    "an operation that fails is not noted, and asks for a size": Attack(tried),
    "torch's backward passes read what a hook has saved": Attack(saved_otherwise),
    "gradients are not compared with what they are of": Attack(gradient_of_other_places),
    "what is a sum is known of one tensor, not its memory": Attack(with_backward(by_sum_on_view, lambda x: x * 2)),
    "a replay compares operations, and not what layers are handed": Attack(handed_on),
}
