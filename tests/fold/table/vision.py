"""Code for images within a sample: convolutions, blocks of known networks, patches and windows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.table.case import IMAGE, Case, drawing, evaluated, folds, in_float32, linear, through, weight

C, H, W = IMAGE


def conv(inputs: int = C, outputs: int = C, size: int = 3, **options: Any) -> Callable[[], nn.Conv2d]:
    """Return what makes a convolution that keeps height and width."""
    around = options.get("dilation", 1) * (size // 2)
    return lambda: nn.Conv2d(inputs, outputs, size, **({"padding": around} | options))


def in_a_row(*makers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*[make() for make in makers])


# --- blocks -----------------------------------------------------------------------------------------------------------


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Sequential(nn.Linear(C, 2), nn.ReLU(), nn.Linear(2, C), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.scale(x.mean((2, 3)))
        return x * scale[:, :, None, None]


class NextBlock(nn.Module):
    """A wide depthwise convolution, and a small network at each pixel with a response norm, scaled and added."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(C, C, 7, padding=3, groups=C)
        self.norm = nn.LayerNorm(C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.response = nn.Parameter(torch.ones(4 * C))
        self.scale = nn.Parameter(torch.full((C,), 1e-3))

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.up(self.norm(self.wide(x).permute(0, 2, 3, 1))))
        energy = h.norm(dim=(1, 2), keepdim=True)
        h = h + self.response * h * energy / (energy.mean(-1, keepdim=True) + 1e-6)
        change: Tensor = self.scale * self.down(h)
        return x + change.permute(0, 3, 1, 2)


class Residual(nn.Module):
    """Two convolutions with batch norm, and a shortcut that takes part in stride and width."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Any:
        h = self.relu(self.norms[0](self.one(x)))
        h = self.norms[1](self.two(h))
        h += self.shortcut(x)
        return self.relu(h)


def residual_network() -> nn.Module:
    """Return four stages of two blocks each, between a stem and a linear layer."""
    stages = [(4, 4, 1), (4, 8, 2), (8, 8, 2), (8, 16, 2)]
    blocks = [block for i, o, stride in stages for block in (Residual(i, o, stride), Residual(o, o, 1))]
    stem = [nn.Conv2d(C, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 1, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


class Patches(nn.Module):
    """Patches as tokens with a token for the class, positions, and a layer of a transformer."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Conv2d(C, 8, 4, 4)
        self.of_class = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.of_class.expand(len(tokens), -1, -1), tokens], 1) + self.place
        return self.layer(tokens)[:, 0]


class Mixer(nn.Module):
    """Linear layers over patches, and then over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.channels = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Any:
        tokens = F.unfold(x, 2, stride=2)
        tokens = tokens + self.patches(tokens)
        return tokens + self.channels(tokens.mT).mT


class Spatial(nn.Module):
    """Weighs pixels by mean and maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        weights: Tensor = self.look(seen).sigmoid()
        return x * weights


# --- code ------------------------------------------------------------------------------------------------------------


def shifted_windows(net: Any, x: Tensor) -> Any:
    """Attend within windows of four by four, which are shifted by one pixel before."""
    x = x.permute(0, 2, 3, 1).roll((-1, -1), (1, 2))
    windows = x.unflatten(2, (2, 4)).unflatten(1, (2, 4)).transpose(2, 3).reshape(-1, 16, C)
    windows = net.module(windows, windows, windows, need_weights=False)[0]
    x = windows.view(-1, 2, 2, 4, 4, C).transpose(2, 3).reshape(-1, H, W, C)
    return x.roll((1, 1), (1, 2)).permute(0, 3, 1, 2)


def along_rows(net: Any, x: Tensor) -> Any:
    rows = x.permute(0, 2, 3, 1).flatten(0, 1)
    return net.module(rows, rows, rows)[0].unflatten(0, (-1, H)).permute(0, 3, 1, 2)


def kernels_of_each_sample(net: Any, x: Tensor) -> Any:
    kernels = net.module(x.mean((2, 3))).view(-1, 1, 3, 3)
    found = F.conv2d(x.reshape(1, -1, H, W), kernels, padding=1, groups=x.shape[0] * C)
    return found.view(x.shape)


def kernels_of_each_pixel(net: Any, x: Tensor) -> Any:
    near = F.unfold(x, 3, padding=1).view(-1, C, 9, H, W)
    return (near * net.module(x)[:, None]).sum(2)


def deformed(net: Any, x: Tensor) -> Any:
    """Sample each image where a convolution points to."""
    eye = torch.eye(2, 3, dtype=x.dtype).expand(x.shape[0], 2, 3)
    grid = F.affine_grid(eye, [*x.shape], align_corners=False)
    return F.grid_sample(x, grid + 0.1 * net.module(x).permute(0, 2, 3, 1), align_corners=False)


def turned(net: Any, x: Tensor) -> Any:
    """Turn and move each image as a linear layer says."""
    theta = net.module(x.mean((2, 3))).view(-1, 2, 3)
    return F.grid_sample(x, F.affine_grid(theta, [*x.shape], align_corners=True), "nearest", align_corners=True)


def filtered(net: Any, x: Tensor) -> Any:
    return torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(net.w), s=(H, W))


def style_of_each_sample(net: Any, x: Tensor) -> Any:
    scale, shift = net.module(x.mean((2, 3))).chunk(2, 1)
    return F.instance_norm(x) * scale[:, :, None, None] + shift[:, :, None, None]


def global_context(net: Any, x: Tensor) -> Any:
    where = net.module(x).flatten(2).softmax(-1)
    return x + torch.einsum("ncp,nop->nc", x.flatten(2), where)[:, :, None, None]


def pyramid(net: Any, x: Tensor) -> Any:
    return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(1) for size in (1, 2, 4)], 1)


def with_coordinates(net: Any, x: Tensor) -> Any:
    line = torch.linspace(-1.0, 1.0, W, dtype=x.dtype)
    places = torch.stack(torch.meshgrid(line, line, indexing="ij")).expand(x.shape[0], -1, -1, -1)
    return net.module(torch.cat([x, places], 1))


def dense(net: Any, x: Tensor) -> Any:
    for layer in net.layers:
        x = torch.cat([x, layer(x).relu()], 1)
    return x


def branches(net: Any, x: Tensor) -> Any:
    return torch.cat([net.small(x), net.wide(x), F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1)], 1)


def blurred(net: Any, x: Tensor) -> Any:
    line = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4.0
    return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), torch.outer(line, line).expand(C, 1, 3, 3), None, 2, groups=C)


def blocks_as_channels(net: Any, x: Tensor) -> Any:
    x = x.view(-1, C, H // 2, 2, W // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(-1, 4 * C, H // 2, W // 2)
    return net.module(x)


def one_channel_at_a_time(net: Any, x: Tensor) -> Any:
    return net.module(x.reshape(-1, 1, H, W)).reshape(x.shape)


def channels_as_depth(net: Any, x: Tensor) -> Any:
    return net.module(x[:, None])[:, 0]


def pooled_and_back(net: Any, x: Tensor) -> Any:
    x = x + torch.linspace(0.0, 0.5, H * W, dtype=x.dtype).view(H, W)
    pooled, places = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(pooled, places, [2, 2])


def resized(net: Any, x: Tensor) -> Any:
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return F.interpolate(x, size=(H, W), mode="nearest")


def unfolded(net: Any, x: Tensor) -> Any:
    return F.fold(net.w * F.unfold(x, 3, padding=1), (H, W), 3, padding=1)


def patches_by_einsum(net: Any, x: Tensor) -> Any:
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4)
    return torch.einsum("ncabij,dcij->nabd", patches, net.w).flatten(1, 2)


def kept_paths(net: Any, x: Tensor) -> Any:
    return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(0.8) / 0.8


def pooled_channels_last(net: Any, x: Tensor) -> Any:
    """Where torch sets the strides of a mean of one pixel, in place."""
    return x + F.adaptive_avg_pool2d(channels_last(net, x), 1)


def channels_last(net: Any, x: Tensor) -> Any:
    return net.module(x.contiguous(memory_format=torch.channels_last))


VISION: dict[str, Case] = {
    # convolutions
    "conv and residual": folds(lambda net, x: x + net.module(x).relu(), IMAGE, module=conv()),
    "conv in float32": in_float32(folds(lambda net, x: x + net.module(x).relu(), IMAGE, module=conv())),
    "depthwise separable": folds(through, IMAGE, module=in_a_row(conv(groups=C), conv(size=1))),
    "transposed conv": folds(through, IMAGE, module=lambda: nn.ConvTranspose2d(C, 2, 2, 2)),
    "conv 3d": folds(channels_as_depth, IMAGE, module=lambda: nn.Conv3d(1, 1, 3, padding=1)),
    "ways to pad": folds(
        through, IMAGE, module=in_a_row(*(conv(padding_mode=mode) for mode in ("circular", "reflect", "replicate")))
    ),
    "dilated": folds(lambda net, x: net.near(x) + net.far(x), IMAGE, near=conv(), far=conv(dilation=2)),
    "channels last": folds(channels_last, IMAGE, module=conv()),
    "pooled, channels last": folds(pooled_channels_last, IMAGE, module=conv()),
    "dense block": folds(
        dense, IMAGE, layers=lambda: nn.ModuleList([nn.Conv2d(width, 2, 3, padding=1) for width in (4, 6)])
    ),
    "branches": folds(branches, IMAGE, small=conv(size=1), wide=conv(size=5)),
    "blurred": folds(blurred, IMAGE),
    "with coordinates": folds(with_coordinates, IMAGE, module=conv(C + 2)),
    "kernels of each sample": folds(kernels_of_each_sample, IMAGE, module=linear(C, 9 * C)),
    "kernels of each pixel": folds(kernels_of_each_pixel, IMAGE, module=conv(C, 9, 1)),
    "one channel at a time": folds(one_channel_at_a_time, IMAGE, module=conv(1, 1)),
    "weights by einsum": folds(lambda net, x: torch.einsum("nchw,dc->ndhw", x, net.w), IMAGE, w=weight(3, C)),
    # blocks of known networks
    "squeeze and excite": folds(through, IMAGE, module=SqueezeExcite),
    "spatial attention": folds(through, IMAGE, module=in_a_row(SqueezeExcite, Spatial)),
    "ConvNeXt block": folds(through, IMAGE, module=NextBlock),
    "global context": folds(global_context, IMAGE, module=conv(C, 1, 1)),
    "vision transformer": folds(through, IMAGE, module=lambda: Patches(0.0)),
    "vision transformer with dropout": drawing(folds(through, IMAGE, module=lambda: Patches(0.1))),
    "mixer": folds(through, IMAGE, module=Mixer),
    "residual network in evaluation": evaluated(folds(through, IMAGE, module=residual_network)),
    "residual network in training": folds(through, IMAGE, module=residual_network),
    "shifted windows": folds(shifted_windows, IMAGE, module=lambda: nn.MultiheadAttention(C, 2, batch_first=True)),
    "attention along rows": folds(along_rows, IMAGE, module=lambda: nn.MultiheadAttention(C, 2, batch_first=True)),
    # patches and pixels
    "unfold and fold": folds(unfolded, IMAGE, w=weight(9 * C, 1)),
    "patches by einsum": folds(patches_by_einsum, IMAGE, w=weight(5, C, 4, 4)),
    "pixel shuffle": folds(
        lambda net, x: F.pixel_unshuffle(net.module(F.pixel_shuffle(x, 2)), 2), IMAGE, module=conv(1, 1)
    ),
    "blocks as channels": folds(blocks_as_channels, IMAGE, module=conv(4 * C, 3, 1)),
    "channel shuffle": folds(through, IMAGE, module=lambda: nn.ChannelShuffle(2)),
    "chunks of channels": folds(lambda net, x: torch.cat([2.0 * x.chunk(2, 1)[1], x.chunk(2, 1)[0]], 1), IMAGE),
    "flipped and turned": folds(lambda net, x: x.flip(2, 3) + x.rot90(1, (2, 3)), IMAGE),
    "resized": folds(resized, IMAGE),
    "deformed": folds(deformed, IMAGE, module=conv(C, 2)),
    "turned": folds(turned, IMAGE, module=linear(C, 6)),
    "filtered": folds(filtered, IMAGE, w=weight(C, H, W // 2 + 1, 2)),
    # pools, activations and norms
    "adaptive pools": folds(lambda net, x: F.adaptive_avg_pool2d(F.adaptive_max_pool2d(x, 4), 8), IMAGE),
    "pyramid of pools": folds(pyramid, IMAGE),
    "power pool": folds(lambda net, x: F.lp_pool2d(x + 0.1, 2.0, 2), IMAGE),
    "pooled and back": folds(pooled_and_back, IMAGE),
    "activations": folds(
        lambda net, x: F.mish(F.hardswish(F.softmax(net.module(x), 1))), IMAGE, module=lambda: nn.PReLU(C)
    ),
    "norms of each sample": folds(
        through,
        IMAGE,
        module=lambda: nn.Sequential(
            nn.GroupNorm(2, C), nn.InstanceNorm2d(C, affine=True), nn.LayerNorm([H, W]), nn.LocalResponseNorm(2)
        ),
    ),
    "style of each sample": folds(style_of_each_sample, IMAGE, module=linear(C, 2 * C)),
    # random numbers
    "dropouts": drawing(
        folds(through, IMAGE, module=in_a_row(nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout))
    ),
    "fractional pool": drawing(folds(through, IMAGE, module=lambda: nn.FractionalMaxPool2d(2, 4))),
    "paths dropped": drawing(folds(kept_paths, IMAGE)),
}
