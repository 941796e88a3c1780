"""Graphs, point clouds, experts, capsules, weights that are generated or looked up."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import IF, LI, LIF
from tests.fold.ordinary.record import Ordinary


class GCN(nn.Module):
    """Two graph convolutions on one graph (Kipf and Welling 2017)."""

    def __init__(self, nodes: int = 6) -> None:
        super().__init__()
        ring = torch.eye(nodes) + torch.eye(nodes).roll(1, 0) + torch.eye(nodes).roll(-1, 0)
        ring[0, 3] = ring[3, 0] = 1.0
        scale = ring.sum(1).rsqrt()
        self.register_buffer("adjacency", scale[:, None] * ring * scale[None, :])
        self.adjacency: Tensor
        self.w1, self.w2 = nn.Linear(3, 8, bias=False), nn.Linear(8, 4, bias=False)
        self.b1, self.spike, self.readout = nn.Parameter(torch.zeros(8)), LIF(v0=0.1), LI(tau=3.0)

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.spike(torch.matmul(self.adjacency, self.w1(x)) + self.b1, init)
        h = torch.einsum("ij,bjf->bif", self.adjacency, self.w2(h))
        return self.readout(h, init).mean(dim=1)


class EdgeConv(nn.Module):
    """Edges to the nearest points, a maximum over them (Wang et al. 2019)."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.k = k
        self.conv = nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2))
        self.spike, self.fc = LIF(v0=0.5), nn.Linear(16, 4)

    def neighbours(self, x: Tensor) -> Tensor:
        inner = -2 * torch.matmul(x.transpose(2, 1), x)
        square = torch.sum(x**2, dim=1, keepdim=True)
        return (-square - inner - square.transpose(2, 1)).topk(k=self.k, dim=-1)[1]

    def forward(self, x: Tensor, init: Any) -> Any:
        B, C, P = x.shape
        index = self.neighbours(x) + torch.arange(0, B, device=x.device).view(-1, 1, 1) * P
        points = x.transpose(2, 1).contiguous()
        near = points.view(B * P, -1)[index.view(-1), :].view(B, P, self.k, C)
        points = points.view(B, P, 1, C).repeat(1, 1, self.k, 1)
        edges = torch.cat((near - points, points), dim=3).permute(0, 3, 1, 2).contiguous()
        y = self.spike(self.conv(edges).max(dim=-1, keepdim=False)[0], init)
        return self.fc(torch.cat((F.adaptive_max_pool1d(y, 1), F.adaptive_avg_pool1d(y, 1)), 1).view(B, -1))


class PointNet(nn.Module):
    """Points turned by a matrix of their own, a shared MLP, a maximum over points (Qi et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.t1, self.t2 = nn.Conv1d(3, 6, 1), nn.Linear(6, 9)
        self.c1, self.n1, self.c2 = nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.Conv1d(8, 12, 1)
        self.s1, self.s2, self.fc = IF(v0=0.4), LIF(v0=0.1), nn.Linear(12, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        turn = self.t2(torch.max(F.relu(self.t1(x)), 2)[0])
        turn = turn.view(-1, 3, 3) + torch.eye(3, dtype=x.dtype, device=x.device).repeat(x.size(0), 1, 1)
        x = torch.bmm(x.transpose(2, 1), turn).transpose(2, 1)
        x = self.c2(self.s1(self.n1(self.c1(x)), init))
        return self.fc(self.s2(torch.max(x, dim=2, keepdim=True)[0].view(-1, 12), init))


class SetTransformer(nn.Module):
    """Attention through inducing points, and to a seed (Lee et al. 2019)."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.embed, self.spike = nn.Linear(3, dim), LIF(v0=0.1)
        self.inducing, self.seed = nn.Parameter(torch.randn(1, 3, dim)), nn.Parameter(torch.randn(1, 1, dim))
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.ln, self.fc = nn.LayerNorm(dim), nn.Linear(dim, 4)

    def mab(self, x: Tensor, y: Tensor) -> Any:
        q, k, v = self.q(x), self.k(y), self.v(y)
        heads, size = 2, q.shape[-1] // 2
        q_, k_, v_ = (torch.cat(each.split(size, 2), 0) for each in (q, k, v))
        a = torch.softmax(q_.bmm(k_.transpose(1, 2)) / math.sqrt(size * heads), 2)
        out = torch.cat((q_ + a.bmm(v_)).split(q.size(0), 0), 2)
        return self.ln(out + F.relu(self.o(out)))

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.spike(self.embed(x), init)
        h = self.mab(self.inducing.repeat(x.size(0), 1, 1), x)
        x = self.mab(x, h)
        return self.fc(self.mab(self.seed.repeat(x.size(0), 1, 1), x)).squeeze(1)


class SoftExperts(nn.Module):
    """A gate weighs what all experts say (Jacobs et al. 1991)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(dim=-1))
        self.experts, self.spikes = nn.ModuleList([nn.Linear(6, 10) for _ in range(3)]), LIF(v0=0.2)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
        mixed = (outputs * self.gate(x).unsqueeze(1)).sum(-1)
        return self.head(self.spikes(mixed, init))


class TopKExperts(nn.Module):
    """The gates but for the largest are shut (Shazeer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.w = nn.Linear(6, 4), nn.Parameter(torch.randn(4, 6, 10) / 2)
        self.b, self.spikes, self.head = nn.Parameter(torch.zeros(4, 10)), LIF(v0=0.2), nn.Linear(10, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        logits = self.gate(x)
        top, index = torch.topk(logits, 2, dim=1)
        gates = torch.zeros_like(logits).scatter(1, index, top.softmax(dim=1))
        outputs = torch.einsum("bi,eio->beo", x, self.w) + self.b
        return self.head(self.spikes(torch.einsum("be,beo->bo", gates, outputs), init))


class SparseExperts(nn.Module):
    """An expert computes for those samples alone that were sent to it (after Mixtral, Jiang et al. 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 3, bias=False), nn.ModuleList([nn.Linear(6, 8) for _ in range(3)])
        self.spikes, self.head = LIF(v0=0.1), nn.Linear(8, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        weights, chosen = torch.topk(F.softmax(self.gate(x), dim=1), 2)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        out = torch.zeros(x.shape[0], 8, dtype=x.dtype, device=x.device)
        for i, expert in enumerate(self.experts):
            rows, nth = torch.where(chosen == i)
            out.index_add_(0, rows, expert(x[rows]) * weights[rows, nth, None])
        return self.head(self.spikes(out, init))


class FiLM(nn.Module):
    """Some numbers of a sample scale and shift its feature maps (Perez et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6, affine=False)
        self.film, self.spike, self.fc = nn.Linear(4, 12), LIF(v0=0.4), nn.Linear(6, 3)

    def forward(self, x: Tensor, init: Any) -> Any:
        condition, image = x[:, :4], x[:, 4:].reshape(-1, 1, 6, 6)
        gamma, beta = self.film(condition).split(6, dim=-1)
        y = self.bn(self.conv(image))
        y = (1 + gamma[:, :, None, None]) * y + beta[..., None, None]
        return self.fc(self.spike(y, init).amax((-1, -2)))


class HyperNetwork(nn.Module):
    """The weights of a layer come from the sample (Ha et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 5 * 8 + 8))
        self.spike, self.out = LIF(v0=0.1), nn.Linear(8, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        p = self.hyper(x)
        weight, bias = p[:, :40].view(-1, 8, 5), p[:, 40:]
        return self.out(self.spike(torch.baddbmm(bias.unsqueeze(-1), weight, x.unsqueeze(-1))[..., 0], init))


class DynamicConv(nn.Module):
    """A kernel for each sample, in one convolution with a group for each (Chen et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.kernels = nn.Linear(3, 4), nn.Parameter(torch.randn(4, 5, 3, 3, 3) / 3)
        self.spike, self.fc = LIF(v0=0.2), nn.Linear(5, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        B, C, H, W = x.shape
        weights = F.softmax(self.attention(x.mean((2, 3))) / 2.0, dim=1)
        kernel = (weights @ self.kernels.view(4, -1)).view(B * 5, C, 3, 3)
        y = F.conv2d(x.reshape(1, B * C, H, W), kernel, padding=1, groups=B).view(B, 5, H, W)
        return self.fc(self.spike(y, init).mean((2, 3)))


class Capsules(nn.Module):
    """Routing by agreement (Sabour et al. 2017)."""

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.primary, self.rounds, self.spike = nn.Conv2d(1, 8, 3, 2), rounds, LIF(v0=0.05)
        self.W = nn.Parameter(0.5 * torch.randn(1, 18, 3, 5, 4))

    @staticmethod
    def squash(s: Tensor) -> Tensor:
        norm = (s**2).sum(dim=-1, keepdim=True)
        return norm / (1.0 + norm) * s / torch.sqrt(norm + 1e-8)

    def forward(self, x: Tensor, init: Any) -> Any:
        u = self.squash(self.spike(self.primary(x), init).view(x.size(0), 2, 4, -1).transpose(2, 3).reshape(-1, 18, 4))
        u_hat = (self.W @ u[:, :, None, :, None]).squeeze(-1)
        b = torch.zeros(u_hat.shape[:3], dtype=x.dtype).unsqueeze(-1)
        for _ in range(self.rounds - 1):
            v = self.squash((F.softmax(b, dim=2) * u_hat.detach()).sum(dim=1))
            b = b + (u_hat.detach() * v.unsqueeze(1)).sum(-1, keepdim=True)
        v = self.squash((F.softmax(b, dim=2) * u_hat).sum(dim=1))
        return v.norm(dim=-1)


class Codebook(nn.Module):
    """The nearest of some learned vectors, with a gradient straight through (van den Oord et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.spike, self.book, self.dec = nn.Linear(12, 8), LIF(v0=0.2), nn.Embedding(7, 4), nn.Linear(8, 12)
        self.mix = nn.Linear(8, 8)

    def forward(self, x: Tensor, init: Any) -> Any:
        z = self.mix(self.spike(self.enc(x), init)).view(x.size(0), 2, 4)
        flat = z.reshape(-1, 4)
        distance = flat.pow(2).sum(1, keepdim=True) + self.book.weight.pow(2).sum(1) - 2 * flat @ self.book.weight.t()
        q = self.book(torch.argmin(distance, dim=1)).view_as(z)
        q = z + (q - z).detach() + 0.1 * q
        return self.dec(q.flatten(1))


NETS: dict[str, Ordinary] = {
    "gcn": Ordinary(GCN, (6, 3), (4,)),
    "edgeconv": Ordinary(EdgeConv, (3, 8), (4,)),
    "pointnet": Ordinary(PointNet, (3, 10), (4,)),
    "set transformer": Ordinary(SetTransformer, (5, 3), (4,)),
    "soft experts": Ordinary(SoftExperts, (6,), (4,)),
    "top-k experts": Ordinary(TopKExperts, (6,), (4,)),
    "sparse experts": Ordinary(SparseExperts, (6,), (4,)),
    "film": Ordinary(FiLM, (40,), (3,)),
    "hypernetwork": Ordinary(HyperNetwork, (5,), (4,)),
    "dynamic convolution": Ordinary(DynamicConv, (3, 6, 6), (4,)),
    "capsules": Ordinary(Capsules, (1, 8, 8), (3,)),
    "codebook": Ordinary(Codebook, (12,), (12,)),
}
