"""The same for views, products, layers ."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.fold.rules.cases import SQUARE, THREE, halves
from tests.fold.rules.operations import ROW, TABLE, WEIGHTS, Function, Row, aten, crosswise, whole

FAR = SQUARE + 2


def _views() -> dict[str, Row]:
    moved = halves
    return {
        "view": Row(
            [
                lambda x: x.view(-1, 2, 3).flatten(1),
                lambda x: x.T.contiguous().view(2, 3, -1).flatten(0, 1).T,
                lambda x: whole(moved(x)),
                lambda x: x.view(torch.int32) * 0.5,
            ],
            [
                lambda x: moved(x).view(-1, 6),
                lambda x: x.T.contiguous().view(-1, 6),
                lambda x: moved(x).view(-1, 2, 3).flatten(1),
                lambda x: x.T.reshape(3, -1).T.reshape(-1, 6),
            ],
        ),
        "_unsafe_view": Row(
            [lambda x: aten._unsafe_view(x, (len(x), 2, 3))], [lambda x: aten._unsafe_view(moved(x), (len(x), 6))]
        ),
        "_reshape_copy": Row(
            [lambda x: aten._reshape_copy(x, (-1, 2, 3))], [lambda x: aten._reshape_copy(moved(x), (-1, 6))]
        ),
        "_reshape_alias": Row([], [lambda x: aten._reshape_alias(x, (len(x), 6), (1, len(x)))]),
        "unsqueeze": Row(
            [lambda x: x[:, None], lambda x: whole(moved(x).unsqueeze(1)[:, 0]), lambda x: x.unsqueeze(0)[0] * x],
            [lambda x: moved(x)[:, None].view(-1, 6)],
        ),
        "unsqueeze_": Row([lambda x: x.clone().unsqueeze_(1)], [lambda x: moved(x).clone().unsqueeze_(1).view(-1, 6)]),
        "squeeze": Row(
            [
                lambda x: x[:, None].squeeze(1),
                lambda x: whole(moved(x)[:, None].squeeze(1)),
                lambda x: x[:, None, None].squeeze((1, 2)),
            ],
            [
                lambda x: x[:, None].squeeze((0, 1)).softmax(0),
                lambda x: x[:, None].squeeze().softmax(0),
                lambda x: moved(x)[:, None].squeeze(1).view(-1, 6),
            ],
        ),
        "squeeze_": Row(
            [lambda x: x[:, None].clone().squeeze_(1)], [lambda x: x.clone().squeeze_().view(-1, 6).cumsum(0)]
        ),
        "view_as_real": Row(
            [
                lambda x: torch.view_as_real(x.to(torch.complex128)),
                lambda x: torch.view_as_real(x[:, 0].to(torch.complex128)),
            ],
            [lambda x: torch.view_as_real(moved(x).to(torch.complex128)).view(-1, 12)],
        ),
        "view_as_complex": Row(
            [lambda x: torch.view_as_complex(x.view(-1, 3, 2)).abs()],
            [lambda x: torch.view_as_complex(moved(x)[:, :2].contiguous()).abs().view(-1, 2)],
        ),
        "expand": Row(
            [
                lambda x: x[:, None].expand(-1, 2, -1),
                lambda x: x * ROW.expand(len(x), 6),
                lambda x: x.expand(3, -1, -1)[0],
                lambda x: x + ROW[:3].expand(2 * len(x), 3).reshape(-1, 6),
            ],
            [
                lambda x: moved(x)[:, None].expand(-1, 2, -1).reshape(-1, 12),
                lambda x: moved(x).expand(3, -1, -1)[0].view(-1, 6),
            ],
        ),
        "permute": Row([lambda x: x.permute(1, 0).permute(1, 0)], [lambda x: moved(x).permute(1, 0).reshape(-1, 6)]),
        "transpose": Row(
            [lambda x: x.view(-1, 2, 3).transpose(1, 2), lambda x: x.transpose(0, 1).cumsum(0).transpose(0, 1)],
            [lambda x: moved(x).transpose(0, 1).reshape(-1, 6)],
        ),
        "t": Row(
            [lambda x: x.t().cumsum(0).t()], [lambda x: x.t().cumsum(1).t(), lambda x: moved(x).t().reshape(-1, 6)]
        ),
        "transpose_": Row(
            [lambda x: x.clone().transpose_(0, 1).T], [lambda x: x.clone().transpose_(0, 1).reshape(-1, 6)]
        ),
        "t_": Row([lambda x: x.clone().t_().T], [lambda x: x.clone().t_().reshape(-1, 6)]),
        "repeat": Row(
            [
                lambda x: x.repeat(1, 2),
                lambda x: x + ROW.repeat(len(x), 1),
                lambda x: x + THREE.repeat(2 * len(x), 1).view(-1, 6),
                lambda x: x.repeat(2, 1, 1)[1],
                lambda x: x + THREE.repeat(2 * len(x)).view(-1, 6),
            ],
            [
                lambda x: x.repeat(2, 1).view(-1, 12),
                lambda x: moved(x).repeat(1, 2).view(-1, 12),
                lambda x: x + ROW.repeat(len(x)).view(6, -1).T,
            ],
        ),
        "constant_pad_nd": Row(
            [
                lambda x: F.pad(x, (1, 2)),
                crosswise(F.pad, (0, 0, 1, -1)),
                lambda x: F.pad(x.view(-1, 2, 3), (0, 0, 1, 0)),
            ],
            [
                lambda x: F.pad(x, (0, 0, 1, -1)),
                crosswise(F.pad, (1, -1)),
                lambda x: F.pad(moved(x), (1, 0)).view(-1, 8),
            ],
        ),
        "slice": Row(
            [
                lambda x: x[:, 1:4],
                lambda x: aten.slice(x, 0, 0, len(x)),
                lambda x: x[0 : len(x) : 1],
                lambda x: x.T[:3].T,
                lambda x: whole(moved(x)[:, ::2]),
            ],
            [
                lambda x: x[:5].sum(0) + x,
                lambda x: x[1:].sum(0) + x,
                lambda x: x[::2].sum(0) + x,
                lambda x: x + x[-5:].sum(0),
                lambda x: moved(x)[::2],
                lambda x: moved(x)[:, 1:].reshape(-1, 4),
            ],
        ),
        "cat": Row(
            [
                lambda x: torch.cat([x, x * 2], 1),
                lambda x: torch.cat([x.new_zeros(len(x), 2), x], -1),
                lambda x: torch.cat([x, torch.zeros(0)], 1),
                lambda x: whole(torch.cat([moved(x), moved(x.flip(1))], 1)),
            ],
            [
                lambda x: torch.cat([x, x]).view(-1, 12),
                lambda x: torch.cat([moved(x), x.view(-1, 3)], 1).view(-1, 12),
                lambda x: torch.cat([moved(x), moved(x)], 1).view(-1, 12),
                lambda x: torch.cat([x, ROW[None]])[1:],
                lambda x: torch.cat([x, x], -2).view(2, -1, 6).transpose(0, 1).reshape(2, -1, 6)[0],
            ],
        ),
        "stack": Row(
            [
                lambda x: torch.stack([x, x * 2], 1),
                lambda x: torch.stack([x, x * 2])[0],
                lambda x: torch.stack([x, x], -1),
            ],
            [
                lambda x: torch.stack([moved(x), x.view(-1, 3)], 1).view(-1, 12),
                lambda x: torch.stack([x, x]).view(-1, 12),
            ],
        ),
    }


def _products() -> dict[str, Row]:
    def three(x: Tensor) -> Tensor:
        return x.view(-1, 2, 3)

    gram: Function = lambda x: x @ x.T  # noqa: E731
    other: Function = lambda x: torch.bmm(halves(x)[:, None], x.reshape(-1, 3, 1))  # noqa: E731
    return {
        "mm": Row(
            [lambda x: x.mm(SQUARE), lambda x: SQUARE.mm(x.T).T, lambda x: whole(halves(x).mm(SQUARE[:3]))],
            [
                lambda x: x.mm(x.T).mm(x),
                lambda x: x.mm(x.T @ x),
                lambda x: halves(x).mm(SQUARE[:3]).view(-1, 12),
                lambda x: x + x.T.mm(x)[0],
            ],
        ),
        "addmm": Row(
            [
                lambda x: torch.addmm(ROW, x, SQUARE),
                lambda x: torch.addmm(x, x, SQUARE),
                lambda x: torch.addmm(x.T, SQUARE, x.T).T,
            ],
            [
                lambda x: torch.addmm(x.view(-1, 3), halves(x), SQUARE[:3, :3]).view(2, -1, 3)[0],
                lambda x: torch.addmm(ROW, x, x.T @ x),
                lambda x: torch.addmm(x.T[:1], x[:, :1], ROW.new_ones(1, 6)[:, :1].expand(1, len(x)))[:, :1],
            ],
        ),
        "einsum": Row(
            [
                lambda x: torch.einsum("nab,nbc->nac", three(x), three(x).mT).flatten(1),
                lambda x: torch.einsum("an,ab,nb->bn", x.T, SQUARE, x).T,
                lambda x: torch.einsum("na,ab->nb", [x, SQUARE]),
                lambda x: whole(torch.einsum("na, ab -> nb", halves(x), SQUARE[:3])),
                lambda x: torch.einsum("...a,ab->...b", x, SQUARE),
                lambda x: torch.einsum("naa->na", x[:, :, None] * SQUARE),
            ],
            [
                lambda x: x + torch.einsum("na,nb->ab", x, x)[0],
                lambda x: torch.einsum("na,mb->nb", x, x),
                lambda x: torch.einsum("na,mb,nb->ma", x, x, x),
                lambda x: torch.einsum("na,nb->n", halves(x), halves(x)).reshape(len(x), 2),
                lambda x: torch.einsum("na,mb->nmab", x, x).sum(1).flatten(1),
                lambda x: torch.einsum("...a,...b->ab", x, x)[:1] + x,
            ],
        ),
        "bmm": Row(
            [
                lambda x: torch.bmm(three(x), three(x).mT),
                lambda x: torch.bmm(three(x), SQUARE[:3].expand(len(x), 3, 6)),
                lambda x: torch.bmm(x.T[:, :, None], SQUARE[:, None])[1],
                lambda x: torch.bmm(SQUARE[None], x.T[None])[0].T,
            ],
            [
                lambda x: other(x).view(-1, 2),
                lambda x: torch.bmm(x[None], gram(x.T)[None])[0],
                lambda x: whole(other(x)[:, 0]),
                lambda x: torch.bmm(three(x).permute(1, 0, 2), three(x).permute(1, 2, 0))[0] @ x,
            ],
        ),
        "baddbmm": Row(
            [
                lambda x: torch.baddbmm(three(x)[..., :2], three(x), three(x).mT),
                lambda x: torch.baddbmm(WEIGHTS[:2, :2], three(x), three(x).mT),
            ],
            [lambda x: torch.baddbmm(halves(x)[..., None], x.view(-1, 3, 1), x.view(-1, 3, 1)[:, :1]).view(-1, 6)],
        ),
        "mv": Row(
            [lambda x: x.mv(ROW)[:, None]],
            [lambda x: x + SQUARE[:1].T.mv(x.mean(0)[:1]), lambda x: x + x.T.mv(x[:, 0])],
        ),
        "addmv": Row([lambda x: torch.addmv(x[:, 0], x, ROW)], [lambda x: x + torch.addmv(ROW, x.T, x[:, 0])]),
        "_cdist_forward": Row(
            [
                lambda x: torch.cdist(three(x), three(x)),
                lambda x: torch.cdist(x, FAR, compute_mode="donot_use_mm_for_euclid_dist"),
                lambda x: torch.cdist(FAR, x, compute_mode="donot_use_mm_for_euclid_dist").T,
                lambda x: torch.cdist(x, FAR, p=1.0),
                lambda x: torch.cdist(three(x), TABLE),
            ],
            [
                lambda x: torch.cdist(x.T, x.T)[0] + x,
                lambda x: torch.cdist(halves(x)[:, None], x.view(-1, 1, 3)).view(-1, 2),
            ],
        ),
        "_euclidean_dist": Row(
            [lambda x: aten._euclidean_dist(x, FAR), lambda x: aten._euclidean_dist(FAR, x).T],
            [lambda x: aten._euclidean_dist(x.T, x.T)[0] + x],
        ),
        "_trilinear": Row(
            [
                lambda x: F.bilinear(x, x * 2, SQUARE.view(1, 6, 6)),
                lambda x: whole(F.bilinear(halves(x), halves(x), SQUARE.view(4, 3, 3))),
            ],
            [
                lambda x: F.bilinear(halves(x), x.view(-1, 3), SQUARE.view(4, 3, 3)).view(-1, 8),
                lambda x: aten._trilinear(x, SQUARE.view(1, 6, 6), x, [1, 3], [0], [1, 2], [0, 2, 3])[0] + x,
            ],
        ),
    }


VIEWS, PRODUCTS = _views(), _products()
