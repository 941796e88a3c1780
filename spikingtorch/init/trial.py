"""Trial: a copy of a network whose weights are scaled, while the network itself stays unchanged."""

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.sharing import copied
from spikingtorch.functional.core.surroundings import same_random_numbers
from spikingtorch.functional.core.torch_private import AnyDropout
from spikingtorch.init.feeding import Inputs, call_all, feeding, inputs_of, named, own_weights, spikes_of
from spikingtorch.init.search import CLOSE, TOLERANCE, hint, near, search
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.dropout import SequenceDropout
from spikingtorch.layers.frame import frame_of
from spikingtorch.layers.padding import Lengths
from spikingtorch.layers.time_norm import needs_sequence
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.validation import check_lengths

# the number of trials of a layer whose input is not linear in the factor, and of all layers if later ones feed earlier
# ones
_ATTEMPTS, _SWEEPS = 8, 4


class _Record(NamedTuple):
    """The inputs and outputs of a layer in a run.

    Attributes:
        rate: mean of its spikes.
        inputs: of all steps, (N, T, ...).
    """

    rate: float
    inputs: Inputs


class Trial:
    """A copy of a network, and the factors of its weights.

    Args:
        model: the network.
        x: batch, (N, T, ...).
        lengths: of its samples.
    """

    def __init__(self, model: SpikingNet, x: Tensor, lengths: Lengths | None) -> None:
        self._model, self._x, self._lengths = _copy(model), x, lengths
        self._paths = {module: path for path, module in self._model.net.named_modules()}
        # read before the layers have hooks
        self._alone = {each: copy.deepcopy(each) for each in self._paths if isinstance(each, StatefulLayer)}
        feeders = feeding(self._paths, self._alone, self._run)  # the network reads x and lengths, too
        self._weights = own_weights(feeders, self._paths)
        self._before = {name: self._parameter(name).clone() for names in self._weights.values() for name in names}
        self._scales = dict.fromkeys(self._weights, 1.0)
        self._running: Tensor | None = None
        if lengths is not None:
            ends = check_lengths("to_rate_", lengths, x.shape[0], x.shape[1]).to(x.device)
            self._running = torch.arange(int(ends.max()), device=x.device) < ends[:, None]

    def reach(self, rate: float) -> dict[str, float]:
        """Scale until every layer fires at a rate, and return the rates by path; raise ValueError if one does not."""
        reached: dict[StatefulLayer, float] = {}
        off: list[StatefulLayer] = []
        for _ in range(_SWEEPS):
            for layer in self._weights:
                self._tune(layer, rate)
            reached = {layer: record.rate for layer, record in self._measure(self._weights).items()}
            off = [layer for layer, each in reached.items() if not near(each, rate, rate, TOLERANCE)]
            if not off:
                return {self._paths[layer]: each for layer, each in reached.items()}
        text = "Layers that are called after it drive it as well, and setting them takes it off its rate again"
        raise ValueError(self._unreached(off[0], reached[off[0]], rate, text))

    def scaled(self) -> dict[str, Tensor]:
        """Return the weights and biases that have changed, by name."""
        changed = [layer for layer, scale in self._scales.items() if scale != 1.0]
        return {name: self._parameter(name) for layer in changed for name in self._weights[layer]}

    def _tune(self, layer: StatefulLayer, rate: float) -> None:
        """Scale the weights that feed one layer.

        For a factor f, its input is x(f) = a + f b, where a is 0 or the input from a skip connection. If f enters in
        another way, as through a ReLU of a sum, this is the line through x(1) and x(2), and another trial follows.
        """
        found, a, b = None, Inputs(), Inputs()
        one = self._measure([layer], keep=True)[layer]
        for _ in range(_ATTEMPTS):
            goals = [rate] if found is None else [rate, found.rate]
            if any([near(one.rate, goal, rate, CLOSE) for goal in goals]):
                break
            self._scale(layer, 2.0)
            two = self._measure([layer], keep=True)[layer]
            self._scale(layer, 0.5)
            a = {key: 2.0 * x - two.inputs[key] for key, x in one.inputs.items()}
            b = {key: two.inputs[key] - x for key, x in one.inputs.items()}
            found = search(partial(self._rate_alone, layer, a, b), rate, _most(b))
            self._scale(layer, found.factor)
            one = self._measure([layer], keep=True)[layer]
        if found is not None and not near(one.rate, rate, rate, TOLERANCE):
            rest, change = _largest(a), _largest(b)
            text = hint(found, rate, is_fed=rest + change > 0.0, follows=change > 0.01 * rest)
            raise ValueError(self._unreached(layer, one.rate, rate, text))

    @torch.no_grad()
    def _scale(self, layer: StatefulLayer, factor: float) -> None:
        self._scales[layer] *= factor
        for name in self._weights[layer]:
            self._parameter(name).copy_(self._before[name] * self._scales[layer])

    def _parameter(self, name: str) -> Tensor:
        return self._model.net.get_parameter(name).detach()

    def _run(self) -> None:
        torch.clear_autocast_cache()  # which holds the old weights
        same_random_numbers(self._x.device, partial(self._model, self._x, lengths=self._lengths))

    @torch.no_grad()
    def _measure(self, layers: Iterable[StatefulLayer], keep: bool = False) -> dict[StatefulLayer, _Record]:
        """Run the network; return the rates of layers and, if wanted, their inputs."""
        spikes: dict[StatefulLayer, list[Tensor]] = {layer: [] for layer in layers}
        inputs: dict[StatefulLayer, dict[int | str, list[Tensor]]] = {layer: {} for layer in spikes}

        def note(layer: Any, args: Any, kwargs: Any, output: Any) -> None:
            output = spikes_of(layer, output)
            # in a fold, one call is all steps
            frame = frame_of(layer)
            fold = None if frame is None else frame.fold
            size = (output.shape[0], 1) if fold is None else (fold.N, fold.T)
            spikes[layer].append(output.view(*size, *output.shape[1:]) != 0)
            for key, x in inputs_of(args, kwargs).items() if keep else ():
                inputs[layer].setdefault(key, []).append(x.clone().view(*size, *x.shape[1:]))

        with ExitStack() as hooks:
            for layer in spikes:
                hooks.enter_context(layer.register_forward_hook(note, with_kwargs=True))
            self._run()
        joined = {layer: {key: torch.cat(parts, 1) for key, parts in inputs[layer].items()} for layer in spikes}
        return {layer: _Record(self._rate(layer, torch.cat(spikes[layer], 1)), joined[layer]) for layer in spikes}

    @torch.no_grad()
    def _rate_alone(self, layer: StatefulLayer, a: Inputs, b: Inputs, factor: float) -> float:
        """Return the rate of a layer whose input is a + factor b."""
        inputs = {key: a[key] + factor * b[key] for key in a}
        spikes = same_random_numbers(self._x.device, partial(call_all, self._alone[layer], inputs))
        return self._rate(layer, spikes)

    def _rate(self, layer: StatefulLayer, spikes: Tensor) -> float:
        """Return the mean of spikes (N, T, ...) over all steps that are not padding."""
        expected = self._x.shape[:2] if self._running is None else self._running.shape
        if spikes.shape[:2] != expected:
            raise ValueError(
                f"to_rate_: layer {named(layer, self._paths)} gives out (samples, steps) = {tuple(spikes.shape[:2])} "
                f"for a batch of {tuple(expected)}. Call it once a step, with the samples on the first axis"
            )
        counted = spikes if self._running is None else spikes[self._running]
        return int(counted.count_nonzero()) / max(counted.numel(), 1)

    def _unreached(self, layer: StatefulLayer, reached: float, rate: float, text: str) -> str:
        return (
            f"to_rate_: layer {named(layer, self._paths)} reaches a rate of {reached:.3g} by scaling "
            f"{', '.join(self._weights[layer])}, expected {rate:g} within 20 %. {text}. Nothing was changed"
        )


def _copy(model: SpikingNet) -> SpikingNet:
    """Return a copy of a network that takes (N, T, ...), trains all weights and drops nothing."""
    found = copied(model)
    for module in found.modules():
        if isinstance(module, AnyDropout | SequenceDropout):
            module.eval()
    for parameter in found.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    at_once = model.mode == "fold" or model.statistics == "sequence" or any(map(needs_sequence, found.modules()))
    found.mode = "fold" if at_once else "step"
    found.warn_silent, found.batch_first = False, True
    return found


def _largest(inputs: Inputs) -> float:
    return max(float(x.abs().max()) for x in inputs.values())


def _most(inputs: Inputs) -> float:
    """Return the largest factor of inputs for which a neuron can sum them in their dtype without overflow."""
    room = min(torch.finfo(x.dtype).max for x in inputs.values()) / 1000.0
    largest = _largest(inputs)
    return room / largest if largest > 0.0 else room
