"""Networks as users write them, each with several mechanisms at once that no smaller entry has together."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import IF, LI, LIF
from spikingtorch.functional import detached, to_zero
from tests.fold.nets.entry import Entry, folds, steps

Join = Callable[[Tensor, Tensor], Tensor]
JOINS: dict[str, Join] = {
    "ADD": lambda spike, x: spike + x,
    "AND": lambda spike, x: spike * x,
    "IAND": lambda spike, x: (1.0 - spike) * x,
}


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)
    )


class EfficientNet(nn.Module):
    """MBConv blocks that are left out at random (Tan and Le 2019; Huang et al. 2016)."""

    class Block(nn.Module):
        def __init__(self, dim: int, drop: float) -> None:
            super().__init__()
            self.expand, self.dw = conv_bn(dim, 2 * dim, 1), conv_bn(2 * dim, 2 * dim, 3, 1, 2 * dim)
            self.squeeze = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * dim, 2, 1), nn.SiLU(), nn.Conv2d(2, 2 * dim, 1), nn.Sigmoid()
            )
            self.narrow, self.spike, self.drop = conv_bn(2 * dim, dim, 1), LIF(v0=0.4), drop

        def drop_path(self, x: Tensor) -> Tensor:
            if self.drop == 0.0 or not self.training:
                return x
            keep = 1 - self.drop
            mask = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device) + keep
            return x.div(keep) * mask.floor_()

        def forward(self, x: Tensor, init: Any) -> Any:
            y = F.silu(self.dw(self.spike(self.expand(x), init)))
            y = self.narrow(self.squeeze(y) * y)
            return self.drop_path(y) + x

    def __init__(self, drop: float = 0.4) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4, 3, 2)
        self.blocks = nn.ModuleList([self.Block(4, drop / 2), self.Block(4, drop)])
        self.last, self.fc = IF(v0=0.6), nn.Linear(4, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, init)
        return self.fc(self.last(x, init).flatten(2).mean(-1))


class Swin(nn.Module):
    """Attention inside windows, which are shifted, with a bias for relative places (Liu et al. 2021)."""

    def __init__(self, dim: int = 6, window: int = 2, heads: int = 2) -> None:
        super().__init__()
        self.window, self.heads, self.shift = window, heads, window // 2
        self.embed, self.norm, self.qkv = nn.Conv2d(3, dim, 2, 2), nn.LayerNorm(dim), nn.Linear(dim, 3 * dim)
        self.proj, self.table = nn.Linear(dim, dim), nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        coords = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]) + window - 1
        self.register_buffer("index", relative[0] * (2 * window - 1) + relative[1])
        self.index: Tensor
        self.register_buffer("mask", self.shifted_mask(4, 4))
        self.mask: Tensor
        self.spike, self.merge, self.head = LIF(v0=0.3), nn.Linear(4 * dim, 8), nn.Linear(8, 4)

    def partition(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        x = x.view(B, H // self.window, self.window, W // self.window, self.window, C)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, self.window * self.window, C)

    def reverse(self, windows: Tensor, H: int, W: int) -> Tensor:
        B = int(windows.shape[0] / (H * W / self.window / self.window))
        x = windows.view(B, H // self.window, W // self.window, self.window, self.window, -1)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)

    def shifted_mask(self, H: int, W: int) -> Tensor:
        regions = torch.zeros(1, H, W, 1)
        slices = (slice(0, -self.window), slice(-self.window, -self.shift), slice(-self.shift, None))
        for i, rows in enumerate(slices):
            for j, columns in enumerate(slices):
                regions[:, rows, columns, :] = 3 * i + j
        parts = self.partition(regions).squeeze(-1)
        apart = parts.unsqueeze(1) - parts.unsqueeze(2)
        return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)

    def attention(self, x: Tensor, mask: Tensor | None) -> Any:
        B_, L, C = x.shape
        qkv = self.qkv(x).reshape(B_, L, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = q * (C // self.heads) ** -0.5 @ k.transpose(-2, -1)
        attn = attn + self.table[self.index.view(-1)].view(L, L, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            count = mask.shape[0]
            attn = attn.view(B_ // count, count, self.heads, L, L) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.heads, L, L)
        return self.proj((attn.softmax(dim=-1) @ v).transpose(1, 2).reshape(B_, L, C))

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.embed(x).permute(0, 2, 3, 1)
        B, H, W, C = x.shape
        for shift, mask in ((0, None), (self.shift, self.mask)):
            y = torch.roll(self.norm(x), shifts=(-shift, -shift), dims=(1, 2)) if shift else self.norm(x)
            y = self.reverse(self.attention(self.partition(y), mask), H, W)
            x = x + (torch.roll(y, shifts=(shift, shift), dims=(1, 2)) if shift else y)
        x = self.spike(x, init)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1).view(B, -1, 4 * C)
        return self.head(self.merge(x).mean(dim=1))


class SEWResNet(nn.Module):
    """Spikes joined element by element (Fang et al. 2021)."""

    class Block(nn.Module):
        def __init__(self, channels: int, join: str) -> None:
            super().__init__()
            self.conv1 = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
            )
            self.conv2 = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
            )
            self.sn1, self.sn2 = IF(v0=0.4, reset=detached(to_zero)), IF(v0=0.4, reset=detached(to_zero))
            self.join = join

        def forward(self, x: Tensor, init: Any) -> Any:
            out = self.sn1(self.conv1(x), init)
            out = self.sn2(self.conv2(out), init)
            if self.join == "ADD":
                out = out + x
            elif self.join in JOINS:
                out = JOINS[self.join](out, x)
            else:
                raise NotImplementedError(self.join)
            return out

    def __init__(self, join: str) -> None:
        super().__init__()
        self.stem, self.norm, self.sn = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), IF(v0=0.3)
        self.layers = nn.ModuleDict({f"block{i}": self.Block(6, join) for i in range(2)})
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.sn(self.norm(self.stem(x)), init)
        for block in self.layers.values():
            x = block(x, init)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class Spikformer(nn.Module):
    """Self-attention of spikes, without softmax (Zhou et al. 2023)."""

    class Attention(nn.Module):
        def __init__(self, dim: int, heads: int) -> None:
            super().__init__()
            self.heads, self.scale = heads, 0.25
            self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))
            self.q_bn, self.k_bn, self.v_bn, self.proj_bn = (nn.BatchNorm1d(dim) for _ in range(4))
            self.q_lif, self.k_lif, self.v_lif, self.attn_lif = (LIF(tau=2.0, v0=0.4) for _ in range(4))

        def branch(self, name: str, x: Tensor, init: Any) -> Any:
            B, N, C = x.shape
            y = getattr(self, name)(x)
            y = getattr(self, f"{name}_bn")(y.transpose(-1, -2)).transpose(-1, -2).contiguous()
            y = getattr(self, f"{name}_lif")(y, init)
            return y.reshape(B, N, self.heads, C // self.heads).permute(0, 2, 1, 3).contiguous()

        def forward(self, x: Tensor, init: Any) -> Any:
            B, N, C = x.shape
            q, k, v = (self.branch(name, x, init) for name in "qkv")
            attn = (q @ k.transpose(-2, -1)) * self.scale
            y = self.attn_lif((attn @ v).transpose(1, 2).reshape(B, N, C), init)
            return self.proj_bn(self.proj(y).transpose(1, 2)).transpose(1, 2)

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.conv, self.bn, self.rpe = nn.Conv2d(3, dim, 3, 1, 1), nn.BatchNorm2d(dim), nn.Conv2d(dim, dim, 3, 1, 1)
        self.lif0, self.lif1, self.lif2 = LIF(tau=2.0, v0=0.3), LIF(tau=2.0, v0=0.2), LIF(tau=2.0, v0=0.2)
        self.pool, self.attn = nn.MaxPool2d(3, 2, 1), self.Attention(dim, 2)
        self.fc1, self.fc1_bn, self.head = nn.Linear(dim, 12), nn.BatchNorm1d(12), nn.Linear(12, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.pool(self.lif0(self.bn(self.conv(x)), init))
        x = x + self.lif1(self.rpe(x), init)
        x = x.flatten(-2).transpose(-1, -2)
        x = x + self.attn(x, init)
        B, N, _ = x.shape
        y = self.fc1_bn(self.fc1(x).flatten(0, 1)).reshape(B, N, 12)
        return self.head(self.lif2(y, init).mean(1))


class SHD(nn.Module):
    """A recurrent layer with time constants of its own for each neuron, and a leaky readout (Cramer et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(20, 16), nn.Linear(16, 12, bias=False), nn.Linear(12, 5)
        self.rec = LIF(torch.rand(16) * 8 + 2, 0.3, learnable="tau", recurrent=nn.Linear(16, 16, bias=False))
        self.hidden, self.readout = LIF(tau=5.0, v0=0.2, recurrent=torch.randn(12) * 0.1), LI(tau=10.0)
        nn.init.orthogonal_(self.fc1.weight, gain=2.0)

    def forward(self, x: Tensor, init: Any) -> Any:
        s = self.rec(self.fc1(x), init)
        s = self.hidden(self.fc2(s), init)
        return self.readout(self.out(s), init).log_softmax(-1)


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


IMAGE = (3, 8, 8)
PUBLISHED: dict[str, Entry] = {
    # published as spiking networks
    "SEW-ResNet, ADD": folds("spikes joined by a function that a text chooses", lambda: SEWResNet("ADD"), IMAGE),
    "SEW-ResNet, IAND": folds("... another one", lambda: SEWResNet("IAND"), IMAGE),
    "Spikformer": folds("norms and layers found by name, and attention of spikes", Spikformer, IMAGE),
    "SHD": folds("recurrent layers with time constants that learn", SHD, (20,)),
    # with spiking layers where the ReLUs were
    "EfficientNet": folds("blocks left out at random, by a mask written on in place", EfficientNet, IMAGE, draws=True),
    "EfficientNet in evaluation": folds("... and none is left out", EfficientNet, IMAGE, training=False),
    "Swin": folds("windows, a bias by relative places, and a size computed by division", Swin, IMAGE),
    "edge convolution": steps(
        "it could fold, but nearest points are numbered through the batch",
        EdgeConv,
        r"computes with the number of samples.*arange",
        (3, 8),
    ),
    "set transformer": steps(
        "it could fold, but heads are put behind each other along the batch",
        SetTransformer,
        r"computes with the number of samples.*split",
        (5, 3),
    ),
    "sparse experts": steps(
        "it could fold, but an expert sees those samples that were sent to it",
        SparseExperts,
        r"reads the value of a tensor.*nonzero",
    ),
}
