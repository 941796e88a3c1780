"""Networks whose step sees a short sequence, of audio or tokens, of its own."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from spikingtorch import IF, LI, LIF
from tests.fold.ordinary.record import Ordinary


class Keywords(nn.Module):
    """Long filters on the wave, pools, a mean over time (after M5, Dai et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.pool1 = nn.Conv1d(1, 6, 8, 4), nn.BatchNorm1d(6), nn.MaxPool1d(2)
        self.conv2, self.bn2, self.pool2 = nn.Conv1d(6, 8, 3), nn.BatchNorm1d(8), nn.MaxPool1d(2)
        self.s1, self.s2, self.fc = LIF(v0=0.4), LIF(v0=0.4), nn.Linear(8, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.pool1(self.s1(self.bn1(self.conv1(x)), init))
        x = self.pool2(self.s2(self.bn2(self.conv2(x)), init))
        x = F.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)
        return F.log_softmax(self.fc(x), dim=2).squeeze(1)


class DSCNN(nn.Module):
    """Separable convolutions on a spectrogram (Zhang et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.stem = nn.LayerNorm([6, 10]), nn.Conv2d(1, 6, (4, 3), stride=(2, 2), padding=(1, 1))
        self.depth, self.point = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 8, 1)
        self.s1, self.s2, self.s3, self.fc = IF(v0=0.3), IF(v0=0.2), IF(v0=0.2), nn.Linear(8, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.norm(torch.log1p(x.abs()))[:, None]
        x = self.s1(self.stem(x), init)
        x = self.s3(self.point(self.s2(self.depth(x), init)), init)
        return self.fc(torch.mean(x, dim=(-1, -2)))


class TCN(nn.Module):
    """Causal, dilated, weight-normalised convolutions around a residual (Bai et al. 2018)."""

    class Chomp(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, : -self.size].contiguous()

    def __init__(self, drop: float = 0.2) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [weight_norm(nn.Conv1d(c, 6, 3, padding=2 * d, dilation=d)) for c, d in ((3, 1), (6, 2))]
        )
        self.chomps = nn.ModuleList([self.Chomp(2), self.Chomp(4)])
        self.spikes = nn.ModuleList([LIF(v0=0.2), LIF(v0=0.1)])
        self.drop, self.side, self.head = nn.Dropout(drop), nn.Conv1d(3, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        y = x
        for conv, chomp, spike in zip(self.convs, self.chomps, self.spikes, strict=True):
            y = self.drop(spike(chomp(conv(y)), init))
        return self.head(F.elu(y + self.side(x))[:, :, -1])


class WaveNet(nn.Module):
    """Gated convolutions whose skips are summed (van den Oord et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Conv1d(1, 4, 1)
        self.gated = nn.ModuleList([nn.Conv1d(4, 8, 2, dilation=2**i) for i in range(3)])
        self.skip, self.spike, self.out = nn.Conv1d(4, 6, 1), LIF(v0=0.1), nn.Conv1d(6, 5, 1)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.inp(x)
        total: Any = 0
        for i, conv in enumerate(self.gated):
            a, b = conv(F.pad(x, (2**i, 0))).chunk(2, 1)
            z = torch.tanh(a) * torch.sigmoid(b)
            total = total + self.skip(z)
            x = x + z
        return self.out(self.spike(total, init))


class GRUTokens(nn.Module):
    """A GRU cell that reads the tokens of a step, and spikes that leave it."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed, self.cell = nn.Linear(3, 6), nn.GRUCell(6, hidden)
        self.spike, self.out, self.readout = LIF(v0=0.1), nn.Linear(hidden, 4), LI(tau=4.0)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.embed(x)
        h = torch.zeros(x.size(0), self.hidden, dtype=x.dtype, device=x.device)
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
        return self.readout(self.out(self.spike(h, init)), init)


class LSTMTokens(nn.Module):
    """A cell written out, with spiking gates (after Lotfi Rezaabad and Vishwanath 2020), over the tokens of a step."""

    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.x2h, self.h2h = nn.Linear(3, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        self.spike, self.fc, self.hidden = LIF(v0=0.3), nn.Linear(hidden, 4), hidden

    def forward(self, x: Tensor, init: Any) -> Any:
        h = c = x.new_zeros(x.shape[0], self.hidden)
        outputs = []
        for token in x.unbind(1):
            i, f, g, o = (self.x2h(token) + self.h2h(h)).chunk(4, dim=-1)
            c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        y = self.spike(torch.stack(outputs, dim=1), init)
        return self.fc(torch.cat([y.mean(1, keepdim=True), y[:, -1:]], 1).sum(1))


class BiLSTM(nn.Module):
    """PyTorch's own LSTM, both ways, and attention over what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.score = nn.LSTM(3, 5, batch_first=True, bidirectional=True), nn.Linear(10, 1)
        self.spike, self.fc = LIF(v0=0.1), nn.Linear(10, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        y, _ = self.lstm(x)
        weights = torch.softmax(self.score(y).squeeze(-1), dim=1)
        context = torch.bmm(weights.unsqueeze(1), y).squeeze(1)
        return self.fc(self.spike(context, init))


class Conformer(nn.Module):
    """Half of an MLP, a gated convolution, half of an MLP (Gulati et al. 2020)."""

    def __init__(self, dim: int = 6, drop: float = 0.1) -> None:
        super().__init__()
        self.ff1, self.ff2 = (
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 12), nn.SiLU(), nn.Dropout(drop), nn.Linear(12, dim))
            for _ in range(2)
        )
        self.norm, self.pw1, self.dw = (
            nn.LayerNorm(dim),
            nn.Conv1d(dim, 2 * dim, 1),
            nn.Conv1d(dim, dim, 3, padding=1, groups=dim),
        )
        self.bn, self.spike, self.pw2, self.out = (
            nn.BatchNorm1d(dim),
            LIF(v0=0.3),
            nn.Conv1d(dim, dim, 1),
            nn.Linear(dim, 4),
        )

    def forward(self, x: Tensor, init: Any) -> Any:
        x = x + 0.5 * self.ff1(x)
        y = F.glu(self.pw1(self.norm(x).transpose(1, 2)), dim=1)
        y = self.pw2(self.spike(self.bn(self.dw(y)), init))
        x = x + y.transpose(1, 2)
        x = x + 0.5 * self.ff2(x)
        return self.out(F.layer_norm(x, x.shape[-1:]).max(dim=1).values)


class RotaryDecoder(nn.Module):
    """Causal attention with rotated queries and keys, RMS norm and a gated MLP (after LLaMA, Touvron et al. 2023)."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.g1, self.g2 = heads, nn.Parameter(torch.ones(dim)), nn.Parameter(torch.ones(dim))
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.w1, self.w2, self.w3 = nn.Linear(dim, 12), nn.Linear(12, dim), nn.Linear(dim, 12)
        self.register_buffer("freq", 1.0 / 10000 ** (torch.arange(0, dim // heads, 2).float() / (dim // heads)))
        self.freq: Tensor
        self.spike, self.lm = LIF(v0=0.3), nn.Linear(dim, 5)

    @staticmethod
    def rms(x: Tensor, gain: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * gain

    def rotate(self, x: Tensor) -> Tensor:
        angles = torch.outer(torch.arange(x.shape[2], device=x.device).to(self.freq), self.freq)
        cos, sin = angles.cos(), angles.sin()
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

    def forward(self, x: Tensor, init: Any) -> Any:
        B, L, D = x.shape
        y = self.rms(x, self.g1)
        q, k, v = (w(y).view(B, L, self.heads, D // self.heads).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        scores = torch.matmul(self.rotate(q), self.rotate(k).transpose(2, 3)) / math.sqrt(D // self.heads)
        mask = torch.full((L, L), float("-inf"), device=x.device).triu(diagonal=1)
        y = F.softmax(scores + mask, dim=-1).type_as(q) @ v
        x = x + self.wo(y.transpose(1, 2).contiguous().view(B, L, -1))
        y = self.rms(x, self.g2)
        x = x + self.w2(F.silu(self.w1(y)) * self.w3(y))
        return self.lm(self.spike(x, init))


class Encoder(nn.Module):
    """Layers of PyTorch's own transformer, and fixed sines for the places."""

    def __init__(self, dim: int = 8, drop: float = 0.1) -> None:
        super().__init__()
        place = torch.arange(6).unsqueeze(1) * torch.exp(torch.arange(0, dim, 2) * (-math.log(100.0) / dim))
        pe = torch.zeros(6, dim)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(place), torch.cos(place)
        self.register_buffer("pe", pe)
        self.pe: Tensor
        layer = nn.TransformerEncoderLayer(dim, 2, 16, dropout=drop, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.spike, self.out = LIF(v0=0.4), nn.Linear(dim, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.encoder(x + self.pe[: x.size(1)])
        return self.out(self.spike(x, init).mean(dim=1))


class LinearAttention(nn.Module):
    """Keys and values summed once for all queries (Katharopoulos et al. 2020)."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.to_qkv, self.out = heads, nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.spike, self.fc = LIF(v0=0.2), nn.Linear(dim, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = F.elu(q) + 1.0, F.elu(k) + 1.0
        kv = torch.einsum("blhd,blhe->bhde", k, v)
        norm = 1.0 / (torch.einsum("blhd,bhd->blh", q, k.sum(dim=1)) + 1e-6)
        y = torch.einsum("blhd,bhde,blh->blhe", q, kv, norm).flatten(2)
        return self.fc(self.spike(x + self.out(y), init)[:, -1])


class StateSpace(nn.Module):
    """A diagonal state space, as one long convolution by Fourier transform (after S4D, Gu et al. 2022)."""

    def __init__(self, dim: int = 4, n: int = 6) -> None:
        super().__init__()
        self.inp, self.D = nn.Linear(2, dim), nn.Parameter(torch.randn(dim))
        self.log_dt, self.log_a = (
            nn.Parameter(torch.full((dim,), -1.0)),
            nn.Parameter(torch.log(0.5 + torch.rand(dim, n))),
        )
        self.C, self.spike, self.out = nn.Parameter(torch.randn(dim, n)), LIF(v0=0.05), nn.Linear(dim, 4)

    def kernel(self, length: int) -> Tensor:
        step = torch.exp(self.log_dt)[:, None]
        a = -torch.exp(self.log_a) * step
        powers = torch.exp(a.unsqueeze(-1) * torch.arange(length, device=a.device))
        return torch.einsum("dn,dnl->dl", self.C * torch.expm1(a) / a * step, powers)

    def forward(self, x: Tensor, init: Any) -> Any:
        u = self.inp(x).transpose(1, 2)
        L = u.shape[-1]
        k = torch.fft.rfft(self.kernel(L), n=2 * L)
        y = torch.fft.irfft(torch.fft.rfft(u, n=2 * L) * k, n=2 * L)[..., :L]
        y = y + u * self.D.unsqueeze(-1)
        return self.out(self.spike(F.gelu(y), init).mean(-1))


class Highway(nn.Module):
    """A gate says how much of a layer's input it lets pass (Srivastava et al. 2015), over characters."""

    def __init__(self, dim: int = 9) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(3, 3, width) for width in (1, 2, 3)])
        self.gates, self.layers = (nn.ModuleList([nn.Linear(dim, dim) for _ in range(2)]) for _ in range(2))
        self.spikes, self.out = nn.ModuleList([LIF(v0=0.1) for _ in range(2)]), nn.Linear(dim, 4)
        for gate in self.gates:
            gate.bias.data.fill_(-1.0)  # type: ignore[operator]

    def forward(self, x: Tensor, init: Any) -> Any:
        x = x.transpose(-1, -2)
        h = torch.hstack([torch.max(torch.tanh(conv(x)), dim=2)[0] for conv in self.convs])
        for gate, layer, spike in zip(self.gates, self.layers, self.spikes, strict=True):
            t = torch.sigmoid(gate(h))
            h = t * spike(layer(h), init) + (1 - t) * h
        return self.out(h)


TOKENS = (6, 3)
NETS: dict[str, Ordinary] = {
    "keywords": Ordinary(Keywords, (1, 64), (4,)),
    "ds-cnn": Ordinary(DSCNN, (6, 10), (4,)),
    "tcn": Ordinary(TCN, (3, 8), (4,), draws=True),
    "wavenet": Ordinary(WaveNet, (1, 10), (5, 10)),
    "gru over tokens": Ordinary(GRUTokens, TOKENS, (4,)),
    "lstm over tokens": Ordinary(LSTMTokens, TOKENS, (4,)),
    "bilstm": Ordinary(BiLSTM, TOKENS, (4,)),
    "conformer": Ordinary(Conformer, (6, 6), (4,), draws=True),
    "rotary decoder": Ordinary(RotaryDecoder, (5, 8), (5, 5)),
    "transformer encoder": Ordinary(Encoder, (6, 8), (4,), draws=True),
    "linear attention": Ordinary(LinearAttention, (6, 8), (4,)),
    "state space": Ordinary(StateSpace, (7, 2), (4,)),
    "highway": Ordinary(Highway, TOKENS, (4,)),
}
