"""Random networks in whole numbers, of every kind of node."""

from typing import Any

import numpy as np

from spikingtorch.quantize import IntegerModel
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Flatten, Linear, Neuron, Node, SumPool2d

ROUNDINGS = ("floor", "trunc", "half_up", "half_even")


def weights(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> Any:
    return rng.integers(-(1 << bits - 1), 1 << bits - 1, shape).astype(np.int8 if bits <= 8 else np.int16)


def conv(rng: np.random.Generator, name: str, shape: tuple[int, ...], exponent: int) -> Conv2d:
    channels, bits = shape[0], int(rng.choice([2, 4, 8]))
    groups = int(rng.choice([each for each in (1, 2, channels) if channels % each == 0]))
    kernel, stride, padding = rng.integers(1, 4, 2), rng.integers(1, 4, 2), rng.integers(0, 3, 2)
    dilation = rng.integers(1, 3, 2)
    spans = (kernel - 1) * dilation + 1
    kernel = np.where(spans > np.array(shape[1:]) + 2 * padding, 1, kernel)
    outs = groups * int(rng.integers(1, 4))
    size = (np.array(shape[1:]) + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1
    bias = rng.integers(-40, 40, outs).astype(np.int32) * int(rng.integers(0, 2))
    by, around, across = [(int(a), int(b)) for a, b in (stride, padding, dilation)]
    weight = weights(rng, (outs, channels // groups, *map(int, kernel)), bits)
    return Conv2d(name, weight, bias, exponent, by, around, across, groups, shape, (outs, *map(int, size)))


def pool(rng: np.random.Generator, name: str, shape: tuple[int, ...], exponent: int) -> SumPool2d:
    kernel = [int(min(k, n)) for k, n in zip(rng.integers(1, 4, 2), shape[1:], strict=True)]
    stride = [int(k) for k in rng.integers(1, 4, 2)]
    size = [(n - k) // s + 1 for n, k, s in zip(shape[1:], kernel, stride, strict=True)]
    return SumPool2d(name, (kernel[0], kernel[1]), (stride[0], stride[1]), exponent, shape, (shape[0], *size))


def linear(rng: np.random.Generator, name: str, ins: int, outs: int, exponent: int) -> Linear:
    bias = rng.integers(-40, 40, outs).astype(np.int32) * int(rng.integers(0, 2))
    return Linear(name, weights(rng, (outs, ins), int(rng.choice([2, 4, 8, 12]))), bias, exponent)


def neuron(rng: np.random.Generator, name: str, shape: tuple[int, ...], exponent: int, bound: int, kind: str) -> Neuron:
    bits = int(rng.choice([8, 12, 16, 24]))
    fraction = int(rng.integers(max(exponent - 4, 1), exponent + 4))
    if kind == "loihi":
        # currents wrap round once at most
        kind, bits, fraction = "loihi" if bound < 1 << 17 else "cuba", 24, exponent + 6
    size: tuple[int, ...] = (1,)
    if rng.integers(0, 2):
        size = shape

    def own(low: int, high: int) -> Any:
        drawn = rng.integers(low, high, size)
        return int(drawn[0]) if size == (1,) else drawn

    def decay() -> tuple[Any, int]:
        m = int(rng.integers(0, 13))
        return own(0, (1 << m) + 1), m

    recurrent: Linear | Conv2d | Diagonal | None = None
    if rng.integers(0, 2) and len(shape) == 1:
        own_exponent = int(rng.integers(exponent - 1, exponent + 2)) if rng.integers(0, 2) else exponent
        recurrent = linear(rng, f"{name}.recurrent", shape[0], shape[0], own_exponent)
    elif rng.integers(0, 2):
        recurrent = Diagonal(f"{name}.recurrent", weights(rng, shape, 8), exponent + int(rng.integers(-1, 2)))
    elif rng.integers(0, 2) and len(shape) == 3:
        c = shape[0]
        weight, bias = weights(rng, (c, c, 3, 3), 4), np.zeros(c, np.int32)
        recurrent = Conv2d(f"{name}.recurrent", weight, bias, exponent, (1, 1), (1, 1), (1, 1), 1, shape, shape)
    recurrent = None if kind == "speck" else recurrent
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    most = max(2, min(1 << fraction + 1, high + 1))
    told: dict[str, Any] = {
        "decay": decay(),
        "decay_synapse": decay() if kind in ("cuba", "xylo", "loihi") else None,
        "threshold": own(1, most),
        "reset": str(rng.choice(["zero", "subtraction", "value", "none"])),
        "v_reset": own(-most, most),
        "rounding": str(rng.choice(ROUNDINGS)),
        "overflow": str(rng.choice(["saturate", "wrap"])),
        "strict": bool(rng.integers(0, 2)),
    }
    if kind == "loihi":
        low, told["strict"], told["overflow"] = low + 1, True, "saturate"
    if kind in ("xylo", "loihi"):
        told["bias"] = own(-most // 4, most // 4 + 1)
    if kind in ("xylo", "speck"):
        told |= {"max_spikes": int(rng.choice([1, 2, 31])), "reset": "subtraction", "strict": False}
        told["overflow"] = "saturate"
    if kind == "xylo":
        told |= {"decay": (0, own(0, 9)), "decay_synapse": (0, own(0, 9))}
    return Neuron(name, kind, shape, exponent, fraction, low=low, high=high, recurrent=recurrent, bound=bound, **told)


def random_model(seed: int, kinds: tuple[str, ...] = ("if", "lif", "cuba")) -> IntegerModel:
    rng = np.random.default_rng(seed)
    image = bool(rng.integers(0, 2))
    shape: tuple[int, ...] = tuple(map(int, rng.integers(1, 7, 3))) if image else (int(rng.integers(1, 20)),)
    limits = [(0, 1), (0, 1), (0, 15), (-3, 2)][rng.integers(0, 4)]
    nodes: list[Node] = []
    start, exponent = shape, int(rng.integers(0, 3))
    given = exponent

    def add(node: Node) -> None:
        nonlocal shape, exponent
        nodes.append(node)
        shape = node.output_shape_of(shape)
        exponent = 0 if isinstance(node, Neuron) else getattr(node, "exponent", exponent)

    def add_neuron() -> None:
        drawn = str(rng.choice(kinds))
        low, high = IntegerModel(given, start, limits, tuple(nodes)).reaches[-1] if nodes else limits
        add(neuron(rng, f"n{len(nodes)}", shape, exponent, max(-low, high), drawn))

    for _ in range(int(rng.integers(1, 4))):
        if len(shape) == 3:
            for _ in range(int(rng.integers(1, 3))):
                kind = rng.integers(0, 3)
                if kind < 2:
                    add(conv(rng, f"c{len(nodes)}", shape, exponent + int(rng.integers(0, 6))))
                else:
                    add(pool(rng, f"p{len(nodes)}", shape, exponent + int(rng.integers(0, 3))))
            add_neuron()
            if rng.integers(0, 2):
                add(Flatten(f"f{len(nodes)}", shape))
        else:
            add(linear(rng, f"l{len(nodes)}", shape[0], int(rng.integers(1, 20)), exponent + int(rng.integers(0, 6))))
            if rng.integers(0, 4):
                add_neuron()
    return IntegerModel(given, start, limits, tuple(nodes))


def random_input(model: IntegerModel, seed: int, samples: int = 3, steps: int = 12) -> Any:
    rng = np.random.default_rng(seed)
    low, high = model.input_range
    x = rng.integers(low, high + 1, (samples, steps, *model.input_shape))
    return x * (rng.random(x.shape) < rng.choice([0.2, 0.7, 1.0]))
