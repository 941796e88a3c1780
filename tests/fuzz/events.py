"""What happens to a network of the fuzzer: calls and what is compared of them, and changes between two calls."""

import copy
import pickle
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from spikingtorch import BioLIF, SpikingDecay, SpikingNet, StepLayer
from tests.fuzz.blocks import STYLES, Called, Gained, Timed
from tests.fuzz.tensors import cotangent, gradients

Results = dict[str, Any]
WAYS = ("call", "stream", "threads", "transform", "curvature")
LAYOUTS = ("plain", "plain", "time first", "strided", "expanded", "channels last", "computed", "with NaN")
INITS = ("new", "new", "on", "some", "all")
GRADS = ("all", "all", "weights", "input", "nothing", "inference")
THENS = ("", "write on input", "write on output", "call again", "backward twice", "backward", "saved", "checkpoint")


class Run(NamedTuple):
    """A call of a model, or several that belong together."""

    way: str = "call"
    N: int = 2
    T: int = 5
    seed: int = 0  # of the input and the cotangents
    layout: str = "plain"  # of the input
    init: str = "new"  # new sequences, "on" with the last ones, or "some" or "all" new ones in a tensor
    grad: str = "all"  # what is differentiated
    then: str = ""  # what happens besides

    def __call__(self, model: SpikingNet) -> Results:
        return getattr(self, self.way)(model) | {"random numbers": torch.get_rng_state()}

    def call(self, model: SpikingNet) -> Results:
        """Call a model, write on what it was given or gave, and go back."""
        x = self.train(model)
        with self.recording():
            whole = self.then == "checkpoint" and self.init == "new"
            out = checkpoint(model, x, use_reentrant=False) if whole else model(x, self.starts())
            other = model(self.train(model, 1)) if self.then == "call again" else None
        found: Results = {"out": out.detach().clone(), "differentiable": out.requires_grad, "x": x.detach().clone()}
        if self.then == "write on input" and model.mode != "step" and self.layout != "expanded":
            x.detach().fill_(7.0)
        elif self.then == "write on output" and model.mode != "step":
            out.detach().fill_(7.0)
        if other is not None:
            found |= {f"other {name}": value for name, value in self.gradients(model, other, x).items()}
        return found | self.gradients(model, out, x)

    def stream(self, model: SpikingNet) -> Results:
        """Hand a train over in parts, and then as a whole."""
        x = self.train(model)
        with self.recording():
            out = torch.cat([model(part, init=(k == 0)) for k, part in enumerate(x.split(1 + self.seed % 4, 1))], 1)
        found = {"out": out.detach().clone()} | self.gradients(model, out, x)
        with self.recording():
            return found | {"whole": model(x).detach().clone()}

    def threads(self, model: SpikingNet) -> Results:
        """Call a model from several threads at once, the reference from one after another."""
        xs = [self.train(model, salt) for salt in range(4)]
        found: Results = {}

        def work(k: int) -> None:
            try:
                with self.recording():
                    out = model(xs[k])
                given = self.gradients(model, out, xs[k]) | {"out": out.detach().clone()}
                found.update({f"{name} in thread {k}": value for name, value in given.items()})
            except Exception as error:
                found[f"out in thread {k}"] = error

        workers = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(len(xs))]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        for worker in workers:
            worker.run() if model.mode == "step" else worker.start()
        for worker in workers if model.mode != "step" else ():
            worker.join(timeout=60.0)
            assert not worker.is_alive(), "a thread hangs"
        sys.setswitchinterval(interval)
        model.reset()
        return found

    def transform(self, model: SpikingNet) -> Results:
        """Differentiate with torch.func, for all samples together and for each by itself."""
        # inside a transform, nobody sees a NaN
        x = self._replace(layout="plain").train(model).detach()
        weights = {name: weight.detach() for name, weight in model.named_parameters()}

        def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(model, weights, (x,))
            return (out.flatten(1) * torch.linspace(-1, 1, out.shape[1:].numel(), dtype=out.dtype)).sum()

        grad, vmap = torch.func.grad, torch.func.vmap
        several = {name: torch.stack([weight, 1.1 * weight]) for name, weight in weights.items()}
        ways: list[Callable[[], Any]] = [
            lambda: grad(loss)(weights, x),
            lambda: vmap(grad(loss), (None, 0))(weights, x.unsqueeze(1)),
            lambda: vmap(grad(loss), (0, None))(several, x),
            lambda: torch.func.jvp(loss, (weights, x), (weights, torch.ones_like(x)))[1],
        ]
        try:
            found = tree_leaves(ways[self.seed % len(ways)]())
        finally:
            model.reset()
        return {f"d {k}": value.detach() for k, value in enumerate(found)}

    def curvature(self, model: SpikingNet) -> Results:
        """Differentiate twice."""
        x = self.train(model)
        out = model(x)
        leaves = list(self.wanted(model, x).values())
        first = gradients([(out, cotangent(out, self.seed))], leaves, create_graph=True) if leaves else []
        second = gradients([(each, 2 * each) for each in first], leaves)
        return {f"d d {k}": each.detach() for k, each in enumerate(second)}

    def recording(self) -> AbstractContextManager[Any]:
        if self.grad == "inference":
            return torch.inference_mode()
        if self.grad == "nothing":
            return torch.no_grad()
        return torch.autograd.graph.save_on_cpu() if self.then == "saved" else nullcontext()

    def train(self, model: SpikingNet, salt: int = 0) -> Tensor:
        """Return currents or spikes, (N, T, ...)."""
        net: Any = model.net
        generator = torch.Generator().manual_seed(100 * self.seed + salt)
        x = 3.0 * torch.rand(self.N, self.T, *net.takes, generator=generator, dtype=torch.float64) - 0.8
        x = laid_out((x > 0.5).double() if self.seed % 2 else x, self.layout)
        x.requires_grad = self.grad in ("all", "input")
        return 1.0 * x if self.layout == "computed" else x

    def starts(self) -> bool | Tensor:
        """Return init."""
        if self.init in ("some", "all"):
            return torch.arange(self.N) % (2 if self.init == "some" else 1) == 0
        return self.init == "new"

    def wanted(self, model: SpikingNet, *xs: Tensor) -> dict[str, Tensor]:
        leaves = {f"x{k}": x for k, x in enumerate(xs)} | dict(model.named_parameters())
        if self.grad in ("weights", "input"):
            leaves = {name: leaf for name, leaf in leaves.items() if (name == "x0") == (self.grad == "input")}
        return {name: leaf for name, leaf in leaves.items() if leaf.requires_grad and not leaf.is_inference()}

    def gradients(self, model: SpikingNet, out: Tensor, *xs: Tensor) -> Results:
        """Return the gradients of inputs and weights, for random cotangents of all that carries a graph."""
        roots = [root for root in (out, *remembered(model).values()) if getattr(root, "requires_grad", False)]
        leaves = self.wanted(model, *xs)
        if not roots or not leaves:
            return {}
        cotangents = [cotangent(root, self.seed + k) for k, root in enumerate(roots)]
        if self.then == "backward":
            torch.autograd.backward(roots, cotangents, retain_graph=True)
            found = {f"d {name}": leaf.grad for name, leaf in leaves.items() if leaf.is_leaf and leaf.grad is not None}
            model.zero_grad()
            return found
        found = {}
        for turn in range(1 + (self.then == "backward twice")):
            each = gradients(zip(roots, cotangents, strict=True), [*leaves.values()], retain_graph=True)
            found |= {f"d {name}{' again' * turn}": value for name, value in zip(leaves, each, strict=True)}
        return found


def remembered(model: SpikingNet) -> Results:
    """Return v, s and act of each spiking layer, as they are."""
    found: Results = {}
    for name, layer in model.net.named_modules():
        if isinstance(layer, StepLayer):
            kept = tree_leaves([getattr(layer, what, None) for what in ("v", "s", "act")])
            found |= {f"{name}.{k}": leaf for k, leaf in enumerate(kept)}
    return found


def snapshot(model: SpikingNet) -> Results:
    """Return buffers, and what spiking layers remember."""
    found: Results = {f"buffer {name}": value for name, value in model.named_buffers() if isinstance(value, Tensor)}
    found |= remembered(model)
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in found.items()}


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return the numbers of x in another layout."""
    if layout == "time first":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "strided":
        return torch.stack([x, x + 1], -1).select(-1, 0)
    if layout == "with NaN":
        return torch.where(x > 2.0, torch.nan, x)
    if layout == "expanded" and len(x):
        return x[:1].expand_as(x)
    if layout == "channels last" and x.ndim == 5:
        return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
    return x


# --- changes ----------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """Something that happens to a model between its calls: one of CHANGES, at a place or with a value of several."""

    what: str
    place: int = 0

    def __call__(self, model: SpikingNet) -> Any:
        return CHANGES[self.what](model, self.place)


def train(net: nn.Module) -> nn.Module:
    """Set a network to training, but for dropout that draws, since its masks depend on the mode."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            module.eval()
    return net


def halved(_module: nn.Module, _inputs: Any, out: Tensor) -> Tensor:
    """Do what a hook may do."""
    return 0.5 * out


def _one(found: Sequence[Any], place: int) -> Sequence[Any]:
    """Return one thing of several, or none of none."""
    return found[place % max(len(found), 1) :][:1]


def _layers(model: SpikingNet) -> list[StepLayer]:
    return [layer for layer in model.modules() if isinstance(layer, StepLayer)]


def _optimizer(model: SpikingNet, place: int) -> None:
    generator = torch.Generator().manual_seed(place)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
    (torch.optim.SGD if place % 2 else torch.optim.Adam)(model.parameters(), lr=0.02).step()
    model.zero_grad()


def _new_parameter(model: SpikingNet, place: int) -> None:
    owners = [(module, name) for module in model.modules() for name in dict(module.named_parameters(recurse=False))]
    for module, name in _one(owners, place):
        setattr(module, name, nn.Parameter(1.1 * getattr(module, name).detach()))


def _new_float(model: SpikingNet, place: int) -> None:
    holders = [*_layers(model), *[layer.step for layer in _layers(model) if isinstance(layer.step, Gained)]]
    owners = [(holder, name) for holder in holders for name, value in vars(holder).items() if isinstance(value, float)]
    for layer, name in _one(owners, place):
        setattr(layer, name, 1.25 * getattr(layer, name))


def _new_data(model: SpikingNet, place: int) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and not is_lazy(tensor):
            tensor.data = 0.9 * tensor.data


def _new_rule(model: Any, place: int) -> None:
    for layer in model.modules():
        if hasattr(layer, "reset_rule"):
            layer.surrogate, layer.reset_rule = [*STYLES.values()][place % len(STYLES)]


def _new_layer(model: Any, place: int) -> None:
    for k, part in enumerate(model.net):
        if isinstance(part, StepLayer):
            model.net[k] = SpikingDecay(2.0, 0.43)


def _call_layer(model: SpikingNet, place: int) -> None:
    for layer in _one([layer for layer in _layers(model) if isinstance(layer.s, Tensor)], place):
        if not isinstance(layer, BioLIF):
            layer(torch.full_like(layer.s, 0.4))


def _mix(model: SpikingNet, place: int) -> None:
    for block in model.modules():
        if isinstance(block, Timed):
            block.on, block.strength = not block.on, 0.5 * (1 + place)


def _set(name: str, *values: Any) -> Callable[[SpikingNet, int], None]:
    return lambda model, place: setattr(model, name, values[place % len(values)])


def _freeze(model: SpikingNet, place: int) -> None:
    for k, weight in enumerate(model.parameters()):
        weight.requires_grad_(k % 3 != place % 4)


def _reload(model: SpikingNet, place: int) -> None:
    scaled = {name: 0.9 * value if value.is_floating_point() else value for name, value in model.state_dict().items()}
    model.load_state_dict(scaled)


# each changes a model in place, or returns another one
def pickled(model: Any) -> Any:
    """Return a model from its pickle; the model itself if it holds a function without a name that can be imported."""
    try:
        return pickle.loads(pickle.dumps(model))
    except (AttributeError, pickle.PicklingError):
        return model


CHANGES: dict[str, Callable[[Any, int], Any]] = {
    "train": lambda model, place: train(model),
    "eval": lambda model, place: model.eval(),
    "deepcopy": lambda model, place: copy.deepcopy(model),
    "pickle": lambda model, place: pickled(model),
    "float32 and back": lambda model, place: model.to(torch.float32).to(torch.float64),
    "channels last": lambda model, place: model.to(memory_format=torch.channels_last),
    "optimizer": _optimizer,
    "reload": _reload,
    "new parameter": _new_parameter,
    "new float": _new_float,
    "new data": _new_data,
    "new rule": _new_rule,
    "new layer": _new_layer,
    "freeze": _freeze,
    "mix": _mix,
    "mix in": lambda model, place: model.net.insert(place % (len(model.net) + 1), Called("mean", "mixing")),
    "hook": lambda model, place: _one([*model.net.modules()], place)[0].register_forward_hook(halved),
    "time_chunk": _set("time_chunk", 3, 1, None),
    "carry_graph": _set("carry_graph", True, False),
    "call a layer": _call_layer,
    "reset a layer": lambda model, place: _one(_layers(model), place)[0].reset(),
    "reset": lambda model, place: model.reset(),
    "detach": lambda model, place: model.detach_(),
}
