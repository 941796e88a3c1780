"""The steps of a network for a check: each with the parameters and the inputs of one of its layers."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.attributes import shown
from spikingtorch.layers.dropout import SequenceDropout
from spikingtorch.layers.reset_value import Valued
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.report.measure import spiking_layers

# the numbers of steps and neurons to compare
LENGTH, NEURONS = 17, 64
# a small shift of inputs, so that no membrane is exactly at its threshold or at a kink of a surrogate
_MOVED = 1e-3
# the smallest slope that an output must have somewhere; and the numbers of changes of an input factor by 4, and by
# halves of it
_SLOPE, _QUARTERS, _HALVINGS = 1e-3, 8, 9


class Subject(NamedTuple):
    """A step with its parameters and inputs."""

    layers: tuple[str, ...]  # names of the layers that run it; parameters and inputs come from the first one
    name: str  # of the step, with its surrogate and its reset rule
    step: Callable[..., Any]  # the whole step of the layer
    state: Any  # at rest, float64
    xs: Any  # inputs, float64, (T, ...)
    params: dict[str, Any]
    spikes: bool  # whether it has a surrogate
    is_own: bool  # whether the user wrote it

    @property
    def detaches(self) -> bool:
        """Whether the reset rule stops the gradient."""
        return isinstance(self.params.get("reset"), F.Detached)

    @property
    def numbers(self) -> int:
        """The number of values that the outputs depend on."""
        leaves = pytree.tree_leaves((self.state, self.xs, self.params))
        return sum(leaf.numel() for leaf in leaves if isinstance(leaf, Tensor))

    def run(self) -> tuple[Any, Any]:
        """Return the last state, and the outputs."""
        with torch.no_grad():
            return F.scan(self.step, self.state, self.xs, params=self.params, backend="loop")

    def narrowed(self, most: int) -> "Subject":
        """Return the subject with few of its neurons, if its neurons are independent."""
        first = leaves_of(self.xs)[0]
        if first[0].numel() <= most or not _is_elementwise(self, first.shape[1:]):
            return self
        busy = (leaves_of(self.run()[1])[0] != 0).sum(0).flatten().argsort(descending=True, stable=True)
        chosen = busy[torch.linspace(0, len(busy) - 1, most).long()]
        shape = first.shape[1:]

        def taken(leaf: Any) -> Any:
            small = not isinstance(leaf, Tensor) or leaf.numel() == 1
            return leaf if small else leaf.expand(shape).flatten()[chosen]

        xs = tree_map(lambda leaf: leaf.flatten(1)[:, chosen], self.xs)
        state, params = pytree.tree_map(taken, self.state), pytree.tree_map(taken, self.params)
        return self._replace(xs=xs, state=state, params=params)

    def driven(self) -> tuple["Subject", bool]:
        """Return the subject with inputs at which some neurons fire, and whether such inputs were found.

        The inputs of the layer are used if neurons fire and membranes come near the threshold, where a surrogate has
        its slope. Otherwise these inputs are multiplied by a factor with which the first neuron just fires. If that
        fails, random inputs are used.
        """
        for start in _starts(self.xs):
            here = self._replace(xs=start)
            if 0.0 < here.share() < 1.0 and here.slope() > _SLOPE:
                return here, True
            just = here.just_firing()
            if just is not None and just.slope() > _SLOPE:
                return just, True
        return self, False

    def share(self) -> float:
        """Return the share of neurons and steps with a spike; NaN if numbers are not finite."""
        state, out = self.run()
        leaves = [leaf for leaf in leaves_of((state, out)) if isinstance(leaf, Tensor)]
        finite = all([bool(leaf.isfinite().all()) for leaf in leaves])
        return float((leaves_of(out)[0] != 0).double().mean()) if finite else torch.nan

    def slope(self) -> float:
        """Return the largest derivative of an output by the inputs; it is nearly zero far from the threshold."""
        xs = tree_map(lambda leaf: leaf.clone().requires_grad_(), self.xs)
        with torch.enable_grad():
            out = leaves_of(F.scan(self.step, self.state, xs, params=self.params, backend="loop")[1])[0]
            if not out.requires_grad:
                return 0.0
            grads = torch.autograd.grad(out.sum(), leaves_of(xs), allow_unused=True)
        return max([float(each.abs().max()) for each in grads if each is not None], default=0.0)

    def just_firing(self) -> "Subject | None":
        """Return the subject with its inputs times the smallest factor with which a neuron fires, or None."""
        fires = self.share() > 0.0
        edge, beyond = 1.0, 1.0
        for _ in range(_QUARTERS):
            edge, beyond = beyond, beyond * (0.25 if fires else 4.0)
            if (self.times(beyond).share() > 0.0) != fires:
                break
        else:
            return None
        low, high = min(edge, beyond), max(edge, beyond)
        for _ in range(_HALVINGS):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self.times(middle).share() > 0.0 else (middle, high)
        return self.times(high)

    def times(self, factor: float) -> "Subject":
        """Return the subject with its first input, a current, times a factor."""
        (first, *rest), form = pytree.tree_flatten(self.xs)
        return self._replace(xs=pytree.tree_unflatten([factor * first, *rest], form))


def subjects_of(model: Any, x: Tensor) -> list[Subject]:
    """Return each step of a network once, on the first sample of x, (N, T, ...).

    The model is a copy, which stays in double precision on the CPU.
    """
    model.cpu().double()
    model.statistics, model.mode = "step", "step"
    layers = {name: layer for name, layer in spiking_layers(model).items() if _is_neuron(layer)}
    seen = {name: _watched(layer) for name, layer in layers.items()}
    with torch.no_grad():
        model(x[:1, :LENGTH].cpu().double())
    groups: dict[Any, list[str]] = {}
    for name, layer in layers.items():
        if seen[name]:
            groups.setdefault(_kind(layer), []).append(name)
    return [_subject(names, layers[names[0]], seen[names[0]]) for names in groups.values()]


def _watched(layer: Any) -> list[Any]:
    """Return a list that gets the inputs of each step of a layer, which belongs to a copy."""
    seen: list[Any] = []
    advance = layer._advance_one

    def watched(inputs: Any, *how: Any) -> Any:
        seen.append(pytree.tree_map(torch.clone, inputs))
        return advance(inputs, *how)

    layer._advance_one = watched
    return seen


def _subject(names: list[str], layer: StepLayer, inputs: list[Any]) -> Subject:
    xs = pytree.tree_map(lambda *leaves: torch.stack(leaves), *inputs)
    with torch.no_grad():
        step, params = layer.whole_step()
        state = layer.initial_state(leaves_of(xs)[0][0])
    is_own = not str(getattr(layer.step, "__module__", "")).startswith("spikingtorch.")
    values = {name: _as_tensor(value, is_own) for name, value in params.items()}
    options = [_name(params[name]) for name in ("surrogate", "reset") if name in params]
    text = ", ".join([*_names(step), *options])
    return Subject(
        tuple(names), text, step, pytree.tree_map(_doubled, state), xs, values, "surrogate" in params or is_own, is_own
    )


def _as_tensor(value: Any, is_own: bool) -> Any:
    """Return a parameter in double precision; a number of the library's steps becomes a tensor with a gradient."""
    if type(value) is float and not is_own:
        return torch.tensor(value, dtype=torch.float64)
    return pytree.tree_map(_doubled, value)


def _doubled(leaf: Any) -> Any:
    """Return a leaf without its graph, in double precision; model.double() does not convert slopes of surrogates."""
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.detach().double() if leaf.is_floating_point() else leaf.detach()


def _names(step: Any) -> list[str]:
    """Return the name of a step and of its wrappers."""
    if isinstance(step, Valued):
        return _names(step.step)
    if isinstance(step, F.Recurrent):
        return [*_names(step.step), f"recurrent ({getattr(step.synapse, '__name__', 'own')})"]
    if isinstance(step, F.Refractory | F.RelativeRefractory):
        return [*_names(step.step), "refractory" if isinstance(step, F.Refractory) else "relative refractory"]
    return [step_name(step)]


def _name(value: Any) -> str:
    """Return a surrogate or a reset rule without its numbers."""
    return shown(value) if isinstance(value, F.Detached) or not hasattr(value, "_fields") else type(value).__name__


def _kind(layer: StepLayer) -> Any:
    """Return a key that differs for layers with different steps."""
    options = [getattr(layer, name, None) for name in ("surrogate", "reset_rule")]
    return id(layer.step), type(layer), *map(_name, options), layer.synapse, layer.refractory is None


def _is_neuron(layer: StepLayer) -> bool:
    """Return True if the layer advances its step by a scan; dropout and pooling of counts are not neurons."""
    plain = type(layer)._advance_all is StepLayer._advance_all and type(layer)._advance_one is StepLayer._advance_one
    return plain and not isinstance(layer, SequenceDropout)


def _is_elementwise(subject: Subject, shape: torch.Size) -> bool:
    """Return True if states and parameters have one value per neuron."""
    if isinstance(subject.step, F.Recurrent) and subject.step.synapse is not F.per_channel:
        return False
    states = [leaf for leaf in pytree.tree_leaves(subject.state) if isinstance(leaf, Tensor)]
    return all([leaf.shape == shape for leaf in states]) and all(
        [_broadcasts(leaf, shape) for leaf in pytree.tree_leaves(subject.params) if isinstance(leaf, Tensor)]
    )


def _broadcasts(leaf: Tensor, shape: torch.Size) -> bool:
    try:
        return bool(torch.broadcast_shapes(leaf.shape, shape) == shape)
    except RuntimeError:
        return False


def _starts(xs: Any) -> Iterator[Any]:
    """Yield slightly shifted inputs, and then random inputs."""
    draw = torch.Generator().manual_seed(0)
    (first, *rest), form = pytree.tree_flatten(xs)
    size = float(first.abs().max()) or 1.0
    moved = first + _MOVED * size * (torch.rand(first.shape, generator=draw, dtype=first.dtype) - 0.5)
    drawn = 2.0 * torch.rand(first.shape, generator=draw, dtype=first.dtype) - 0.6
    for start in (moved, drawn):
        yield pytree.tree_unflatten([start, *rest], form)
