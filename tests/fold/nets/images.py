"""Code for images within a sample: convolutions, blocks of known networks, patches and windows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.nets.entry import IMAGE, Code, Entry, between, folds, linear, steps, weight

C, H, W = IMAGE


def conv(inputs: int = C, outputs: int = C, size: int = 3, **options: Any) -> Callable[[], nn.Conv2d]:
    """Return what makes a convolution that keeps height and width."""
    chosen: dict[str, Any] = {"padding": size // 2} | options
    return lambda: nn.Conv2d(inputs, outputs, size, **chosen)


def in_a_row(*makers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*[make() for make in makers])


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
    """Return two stages of two blocks each, between a stem and a linear layer."""
    blocks = [block for i, o, stride in [(4, 4, 1), (4, 8, 2)] for block in (Residual(i, o, stride), Residual(o, o, 1))]
    stem = [nn.Conv2d(C, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 1, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


class Patches(nn.Module):
    """Patches as tokens with a token for the class, positions, and a layer of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(C, 8, 4, 4)
        self.of_class = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.of_class.expand(len(tokens), -1, -1), tokens], 1) + self.place
        return self.layer(tokens)[:, 0]


def whole(net: Any, x: Tensor) -> Any:
    return net.module(x)


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


def filtered(net: Any, x: Tensor) -> Any:
    return torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(net.w), s=(H, W))


def style_of_each_sample(net: Any, x: Tensor) -> Any:
    scale, shift = net.module(x.mean((2, 3))).chunk(2, 1)
    return F.instance_norm(x) * scale[:, :, None, None] + shift[:, :, None, None]


def with_coordinates(net: Any, x: Tensor) -> Any:
    line = torch.linspace(-1.0, 1.0, W, dtype=x.dtype)
    places = torch.stack(torch.meshgrid(line, line, indexing="ij")).expand(x.shape[0], -1, -1, -1)
    return net.module(torch.cat([x, places], 1))


def blurred(net: Any, x: Tensor) -> Any:
    line = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4.0
    return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), torch.outer(line, line).expand(C, 1, 3, 3), None, 2, groups=C)


def patches_by_einsum(net: Any, x: Tensor) -> Any:
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4)
    return torch.einsum("ncabij,dcij->nabd", patches, net.w).flatten(1, 2)


def channels_last(net: Any, x: Tensor) -> Any:
    return net.module(x.contiguous(memory_format=torch.channels_last))


def pooled_channels_last(net: Any, x: Tensor) -> Any:
    return x + F.adaptive_avg_pool2d(channels_last(net, x), 1)


def of_images(
    reason: str, code: Code, *, expected: Any = folds, says: str = "", how: Any = None, **parts: Any
) -> Entry:
    more = {"says": says} if expected is steps else {}
    found: Entry = expected(reason, between(code, **parts), shape=IMAGE, **more, **(how or {}))
    return found


def attends() -> nn.Module:
    return nn.MultiheadAttention(C, 2, batch_first=True)


DRAWS = {"draws": True}
IMAGES: dict[str, Entry] = {
    # convolutions
    "conv and residual": of_images(
        "two ways to the output", lambda net, x: x + net.module(x).relu(), module=conv(), how={"precisions": True}
    ),
    "conv 3d": of_images(
        "an axis more", lambda net, x: net.module(x[:, None])[:, 0], module=lambda: nn.Conv3d(1, 1, 3, padding=1)
    ),
    "ways to pad": of_images(
        "each is another operation",
        whole,
        module=in_a_row(*(conv(padding_mode=mode) for mode in ("circular", "reflect", "replicate"))),
    ),
    "channels last": of_images("samples lie in memory in another order", channels_last, module=conv()),
    "pooled, channels last": of_images(
        "torch sets the strides of a mean of one pixel, in place", pooled_channels_last, module=conv()
    ),
    "conv over samples": of_images(
        "samples are taken for channels",
        lambda net, x: net.module(x.flatten(1).t()[None])[0].t().view(x.shape),
        expected=steps,
        module=lambda: nn.Conv1d(256, 256, 3, padding=1),
    ),
    "blurred": of_images("a kernel is made at each step", blurred),
    "with coordinates": of_images("a constant is expanded for each sample", with_coordinates, module=conv(C + 2)),
    "kernels of each sample": of_images("samples as groups", kernels_of_each_sample, module=linear(C, 9 * C)),
    "kernels of each pixel": of_images("patches as a product", kernels_of_each_pixel, module=conv(C, 9, 1)),
    "one channel at a time": of_images(
        "channels merged with the batch",
        lambda net, x: net.module(x.reshape(-1, 1, H, W)).reshape(x.shape),
        module=conv(1, 1),
    ),
    # blocks of known networks
    "ConvNeXt block": of_images("norms along several axes", whole, module=NextBlock),
    "vision transformer": of_images("a token that all samples share", whole, module=Patches),
    "residual network in training": of_images("several norms, one behind the other", whole, module=residual_network),
    "shifted windows": of_images("windows are merged with the batch and taken apart", shifted_windows, module=attends),
    "attention along rows": of_images("rows are", along_rows, module=attends),
    # patches and pixels
    "patches by einsum": of_images("windows along two axes", patches_by_einsum, w=weight(5, C, 4, 4)),
    "flipped and turned": of_images("axes of an image exchanged", lambda net, x: x.flip(2, 3) + x.rot90(1, (2, 3))),
    "deformed": of_images("sampled at places of each sample", deformed, module=conv(C, 2)),
    "filtered": of_images("complex numbers", filtered, w=weight(C, H, W // 2 + 1, 2)),
    # pools, norms and random numbers
    "power pool": of_images("a pool of powers, and signs", lambda net, x: F.lp_pool2d(x + 0.1, 2.0, 2)),
    "norms of each sample": of_images(
        "norms that look like batch norm",
        whole,
        module=lambda: nn.Sequential(
            nn.GroupNorm(2, C), nn.InstanceNorm2d(C, affine=True), nn.LayerNorm([H, W]), nn.LocalResponseNorm(2)
        ),
    ),
    "style of each sample": of_images(
        "one norm, with scales of its own for each sample", style_of_each_sample, module=linear(C, 2 * C)
    ),
    "dropouts of images": of_images(
        "masks of pixels and of channels",
        whole,
        how=DRAWS,
        module=in_a_row(nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    ),
    "fractional pool": of_images(
        "it could fold, but its windows are drawn for all",
        whole,
        expected=steps,
        says="combines the samples of a batch with each other.*fractional_max_pool2d",
        module=lambda: nn.FractionalMaxPool2d(2, 4),
    ),
}
