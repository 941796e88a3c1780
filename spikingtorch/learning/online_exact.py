"""Real-time recurrent learning of a whole network.

Let S be the state of all layers and theta a weight. The influence P = dS/dtheta runs forward in time:

    P[t] = dS[t]/dS[t-1] P[t-1] + dS[t]/dtheta

Nothing is left out: states of other neurons and layers, recurrent weights, resets and delays are all entries of S. A
step costs as many runs of the network as there are weights, and P has (weights x neurons) entries for each sample.

Source: R. J. Williams, D. Zipser, Neural Comput. 1 (1989), doi:10.1162/neco.1989.1.2.270.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap

from spikingtorch.functional.core.surroundings import same_random_numbers
from spikingtorch.learning.online_step import Stepper, Tape
from spikingtorch.spikingnet.pure import run

# weights whose columns of the influence are computed together
_TOGETHER = 512


class Exact:
    """The influence of every weight on the whole state."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.before: dict[str, dict[str, Tensor]] = {}
        self.now: dict[str, dict[str, Tensor]] = {}

    def reset(self) -> None:
        """Forget the past."""
        self.now = {}

    def advance(self, tape: Tape) -> None:
        """Compute the influence on the state after a step."""
        self.before = self.now
        weights = {name: each for name, each in self.stepper.model.named_parameters() if each.requires_grad}
        self.now = {name: self._columns(tape, name, weight.detach()) for name, weight in weights.items()}

    def add(self, signals: dict[str, Tensor]) -> None:
        """Add the gradient through the state before the step to ``.grad``."""
        weights = dict(self.stepper.model.named_parameters())
        for name, influence in self.before.items():
            found = [influence[key].flatten(1) @ signal.flatten() for key, signal in signals.items()]
            if found:
                torch.autograd.backward([weights[name]], [sum(found[1:], found[0]).reshape(weights[name].shape)])

    def _columns(self, tape: Tape, name: str, weight: Tensor) -> dict[str, Tensor]:
        """Return the derivative of the state by one weight tensor: for each state (entries of the weight, N, ...)."""
        count = math.prod(weight.shape)
        state = {key: each.detach() for key, each in (tape.state or {}).items()}
        moving = {key: each for key, each in state.items() if each.is_floating_point()}

        def after(moved: dict[str, Tensor], given: Tensor) -> dict[str, Tensor]:
            before = None if tape.state is None else state | moved
            found = run(self.stepper.model, before, tape.x.unsqueeze(1), init=tape.init, params={name: given})[0]
            return {key: each for key, each in found.items() if each.is_floating_point()}

        def column(entry: Tensor, tangents: dict[str, Tensor]) -> Any:
            one = (torch.arange(count, device=weight.device) == entry).to(weight.dtype).reshape(weight.shape)
            return jvp(after, (moving, weight), (tangents, one))[1]

        influence = self.before.get(name) or {
            key: each.new_zeros(()).expand(count, *each.shape) for key, each in moving.items()
        }
        columns = vmap(column, chunk_size=_TOGETHER, randomness="same")

        def work() -> dict[str, Tensor]:
            assert tape.random is not None
            tape.random.put_back()  # the masks of dropout are those of the step
            found: dict[str, Tensor] = columns(torch.arange(count, device=weight.device), influence)
            return found

        return same_random_numbers(weight.device, work)
