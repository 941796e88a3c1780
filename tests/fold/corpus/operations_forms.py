"""Two calls of an operation, one that keeps samples apart and one that mixes them, for the forms that operations have.

What keeps samples apart has them where a rule is most likely to look elsewhere: merged with another axis (``halves``),
and not first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tests.fold.corpus.operations_oracle import Code, noise

Function = Callable[..., Any]
NONE: Mapping[str, Code] = {}
D = torch.float64
THREE, SIX, SQUARE = noise(3, (), 0), nn.Parameter(noise(6, (), 0)), noise(6, (6,), 0)
ROW, TABLE = THREE.repeat(2), SQUARE[:, :3].contiguous()


class Row(NamedTuple):
    """The calls of an operation.

    Attributes:
        keeps: code that keeps samples apart, which may fold; None if torch has no such call of real tensors, so that
            its shapes alone are judged.
        mixes: code that mixes them, likewise.
        shape: of a sample.
        draws: whether it draws random numbers.
        weights: what else is differentiated.
        also: more code that keeps samples apart, by the branch of the rule that the first call does not reach.
        nor: more code that mixes them, likewise.
    """

    keeps: Code | None
    mixes: Code | None
    shape: tuple[int, ...] = (6,)
    draws: bool = False
    weights: Sequence[Tensor] = ()
    also: Mapping[str, Code] = NONE
    nor: Mapping[str, Code] = NONE

    def calls(self, keeps: bool) -> dict[str, Code]:
        """Return the calls that keep samples apart, or those that mix them, by the branch of the rule."""
        one, more = (self.keeps, self.also) if keeps else (self.mixes, self.nor)
        return ({"": one} if one else {}) | dict(more)


def halves(x: Tensor) -> Tensor:
    """Put the second half of all samples behind the first half of all samples: (N, 6) -> (2 N, 3)."""
    return x.reshape(-1, 2, 3).transpose(0, 1).reshape(-1, 3)


def whole(y: Tensor) -> Tensor:
    """Undo ``halves``."""
    return y.unflatten(0, (2, -1)).transpose(0, 1).flatten(1)


def first(found: Any) -> Tensor:
    """Return the first tensor of what comes out, as real numbers."""
    out: Tensor = found if isinstance(found, Tensor) else found[0]
    if out.is_complex():
        return torch.view_as_real(out.resolve_conj())
    return out if out.is_floating_point() else out.double()


def few(x: Tensor) -> Tensor:
    """Return indices from 0 to 2."""
    return (x.detach() * 2.9).long()


def called(f: Function, *args: Any, **kwargs: Any) -> Code:
    """Return code that calls f with a batch and constants."""
    return lambda x: first(f(x, *args, **kwargs))


def last(f: Function, *args: Any, **kwargs: Any) -> Code:
    """Return code that hands f the batch as the last axis, and what comes out as the first."""
    return lambda x: first(f(x.movedim(0, -1), *args, **kwargs)).movedim(-1, 0)


def second(f: Function) -> Code:
    """Return code that hands f the batch as its second axis."""
    return lambda x: first(f(x.transpose(0, 1))).transpose(0, 1)


def turned(f: Function) -> Code:
    """Return code that hands f the batch merged with an axis, and last."""
    return lambda x: whole(first(f(halves(x).T)).movedim(1, 0))


def entrywise(f: Function) -> Row:
    """Return calls of f(x), which has the shape of x."""
    return Row(turned(f), lambda x: first(f(halves(x))).reshape(len(x), -1) + x.sum(1, True))


def of_two(f: Function) -> Row:
    """Return calls of f(a, b), whose entries are to lie in the same place."""
    return Row(
        lambda x: turned(lambda a: f(a, halves(x.flip(1)).T))(x),
        lambda x: first(f(halves(x), x.reshape(-1, 3))).reshape(len(x), -1),
    )


def of_losses(f: Function, reduced: Function) -> Row:
    """Return calls of a loss with a number for each entry, and of one with a number for all."""
    return of_two(lambda a, b: f(a, b.expand_as(a)))._replace(mixes=lambda x: x * reduced(x, x.detach() / 2))


def drawn(f: Function, place: Callable[[Code], Code] = turned) -> Row:
    """Return calls of f(x), which draws; a draw of one row would be shared."""
    draw: Code = lambda x: x + first(f(x.detach().clone()))  # noqa: E731
    return Row(place(draw), lambda x: x * first(f(ROW.clone())), draws=True)


def reduced(f: Function) -> Row:
    """Return calls of f(x, dim)."""
    return Row(
        lambda x: whole(first(f(torch.stack([halves(x), halves(x)]), 2))[0]),
        lambda x: x * first(f(x, 0)).double().reshape(-1)[:6],
    )


def shaped(f: Function, place: Callable[[Code], Code] = turned) -> Row:
    """Return calls of f(x, dim), which has the shape of x."""
    return Row(place(lambda x: f(x, 0)), called(f, 0))


def of_space(f: Function, n: int) -> Row:
    """Return calls of f(x), which works in the last n axes of (N, 4, 8, ...)."""
    return Row(second(f), None, {1: (4, 8), 2: (4, 8, 8), 3: (4, 4, 4, 4)}[n])


def of_matrices(f: Function) -> Row:
    """Return calls of f(x), which works in the last two axes."""
    return Row(second(lambda x: f(x.contiguous())), None, (2, 3, 3))


def of_inner(f: Function) -> Row:
    """Return calls of f(x) with matrices that are symmetric and positive."""
    return of_matrices(lambda x: f(x @ x.mT + torch.eye(3, dtype=D)))


def by_index(name: str, *more: str) -> Row:
    """Return calls of x.name(dim, index, ...), whose indices are of the shape of x."""

    def put(x: Tensor, dim: int, index: Tensor) -> Tensor:
        given = () if name == "gather" else (x * 2, *more)
        return getattr(x.clone(), name)(dim, index, *given)

    return Row(turned(lambda x: put(x, 0, few(x))), lambda x: put(x, 0, few(x)))


def made(make: Callable[[int], Tensor]) -> Row:
    """Return calls that make 6 numbers for each sample; their place would be that of the step."""
    keeps: Code = lambda x: x + make(2 * len(x)).view(len(x), -1)[:, :6]  # noqa: E731
    return Row(keeps, lambda x: x + make(len(x)).cumsum(0))


def made_at_random(draw: Callable[..., Tensor]) -> Row:
    """Return calls that draw numbers for each sample, and for all samples together."""
    return Row(lambda x: x + draw((len(x), 6), dtype=D), lambda x: x * draw((6,), dtype=D), draws=True)
