"""Convolutional networks for images, with spiking layers where the ReLUs were."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikingtorch import IF, LI, LIF
from tests.fold.ordinary.record import Ordinary


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)
    )


class VGG(nn.Module):
    """Convolutions and pools from a list (Simonyan and Zisserman 2015)."""

    def __init__(self, drop: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (6, "M", 8, 8, "M"):
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), LIF(tau=4.0, v0=0.3)]
                channels = width
        self.features = nn.ModuleList(layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.fc1, self.spike, self.fc2 = nn.Linear(32, 16), LIF(v0=0.2), nn.Linear(16, 5)
        self.dropout = nn.Dropout(drop)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")

    def forward(self, x: Tensor, init: Any) -> Any:
        for layer in self.features:
            x = layer(x, init) if isinstance(layer, LIF) else layer(x)
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc2(self.dropout(self.spike(self.fc1(x), init)))


class BasicBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_bn(cin, cout, stride=stride), conv_bn(cout, cout)
        self.spike1, self.spike2 = LIF(v0=0.5), LIF(v0=0.5)
        self.downsample = conv_bn(cin, cout, 1, stride) if stride != 1 or cin != cout else None

    def forward(self, x: Tensor, init: Any) -> Any:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.conv2(self.spike1(self.conv1(x), init))
        out += identity
        return self.spike2(out, init)


class ResNet(nn.Module):
    """Basic blocks (He et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = conv_bn(3, 6), IF(v0=0.4)
        self.blocks = nn.ModuleList([BasicBlock(6, 6), BasicBlock(6, 10, 2), BasicBlock(10, 10)])
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(10, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.act(self.stem(x), init)
        for block in self.blocks:
            x = block(x, init)
        return self.fc(self.pool(x).flatten(1))


class ResNeXt(nn.Module):
    """Bottlenecks whose middle convolution has groups (Xie et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.grouped, self.expand = conv_bn(8, 4, 1), conv_bn(4, 4, 3, 2, groups=2), conv_bn(4, 16, 1)
        self.shortcut, self.stem = conv_bn(8, 16, 1, 2), conv_bn(3, 8)
        self.s0, self.s1, self.s2, self.s3 = (LIF(v0=0.4) for _ in range(4))
        self.head, self.readout = nn.Linear(16, 3), LI(tau=5.0)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.s0(self.stem(x), init)
        y = self.s1(self.reduce(x), init)
        y = self.s2(self.grouped(y), init)
        y = self.s3(self.expand(y) + self.shortcut(x), init)
        return self.readout(self.head(y.mean(dim=[2, 3])), init)


class WidePreAct(nn.Module):
    """Norm and activation before each convolution, wide, with dropout (Zagoruyko and Komodakis 2016)."""

    def __init__(self, drop: float = 0.3) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(4), nn.BatchNorm2d(12), nn.BatchNorm2d(12)
        self.conv1 = nn.Conv2d(4, 12, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.convdim = nn.Conv2d(4, 12, 1, stride=2, bias=False)
        self.s1, self.s2, self.s3 = LIF(v0=0.4), LIF(v0=0.4), LIF(v0=0.4)
        self.fc, self.drop_rate = nn.Linear(12, 4), drop

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.conv0(x)
        active = self.s1(self.bn1(x), init)
        out = self.conv1(active)
        out = self.s2(self.bn2(out), init)
        if self.drop_rate > 0:
            out = F.dropout(out, p=self.drop_rate, training=self.training)
        out = torch.add(self.conv2(out), self.convdim(active))
        out = F.avg_pool2d(self.s3(self.bn3(out), init), out.shape[-1])
        return self.fc(out.view(out.size(0), -1))


class DenseNet(nn.Module):
    """Each layer sees all before it (Huang et al. 2017)."""

    def __init__(self, growth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 1, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6 + i * growth) for i in range(3)])
        self.spikes = nn.ModuleList([LIF(v0=0.4) for _ in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(6 + i * growth, growth, 3, padding=1) for i in range(3)])
        self.transition = nn.Sequential(nn.BatchNorm2d(15), nn.ReLU(inplace=True), nn.Conv2d(15, 7, 1), nn.AvgPool2d(2))
        self.out, self.readout = nn.Linear(7, 4), IF(v0=0.2)

    def forward(self, x: Tensor, init: Any) -> Any:
        features = [self.stem(x)]
        for norm, spike, conv in zip(self.norms, self.spikes, self.convs, strict=True):
            features.append(conv(spike(norm(torch.cat(features, 1)), init)))
        x = self.transition(torch.cat(features, dim=1))
        x = F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1)
        return self.readout(self.out(x), init)


class Inception(nn.Module):
    """Four branches side by side, twice (Szegedy et al. 2015)."""

    class Block(nn.Module):
        def __init__(self, cin: int) -> None:
            super().__init__()
            self.branch1 = nn.Conv2d(cin, 3, 1)
            self.branch3 = nn.Sequential(nn.Conv2d(cin, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
            self.branch5 = nn.Sequential(nn.Conv2d(cin, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 5, padding=2))
            self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, padding=1, ceil_mode=True), nn.Conv2d(cin, 2, 1))
            self.act = LIF(v0=0.2)

        def forward(self, x: Tensor, init: Any) -> Any:
            branches = [branch(x) for branch in (self.branch1, self.branch3, self.branch5, self.pooled)]
            return self.act(torch.cat(branches, 1), init)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = self.Block(3), self.Block(12)
        self.lrn, self.fc = nn.LocalResponseNorm(3), nn.Linear(12, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.lrn(self.a(x, init))
        x = self.b(F.max_pool2d(x, 3, 2, ceil_mode=True), init)
        return self.fc(x.mean((-2, -1)))


class SqueezeNet(nn.Module):
    """A fire module, and a convolution for a classifier (Iandola et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.expand1, self.expand3 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 3, padding=1)
        self.s1, self.s2 = LIF(v0=0.03), LIF(v0=0.1)
        self.classifier = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.s1(self.squeeze(x), init)
        x = self.s2(torch.concat((self.expand1(x), self.expand3(x)), dim=1), init)
        x = F.relu(self.classifier(x), inplace=True)
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), start_dim=1)


class MobileNetV2(nn.Module):
    """Inverted residuals with linear bottlenecks (Sandler et al. 2018)."""

    class Block(nn.Module):
        def __init__(self, cin: int, cout: int, stride: int, expand: int) -> None:
            super().__init__()
            hidden = cin * expand
            self.use_res = stride == 1 and cin == cout
            self.expand, self.depthwise = conv_bn(cin, hidden, 1), conv_bn(hidden, hidden, 3, stride, hidden)
            self.project = conv_bn(hidden, cout, 1)
            self.s1, self.s2 = LIF(v0=0.4), LIF(v0=0.4)

        def forward(self, x: Tensor, init: Any) -> Any:
            out = self.s1(self.expand(x), init)
            out = self.project(self.s2(self.depthwise(out), init))
            return x + out if self.use_res else out

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU6(inplace=True))
        self.blocks = nn.ModuleList([self.Block(4, 4, 1, 2), self.Block(4, 6, 2, 3)])
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, init)
        return self.fc(x.mean([2, 3]))


class MobileNetV3(nn.Module):
    """Hard swish and squeeze-and-excitation (Howard et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand = conv_bn(3, 4), conv_bn(4, 8, 1)
        self.depthwise, self.project = conv_bn(8, 8, 5, groups=8), conv_bn(8, 4, 1)
        self.se_reduce, self.se_expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.act, self.spike, self.out = nn.Hardswish(), LIF(v0=0.3), nn.Linear(4, 4)
        self.readout = LI(decay=0.9)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.act(self.stem(x))
        y = self.depthwise(self.spike(self.expand(x), init))
        scale = F.relu(self.se_reduce(F.adaptive_avg_pool2d(y, 1)))
        y = self.act(y * F.hardsigmoid(self.se_expand(scale)))
        x = x + self.project(y)
        return self.readout(self.out(x.mean(3).mean(2)), init)


class ShuffleNetV2(nn.Module):
    """Channels split in two, and shuffled (Ma et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pw1, self.dw, self.pw2 = (
            conv_bn(3, 8),
            conv_bn(4, 4, 1),
            conv_bn(4, 4, 3, 1, 4),
            conv_bn(4, 4, 1),
        )
        self.s0, self.s1, self.s2 = LIF(v0=0.4), LIF(v0=0.3), LIF(v0=0.3)
        self.fc = nn.Linear(8, 4)

    @staticmethod
    def shuffle(x: Tensor, groups: int) -> Tensor:
        n, c, h, w = x.size()
        x = x.view(n, groups, c // groups, h, w)
        x = torch.transpose(x, 1, 2).contiguous()
        return x.view(n, -1, h, w)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = F.max_pool2d(self.s0(self.stem(x), init), kernel_size=3, stride=2, padding=1)
        left, right = x.chunk(2, dim=1)
        right = self.s1(self.pw1(right), init)
        right = self.s2(self.pw2(self.dw(right)), init)
        x = self.shuffle(torch.cat((left, right), dim=1), 2)
        return self.fc(x.mean([2, 3]))


class EfficientNet(nn.Module):
    """MBConv blocks that are left out at random (Tan and Le 2019; Huang et al. 2016)."""

    class Block(nn.Module):
        def __init__(self, dim: int, drop: float) -> None:
            super().__init__()
            self.expand, self.dw = conv_bn(dim, 2 * dim, 1), conv_bn(2 * dim, 2 * dim, 3, 1, 2 * dim)
            self.squeeze = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * dim, 2, 1), nn.SiLU(), nn.Conv2d(2, 2 * dim, 1), nn.Sigmoid()
            )
            self.narrow, self.spike, self.drop = conv_bn(2 * dim, dim, 1), LIF(v0=0.4), drop

        def drop_path(self, x: Tensor) -> Tensor:
            if self.drop == 0.0 or not self.training:
                return x
            keep = 1 - self.drop
            mask = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device) + keep
            return x.div(keep) * mask.floor_()

        def forward(self, x: Tensor, init: Any) -> Any:
            y = F.silu(self.dw(self.spike(self.expand(x), init)))
            y = self.narrow(self.squeeze(y) * y)
            return self.drop_path(y) + x

    def __init__(self, drop: float = 0.4) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4, 3, 2)
        self.blocks = nn.ModuleList([self.Block(4, drop / 2), self.Block(4, drop)])
        self.last, self.fc = IF(v0=0.6), nn.Linear(4, 4)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, init)
        return self.fc(self.last(x, init).flatten(2).mean(-1))


IMAGE = (3, 8, 8)
NETS: dict[str, Ordinary] = {
    "vgg": Ordinary(VGG, (3, 12, 12), (5,), draws=True),
    "resnet": Ordinary(ResNet, IMAGE, (4,)),
    "resnext": Ordinary(ResNeXt, IMAGE, (3,)),
    "wide preact resnet": Ordinary(WidePreAct, IMAGE, (4,), draws=True),
    "densenet": Ordinary(DenseNet, IMAGE, (4,)),
    "inception": Ordinary(Inception, IMAGE, (4,)),
    "squeezenet": Ordinary(SqueezeNet, IMAGE, (5,)),
    "mobilenet v2": Ordinary(MobileNetV2, IMAGE, (4,)),
    "mobilenet v3": Ordinary(MobileNetV3, IMAGE, (4,)),
    "shufflenet v2": Ordinary(ShuffleNetV2, IMAGE, (4,)),
    "efficientnet": Ordinary(EfficientNet, IMAGE, (4,), draws=True),
}
