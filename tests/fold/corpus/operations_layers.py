"""The calls of ``operations`` for products, layers, operations of space, and matrices."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.fold.corpus import operations_forms
from tests.fold.corpus.operations_forms import SQUARE, Function, Row, called, first, halves, of_matrices, second, whole
from tests.fold.corpus.operations_oracle import Code, noise

aten = torch.ops.aten
IMAGE = (4, 8, 8)
KERNEL = SQUARE[:, :4, None, None] * torch.ones(3, 3, dtype=operations_forms.D)
FOUR, EIGHT, WIDE = SQUARE[0, :4], noise(2, (8,), 4), noise(8, (8,), 3)
FAR = SQUARE + 2
# of attention with 8 features: weights and biases
PROJECTED = (noise(24, (8,), 1), noise(24, (), 2), WIDE, EIGHT[0])


def _others(x: Tensor) -> Tensor:
    """Return images of which two are made of each sample, in the order of their channels."""
    return x.view(-1, 2, 2, *x.shape[2:]).transpose(0, 1).reshape(-1, 2, *x.shape[2:])


def _pairs(f: Function) -> Code:
    """Return code that hands f two images of each sample, and two of others."""
    return lambda x: first(f(x.view(-1, 2, *x.shape[2:]), _others(x))).reshape(len(x), 4, -1)


def _normed(name: str, x: Tensor, *given: object) -> Tensor:
    """Call a batch norm, which may write on its statistics."""
    return first(getattr(aten, name)(x.detach(), *[y.clone() if isinstance(y, Tensor) else y for y in given]))


def _with_update(x: Tensor, *statistics: Tensor) -> Tensor:
    return _normed("_batch_norm_with_update", x, None, None, *statistics, 0.1, 1e-5)


def _grid(x: Tensor) -> Tensor:
    return F.affine_grid(x.flatten(1)[:, :6].view(-1, 2, 3), [len(x), 4, 8, 8], align_corners=False)


def _sampled(x: Tensor) -> Tensor:
    cube = x.reshape(-1, 1, 2, 4, 8)
    return F.grid_sample(cube, torch.stack([cube[:, 0]] * 3, -1), align_corners=False)


def _heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return first(aten._scaled_dot_product_flash_attention_for_cpu(q, k, v))


def _attended(x: Tensor) -> Tensor:
    own = x.detach()[..., 0]
    return first(aten._native_multi_head_attention(own, own, own, 8, 2, *PROJECTED, None, False))


def _encoded(x: Tensor) -> Tensor:
    more = (False, False, 1e-5, *EIGHT, *EIGHT, WIDE, EIGHT[0], WIDE, EIGHT[0])
    return aten._transformer_encoder_layer_fwd(x.detach()[..., 0], 8, 2, *PROJECTED, *more)


def _three(x: Tensor) -> Tensor:
    return x.view(-1, 2, 3)


def _products() -> dict[str, Row]:
    others: Function = lambda x: torch.bmm(halves(x)[:, None], x.reshape(-1, 3, 1))  # noqa: E731
    apart: Function = lambda a, b: torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # noqa: E731
    return {
        "mm": Row(
            operations_forms.turned(SQUARE[:3, :3].mm),
            lambda x: x + x.T.mm(x)[0],
            also={"from the right": lambda x: x.mm(SQUARE)},
            nor={"of all pairs": lambda x: x.mm(x.T).mm(x)},
        ),
        "addmm": Row(
            lambda x: torch.addmm(x.T, SQUARE, x.T).T,
            lambda x: torch.addmm(x.view(-1, 3), halves(x), SQUARE[:3, :3]).view(2, -1, 3)[0],
        ),
        "einsum": Row(
            lambda x: whole(torch.einsum("na, ab -> nb", halves(x), SQUARE[:3])),
            lambda x: x + torch.einsum("na,nb->ab", x, x)[0],
            nor={
                "of two letters": lambda x: torch.einsum("na,mb->nb", x, x),
                "of merged axes": lambda x: torch.einsum("na,nb->n", halves(x), halves(x)).reshape(len(x), 2),
            },
        ),
        "bmm": Row(
            lambda x: torch.bmm(_three(x), _three(x).mT),
            lambda x: others(x).view(-1, 2),
            also={"by a constant": lambda x: torch.bmm(x.T[:, :, None], SQUARE[:, None])[1]},
            nor={
                "of all pairs": lambda x: (
                    torch.bmm(x.view(-1, 2, 3).permute(1, 0, 2), _three(x).permute(1, 2, 0))[0] @ x
                )
            },
        ),
        "baddbmm": Row(
            lambda x: torch.baddbmm(SQUARE[:2, :2], _three(x), _three(x).mT),
            lambda x: torch.baddbmm(halves(x)[..., None], x.view(-1, 3, 1), x.view(-1, 3, 1)[:, :1]).view(-1, 6),
        ),
        "mv": Row(lambda x: whole(halves(x).mv(operations_forms.THREE)), lambda x: x + x.T.mv(x[:, 0])),
        "addmv": Row(
            lambda x: torch.addmv(x[:, 0], x, operations_forms.ROW),
            lambda x: x + torch.addmv(operations_forms.ROW, x.T, x[:, 0]),
        ),
        "_cdist_forward": Row(
            lambda x: torch.cdist(_three(x), _three(x)),
            lambda x: torch.cdist(halves(x)[:, None], x.view(-1, 1, 3)).view(-1, 2),
            also={"to constants": lambda x: apart(FAR, x).T, "by other norms": lambda x: torch.cdist(x, FAR, p=1.0)},
            nor={"over the batch": lambda x: torch.cdist(x.T, x.T)[0] + x},
        ),
        "_euclidean_dist": Row(
            lambda x: aten._euclidean_dist(FAR, x).T, lambda x: aten._euclidean_dist(x.T, x.T)[0] + x
        ),
        "_trilinear": Row(
            lambda x: whole(F.bilinear(halves(x), halves(x), SQUARE.view(4, 3, 3))),
            lambda x: F.bilinear(halves(x), x.view(-1, 3), SQUARE.view(4, 3, 3)).view(-1, 8),
            nor={
                "along other axes": lambda x: (
                    aten._trilinear(x, SQUARE.view(1, 6, 6), x, [1, 3], [0], [1, 2], [0, 2, 3])[0] + x
                )
            },
        ),
    }


def _layers() -> dict[str, Row]:
    in_training = (None, None, None, None, True, 0.1, 1e-5)
    evaluated = (FOUR, FOUR, FOUR, FOUR + 1, False, 0.1, 1e-5)

    def other_statistics(x: Tensor) -> Tensor:
        own, y = (x.detach()[:, :2, 0, 0] + 1).flatten(), halves(x[:, :, 0, 0].repeat(1, 2)[:, :6])
        return F.batch_norm(y.view(1, -1, 3), own, own).view(-1, 6)

    return {
        "convolution": Row(
            called(F.conv2d, KERNEL),
            lambda x: F.conv2d(x, x[:, :, :3, :3]).sum(1, True),
            IMAGE,
            nor={
                "of pixels": operations_forms.last(F.conv2d, KERNEL.repeat(1, 2, 1, 1), padding=1),
                "of channels": second(lambda x: F.conv2d(x, x[..., :1, :1]).mean((0, 1), True).expand_as(x)),
            },
        ),
        "native_group_norm": Row(
            called(F.group_norm, 2, FOUR, FOUR),
            second(lambda x: F.group_norm(x, 1)),
            IMAGE,
            nor={
                "other channels": lambda x: aten.native_group_norm(x, None, None, len(x), 2, 128, 1, 1e-05)[0].cumsum(0)
            },
        ),
        "channel_shuffle": Row(
            called(F.channel_shuffle, 2),
            lambda x: F.channel_shuffle(x.movedim(0, 1).repeat(1, 2, 1, 1), 2)[:, : len(x)].movedim(1, 0),
            IMAGE,
        ),
        "native_layer_norm": Row(
            second(lambda x: F.layer_norm(x, (8, 8))),
            lambda x: F.layer_norm(x.permute(1, 2, 0, 3), (len(x), 8)).permute(2, 0, 1, 3),
            IMAGE,
            nor={"weights of samples": lambda x: F.layer_norm(x[:, 0, 0], (8,), x.mean((0, 1, 2)))},
        ),
        "native_batch_norm": Row(
            second(lambda x: torch.native_batch_norm(x, *in_training)),
            called(torch.native_batch_norm, *in_training),
            IMAGE,
            also={"in evaluation": lambda x: F.batch_norm(x, FOUR, FOUR + 1)},
            nor={
                "statistics of samples": lambda x: F.batch_norm(x, x.detach().mean((0, 2, 3)), FOUR + 1),
                "statistics of other samples": other_statistics,
            },
        ),
        "_native_batch_norm_legit": Row(
            second(lambda x: aten._native_batch_norm_legit.no_stats(x, *in_training[2:])),
            lambda x: _normed("_native_batch_norm_legit", x, *evaluated[:4], True, 0.1, 1e-5),
            IMAGE,
            also={"in evaluation": lambda x: _normed("_native_batch_norm_legit", x, *evaluated)},
        ),
        "_native_batch_norm_legit_no_training": Row(
            lambda x: _normed("_native_batch_norm_legit_no_training", x, *evaluated[:4], 0.1, 1e-5), None, IMAGE
        ),
        "_batch_norm_no_update": Row(
            lambda x: _normed("_batch_norm_no_update", x, *evaluated[:4], 0.1, 1e-5), None, IMAGE
        ),
        "_batch_norm_with_update": Row(
            second(lambda x: _with_update(x, *[x.detach()[0, :, 0, 0] + 1] * 2)),
            lambda x: _with_update(x, FOUR, FOUR + 1),
            IMAGE,
        ),
        "_scaled_dot_product_flash_attention_for_cpu": Row(
            second(lambda x: _heads(x, x, x)),
            _pairs(lambda x, y: _heads(x, y, y)),
            IMAGE,
            nor={"along the batch": lambda x: _heads(*[x.permute(1, 2, 0, 3)] * 3).permute(2, 0, 1, 3)},
        ),
        "affine_grid_generator": Row(_grid, None, IMAGE),
        "grid_sampler_2d": Row(
            lambda x: F.grid_sample(x, _grid(x), align_corners=False),
            _pairs(lambda x, y: F.grid_sample(x, _grid(y), align_corners=False)),
            IMAGE,
        ),
        "grid_sampler_3d": Row(_sampled, None, (2, 4, 8)),
        "_native_multi_head_attention": Row(_attended, second(_attended), IMAGE),
        "_transformer_encoder_layer_fwd": Row(_encoded, second(_encoded), IMAGE),
    }


def _space() -> dict[str, Row]:
    found: dict[str, Row] = {}

    def add(name: str, n: int, f: Function, *given: Any, **more: Any) -> None:
        found[name] = operations_forms.of_space(lambda x: f(x, *given, **more), n)

    for n in (1, 2, 3):
        add(f"upsample_nearest{n}d", n, F.interpolate, scale_factor=2)
        add(f"_upsample_nearest_exact{n}d", n, F.interpolate, scale_factor=2, mode="nearest-exact")
        add(f"reflection_pad{n}d", n, F.pad, (1, 1) * n, "reflect")
        add(f"replication_pad{n}d", n, F.pad, (1, 1) * n, "replicate")
    for n in (2, 3):
        add(f"max_pool{n}d_with_indices", n, getattr(F, f"max_pool{n}d_with_indices"), 3, 1, 1)
        add(f"avg_pool{n}d", n, getattr(F, f"avg_pool{n}d"), 3, 1, 1)
        add(f"adaptive_max_pool{n}d", n, getattr(F, f"adaptive_max_pool{n}d"), 2)
        add(f"_adaptive_avg_pool{n}d", n, getattr(F, f"adaptive_avg_pool{n}d"), 2)
        unpool: Function = getattr(F, f"max_unpool{n}d")
        add(f"max_unpool{n}d", n, lambda x, f=unpool: f(x, torch.zeros_like(x).long(), 2))
    for name, n in {"linear1d": 1, "bilinear2d": 2, "bicubic2d": 2, "trilinear3d": 3}.items():
        add(f"upsample_{name}", n, F.interpolate, scale_factor=2, mode=name[:-2])
    add("_upsample_bilinear2d_aa", 2, F.interpolate, scale_factor=0.5, mode="bilinear", antialias=True)
    fractional: Function = lambda x, y: F.fractional_max_pool2d(x, 2, 5, _random_samples=y[..., 0, :2])  # noqa: E731
    return found | {
        "fractional_max_pool2d": Row(None, _pairs(lambda x, y: fractional(x, y.detach())), IMAGE),
        "pixel_shuffle": Row(
            called(F.pixel_shuffle, 2), lambda x: F.pixel_shuffle(x.transpose(0, 1).flatten(0, 1), 2), IMAGE
        ),
        "pixel_unshuffle": Row(lambda x: F.pixel_unshuffle(x[None], 2)[0], None, IMAGE),
        "im2col": Row(
            called(F.unfold, 2),
            lambda x: F.unfold(x[:, :, 0].movedim(0, -1), 3, padding=1).view(36, 8, -1).movedim(-1, 0),
            IMAGE,
        ),
        "col2im": Row(called(F.fold, (3, 3), 2), None, (8, 4)),
    }


def _matrices() -> dict[str, Row]:
    linalg, eye = torch.linalg, torch.eye(3, dtype=operations_forms.D)
    inner: dict[str, Function] = {
        "linalg_inv_ex": linalg.inv,
        "_linalg_check_errors": linalg.inv,
        "linalg_cholesky_ex": linalg.cholesky,
        "_linalg_svd": lambda x: linalg.svd(x)[1],
        "linalg_qr": lambda x: linalg.qr(x)[1],
        "_linalg_det": linalg.det,
        "_linalg_eigh": lambda x: linalg.eigh(x)[0],
        "linalg_eig": lambda x: linalg.eig(x)[0].abs(),
        "_linalg_solve_ex": lambda x: linalg.solve(x, x @ x),
    }
    triangular: Function = lambda x: linalg.solve_triangular(x.triu() + eye, x, upper=True)  # noqa: E731
    return {
        **{name: operations_forms.of_inner(f) for name, f in inner.items()},
        "tril": of_matrices(torch.tril),
        "triu": of_matrices(torch.triu),
        "linalg_matrix_exp": of_matrices(linalg.matrix_exp),
        "linalg_solve_triangular": of_matrices(triangular),
    }


SPACE, MATRICES = _space(), _matrices()
LAYERS: dict[str, Row] = _products() | _layers() | SPACE | MATRICES
