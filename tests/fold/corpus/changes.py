"""What changes in a network between two calls, wherever its code can read it: it folds before, and steps afterwards."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import spikingtorch as st
from tests.fold.corpus.effects import NOISY_WEIGHT
from tests.fold.corpus.entry import FOLDS, Code, Entry, folds, linear, module, norm
from tests.fold.corpus.inits import Noisy
from tests.nets_that_step import centred, put

BATCH = "along the axis of the batch"


def mixing_if(asked: Callable[[Any], Any]) -> Code:
    return lambda net, x: centred(x) if asked(net) else x


def asks(asked: Callable[[Any], Any], change: Callable[[Any], object], **how: Any) -> Entry:
    """Return a network that mixes samples as soon as something says so, which a change does."""
    return folds(mixing_if(asked), change=change, then=BATCH, **how)


def hooked(path: str, kind: str) -> Entry:
    """Return a network that gets a hook on a module, the network itself or a layer."""
    on = lambda net: getattr(net.get_submodule(path), f"register_{kind}_hook")(lambda *_: None)  # noqa: E731
    return folds(module, change=on, then="hooks on", module=lambda: nn.Sequential(nn.Linear(6, 6)))


def mixing(x: Tensor, *init: Any) -> Tensor:
    return centred(x)


class Mixes(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return centred(input)


def no_statistics(net: Any) -> None:
    net.module.running_mean = net.module.running_var = None


def rename(net: Any) -> None:
    net.late = net.early
    del net.early


def drawn() -> st.LIF:
    return Noisy(decay=0.0).double()


def each_in_turn(net: Any, x: Tensor) -> Any:
    for part in net.parts.values():
        x = part(x)
    return x


# --- attributes and modules -------------------------------------------------------------------------------------------

# an attribute, and another one
VALUES: dict[str, tuple[Any, Any]] = {
    "a truth value": (False, True),
    "a whole number": (257, 301),
    "a number": (0.1, 0.9),
    "a text": ("as is", "mix"),
    "a tuple": ((False, torch.relu), (True, torch.relu)),
    "a device": (torch.device("cpu"), torch.device("meta")),
    "a dtype": (torch.float64, torch.float32),
    "None": (None, 1),
}
OF_NETWORKS: dict[str, Entry] = {
    **{
        f"{name} changes": asks(lambda net, new=new: net.a == new, put("a", new), a=lambda old=old: old)  # type: ignore[misc]
        for name, (old, new) in VALUES.items()
    },
    "an attribute is added": asks(lambda net: getattr(net, "late", False), put("late", True)),
    "an attribute is renamed": asks(lambda net: getattr(net, "late", False), rename, early=lambda: True),
    "an attribute is removed": asks(lambda net: not hasattr(net, "late"), lambda net: delattr(net, "late"), late=bool),
    "a function is replaced": folds(lambda net, x: x, change=put("code", lambda net, x: centred(x)), then=BATCH),
    "a norm trains": folds(module, module=norm, training=False, change=lambda net: net.train(), then=FOLDS),
    "a module deep down trains": folds(
        module,
        module=lambda: nn.Sequential(nn.ReLU(), norm()),
        training=False,
        change=lambda net: net.module[1].train(),
        then=FOLDS,
    ),
    "a norm loses its statistics": folds(module, module=norm, training=False, change=no_statistics, then=FOLDS),
    "another module": folds(module, module=lambda: nn.Softmax(1), change=put("module", nn.Softmax(0)), then=BATCH),
    "an axis of a module changes": folds(module, module=lambda: nn.Softmax(1), change=put("module.dim", 0), then=BATCH),
    "a module of a list is replaced": folds(
        module,
        module=lambda: nn.Sequential(nn.ReLU(), nn.ReLU()),
        change=lambda net: net.module.__setitem__(1, nn.Softmax(0)),
        then=BATCH,
    ),
    "a module is added": folds(
        each_in_turn,
        parts=lambda: nn.ModuleDict({"a": nn.ReLU()}),
        change=lambda net: net.parts.update({"b": nn.Softmax(0)}),
        then=BATCH,
    ),
    "modules change places": asks(
        lambda net: next(iter(net.parts)) == "b",
        lambda net: net.parts._modules.update(a=net.parts._modules.pop("a")),
        parts=lambda: nn.ModuleDict({"a": nn.Identity(), "b": nn.Identity()}),
    ),
    "a module has its own forward": folds(module, module=nn.ReLU, change=put("module.forward", mixing), then=BATCH),
    "a layer has a forward of its own": folds(lambda net, x: x, change=put("spiking.forward", mixing), then=BATCH),
    "a module is of another class": folds(module, module=nn.ReLU, change=put("module.__class__", Mixes), then=BATCH),
    "a layer is of another class": folds(lambda net, x: x, change=put("spiking.__class__", Noisy), then="share"),
    "a layer is replaced": folds(lambda net, x: x, change=lambda net: setattr(net, "spiking", drawn()), then="share"),
    "an attribute of a layer": asks(lambda net: getattr(net.spiking, "mix", False), put("spiking.mix", True)),
    "a weight is parametrized": folds(
        module,
        module=linear(),
        change=lambda net: parametrize.register_parametrization(net.module, "weight", NOISY_WEIGHT),
        then="all samples share",
    ),
    "a parameter in place of None": asks(
        lambda net: net.w is not None, put("w", nn.Parameter(torch.ones(1).double())), w=lambda: None
    ),
    "a first parameter of a module": asks(
        lambda net: net.part._parameters,
        lambda net: net.part.register_parameter("gate", nn.Parameter(torch.ones(1).double())),
        part=nn.Identity,
    ),
    "a buffer is set to None": asks(lambda net: net.w is None, put("w", None), w=lambda: nn.Buffer(torch.zeros(1))),
    "a buffer is added": asks(lambda net: hasattr(net, "w"), lambda net: net.register_buffer("w", torch.zeros(1))),
    "a buffer grows": asks(
        lambda net: net.w.numel() > 1, lambda net: net.w.resize_(2).zero_(), w=lambda: nn.Buffer(torch.zeros(1))
    ),
    "a weight that is not used is frozen": asks(
        lambda net: not net.part.weight.requires_grad, lambda net: net.part.requires_grad_(False), part=linear()
    ),
    "another tensor is the one": asks(
        lambda net: net.a is net.b,
        lambda net: setattr(net, "b", net.a),
        a=lambda: torch.ones(6),
        b=lambda: torch.ones(6),
    ),
    "a module that is no submodule trains": asks(
        lambda net: net.part[0].training, lambda net: net.part[0].train(), part=lambda: [nn.ReLU().eval()]
    ),
    "a norm that is no submodule trains": folds(
        lambda net, x: net.box[0](x),
        box=lambda: [norm().double().eval()],
        change=lambda net: net.box[0].train(),
        then="outlives",
    ),
    **{f"a {kind} hook": hooked("module", kind) for kind in ("forward_pre", "full_backward", "full_backward_pre")},
    **{f"a hook on {path or 'the network'}": hooked(path, "forward") for path in ("", "module.0", "spiking")},
    "hooks are put anew": folds(
        module,
        module=linear(),
        change=lambda net: setattr(net.module, "_forward_hooks", OrderedDict({0: lambda *_: None})),
        then="hooks on",
    ),
}

# --- tensors that change in place -------------------------------------------------------------------------------------

PLACES: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "an attribute": (lambda mask: mask, lambda net: net.mask),
    "a buffer": (lambda mask: nn.BatchNorm1d(6).eval(), lambda net: net.mask.running_mean),
    "an nn.Buffer": (nn.Buffer, lambda net: net.mask),  # which has attributes of its own
    "a parameter": (lambda mask: nn.Parameter(mask, False), lambda net: net.mask),
    "a dict": (lambda mask: {"a": mask}, lambda net: net.mask["a"]),
    "a list": (lambda mask: [mask], lambda net: net.mask[0]),
    "a tuple": (lambda mask: (mask,), lambda net: net.mask[0]),
    "a module of torch": (lambda mask: nn.Linear(6, 6).requires_grad_(False), lambda net: net.mask.bias),
}
FORMS: dict[str, tuple[Callable[[Tensor], object], Callable[[Tensor], Any]]] = {
    "shape": (lambda mask: setattr(mask, "data", mask.data[None]), lambda mask: mask.ndim == 2),
    "gradient": (lambda mask: mask.requires_grad_(), lambda mask: mask.requires_grad),
    "attribute": (lambda mask: setattr(mask, "chosen", True), lambda mask: getattr(mask, "chosen", False)),
}


def tensor(place: str, form: str) -> Entry:
    """Return a network that mixes if a tensor has another form, which changes in place."""
    (holds, mask), (change, asked) = PLACES[place], FORMS[form]
    return asks(lambda net: asked(mask(net)), lambda net: change(mask(net)), mask=lambda: holds(torch.ones(6).double()))


TENSORS = {f"{form} of {place}": tensor(place, form) for place in PLACES for form in FORMS}

CHANGES = OF_NETWORKS | TENSORS
