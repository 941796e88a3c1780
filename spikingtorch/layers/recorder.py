"""Recorder: records values of a layer besides its output, while a network runs."""

import math
import sys
from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional import Recorded
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.functional.core.precision import rounded
from spikingtorch.functional.recurrent import first_output

SPIKES = "spikes"


class Budget:
    """The memory limit of all records of a call, in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.kept = 0  # bytes so far

    def keep(self, record: Tensor) -> None:
        """Count the bytes of a record that is kept."""
        self.kept += record.nbytes

    def claim(self, path: str, size: int) -> None:
        """Raise MemoryError if the bytes that a layer needs next exceed the limit."""
        if self.kept + size > self._limit:
            raise MemoryError(
                f"record: the records of {path} take {size / 1e6:.3g} MB, and those before it {self.kept / 1e6:.3g} "
                f"MB, more than limit={self._limit} bytes allows. Choose layers=, neurons=, steps= or shorter inputs, "
                "run with time_chunk, or raise the limit"
            )


class Recorder:
    """The records of one layer, of a path, during one call of a network with a budget.

    ``names`` are "spikes", and those that ``functional.recorded`` takes; if ``strict``, one that the layer's step does
    not have is an error. Some ``neurons`` and ``steps`` are kept.
    """

    def __init__(
        self, path: str, names: tuple[str, ...], strict: bool, budget: Budget, neurons: tuple[Any, ...], steps: slice
    ) -> None:
        self._inside = tuple([name for name in names if name != SPIKES])
        self._spikes, self._strict = SPIKES in names, strict
        self._path, self._budget, self._neurons, self._chosen = path, budget, neurons, steps
        self._parts: dict[str, list[Tensor]] = {}
        self.steps = 0  # so far

    def around(self, step: Any, x: Tensor, steps: int) -> Any:
        """Return the whole step of a layer with records, for the next steps on inputs like x."""
        number = len(self._inside) + self._spikes
        self._budget.claim(self._path, number * steps * x.numel() * max(x.element_size(), 4))
        return cached_step(Recorded, step, self._inside, self._strict) if self._inside else step

    def take(self, outputs: Any, is_step: bool = False, dtype: torch.dtype | None = None) -> Any:
        """Keep the records among outputs, (N, T, ...) or of one step, and return the others.

        If the outputs still have to be rounded, ``dtype`` is that of the layer's inputs.
        """
        outputs, records = outputs if self._inside else (outputs, {})
        if self._spikes and isinstance(spikes := first_output(outputs), Tensor):
            records = {SPIKES: spikes, **records}
        records = records if dtype is None else rounded(records, dtype)
        steps = 1
        for name, record in records.items():
            over_time = record.unsqueeze(1) if is_step else record
            steps = over_time.shape[1]
            kept = over_time[(slice(None), self._here(steps), *self._neurons)]
            # a copy if a layer also returns the tensor, because the caller may write on it; and a copy of a part, to
            # free the rest
            if name == SPIKES or kept.shape != over_time.shape:
                kept = kept.clone()
            self._budget.keep(kept)
            self._parts.setdefault(name, []).append(kept)
        self.steps += steps
        return outputs

    def again(self) -> "Recorder":
        """Return a recorder for the same records of the next steps, for ``checkpoint``, which repeats them."""
        found = copy(self)
        found._budget, found._parts = Budget(sys.maxsize), {}
        return found

    def mark(self) -> tuple[int, int, dict[str, int]]:
        """Return a mark: the position of the records."""
        return self.steps, self._budget.kept, {name: len(parts) for name, parts in self._parts.items()}

    def rewind(self, mark: tuple[int, int, dict[str, int]]) -> None:
        """Forget the records after a mark, for steps that run again."""
        self.steps, self._budget.kept, lengths = mark
        self._parts = {name: parts[: lengths.get(name, 0)] for name, parts in self._parts.items()}

    def _here(self, steps: int) -> slice:
        """Return which of the next steps are kept."""
        begin, every = self._chosen.start or 0, self._chosen.step or 1
        end = steps if self._chosen.stop is None else max(0, min(steps, self._chosen.stop - self.steps))
        first = begin - self.steps if begin >= self.steps else -(self.steps - begin) % every
        return slice(min(first, steps), end, every)

    def records(self, T: int = 0) -> Mapping[str, Tensor]:
        """Return the records of all steps, (N, T, ...); shorter ones are padded with zeros, as outputs are."""
        found = {name: torch.cat(parts, 1) if parts[1:] else parts[0] for name, parts in self._parts.items() if parts}
        return {name: self._filled(record, len(range(T)[self._chosen])) for name, record in found.items()}

    def _filled(self, record: Tensor, steps: int) -> Tensor:
        if record.shape[1] >= steps:
            return record
        shape = record.shape[0], steps - record.shape[1], *record.shape[2:]
        self._budget.claim(self._path, math.prod(shape) * record.element_size())
        zeros = record.new_zeros(shape)
        self._budget.keep(zeros)
        return torch.cat([record, zeros], 1)
