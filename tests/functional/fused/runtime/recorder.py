"""The target for GPUs with kernels that do nothing but note what they are handed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.modes import are_plain, plain_keys
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.fused.build.triton_kernel import Loaded, Run, Source
from spikingtorch.functional.fused.runtime import gpu, targets
from spikingtorch.functional.fused.runtime.executable import Executable
from spikingtorch.functional.fused.runtime.gpu import TritonTarget
from tests.surroundings import forget


class OnTheCPU(TritonTarget):
    """The library's target for GPUs, for tensors of the CPU.

    Attributes:
        settled: how often memory was waited for.
    """

    device, dispatch_key = "cpu", "CPU"
    settled = 0
    _keys = plain_keys("cpu")

    def holds(self, tensors: Iterable[Any]) -> bool:
        """Say whether these are plain tensors of the CPU."""
        return are_plain(tensors, self._keys)

    def settle(self, device: torch.device) -> None:
        """Count: there are no streams."""
        self.settled += 1

    def failure(self, program: str) -> None:
        """Return None: what fails is to be seen in the test."""


class Recorder(OnTheCPU):
    """A target with kernels that only note what they are handed.

    Attributes:
        sources: of the kernels that were asked for.
        runs: for each launch, the kernel, the lanes, and the arguments by name.
    """

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.runs: list[tuple[str, int, dict[str, Any]]] = []

    def load(self, source: Source, device: torch.device) -> Loaded:
        self.sources.append(source)
        names = [name for name, _ in source.types][:-1]

        def launcher(lanes: int) -> Run:
            return lambda values: self.runs.append((source.name, lanes, dict(zip(names, values, strict=True))))

        return launcher


@contextmanager
def handed_to(target: OnTheCPU) -> Iterator[pytest.MonkeyPatch]:
    """Hand fused scans to a target."""
    with pytest.MonkeyPatch.context() as patch:
        forget(patch)
        patch.setattr(targets, "TARGETS", (target,))
        patch.setattr(targets, "_BY_DEVICE", {target.device: target})
        yield patch


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Hand fused scans to a recorder."""
    target = Recorder()
    with handed_to(target):
        yield target


def forget_kernels() -> None:
    """Make the next use of every kernel for a GPU its first one."""
    for cache in (gpu._loaded, gpu._failure, gpu._kernel):
        cache.cache_clear()


def lif(x: Tensor, dim: int = 0, **params: Any) -> tuple[Tensor, Tensor]:
    """Return the first membrane and the spikes of LIF neurons."""
    v = torch.zeros_like(x.select(dim, 0)).requires_grad_()
    return v, F.scan(F.lif_step, F.LIFState(v), x, params={"decay": 0.9} | params, dim=dim, backend="fused")[1]


def executable() -> Executable:
    """Return what ran last."""
    last: Any = [*bind._bound._entries.values()][-1]
    found: Executable = last.executable
    return found
