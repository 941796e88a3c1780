"""Backward passes of a user's own, and batch norm, which is folded with the statistics of each step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikingtorch as st
from tests.fold.corpus.operations_attacks import Attack
from tests.fold.corpus.operations_forms import SIX, SQUARE, halves, whole
from tests.fold.corpus.operations_oracle import Code

Backward = Callable[[Tensor, Tensor], tuple[Tensor | None, Tensor | None]]
WIDE, CONSTANT = nn.Parameter(SQUARE.clone()), SQUARE[0]


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, backward: Backward) -> Tensor:
        ctx.save_for_backward(x)
        ctx.own = backward
        return x * weight if weight.dim() == 1 else x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *ctx.own(*grads, *ctx.saved_tensors), None


def own(backward: Backward, weight: Tensor = SIX) -> Attack:
    """Return code with a backward pass (gradient, x) -> the gradients of x and of a weight."""
    return Attack(lambda x: _Own.apply(x, weight, backward), weights=[weight])  # type: ignore[no-untyped-call]


def of_sum(f: Callable[[Tensor], Tensor], weight: Tensor = SIX) -> Attack:
    """Return code that makes the gradient of its weight of a sum over the samples."""
    return own(lambda g, x: (g, f((g * x).sum(0)) if weight.dim() == 1 else f(x.t().mm(g))), weight)


def of_halves(backward: Backward) -> Attack:
    """Return code with a backward pass for rows that are halves of samples."""
    return Attack(lambda x: whole(_Own.apply(halves(x), SIX[:3], backward)), weights=[SIX])  # type: ignore[no-untyped-call]


SUMS_APART: dict[str, Attack] = {
    "product": of_sum(lambda s: s, WIDE),
    "no gradient": own(lambda g, x: (g, None)),
    "for each sample": own(lambda g, x: (g * x, g * x)),
    "two sums": own(lambda g, x: (g, (g * x).sum(0) + g.sum(0))),
    "difference": own(lambda g, x: (g, (g * x).sum(0) - g.sum(0))),
    "times a number": of_sum(lambda s: s * 2.0),
    "times a constant": of_sum(lambda s: s * CONSTANT),
    "a constant times": of_sum(lambda s: CONSTANT * s),
    "over a constant": of_sum(lambda s: s / CONSTANT),
    "transposed": of_sum(lambda s: s.t().neg().t(), WIDE),
    "spread": of_sum(lambda s: s.sum().expand(6)),
    "viewed": of_sum(lambda s: s.view(2, 3).transpose(0, 1).reshape(6)),
    "counted": own(lambda g, x: (g, (g > 0.5).sum(0).to(g.dtype))),
    "constant summed": own(lambda g, x: (g * CONSTANT.sum(), g.sum(0))),
    "sum of each": own(lambda g, x: (g * g.sum(1, True), None)),
    "of rows": own(lambda g, x: (g, torch.mv(g.t(), x[:, 0]))),
}
SUMS_MIXED: dict[str, Attack] = {
    "sign": of_sum(lambda s: s.sign()),
    "rounded": of_sum(lambda s: s.to(torch.int64).to(s.dtype)),
    "floored": of_sum(lambda s: s.div(0.5, rounding_mode="floor")),
    "squared": of_sum(lambda s: s * s),
    "over itself": of_sum(lambda s: s * (s / CONSTANT)),
    "plus a number": of_sum(lambda s: s + 1.0),
    "plus a constant": of_sum(lambda s: s + CONSTANT),
    "less a constant": of_sum(lambda s: CONSTANT - s),
    "under a constant": of_sum(lambda s: CONSTANT / (s + s)),
    "largest": own(lambda g, x: (g, g.amax(0))),
    "mean": own(lambda g, x: (g, g.mean(0))),
    "times each": own(lambda g, x: (g * g.sum(0), None)),
    "each plus": own(lambda g, x: (g + g.sum(0), None)),
    "product of others": own(lambda g, x: (g, x.reshape(-1, 3).t().mm(halves(g)).repeat(2, 2)), WIDE),
    "rows of others": own(lambda g, x: (g, torch.mv(x.reshape(-1, 3).t(), halves(g)[:, 0]).expand(2, 3).reshape(6))),
    "others": own(lambda g, x: (g.t().reshape(g.shape), None)),
    "constant": own(lambda g, x: (g, CONSTANT * 1.0)),
    "product of three": own(lambda g, x: (g, torch.addmm(SQUARE, g.t(), x)), WIDE),
    "merged": of_halves(lambda g, x: (g.view(-1, 6).softmax(1).view(-1, 3), None)),
    "sum of merged": of_halves(lambda g, x: (None, g.view(-1, 6).softmax(1).sum(0)[:3])),
}
HIDDEN_SUMS: dict[str, Attack] = {
    "a replay does not compare what backward returns": own(lambda g, x: (g, g.sum(0) if len(g) < 50 else None)),
    "eight bits of a sum are no sum": of_sum(lambda s: s.to(torch.float8_e8m0fnu).to(s.dtype)),
}


def normed(x: Tensor, weight: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, weight, weight, training=True)


class Tuned(nn.Module):
    """A neuron with a threshold for each channel, which is made of the batch."""

    def __init__(self, f: Code) -> None:
        super().__init__()
        self.f, self.layer = f, st.McPitts(threshold=1.0, learnable="thr")

    def forward(self, x: Tensor) -> Any:
        return torch.func.functional_call(self.layer, {"thr": self.f(x.detach())}, (x, True))


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
