"""FoldPolicy: decide once whether a network steps or folds, and remember the decision.

A ``Version`` is a network as it was at some call. For each ``CallForm`` it holds the ``FoldDecision`` of the proof. For
each form with its numbers of samples and steps it holds a ``Plan``, which the next such call follows without a new
decision.
"""

import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikingtorch.fold.copied import CallForm
from spikingtorch.fold.guard import NetworkSnapshot, modules_of
from spikingtorch.fold.hooks import is_hooked_everywhere, objection_to_hooks, talks
from spikingtorch.fold.operations import Rule
from spikingtorch.fold.proof import FoldDecision, prove
from spikingtorch.foreign import neuron_of_theirs
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.precision import autocast_dtype
from spikingtorch.functional.core.torch_private import forward_level, number_of_function_modes, tracing_state
from spikingtorch.functional.core.undo import run_or_undo
from spikingtorch.layers.batch_norm import takes_statistics
from spikingtorch.layers.fold_token import FoldError
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.time_norm import TimeNorm

Mode: TypeAlias = Literal["auto", "step", "fold"]
MODES = ("auto", "step", "fold")

UNDECIDED = "has not been looked at yet, for some of its weights get their shape from the first input"
_KEPT = 64
# the number of versions of a network that are always examined, and the number of calls after which one more may be. A
# network that changes at each call would need a proof for each call, and is faster step by step
_EXAMINED, _CALLS = 8, 16


# the ids of the weights of a network, and how each of its products was computed
SmallProducts: TypeAlias = tuple[list[int], dict[int, Any]]


class Plan:
    """The way in which calls of one form run, while the network does not change."""

    __slots__ = ("decision", "draws", "small")

    def __init__(self, decision: FoldDecision) -> None:
        self.decision = decision  # whether these calls fold, and why, for their number of samples
        self.draws = True  # whether such a call may draw random numbers, until a call has ended without drawing
        # None unless all products of such a call are known to be too small for kernels
        self.small: SmallProducts | None = None


class Version:
    """A network as it was at a call, and the decisions about it."""

    def __init__(self, look: NetworkSnapshot, free: frozenset[str]) -> None:
        self.look = look  # everything that its code can read
        self.free = free  # names of numbers whose value changes no decision
        self.found: list[tuple[CallForm, FoldDecision]] = []  # the newest decision first
        self.plans: dict[Hashable, Plan] = {}  # by form, numbers of samples and steps, and type of the input
        self.calls: dict[Hashable, Any] = {}  # the plans of whole calls, by form of the call and options of the network
        # a decision to step that was made without a proof; the next call in this version gets one
        self.unexamined: FoldDecision | None = None
        self.is_stepped = False  # whether a call has followed ``unexamined``

    def decision(self, call_form: CallForm) -> FoldDecision | None:
        """Return the decision for a form of call, or None."""
        for place, (kind, decision) in enumerate(self.found):
            if kind == call_form:
                if place:
                    self._put_first(call_form, decision)
                return decision
        return None

    def note(self, call_form: CallForm, decision: FoldDecision) -> None:
        """Store a decision; the newest one comes first."""
        self._put_first(call_form, decision)
        self.plans, self.calls = {}, {}

    def _put_first(self, call_form: CallForm, decision: FoldDecision) -> None:
        others = [each for each in self.found if each[0] != call_form]
        self.found = [(call_form, decision), *others[: _KEPT - 1]]

    def plan(self, form: Hashable, plan: Any) -> None:
        """Keep the plan of whole calls of a form."""
        self.calls = {**({} if len(self.calls) >= _KEPT else self.calls), form: plan}

    def keep(self, form: Hashable, plan: Plan) -> None:
        """Keep the plan of a form of calls."""
        if len(self.plans) >= _KEPT:
            self.plans = {}
        self.plans[form] = plan


class FoldPolicy:
    """The decisions about a network, for each form in which it was called.

    A copied or unpickled policy starts without decisions. ``taught`` are rules of the user, by operation. With
    ``hooks_look``, forward hooks only observe, and may be called once with all steps. With ``must_fold``, a network
    that steps is an error, because batch norm must take the statistics of all steps.
    """

    def __init__(
        self, taught: Mapping[str, Rule] | None = None, hooks_look: bool = False, must_fold: bool = False
    ) -> None:
        self.seen: torch.Size | None = None  # shape of the last input
        self.call_form: CallForm | None = None
        # of the running call, if the network provably folds; its operations then do not depend on the values of x
        self.plan: Plan | None = None
        self._taught, self._hooks_look, self._must_fold = dict(taught or {}), hooks_look, must_fold
        self._versions: list[Version] = []
        self._free: frozenset[str] = frozenset()  # names of numbers whose value changes no decision
        self._deciding: frozenset[str] = frozenset()  # names of numbers whose value may change one
        self._calls = self._examined = 0
        self._last: FoldDecision | None = None
        # whether a folded call has met batch norm in training; valid while the network does not change
        self._norms: tuple[NetworkSnapshot, bool] | None = None
        # how linear layers and convolutions were computed at the last call, by the id of their weights
        self.notes: Mapping[int, Any] = {}
        self.decides = ""  # why calls like the last one are decided each time; empty if they have a plan
        self.warned = False  # whether the warning that the network steps was given

    def __reduce__(self) -> Any:
        return FoldPolicy, (self._taught, self._hooks_look, self._must_fold)

    def anew(self, hooks_look: bool, must_fold: bool) -> "FoldPolicy":
        """Return a policy without decisions, with the same rules."""
        return FoldPolicy(self._taught, hooks_look, must_fold)

    def note_input(self, x: Tensor, init: bool | Tensor = True) -> None:
        """Remember the form of an input, (N, T, ...)."""
        self.seen, self.call_form, self.plan = x.shape, _call_form(x, isinstance(init, Tensor), self._must_fold), None

    def known(self, net: nn.Module) -> Version | None:
        """Return the current version of a network if a fast check finds it; None if a new look is needed."""
        for version in self._versions:
            if version.look.holds(net):
                return version
        return None

    def folds(self, net: nn.Module, x: Tensor, init: bool | Tensor, version: Version | None = None) -> bool:
        """Return True if a network should run all steps of x, (N, T, ...), at once.

        ``init`` is that of the first step. ``version`` is the result of ``known``, which is called here if it is left
        out.
        """
        self._last = self.plan = None
        if x.shape[0] == 0 and not talks(modules_of(net)):
            return False
        traced = _is_traced()
        if self.call_form is None or traced:  # under torch.compile, the call has not noted its input
            self.note_input(x, init)
        assert self.call_form is not None
        N, T = x.shape[:2]
        form = None if traced else (self.call_form, N, T, type(x))
        version = self.known(net) if version is None else version
        plan = None if version is None else version.plans.get(form)
        if version is None or plan is None:
            found = self.finding(net, self.call_form, x.shape)
            if found is None:
                return False
            plan = Plan(found)
            version = self._versions[0]
            # unsettled decisions, and those without a proof, are made again at the next call
            if (
                form is not None
                and version.decision(self.call_form) is not None
                and (found.settled or not found.changing)
            ):
                version.keep(form, plan)
        else:
            self._keep(version)
            self._calls += 1
            self._last = plan.decision
        if plan.decision.for_size and version.look.talks:
            raise ValueError(
                f"SpikingNet: {type(net).__name__} {plan.decision.reason}. Its modules exchange weights with other "
                "processes, which may have other numbers of samples, and all have to step or all have to fold. Compute "
                "the same for each number of samples, or pass mode='step'"
            )
        if plan.decision.reason is None:
            self.plan = plan
        return self.plan is not None

    def may_normalise(self, net: nn.Module) -> bool:
        """Return True if a network in mode "fold" may call batch norm in training, as a module or as a function."""
        # code that is traced runs more than once, and must do the same each time
        if _is_traced() or self._norms is None or not self._norms[0].holds(net):
            return True
        return self._norms[1]

    def note_norms(self, net: nn.Module, met: bool) -> None:
        """Remember whether a call in mode "fold", or a proven call, has met batch norm in training."""
        if _is_traced():
            return
        if self._norms is None or not self._norms[0].holds(net):
            self._norms = (NetworkSnapshot(net), met)

    def goes(self, plan: "Plan", version: Version, seen: torch.Size, call_form: CallForm) -> None:
        """Note that a call goes by its plan."""
        self.seen, self.call_form, self.plan, self._last = seen, call_form, plan, plan.decision
        self.notes = {} if plan.small is None else plan.small[1]
        self._keep(version)
        self._calls += 1

    @property
    def talks(self) -> bool:
        """True if the network exchanges something with other processes, and so has to run as it does on them."""
        return bool(self._versions) and self._versions[0].look.talks

    @property
    def normalises(self) -> bool:
        """True if the last network given to ``folds`` has batch norm in training, with the statistics of each step."""
        return self._last is not None and self._last.normalises and not self._must_fold

    @property
    def objection(self) -> str:
        """The reason why the last network given to ``folds`` does not fold, and the change that would let it fold."""
        found = self._last
        if found is None or found.reason is None:
            return "is not known yet: parameters without a shape get one by a call in evaluation"
        return found.objection

    def finding(
        self, net: nn.Module, call_form: CallForm, shape: torch.Size, *, explains: bool = False
    ) -> FoldDecision | None:
        """Return the decision about a network in its current form; None while some parameters have no shape.

        ``shape`` is that of the input, (N, T, ...). With ``explains``, the user asks about the last call, and the
        network does not run.
        """
        version = self.known(net)
        found, is_new = (None if version is None else version.decision(call_form)), False
        if version is None or found is None or (found.changing and not found.settled):
            if version is None and any(is_lazy(tensor) for tensor in (*net.parameters(), *net.buffers())):
                return None
            version, found, is_new = run_or_undo(
                partial(self._find_out, net, version, call_form, explains), self._forgetting()
            )
        self._keep(version)
        for N in (shape[0], shape[0] * shape[1]):
            if found.reason is None:
                found = self._for_samples(N, net, version, call_form, found, is_new)
        self._calls += 1
        self._last = found
        return found

    def _forgetting(self) -> Callable[[], None]:
        """Return a function that restores the current decisions; it runs if a new look is interrupted."""
        known = self._versions, self._free, self._deciding, self._examined
        of_versions = [(version, dict(vars(version))) for version in self._versions]

        def forget() -> None:
            self._versions, self._free, self._deciding, self._examined = known
            for version, own in of_versions:
                vars(version).update(own)

        return forget

    def forget_change(self) -> None:
        """Forget that a call changes the network, if the call has failed: the change may not have happened yet."""
        for version in self._versions[:1]:
            version.found = [each for each in version.found if not each[1].changing or each[1].settled]
            version.plans, version.calls = {}, {}

    def _find_out(
        self, net: nn.Module, version: Version | None, call_form: CallForm, explains: bool
    ) -> tuple[Version, FoldDecision, bool]:
        """Return the current version of a network, the decision about it, and whether the decision is new."""
        version = self._looked_at(net) if version is None else version
        self._keep(version)
        found = version.decision(call_form) or (version.unexamined if explains else None)
        if found is None:
            return *self._examine(net, version, call_form), True
        if found.changing and not explains:  # and yet it is in the same version again
            found = found._replace(settled=True)
            version.note(call_form, found)
        return version, found, False

    def _for_samples(
        self, N: int, net: nn.Module, version: Version, call_form: CallForm, found: FoldDecision, is_new: bool
    ) -> FoldDecision:
        """Return the decision about a network that folds, for a number of samples."""
        if found.sizes is None:
            return found
        is_known = found.sizes.knows(N)
        reason = found.sizes.objection_to(N, net)
        if reason is not None and not (is_known or is_new):  # possibly because tensors or numbers have changed since
            again = self._decide(net, version, call_form)
            if again.reason is None and again.sizes is not None:
                reason = again.sizes.objection_to(N, net)
                again.sizes.learn(found.sizes)
                found = again
                version.note(call_form, found)
        if reason is None:
            return found
        return found._replace(reason=reason, remedy="compute the same for each number of samples", for_size=True)

    def _looked_at(self, net: nn.Module) -> Version:
        """Return the current version of a network, by a new look at it."""
        look, free = NetworkSnapshot(net, free=self._free), self._free
        if free and look.tells:  # code has changed
            look, free = NetworkSnapshot(net), frozenset()
        version = next((each for each in self._versions if look.same_as(each.look)), None)
        if version is None:
            version = Version(look, free & look.numbers)
            # processes that talk have to decide alike, whatever one of them has explained meanwhile
            spared = self._must_fold or look.talks
            if self._examined >= _EXAMINED + self._calls // _CALLS and not spared:
                version.unexamined = self._as_it_changes(look)
                # a version that passed unexamined is not likely to return
                self._versions = [each for each in self._versions if each.unexamined is None]
        version.look = look
        return version

    def _as_it_changes(self, look: NetworkSnapshot) -> FoldDecision:
        """Return the decision about a network that changes at each call."""
        names = [name for name in look.changed_since(self._versions[0].look) if name not in self._free]
        numbers = [name for name in names if name in look.numbers]
        remedy = "leave it as it is between calls"
        if numbers:
            remedy = f"keep {numbers[0]} in a tensor, with register_buffer, and compute with operations of torch"
        what = f"changes between calls ({', '.join(names[:3])}), and what it computes may depend on that"
        return FoldDecision(what, {}, remedy)

    def _keep(self, version: Version) -> None:
        """Store a version; the last one used comes first."""
        if not self._versions or self._versions[0] is not version:
            self._versions = [version, *[each for each in self._versions if each is not version][: _KEPT - 1]]

    def _examine(self, net: nn.Module, version: Version, call_form: CallForm) -> tuple[Version, FoldDecision]:
        """Decide about a form of call that a version of the network has not seen."""
        if version.unexamined is not None and not version.is_stepped:
            version.is_stepped = True
            return version, version.unexamined
        version.unexamined = None
        self._examined += not version.found
        decision = self._decide(net, version, call_form)
        if decision.reason is None:
            decision = self._free_numbers(net, version, call_form, decision)
        elif version.free:  # possibly because of a number
            plain = Version(NetworkSnapshot(net), frozenset())
            decision = self._decide(net, plain, call_form)
            if decision.reason is None:
                self._deciding, self._free = self._deciding | version.free, frozenset()
                self._versions = [each for each in self._versions if not each.free]
                version = plain
        known = [other for each in self._versions for kind, other in each.found if kind == call_form]
        if decision.changing in [each.changing for each in known if each.changing]:
            # it changes at each call, so it steps for any value of these attributes
            decision = decision._replace(settled=True)
            version.look, version.free = NetworkSnapshot(net, decision.changing), frozenset()
        version.note(call_form, decision)
        self._keep(version)
        return version, decision

    def _decide(self, net: nn.Module, version: Version, call_form: CallForm) -> FoldDecision:
        objection = _objection(net, version.look, self._hooks_look)
        return objection or prove(net, call_form, self._taught, version.free)

    def _free_numbers(
        self, net: nn.Module, version: Version, call_form: CallForm, decision: FoldDecision
    ) -> FoldDecision:
        """Find the changed numbers that enter only arithmetic, and let them have any value."""
        other = next((other for other in self._versions if other is not version), None)
        changed = set(version.look.changed_since(other.look)) if other and not version.look.tells else set[str]()
        for name in sorted(changed & version.look.numbers - self._deciding - version.free):
            tried = Version(NetworkSnapshot(net, free=version.free | {name}), version.free | {name})
            found = self._decide(net, tried, call_form)
            if found.reason is None:
                version.look, version.free, decision = tried.look, tried.free, found
            else:
                self._deciding |= {name}
        self._free |= version.free
        return decision

    def revoke(self, error: Exception) -> None:
        """Remember that a network failed in a fold in spite of its proof, and ran step by step."""
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = str(error) if isinstance(error, FoldError) else f"failed with all steps at once ({first})"
        decision = self._versions[0].decision(self.call_form) if self._versions and self.call_form is not None else None
        if decision is not None and self.call_form is not None:
            self._last = decision._replace(reason=reason)
            self._versions[0].note(self.call_form, self._last)

    def warn(self, net: nn.Module) -> None:
        """Warn, once, why a network has run step by step."""
        found = self._last
        if self.warned or found is None or found.reason is None or found.passes:
            return
        self.warned = True
        how = ", slower" if found.theirs else ", with the same results as all steps at once but slower"
        warnings.warn(
            f"SpikingNet: {type(net).__name__} runs step by step{how}, because it {found.objection}. mode='step' "
            "asks for this and does not warn",
            RuntimeWarning,
            stacklevel=level_of_user(),
        )


def _call_form(x: Tensor, masked: bool, merged: bool) -> CallForm:
    forward, device = forward_level() >= 0, x.device
    grad = torch.is_grad_enabled() or forward
    trained = grad, grad and (x.requires_grad or forward)
    here = masked, torch.get_default_dtype(), number_of_function_modes()
    return CallForm(tuple(x.shape[2:]), x.dtype, device, trained, autocast_dtype(device), *here, merged)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or tracing_state() is not None


def _objection(net: nn.Module, look: NetworkSnapshot, hooks_look: bool) -> FoldDecision | None:
    """Return a decision about a network that the proof must not run, or None."""
    if is_hooked_everywhere():
        return FoldDecision("runs under hooks of all modules, which are called once a step", {}, "remove them")
    # a norm inside a TimeNorm is called once
    inner = {id(module.norm) for module in net.modules() if isinstance(module, TimeNorm)}
    for path, module in net.named_modules():
        where = path or "the network"
        if objection_to_hooks(module, hooks_look):
            remedy = "remove them, or, where forward hooks only look, pass hooks='sequence'"
            return FoldDecision(f"has hooks on {where}, which are called once a step", {}, remedy)
        if (theirs := neuron_of_theirs(module)) is not None:
            return FoldDecision(f"holds {where}, {theirs[0]}", {}, f"take {theirs[1]}", theirs=True)
        if isinstance(module, StepLayer) and (effect := module.side_effect()):
            return FoldDecision(f"holds {where}, whose step {effect}", {})
        if isinstance(module, nn.SyncBatchNorm) and takes_statistics(module) and id(module) not in inner:
            text = f"holds {where}, a SyncBatchNorm, which takes its statistics over several processes, step by step"
            remedy = "take nn.BatchNorm in its place, or a TimeBatchNorm, which convert_sync_batchnorm converts as well"
            return FoldDecision(text, {}, remedy)
    return None if look.reason is None else FoldDecision(look.reason, {}, look.remedy)
