"""Operations of torch functions with weights: additions for spikes, multiply-adds for graded inputs."""

from collections.abc import Iterable
from math import inf
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.functional import dense, per_channel
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
    """Return the operations of inputs, from the number of output places that each reaches.

    Args:
        out: the output, (N, ...).
        input: (..., *size).
        fanout: the number of places that each place of the input reaches by nonzero weights, (*size).
        whole: the number that it reaches by any weights, with the same number of axes, or fewer.
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
    if layer.synapse is dense:
        return _linear(spikes, before, weight)[1]
    if layer.synapse is per_channel:
        fanout = (weight != 0).expand_as(spikes[:, 0]).double()
        return _count(spikes, before.transpose(0, 1), fanout, torch.ones_like(fanout))
    back: Any = layer.recurrent
    run = (torch.conv1d, torch.conv2d, torch.conv3d)[weight.ndim - 3]
    _, count = COUNTED[run](spikes, before.flatten(0, 1), weight, padding="same", groups=back.groups)
    found: Count = count
    return found
