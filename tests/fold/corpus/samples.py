"""Code that leaves samples to themselves: vectors, tokens and images within one, and a network as users write it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, spectral_norm
from torch.utils.checkpoint import checkpoint

# --- vectors ----------------------------------------------------------------------------------------------------------
from spikingtorch import IF, LIF
from tests.fold.corpus.entry import (
    IMAGE,
    SEQUENCE,
    Entry,
    Whole,
    folds,
    hides,
    linear,
    module,
    parametrized,
    steps,
    weight,
)
from tests.folded_layer import Lambda


class Levels(nn.Parameter):
    """A weight whose product takes inputs in a few levels, with one scale for all."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func is F.linear:
                scale = args[0].abs().max()
                return F.linear((args[0] / scale * 7).round() * scale / 7, *args[1:])
            return func(*args, **(kwargs or {}))


def leveled() -> nn.Module:
    layer = nn.Linear(6, 6, dtype=torch.float64)
    layer.weight = Levels(layer.weight.detach())
    return layer


def with_other_weights(net: Any, x: Tensor) -> Any:
    return torch.func.functional_call(net.module, {"weight": net.module.weight * net.w}, (x,))


def quiet(net: Any, x: Tensor) -> Any:
    with torch.no_grad():
        more = net.module(x)
    return x + more


VECTORS: dict[str, Entry] = {
    "a parametrization": folds(module, module=parametrized(parametrizations.weight_norm)),
    "a module of the user's makes a weight": folds(
        module, module=parametrized(parametrize.register_parametrization, "weight", Lambda(lambda _, w: w.square()))
    ),
    "torch's hook changes its state in training": folds(module, module=parametrized(spectral_norm), training=False),
    "functional_call in a step": folds(with_other_weights, module=linear(), w=weight(6, 6)),
    "a compiled module": folds(module, module=lambda: torch.compile(nn.Linear(6, 6), backend="eager")),
    "a weight of another class": hides(module, module=leveled),
    "in float32 alone": folds(lambda net, x: x.float() @ net.w, w=lambda: torch.rand(6, 6), dtype=torch.float32),
    "sparse slopes": folds(lambda net, x: net.module(x.long()).mean(1), module=lambda: nn.Embedding(5, 6, sparse=True)),
    "a number of classes is given": folds(lambda net, x: F.one_hot((x + torch.arange(6) / 10).argmax(1), 6).to(x)),
    "a transform along the batch": folds(lambda net, x: torch.vmap(lambda one: one / (1.0 + one.sum()))(x)),
    "a module whose weights get no gradient": folds(quiet, module=linear()),
    "the forward pass again": folds(lambda net, x: checkpoint(net.module, x, use_reentrant=False), module=linear()),
    "copies of a sample stay beside it": folds(
        lambda net, x: net.module(x.repeat_interleave(2, 0)).view(-1, 2, 6).amax(1), module=linear()
    ),
    "a branch for more samples than here": folds(lambda net, x: 2.0 * x if len(x) > 20000 else x),
}

# --- tokens -----------------------------------------------------------------------------------------------------------

TOKENS, WIDTH = SEQUENCE
# of one sample, torch copies less
SINGLE: dict[str, Any] = {"shape": SEQUENCE, "batches": (1, 3, 1), "each_time": True}


def attention(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.MultiheadAttention(WIDTH, 2, **({"batch_first": True} | options))


def encoder_layer(**options: Any) -> Callable[[], nn.TransformerEncoderLayer]:
    return lambda: nn.TransformerEncoderLayer(WIDTH, 2, 16, **({"dropout": 0.0, "batch_first": True} | options))


def itself(net: Any, x: Tensor, **options: Any) -> Any:
    """Let tokens attend to each other."""
    return net.module(x, x, x, **options)[0]


def first(net: Any, x: Tensor) -> Any:
    return net.module(x)[0]


def heads(net: Any, x: Tensor) -> Any:
    q, k, v = net.module(x).view(*x.shape[:2], 3, 2, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def attention_by_hand(net: Any, x: Tensor) -> Any:
    q, k, v = heads(net, x)
    return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(x.shape)


def attention_of_copies(net: Any, x: Tensor) -> Any:
    q, k, v = heads(net, x)
    return ((q.contiguous() @ k.contiguous().mT) @ v).transpose(1, 2).reshape(x.shape)


def attention_by_einsum(net: Any, x: Tensor) -> Any:
    q, k, v = heads(net, x)
    scores = torch.einsum("bhnd, bhmd -> bhnm", [q, k]).mul_(0.5).softmax(-1)
    return torch.einsum("bhnm,bhmd->bnhd", scores, v).flatten(2).add_(x)


def with_a_first_state(net: Any, x: Tensor) -> Any:
    return net.module(x, x.new_zeros(1, x.shape[0], WIDTH))[0]


three = linear(WIDTH, 3 * WIDTH)
SEQUENCES: dict[str, Entry] = {
    "torch's attention turns axes about": folds(itself, module=attention(), **SINGLE),
    "a module takes samples for tokens": steps(
        itself, "samples of a batch with each other", module=attention(batch_first=False), shape=SEQUENCE
    ),
    "the kernel of an attention draws": folds(
        lambda net, x: itself(net, x, need_weights=False), module=attention(dropout=0.1), shape=SEQUENCE, draws=True
    ),
    "a layer of a transformer": folds(module, module=encoder_layer(norm_first=True, activation="gelu"), **SINGLE),
    "a kernel for evaluation without gradients": folds(
        module,
        module=lambda: nn.TransformerEncoder(encoder_layer()(), 2),
        shape=SEQUENCE,
        training=False,
        gradients=False,
    ),
    "attention by hand": folds(attention_by_hand, module=three, **SINGLE),
    "attention by hand, of copies": folds(attention_of_copies, module=three, **SINGLE),
    "what an einsum makes is written on": folds(attention_by_einsum, module=three, **SINGLE),
    "an einsum of three": folds(lambda net, x: torch.einsum("nld,nmd,nme->nle", x, x, x), **SINGLE),
    "a sum over the tokens of a head": folds(
        lambda net, x: x.view(-1, 5, 2, 4).transpose(1, 2) * x.view(-1, 5, 2, 4).transpose(1, 2).sum(2, keepdim=True),
        **SINGLE,
    ),
    "an attention of heads": folds(
        lambda net, x: F.scaled_dot_product_attention(*heads(net, x)).transpose(1, 2).reshape(x.shape),
        module=three,
        **SINGLE,
    ),
    "a first state by the number of samples": folds(
        with_a_first_state, module=lambda: nn.RNN(WIDTH, WIDTH, batch_first=True), shape=SEQUENCE
    ),
    "a GRU over tokens": folds(first, module=lambda: nn.GRU(WIDTH, 6, batch_first=True), **SINGLE),
    "an LSTM over tokens": folds(first, module=lambda: nn.LSTM(WIDTH, 6, batch_first=True), **SINGLE),
    "two layers of an RNN over tokens": folds(first, module=lambda: nn.RNN(WIDTH, 6, 2, batch_first=True), **SINGLE),
}


# --- images ---------------------------------------------------------------------------------------------------------

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
    "norms and layers found by name, attention of spikes": folds(Whole(Spikformer, (3, 8, 8))),
}

SAMPLES = VECTORS | SEQUENCES | IMAGES
