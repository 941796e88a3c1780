"""Transforms, splines, unrolled iterations: layers that come from numerical analysis and signal processing."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import LI, LIF
from tests.fold.ordinary.record import Ordinary


class NeRF(nn.Module):
    """Sines of a place at several frequencies, a skip, a density and a colour (Mildenhall et al. 2020)."""

    def __init__(self, octaves: int = 3) -> None:
        super().__init__()
        self.register_buffer("bands", 2.0 ** torch.linspace(0.0, octaves - 1, octaves))
        self.bands: Tensor
        width = 3 + 6 * octaves
        self.l1, self.l2, self.sigma, self.rgb = (
            nn.Linear(width, 10),
            nn.Linear(10 + width, 10),
            nn.Linear(10, 1),
            nn.Linear(10, 3),
        )
        self.s1, self.s2 = LIF(v0=0.1), LIF(v0=0.1)

    def forward(self, x: Tensor, init: Any) -> Any:
        angles = (x[..., None, :] * self.bands[:, None] * math.pi).flatten(-2)
        enc = torch.cat([x, angles.sin(), angles.cos()], dim=-1)
        h = self.s1(self.l1(enc), init)
        h = self.s2(self.l2(torch.cat([h, enc], -1)), init)
        alpha = 1.0 - torch.exp(-F.softplus(self.sigma(h)).squeeze(-1))
        passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1.0 - alpha + 1e-10], -1), -1)[:, :-1]
        return torch.sum((alpha * passed)[..., None] * torch.sigmoid(self.rgb(h)), -2)


class FourierOperator(nn.Module):
    """Low modes of a field multiplied by complex weights (Li et al. 2021)."""

    def __init__(self, width: int = 4, modes: int = 3) -> None:
        super().__init__()
        self.width, self.modes = width, modes
        self.lift, self.local, self.project = nn.Linear(3, width), nn.Conv2d(width, width, 1), nn.Conv2d(width, 1, 1)
        self.w1, self.w2 = (nn.Parameter(torch.randn(width, width, modes, modes, 2) / width) for _ in range(2))
        self.spike = LIF(v0=0.05)

    def spectral(self, x: Tensor) -> Any:
        B, _, H, W = x.shape
        m = self.modes
        ft = torch.fft.rfft2(x)
        out = torch.zeros(B, self.width, H, W // 2 + 1, dtype=ft.dtype, device=x.device)
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", ft[:, :, :m, :m], torch.view_as_complex(self.w1))
        out[:, :, -m:, :m] = torch.einsum("bixy,ioxy->boxy", ft[:, :, -m:, :m], torch.view_as_complex(self.w2))
        return torch.fft.irfft2(out, s=(H, W))

    def grid(self, x: Tensor) -> Tensor:
        B, H, W, _ = x.shape
        rows = torch.linspace(0, 1, H, dtype=x.dtype).reshape(1, H, 1, 1).repeat(B, 1, W, 1)
        columns = torch.linspace(0, 1, W, dtype=x.dtype).reshape(1, 1, W, 1).repeat(B, H, 1, 1)
        return torch.cat((rows, columns), dim=-1)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.lift(torch.cat((x, self.grid(x)), -1)).permute(0, 3, 1, 2)
        x = self.spike(self.spectral(x) + self.local(x), init)
        return self.project(x).squeeze(1)


class Haar(nn.Module):
    """Two levels of Haar wavelets, small details removed, and back (Mallat 1989; Donoho 1995)."""

    def __init__(self) -> None:
        super().__init__()
        self.spike, self.fc, self.threshold = LIF(v0=0.3), nn.Linear(16, 4), nn.Parameter(torch.tensor([0.05, 0.1]))

    def forward(self, x: Tensor, init: Any) -> Any:
        details = []
        for level in range(2):
            even, odd = x[..., 0::2], x[..., 1::2]
            x, d = (even + odd) * 0.5**0.5, (even - odd) / math.sqrt(2)
            details.append(torch.sign(d) * torch.relu(d.abs() - self.threshold[level]))
        for d in details[::-1]:
            x = torch.stack(((x + d) * 0.5**0.5, (x - d) * 0.5**0.5), dim=-1).reshape(*x.shape[:-1], -1)
        return self.fc(self.spike(x, init))


class LISTA(nn.Module):
    """Iterations of shrinkage, whose matrices are learned (Gregor and LeCun 2010)."""

    def __init__(self) -> None:
        super().__init__()
        dictionary = F.normalize(torch.randn(6, 10), dim=0)
        self.We, self.S = (
            nn.Parameter(dictionary.t() / 3),
            nn.Parameter(torch.eye(10) - dictionary.t() @ dictionary / 3),
        )
        self.theta, self.spike, self.out = nn.Parameter(torch.full((10,), 0.02)), LIF(v0=0.1), nn.Linear(10, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        b = x @ self.We.T
        z = F.softshrink(b, 0.02)
        for _ in range(3):
            z = b + F.linear(z, self.S)
            z = torch.where(z.abs() > self.theta, z - z.sign() * self.theta, torch.zeros_like(z))
        return self.out(self.spike(z, init))


class KAN(nn.Module):
    """A learned spline on every edge (Liu et al. 2024)."""

    class Layer(nn.Module):
        def __init__(self, cin: int, cout: int, size: int = 4, order: int = 2) -> None:
            super().__init__()
            self.order, h = order, 2.0 / size
            self.register_buffer("grid", (torch.arange(-order, size + order + 1) * h - 1).expand(cin, -1).contiguous())
            self.grid: Tensor
            self.base, self.coefficients = (
                nn.Parameter(torch.randn(cout, cin)),
                nn.Parameter(torch.randn(cout, cin, size + order)),
            )

        def splines(self, x: Tensor) -> Tensor:
            grid, x = self.grid, x.unsqueeze(-1)
            bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
            for k in range(1, self.order + 1):
                left = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)]) * bases[:, :, :-1]
                right = (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:(-k)]) * bases[:, :, 1:]
                bases = left + right
            return bases.contiguous()

        def forward(self, x: Tensor) -> Tensor:
            spline = F.linear(self.splines(x).view(x.size(0), -1), self.coefficients.view(self.base.shape[0], -1))
            return F.linear(F.silu(x), self.base) + spline

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.spike = self.Layer(4, 6), self.Layer(6, 3), LIF(v0=0.4)

    def forward(self, x: Tensor, init: Any) -> Any:
        return self.b(torch.tanh(self.a(x)) * 0.9 + self.spike(self.a(x), init) * 0.05)


class SpatialTransformer(nn.Module):
    """An image is turned before it is read (Jaderberg et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.where, self.conv, self.fc = nn.Linear(64, 6), nn.Conv2d(1, 4, 3), nn.Linear(4 * 9, 4)
        self.spike, self.readout = LIF(v0=0.1), LI(decay=0.7)
        self.where.weight.data.mul_(0.3)
        self.where.bias.data.copy_(torch.tensor([0.9, 0.1, 0.05, -0.1, 0.8, 0.03]))

    def forward(self, x: Tensor, init: Any) -> Any:
        theta = self.where(x.flatten(1)).view(-1, 2, 3)
        x = F.grid_sample(x, F.affine_grid(theta, list(x.size()), align_corners=False), align_corners=False)
        x = F.avg_pool2d(self.spike(self.conv(x), init), 2)
        return self.readout(self.fc(x.view(-1, 4 * 9)), init)


NETS: dict[str, Ordinary] = {
    "nerf": Ordinary(NeRF, (6, 3), (3,)),
    "fourier operator": Ordinary(FourierOperator, (8, 8, 1), (8, 8)),
    "haar": Ordinary(Haar, (16,), (4,)),
    "lista": Ordinary(LISTA, (6,), (4,)),
    "kan": Ordinary(KAN, (4,), (3,)),
    "spatial transformer": Ordinary(SpatialTransformer, (1, 8, 8), (4,)),
}
