"""Every operation of the table of rules, with a call that keeps samples apart and one that mixes them.

More calls have the branch of their rule beside them that the two do not reach. Layers are in ``operations_layers``, and
operations that no processor here runs in ``operations_shapes``.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.corpus import operations_forms
from tests.fold.corpus.operations_forms import ROW, TABLE, THREE, D, Function, Row, few, halves, last, turned, whole
from tests.fold.corpus.operations_oracle import Code

aten = torch.ops.aten
INDEX, ONES = torch.tensor([2, 0, 1]), torch.ones(6, dtype=D)
HALF, ZERO = torch.tensor(0.5, dtype=D), torch.zeros((), dtype=D)
WEIGHTS = nn.Parameter(TABLE.clone())

ENTRYWISE: dict[str, Function] = {
    "clone": torch.clone,
    "_to_copy": lambda x: x.to(torch.float32).double(),
    "detach": lambda x: x.detach() * x,
    "alias": aten.alias,
    "lift_fresh": lambda x: aten.lift_fresh(x.detach()) * x,
    "lift_fresh_copy": lambda x: aten.lift_fresh_copy(x.detach()) * x,
    "fill": lambda x: aten.fill(x, 2.0) * x,
    "zero": lambda x: aten.zero(x) + x,
    "masked_fill": lambda x: x.masked_fill(x > 0.5, 0.0),
    "_conj": lambda x: x.to(torch.complex128).conj() * 1j,
    "_neg_view": lambda x: aten._neg_view(x) * 2,
    "_prelu_kernel": lambda x: F.prelu(x - 0.5, HALF[None]),
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
OF_TWO: dict[str, Function] = {
    "copy": lambda x, y: aten.copy(x.detach(), y.detach()) * x,
    "copy_": lambda x, y: x.clone().copy_(y) * x,
    "where": lambda x, y: torch.where(x > 0.5, x, y),
    "lerp": lambda x, y: x.lerp(y, 0.3),
}
LOSSES: dict[str, Function] = {
    "binary_cross_entropy": lambda x, y: F.binary_cross_entropy(x, y.detach(), reduction="none"),
    "mse_loss": lambda x, y: aten.mse_loss(x, y, 0),
    "smooth_l1_loss": lambda x, y: aten.smooth_l1_loss(x, y, 0),
    "huber_loss": lambda x, y: aten.huber_loss(x, y, 0),
}
# with a tensor that is made without samples, and takes their place
DRAWN_LIKE: dict[str, Function] = {
    "rrelu_with_noise": lambda x: F.rrelu(x - 2, training=True),
    "poisson": lambda x: torch.poisson(torch.ones_like(x)),
    "rand_like": torch.rand_like,
    "randn_like": torch.randn_like,
    "randint_like": lambda x: torch.randint_like(x, 9),
}
DRAWN: dict[str, Function] = {
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
    "bernoulli_": lambda x: x.bernoulli_(0.5),
}
REDUCED: dict[str, Function] = {
    **{name: getattr(torch, name) for name in ("sum", "mean", "amax", "amin", "prod", "var", "std", "logsumexp")},
    **{name: getattr(torch, name) for name in ("var_mean", "std_mean", "argmax", "argmin", "max", "min", "mode")},
    **{name: getattr(torch, name) for name in ("nansum", "median", "nanmedian", "unbind")},
    "linalg_vector_norm": lambda x, dim: torch.linalg.vector_norm(x, 2, dim),
    "norm": lambda x, dim: aten.norm(x.detach(), 2, [dim]),
    "any": lambda x, dim: (x > 0.5).any(dim),
    "all": lambda x, dim: (x > 0.5).all(dim),
    "count_nonzero": lambda x, dim: torch.count_nonzero(x > 0.5, dim),
    "kthvalue": lambda x, dim: x.kthvalue(1, dim),
    "topk": lambda x, dim: x.topk(1, dim),
    "aminmax": lambda x, dim: torch.aminmax(x, dim=dim),
    "select": lambda x, dim: x.select(dim, 0),
    "split": lambda x, dim: x.split(1, dim),
    "unsafe_split": lambda x, dim: x.unsafe_split(1, dim),
    "split_with_sizes": lambda x, dim: x.split([1, x.shape[dim] - 1], dim),
}


def _into(f: Function) -> Function:
    return lambda x, dim: f(x.detach(), dim, out=torch.empty_like(x))


def _helper(f: Function) -> Function:
    def helped(x: Tensor, dim: int) -> Tensor:
        out, places = torch.zeros_like(x), torch.zeros_like(x, dtype=torch.int64)
        f(x.detach(), out, places, dim)
        return out

    return helped


SHAPED: dict[str, Function] = {
    **{name: getattr(torch, name) for name in ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"]},
    "_softmax": torch.softmax,
    "_log_softmax": torch.log_softmax,
    "_safe_softmax": lambda x, dim: aten._safe_softmax(x.detach(), dim),
    "_logcumsumexp": lambda x, dim: aten._logcumsumexp(x.detach(), dim),
    "sort": lambda x, dim: x.sort(dim),
    "flip": lambda x, dim: x.flip(dim),
    "roll": lambda x, dim: x.roll(1, dim),
    "_fft_c2c": lambda x, dim: torch.fft.fft(x.to(torch.complex128), dim=dim).abs(),
    "_fft_c2r": lambda x, dim: torch.fft.irfft(x.to(torch.complex128), n=x.shape[dim], dim=dim),
    "cumsum_": lambda x, dim: x.clone().cumsum_(dim),
}
# into a tensor that is made without samples
SHAPED_LIKE: dict[str, Function] = {
    "softmax": _into(aten.softmax.int_out),
    "log_softmax": _into(aten.log_softmax.int_out),
    "_cummax_helper": _helper(aten._cummax_helper),
    "_cummin_helper": _helper(aten._cummin_helper),
}
MADE: dict[str, Function] = {
    "zeros": lambda n: torch.zeros(n, 6, dtype=D) + 1,
    "ones": lambda n: torch.ones(n, 6, dtype=D),
    "full": lambda n: torch.full((n, 6), 2.0, dtype=D),
    "empty": lambda n: torch.empty(n, 6, dtype=D).fill_(2.0),
    "new_zeros": lambda n: ONES.new_zeros(n, 6) + 1,
    "new_ones": lambda n: ONES.new_ones(n, 6),
    "new_full": lambda n: ONES.new_full((n, 6), 2.0),
    "new_empty": lambda n: ONES.new_empty(n, 6).fill_(2.0),
    "zeros_like": lambda n: torch.zeros_like(ONES.repeat(n, 1)) + 1,
    "ones_like": lambda n: torch.ones_like(ONES.repeat(n, 1)),
    "full_like": lambda n: torch.full_like(ONES.repeat(n, 1), 2.0),
    "empty_like": lambda n: torch.empty_like(ONES.repeat(n, 1)).fill_(2.0),
}


def _axes() -> dict[str, Row]:
    """Return operations along axes with calls of their own."""
    found = {name: operations_forms.reduced(f) for name, f in REDUCED.items()}
    found |= {name: operations_forms.shaped(f) for name, f in SHAPED.items()}
    found |= {name: operations_forms.shaped(f, last) for name, f in SHAPED_LIKE.items()}
    found["roll"] = found["roll"]._replace(nor={"along no axis": operations_forms.called(torch.roll, 1)})
    return found | {
        "_fft_r2c": Row(
            turned(lambda x: torch.fft.ihfft(x, dim=0)), lambda x: torch.fft.rfft(x, dim=0).abs().sum(0) + x
        ),
        "rot90": Row(
            operations_forms.called(torch.rot90, 1, (1, 2)), operations_forms.called(torch.rot90, 2, (0, 1)), (4, 4)
        ),
        "unfold": Row(lambda x: x.unfold(1, 3, 2), lambda x: x.T.unfold(1, 2, 1)[:, :1, 0].T + x),
        "glu": Row(last(F.glu, 0), lambda x: F.glu(x.repeat(1, 2).view(-1, 6), 0)),
        "diagonal": Row(lambda x: x.diagonal(0, 1, 2), lambda x: x[:, :1, 0] + x.diagonal(0, 0, 1)[0, 0], (4, 4)),
        "linalg_cross": Row(
            last(torch.linalg.cross, THREE[:, None], dim=0),
            lambda x: torch.linalg.cross(x, x.flip(0)),
            (3,),
            nor={"of other axes": lambda x: torch.linalg.cross(x[:, None], x[None])[0]},
        ),
    }


def _views() -> dict[str, Row]:
    def joined(f: Code) -> Code:
        """Return code that makes samples of neighbours in what f makes of the halves of all samples."""
        return lambda x: f(halves(x)).reshape(len(x), -1)

    return {
        "view": Row(
            lambda x: whole(halves(x).view(-1, 3, 1).view(-1, 3)),
            joined(lambda y: y.view(-1, 6)),
            also={"to another dtype": lambda x: x.view(torch.int32) * 0.5},
            nor={"of samples that are not first": lambda x: x.T.contiguous().view(3, -1).T.reshape(-1, 6)},
        ),
        "_unsafe_view": Row(
            lambda x: whole(aten._unsafe_view(halves(x), (-1, 3, 1))), joined(lambda y: aten._unsafe_view(y, (-1, 6)))
        ),
        "_reshape_copy": Row(
            lambda x: whole(aten._reshape_copy(halves(x).T, (3, -1, 1))[..., 0].T),
            joined(lambda y: aten._reshape_copy(y, (-1, 6))),
        ),
        "unsqueeze": Row(lambda x: whole(halves(x).unsqueeze(1)[:, 0]), joined(lambda y: y.unsqueeze(1).view(-1, 6))),
        "squeeze": Row(
            lambda x: whole(halves(x).T[..., None].squeeze(2).T),
            lambda x: x[:, None].squeeze((0, 1)).softmax(0),
            nor={"of all axes": lambda x: x[:, None].squeeze().softmax(0)},
        ),
        "view_as_real": Row(
            lambda x: whole(torch.view_as_real(halves(x).to(torch.complex128))),
            joined(lambda y: torch.view_as_real(y.to(torch.complex128)).view(-1, 12)),
        ),
        "view_as_complex": Row(
            lambda x: torch.view_as_complex(x.view(-1, 3, 2)).abs(),
            joined(lambda y: torch.view_as_complex(y[:, :2].contiguous()).abs()),
        ),
        "expand": Row(
            lambda x: whole(halves(x)[:, None].expand(-1, 2, -1)),
            lambda x: halves(x).expand(3, -1, -1)[0].view(-1, 6),
            also={"of a constant": lambda x: x + ROW[:3].expand(2 * len(x), 3).reshape(-1, 6)},
        ),
        "permute": Row(lambda x: whole(halves(x).permute(1, 0).permute(1, 0)), joined(lambda y: y.permute(1, 0))),
        "transpose": Row(
            lambda x: x.reshape(-1, 3).transpose(0, 1).cumsum(0).transpose(0, 1).reshape(-1, 6),
            joined(lambda y: y.transpose(0, 1)),
        ),
        "t": Row(lambda x: whole(halves(x).t().cumsum(0).t()), lambda x: x.t().cumsum(1).t()),
        "t_": Row(lambda x: x.clone().t_().T, lambda x: x.clone().t_().reshape(-1, 6)),
        "repeat": Row(
            lambda x: whole(halves(x).repeat(1, 2)),
            lambda x: x.repeat(2, 1).view(-1, 12),
            also={"of a constant": lambda x: x + THREE.repeat(2 * len(x), 1).view(-1, 6)},
            nor={"of a constant that is not first": lambda x: x + ROW.repeat(len(x)).view(6, -1).T},
        ),
        "constant_pad_nd": Row(turned(lambda x: F.pad(x, (0, 0, 1, 1))), last(F.pad, (1, -1))),
        "slice": Row(
            lambda x: whole(halves(x)[:, ::2]),
            lambda x: x[:5].sum(0) + x,
            also={"of all samples": lambda x: aten.slice(x, 0, 0, len(x))},
            nor={"from the second on": lambda x: x[1:].sum(0) + x, "every other one": lambda x: x[::2].sum(0) + x},
        ),
        "cat": Row(
            lambda x: whole(torch.cat([halves(x), halves(x.flip(1)), torch.zeros(0)], 1)),
            lambda x: torch.cat([x, ROW[None]])[1:],
            nor={
                "along the batch": lambda x: torch.cat([x, x]).view(-1, 12),
                "of other samples": lambda x: torch.cat([halves(x), x.view(-1, 3)], 1).view(-1, 12),
            },
        ),
        "stack": Row(
            lambda x: whole(torch.stack([halves(x), halves(x.flip(1))], 1)),
            lambda x: torch.stack([halves(x), x.view(-1, 3)], 1).view(-1, 12),
        ),
    }


def _indexed() -> dict[str, Row]:
    def chosen(name: str) -> Row:
        """Return calls of name(x, dim, index, other)."""
        f: Function = getattr(torch, name)
        return Row(turned(lambda x: f(x, 0, INDEX, x * 2)), lambda x: f(x, 0, INDEX, operations_forms.SQUARE[:3]))

    def picked(f: Function) -> Row:
        return Row(
            turned(lambda x: f(x, [INDEX])),
            lambda x: f(x, [few(x)[:, 0] * 0]),
            also={"of a table": lambda x: whole(f(TABLE, [few(halves(x))]).flatten(1))},
            nor={
                "by constants": lambda x: x + f(x, [INDEX * 0])[0],
                "at other places": lambda x: f(operations_forms.SQUARE, [few(x)[:, None], few(x)[None, :, :1]])[0],
            },
        )

    def written(f: Function) -> Row:
        return Row(
            lambda x: f(x.clone(), [None, INDEX], x[:, :3] * 2),
            lambda x: f(x.clone(), [INDEX], ZERO),
            also={"at a mask": lambda x: f(x.clone(), [x > 0.5], ZERO)},
            nor={
                "by samples": lambda x: f(x.clone(), [None, few(x)[:, 0]], ZERO),
                "at a mask of others": lambda x: whole(f(halves(x).clone(), [(x > 0.5).view(-1, 3)], ZERO)),
                "what is of others": lambda x: whole(f(halves(x).clone(), [None, INDEX], x.reshape(-1, 3))),
            },
        )

    frequent: Code = lambda x: F.embedding(few(x), WEIGHTS, scale_grad_by_freq=True).flatten(1)  # noqa: E731
    found = {name: operations_forms.by_index(name) for name in ("gather", "scatter", "scatter_add")}
    found["gather"] = found["gather"]._replace(
        nor={"constants": lambda x: operations_forms.SQUARE.repeat(50, 1).gather(1, few(x)) + x}
    )
    return found | {
        "scatter_reduce": operations_forms.by_index("scatter_reduce", "sum"),
        "slice_scatter": Row(
            turned(lambda x: x.slice_scatter(x[:2] * 2, 0, 1, 3)),
            lambda x: x.slice_scatter(x.flip(1), 0) + x.slice_scatter(x.cumsum(0), 0),
        ),
        "index_add": chosen("index_add"),
        "index_copy": chosen("index_copy"),
        "index_fill": Row(
            turned(lambda x: x.index_fill(0, INDEX[:2], 0.0)),
            lambda x: x.detach().clone().index_fill(0, INDEX, 0.0),
            nor={"by samples": lambda x: x.index_fill(1, few(x)[:, 0], 0.0)},
        ),
        "index_select": Row(
            turned(lambda x: x.index_select(0, INDEX)),
            lambda x: x + x.index_select(0, INDEX).sum(0),
            also={"of a table": lambda x: TABLE.index_select(0, few(x)[:, 0])},
            nor={"of a table, at other places": lambda x: TABLE.index_select(0, few(halves(x))[:, 0]).view(-1, 6)},
        ),
        "index": picked(aten.index),
        "_unsafe_index": picked(aten._unsafe_index),
        "index_put": written(aten.index_put),
        "_index_put_impl": written(aten._index_put_impl),
        "embedding": Row(
            lambda x: whole(F.embedding(few(halves(x)), WEIGHTS)),
            lambda x: F.embedding(few(x)[:, 0], x),
            weights=[WEIGHTS],
            nor={"by how often": frequent},
        ),
    }


OPERATIONS: dict[str, Row] = {
    **{name: operations_forms.entrywise(f) for name, f in ENTRYWISE.items()},
    **{name: operations_forms.of_two(f) for name, f in OF_TWO.items()},
    **{name: operations_forms.of_losses(f, getattr(F, name)) for name, f in LOSSES.items()},
    **{name: operations_forms.drawn(f) for name, f in DRAWN.items()},
    **{name: operations_forms.drawn(f, last) for name, f in DRAWN_LIKE.items()},
    **{name: operations_forms.made(f) for name, f in MADE.items()},
    "rand": operations_forms.made_at_random(torch.rand),
    "randn": operations_forms.made_at_random(torch.randn),
    "randint": operations_forms.made_at_random(lambda size, dtype: torch.randint(9, size, dtype=dtype)),
    "scalar_tensor": Row(lambda x: x * aten.scalar_tensor(2.0), lambda x: x * aten.scalar_tensor(len(x))),
    "multinomial": Row(
        lambda x: x + torch.multinomial(x.softmax(-1), 6), lambda x: x * torch.multinomial(ROW, 6), draws=True
    ),
    **_axes(),
    **_views(),
    **_indexed(),
}
OPERATIONS["normal"] = OPERATIONS["normal"]._replace(also={"no tensor": lambda x: x + torch.normal(0.0, 1.0, x.shape)})
