"""Real-time recurrent learning of a whole network.

Let S be the state of all layers and theta a weight. The influence P = dS/dtheta runs forward in time:

    P[t] = dS[t]/dS[t-1] P[t-1] + dS[t]/dtheta

Nothing is left out: states of other neurons and layers, recurrent weights, resets and delays are all entries of S. A
step costs as many runs of the network as there are weights, and P has (weights x neurons) entries for each sample.

Source: R. J. Williams, D. Zipser, Neural Comput. 1 (1989), doi:10.1162/neco.1989.1.2.270.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap

from spikingtorch.functional.core.surroundings import same_random_numbers
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.learning.online_step import Memories, Stepper, Tape, generators_of
from spikingtorch.spikingnet.pure import run

# weights whose columns of the influence are computed together
_TOGETHER = 512


class Exact:
    """The influence of every entry of every weight on the whole state."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.memories: Memories | None = None
        self.names: tuple[str, ...] = ()  # the weights, in the order of the columns
        # for each tensor of the state, its derivative by every entry of every weight: (entries, N, ...)
        self.before: dict[str, Tensor] = {}
        self.now: dict[str, Tensor] = {}
        self._tape: Tape | None = None

    def reset(self) -> None:
        """Forget the past."""
        self.memories = self._tape = None
        self.names, self.before, self.now = (), {}, {}

    def get_past(self) -> dict[str, Tensor]:
        """Return copies of the influence on each tensor of the state after the last step."""
        return {key: each.clone() for key, each in self.now.items()}

    def set_past(self, memories: Memories, past: Mapping[str, Tensor]) -> None:
        """Continue from memories, and from the influence of the weights that are trained now."""
        self.reset()
        trained = {name: each for name, each in self.stepper.model.named_parameters() if each.requires_grad}
        size, state = sum([each.numel() for each in trained.values()]), self.stepper.named(memories)
        shapes = (
            {key: (size, *each.shape) for key, each in state.items() if each.is_floating_point()} if trained else {}
        )
        if shapes != {key: tuple(each.shape) for key, each in past.items()}:
            raise ValueError(
                "learning.online: the influence in the state is that of other weights. Hand over what get_state() of a "
                "learner with the same rule and network returned, with the same weights frozen"
            )
        self.memories, self.names = memories, tuple(trained)
        self.now = {key: each.detach().clone() for key, each in past.items()}

    def step(self, x: Tensor, init: bool | Tensor) -> Any:
        """Advance one step, and the influence; return the output with its graph."""
        with torch.enable_grad():
            tape = self._tape = self.stepper.run(self.memories, x, init, None)
        self.memories = tape.memories
        known = dict(self.stepper.model.named_parameters())
        if tape.state is None:
            self.names = tuple(name for name, each in known.items() if each.requires_grad)
        self.before = self.now
        if self.names and any([each.is_floating_point() for each in tape.after.values()]):
            with torch.no_grad():
                self.now = self._columns(tape, {name: known[name].detach() for name in self.names})
        return tape.out

    def backward(self, grads: list[Tensor]) -> None:
        """Add the gradient of a loss to ``.grad``, from its gradients by the outputs of the step."""
        tape = self._tape
        assert tape is not None
        outs = [(out, grad) for out, grad in zip(leaves_of(tape.out), grads, strict=True) if out.requires_grad]
        if not outs:
            return
        torch.autograd.backward([out for out, _ in outs], [grad for _, grad in outs], retain_graph=True)
        found = []
        for key, leaf in (tape.state or {}).items():
            if leaf.grad is not None and key in self.before:
                found.append(self.before[key].flatten(1) @ leaf.grad.flatten())
            leaf.grad = None
        if not found:
            return
        weights = [dict(self.stepper.model.named_parameters())[name] for name in self.names]
        parts = sum(found[1:], found[0]).split([each.numel() for each in weights])
        for weight, part in zip(weights, parts, strict=True):
            if weight.requires_grad:
                torch.autograd.backward([weight], [part.reshape(weight.shape)])

    def _columns(self, tape: Tape, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the derivative of the state after a step by every entry of the weights."""
        state = {key: each.detach() for key, each in (tape.state or {}).items()}
        moving = {key: each for key, each in state.items() if each.is_floating_point()}
        places = torch.arange(sum(each.numel() for each in weights.values()), device=tape.x.device)
        own = dict(zip(weights, places.split([each.numel() for each in weights.values()]), strict=True))

        def after(moved: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
            before = None if tape.state is None else state | moved
            found = run(self.stepper.model, before, tape.x.unsqueeze(1), init=tape.init, params=given)[0]
            return {key: each for key, each in found.items() if each.is_floating_point()}

        def column(place: Tensor, tangents: dict[str, Tensor]) -> Any:
            one = {key: (own[key] == place).to(each.dtype).reshape(each.shape) for key, each in weights.items()}
            return jvp(after, (moving, weights), (tangents, one))[1]

        def work() -> dict[str, Tensor]:
            assert tape.random is not None
            tape.random.put_back()  # the masks of dropout are those of the step
            for generator, before in tape.generators.items():
                generator.set_state(before)
            found: dict[str, Tensor] = vmap(column, chunk_size=_TOGETHER, randomness="same")(places, self.before)
            return found

        later = generators_of(self.stepper.net)
        try:
            return same_random_numbers(tape.x.device, work)
        except NotImplementedError as error:
            raise ValueError(
                "learning.online: rule='exact' differentiates the network in forward mode, and one of its operations "
                f"has no such derivative ({str(error).splitlines()[0]}). Leave that operation out, for instance the "
                "normalisation of a weight, or train with back-propagation through time"
            ) from error
        finally:
            for generator, after_step in later.items():
                generator.set_state(after_step)
