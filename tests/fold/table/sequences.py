"""Code for tokens within a sample: attention, recurrence and convolution along them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fold.table.case import (
    SEQUENCE,
    Case,
    drawing,
    evaluated,
    folds,
    in_float32,
    linear,
    through,
    weight,
    without_gradients,
)

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
    return lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True, **options)


def encoder_layer(**options: Any) -> Callable[[], nn.TransformerEncoderLayer]:
    return lambda: nn.TransformerEncoderLayer(WIDTH, 2, 16, **({"dropout": 0.0, "batch_first": True} | options))


def itself(net: Any, x: Tensor, **options: Any) -> Any:
    """Let tokens attend to each other."""
    return net.module(x, x, x, **options)[0]


def tokens_first(net: Any, x: Tensor) -> Any:
    x = x.transpose(0, 1)
    return net.module(x, x, x)[0].transpose(0, 1)


def causal(net: Any, x: Tensor) -> Any:
    return itself(net, x, attn_mask=torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1))


def weights(q: Tensor, k: Tensor) -> Tensor:
    scores: Tensor = q @ k.mT / q.shape[-1] ** 0.5
    return scores.softmax(-1)


def heads(x: Tensor) -> Any:
    return x.unflatten(-1, (2, -1)).transpose(1, 2)


def merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def attention_of_heads(net: Any, x: Tensor) -> Any:
    q, k, v = (heads(part) for part in net.module(x).chunk(3, -1))
    return merged(F.scaled_dot_product_attention(q, k, v, is_causal=True))


def attention_by_einsum(net: Any, x: Tensor) -> Any:
    q, k, v = net.module(x).view(*x.shape[:2], 3, 2, -1).unbind(2)
    scores = torch.einsum("nqhd,nkhd->nhqk", q, k).softmax(-1)
    return torch.einsum("nhqk,nkhd->nqhd", scores, v).flatten(2)


def einsum_written_on(net: Any, x: Tensor) -> Any:
    q, k, v = net.module(x).view(*x.shape[:2], 3, -1).unbind(2)
    scores = torch.einsum("nqd,nkd->nqk", q, k).mul_(0.5).softmax(-1)
    return torch.einsum("nqk,nkd->nqd", scores, v).add_(x)


def one_key_for_all_heads(net: Any, x: Tensor) -> Any:
    q, (k, v) = heads(net.queries(x)), net.module(x).chunk(2, -1)
    return merged(weights(q, k[:, None]) @ v[:, None])


def biased_by_distance(net: Any, x: Tensor) -> Any:
    place = torch.arange(TOKENS)
    distance = (place[:, None] - place).abs()
    return (x @ x.mT - net.slope * distance).softmax(-1) @ x


def biased_by_relative_position(net: Any, x: Tensor) -> Any:
    place = torch.arange(TOKENS)
    return (x @ x.mT + net.bias[place[:, None] - place + TOKENS - 1]).softmax(-1) @ x


def linear_attention(net: Any, x: Tensor) -> Any:
    q, k = F.elu(net.module(x)) + 1.0, F.elu(x) + 1.0
    sums = torch.einsum("nkd,nke->nde", k, x)
    return torch.einsum("nqd,nde->nqe", q, sums) / (q @ k.sum(1)[:, :, None])


def few_queries(net: Any, x: Tensor) -> Any:
    """Let learned queries, the same ones for all samples, attend to the tokens."""
    return net.module(net.w.expand(x.shape[0], -1, -1), x, x)[0]


def retention(net: Any, x: Tensor) -> Any:
    place = torch.arange(TOKENS)
    decay = (0.9 ** (place[:, None] - place)).tril().to(x)
    return (net.module(x) @ x.mT * decay) @ x


def difference_of_attentions(net: Any, x: Tensor) -> Any:
    q, k = net.module(x).chunk(2, -1)
    (q1, q2), (k1, k2) = q.chunk(2, -1), k.chunk(2, -1)
    return (weights(q1, k1) - net.share * weights(q2, k2)) @ x


def additive_attention(net: Any, x: Tensor) -> Any:
    scores = net.score(torch.tanh(net.module(x)[:, :, None] + x[:, None]))[..., 0]
    return scores.softmax(-1) @ x


def attention_to_neighbours(net: Any, x: Tensor) -> Any:
    near = F.pad(x, (0, 0, 1, 1)).unfold(1, 3, 1)
    scores = torch.einsum("ntd,ntdw->ntw", net.module(x), near).softmax(-1)
    return torch.einsum("ntw,ntdw->ntd", scores, near)


def shifted_tokens(net: Any, x: Tensor) -> Any:
    before = F.pad(x, (0, 0, 1, -1))
    return net.share * x + (1.0 - net.share) * before


def best_tokens(net: Any, x: Tensor) -> Any:
    """Keep the three tokens of each sample that a layer scores best, in the order of their scores."""
    scores = net.module(x)[..., 0] + 0.01 * torch.arange(TOKENS)
    best, which = scores.topk(3, -1)
    return x.gather(1, which[..., None].expand(-1, -1, WIDTH)) * best[..., None].sigmoid()


def own_recurrence(net: Any, x: Tensor) -> Any:
    h = torch.zeros(x.shape[0], WIDTH, dtype=x.dtype)
    found = []
    for token in x.unbind(1):
        h = torch.tanh(net.module(token) + h @ net.w)
        found.append(h)
    return torch.stack(found, 1)


def with_a_first_state(net: Any, x: Tensor) -> Any:
    return net.module(x, x.new_zeros(1, x.shape[0], WIDTH))[0]


def decayed_sum(net: Any, x: Tensor) -> Any:
    """Sum over earlier tokens with a decay for each feature, as a cumulative sum of scaled tokens."""
    scale = torch.exp(net.rate.sigmoid() * torch.arange(TOKENS)[:, None])
    return (x * scale).cumsum(1) / scale


def long_convolution(net: Any, x: Tensor) -> Any:
    n = 2 * TOKENS
    return torch.fft.irfft(torch.fft.rfft(x, n, 1) * torch.fft.rfft(net.w, n, 0), n, 1)[:, :TOKENS]


def inverse(net: Any, x: Tensor) -> Any:
    return torch.linalg.inv(x @ x.mT + torch.eye(TOKENS, dtype=x.dtype)) @ x


def masked_mean(net: Any, x: Tensor) -> Any:
    active = (x.sum(-1, keepdim=True) > 3.0).to(x)
    return (x * active).sum(1) / active.sum(1).clamp(min=1.0)


def padded(net: Any, x: Tensor) -> Any:
    nothing = x.sum(-1) == 0
    nothing[:, 0] = False
    return itself(net, x, key_padding_mask=nothing)


def convolved_and_gated(net: Any, x: Tensor) -> Any:
    return net.out(F.glu(net.module(x.mT), 1)).mT


SEQUENCES: dict[str, Case] = {
    # torch's attention
    "attention": folds(itself, SEQUENCE, module=attention()),
    "attention, tokens first": folds(tokens_first, SEQUENCE, module=lambda: nn.MultiheadAttention(WIDTH, 2)),
    "attention without weights": folds(lambda net, x: itself(net, x, need_weights=False), SEQUENCE, module=attention()),
    "attention with dropout": drawing(
        folds(lambda net, x: itself(net, x, need_weights=False), SEQUENCE, module=attention(dropout=0.1))
    ),
    "causal attention": folds(causal, SEQUENCE, module=attention()),
    "attention with a mask for each sample": folds(padded, SEQUENCE, module=attention()),
    "attention with learned keys": folds(itself, SEQUENCE, module=attention(add_bias_kv=True, add_zero_attn=True)),
    "learned queries": folds(few_queries, SEQUENCE, module=attention(), w=weight(1, 3, WIDTH)),
    "encoder layer": folds(through, SEQUENCE, module=encoder_layer()),
    "encoder layer, norm first": folds(through, SEQUENCE, module=encoder_layer(norm_first=True, activation="gelu")),
    "encoder layer, tokens first": folds(
        lambda net, x: net.module(x.transpose(0, 1)).transpose(0, 1), SEQUENCE, module=encoder_layer(batch_first=False)
    ),
    "encoder layer with dropout": drawing(folds(through, SEQUENCE, module=encoder_layer(dropout=0.1))),
    "decoder layer": folds(
        lambda net, x: net.module(x, x.flip(1)),
        SEQUENCE,
        module=lambda: nn.TransformerDecoderLayer(WIDTH, 2, 16, 0.0, batch_first=True),
    ),
    "encoder on its fast path": without_gradients(
        evaluated(folds(through, SEQUENCE, module=lambda: nn.TransformerEncoder(encoder_layer()(), 2)))
    ),
    # attention by hand
    "softmax attention": folds(lambda net, x: weights(x, x) @ x, SEQUENCE),
    "scaled dot product": folds(lambda net, x: F.scaled_dot_product_attention(x, x, x, is_causal=True), SEQUENCE),
    "attention of heads": folds(attention_of_heads, SEQUENCE, module=linear(WIDTH, 3 * WIDTH)),
    "attention by einsum": folds(attention_by_einsum, SEQUENCE, module=linear(WIDTH, 3 * WIDTH)),
    "einsum written on": folds(einsum_written_on, SEQUENCE, module=linear(WIDTH, 3 * WIDTH)),
    "attention in float32": in_float32(folds(attention_by_einsum, SEQUENCE, module=linear(WIDTH, 3 * WIDTH))),
    "attention without softmax": folds(lambda net, x: torch.einsum("nld,nmd,nme->nle", x, x, x), SEQUENCE),
    "one key for all heads": folds(
        one_key_for_all_heads, SEQUENCE, queries=linear(WIDTH, WIDTH), module=linear(WIDTH, WIDTH)
    ),
    "bias by distance": folds(biased_by_distance, SEQUENCE, slope=weight(1)),
    "bias by relative position": folds(biased_by_relative_position, SEQUENCE, bias=weight(2 * TOKENS - 1)),
    "linear attention": folds(linear_attention, SEQUENCE, module=linear(WIDTH, WIDTH)),
    "retention": folds(retention, SEQUENCE, module=linear(WIDTH, WIDTH)),
    "difference of attentions": folds(
        difference_of_attentions, SEQUENCE, module=linear(WIDTH, 2 * WIDTH), share=weight(1)
    ),
    "additive attention": folds(additive_attention, SEQUENCE, module=linear(WIDTH, WIDTH), score=linear(WIDTH, 1)),
    "attention to neighbours": folds(attention_to_neighbours, SEQUENCE, module=linear(WIDTH, WIDTH)),
    "rotary positions": folds(lambda net, x: weights(net.module(x), net.module(x)) @ x, SEQUENCE, module=Rotary),
    "learned positions": folds(lambda net, x: (x + net.w).relu(), SEQUENCE, w=weight(TOKENS, WIDTH)),
    "best tokens": folds(best_tokens, SEQUENCE, module=linear(WIDTH, 1)),
    # recurrence within a step
    "RNN over tokens": folds(with_a_first_state, SEQUENCE, module=lambda: nn.RNN(WIDTH, WIDTH, batch_first=True)),
    "LSTM over tokens": folds(
        lambda net, x: net.module(x)[0], SEQUENCE, module=lambda: nn.LSTM(WIDTH, 6, batch_first=True)
    ),
    "last state of an LSTM": folds(
        lambda net, x: net.module(x)[1][0][-1], SEQUENCE, module=lambda: nn.LSTM(WIDTH, 6, 2, batch_first=True)
    ),
    "GRU over tokens": folds(
        lambda net, x: net.module(x)[0], SEQUENCE, module=lambda: nn.GRU(WIDTH, 6, batch_first=True)
    ),
    "GRU, tokens first": folds(
        lambda net, x: net.module(x.transpose(0, 1))[0].transpose(0, 1), SEQUENCE, module=lambda: nn.GRU(WIDTH, 6)
    ),
    "LSTM both ways": folds(
        lambda net, x: net.module(x)[0],
        SEQUENCE,
        module=lambda: nn.LSTM(WIDTH, 4, 2, batch_first=True, bidirectional=True),
    ),
    "LSTM with dropout": drawing(
        folds(
            lambda net, x: net.module(x)[0],
            SEQUENCE,
            module=lambda: nn.LSTM(WIDTH, 4, 2, batch_first=True, dropout=0.1),
        )
    ),
    "own recurrence": folds(own_recurrence, SEQUENCE, module=linear(WIDTH, WIDTH), w=weight(WIDTH, WIDTH)),
    "decayed sum": folds(decayed_sum, SEQUENCE, rate=weight(WIDTH)),
    # convolution along tokens
    "conv 1d": folds(through, SEQUENCE, module=lambda: nn.Conv1d(TOKENS, TOKENS, 3, padding=1)),
    "causal conv": folds(
        lambda net, x: net.module(F.pad(x.mT, (2, 0))).mT, SEQUENCE, module=lambda: nn.Conv1d(WIDTH, WIDTH, 3)
    ),
    "convolved and gated": folds(
        convolved_and_gated,
        SEQUENCE,
        module=lambda: nn.Conv1d(WIDTH, 2 * WIDTH, 1),
        out=lambda: nn.Conv1d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH),
    ),
    "long convolution": folds(long_convolution, SEQUENCE, w=weight(TOKENS, WIDTH)),
    "shifted tokens": folds(shifted_tokens, SEQUENCE, share=weight(WIDTH)),
    # other things
    "RMS norm": folds(through, SEQUENCE, module=lambda: nn.RMSNorm(WIDTH)),
    "tokens as samples": folds(
        lambda net, x: net.module(x.reshape(-1, WIDTH)).view(x.shape), SEQUENCE, module=linear(WIDTH, WIDTH)
    ),
    "token by token": folds(
        lambda net, x: torch.stack([net.module(token) for token in x.unbind(1)], 1),
        SEQUENCE,
        module=linear(WIDTH, WIDTH),
    ),
    "one mask for all tokens": drawing(
        folds(lambda net, x: x * x.new_empty(len(x), 1, WIDTH).bernoulli_(0.5), SEQUENCE)
    ),
    "mean of active tokens": folds(masked_mean, SEQUENCE),
    "inverse for each sample": folds(inverse, SEQUENCE),
}
