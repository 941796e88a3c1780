"""CallPlan: what a call of a network decides, decided once for all later calls of the same form."""

import os
import sys
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.axes import samples_first
from spikingtorch.fold.copied import CallForm
from spikingtorch.fold.policy import Plan, Version
from spikingtorch.functional.core.modes import HOST, in_eager, plain_keys
from spikingtorch.functional.core.torch_private import (
    any_autocast,
    backward_id,
    dispatch_keys,
    number_of_function_modes,
    top_saving_hooks,
)
from spikingtorch.functional.core.undo import raise_interrupt
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.frame import Frame, running
from spikingtorch.layers.passed_init import call
from spikingtorch.layers.split import without_views
from spikingtorch.spikingnet.outputs import unshared
from spikingtorch.spikingnet.parts import Parts

# a switch for tests, which compare both roads
_USED = os.environ.get("SPIKINGTORCH_PLANS") != "0"
# all that a call reads in the network around it
OPTIONS = ("mode", "time_chunk", "recompute", "carry_graph", "statistics", "hooks", "event_driven", "batch_first")
_options = attrgetter(*OPTIONS, "_finds_Nout", "_watching")
_PLAIN = plain_keys(HOST.type)
CallKey: TypeAlias = tuple[Any, ...]


def key_of_call(model: Any, x: Any, init: Any, lengths: Any) -> CallKey | None:
    """Return all that the plan of a call depends on besides the network inside; None if it is decided each time.

    A plan serves plain tensors on the CPU, where nothing traces, transforms, records or repeats the call.
    """
    if model.mode != "auto" or type(x) is not Tensor or dispatch_keys(x).raw_repr() not in _PLAIN:
        return None
    if type(init) is not bool or lengths is not None or not _USED or running() is not None:
        return None
    if not in_eager() or number_of_function_modes() or any_autocast():
        return None
    if top_saving_hooks(True) is not None or backward_id() != -1:
        return None
    now = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    return init, x.shape, x.stride(), x.dtype, x.requires_grad, *now, *_options(model)


def objection(model: Any, frame: Frame, known: bool, out: Any) -> str:
    """Return why calls like the one that has just run are decided each time, as the end of "because "; "" if not.

    ``known`` says whether the call has a form that a plan can have.
    """
    policy = model._policy
    if model.mode != "auto":
        return f"of mode={model.mode!r}"
    if not known:
        return "of x, init, lengths or a mode of torch around it: a plan is for plain tensors on the CPU"
    if policy.plan is None or frame.fold is None:
        return "it steps"
    if policy.plan.draws:
        return "it draws random numbers"
    if policy.plan.small is None and model.event_driven != "off":
        return "its products may skip zeros"
    if policy.normalises:
        return "batch norm is in training"
    if model.statistics == "sequence" and model.net.training:
        return "of statistics='sequence' in training"
    for name, usual in (("time_chunk", None), ("hooks", "step")):
        if getattr(model, name) != usual:
            return f"of {name}={getattr(model, name)!r}"
    if policy.talks:
        return "its modules talk to other processes"
    if model._others:
        return "it holds layers of another library"
    if frame.monitors or model._watching is not None:
        return "something watches its layers"
    return "" if isinstance(out, Tensor) else "it returns several tensors"


class CallPlan(NamedTuple):
    """How calls of one form run, while the network is in one version."""

    plan: Plan  # the decision about such a call
    version: Version  # of the network
    call_form: CallForm  # the form of the call, for the reports
    parts: Parts  # of the network
    takes_init: checks.TakesInit  # how it takes init
    size: tuple[int, int]  # N samples and T steps
    shape: torch.Size  # of the outputs of all steps, (N T, *Nout)
    own: bool  # whether the outputs have memory of their own. A network that folds shares the same at each call

    def run(self, model: Any, x: Tensor, init: bool) -> Tensor | None:
        """Return the outputs of a call; None if it has to be decided anew, and nothing has happened."""
        parts, (N, T) = self.parts, self.size
        if not model._finds_Nout and model.Nout != self.shape[1:]:
            return None
        small = self.plan.small
        if model._modules["net"] is not parts.net or (small is not None and small[0] != parts.weights()):
            return None
        xs = x if model.batch_first else x.transpose(0, 1)
        for layer in parts.layers:
            layer._clamp()
            if layer._cell.monitor is not None or layer._cell.recording[0] is not None:
                return None
        frame = Frame(parts.layers, parts.places, init, model.carry_graph, eager=True)
        fold = FoldToken(N, T, init, init and not frame.keeps_graph, init, None, True)
        if model.warn_silent and model.training and model._activity.begin(xs):
            frame.activity = model._activity
        else:  # a seat's states have no gradient
            frame.planned = fold.detaches_state or not torch.is_grad_enabled()
        frame.init = frame.fold = fold
        flat, handled = xs.flatten(0, 1), sys.exception()
        try:
            with frame:
                out = call(parts.net, self.takes_init, flat, fold)
            if fold.saved:
                fold.check_saved()
        except Exception as error:  # the general road raises it again, with the names of layers and axes, or steps
            raise_interrupt(error, handled)
            return None
        if fold.refusal is not None or type(out) is not Tensor or out.shape != self.shape:
            return None
        if frame.checked is not flat:
            checks.check_finite("SpikingNet", "x", x, True)
        if frame.activity is not None:
            model._activity.end(model.net)
        out = out if self.own else unshared(out, x, True)
        found: Tensor = without_views(model, samples_first(out.view(N, T, *self.shape[1:]), model.batch_first))
        model._policy.goes(self.plan, self.version, xs.shape, self.call_form)
        frame.commit()
        return found

    @classmethod
    def of(cls, model: Any, x: Tensor, frame: Frame, out: Tensor) -> "CallPlan | None":
        """Return the plan of a call that has just run; None if the network has changed meanwhile.

        The input is (N, T, ...), and the outputs are (N, T, *Nout).
        """
        policy = model._policy
        if (version := policy.known(model.net)) is None:
            return None
        shape = torch.Size((out.shape[0] * out.shape[1], *out.shape[2:]))
        size, parts = (x.shape[0], x.shape[1]), model._parts
        form, takes = policy.call_form, model._takes_init
        return cls(policy.plan, version, form, parts, takes, size, shape, frame.owns)
