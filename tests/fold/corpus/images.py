"""Code that leaves samples to themselves: images within a sample, and a network as users write it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import IF, LIF
from tests.fold.corpus.entry import IMAGE, Entry, Whole, folds, linear, module, steps, weight

C, H, W = IMAGE


def conv(inputs: int = C, outputs: int = C, size: int = 3, **options: Any) -> Callable[[], nn.Conv2d]:
    """Return what makes a convolution that keeps height and width."""
    chosen: dict[str, Any] = {"padding": size // 2} | options
    return lambda: nn.Conv2d(inputs, outputs, size, **chosen)


class NextBlock(nn.Module):
    """A wide depthwise convolution, and a small network at each pixel with a response norm, scaled and added."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(C, C, 7, padding=3, groups=C)
        self.norm = nn.LayerNorm(C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.response = nn.Parameter(torch.ones(4 * C))

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.up(self.norm(self.wide(x).permute(0, 2, 3, 1))))
        energy = h.norm(dim=(1, 2), keepdim=True)
        change: Tensor = self.down(h + self.response * h * energy / (energy.mean(-1, keepdim=True) + 1e-6))
        return x + change.permute(0, 3, 1, 2)


def conv_bn(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """Two convolutions with batch norm, and a shortcut that takes part in stride and width."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = conv_bn(inputs, outputs, stride), conv_bn(outputs, outputs)
        self.shortcut: nn.Module = nn.Identity() if stride == 1 else conv_bn(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Any:
        h = self.two(F.relu(self.one(x), inplace=True))
        h += self.shortcut(x)
        return F.relu(h, inplace=True)


def residual_network() -> nn.Module:
    blocks = Residual(C, 4, 1), nn.MaxPool2d(3, 1, 1), Residual(4, 8, 2)
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


class Patches(nn.Module):
    """Patches as tokens with a token for the class, and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(C, 8, 4, 4)
        self.of_class, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))

    def forward(self, x: Tensor) -> Any:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.of_class.expand(len(tokens), -1, -1), tokens], 1) + self.place


def shifted_windows(net: Any, x: Tensor) -> Any:
    """Attend within windows of four by four, which are shifted by one pixel before."""
    x = x.permute(0, 2, 3, 1).roll((-1, -1), (1, 2))
    windows = x.unflatten(2, (2, 4)).unflatten(1, (2, 4)).transpose(2, 3).reshape(-1, 16, C)
    windows = net.module(windows, windows, windows, need_weights=False)[0]
    x = windows.view(int(windows.shape[0] / (H * W / 16)), 2, 2, 4, 4, C).transpose(2, 3).reshape(-1, H, W, C)
    return x.roll((1, 1), (1, 2)).permute(0, 3, 1, 2)


def kernels_of_each_sample(net: Any, x: Tensor) -> Any:
    kernels = net.module(x.mean((2, 3))).view(-1, 1, 3, 3)
    found = F.conv2d(x.reshape(1, -1, H, W), kernels, padding=1, groups=x.shape[0] * C)
    return found.view(x.shape)


def deformed(net: Any, x: Tensor) -> Any:
    """Sample each image where a convolution points to."""
    eye = torch.eye(2, 3, dtype=x.dtype).expand(x.shape[0], 2, 3)
    grid = F.affine_grid(eye, [*x.shape], align_corners=False)
    return F.grid_sample(x, grid + 0.1 * net.module(x).permute(0, 2, 3, 1), align_corners=False)


def blurred(net: Any, x: Tensor) -> Any:
    line = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4.0
    return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), torch.outer(line, line).expand(C, 1, 3, 3), None, 2, groups=C)


def channels_last(net: Any, x: Tensor) -> Any:
    return net.module(x.contiguous(memory_format=torch.channels_last))


def many_paddings() -> nn.Module:
    modes: Any = ("circular", "reflect", "replicate")
    return nn.Sequential(*[nn.Conv2d(C, C, 3, padding=1, padding_mode=mode) for mode in modes])


def dropouts() -> nn.Module:
    return nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout())


def norms() -> nn.Module:
    norms = nn.GroupNorm(2, C), nn.InstanceNorm2d(C, affine=True), nn.LayerNorm([H, W]), nn.LocalResponseNorm(2)
    return nn.Sequential(*norms)


def attends() -> nn.Module:
    return nn.MultiheadAttention(C, 2, batch_first=True)


IMAGES: dict[str, Entry] = {
    "two ways to the output": folds(
        lambda net, x: x + net.module(x).relu(), module=conv(), precisions=True, shape=IMAGE
    ),
    "each way to pad is another operation": folds(module, module=many_paddings, shape=IMAGE),
    "samples lie in memory in another order": folds(channels_last, module=conv(), shape=IMAGE),
    "torch sets the strides of a mean of one pixel, in place": folds(
        lambda net, x: x + F.adaptive_avg_pool2d(channels_last(net, x), 1), module=conv(), shape=IMAGE
    ),
    "a convolution over samples": steps(
        lambda net, x: net.module(x.flatten(1).t()[None])[0].t().view(x.shape),
        module=lambda: nn.Conv1d(256, 256, 3, padding=1),
        shape=IMAGE,
    ),
    "a kernel is made at each step": folds(blurred, shape=IMAGE),
    "samples as groups": folds(kernels_of_each_sample, module=linear(C, 9 * C), shape=IMAGE),
    "channels are merged with the batch": folds(
        lambda net, x: net.module(x.reshape(-1, 1, H, W)).reshape(x.shape), module=conv(1, 1), shape=IMAGE
    ),
    "norms along several axes": folds(module, module=NextBlock, shape=IMAGE),
    "a token that all samples share": folds(module, module=Patches, shape=IMAGE),
    "several batch norms, one behind the other": folds(module, module=residual_network, shape=IMAGE),
    "windows are merged with the batch and taken apart": folds(shifted_windows, module=attends, shape=IMAGE),
    "windows along two axes": folds(
        lambda net, x: torch.einsum("ncabij,dcij->nabd", x.unfold(2, 4, 4).unfold(3, 4, 4), net.w).flatten(1, 2),
        w=weight(5, C, 4, 4),
        shape=IMAGE,
    ),
    "images are sampled at places of their own": folds(deformed, module=conv(C, 2), shape=IMAGE),
    "complex numbers": folds(
        lambda net, x: torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(net.w), s=(H, W)),
        w=weight(C, H, W // 2 + 1, 2),
        shape=IMAGE,
    ),
    "norms that look like batch norm": folds(module, module=norms, shape=IMAGE),
    "masks of pixels and of channels": folds(module, module=dropouts, shape=IMAGE, draws=True),
}


# --- a network as users write it --------------------------------------------------------------------------------------


class Spikformer(nn.Module):
    """Self-attention of spikes, without softmax (Zhou et al. 2023)."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.conv, self.lif, self.rate = conv_bn(3, dim, 2), LIF(tau=2.0, v0=0.3), LIF(tau=2.0, v0=0.2)
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))
        self.q_bn, self.k_bn, self.v_bn, self.proj_bn = (nn.BatchNorm1d(dim) for _ in range(4))
        self.q_if, self.k_if, self.v_if, self.attn_if = (IF(v0=0.4) for _ in range(4))
        self.head = nn.Linear(dim, 4)

    def branch(self, name: str, x: Tensor, init: Any) -> Any:
        y = getattr(self, name)(x)
        y = getattr(self, f"{name}_bn")(y.transpose(-1, -2)).transpose(-1, -2).contiguous()
        y = getattr(self, f"{name}_if")(y, init)
        return y.reshape(*x.shape[:2], 2, -1).permute(0, 2, 1, 3).contiguous()

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.lif(self.conv(x), init).flatten(-2).transpose(-1, -2)
        q, k, v = (self.branch(name, x, init) for name in "qkv")
        y = (q @ k.transpose(-2, -1) * 0.25 @ v).transpose(1, 2).reshape(x.shape)
        y = self.proj_bn(self.proj(self.attn_if(y, init)).transpose(1, 2)).transpose(1, 2)
        return self.head(self.rate(x + y, init).mean(1))


IMAGES["norms and layers found by name, attention of spikes"] = folds(Whole(Spikformer, (3, 8, 8)))
