"""Code that leaves samples to themselves: images within a sample, and a network as users write it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import IF, LIF
from tests.fold.corpus.entry import IMAGE, Entry, Whole, folds, linear

C, H, W = IMAGE


def conv(inputs: int = C, outputs: int = C, size: int = 3, **options: Any) -> Callable[[], nn.Conv2d]:
    """Return what makes a convolution that keeps height and width."""
    chosen: dict[str, Any] = {"padding": size // 2} | options
    return lambda: nn.Conv2d(inputs, outputs, size, **chosen)


def conv_bn(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


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


def channels_last(net: Any, x: Tensor) -> Any:
    return net.module(x.contiguous(memory_format=torch.channels_last))


def attends() -> nn.Module:
    return nn.MultiheadAttention(C, 2, batch_first=True)


IMAGES: dict[str, Entry] = {
    "two ways to outputs": folds(lambda net, x: x + net.module(x).relu(), module=conv(), precisions=True, shape=IMAGE),
    "samples lie in memory in another order": folds(channels_last, module=conv(), shape=IMAGE),
    "torch sets the strides of a mean of one pixel, in place": folds(
        lambda net, x: x + F.adaptive_avg_pool2d(channels_last(net, x), 1), module=conv(), shape=IMAGE
    ),
    "samples as groups": folds(kernels_of_each_sample, module=linear(C, 9 * C), shape=IMAGE),
    "channels are merged with the batch": folds(
        lambda net, x: net.module(x.reshape(-1, 1, H, W)).reshape(x.shape), module=conv(1, 1), shape=IMAGE
    ),
    "windows are merged with the batch and taken apart": folds(shifted_windows, module=attends, shape=IMAGE),
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
