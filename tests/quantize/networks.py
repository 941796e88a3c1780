"""Float networks on a grid, for integers."""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch import FixedPointCubaLIF, FixedPointIF, FixedPointLIF, SpikingNet
from spikingtorch import functional as F

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def on_grid(layer: Layer, bits: int, scaled: bool = True) -> Layer:
    """Return a layer with weights of so many bits, which are enlarged first so that neurons fire."""
    with torch.no_grad():
        for each in layer.parameters():
            each.mul_(3.0 if scaled else 1.0)
            unit = 2.0 ** torch.ceil(torch.log2(layer.weight.abs().max())) / 2 ** (bits - 1)
            each.copy_((each / unit).round().clamp(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) * unit)
    return layer


def random_network(seed: int, mode: Any = "step") -> tuple[SpikingNet, Tensor]:
    """Return a chain of random layers and fixed-point neurons, and an input with which they fire."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    shape: tuple[int, ...] = (int(rng.integers(1, 4)), *map(int, rng.integers(4, 9, 2)))
    if rng.integers(0, 2):
        shape = (int(rng.integers(2, 30)),)
    start, layers = shape, nn.ModuleList()
    for last in (False, False, True)[int(rng.integers(0, 3)) :]:
        if len(shape) == 3 and not last:
            shape = _images(rng, layers, shape)
        elif len(shape) == 3:
            layers.append(nn.Flatten())
            shape = (int(np.prod(shape)),)
        if len(shape) == 1:
            outs = int(rng.integers(2, 20))
            layers.append(on_grid(nn.Linear(shape[0], outs, bias=bool(rng.integers(0, 2))), int(rng.choice([2, 4, 8]))))
            shape = (outs,)
        if not last or len(layers) < 3 or rng.integers(0, 4):
            layers.append(_neurons(rng, shape))
    levels = int(rng.choice([1, 1, 15]))
    x = rng.integers(0, levels + 1, (4, 25, *start)) * (rng.random((4, 25, *start)) < 0.6)
    return SpikingNet(nn.Sequential(*layers), mode=mode, warn_silent=False), torch.tensor(
        x / (levels + 1) * 2.0
    ).float()


def _images(rng: np.random.Generator, layers: nn.ModuleList, shape: tuple[int, ...]) -> tuple[int, ...]:
    outs, kernel = (
        int(rng.integers(1, 4)) * shape[0],
        [int(min(k, n)) for k, n in zip(rng.integers(1, 4, 2), shape[1:], strict=True)],
    )
    groups = int(rng.choice([1, shape[0]]))
    how: Any = {"stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, 2)), "groups": groups}
    layers.append(on_grid(nn.Conv2d(shape[0], outs, (kernel[0], kernel[1]), **how), int(rng.choice([2, 4, 8]))))
    size = layers[-1](torch.zeros(1, *shape)).shape[1:]
    if min(size[1:]) >= 2 and rng.integers(0, 2):
        layers.append(nn.AvgPool2d(2))
        size = layers[-1](torch.zeros(1, *size)).shape[1:]
    return tuple(size)


def _neurons(rng: np.random.Generator, shape: tuple[int, ...]) -> nn.Module:
    kind = [FixedPointIF, FixedPointLIF, FixedPointCubaLIF][rng.integers(0, 3)]
    bits = int(rng.choice([8, 12, 16, 20]))
    fraction = int(rng.integers(3, min(bits, 11)))
    resets = [F.to_zero, F.by_subtraction, F.to_value(-0.125), F.detached(F.to_zero), F.none]
    m = int(rng.integers(1, 13 if bits > 13 else 12))
    k = (
        torch.tensor(rng.integers(0, (1 << m) + 1, shape))
        if rng.integers(0, 2)
        else int(rng.integers(1 << m - 1, 1 << m))
    )
    how: dict[str, Any] = {
        "fraction_bits": fraction,
        "membrane_bits": bits,
        "rounding": str(rng.choice(["floor", "trunc", "half_up", "half_even"])),
        "overflow": str(rng.choice(["saturate", "wrap"])),
        "reset": resets[rng.integers(0, 5)],
        "threshold": float(rng.integers(1, 1 << fraction)) / (1 << fraction) if rng.integers(0, 2) else 0.5,
    }
    if kind is not FixedPointIF:
        how["decay"] = (k, m)
    if kind is FixedPointCubaLIF:
        how["decay_synapse"] = (int(rng.integers(0, 1 << m)), m)
    if rng.integers(0, 3) == 0:
        how["surrogate"] = F.Strict(F.Sigmoid(5.0))
    if rng.integers(0, 2):
        recurrent: Any = nn.Linear(shape[0], shape[0], bias=False)
        if len(shape) == 3:
            recurrent = nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=False)
        how["recurrent"] = on_grid(recurrent, 4)
    made: nn.Module = kind(**how)
    return made
