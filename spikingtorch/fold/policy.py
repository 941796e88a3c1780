"""FoldPolicy: whether a network steps or folds, found out once and remembered."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.parameter import is_lazy

from spikingtorch.fold.guard import Look
from spikingtorch.fold.hooks import hooks_of_all_modules, objection_to_hooks
from spikingtorch.fold.operations import Rule
from spikingtorch.fold.proof import FoldDecision, Sample, prove
from spikingtorch.functional.core.precision import autocast_dtype
from spikingtorch.layers.batch_norm import takes_statistics
from spikingtorch.layers.fold_token import FoldError
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.time_norm import TimeNorm, needs_sequence

Mode: TypeAlias = Literal["auto", "step", "fold"]
MODES = ("auto", "step", "fold")

UNDECIDED = "has not been looked at yet, for some of its weights get their shape from the first input"
_KEPT = 64


class FoldPolicy:
    """What was found out about a network, for each form in which it was called.

    A copy, and what comes out of a pickle, finds out anew.

    Args:
        taught: rules of the user's, by operation.
        hooks_look: whether forward hooks only look, and may be called once with all steps.
    """

    def __init__(self, taught: Mapping[str, Rule] | None = None, hooks_look: bool = False) -> None:
        self.seen: torch.Size | None = None
        self.sample: Sample | None = None
        self._taught, self._hooks_look = dict(taught or {}), hooks_look
        self._found: list[tuple[Look, Sample, FoldDecision]] = []
        self._last: FoldDecision | None = None
        # whether a network that folds whatever it is has batch norm in training, as long as it stays as it was
        self._norms: tuple[Look, bool] | None = None
        self._warned = False

    def __reduce__(self) -> Any:
        return FoldPolicy, (self._taught, self._hooks_look)

    def anew(self, hooks_look: bool) -> "FoldPolicy":
        """Return one that knows nothing yet, with the same rules."""
        return FoldPolicy(self._taught, hooks_look)

    def note_input(self, x: Tensor, init: bool | Tensor = True) -> None:
        """Remember the form of an input, (N, T, ...)."""
        self.seen, self.sample = x.shape, _sample(x, isinstance(init, Tensor))

    def folds(self, net: nn.Module, x: Tensor, init: bool | Tensor) -> bool:
        """Say whether a network is to be handed all steps of x at once."""
        self._last = None
        if x.shape[0] == 0 or (x.shape[1] == 1 and not any(needs_sequence(module) for module in net.modules())):
            return False
        if self.sample is None or _is_traced():  # torch.compile does not let the call see its input
            self.note_input(x, init)
        assert self.sample is not None
        found = self.finding(net, self.sample, x.shape)
        return found is not None and found.reason is None

    def may_normalise(self) -> bool:
        """Say whether the network, folded whatever it is, may have batch norm in training, as a function maybe."""
        # what is traced is run more than once, each time in the same way
        if _is_traced() or self._norms is None or not self._norms[0].holds():
            return True
        return self._norms[1]

    def note_norms(self, net: nn.Module, met: bool) -> None:
        """Remember whether a folded call of a network has met batch norm in training."""
        if _is_traced():
            return
        if self._norms is None or not self._norms[0].holds():
            self._norms = (Look(net), met)

    @property
    def normalises(self) -> bool:
        """Whether the network that ``folds`` was asked about has batch norm in training."""
        return self._last is not None and self._last.normalises

    def finding(self, net: nn.Module, sample: Sample, shape: torch.Size) -> FoldDecision | None:
        """Return what there is to know of a network in the form that it has now; None as long as it is incomplete.

        Args:
            net: the network.
            sample: what it is called with.
            shape: of the input, (N, T, ...).
        """
        found = self._known(sample)
        if found is None and not any(is_lazy(tensor) for tensor in (*net.parameters(), *net.buffers())):
            found = self._look(net, sample)
        if found is not None and found.sizes is not None and found.reason is None:
            for N in (shape[0], shape[0] * shape[1]):
                if (reason := found.sizes.objection_to(N)) is not None:
                    found = found._replace(reason=reason, remedy="compute the same for each number of samples")
                    break
        self._last = found
        return found

    def _known(self, sample: Sample) -> FoldDecision | None:
        for place, (look, kind, decision) in enumerate(self._found):
            if kind == sample and look.holds():
                if place:
                    self._found.insert(0, self._found.pop(place))
                return decision
        return None

    def _look(self, net: nn.Module, sample: Sample) -> FoldDecision:
        """Find out about a network that is not as it was at any call, as far as is seen at once."""
        look = Look(net)
        known = [found for found in self._found if found[1] == sample]
        same = next((found for found in known if look.same_as(found[0])), None)
        if same is not None:
            self._found.remove(same)
            decision = same[2]
        else:
            decision = _objection(net, look, self._hooks_look) or prove(net, sample, self._taught, look.outside)
            if decision.changing in [each.changing for _, _, each in known if each.changing]:
                # at each call: it steps, whatever these attributes are
                decision, look = decision._replace(settled=True), Look(net, decision.changing)
        self._found = [(look, sample, decision), *self._found[: _KEPT - 1]]
        return decision

    def revoke(self, error: Exception) -> None:
        """Remember that a network which was proven to fold failed all the same, and that stepping went well."""
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = str(error) if isinstance(error, FoldError) else f"failed with all steps at once ({first})"
        for place, (look, sample, decision) in enumerate(self._found):
            if place == 0:
                self._last = decision._replace(reason=reason)
                self._found[place] = look, sample, self._last
                return

    def warn(self, net: nn.Module) -> None:
        """Say, once, why a network has run step by step."""
        found = self._last
        if self._warned or found is None or found.reason is None or (found.changing and not found.settled):
            return
        self._warned = True
        remedy = f". To let it fold, {found.remedy}" if found.remedy else ""
        warnings.warn(
            f"SpikingNet: {type(net).__name__} runs step by step, with the same results as all steps at once but "
            f"slower, because it {found.reason}{remedy}. mode='step' asks for this and does not warn",
            RuntimeWarning,
            stacklevel=8,
        )


def _sample(x: Tensor, masked: bool) -> Sample:
    forward = forward_ad._current_level >= 0
    grad = torch.is_grad_enabled() or forward
    trained = grad, grad and (x.requires_grad or forward)
    here = masked, torch.get_default_dtype(), torch._C._len_torch_function_stack()
    return Sample(tuple(x.shape[2:]), x.dtype, x.device, trained, autocast_dtype(x.device), *here)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _objection(net: nn.Module, look: Look, hooks_look: bool) -> FoldDecision | None:
    """Return a decision about a network that is not to be run even to look at it."""
    if hooks_of_all_modules():
        return FoldDecision("runs under hooks of all modules, which are called once a step", {}, "remove them")
    # one within a norm over time is called once
    inner = {id(module.norm) for module in net.modules() if isinstance(module, TimeNorm)}
    for path, module in net.named_modules():
        where = path or "the network"
        if objection_to_hooks(module, hooks_look):
            remedy = "remove them, or, where forward hooks only look, pass hooks='sequence'"
            return FoldDecision(f"has hooks on {where}, which are called once a step", {}, remedy)
        if isinstance(module, StepLayer) and (effect := module.side_effect()):
            return FoldDecision(f"holds {where}, whose step {effect}", {})
        if isinstance(module, nn.SyncBatchNorm) and takes_statistics(module) and id(module) not in inner:
            text = f"holds {where}, a SyncBatchNorm, which takes its statistics over several processes, step by step"
            return FoldDecision(text, {}, "take nn.BatchNorm in its place")
    return None if look.reason is None else FoldDecision(look.reason, {}, look.remedy)
