"""Count the operations of a network: additions for spikes, multiply-adds for graded inputs."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from math import inf
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch.functional import dense, per_channel
from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.functional.recurrent import delayed_dense
from spikingtorch.layers.rounded import rounded_in
from spikingtorch.layers.steplayer import StepLayer


class Count(NamedTuple):
    """Operations of the weights of one layer at one place of the network, over all samples and steps.

    Inputs are spikes if all nonzero inputs have one magnitude c. The product of a weight and c or -c is known
    beforehand, and a spike adds it. Other inputs are graded, and each is multiplied by its weights.

    Attributes:
        dense: products of all inputs with all of their weights.
        effective: the products in which neither input nor weight is zero.
        least: the smallest magnitude of nonzero inputs; infinity if there are none.
        most: the largest magnitude; 0 if there are none.
        shape: of the output for one sample and step.
    """

    dense: float = 0.0
    effective: float = 0.0
    least: float = inf
    most: float = 0.0
    shape: tuple[int, ...] = ()

    @property
    def acs(self) -> float:
        """Additions of a weight, for inputs that are spikes."""
        return self.effective if self.least >= self.most else 0.0

    @property
    def macs(self) -> float:
        """Multiplications with an addition, for inputs that are graded."""
        return self.effective - self.acs

    def plus(self, other: "Count") -> "Count":
        """Return the operations of both; their inputs are spikes if all of them together are."""
        least, most = min(self.least, other.least), max(self.most, other.most)
        shape = other.shape or self.shape
        return Count(self.dense + other.dense, self.effective + other.effective, least, most, shape)

    def share(self, part: int, whole: int) -> "Count":
        """Return the operations times a fraction."""
        return self._replace(dense=self.dense * part / whole, effective=self.effective * part / whole)


NOTHING = Count()
# arguments of a transposed convolution after its padding, by position
_TRANSPOSED = ("output_padding", "groups", "dilation")


def _count(out: Tensor, input: Tensor, fanout: Tensor, whole: Tensor) -> Count:
    """Return the operations of inputs (..., *size) with an output (N, ...).

    ``fanout`` has the number of output places that each place reaches by nonzero weights, (*size), and ``whole`` the
    number that it reaches by any weights, with the same number of axes or fewer.
    """
    fires = input != 0
    there = fires.unsqueeze(0).sum([*range(input.ndim - fanout.ndim + 1)]).to(fanout)
    every = whole.sum() * (input.numel() // max(1, whole.numel()))
    sizes = input[fires].abs()
    least, most = torch.stack(sizes.aminmax()).tolist() if sizes.numel() else (inf, 0.0)
    return Count(float(every), float((there * fanout).sum()), least, most, tuple(out.shape[1:]))


def _linear(out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Count]:  # noqa: ARG001
    rows = weight.reshape(-1, weight.shape[-1])
    whole = torch.tensor(float(len(rows)), dtype=torch.float64)
    return weight, _count(out, input, (rows != 0).sum(0).to(whole), whole)


def _convolution(run: Any, transposed: bool = False) -> Any:
    # torch's arguments after the weights, by position
    names = ("bias", "stride", "padding", *(_TRANSPOSED if transposed else ("dilation", "groups")))

    def count(out: Tensor, input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Count]:
        options = dict(zip(names, args, strict=False)) | kwargs
        groups, _ = options.pop("groups", 1), options.pop("bias", None)
        # the outputs that a channel of the input reaches are those of its group
        kernels = (weight != 0).sum(1) if transposed else (weight != 0).unflatten(0, (groups, -1)).sum(1).flatten(0, 1)
        fanout = _reach(run, input, kernels, options)
        outputs = weight.shape[1] if transposed else weight.shape[0] // groups  # for a channel, including zero weights
        return weight, _count(out, input, fanout, _reach(run, input, torch.full_like(kernels[:1], outputs), options))

    return count


def _reach(run: Any, images: Tensor, kernels: Tensor, options: dict[str, Any]) -> Tensor:
    """Return the sum of the kernel's entries that meet each place of an image, channel by channel, (C, *size)."""
    C, *kernel = kernels.shape
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros(1, C, *images.shape[-len(kernel) :], dtype=torch.float64, requires_grad=True)
        out = run(x, kernels.unsqueeze(1).to(x), None, groups=C, **options)
        (found,) = torch.autograd.grad(out.sum(), x)
    return found[0].round()


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
        fanout = _within(input.shape[-axes:], windows)
        return None, _count(out, input, fanout, fanout)

    return count


def _adaptive_pooling(axes: int) -> Any:
    def count(out: Tensor, input: Tensor, *_: Any, **__: Any) -> tuple[None, Count]:
        windows = [
            [(k * size // places, -((-(k + 1) * size) // places)) for k in range(places)]
            for size, places in zip(input.shape[-axes:], out.shape[-axes:], strict=True)
        ]
        fanout = _within(input.shape[-axes:], windows)
        return None, _count(out, input, fanout, fanout)

    return count


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """Return an option of pooling for each of its axes."""
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes // len(value))


def _within(sizes: Iterable[int], windows: Iterable[list[tuple[int, int]]]) -> Tensor:
    """Return the number of windows that contain each place, for windows (start, stop) along each axis, (*sizes)."""
    found = torch.ones((), dtype=torch.float64)
    for size, along in zip(sizes, windows, strict=True):
        number = torch.zeros(size, dtype=torch.float64)
        for start, stop in along:
            number[max(start, 0) : stop] += 1
        found = found.unsqueeze(-1) * number
    return found


# for each torch function: the functions that return the weights of a call (None for pooling), and its operations
COUNTED: dict[Any, Any] = {
    nnf.linear: _linear,
    **{run: _convolution(run) for run in (torch.conv1d, torch.conv2d, torch.conv3d)},
    **{
        run: _convolution(run, True) for run in (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
    },
    **{run: _pooling(axes) for axes, run in enumerate((nnf.avg_pool1d, nnf.avg_pool2d, nnf.avg_pool3d), 1)},
    **{
        run: _adaptive_pooling(axes)
        for axes, run in enumerate((nnf.adaptive_avg_pool1d, nnf.adaptive_avg_pool2d, nnf.adaptive_avg_pool3d), 1)
    },
}


def recurrent(layer: StepLayer, spikes: Tensor) -> Count:
    """Return the operations of a layer's recurrent weights: all spikes feed back, except those of the last step."""
    if layer.synapse is None:
        return NOTHING
    before, weight = spikes[:, :-1], layer._recurrent_weight()
    if layer.synapse in (dense, delayed_dense):
        return _linear(spikes, before, weight)[1]
    if layer.synapse is per_channel:
        fanout = (weight != 0).expand_as(spikes[:, 0]).double()
        return _count(spikes, before.transpose(0, 1), fanout, torch.ones_like(fanout))
    back: Any = layer.recurrent
    run = (torch.conv1d, torch.conv2d, torch.conv3d)[weight.ndim - 3]
    _, count = COUNTED[run](spikes, before.flatten(0, 1), weight, padding="same", groups=back.groups)
    found: Count = count
    return found


class Counting(NetworkMode):
    """Count the operations of linear layers, convolutions and average pooling.

    A layer that the network calls at several places has one count for each place. A place is the same whether the
    network is called once for all steps or once for each step, so both find the same spikes.

    Args:
        net: the network.

    Attributes:
        found: the counts by place, by the name of the module that has the weights. If the weights are not parameters,
            or belong to several modules, it is the name of the module that calls the function. None is average pooling,
            which has no weights.
    """

    sees_delays = True

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.found: dict[str | None, list[Count]] = {}
        self._calls: Counter[str | None] = Counter()
        self._names = {id(module): name for name, module in net.named_modules()}
        self._owners: dict[int, list[str]] = {}
        for name, module in net.named_modules():
            for weight in module.parameters(recurse=False):
                self._owners.setdefault(id(weight), []).append(name)

    def __enter__(self) -> "Counting":
        self._calls.clear()  # SpikingNet enters it for each call of its network
        super().__enter__()
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and count its operations."""
        out = func(*args, **(kwargs or {}))
        self.saw(func, out, args, kwargs or {})
        return out

    def saw(self, func: Any, out: Any, args: Any, kwargs: Any) -> None:
        """Count the operations of a call."""
        counted = COUNTED.get(func)
        if counted is None:
            return
        weight, count = counted(out, *args, **kwargs)
        name = None if weight is None else self._owner_of(weight)
        counts, place = self.found.setdefault(name, []), self._calls[name]
        self._calls[name] += 1
        if place == len(counts):
            counts.append(NOTHING)
        counts[place] = counts[place].plus(count)

    def mark(self) -> dict[str | None, list[Count]]:
        """Return the counts so far."""
        return {name: [*counts] for name, counts in self.found.items()}

    def rewind(self, mark: Any) -> None:
        """Forget the counts after a mark, in a call that is repeated."""
        self.found = mark

    def _owner_of(self, weight: Tensor) -> str:
        """Return the name of the module to which a weight belongs."""
        owners, calling = self._owners.get(id(weight), []), list(self._calling())
        return next((name for name in calling if name in owners), (owners or calling or [""])[0])

    def _calling(self) -> Iterator[str]:
        """Yield the modules whose methods are on Python's stack, the innermost first."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            first = frame.f_code.co_varnames[:1]
            owner = id(frame.f_locals.get(first[0])) if first and frame.f_code.co_argcount else None
            if owner in self._names:
                yield self._names[owner]
            frame = frame.f_back


def weights_of(module: nn.Module, *, recurse: bool, seen: set[int]) -> list[Tensor]:
    """Return the parameters of a module, including those of its parametrizations, except those already seen.

    ``recurse`` includes its submodules; ``seen`` are ids of parameters, to which these are added.
    """
    behind = getattr(module, "parametrizations", None)
    parts = [module.parameters(recurse), behind.parameters() if isinstance(behind, nn.Module) else ()]
    found = {id(weight): weight for part in parts for weight in part if id(weight) not in seen}
    seen.update(found)
    return [*found.values()]


def bytes_of(module: nn.Module, weights: Iterable[Tensor], *, recurse: bool) -> int:
    """Return the bytes of some weights of a module; rounded ones take their bits, and their scales nothing."""
    bits: dict[int, int] = {}
    for part in module.modules() if recurse else (module,):
        for each in rounded_in(part):
            bits |= {id(scale): 0 for scale in each.behind.parameters()} | {id(each.behind.original): each.bits}
    sizes = [weight.numel() * bits.get(id(weight), 8 * weight.element_size()) for weight in weights]
    return sum([-(-size // 8) for size in sizes])
