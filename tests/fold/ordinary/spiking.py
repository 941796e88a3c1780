"""Networks that were published as spiking ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import IF, LI, LIF, StepLayer
from spikingtorch.functional import Arctan, by_subtraction, detached, to_zero
from tests.fold.ordinary.record import Ordinary

Join = Callable[[Tensor, Tensor], Tensor]
JOINS: dict[str, Join] = {
    "ADD": lambda spike, x: spike + x,
    "AND": lambda spike, x: spike * x,
    "IAND": lambda spike, x: (1.0 - spike) * x,
}


class SEWResNet(nn.Module):
    """Spikes joined element by element (Fang et al. 2021)."""

    class Block(nn.Module):
        def __init__(self, channels: int, join: str) -> None:
            super().__init__()
            self.conv1 = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
            )
            self.conv2 = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
            )
            self.sn1, self.sn2 = IF(v0=0.4, reset=detached(to_zero)), IF(v0=0.4, reset=detached(to_zero))
            self.join = join

        def forward(self, x: Tensor, init: Any) -> Any:
            out = self.sn1(self.conv1(x), init)
            out = self.sn2(self.conv2(out), init)
            if self.join == "ADD":
                out = out + x
            elif self.join in JOINS:
                out = JOINS[self.join](out, x)
            else:
                raise NotImplementedError(self.join)
            return out

    def __init__(self, join: str) -> None:
        super().__init__()
        self.stem, self.norm, self.sn = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), IF(v0=0.3)
        self.layers = nn.ModuleDict({f"block{i}": self.Block(6, join) for i in range(2)})
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.sn(self.norm(self.stem(x)), init)
        for block in self.layers.values():
            x = block(x, init)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class MSResNet(nn.Module):
    """The shortcut carries membranes, a neuron stands before each convolution (Hu et al. 2024)."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.convs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(4)])
        self.bns = nn.ModuleList([nn.BatchNorm2d(width) for _ in range(4)])
        self.lifs = nn.ModuleList([LIF(decay=0.25, v0=0.5, reset=by_subtraction) for _ in range(5)])
        for bn in self.bns:
            nn.init.constant_(bn.weight, 0.8)  # type: ignore[arg-type]
        self.fc = nn.Linear(width, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.bn0(self.stem(x))
        for i in range(0, 4, 2):
            shortcut = x
            for j in (i, i + 1):
                x = self.bns[j](self.convs[j](self.lifs[j](x, init)))
            x = x + shortcut
        x = self.lifs[-1](x, init)
        return self.fc(F.avg_pool2d(x, x.size()[2:]).reshape(x.size(0), -1))


class Spikformer(nn.Module):
    """Self-attention of spikes, without softmax (Zhou et al. 2023)."""

    class Attention(nn.Module):
        def __init__(self, dim: int, heads: int) -> None:
            super().__init__()
            self.heads, self.scale = heads, 0.25
            self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))
            self.q_bn, self.k_bn, self.v_bn, self.proj_bn = (nn.BatchNorm1d(dim) for _ in range(4))
            self.q_lif, self.k_lif, self.v_lif, self.attn_lif = (LIF(tau=2.0, v0=0.4) for _ in range(4))

        def branch(self, name: str, x: Tensor, init: Any) -> Any:
            B, N, C = x.shape
            y = getattr(self, name)(x)
            y = getattr(self, f"{name}_bn")(y.transpose(-1, -2)).transpose(-1, -2).contiguous()
            y = getattr(self, f"{name}_lif")(y, init)
            return y.reshape(B, N, self.heads, C // self.heads).permute(0, 2, 1, 3).contiguous()

        def forward(self, x: Tensor, init: Any) -> Any:
            B, N, C = x.shape
            q, k, v = (self.branch(name, x, init) for name in "qkv")
            attn = (q @ k.transpose(-2, -1)) * self.scale
            y = self.attn_lif((attn @ v).transpose(1, 2).reshape(B, N, C), init)
            return self.proj_bn(self.proj(y).transpose(1, 2)).transpose(1, 2)

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.conv, self.bn, self.rpe = nn.Conv2d(3, dim, 3, 1, 1), nn.BatchNorm2d(dim), nn.Conv2d(dim, dim, 3, 1, 1)
        self.lif0, self.lif1, self.lif2 = LIF(tau=2.0, v0=0.3), LIF(tau=2.0, v0=0.2), LIF(tau=2.0, v0=0.2)
        self.pool, self.attn = nn.MaxPool2d(3, 2, 1), self.Attention(dim, 2)
        self.fc1, self.fc1_bn, self.head = nn.Linear(dim, 12), nn.BatchNorm1d(12), nn.Linear(12, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.pool(self.lif0(self.bn(self.conv(x)), init))
        x = x + self.lif1(self.rpe(x), init)
        x = x.flatten(-2).transpose(-1, -2)
        x = x + self.attn(x, init)
        B, N, _ = x.shape
        y = self.fc1_bn(self.fc1(x).flatten(0, 1)).reshape(B, N, 12)
        return self.head(self.lif2(y, init).mean(1))


class SpikeDriven(nn.Module):
    """Keys times values summed over tokens, a spike of the sum masks the queries (Yao et al. 2023)."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, dim, 3, 2, 1, bias=False), nn.BatchNorm2d(dim))
        self.q, self.k, self.v, self.proj = (
            nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim)) for _ in range(4)
        )
        self.shortcut, self.qs, self.ks, self.vs, self.talk, self.last = (LIF(tau=2.0, v0=0.3) for _ in range(6))
        self.head = nn.Linear(dim, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.stem(x)
        identity = x
        B, C, H, W = x.shape
        N = H * W
        x = self.shortcut(x, init)
        q = self.qs(self.q(x), init).flatten(2).transpose(-1, -2).reshape(B, N, 2, C // 2).permute(0, 2, 1, 3)
        k = self.ks(self.k(x), init).flatten(2).transpose(-1, -2).reshape(B, N, 2, C // 2).permute(0, 2, 1, 3)
        v = self.vs(self.v(x), init).flatten(2).transpose(-1, -2).reshape(B, N, 2, C // 2).permute(0, 2, 1, 3)
        kv = self.talk(k.mul(v).sum(dim=-2, keepdim=True), init)
        y = q.mul(kv).transpose(2, 3).reshape(B, C, H, W).contiguous()
        y = self.proj(y) + identity
        return self.head(self.last(y, init).flatten(2).mean(2))


class PLIFNet(nn.Module):
    """Time constants that learn, and votes for the classes (Fang et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            [nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1, bias=False)]
        )
        self.norm = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6)])
        self.plif = nn.ModuleList([LIF(tau=2.0, v0=0.4, learnable="tau", surrogate=Arctan()) for _ in range(4)])
        self.fc1, self.fc2, self.vote = nn.Linear(24, 16), nn.Linear(16, 12), nn.AvgPool1d(4, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        for conv, norm, plif in zip(self.conv, self.norm, self.plif[:2], strict=True):
            x = F.max_pool2d(plif(norm(conv(x)), init), 2, 2)
        x = self.plif[2](self.fc1(x.flatten(1)), init)
        x = self.plif[3](self.fc2(x), init)
        return self.vote(x.unsqueeze(1)).squeeze(1)


class SpikingDenseNet(nn.Module):
    """A dense block that grows in place of a list (as in event-based detectors)."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(2 + 3 * i) for i in range(3)])
        self.spikes = nn.ModuleList([IF(v0=0.5) for _ in range(3)])
        self.grow = nn.ModuleList([nn.Conv2d(2 + 3 * i, 3, 3, padding=1) for i in range(3)])
        self.norm, self.spike, self.classifier = nn.BatchNorm2d(11), IF(v0=0.5), nn.Conv2d(11, 4, 1)

    def forward(self, x: Tensor, init: Any) -> Any:
        for norm, spike, conv in zip(self.norms, self.spikes, self.grow, strict=True):
            x = torch.cat([x, conv(spike(norm(x), init))], 1)
        x = self.classifier(self.spike(self.norm(x), init))
        return x.sum(dim=[2, 3])


class SpikingVGG(nn.Module):
    """Direct coding, dropout between blocks, spikes at the output."""

    def __init__(self, drop: float = 0.4) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.s1, self.s2, self.s3 = LIF(v0=0.2), LIF(v0=0.1), LIF(v0=0.1, beta=10.0)
        self.drop2d, self.drop = nn.Dropout2d(drop / 2), nn.Dropout(drop)
        self.pool, self.fc = nn.AvgPool2d(2), nn.Linear(32, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.drop2d(self.pool(self.s1(self.c1(x), init)))
        x = self.drop(self.pool(self.s2(self.c2(x), init)))
        return self.s3(self.fc(x.flatten(start_dim=1)), init)


class ThresholdNorm(nn.BatchNorm2d):
    """Batch norm to the threshold of the neuron behind it (after tdBN, Zheng et al. 2021)."""

    def __init__(self, channels: int, alpha: float, threshold: float) -> None:
        super().__init__(channels)
        self.alpha, self.threshold = alpha, threshold

    def forward(self, input: Tensor) -> Tensor:
        return self.alpha * self.threshold * super().forward(input)


class ThresholdNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.side = (nn.Conv2d(a, 6, k, 1, k // 2) for a, k in ((3, 3), (6, 3), (3, 1)))
        self.n1 = ThresholdNorm(6, 1.0, 0.5)
        self.n2, self.n3 = (ThresholdNorm(6, 2**-0.5, 0.5) for _ in range(2))
        self.s1, self.s2, self.fc = LIF(v0=0.5), LIF(v0=0.5), nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        y = self.s1(self.n1(self.c1(x)), init)
        y = self.s2(self.n2(self.c2(y)) + self.n3(self.side(x)), init)
        y = nn.functional.avg_pool2d(y, kernel_size=2)
        return self.fc(y.view(y.shape[0], -1))


class GestureNet(nn.Module):
    """Events of two polarities, pooled before they are counted (as for DVS128 Gesture)."""

    def __init__(self, drop: float = 0.5) -> None:
        super().__init__()
        self.down = nn.AvgPool2d(2)
        self.body = nn.ModuleList()
        for i in range(2):
            self.body.extend([nn.Conv2d(2 if i == 0 else 6, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), LIF(v0=0.4)])
            self.body.append(nn.MaxPool2d(2))
        self.drop, self.fc, self.spike = nn.Dropout(p=drop), nn.Linear(24, 15), LIF(v0=0.2)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.down(x)
        for module in self.body:
            x = module(x, init) if isinstance(module, StepLayer) else module(x)
        x = self.spike(self.fc(self.drop(x.reshape(len(x), -1))), init)
        return x.view(-1, 3, 5).mean(2)


class SHD(nn.Module):
    """A recurrent layer with time constants of its own for each neuron, and a leaky readout (Cramer et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.out = nn.Linear(20, 16), nn.Linear(16, 12, bias=False), nn.Linear(12, 5)
        self.rec = LIF(torch.rand(16) * 8 + 2, 0.3, learnable="tau", recurrent=nn.Linear(16, 16, bias=False))
        self.hidden, self.readout = LIF(tau=5.0, v0=0.2, recurrent=torch.randn(12) * 0.1), LI(tau=10.0)
        nn.init.orthogonal_(self.fc1.weight, gain=2.0)

    def forward(self, x: Tensor, init: Any) -> Any:
        s = self.rec(self.fc1(x), init)
        s = self.hidden(self.fc2(s), init)
        return self.readout(self.out(s), init).log_softmax(-1)


class Autoencoder(nn.Module):
    """Spikes in, a narrow layer, an image out."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4))
        self.code, self.decode = nn.Linear(64, 6), nn.Linear(6, 64)
        self.dec = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(4, 4, 3, 1, 1))
        self.shuffle, self.s1, self.s2, self.s3 = nn.PixelShuffle(2), LIF(v0=0.5), LIF(v0=0.2), LIF(v0=0.2)
        self.membrane = LI(decay=0.8)

    def forward(self, x: Tensor, init: Any) -> Any:
        z = self.s1(self.enc(x), init)
        z = self.s2(self.code(z.flatten(1)), init)
        y = self.s3(self.decode(z), init).unflatten(1, (4, 4, 4))
        return torch.tanh(self.membrane(self.shuffle(self.dec(y)), init))


class ALIFState(NamedTuple):
    v: Tensor
    b: Tensor


def alif_step(state: ALIFState, x: Tensor, *, decay: Any, rho: Any, jump: float = 0.4) -> tuple[ALIFState, Tensor]:
    """A threshold that rises with each spike (Bellec et al. 2018)."""
    v = decay * state.v + x
    spike = Arctan()(v - 0.3 - jump * state.b)
    return ALIFState(v=v * (1.0 - spike), b=rho * state.b + (1.0 - rho) * spike), spike


class Population(nn.Module):
    """Numbers coded by populations of neurons, adaptive neurons, and a decoder per action (Tang et al. 2020)."""

    def __init__(self, states: int = 4, pop: int = 5, actions: int = 3) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.linspace(0.0, 1.0, pop).repeat(1, states, 1))
        self.std = nn.Parameter(torch.full((1, states, pop), 0.3))
        self.fc1, self.fc2 = nn.Linear(states * pop, 16), nn.Linear(16, actions * pop)
        self.hidden = StepLayer(alif_step, ALIFState, decay=0.8, rho=0.9, learnable=("decay", "rho"))
        self.spikes, self.decoder = LIF(v0=0.1), nn.Conv1d(actions, actions, pop, groups=actions)

    def forward(self, x: Tensor, init: Any) -> Any:
        batch = x.shape[0]
        act = torch.exp(-0.5 * (x.unsqueeze(-1) - self.mean).pow(2) / self.std.pow(2)).view(batch, -1)
        s = self.spikes(self.fc2(self.hidden(self.fc1(act), init)), init)
        return self.decoder(s.view(batch, 3, -1)).view(batch, 3).clamp(-2.0, 2.0)


IMAGE = (3, 8, 8)
NETS: dict[str, Ordinary] = {
    "sew resnet, ADD": Ordinary(lambda: SEWResNet("ADD"), IMAGE, (4,)),
    "sew resnet, AND": Ordinary(lambda: SEWResNet("AND"), IMAGE, (4,)),
    "sew resnet, IAND": Ordinary(lambda: SEWResNet("IAND"), IMAGE, (4,)),
    "ms-resnet": Ordinary(MSResNet, IMAGE, (4,)),
    "spikformer": Ordinary(Spikformer, IMAGE, (4,)),
    "spike-driven transformer": Ordinary(SpikeDriven, (2, 8, 8), (4,)),
    "plif net": Ordinary(PLIFNet, (1, 8, 8), (3,)),
    "spiking densenet": Ordinary(SpikingDenseNet, (2, 6, 6), (4,)),
    "spiking vgg": Ordinary(SpikingVGG, IMAGE, (4,), draws=True),
    "threshold norm": Ordinary(ThresholdNet, IMAGE, (4,)),
    "dvs gesture": Ordinary(GestureNet, (2, 16, 16), (3,), draws=True),
    "shd": Ordinary(SHD, (20,), (5,)),
    "spiking autoencoder": Ordinary(Autoencoder, (1, 8, 8), (1, 8, 8)),
    "population coding": Ordinary(Population, (4,), (3,)),
}
