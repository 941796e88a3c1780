"""Backward passes of a user's own, and batch norm, which is folded with the statistics of each step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikingtorch as st
from tests.fold.rules.cases import SIX, SQUARE, Case, halves
from tests.fold.rules.operations import whole
from tests.fold.rules.oracle import Code

Backward = Callable[[Tensor, Tensor], tuple[Tensor | None, Tensor | None]]
WIDE, ROW = nn.Parameter(SQUARE.clone()), SQUARE[0]


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, backward: Backward) -> Tensor:
        ctx.save_for_backward(x)
        ctx.own = backward
        return x * weight if weight.dim() == 1 else x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        return *ctx.own(grad, *ctx.saved_tensors), None


def own(backward: Backward, weight: Tensor = SIX) -> Case:
    """Return code with a backward pass (gradient, x) -> the gradients of x and of a weight."""
    code: Code = lambda x: _Own.apply(x, weight, backward)  # type: ignore[no-untyped-call]  # noqa: E731
    return Case(code, weights=[weight])


def of_sum(f: Callable[[Tensor], Tensor], weight: Tensor = SIX) -> Case:
    """Return code that makes the gradient of its weight of a sum over the samples."""
    return own(lambda g, x: (g, f((g * x).sum(0)) if weight.dim() == 1 else f(x.t().mm(g))), weight)


def of_halves(backward: Backward) -> Case:
    """Return code with a backward pass for rows that are halves of samples."""
    code: Code = lambda x: whole(_Own.apply(halves(x), SIX[:3], backward))  # type: ignore[no-untyped-call]  # noqa: E731
    return Case(code, weights=[SIX])


SUMS_APART = {
    "sum": of_sum(lambda s: s),
    "product": of_sum(lambda s: s, WIDE),
    "no gradient": own(lambda g, x: (g, None)),
    "for each sample": own(lambda g, x: (g * x, g * x)),
    "two sums": own(lambda g, x: (g, (g * x).sum(0) + g.sum(0))),
    "difference": own(lambda g, x: (g, (g * x).sum(0) - g.sum(0))),
    "times a number": of_sum(lambda s: s * 2.0),
    "times a constant": of_sum(lambda s: s * ROW),
    "a constant times": of_sum(lambda s: ROW * s),
    "over a constant": of_sum(lambda s: s / ROW),
    "transposed": of_sum(lambda s: s.t().neg().t(), WIDE),
    "spread": of_sum(lambda s: s.sum().expand(6)),
    "viewed": of_sum(lambda s: s.view(2, 3).transpose(0, 1).reshape(6)),
    "counted": own(lambda g, x: (g, (g > 0.5).sum(0).to(g.dtype))),
    "constant summed": own(lambda g, x: (g * ROW.sum(), g.sum(0))),
    "sum of each": own(lambda g, x: (g * g.sum(1, True), None)),
    "of rows": own(lambda g, x: (g, torch.mv(g.t(), x[:, 0]))),
}
SUMS_MIXED = {
    "sign": of_sum(lambda s: s.sign()),
    "rounded": of_sum(lambda s: s.to(torch.int64).to(s.dtype)),
    "floored": of_sum(lambda s: s.div(0.5, rounding_mode="floor")),
    "squared": of_sum(lambda s: s * s),
    "over itself": of_sum(lambda s: s * (s / ROW)),
    "plus a number": of_sum(lambda s: s + 1.0),
    "plus a constant": of_sum(lambda s: s + ROW),
    "less a constant": of_sum(lambda s: ROW - s),
    "under a constant": of_sum(lambda s: ROW / (s + s)),
    "largest": own(lambda g, x: (g, g.amax(0))),
    "mean": own(lambda g, x: (g, g.mean(0))),
    "times each": own(lambda g, x: (g * g.sum(0), None)),
    "each plus": own(lambda g, x: (g + g.sum(0), None)),
    "centred": own(lambda g, x: (g - g.sum(0, True), None)),
    "product of others": own(lambda g, x: (g, x.reshape(-1, 3).t().mm(halves(g)).repeat(2, 2)), WIDE),
    "rows of others": own(lambda g, x: (g, torch.mv(x.reshape(-1, 3).t(), halves(g)[:, 0]).expand(2, 3).reshape(6))),
    "others": own(lambda g, x: (g.t().reshape(g.shape), None)),
    "constant": own(lambda g, x: (g, ROW * 1.0)),
    "product of three": own(lambda g, x: (g, torch.addmm(SQUARE, g.t(), x)), WIDE),
    "merged": of_halves(lambda g, x: (g.view(-1, 6).softmax(1).view(-1, 3), None)),
    "sum of merged": of_halves(lambda g, x: (None, g.view(-1, 6).softmax(1).sum(0)[:3])),
}


def normed(x: Tensor, weight: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, weight, weight, training=True)


class Tuned(nn.Module):
    """A neuron with a threshold for each channel, which is made of the batch."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f, self.layer = f, st.McPitts(thr=1.0, learnable="thr")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(self.layer, {"thr": self.f(x.detach())}, (x, True))
        return y


# no question of the oracle: statistics are those of a step, and what is returned has to be of samples
FOLDED: dict[str, Code] = {
    "normed": normed,
    "normed by parts": lambda x: normed(x.view(-1, 3)).view(-1, 6),
    "normed and weighted": lambda x: normed(x, SIX),
    "neuron tuned by a constant": Tuned(lambda x: SIX.detach() * 2),
}
REFUSED: dict[str, Code] = {
    "normed by samples": lambda x: normed(x.T).T,
    "normed by other parts": lambda x: normed(halves(x)).view(-1, 6),
    "normed in a middle axis": lambda x: normed(x.view(-1, 2, 3).permute(2, 1, 0)).permute(2, 1, 0),
    "parts returned": lambda x: x.view(-1, 3),
    "other parts returned": halves,
    "samples as an axis": lambda x: x.T,
    "neuron tuned by a sum": Tuned(lambda x: x.sum(0)),
}
