"""Random code: a few operations along random axes, with the batch moved and merged in between.

Run: python -m tests.fold.rules.search [examples]
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import hypothesis
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.fold.rules.oracle import decide, mixing, noise

SIZES, SHAPE = (7, 11, 3, 5, 6), (2, 4)  # no size of an axis of the samples', which code may take for theirs
WEIGHT = nn.Parameter(noise(4, (4,), 5))
CONSTANTS = [
    noise(2, (4,), 1),
    noise(4, (), 2),
    noise(2, (1,), 3),
    noise(1, (2, 4), 4),
    noise(1, (), 6)[0],
    noise(8, (8,), 8),
]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Step = Callable[[Tensor, Draw], Any]
aten = torch.ops.aten


def _axis(x: Tensor, draw: Draw) -> int:
    return int(draw(st.integers(-1, 3))) % max(x.dim(), 1)


def _flag(draw: Draw) -> bool:
    found: bool = draw(st.booleans())
    return found


def first(found: Any) -> Tensor:
    out: Tensor = found if isinstance(found, Tensor) else found[0]
    return out if out.is_floating_point() else out.double()


def reduced(name: str) -> Step:
    def step(x: Tensor, draw: Draw) -> Any:
        found = getattr(torch, name)(x, dim=_axis(x, draw), keepdim=True)
        return first(found) if _flag(draw) else first(found) + x

    return step


def shaped(name: str) -> Step:
    return lambda x, draw: first(getattr(torch, name)(x, dim=_axis(x, draw)))


def constant(x: Tensor, draw: Draw) -> Any:
    c = draw(st.sampled_from(CONSTANTS))
    return x * c if _flag(draw) else x + c


def merged(x: Tensor, draw: Draw) -> Any:
    i = _axis(x, draw)
    return x.flatten(i, min(i + 1, x.dim() - 1))


def split(x: Tensor, draw: Draw) -> Any:
    return x.unflatten(_axis(x, draw), draw(st.sampled_from([(2, -1), (-1, 2), (-1, 4), (4, -1)])))


def transposed(x: Tensor, draw: Draw) -> Any:
    return x.transpose(_axis(x, draw), _axis(x, draw))


def viewed(x: Tensor, draw: Draw) -> Any:
    return x.reshape(draw(st.sampled_from([(-1, 8), (-1, 2, 4), (2, -1, 4), (8, -1), (-1, 4), (4, -1, 2), (2, 4, -1)])))


def axis_added(x: Tensor, draw: Draw) -> Any:
    y = x.unsqueeze(_axis(x, draw))
    return y.expand([2 if size == 1 else -1 for size in y.shape]) if _flag(draw) else y


def squeezed(x: Tensor, draw: Draw) -> Any:
    return x.squeeze(_axis(x, draw)) if _flag(draw) else x.squeeze()


def cut(x: Tensor, draw: Draw) -> Any:
    return x.narrow(_axis(x, draw), draw(st.integers(0, 1)), draw(st.integers(1, 2)))


def cut_by_step(x: Tensor, draw: Draw) -> Any:
    return aten.slice(x, _axis(x, draw), 0, draw(st.sampled_from([None, 4, -1])), draw(st.integers(1, 2)))


def selected(x: Tensor, draw: Draw) -> Any:
    return x.select(_axis(x, draw), draw(st.sampled_from([0, -1])))


def put_together(x: Tensor, draw: Draw) -> Any:
    f = torch.stack if _flag(draw) else torch.cat
    return f([x, other(x, draw)], _axis(x, draw))


def other(x: Tensor, draw: Draw) -> Any:
    """Return a tensor of the same shape, whose samples may lie elsewhere."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return x * 0.5
    if kind == 1:
        return x.transpose(0, -1).reshape(x.shape)
    if kind == 2:
        return x.movedim(_axis(x, draw), _axis(x, draw)).reshape(x.shape)
    return x.new_ones(x.shape)


def with_other(x: Tensor, draw: Draw) -> Any:
    y = other(x, draw)
    return draw(st.sampled_from([torch.mul, torch.sub, torch.maximum, lambda a, b: torch.where(a > 0.5, a, b)]))(x, y)


def written(x: Tensor, draw: Draw) -> Any:
    """Write on a view of a copy, or of a factory's memory, and read all of it."""
    y = x.new_zeros(x.shape) if _flag(draw) else x.clone()
    view = draw(st.sampled_from([transposed, viewed, cut, selected, cut_by_step, merged, split]))(y, draw)
    if _flag(draw):
        view = draw(st.sampled_from([transposed, selected, cut]))(view, draw)
    kind = draw(st.integers(0, 3))
    if kind == 0:
        view.mul_(2.0)
    elif kind == 1:
        view.copy_(x.reshape(view.shape) if x.numel() == view.numel() else draw(st.sampled_from(CONSTANTS)))
    elif kind == 2:
        view.masked_fill_(view > 0.5, 0.25)
    else:
        torch.add(view, 1.0, out=view) if not x.requires_grad else view.add_(1.0)
    return y if _flag(draw) else y + x


def made(x: Tensor, draw: Draw) -> Any:
    """Join with a constant that is as large as the batch."""
    c = draw(st.sampled_from([c for c in CONSTANTS if c.dim() == 1]))
    y = draw(
        st.sampled_from([lambda: c.expand_as(x), lambda: c.repeat(*x.shape[:-1], 1), lambda: torch.ones_like(x)])
    )()
    return x * draw(st.sampled_from([viewed, transposed, merged, shaped("cumsum")]))(y, draw).reshape(x.shape)


def multiplied(x: Tensor, draw: Draw) -> Any:
    y = draw(st.sampled_from([CONSTANTS[5], WEIGHT, CONSTANTS[0], x.mT, other(x, draw).mT, other(x, draw)]))
    return x @ y if _flag(draw) else y @ x


def contracted(x: Tensor, draw: Draw) -> Any:
    text = draw(
        st.sampled_from(["aij,bij->ab", "aij,aij->ai", "aij,aik->ajk", "ai,bi->ab", "ai,ai->a", "abij,abij->ai"])
    )
    return torch.einsum(text, x, other(x, draw))


def picked(x: Tensor, draw: Draw) -> Any:
    index = draw(st.sampled_from([torch.tensor([1, 0]), torch.tensor([0])]))
    kind, axis = draw(st.integers(0, 5)), _axis(x, draw)
    own = (x.detach() * 1.9).long().clamp(0, 1)
    if kind == 0:
        return x.index_select(axis, index)
    if kind == 1:
        return x.gather(axis, own)
    if kind == 2:
        return x.scatter_add(axis, own, other(x, draw))
    if kind == 3:
        return x.index_fill(axis, index, 0.0)
    if kind == 4:
        return CONSTANTS[0][own]
    return x.clone().index_put_((own[..., 0].reshape(-1)[:1] * 0,), x.new_zeros(()))


def moved(x: Tensor, draw: Draw) -> Any:
    axis = _axis(x, draw)
    return draw(
        st.sampled_from([lambda: x.flip(axis), lambda: x.roll(1, axis), lambda: x.repeat_interleave(2, axis)])
    )()


def repeated(x: Tensor, draw: Draw) -> Any:
    return x.repeat([draw(st.integers(1, 2)) for _ in x.shape])


def padded(x: Tensor, draw: Draw) -> Any:
    pad = draw(st.sampled_from([(1, -1), (0, 0, 1, -1), (1, 1), (0, 0, 0, 0, -1, 1)]))
    return nn.functional.pad(x, pad)


def normed(x: Tensor, draw: Draw) -> Any:
    F = nn.functional
    kinds: list[Callable[[], Tensor]] = [
        lambda: F.layer_norm(x, x.shape[-1:]),
        lambda: F.group_norm(x, 2),
        lambda: F.instance_norm(x),
        lambda: F.normalize(x, dim=_axis(x, draw)),
        lambda: F.max_pool1d(x, 2),
        lambda: F.conv1d(x, CONSTANTS[3][:, :, :2]),
        lambda: F.scaled_dot_product_attention(x, x, other(x, draw)),
        lambda: torch.cdist(x, other(x, draw)),
        lambda: torch.linalg.qr(x)[1].abs(),
        lambda: torch.tril(x),
    ]
    return draw(st.sampled_from(kinds))()


STEPS: list[Step] = [
    *[reduced(name) for name in ("sum", "mean", "amax", "var", "max", "logsumexp", "median", "mode", "argmax")],
    *[shaped(name) for name in ("softmax", "cumsum", "sort", "cummax", "logcumsumexp")],
    *[merged, split, transposed, viewed, axis_added, squeezed] * 3,
    *[constant, cut, cut_by_step, selected, put_together, with_other, written, made, multiplied, contracted, picked],
    *[moved, repeated, padded, normed, written, made, with_other],
]


def _piece(grad: Tensor, saved: Tensor, draw: Draw) -> Any:
    """Return a random piece of a backward pass."""
    pieces: list[Callable[[Tensor, Draw], Tensor]] = [
        lambda g, draw: g * saved,
        lambda g, draw: g - g.mean(_axis(g, draw), True),
        lambda g, draw: g.sum(_axis(g, draw), True).expand_as(g),
        lambda g, draw: g.sum(0) * 0.5,
        lambda g, draw: g.t() if g.dim() == 2 else g,
        lambda g, draw: g.clamp(-1.0, 1.0),
        lambda g, draw: g.mT.reshape(g.shape) if g.dim() > 1 else g,
        lambda g, draw: g.flatten(0, 1) if g.dim() > 2 else g,
        lambda g, draw: g.reshape(-1, 2, 4),
        lambda g, draw: g.sign() if _flag(draw) else g.neg(),
        lambda g, draw: (g.reshape(-1, 4).t() @ saved.reshape(-1, 4)) if _flag(draw) else g,
    ]
    return draw(st.sampled_from(pieces))(grad, draw)


class _Random(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, choices: list[int]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.choices = choices
        return x * weight.sum() if choices[0] % 2 else x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        (x,) = ctx.saved_tensors
        draw = Replayed(ctx.choices)
        of_x, of_weight = grad, grad
        for _ in range(1 + ctx.choices[1] % 3):
            of_x = _piece(of_x, x, draw)
        for _ in range(1 + ctx.choices[2] % 3):
            of_weight = _piece(of_weight, x, draw)
        return of_x.reshape(x.shape) if of_x.numel() == x.numel() else None, _fitting(of_weight), None


def _fitting(grad: Tensor) -> Tensor | None:
    if grad.shape == (4, 4):
        return grad
    return grad.reshape(-1)[:4].expand(4, 4) if grad.numel() in (4, 8) else None


class Replayed:
    """Choices from a list of numbers, the same at each call, so that code does the same for all sizes."""

    def __init__(self, choices: list[int]) -> None:
        self.choices, self.place = choices, 3

    def __call__(self, strategy: Any) -> Any:
        choice = self.choices[self.place % len(self.choices)]
        self.place += 1
        strategy = getattr(strategy, "wrapped_strategy", strategy)
        if hasattr(strategy, "elements"):
            return strategy.elements[choice % len(strategy.elements)]
        if hasattr(strategy, "start"):
            return strategy.start + choice % (strategy.end - strategy.start + 1)
        return bool(choice % 2)


def program(choices: list[int]) -> Callable[[Tensor], Tensor]:
    """Return the code that numbers choose."""

    def code(x: Tensor) -> Tensor:
        draw, y = Replayed(choices), x
        for _ in range(1 + choices[0] % 4):
            y = STEPS[draw(st.integers(0, len(STEPS) - 1))](y, draw)
        if choices[1] % 3 == 0:
            y = _Random.apply(y, WEIGHT, choices[2:])  # type: ignore[no-untyped-call]
        if choices[2] % 2 and y.shape[0] != len(x) and len(x) in y.shape:
            y = y.movedim(y.shape.index(len(x)), 0)
        return y

    return code


def false_fold(choices: list[int]) -> str:
    """Return how code mixes samples that the proof lets fold; "" if all is well."""
    code = program(choices)
    try:
        if code(noise(7, SHAPE, 0).requires_grad_()).shape[0] != 7:
            return ""
    except Exception:  # no code
        return ""
    decision = decide(code, SHAPE)
    if decision.reason is not None:
        return ""
    sizes = [N for N in SIZES if decision.folds(N)]
    FOLDED.append(1)
    return mixing(code, SHAPE, sizes, [WEIGHT]) if sizes else ""


FOLDED: list[int] = []
CHOICES = st.lists(st.integers(0, 5039), min_size=24, max_size=24)


def main(examples: str = "3000", seed: str = "0") -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    def check(choices: list[int]) -> None:
        found = false_fold(choices)
        assert not found, found

    checks: Any = hypothesis.HealthCheck
    options = hypothesis.settings(
        max_examples=int(examples),
        deadline=None,
        suppress_health_check=[*checks],
        database=None,  # pyright: ignore
    )
    hypothesis.seed(int(seed))(options(hypothesis.given(CHOICES)(check)))()
    print(f"{len(FOLDED)} folded")


if __name__ == "__main__":
    main(*sys.argv[1:])
