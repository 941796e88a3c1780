"""Networks for images that return maps, look at places of them, or mix their parts with attention and with MLPs."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import IF, LI, LIF
from tests.fold.ordinary.record import Ordinary


class UNet(nn.Module):
    """Down, up, and bridges between the two (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.fuse, self.last = (
            nn.ConvTranspose2d(8, 4, 2, 2),
            nn.Conv2d(8, 4, 3, padding=1),
            nn.Conv2d(4, 2, 1),
        )
        self.s1, self.s2, self.s3 = LIF(v0=0.2), LIF(v0=0.1), LIF(v0=0.1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, init: Any) -> Any:
        skip = self.s1(self.down1(x), init)
        deep = self.up(self.s2(self.down2(self.pool(skip)), init))
        dy, dx = skip.size()[2] - deep.size()[2], skip.size()[3] - deep.size()[3]
        deep = F.pad(deep, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.last(self.s3(self.fuse(torch.cat([skip, deep], dim=1)), init))


class FPN(nn.Module):
    """A pyramid of features, from the top down (Lin et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (4, 6, 8)
        self.bottom_up = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in zip((3, 4, 6), widths, strict=True)])
        self.spikes = nn.ModuleList([LIF(v0=0.1) for _ in widths])
        self.lateral = nn.ModuleList([nn.Conv2d(width, 4, 1) for width in widths])
        self.smooth, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor, init: Any) -> Any:
        levels: list[Tensor] = []
        for conv, spike in zip(self.bottom_up, self.spikes, strict=True):
            x = spike(conv(x), init)
            levels.append(x)
        top = self.lateral[-1](levels[-1])
        found = [top]
        for lateral, level in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            top = F.interpolate(top, size=level.shape[-2:], mode="nearest") + lateral(level)
            found.insert(0, self.smooth(top))
        return torch.cat([self.head(each).flatten(2).transpose(1, 2) for each in found], 1)


class DeepLab(nn.Module):
    """Dilated convolutions beside an average of the image (Chen et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.spike = nn.Conv2d(3, 6, 3, 2, 1), LIF(v0=0.1)
        self.rates = nn.ModuleList([nn.Conv2d(6, 3, 3, padding=rate, dilation=rate) for rate in (1, 2, 3)])
        self.image, self.project = nn.Conv2d(6, 3, 1), nn.Conv2d(12, 4, 1)
        self.norm, self.act, self.classifier = nn.GroupNorm(2, 4), LIF(v0=0.3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor, init: Any) -> Any:
        size = x.shape[2:]
        x = self.spike(self.stem(x), init)
        pooled = F.relu(self.image(x.mean((2, 3), keepdim=True)))
        pooled = F.interpolate(pooled, size=x.shape[2:], mode="bilinear", align_corners=False)
        x = self.project(torch.cat([*(rate(x) for rate in self.rates), pooled], 1))
        x = self.classifier(self.act(self.norm(x), init))
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


class CBAM(nn.Module):
    """Attention to channels, then to places (Woo et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.spike = nn.Conv2d(3, 8, 3, padding=1), LIF(v0=0.2)
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
        self.place, self.fc, self.last = nn.Conv2d(2, 1, 7, padding=3), nn.Linear(8, 4), IF(v0=0.2)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.spike(self.conv(x), init)
        b, c = x.shape[:2]
        gate = self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1))
        x = x * torch.sigmoid(gate).view(b, c, 1, 1).expand_as(x)
        compressed = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        x = x * self.place(compressed).sigmoid()
        return self.last(self.fc(x.amax(dim=(2, 3))), init)


class RegNet(nn.Module):
    """Widths from a line, rounded (Radosavovic et al. 2020), with convolutions whose weights are standardised."""

    class Standardised(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            w = self.weight
            w = (w - w.mean(dim=(1, 2, 3), keepdim=True)) / (w.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
            return F.conv2d(input, w, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def __init__(self) -> None:
        super().__init__()
        widths = [int(round((4 + 4 * i) / 4) * 4) for i in range(3)]
        self.convs = nn.ModuleList(
            [
                self.Standardised(a, b, 3, 2, 1, groups=g)
                for a, b, g in zip([3, *widths], widths, (1, 2, 4), strict=False)
            ]
        )
        self.norms = nn.ModuleList(
            [nn.InstanceNorm2d(widths[0], affine=True), nn.GroupNorm(4, widths[1]), nn.Identity()]
        )
        self.spikes = nn.ModuleList([LIF(v0=torch.full((width, 1, 1), 0.3), learnable="v0") for width in widths])
        self.head = nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        for i, conv in enumerate(self.convs):
            x = self.spikes[i](self.norms[i](conv(x)), init)
        return self.head(x.sum(dim=(2, 3)))


class ConvNeXt(nn.Module):
    """Depthwise 7x7, norm over channels that come last, a scale for the branch (Liu et al. 2022)."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.stem, self.dwconv = nn.Conv2d(3, dim, 2, 2), nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm, self.pw1, self.act = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 4 * dim), nn.GELU()
        self.pw2, self.gamma = nn.Linear(4 * dim, dim), nn.Parameter(0.5 * torch.ones(dim))
        self.spike, self.head = LIF(v0=0.2), nn.Linear(dim, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        shortcut = x = self.spike(self.stem(x), init)
        x = self.dwconv(x).permute(0, 2, 3, 1)
        x = self.gamma * self.pw2(self.act(self.pw1(self.norm(x))))
        x = shortcut + x.permute(0, 3, 1, 2)
        return self.head(x.mean([-2, -1]))


class ViT(nn.Module):
    """Patches, a class token, learned places (Dosovitskiy et al. 2021)."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, dim)), nn.Parameter(torch.randn(1, 5, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.fc1, self.spike, self.fc2 = nn.Linear(dim, 16), LIF(v0=0.2), nn.Linear(16, dim)
        self.head = nn.Linear(dim, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        B = x.shape[0]
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(B, -1, -1), x), dim=1) + self.pos
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        x = x + self.fc2(self.spike(self.fc1(self.norm2(x)), init))
        return self.head(x[:, 0])


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


class MLPMixer(nn.Module):
    """An MLP over patches and one over channels (Tolstikhin et al. 2021)."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(48, dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.token1, self.token2, self.ch1, self.ch2 = (
            nn.Linear(a, b) for a, b in ((4, 8), (8, 4), (dim, 9), (9, dim))
        )
        self.s1, self.s2, self.out = LIF(v0=0.2), LIF(v0=0.2), nn.Linear(dim, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = x.unfold(2, 4, 4).unfold(3, 4, 4)  # patches of 4 x 4
        x = x.permute(0, 2, 3, 1, 4, 5).reshape(x.shape[0], 4, -1)
        x = self.embed(x)
        x = x + self.token2(self.s1(self.token1(self.norm1(x).transpose(1, 2)), init)).transpose(1, 2)
        x = x + self.ch2(self.s2(self.ch1(self.norm2(x)), init))
        return self.out(x.mean(1))


class GMLP(nn.Module):
    """One half of the channels gates the other one, after a mix over places (Liu et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.unfold, self.embed = nn.Unfold(2, stride=2), nn.Linear(12, 8)
        self.norm, self.gate_norm = nn.LayerNorm(8), nn.LayerNorm(8)
        self.inner, self.place, self.outer = nn.Linear(8, 16), nn.Conv1d(16, 16, 1), nn.Linear(8, 8)
        nn.init.constant_(self.place.bias, 1.0)  # type: ignore[arg-type]
        self.spike, self.head = LIF(v0=0.2), nn.Linear(8, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.embed(self.unfold(x).mT)
        y = F.gelu(self.inner(self.norm(x)))
        u, v = torch.split(y, 8, dim=-1)
        x = x + self.outer(u * self.place(self.gate_norm(v)))
        return self.head(self.spike(x, init).mean(-2))


class ConvMixer(nn.Module):
    """Depthwise and pointwise convolutions with a residual around the first (Trockman and Kolter 2022)."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.embed, self.bn0 = nn.Conv2d(3, dim, 2, 2), nn.BatchNorm2d(dim)
        self.depthwise = nn.Sequential(
            nn.Conv2d(dim, dim, 5, groups=dim, padding="same"), nn.GELU(), nn.BatchNorm2d(dim)
        )
        self.pointwise, self.bn1 = nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim)
        self.s0, self.s1 = IF(v0=0.5), IF(v0=0.5)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(dim, 4))

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.s0(self.bn0(self.embed(x)), init)
        x = self.depthwise(x) + x
        return self.head(self.s1(self.bn1(self.pointwise(x)), init))


class PoolFormer(nn.Module):
    """A pool in place of attention (Yu et al. 2022)."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.embed, self.pool = nn.Conv2d(3, dim, 3, 2, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
        self.up, self.down, self.spike = nn.Conv2d(dim, 12, 1), nn.Conv2d(12, dim, 1), LIF(v0=0.2)
        self.scale = nn.Parameter(torch.full((dim,), 1.0 / math.sqrt(2.0)))
        self.head, self.readout = nn.Linear(dim, 4), LI()

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.embed(x)
        y = self.norm1(x)
        x = x + self.scale[:, None, None] * (self.pool(y) - y)
        x = x + self.scale.unsqueeze(-1).unsqueeze(-1) * self.down(self.spike(self.up(self.norm2(x)), init))
        return self.readout(self.head(x.mean([-2, -1])), init)


IMAGE = (3, 8, 8)
NETS: dict[str, Ordinary] = {
    "unet": Ordinary(UNet, (1, 9, 9), (2, 9, 9)),
    "fpn": Ordinary(FPN, IMAGE, (21, 3)),
    "deeplab": Ordinary(DeepLab, IMAGE, (2, 8, 8)),
    "cbam": Ordinary(CBAM, IMAGE, (4,)),
    "regnet": Ordinary(RegNet, (3, 16, 16), (4,)),
    "convnext": Ordinary(ConvNeXt, IMAGE, (4,)),
    "vit": Ordinary(ViT, IMAGE, (4,)),
    "swin": Ordinary(Swin, IMAGE, (4,)),
    "mlp-mixer": Ordinary(MLPMixer, IMAGE, (4,)),
    "gmlp": Ordinary(GMLP, IMAGE, (4,)),
    "convmixer": Ordinary(ConvMixer, IMAGE, (4,)),
    "poolformer": Ordinary(PoolFormer, IMAGE, (4,)),
}
