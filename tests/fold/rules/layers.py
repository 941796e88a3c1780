"""The same for layers, matrices and factories."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.fold.rules.cases import SQUARE, halves
from tests.fold.rules.operations import (
    Function,
    Row,
    aten,
    called,
    crosswise,
    factory,
    first,
    mixing_matrices,
    of_matrices,
    of_space,
)
from tests.fold.rules.oracle import Code, noise

D = torch.float64


def _layers() -> dict[str, Row]:
    image = (4, 8, 8)
    kernel = SQUARE[:, :4, None, None] * torch.ones(3, 3, dtype=D)
    rows = kernel.repeat(1, 2, 1, 1)
    four, ones = SQUARE[0, :4], torch.ones(4, dtype=D)

    def turned(f: Callable[[Tensor], Tensor]) -> list[Callable[[Tensor], Tensor]]:
        """Channels as a batch, and rows as one."""
        return [lambda x: f(x.transpose(0, 1)).transpose(0, 1), lambda x: f(x.permute(2, 1, 0, 3)).transpose(0, 2)]

    def normed(name: str, *more: object) -> Function:
        return lambda x: first(
            getattr(aten, name)(x.detach(), *[y.clone() if isinstance(y, Tensor) else y for y in (four, four, *more)])
        )

    def grid(x: Tensor) -> Tensor:
        return F.affine_grid(x.flatten(1)[:, :6].view(-1, 2, 3), [len(x), 4, 8, 8], align_corners=False)

    def many(x: Tensor) -> Tensor:
        return x.reshape(-1, 1, 2, 4, 8)

    def other_statistics(x: Tensor) -> Tensor:
        own, y = (x.detach()[:, :2, 0, 0] + 1).flatten(), halves(x[:, :, 0, 0].repeat(1, 2)[:, :6])
        return F.batch_norm(y.view(1, -1, 3), own, own).view(-1, 6)

    def heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return first(aten._scaled_dot_product_flash_attention_for_cpu(q, k, v))

    eval_ = (four, ones, False, 0.1, 1e-5)
    found = {
        "convolution": Row(
            [called(F.conv2d, kernel), called(F.conv2d, kernel[:4, :1], groups=4)],
            [
                lambda x: F.conv2d(x, x[:, :, :3, :3]).sum(1, True),
                lambda x: x + F.conv2d(x.movedim(0, 1), x[..., :1, :1].movedim(0, 1))[0].mean(),
                crosswise(F.conv2d, rows, padding=1),
                lambda x: F.conv2d(x.movedim(0, 2), rows, padding=1).movedim(2, 0),
            ],
            image,
        ),
        "native_group_norm": Row(
            [called(F.group_norm, 2), called(F.group_norm, 2, four, four)],
            [
                turned(lambda x: F.group_norm(x, 1))[0],
                lambda x: aten.native_group_norm(x, None, None, len(x), 2, 128, 1, 1e-05)[0].cumsum(0),
                lambda x: F.group_norm(x.transpose(0, 1), 1).transpose(0, 1),
            ],
            image,
        ),
        "channel_shuffle": Row(
            [called(F.channel_shuffle, 2)],
            [lambda x: F.channel_shuffle(x.movedim(0, 1).repeat(1, 2, 1, 1), 2)[:, : len(x)].movedim(1, 0)],
            image,
        ),
        "native_layer_norm": Row(
            [
                called(F.layer_norm, (8,)),
                called(F.layer_norm, (8, 8)),
                lambda x: F.layer_norm(x.transpose(0, 1), (8,)).transpose(0, 1),
            ],
            [
                lambda x: F.layer_norm(x[:, 0, 0], (8,), x.mean((0, 1, 2))),
                lambda x: F.layer_norm(x.permute(1, 2, 0, 3), (len(x), 8)).permute(2, 0, 1, 3),
                lambda x: F.layer_norm(x.permute(1, 2, 3, 0)[..., :7], (7,)).permute(3, 0, 1, 2).sum(0) + x,
            ],
            image,
        ),
        "native_batch_norm": Row(
            [
                lambda x: F.batch_norm(x, four, ones),
                lambda x: first(
                    torch.native_batch_norm(x.transpose(0, 1), None, None, None, None, True, 0.1, 1e-5)
                ).transpose(0, 1),
            ],
            [
                lambda x: first(torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-05)),
                lambda x: F.batch_norm(x, x.detach().mean((0, 2, 3)), ones),
                other_statistics,
            ],
            image,
        ),
        "_native_batch_norm_legit": Row(
            [
                lambda x: normed("_native_batch_norm_legit", *eval_)(x),
                lambda x: first(
                    aten._native_batch_norm_legit.no_stats(x.transpose(0, 1), None, None, True, 0.1, 1e-5)
                ).transpose(0, 1),
            ],
            [lambda x: normed("_native_batch_norm_legit", True, 0.1, 1e-5)(x)],
            image,
        ),
        "_native_batch_norm_legit_no_training": Row(
            [normed("_native_batch_norm_legit_no_training", four, ones, 0.1, 1e-5)], [], image
        ),
        "_batch_norm_no_update": Row([normed("_batch_norm_no_update", four, ones, 0.1, 1e-5)], [], image),
        "_batch_norm_with_update": Row(
            [
                lambda x: first(
                    aten._batch_norm_with_update(
                        x.detach().movedim(0, 1), None, None, *[x.detach()[:, 0, 0, 0] + 1] * 2, 0.1, 1e-5
                    )
                ).movedim(1, 0)
            ],
            [
                lambda x: first(
                    aten._batch_norm_with_update(
                        x.detach(), None, None, torch.zeros(4, dtype=D), torch.ones(4, dtype=D), 0.1, 1e-5
                    )
                )
            ],
            image,
        ),
        "_scaled_dot_product_flash_attention_for_cpu": Row(
            [lambda x: heads(x, x, x), lambda x: heads(*[x.movedim(0, 1)] * 3).movedim(1, 0)],
            [
                lambda x: heads(*([x.permute(1, 2, 0, 3)] * 3)).permute(2, 0, 1, 3),
                lambda x: heads(
                    x.view(-1, 2, 8, 8), *([x.view(-1, 2, 2, 8, 8).transpose(0, 1).reshape(-1, 2, 8, 8)] * 2)
                ).view(-1, 4, 8, 8),
                lambda x: heads(*([x.permute(1, 2, 3, 0).contiguous()] * 3)).permute(3, 0, 1, 2),
            ],
            image,
        ),
        "affine_grid_generator": Row([grid], [], image),
        "grid_sampler_2d": Row(
            [lambda x: F.grid_sample(x, grid(x), align_corners=False)],
            [
                lambda x: F.grid_sample(
                    x.view(-1, 2, 8, 8),
                    grid(x.view(-1, 2, 2, 8, 8).transpose(0, 1).reshape(-1, 2, 8, 8))[:, :, :, :],
                    align_corners=False,
                ).view(-1, 4, 8, 8)
            ],
            image,
        ),
        "grid_sampler_3d": Row(
            [lambda x: F.grid_sample(many(x), torch.stack([many(x)[:, 0]] * 3, -1), align_corners=False)], [], (2, 4, 8)
        ),
    }

    def attended(x: Tensor) -> Tensor:
        own = x.detach()[..., 0]
        return first(aten._native_multi_head_attention(own, own, own, 8, 2, *big, None, False))

    def encoded(x: Tensor) -> Tensor:
        more = (False, False, 1e-5, *small, *small, SQUARE8, small[0], SQUARE8, small[0])
        found: Tensor = aten._transformer_encoder_layer_fwd(x.detach()[..., 0], 8, 2, *big, *more)
        return found

    SQUARE8, small = noise(8, (8,), 3), noise(2, (8,), 4)
    big = (noise(24, (8,), 1), noise(24, (), 2), SQUARE8, small[0])
    for name, f in (("_native_multi_head_attention", attended), ("_transformer_encoder_layer_fwd", encoded)):
        found[name] = Row([f], [crosswise_rows(f)], image)
    return found


def crosswise_rows(f: Function) -> Callable[[Tensor], Tensor]:
    """Return code that hands f the batch as its second axis."""
    return lambda x: f(x.transpose(0, 1)).transpose(0, 1)


def _spaces() -> dict[str, Row]:
    spaces: dict[str, tuple[Function, int]] = {}
    for n in (1, 2, 3):
        pad = (1, 1) * n
        spaces |= {
            f"upsample_nearest{n}d": (lambda x: F.interpolate(x, scale_factor=2), n),
            f"reflection_pad{n}d": (lambda x, pad=pad: F.pad(x, pad, "reflect"), n),  # type: ignore[misc]
            f"replication_pad{n}d": (lambda x, pad=pad: F.pad(x, pad, "replicate"), n),  # type: ignore[misc]
        }
    for n in (1, 2, 3):
        exact: Function = lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact")  # noqa: E731
        spaces[f"_upsample_nearest_exact{n}d"] = (exact, n)
    for n in (2, 3):
        spaces |= {
            f"max_pool{n}d_with_indices": (getattr(F, f"max_pool{n}d_with_indices"), n),
            f"avg_pool{n}d": (getattr(F, f"avg_pool{n}d"), n),
            f"adaptive_max_pool{n}d": (getattr(F, f"adaptive_max_pool{n}d"), n),
            f"_adaptive_avg_pool{n}d": (getattr(F, f"adaptive_avg_pool{n}d"), n),
        }
        f = getattr(F, f"max_unpool{n}d")
        spaces[f"max_unpool{n}d"] = (lambda x, f=f: f(x, torch.zeros_like(x).long(), 2), n)
    for i in ("adaptive_max_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool3d", "_adaptive_avg_pool3d"):
        spaces[i] = (lambda x, f=spaces[i][0]: f(x, 2), spaces[i][1])
    for i in ("max_pool2d_with_indices", "avg_pool2d", "max_pool3d_with_indices", "avg_pool3d"):
        spaces[i] = (lambda x, f=spaces[i][0]: f(x, 3, 1, 1), spaces[i][1])
    modes = {"upsample_linear1d": 1, "upsample_bilinear2d": 2, "upsample_bicubic2d": 2, "upsample_trilinear3d": 3}
    for name, n in modes.items():
        mode = name.removeprefix("upsample_")[:-2]
        spaces[name] = (lambda x, mode=mode: F.interpolate(x, scale_factor=2, mode=mode), n)
    aa = "_upsample_bilinear2d_aa"
    spaces[aa] = (lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True), 2)
    same = [name for name in spaces if name.startswith(("max_pool", "avg_pool"))]
    found = {name: of_space(*space, name in same) for name, space in spaces.items()}
    found["pixel_shuffle"] = Row(
        [called(F.pixel_shuffle, 2)], [lambda x: F.pixel_shuffle(x.transpose(0, 1).flatten(0, 1), 2)], (4, 8, 8)
    )
    found["pixel_unshuffle"] = Row([called(F.pixel_unshuffle, 2)], [], (4, 8, 8))
    found["im2col"] = Row(
        [called(F.unfold, 2)],
        [lambda x: F.unfold(x.movedim(0, -1), 3, padding=1).view(36, 8, -1).movedim(-1, 0)],
        (4, 8),
    )
    found["im2col"] = found["im2col"]._replace(
        shape=(4, 8, 8),
        mixes=[lambda x: F.unfold(x[:, :, 0].movedim(0, -1), 3, padding=1).view(36, 8, -1).movedim(-1, 0)],
    )
    found["col2im"] = Row([lambda x: F.fold(x, (3, 3), 2)], [], (8, 4))
    others: Function = lambda x: x.view(-1, 2, 2, 8, 8).transpose(0, 1).reshape(-1, 2, 8, 8)  # noqa: E731
    found["fractional_max_pool2d"] = Row(
        [],
        [
            lambda x: F.fractional_max_pool2d(
                x.view(-1, 2, 8, 8), 2, 5, _random_samples=others(x.detach())[..., 0, :2]
            ).view(-1, 4, 5, 5)
        ],
        (4, 8, 8),
    )
    return found


def _matrices() -> dict[str, Row]:
    solve = torch.linalg.solve
    found = {
        "tril": of_matrices(torch.tril),
        "triu": of_matrices(torch.triu),
        "linalg_matrix_exp": of_matrices(torch.linalg.matrix_exp, square=True),
        "_linalg_solve_ex": Row(
            [
                lambda x: solve(x + 2 * torch.eye(3, dtype=D), x),
                lambda x: solve((x + 2 * torch.eye(3, dtype=D))[:, 0], x[:, 1]),
            ],
            [],
            (2, 3, 3),
        ),
        "_linalg_check_errors": of_matrices(lambda x: torch.linalg.inv(x + 3 * torch.eye(3, dtype=D)), square=True),
        "linalg_solve_triangular": Row(
            [lambda x: torch.linalg.solve_triangular(x.triu() + torch.eye(3, dtype=D), x, upper=True)],
            [],
            (2, 3, 3),
        ),
    }
    spd: dict[str, Function] = {
        "linalg_inv_ex": torch.linalg.inv,
        "linalg_cholesky_ex": torch.linalg.cholesky,
        "_linalg_svd": lambda x: torch.linalg.svd(x)[1],
        "linalg_qr": lambda x: torch.linalg.qr(x)[1],
        "_linalg_det": torch.linalg.det,
        "_linalg_eigh": lambda x: torch.linalg.eigh(x)[0],
        "linalg_eig": lambda x: torch.linalg.eig(x)[0].abs(),
    }
    return found | {name: mixing_matrices(f) for name, f in spd.items()}


def _factories() -> dict[str, Row]:
    base = torch.zeros(3, dtype=D)
    makes: dict[str, Function] = {
        "zeros": lambda n: torch.zeros(n, 6, dtype=D) + 1,
        "ones": lambda n: torch.ones(n, 6, dtype=D),
        "full": lambda n: torch.full((n, 6), 2.0, dtype=D),
        "empty": lambda n: torch.empty(n, 6, dtype=D).fill_(2.0),
        "new_zeros": lambda n: base.new_zeros(n, 6) + 1,
        "new_ones": lambda n: base.new_ones(n, 6),
        "new_full": lambda n: base.new_full((n, 6), 2.0),
        "new_empty": lambda n: base.new_empty(n, 6).fill_(2.0),
        "zeros_like": lambda n: torch.zeros_like(base.repeat(n, 2)) + 1,
        "ones_like": lambda n: torch.ones_like(base.repeat(n, 2)),
        "full_like": lambda n: torch.full_like(base.repeat(n, 2), 2.0),
        "empty_like": lambda n: torch.empty_like(base.repeat(n, 2)).fill_(2.0),
    }
    found = {name: factory(make) for name, make in makes.items()}
    draws: dict[str, Function] = {
        "rand": lambda *size: torch.rand(size, dtype=D),
        "randn": lambda *size: torch.randn(size, dtype=D),
        "randint": lambda *size: torch.randint(9, size, dtype=D),
    }
    for name, draw in draws.items():
        keep: Code = lambda x, draw=draw: x + draw(len(x), 6)  # type: ignore[misc]  # noqa: E731
        share: Code = lambda x, draw=draw: x * draw(6)  # type: ignore[misc]  # noqa: E731
        found[name] = Row([keep], [share], draws=True)
    found["scalar_tensor"] = Row([lambda x: x * aten.scalar_tensor(2.0)], [lambda x: x * aten.scalar_tensor(len(x))])
    return found


LAYERS, SPACES, MATRICES, FACTORIES = _layers(), _spaces(), _matrices(), _factories()
