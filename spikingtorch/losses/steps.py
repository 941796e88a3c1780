"""Parts that losses share: the steps of a sample that count, checks of targets, reductions."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.functional.core.precision import lift

Reduction: TypeAlias = Literal["mean", "sum", "none"]
Lengths: TypeAlias = Tensor | Sequence[int] | None


class Valid(NamedTuple):
    """A batch of sequences (N, T, ...), at least float32, with zero in the padding."""

    x: Tensor
    mask: Tensor | None  # True at the steps that count, (N, T, 1, ...); None if all steps do
    steps: Tensor | int  # the number of these steps, T or (N, 1, ...)


def valid_steps(owner: str, name: str, x: Tensor, lengths: Lengths, batch_first: bool) -> Valid:
    """Return the steps of a batch that count, samples first: the first ``lengths[n]`` of sample n, or all.

    All values in the padding, including NaN, are replaced before any arithmetic, so their gradient is exactly zero.
    Where Python cannot read the lengths (``torch.func``, ``torch.compile``), a sample whose length is not in 1 ... T
    becomes NaN.

    Raises:
        TypeError: x is not floating, or the lengths are not whole numbers.
        ValueError: x has no time axis or no steps, or the lengths do not fit x.
    """
    checks.check_floating(owner, name, x)
    checks.check_rank(owner, name, x, f"{axes.named(batch_first)}: {axes.spelled(batch_first)}, neurons", 2)
    N, T = axes.sizes(x, batch_first)
    if T == 0:
        raise ValueError(
            f"{owner}: {name} has shape {tuple(x.shape)}, which is no steps on axis {int(batch_first)}; expected at "
            "least one"
        )
    x = lift(axes.samples_first(x, batch_first))
    if lengths is None:
        return Valid(x, None, T)
    return Valid(*padded(x, checks.check_lengths(owner, lengths, N, T), 0.0))


def padded(x: Tensor, lengths: Tensor, padding: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return a batch (N, T, ...) with its padding replaced by a number, the mask of the other steps, and their number.

    Lengths (N,) are checked where Python can read them; elsewhere a sample whose length is not in 1 ... T becomes NaN.
    """
    N, T = x.shape[:2]
    counts = lengths.to(x.device).reshape(N, *[1] * (x.ndim - 1))
    time = torch.arange(T, device=x.device).reshape(T, *[1] * (x.ndim - 2))
    mask = time < counts
    x_valid = torch.where(mask, x, padding)
    if not checks.has_values(counts):
        fits = (counts >= 1) & (counts <= T)
        x_valid, mask = torch.where(fits, x_valid, math.nan), mask | ~fits
    return x_valid, mask, counts.squeeze(1)


def rate_of(owner: str, name: str, x: Tensor, lengths: Lengths, batch_first: bool) -> Tensor:
    """Return the mean over the steps that count, shape (N, ...); raise if it is NaN or infinite."""
    valid = valid_steps(owner, name, x, lengths, batch_first)
    rate = valid.x.sum(1) / valid.steps
    checks.check_finite(owner, f"the mean of {name} over time", rate)
    return rate


def count_of(owner: str, name: str, x: Tensor, lengths: Lengths, batch_first: bool, population: int = 1) -> Tensor:
    """Return the sum over the steps that count, and over the neurons of a class; raise if it is NaN or infinite.

    x is (N, T, ...). With a population it is (N, T, classes population), with the neurons of a class one after the
    other. Time comes first without ``batch_first``. Sums are (N, ...), or (N, classes).
    """
    x = valid_steps(owner, name, x, lengths, batch_first).x
    count = (x if population == 1 else x.unflatten(2, (-1, population)).sum(3)).sum(1)
    checks.check_finite(owner, f"the sum of {name} over time", count)
    return count


def check_classes(
    owner: str, name: str, x: Tensor, target: Tensor, batch_first: bool, population: int = 1, *, each_step: bool = False
) -> None:
    """Raise unless x is (N, T, classes), or time first, and target holds one class index, int64, for each sample.

    With a population of neurons for each class, x is (N, T, classes population). With ``each_step``, target may also be
    (N, T), in the order of x; ``check_range`` checks these.
    """
    checks.check_floating(owner, name, x)
    if x.ndim != 3 or x.shape[2] == 0:
        raise ValueError(
            f"{owner}: {name} has shape {tuple(x.shape)}, expected {axes.named(batch_first, 'classes')}, as SpikingNet "
            "returns it"
        )
    classes = _classes(owner, name, x, population, batch_first)
    if not isinstance(target, Tensor):
        raise TypeError(f"{owner}: target is a {type(target).__name__}, expected a torch.Tensor; torch.tensor(target)")
    if target.dtype != torch.int64:
        hint = _one_hot(target) if target.ndim > 1 and target.is_floating_point() else "convert it with target.long()"
        raise TypeError(f"{owner}: target has dtype {target.dtype}, expected class indices, torch.int64; {hint}")
    N, T = axes.sizes(x, batch_first)
    in_order = (N, T) if batch_first else (T, N)
    if target.shape != (N,) and not (each_step and target.shape == in_order):
        other = f", or {in_order}, one for each step," if each_step else ""
        raise ValueError(
            f"{owner}: target has shape {tuple(target.shape)}, expected ({N},): one class index for each sample{other} "
            f"of {name}, whose shape {axes.named(batch_first, 'classes')} is {tuple(x.shape)}"
            f"{_remedy(N, T, classes, target, batch_first)}"
        )
    if target.device != x.device:
        raise ValueError(
            f"{owner}: target is on {target.device}, {name} on {x.device}; move it: target.to({name}.device)"
        )
    if target.ndim == 1:
        check_range(owner, name, target, classes)


def check_range(owner: str, name: str, target: Tensor, classes: int) -> None:
    """Raise unless each entry of target is the index of a class, if Python can read it."""
    if checks.has_values(target):
        low, high = (int(bound) for bound in torch.stack(torch.aminmax(target)).tolist())
        if low < 0 or high >= classes:
            raise ValueError(
                f"{owner}: target holds class {low if low < 0 else high}, expected 0 to {classes - 1}, since {name} "
                f"has {classes} classes. Leave samples without a class out of the batch"
            )


def _remedy(N: int, T: int, classes: int, target: Tensor, batch_first: bool) -> str:
    """Return a guess about a target of the wrong shape, and the code that turns it into class indices."""
    if target.shape in ((N, classes), (N, T, classes), (T, N, classes)):
        return f"; {_one_hot(target)}"
    if target.shape == (N, 1):
        return "; remove the axis with target.squeeze(1)"
    if target.shape == (T,):
        other = axes.named(not batch_first, "classes")
        return f". If its axes are {other}, pass batch_first={not batch_first}, here and to the SpikingNet"
    return ""


def _one_hot(target: Tensor) -> str:
    return f"class probabilities and one-hot rows become indices with target.argmax({target.ndim - 1})"


def _classes(owner: str, name: str, x: Tensor, population: int, batch_first: bool) -> int:
    """Return the number of classes of outputs."""
    if isinstance(population, bool) or not isinstance(population, int):
        raise TypeError(f"{owner}: population={population!r}, expected a whole number, of neurons of a class")
    if population < 1 or x.shape[2] % population:
        raise ValueError(
            f"{owner}: population={population} neurons of a class, and {name} has shape {tuple(x.shape)}; expected "
            f"{axes.named(batch_first, 'classes * population')}"
        )
    return x.shape[2] // population


def check_binary(owner: str, name: str, x: Tensor) -> None:
    """Raise if a value is neither 0 nor 1 and Python can read it."""
    if checks.has_values(x) and bool((wrong := (x != 0) & (x != 1)).any()):
        raise ValueError(
            f"{owner}: {name} holds {x[wrong][0].item():.6g}, expected spikes, 0 or 1. For a membrane, use "
            "max_over_time_cross_entropy or last_step_cross_entropy"
        )


def check_number(owner: str, name: str, value: float, *, above: float | None = None, most: float = math.inf) -> None:
    """Raise unless value is a number, not a tensor, above one limit (or at least 0) and at most another."""
    if isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} is a Tensor, expected a number; {name}.item() makes one")
    checks.check_parameter(owner, name, value, above=above, least=0.0, most=most)


def reduced(owner: str, values: Tensor, reduction: Reduction) -> Tensor:
    """Return the mean or the sum of all values, or the values; the mean of no values is NaN, as in torch."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"{owner}: reduction={reduction!r} is not one of 'mean', 'sum', 'none'")
    if reduction == "none":
        return values
    return values.mean() if reduction == "mean" else values.sum()
