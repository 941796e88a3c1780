"""Counting: the operations of a network, by the functions of torch that it calls."""

import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch.functional import dense, per_channel
from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.layers.steplayer import StepLayer


class Count(NamedTuple):
    """Operations of a layer over all samples and steps, and the shape of its output for one."""

    macs: float
    synops: float
    shape: tuple[int, ...]


_NOTHING = Count(0.0, 0.0, ())


class Counting(NetworkMode):
    """Counts the operations of linear layers, convolutions and average pooling.

    Args:
        net: the network.

    Attributes:
        found: by the name of the module that has the weights; of weights that are no parameters, or those of several
            modules, that of the module that calls the function.
        pooled: those of average pooling, which has no weights.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.found: dict[str, Count] = {}
        self.pooled = _NOTHING
        self._names = {id(module): name for name, module in net.named_modules()}
        self._owners: dict[int, list[str]] = {}
        for name, module in net.named_modules():
            for weight in module.parameters(recurse=False):
                self._owners.setdefault(id(weight), []).append(name)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what was called, and count."""
        out = func(*args, **(kwargs or {}))
        counted = _COUNTED.get(func)
        if counted is not None:
            weight, count = counted(out, *args, **(kwargs or {}))
            if weight is None:
                self.pooled = _sum(self.pooled, count)
            else:
                name = self._owner_of(weight)
                self.found[name] = _sum(self.found.get(name, _NOTHING), count)
        return out

    def _owner_of(self, weight: Tensor) -> str:
        """Return the name of the module to which a weight belongs."""
        owners, calling = self._owners.get(id(weight), []), list(self._calling())
        return next((name for name in calling if name in owners), (owners or calling or [""])[0])

    def _calling(self) -> Iterator[str]:
        """Yield the modules that are running, the innermost first: those whose methods are on Python's stack."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            first = frame.f_code.co_varnames[:1]
            owner = id(frame.f_locals.get(first[0])) if first and frame.f_code.co_argcount else None
            if owner in self._names:
                yield self._names[owner]
            frame = frame.f_back


def weights_of(module: nn.Module, *, recurse: bool, seen: set[int]) -> list[Tensor]:
    """Return the parameters of a module, those behind its parametrizations as well, but for what has been seen.

    Args:
        module: the module.
        recurse: whether those of its parts are taken, too.
        seen: ids of parameters, to which these are added.
    """
    behind = getattr(module, "parametrizations", None)
    parts = [module.parameters(recurse), behind.parameters() if isinstance(behind, nn.Module) else ()]
    found = {id(weight): weight for part in parts for weight in part if id(weight) not in seen}
    seen.update(found)
    return [*found.values()]


def _sum(one: Count, other: Count) -> Count:
    return Count(one.macs + other.macs, one.synops + other.synops, other.shape)


def _count(out: Tensor, input: Tensor, fanout: Tensor, each: int = 1) -> Count:
    """Return the operations of inputs that reach so many places of the output.

    Args:
        out: the output, (N, ...).
        input: (..., *size).
        fanout: places that each place of the input reaches, (*size).
        each: operations at a place.
    """
    there = (input != 0).reshape(-1, *fanout.shape).sum(0).to(fanout)
    whole = fanout.sum() * (input.numel() // max(1, fanout.numel()))
    return Count(float(whole) * each, float((there * fanout).sum()) * each, tuple(out.shape[1:]))


def _linear(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Count]:  # noqa: ARG001
    return weight, _count(out, input, torch.ones((), dtype=torch.float64), weight.shape[:-1].numel())


def _convolution(run: Any) -> Any:
    def count(
        out: Tensor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,  # noqa: ARG001
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> tuple[Tensor, Count]:
        fanout = _reach(run, input, weight, stride, padding, dilation)
        return weight, _count(out, input, fanout, weight.shape[0] // groups)

    return count


def _transposed(run: Any) -> Any:
    def count(
        out: Tensor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,  # noqa: ARG001
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,  # noqa: ARG001
        dilation: Any = 1,
    ) -> tuple[Tensor, Count]:
        fanout = _reach(run, input, weight, stride, padding, output_padding, 1, dilation)
        return weight, _count(out, input, fanout, weight.shape[1])

    return count


def _reach(run: Any, images: Tensor, weight: Tensor, *options: Any) -> Tensor:
    """Return how many places of the output of a convolution each place of its input reaches, (*size)."""
    axes = weight.ndim - 2
    x = torch.zeros(1, 1, *images.shape[-axes:], dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        out = run(x, torch.ones(1, 1, *weight.shape[2:], dtype=torch.float64), None, *options)
        (found,) = torch.autograd.grad(out.sum(), x)
    return found[0, 0].detach().round()


def _pooling(axes: int) -> Any:
    def count(
        out: Tensor, input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any
    ) -> tuple[None, Count]:
        kernels, befores = _each(kernel_size, axes), _each(padding, axes)
        strides = kernels if stride is None or stride == () else _each(stride, axes)
        windows = [
            [(k * step - before, k * step - before + kernel) for k in range(places)]
            for places, kernel, step, before in zip(out.shape[-axes:], kernels, strides, befores, strict=True)
        ]
        return None, _count(out, input, _within(input.shape[-axes:], windows))

    return count


def _adaptive_pooling(axes: int) -> Any:
    def count(out: Tensor, input: Tensor, *_: Any, **__: Any) -> tuple[None, Count]:
        windows = [
            [(k * size // places, -((-(k + 1) * size) // places)) for k in range(places)]
            for size, places in zip(input.shape[-axes:], out.shape[-axes:], strict=True)
        ]
        return None, _count(out, input, _within(input.shape[-axes:], windows))

    return count


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """Return an option of pooling for each of its axes."""
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes // len(value))


def _within(sizes: Iterable[int], windows: Iterable[list[tuple[int, int]]]) -> Tensor:
    """Return in how many windows each place is, for windows (start, stop) along each axis, (*sizes)."""
    found = torch.ones((), dtype=torch.float64)
    for size, along in zip(sizes, windows, strict=True):
        number = torch.zeros(size, dtype=torch.float64)
        for start, stop in along:
            number[max(start, 0) : stop] += 1
        found = found.unsqueeze(-1) * number
    return found


_COUNTED: dict[Any, Any] = {
    nnf.linear: _linear,
    **{run: _convolution(run) for run in (torch.conv1d, torch.conv2d, torch.conv3d)},
    **{run: _transposed(run) for run in (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)},
    **{run: _pooling(axes) for axes, run in enumerate((nnf.avg_pool1d, nnf.avg_pool2d, nnf.avg_pool3d), 1)},
    **{
        run: _adaptive_pooling(axes)
        for axes, run in enumerate((nnf.adaptive_avg_pool1d, nnf.adaptive_avg_pool2d, nnf.adaptive_avg_pool3d), 1)
    },
}


def recurrent(layer: nn.Module, spikes: Tensor) -> Count:
    """Return the operations of the recurrent weights of a layer: each spike but those of the last step comes back."""
    if not isinstance(layer, StepLayer) or layer.synapse is None:
        return _NOTHING
    before = spikes[:, :-1]
    if layer.synapse in (dense, per_channel):
        return _count(
            spikes, before, torch.ones((), dtype=torch.float64), spikes.shape[-1] if layer.synapse is dense else 1
        )
    back: Any = layer.recurrent
    run = (torch.conv1d, torch.conv2d, torch.conv3d)[back.weight.ndim - 3]
    _, count = _COUNTED[run](before, before.flatten(0, 1), back.weight, padding="same", groups=back.groups)
    found: Count = count
    return found
