"""For every operation of the table of rules: calls that keep samples apart, and calls that mix them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.rules.cases import SQUARE, THREE, halves
from tests.fold.rules.oracle import Code

aten = torch.ops.aten
ROW, WEIGHTS, TABLE = THREE.repeat(2), SQUARE[:4], SQUARE[:, :3].contiguous()
INDEX, ONES = torch.tensor([2, 0, 1]), torch.ones(6, dtype=torch.float64)
Function = Callable[..., Any]
MULTINOMIAL: Function = lambda x: torch.multinomial(x.softmax(-1), 6)  # noqa: E731


class Row(NamedTuple):
    """Calls of an operation.

    Attributes:
        keeps: code that keeps samples apart, which may fold.
        mixes: code that does not.
        shape: of a sample.
        draws: whether it draws random numbers.
        weights: what else is differentiated.
    """

    keeps: list[Code]
    mixes: list[Code] = []  # noqa: RUF012
    shape: tuple[int, ...] = (6,)
    draws: bool = False
    weights: Sequence[Tensor] = ()


def first(found: Any) -> Tensor:
    """Return the first tensor of what comes out, as real numbers."""
    out: Tensor = found if isinstance(found, Tensor) else found[0]
    if out.is_complex():
        return torch.view_as_real(out.resolve_conj())
    return out if out.is_floating_point() else out.double()


def whole(y: Tensor) -> Tensor:
    """Undo ``halves``."""
    parts: Tensor = y.unflatten(0, (2, -1))
    return parts.transpose(0, 1).flatten(1)


def called(f: Function, *args: Any, **kwargs: Any) -> Code:
    """Return code that calls f with a batch and constants."""
    return lambda x: first(f(x, *args, **kwargs))


def crosswise(f: Function, *args: Any, **kwargs: Any) -> Code:
    """Return code that hands f the batch as the last axis, and what comes out as the first."""
    return lambda x: first(f(x.movedim(0, -1), *args, **kwargs)).movedim(-1, 0)


def in_place(name: str, *args: Any) -> Code:
    """Return code that calls a method on a copy."""
    return lambda x: getattr(x.detach().clone(), name)(*args) + x


def entrywise(f: Function) -> Row:
    """Return calls of f(x), which has the shape of x."""
    return Row(
        [lambda x: first(f(x)), lambda x: whole(first(f(halves(x)))), lambda x: first(f(x.T)).movedim(1, 0)],
        [lambda x: first(f(halves(x))).reshape(len(x), -1) + x.sum(1, True)],
    )


def of_two(f: Function) -> Row:
    """Return calls of f(a, b), whose entries are to lie in the same place."""
    pair: Code = lambda x: first(f(halves(x), halves(x.flip(1))))  # noqa: E731
    others: Code = lambda x: first(f(halves(x), x.reshape(-1, 3))).reshape(len(x), -1)  # noqa: E731
    return Row([lambda x: whole(pair(x)), called(f, ROW)], [others, lambda x: pair(x).reshape(len(x), -1)])


def drawn(f: Function, in_place: bool = False) -> Row:
    """Return calls of f(x), which draws; a draw of one row would be shared."""
    copy = torch.clone if in_place else torch.detach
    draw: Code = lambda x: x + first(f(copy(x.detach())))  # noqa: E731
    turned: list[Code] = [] if f is MULTINOMIAL else [lambda x: draw(x.T).T]
    return Row([draw, lambda x: x + whole(halves(draw(x))), *turned], [lambda x: x * first(f(ROW.clone()))], draws=True)


def reduced(f: Function, **kwargs: Any) -> Row:
    """Return calls of f(x, dim)."""
    return Row(
        [
            called(f, 1, **kwargs),
            lambda x: first(f(x.view(-1, 2, 3), 2, **kwargs)),
            crosswise(f, 0, **kwargs),
            lambda x: whole(first(f(halves(x)[:, None].expand(-1, 2, -1), 1, **kwargs))),
        ],
        [
            lambda x: x * first(f(x, 0, **kwargs)).double().reshape(-1)[:6],
            lambda x: first(f(halves(x), 1)).reshape(len(x), -1),
        ],
    )


def shaped(f: Function, merged: bool = True, **kwargs: Any) -> Row:
    """Return calls of f(x, dim), which has the shape of x."""
    keeps = [called(f, 1, **kwargs), called(f, -1, **kwargs), crosswise(f, 0, **kwargs)]
    mixes = [called(f, 0, **kwargs), called(f, -2, **kwargs), crosswise(f, 1, **kwargs)]
    if merged:
        keeps.append(lambda x: whole(first(f(halves(x), 1, **kwargs))))
        mixes.append(lambda x: first(f(halves(x), 1, **kwargs)).reshape(len(x), -1))
    return Row(keeps, mixes)


def of_space(f: Function, n: int, same: bool = False) -> Row:
    """Return calls of f(x), which works in the last n axes of (N, 4, 8, ...), and may keep their sizes."""
    sides = {1: (4, 8), 2: (4, 8, 8), 3: (4, 4, 4, 4)}[n]
    return Row(
        [called(f), lambda x: first(f(x.transpose(0, 1))).transpose(0, 1)], [crosswise(f)] if same else [], sides
    )


def of_matrices(f: Function, square: bool = False) -> Row:
    """Return calls of f(x), which works in the last two axes, of any size or of the same."""
    own = [] if square else [crosswise(f), lambda x: first(f(x[:, 0].transpose(0, 1))).transpose(0, 1)]
    turned: Code = lambda x: first(f(x.transpose(0, 1).contiguous())).transpose(0, 1)  # noqa: E731
    return Row([called(f), turned, lambda x: first(f(x[:, 0]))], own, (2, 3, 3))


def mixing_matrices(f: Function) -> Row:
    """Do so where the axis of the batch does not survive as the last."""
    spd: Function = lambda x: f(x @ x.mT + torch.eye(3, dtype=x.dtype))  # noqa: E731
    return Row([called(spd), lambda x: first(spd(x[:, 0]))], [], (2, 3, 3))


def factory(make: Callable[[int], Tensor]) -> Row:
    """Return calls that make a tensor for each sample; its place would be that of the step."""
    keeps: list[Code] = [lambda x: x + make(len(x)), lambda x: x + make(2 * len(x)).view(len(x), -1)[:, :6]]
    return Row(keeps, [lambda x: x + make(len(x)).cumsum(0)])


def _entries() -> dict[str, Row]:
    half = torch.tensor(0.5, dtype=torch.float64)
    unary: dict[str, Function] = {
        "clone": torch.clone,
        "_to_copy": lambda x: x.to(torch.float32).double(),
        "detach": lambda x: x.detach() * x,
        "alias": aten.alias,
        "lift_fresh": lambda x: aten.lift_fresh(x.detach()) * x,
        "lift_fresh_copy": lambda x: aten.lift_fresh_copy(x.detach()) * x,
        "fill": lambda x: aten.fill(x, 2.0) * x,
        "fill_": lambda x: x.clone().fill_(half) * x,
        "zero": lambda x: aten.zero(x) + x,
        "zero_": lambda x: x.detach().clone().zero_() + x,
        "masked_fill": lambda x: x.masked_fill(x > 0.5, 0.0),
        "masked_fill_": lambda x: x.clone().masked_fill_(x > 0.5, half),
        "_conj": lambda x: x.cdouble().conj() * 1j,
        "_neg_view": lambda x: aten._neg_view(x) * 2,
        "_prelu_kernel": lambda x: F.prelu(x - 0.5, half[None]),
        "softplus": F.softplus,
        "elu": F.elu,
        "hardtanh": lambda x: F.hardtanh(x, 0.2, 0.7),
        "hardswish": F.hardswish,
        "hardsigmoid": F.hardsigmoid,
        "floor_divide": lambda x: x.detach().floor_divide(0.3) + x,
        "bucketize": lambda x: torch.bucketize(x, THREE.sort()[0]) * x,
        "isin": lambda x: torch.isin(x.round(), ONES) * x,
        "searchsorted": lambda x: torch.searchsorted(THREE.sort()[0], x.detach().contiguous()) * x,
    }
    binary: dict[str, Function] = {
        "copy": lambda x, y: aten.copy(x.detach(), y.detach()) * x,
        "copy_": lambda x, y: x.clone().copy_(y) * x,
        "where": lambda x, y: torch.where(x > 0.5, x, y),
        "lerp": lambda x, y: x.lerp(y, 0.3),
        "lerp_": lambda x, y: x.clone().lerp_(y.expand_as(x), x),
        "binary_cross_entropy": lambda x, y: F.binary_cross_entropy(x, y.detach().expand_as(x), reduction="none"),
        "mse_loss": lambda x, y: aten.mse_loss(x, y.expand_as(x), 0),
        "smooth_l1_loss": lambda x, y: aten.smooth_l1_loss(x, y.expand_as(x), 0),
        "huber_loss": lambda x, y: aten.huber_loss(x, y.expand_as(x), 0),
    }
    draws: dict[str, Function] = {
        "rrelu_with_noise": lambda x: F.rrelu(x - 2, training=True),
        "native_dropout": lambda x: torch.native_dropout(x, 0.5, True),
        "bernoulli": torch.bernoulli,
        "normal": lambda x: torch.normal(x, 1.0),
        "normal_functional": aten.normal_functional,
        "uniform": aten.uniform,
        "random": aten.random,
        "exponential": aten.exponential,
        "geometric": lambda x: aten.geometric(x, 0.5),
        "cauchy": aten.cauchy,
        "log_normal": aten.log_normal,
        "poisson": lambda x: torch.poisson(torch.ones_like(x)),
        "rand_like": torch.rand_like,
        "randn_like": torch.randn_like,
        "randint_like": lambda x: torch.randint_like(x, 9),
        "bernoulli_": lambda x: x.clone().bernoulli_(0.5),
        "normal_": lambda x: x.clone().normal_(),
        "uniform_": lambda x: x.clone().uniform_(),
        "random_": lambda x: x.clone().random_(),
        "exponential_": lambda x: x.clone().exponential_(),
        "multinomial": MULTINOMIAL,
    }
    losses = {name: of_two(f) for name, f in binary.items() if name.endswith(("loss", "entropy"))}
    for name, row in losses.items():
        row.mixes.append(_reduced_loss(getattr(F, name)))
    sizes: Code = lambda x: x + torch.normal(0.0, 1.0, x.shape)  # noqa: E731
    found = {name: drawn(f) for name, f in draws.items()}
    found["normal"].keeps.append(sizes)
    return (
        {name: entrywise(f) for name, f in unary.items()}
        | {name: of_two(f) for name, f in binary.items()}
        | found
        | losses
    )


def _reduced_loss(f: Function) -> Code:
    return lambda x: x * f(x, x.detach() / 2)


def _after(before: Function, f: Function) -> Function:
    return lambda x, dim, **kwargs: f(before(x), dim, **kwargs)


def _into(f: Function) -> Function:
    return lambda x, dim: f(x.detach(), dim, out=torch.empty_like(x))


def _along() -> dict[str, Row]:
    names = "sum mean amax amin prod var std logsumexp argmax argmin max min mode nansum"
    found = {name: reduced(getattr(torch, name)) for name in (*names.split(), "var_mean", "std_mean")}
    for name in ("median", "nanmedian"):  # of a copy: torch itself mixes what is expanded
        found[name] = reduced(_after(torch.Tensor.contiguous, getattr(torch, name)))
    found |= {"linalg_vector_norm": reduced(lambda x, dim: torch.linalg.vector_norm(x, 2, dim))}
    found |= {name: reduced(_after(lambda x: x > 0.5, getattr(torch, name))) for name in ("any", "all")}
    found |= {"kthvalue": reduced(lambda x, dim: x.kthvalue(1, dim)), "topk": reduced(lambda x, dim: x.topk(1, dim))}
    found |= {"count_nonzero": reduced(lambda x, dim: torch.count_nonzero(x > 0.5, dim))}
    found |= {"aminmax": reduced(lambda x, dim: torch.aminmax(x, dim=dim))}
    found |= {"select": reduced(lambda x, dim: x.select(dim, 0)), "unbind": reduced(torch.unbind)}
    found |= {
        "split": reduced(lambda x, dim: x.split(1, dim)),
        "unsafe_split": reduced(lambda x, d: x.unsafe_split(1, d)),
    }
    found |= {"split_with_sizes": reduced(lambda x, dim: x.split([1, x.shape[dim] - 1], dim))}
    same = "softmax log_softmax cumsum cumprod cummax cummin logcumsumexp"
    found |= {name: shaped(getattr(torch, name)) for name in same.split()}
    for name in ("_softmax", "_log_softmax"):
        found[name] = shaped(_after(torch.Tensor.clone, getattr(aten, name)), half_to_float=False)
    for name in ("_safe_softmax", "_logcumsumexp"):
        found[name] = shaped(_after(torch.Tensor.detach, getattr(aten, name)))
    for name in ("softmax", "log_softmax"):
        found[name] = shaped(_into(getattr(aten, name).int_out), merged=False)
    found["norm"] = reduced(lambda x, dim: aten.norm(x.detach(), 2, [dim]))
    for name, f in (("_cummax_helper", aten._cummax_helper), ("_cummin_helper", aten._cummin_helper)):

        def helper(x: Tensor, dim: int, f: Function = f) -> Tensor:
            out, places = torch.zeros_like(x), torch.zeros_like(x, dtype=torch.int64)
            f(x.detach(), out, places, dim % x.dim())
            return out

        found[name] = shaped(helper, merged=False)
    found |= {
        "sort": shaped(lambda x, dim: x.sort(dim)),
        "flip": shaped(lambda x, dim: x.flip(dim)),
        "roll": shaped(lambda x, dim: x.roll(1, dim)),
        "_fft_c2c": shaped(lambda x, dim: torch.fft.fft(x.cdouble(), dim=dim).abs()),
        "_fft_c2r": shaped(lambda x, dim: torch.fft.irfft(x.cdouble(), n=x.shape[dim], dim=dim)),
        "cumsum_": shaped(lambda x, dim: x.clone().cumsum_(dim)),
    }
    found["_fft_r2c"] = Row(
        [called(torch.fft.rfft), called(torch.fft.ihfft)], [lambda x: first(torch.fft.rfft(x, dim=0)).sum((0, 2)) + x]
    )
    found["roll"].mixes.append(called(torch.roll, 1))
    found["sort"].mixes.append(lambda x: x.flatten().sort()[0].view(x.shape))
    found["rot90"] = Row([called(torch.rot90, 1, (1, 2))], [called(torch.rot90, 2, (0, 1))], (4, 4))
    found["unfold"] = Row([lambda x: x.unfold(1, 3, 2)], [lambda x: x.T.unfold(1, 2, 1)[:, :1, 0].T + x])
    found["glu"] = Row([called(F.glu, 1)], [lambda x: F.glu(x.repeat(1, 2).view(-1, 6), 0)])
    found["diagonal"] = Row(
        [lambda x: x.diagonal(0, 1, 2)], [lambda x: x[:, :1, 0] + x.diagonal(0, 0, 1)[0, 0]], (4, 4)
    )
    found["linalg_cross"] = Row(
        [called(torch.linalg.cross, THREE[None]), lambda x: torch.linalg.cross(x.T, THREE[:, None], dim=0).T],
        [lambda x: torch.linalg.cross(x[:, None], x[None])[0], lambda x: torch.linalg.cross(x, x.flip(0))],
        (3,),
    )
    return found


def _indexed() -> dict[str, Row]:
    def few(x: Tensor) -> Tensor:
        return (x.detach() * 2.9).long()

    def by(name: str, *more: str) -> Row:
        def put(x: Tensor, dim: int, index: Tensor) -> Tensor:
            y = x.clone()
            found: Tensor = getattr(y, name)(
                dim, index, *((y,) if name == "gather" else (x * 2, *more))[name == "gather" :]
            )
            return found

        mixes: list[Code] = [lambda x: put(x, 0, few(x)), lambda x: put(halves(x), 1, few(x).view(-1, 3)).view(-1, 6)]
        if name == "gather":  # places that samples do not have
            mixes.append(lambda x: SQUARE.repeat(50, 1).gather(1, few(x)) + x)
        return Row([lambda x: put(x, 1, few(x)), lambda x: put(x.T, 0, few(x.T)).T], mixes)

    def chosen(name: str, *args: Any) -> Row:
        f, reads = getattr(torch, name), name in ("index_add", "index_copy")

        def more(x: Tensor, dim: int) -> Any:
            return (x.narrow(dim, 0, 3) * 2,) if reads else args

        mixes: list[Code] = [lambda x: x + f(x, 0, INDEX, *((SQUARE[:3],) if reads else args)).sum(0)]
        mixes += [lambda x: whole(f(halves(x), 1, INDEX, x.reshape(-1, 3)))] if reads else []
        mixes += [lambda x: f(x, 1, few(x)[:, 0], *args)] if name == "index_fill" else []
        mixes += [lambda x: f(x.detach().clone(), 0, INDEX, *args)] if name == "index_fill" else []
        mixes += [lambda x: f(x, 0, INDEX, SQUARE[:3])] if reads else []
        return Row(
            [lambda x: f(x, 1, INDEX, *more(x, 1)), lambda x: f(x.T, 0, INDEX, *more(x.T, 0)).T],
            mixes,
        )

    def picked(f: Function) -> Row:
        return Row(
            [
                lambda x: f(x, [None, INDEX]),
                lambda x: f(TABLE, [few(x)]).flatten(1),
                lambda x: f(x.T, [INDEX]).T,
                lambda x: f(SQUARE, [few(x), few(x).flip(1)]),
            ],
            [
                lambda x: f(x, [few(x)[:, 0] * 0]),
                lambda x: x + f(x, [INDEX * 0])[0],
                lambda x: f(x, [few(x) * 0, few(x)]),
                lambda x: f(SQUARE, [few(x)[:, None], few(x)[None, :, :1]])[0],
                lambda x: f(TABLE, [few(halves(x))]).reshape(len(x), -1),
            ],
        )

    def written(f: Function) -> Row:
        zero = torch.zeros((), dtype=torch.float64)
        return Row(
            [
                lambda x: f(x.clone(), [x > 0.5], zero),
                lambda x: f(x.clone(), [None, INDEX], x[:, :3] * 2),
                lambda x: f(x.clone(), [None, INDEX], zero),
            ],
            [
                lambda x: f(x.clone(), [INDEX], zero),
                lambda x: f(x.clone(), [few(x)[:, 0]], zero),
                lambda x: f(x.clone(), [None, few(x)[:, 0]], zero),
                lambda x: whole(f(halves(x).clone(), [(x > 0.5).view(-1, 3)], zero)),
                lambda x: whole(f(halves(x).clone(), [None, INDEX], x.reshape(-1, 3))),
            ],
        )

    def select(x: Tensor) -> Tensor:
        return TABLE.index_select(0, few(x)[:, 0])

    found = {name: by(name) for name in ("gather", "scatter", "scatter_add", "scatter_add_")}
    found |= {"scatter_reduce": by("scatter_reduce", "sum")}
    found["slice_scatter"] = Row(
        [lambda x: x.slice_scatter(x[:, :3] * 2, 1, 1, 4)],
        [lambda x: x.slice_scatter(x.flip(1), 0) + x.slice_scatter(x.cumsum(0), 0)],
    )
    found |= {name: chosen(name) for name in ("index_select", "index_add", "index_copy")}
    found |= {"index_fill": chosen("index_fill", 0.0)}
    found["index_select"].keeps.append(select)
    found["index_select"].mixes.extend(
        [
            lambda x: x.index_select(0, few(x)[:, 0] // 9),
            lambda x: TABLE.index_select(0, few(halves(x))[:, 0]).view(-1, 6),
        ]
    )
    found |= {"index": picked(aten.index), "_unsafe_index": picked(aten._unsafe_index)}
    found |= {"index_put": written(aten.index_put), "_index_put_impl": written(aten._index_put_impl)}
    found |= {"index_put_": written(aten.index_put_)}
    found["embedding"] = Row(
        [lambda x: F.embedding(few(x), TABLE).flatten(1)],
        [lambda x: F.embedding(few(halves(x)), TABLE).reshape(len(x), -1), lambda x: F.embedding(few(x)[:, 0], x)],
    )
    weight = nn.Parameter(TABLE.clone())
    frequent: Code = lambda x: F.embedding(few(x), weight, scale_grad_by_freq=True).flatten(1)  # noqa: E731
    found["embedding"] = found["embedding"]._replace(weights=[weight])
    found["embedding"].mixes.append(frequent)
    return found


ENTRIES, ALONG, INDEXED = _entries(), _along(), _indexed()
