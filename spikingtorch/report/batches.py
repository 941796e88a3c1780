"""Split the batches of a loader into pieces for a network: encoded, on its device, without padding."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import axes
from spikingtorch.functional.core.surroundings import RandomNumbers, rewind_of
from spikingtorch.validation import check_lengths

_EXPECTED = "the input x of the network, (x, targets), or (x, lengths, targets) of padded sequences"


class Piece(NamedTuple):
    """Samples of one length, with their targets if the loader has any."""

    x: Tensor  # (N, T, ...)
    targets: Tensor | None
    batch: int  # the number of their batch

    def samples(self, start: int, stop: int) -> "Piece":
        """Return some of the samples."""
        targets = None if self.targets is None else self.targets[start:stop]
        return self._replace(x=self.x[start:stop], targets=targets)


def pieces_of(
    loader: Iterable[Any],
    most: int | None,
    encoder: Callable[[Any], Any] | None,
    device: torch.device,
    batch_first: bool = True,
) -> Iterator[Piece]:
    """Yield the samples of the first batches, at most ``most`` of them, for a network on a device.

    A padded batch becomes pieces of equal length, so that no step of padding is counted.

    Raises:
        TypeError: the loader cannot be iterated, or yields other objects.
        ValueError: the loader is empty, or a batch has no samples or no steps.
    """
    if isinstance(loader, Tensor):
        raise TypeError(f"report: loader is a tensor, expected batches; put it in a list: [x], for {_EXPECTED}")
    if not isinstance(loader, Iterable):
        raise TypeError(f"report: loader is a {type(loader).__name__}, expected a DataLoader or a list of batches")
    number = 0
    for batch in itertools.islice(loader, most):
        number += 1
        x, lengths, targets = _parts(batch, number)
        _check(found := x if encoder is None else encoder(x), number, encoder, batch_first)
        yield from _cut(axes.samples_first(found.to(device), batch_first), lengths, targets, number)
    if not number:
        raise ValueError(f"report: loader gave no batch; expected {_EXPECTED}, such as [x]")


def _parts(batch: Any, number: int) -> tuple[Any, Any, Any]:
    """Return x, lengths and targets of a batch."""
    if isinstance(batch, Tensor):
        return batch, None, None
    if isinstance(batch, tuple | list) and 1 <= len(batch) <= 3:
        x, *rest = batch
        return x, rest[0] if len(rest) == 2 else None, rest[-1] if rest else None
    what = f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
    raise TypeError(f"report: batch {number} of the loader is {what}, expected {_EXPECTED}")


def _check(x: Any, number: int, encoder: object, batch_first: bool) -> None:
    named, spelled = axes.named(batch_first), axes.spelled(batch_first)
    if encoder is not None and not isinstance(x, Tensor):
        raise TypeError(
            f"report: encoder gave a {type(x).__name__} for batch {number}, expected what the network takes"
        )
    if not isinstance(x, Tensor):
        raise TypeError(f"report: x of batch {number} is a {type(x).__name__}, expected a tensor {named}")
    hint = "" if encoder is not None else "; for images (N, C, H, W), pass encoder=, for instance ConstantEncoder(8)"
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(
            f"report: x of batch {number} has shape {tuple(x.shape)} and dtype {x.dtype}, expected floating "
            f"{named}: {spelled}, features{hint}"
        )
    if not x.shape[0] or not x.shape[1]:
        empty = spelled.split(", ")[bool(x.shape[0])]
        raise ValueError(f"report: x of batch {number} has shape {tuple(x.shape)}, which holds no {empty}")


def _cut(x: Tensor, lengths: Any, targets: Any, number: int) -> Iterator[Piece]:
    """Yield the samples of a batch, grouped by length and without padding."""
    known = targets if isinstance(targets, Tensor) and targets.shape[:1] == x.shape[:1] else None
    if lengths is None:
        yield Piece(x, known, number)
        return
    ends = check_lengths("report", lengths, x.shape[0], x.shape[1]).cpu()
    # the longest samples first, because pictures show these
    for length in ends.unique().flip(0).tolist():
        chosen = (ends == length).nonzero().flatten()
        of_length = None if known is None else known[chosen.to(known.device)]
        yield Piece(x[chosen.to(x.device), :length], of_length, number)


@contextmanager
def unchanged(device: torch.device, *parts: object) -> Iterator[None]:
    """Put modules among the parts into evaluation; restore their modes, and all random numbers, also those of parts."""
    modules = [each for part in parts if isinstance(part, nn.Module) for each in part.modules()]
    modes = [module.training for module in modules]
    rewinds = [rewind_of(each) for each in _held([*parts, *modules])]
    numbers = RandomNumbers.now(device)
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for rewind in filter(None, rewinds):
            rewind()
        numbers.put_back()


def _held(parts: Sequence[object]) -> list[object]:
    """Return what loaders, their samplers, and modules hold, such as generators."""
    samplers = [getattr(part, name, None) for part in parts for name in ("sampler", "batch_sampler")]
    inner = [getattr(sampler, "sampler", None) for sampler in samplers]
    return [value for each in (*parts, *samplers, *inner) for value in getattr(each, "__dict__", {}).values()]
