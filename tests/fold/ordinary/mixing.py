"""Networks in which the samples of a batch truly meet."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import LIF
from tests.fold.ordinary.record import Ordinary


class Contrastive(nn.Module):
    """How alike each sample is to the others of its batch (as in SimCLR, Chen et al. 2020), fed on."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.spike, self.out = nn.Linear(6, 8), LIF(v0=0.1), nn.Linear(8, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.enc(x)
        z = F.normalize(h, dim=1)
        similar = torch.mm(z, z.t()) / 0.5
        similar = similar - torch.diag_embed(torch.full((len(x),), 5.0, dtype=x.dtype))
        return self.out(self.spike(h + similar.softmax(dim=-1) @ h, init))


class BatchTopK(nn.Module):
    """The largest activations of the whole batch stay (Bussmann et al. 2024)."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.enc, self.dec, self.k, self.spike = nn.Linear(6, 12), nn.Linear(12, 6), k, LIF(v0=0.2)

    def forward(self, x: Tensor, init: Any) -> Any:
        a = F.relu(self.enc(x))
        top = a.flatten().topk(self.k * x.shape[0], dim=-1)
        a = torch.zeros_like(a.flatten()).scatter(-1, top.indices, top.values).reshape(a.shape)
        return self.dec(self.spike(a, init))


class Mixup(nn.Module):
    """Hidden features of two samples are blended (after manifold mixup, Verma et al. 2019)."""

    def __init__(self, lam: float = 0.7) -> None:
        super().__init__()
        self.l1, self.l2, self.lam, self.spike = nn.Linear(6, 10), nn.Linear(10, 4), lam, LIF(v0=0.1)

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.spike(self.l1(x), init)
        h = self.lam * h + (1 - self.lam) * h.flip(0)
        return self.l2(h)


class Discrimination(nn.Module):
    """Distances to all samples of the batch are features (Salimans et al. 2016)."""

    def __init__(self, B: int = 4, C: int = 3) -> None:
        super().__init__()
        self.T = nn.Parameter(torch.randn(8, B, C) / math.sqrt(8))
        self.body, self.spike, self.out = nn.Linear(6, 8), LIF(v0=0.1), nn.Linear(8 + B, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.spike(self.body(x), init)
        m = torch.tensordot(h, self.T, dims=1)
        apart = (m.unsqueeze(0) - m.unsqueeze(1)).abs().sum(3)
        return self.out(torch.cat([h, torch.exp(-apart).sum(0) - 1], 1))


class GlobalNorm(nn.Module):
    """One mean and one deviation for all features of all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2, self.spike = nn.Linear(6, 10), nn.Linear(10, 4), LIF(v0=0.3)

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.l1(x)
        h = (h - h.mean()) / (h.std() + 1e-5)
        return self.l2(self.spike(h, init))


NETS: dict[str, Ordinary] = {
    "contrastive": Ordinary(Contrastive, (6,), (4,), mixes=True),
    "batch top-k": Ordinary(BatchTopK, (6,), (6,), mixes=True),
    "mixup": Ordinary(Mixup, (6,), (4,), mixes=True),
    "discrimination": Ordinary(Discrimination, (6,), (4,), mixes=True),
    "global norm": Ordinary(GlobalNorm, (6,), (4,), mixes=True),
}
