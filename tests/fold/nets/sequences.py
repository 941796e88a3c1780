"""Code for tokens within a sample: attention, recurrence and convolution along them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.nets.entry import SEQUENCE, Code, Entry, between, folds, linear, steps, weight

TOKENS, WIDTH = SEQUENCE


class Rotary(nn.Module):
    """Turns pairs of features by an angle that grows with the token; the table is made at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        angle = self.table
        if angle is None:
            self.table = angle = torch.outer(torch.arange(TOKENS), 0.5 ** torch.arange(WIDTH // 2)).to(x)
        one, other = x.chunk(2, -1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


def attention(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.MultiheadAttention(WIDTH, 2, **({"batch_first": True} | options))


def encoder_layer(**options: Any) -> Callable[[], nn.TransformerEncoderLayer]:
    return lambda: nn.TransformerEncoderLayer(WIDTH, 2, 16, **({"dropout": 0.0, "batch_first": True} | options))


def itself(net: Any, x: Tensor, **options: Any) -> Any:
    """Let tokens attend to each other."""
    return net.module(x, x, x, **options)[0]


def first(net: Any, x: Tensor) -> Any:
    return net.module(x)[0]


def whole(net: Any, x: Tensor) -> Any:
    return net.module(x)


def tokens_first(code: Code) -> Code:
    return lambda net, x: code(net, x.transpose(0, 1)).transpose(0, 1)


def causal(net: Any, x: Tensor) -> Any:
    return itself(net, x, attn_mask=torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1))


def padded(net: Any, x: Tensor) -> Any:
    nothing = x.sum(-1) == 0
    nothing[:, 0] = False
    return itself(net, x, key_padding_mask=nothing)


def few_queries(net: Any, x: Tensor) -> Any:
    """Let learned queries, the same ones for all samples, attend to the tokens."""
    return net.module(net.w.expand(x.shape[0], -1, -1), x, x)[0]


def weights(q: Tensor, k: Tensor) -> Tensor:
    scores: Tensor = q @ k.mT / q.shape[-1] ** 0.5
    return scores.softmax(-1)


def attention_by_einsum(net: Any, x: Tensor) -> Any:
    q, k, v = net.module(x).view(*x.shape[:2], 3, 2, -1).unbind(2)
    scores = torch.einsum("nqhd,nkhd->nhqk", q, k).softmax(-1)
    return torch.einsum("nhqk,nkhd->nqhd", scores, v).flatten(2)


def einsum_written_on(net: Any, x: Tensor) -> Any:
    q, k, v = net.module(x).view(*x.shape[:2], 3, -1).unbind(2)
    scores = torch.einsum("nqd,nkd->nqk", q, k).mul_(0.5).softmax(-1)
    return torch.einsum("nqk,nkd->nqd", scores, v).add_(x)


def additive_attention(net: Any, x: Tensor) -> Any:
    scores = net.score(torch.tanh(net.module(x)[:, :, None] + x[:, None]))[..., 0]
    return scores.softmax(-1) @ x


def attention_to_neighbours(net: Any, x: Tensor) -> Any:
    near = F.pad(x, (0, 0, 1, 1)).unfold(1, 3, 1)
    scores = torch.einsum("ntd,ntdw->ntw", net.module(x), near).softmax(-1)
    return torch.einsum("ntw,ntdw->ntd", scores, near)


def best_tokens(net: Any, x: Tensor) -> Any:
    """Keep the three tokens of each sample that a layer scores best, in the order of their scores."""
    scores = net.module(x)[..., 0] + 0.01 * torch.arange(TOKENS)
    best, which = scores.topk(3, -1)
    return x.gather(1, which[..., None].expand(-1, -1, WIDTH)) * best[..., None].sigmoid()


def with_a_first_state(net: Any, x: Tensor) -> Any:
    return net.module(x, x.new_zeros(1, x.shape[0], WIDTH))[0]


def decayed_sum(net: Any, x: Tensor) -> Any:
    """Sum over earlier tokens with a decay for each feature, as a cumulative sum of scaled tokens."""
    scale = torch.exp(net.rate.sigmoid() * torch.arange(TOKENS)[:, None])
    return (x * scale).cumsum(1) / scale


def of_tokens(
    reason: str, code: Code, *, expected: Any = folds, says: str = "", how: Any = None, **parts: Any
) -> Entry:
    more = {"says": says} if expected is steps else {}
    found: Entry = expected(reason, between(code, **parts), shape=SEQUENCE, **more, **(how or {}))
    return found


three = linear(WIDTH, 3 * WIDTH)
lstm: dict[str, Any] = {"batch_first": True}
DRAWS = {"draws": True}
SEQUENCES: dict[str, Entry] = {
    # torch's attention
    "attention": of_tokens("torch's own, which turns axes about", itself, module=attention()),
    "attention among samples": of_tokens(
        "a module that takes samples for tokens",
        itself,
        expected=steps,
        says="samples of a batch with each other",
        module=attention(batch_first=False),
    ),
    "attention with dropout": of_tokens(
        "the kernel draws", lambda net, x: itself(net, x, need_weights=False), how=DRAWS, module=attention(dropout=0.1)
    ),
    "causal attention": of_tokens("a mask that all samples share", causal, module=attention()),
    "attention with a mask for each sample": of_tokens("a mask that is made of samples", padded, module=attention()),
    "attention with learned keys": of_tokens(
        "keys that are repeated for each sample", itself, module=attention(add_bias_kv=True, add_zero_attn=True)
    ),
    "learned queries": of_tokens("queries that are expanded", few_queries, module=attention(), w=weight(1, 3, WIDTH)),
    "encoder layer, norm first": of_tokens(
        "a layer of torch's", whole, module=encoder_layer(norm_first=True, activation="gelu")
    ),
    "encoder layer, tokens first": of_tokens(
        "samples as its second axis", tokens_first(whole), module=encoder_layer(batch_first=False)
    ),
    "encoder layer among samples": of_tokens(
        "a layer that takes samples for tokens", whole, expected=steps, module=encoder_layer(batch_first=False)
    ),
    "encoder layer with dropout": of_tokens("a layer that draws", whole, how=DRAWS, module=encoder_layer(dropout=0.1)),
    "decoder layer": of_tokens(
        "two sequences in one layer",
        lambda net, x: net.module(x, x.flip(1)),
        module=lambda: nn.TransformerDecoderLayer(WIDTH, 2, 16, 0.0, batch_first=True),
    ),
    "encoder on its fast path": of_tokens(
        "a kernel for evaluation without gradients",
        whole,
        how={"training": False, "gradients": False},
        module=lambda: nn.TransformerEncoder(encoder_layer()(), 2),
    ),
    # attention by hand
    "scaled dot product": of_tokens(
        "of three axes", lambda net, x: F.scaled_dot_product_attention(x, x, x, is_causal=True)
    ),
    "attention by einsum": of_tokens("an einsum of heads", attention_by_einsum, module=three),
    "attention in float32": of_tokens(
        "sums of fewer digits", attention_by_einsum, how={"dtype": torch.float32}, module=three
    ),
    "einsum written on": of_tokens("what an einsum makes is written on", einsum_written_on, module=three),
    "attention without softmax": of_tokens(
        "an einsum of three", lambda net, x: torch.einsum("nld,nmd,nme->nle", x, x, x)
    ),
    "additive attention": of_tokens(
        "pairs of tokens by broadcasting", additive_attention, module=linear(WIDTH, WIDTH), score=linear(WIDTH, 1)
    ),
    "attention to neighbours": of_tokens(
        "windows that overlap in memory", attention_to_neighbours, module=linear(WIDTH, WIDTH)
    ),
    "rotary positions": of_tokens(
        "it could fold, but keeps a table that it makes at the first call",
        lambda net, x: weights(net.module(x), net.module(x)) @ x,
        expected=steps,
        says="changes module.table while it runs: it keeps a state, or a r",
        module=Rotary,
    ),
    "best tokens": of_tokens("an index for each sample is expanded", best_tokens, module=linear(WIDTH, 1)),
    # recurrence within a step
    "RNN over tokens": of_tokens(
        "a first state by the number of samples", with_a_first_state, module=lambda: nn.RNN(WIDTH, WIDTH, **lstm)
    ),
    "GRU, tokens first": of_tokens(
        "a module of torch's over the first axis", tokens_first(first), module=lambda: nn.GRU(WIDTH, 6)
    ),
    "LSTM over samples": of_tokens(
        "... which here is that of the samples", first, expected=steps, module=lambda: nn.LSTM(WIDTH, 6)
    ),
    "LSTM both ways": of_tokens(
        "flips along the tokens", first, module=lambda: nn.LSTM(WIDTH, 4, 2, bidirectional=True, **lstm)
    ),
    "LSTM with dropout": of_tokens(
        "draws between its layers", first, how=DRAWS, module=lambda: nn.LSTM(WIDTH, 4, 2, dropout=0.1, **lstm)
    ),
    "decayed sum": of_tokens("a sum along the tokens", decayed_sum, rate=weight(WIDTH)),
    # other things
    "causal conv": of_tokens(
        "padding on one side",
        lambda net, x: net.module(F.pad(x.mT, (2, 0))).mT,
        module=lambda: nn.Conv1d(WIDTH, WIDTH, 3),
    ),
}
