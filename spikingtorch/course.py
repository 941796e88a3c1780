"""Course: whether a network steps or folds, found out once and remembered."""

import warnings
from collections.abc import Hashable
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikingtorch.folding import FoldError
from spikingtorch.independence import HOOKS
from spikingtorch.probe import Finding, probe
from spikingtorch.statefullayer import StatefulLayer

Mode: TypeAlias = Literal["auto", "step", "fold"]
MODES = ("auto", "step", "fold")

UNDECIDED = "has not been tried out yet: it is complete after its first call"
# a network that needs more trials than this changes with every call
_REFUSALS = 8


class Sample(NamedTuple):
    """What a probe has to know of an input."""

    shape: tuple[int, ...]  # of one sample at one step
    dtype: torch.dtype
    device: torch.device


class Course:
    """What was found out about a network, for each form in which it was called.

    A copy, and what comes out of a pickle, finds out anew.
    """

    def __init__(self) -> None:
        self.seen: torch.Size | None = None
        self.sample: Sample | None = None
        self._findings: dict[Hashable, Finding] = {}
        self._warned: set[str] = set()

    def __reduce__(self) -> Any:
        return Course, ()

    def folds(self, net: nn.Module, x: Tensor) -> bool:
        """Say whether a network is to be handed all steps of x, (N, T, ...), at once."""
        self.seen, self.sample = x.shape, Sample(tuple(x.shape[2:]), x.dtype, x.device)
        if x.shape[0] == 0 or x.shape[1] == 1:
            return False
        found = self.finding(net, self.sample, may_probe=is_complete(net))
        return found is not None and found.reason is None

    def finding(self, net: nn.Module, sample: Sample, *, may_probe: bool = True) -> Finding | None:
        """Return what is known of a network in the form that it has now, None if it may not be tried out here."""
        key = _key(net, sample)
        found = self._findings.get(key)
        if found is None:
            refusals = [finding for finding in self._findings.values() if finding.reason is not None]
            if len(refusals) >= _REFUSALS:
                return refusals[-1]
            if not may_probe:
                return None
            found = self._findings[key] = probe(net, *sample)
        return found

    def refuse(self, net: nn.Module, error: Exception) -> None:
        """Remember that a network which passed its trial failed all the same, and that stepping went well."""
        assert self.sample is not None
        key = _key(net, self.sample)
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = str(error) if isinstance(error, FoldError) else f"failed with all steps at once ({first})"
        self._findings[key] = self._findings[key]._replace(reason=reason)

    def warn(self, net: nn.Module, x: Tensor) -> None:
        """Say, once, why a network has run step by step."""
        if self.sample is None or x.shape[0] == 0 or x.shape[1] == 1:
            return
        found = self.finding(net, self.sample, may_probe=False)
        if found is None or found.reason is None or found.reason in self._warned:
            return
        self._warned.add(found.reason)
        warnings.warn(
            f"SpikingNet: {type(net).__name__} runs step by step, several times slower than all steps at once, for it "
            f"{found.reason}. The results are the same; mode='step' asks for this and does not warn",
            RuntimeWarning,
            stacklevel=6,
        )


def is_complete(net: nn.Module) -> bool:
    """Say whether a network can be tried out: none of its weights waits for the first input to have a shape."""
    return not any(is_lazy(tensor) for tensor in (*net.parameters(), *net.buffers()))


def _key(net: nn.Module, sample: Sample) -> Hashable:
    """Return what a finding holds for: the kinds of the modules, whether they train, and the numbers they hold."""
    return (sample, *(_form(module) for module in net.modules()))


def _form(module: nn.Module) -> Hashable:
    own = vars(module)
    kind = (type(module), module.training, own.get("forward"), *(len(own.get(hooks, ())) for hooks in HOOKS))
    if isinstance(module, StatefulLayer) or type(module).__module__.startswith("torch."):
        return kind  # a threshold or a stride changes numbers, and not what belongs together
    return kind, tuple((name, value) for name, value in own.items() if isinstance(value, (bool, int, float, str)))
