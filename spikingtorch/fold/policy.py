"""FoldPolicy: whether a network steps or folds, found out once and remembered."""

import warnings
from collections.abc import Hashable
from types import FunctionType
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikingtorch.fold.guard import NetworkGuard, modules_of
from spikingtorch.fold.probe import OWN_STATE, FoldDecision, probe
from spikingtorch.fold.static_rules import HOOKS, hooks_of_all_modules
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.fold_token import FoldError

Mode: TypeAlias = Literal["auto", "step", "fold"]
MODES = ("auto", "step", "fold")

UNDECIDED = "has not been tried out yet, for some of its weights get their shape from the first input"
# after so many trials, what changes is a number that is annealed or counted, and further trials would find the same
_TRIALS = 8
_KEPT = 64
# attributes of every module that are looked at in another way, or say nothing
_HELD = set(vars(nn.Module()))


class Sample(NamedTuple):
    """What a probe has to know of a call."""

    shape: tuple[int, ...]  # of the input of one sample at one step
    dtype: torch.dtype
    device: torch.device
    differentiates: bool


class FoldPolicy:
    """What was found out about a network, for each form in which it was called.

    A copy, and what comes out of a pickle, finds out anew.
    """

    def __init__(self) -> None:
        self.seen: torch.Size | None = None
        self.sample: Sample | None = None
        self._findings: dict[Hashable, FoldDecision] = {}
        self._last: tuple[Hashable, FoldDecision | None] = (None, None)
        # the finding that unchanged as long as a guard at the network finds nothing else, and for which sample
        self._guard: tuple[NetworkGuard, Sample, Hashable, FoldDecision] | None = None
        # whether a network that folds whatever it is has batch norm in training, as long as it stays as it was
        self._norms: tuple[NetworkGuard, bool] | None = None
        self._warned = False

    def __reduce__(self) -> Any:
        return FoldPolicy, ()

    def note_input(self, x: Tensor) -> None:
        """Remember the form of an input, (N, T, ...)."""
        self.seen = x.shape
        self.sample = Sample(tuple(x.shape[2:]), x.dtype, x.device, torch.is_grad_enabled())

    def folds(self, net: nn.Module, x: Tensor) -> bool:
        """Say whether a network is to be handed all steps of x at once."""
        self._last = (None, None)
        if x.shape[0] == 0 or x.shape[1] == 1:
            return False
        sample = Sample(tuple(x.shape[2:]), x.dtype, x.device, torch.is_grad_enabled())
        if self.sample is None:  # in torch.compile, which does not let the call see its input
            self.seen, self.sample = x.shape, sample
        found = self.finding(net, sample)
        return found is not None and found.reason is None

    def may_normalise(self) -> bool:
        """Say whether the network, folded whatever it is, may have batch norm in training, as a function maybe."""
        # what is traced is run more than once, each time in the same way
        if _is_traced() or self._norms is None or not self._norms[0].unchanged():
            return True
        return self._norms[1]

    def note_norms(self, net: nn.Module, met: bool) -> None:
        """Remember whether a folded call of a network has met batch norm in training."""
        if _is_traced():
            return
        if self._norms is None or not self._norms[0].unchanged():
            self._norms = (NetworkGuard(net), met)

    @property
    def normalises(self) -> bool:
        """Whether the network that ``folds`` was asked about has batch norm in training."""
        found = self._last[1]
        return found is not None and found.normalises

    def finding(self, net: nn.Module, sample: Sample) -> FoldDecision | None:
        """Return what there is to know of a network in the form that it has now; None as long as it is incomplete."""
        if self._guard is not None and self._guard[1] == sample and self._guard[0].unchanged():
            self._last = self._guard[2:]
            return self._guard[3]
        guard = NetworkGuard(net)
        kinds, numbers = _form(net)
        rough = (sample, kinds)
        key: Hashable = (rough, numbers)
        if rough in self._findings:
            key = rough
        elif key not in self._findings:
            if any(is_lazy(tensor) for tensor in (*net.parameters(), *net.buffers())):
                return None
            tried = sum(isinstance(other, tuple) and other[0] == rough for other in self._findings)
            found = probe(net, *sample)
            final = found.reason is not None and found.reason.startswith(OWN_STATE)
            key = rough if final or tried >= _TRIALS else key
            self._findings[key] = found
            while len(self._findings) > _KEPT:
                self._findings.pop(next(iter(self._findings)))
        self._last = (key, self._findings[key])
        self._guard = (guard, sample, *self._last) if guard.is_exact else None
        return self._findings[key]

    def revoke(self, error: Exception) -> None:
        """Remember that a network which passed its trial failed all the same, and that stepping went well."""
        key, found = self._last
        assert found is not None
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = str(error) if isinstance(error, FoldError) else f"failed with all steps at once ({first})"
        found = self._findings[key] = found._replace(reason=reason)
        self._last, self._guard = (key, found), None

    def warn(self, net: nn.Module) -> None:
        """Say, once, why a network has run step by step."""
        found = self._last[1]
        if self._warned or found is None or found.reason is None:
            return
        self._warned = True
        warnings.warn(
            f"SpikingNet: {type(net).__name__} runs step by step, slower than all steps at once, because it "
            f"{found.reason}. The results are the same; mode='step' asks for this and does not warn",
            RuntimeWarning,
            stacklevel=8,
        )


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _form(net: nn.Module) -> tuple[Hashable, Hashable]:
    """Return what a decision holds for: kinds of modules, whether they train, what they hold; and numbers."""
    kinds: list[Hashable] = [hooks_of_all_modules()]
    numbers: list[Hashable] = []
    for module in modules_of(net):
        if isinstance(module, torch.jit.ScriptModule):
            kinds.append((type(module), id(module), getattr(module, "training", None)))
            continue
        own = vars(module)
        hooked = [bool(own[hooks]) for hooks in HOOKS]
        missing = [name for name, buffer in own["_buffers"].items() if buffer is None]
        kinds.append((type(module), module.training, own.get("forward"), *hooked, *missing))
        # the threshold of a spiking layer changes numbers, and not what belongs together
        if not isinstance(module, StatefulLayer):
            depth = 0 if type(module).__module__.startswith("torch.") else 3
            for name, value in own.items():
                if name not in _HELD:
                    _sort(name, value, kinds, numbers, depth)
    return tuple(kinds), tuple(numbers)


def _sort(name: object, value: Any, kinds: list[Hashable], numbers: list[Hashable], depth: int) -> None:
    if isinstance(value, (bool, str, type(None))):
        kinds.append((name, value))
    elif isinstance(value, (int, float)):
        numbers.append((name, value))
    elif isinstance(value, (Tensor, nn.Module, type, FunctionType)):
        kinds.append((name, id(value), isinstance(value, nn.Module) and value.training))
    elif depth > 0:
        if callable(value):
            kinds.append((name, id(value)))
        items = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        if isinstance(value, (list, tuple)):
            items = dict(enumerate(value))
        for key, item in items.items():
            _sort((name, key), item, kinds, numbers, depth - 1)
