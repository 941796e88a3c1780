"""Each loss, with its twin and arguments to try it with."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from spikingtorch import losses
from tests.losses import twins


class Case(NamedTuple):
    """A loss: x is binary where it must be, and the target is a class, a sequence or nothing."""

    name: str
    keywords: Mapping[str, Any] = MappingProxyType({})
    target: str = "class"
    binary: bool = False

    @property
    def loss(self) -> Callable[..., Tensor]:
        return getattr(losses, self.name)

    @property
    def twin(self) -> Callable[..., Any]:
        return getattr(twins, self.name)

    @property
    def population(self) -> int:
        return self.keywords.get("population", 1)

    def call(self, x: Tensor, target: Tensor | None, lengths: Any = None, **more: Any) -> Tensor:
        """Call the loss; without a reduction unless one is asked for."""
        if self.name != "first_spike_time":
            more = {"reduction": "none"} | more
        given = (x,) if target is None else (x, target)
        return self.loss(*given, lengths=lengths, **self.keywords, **more)

    def draw(self, N: int, T: int, dtype: torch.dtype, seed: int = 0, C: int = 5) -> tuple[Tensor, Tensor | None]:
        """Draw outputs and target."""
        draw = Generator().manual_seed(seed)
        outputs = C * self.population
        x = torch.randn(N, T, outputs, generator=draw, dtype=dtype)
        spikes = (torch.rand(N, T, outputs, generator=draw) < 0.2).to(dtype)
        if self.target == "class":
            return (spikes if self.binary else x), torch.randint(C, (N,), generator=draw)
        if self.target == "class of each step":
            return x, torch.randint(C, (N, T), generator=draw)
        if self.target == "sequence":
            return x, spikes
        return (spikes if self.binary else x), None


CASES = [
    Case("rate_cross_entropy"),
    Case("rate_cross_entropy", {"scale": 7.0}),
    Case("count_cross_entropy"),
    Case("count_cross_entropy", {"population": 3}),
    Case("per_step_cross_entropy"),
    Case("per_step_cross_entropy", {"lamb": 0.3, "phi": 0.7}),
    Case("per_step_cross_entropy", {"label_smoothing": 0.2}, "class of each step"),
    Case("max_over_time_cross_entropy"),
    Case("last_step_cross_entropy"),
    Case("first_spike_time", target="none", binary=True),
    Case("first_spike_cross_entropy", {"temperature": 2.5}, binary=True),
    Case("rate_mse", {"correct": 0.8, "incorrect": 0.1}),
    Case("count_mse", {"correct": 0.7, "incorrect": 0.1}),
    Case("count_mse", {"correct": 0.7, "incorrect": 0.1, "population": 2}),
    Case("van_rossum_distance", {"tau": 3.0}, target="sequence"),
    Case("van_rossum_distance", {"tau": 1e4}, target="sequence"),
    Case("firing_rate_penalty", {"low": 0.1, "high": 0.3}, target="none"),
    Case("firing_rate_penalty", {"low": 0.1}, target="none"),
    Case("firing_rate_penalty", {"high": 0.3}, target="none"),
]
BY_NAME = {"-".join([case.name, *(f"{k}={v}" for k, v in case.keywords.items())]): case for case in CASES}
