"""run: a network as a pure function, which takes and returns its state."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikingtorch.layers.frame import Frame
from spikingtorch.layers.padding import Lengths
from spikingtorch.layers.streams import memories_of, state_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.parts import Parts

Tensors = Mapping[str, Tensor]


def run(
    model: SpikingNet,
    state: Tensors | None,
    x: Tensor,
    *,
    params: Tensors | None = None,
    buffers: Tensors | None = None,
    init: bool | Tensor | None = None,
    lengths: Lengths | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
    """Run a network as a pure function of its state, buffers, weights and input.

        state, buffers, outputs = run(model, state, x)

    It computes the same as ``model(x, init, lengths)``, and leaves the model unchanged. Layers keep their state, and
    batch norms keep their statistics. Generators of the model, such as that of a ``StochasticLIF``, keep their
    position. So all of ``torch.func`` works on it: gradients of each sample, ``vmap`` over states and weights, ``jvp``
    through time. The graph of a state is kept: gradients flow from a call to the one before it, unless you detach the
    state.

    Args:
        model: the network.
        state: the state that it starts from, as ``model.get_state()`` returns it; None for rest.
        x: the input, as the model takes it.
        params: weights instead of the model's, by their names in ``model.named_parameters()``. The others are taken
            from the model.
        buffers: buffers instead of the model's, by their names in ``model.named_buffers()``. They are not written on.
        init: as the model takes it. If it is left out, it is True without a state, and False with one.
        lengths: as the model takes them.

    Returns:
        The state after the last step, all buffers after the call, and the output of the model.

    Raises:
        TypeError: model is no SpikingNet.
        ValueError: the model has no weights or buffers of a name, or the state is that of another network. Or init is
            True, which would forget the state. Or ``torch.export`` traces the call, and a module stands at two places.
            Also the errors of a call of the model.

    >>> from spikingtorch import IF
    >>> model = SpikingNet(nn.Sequential(IF()))
    >>> state, _, out = run(model, None, torch.full((1, 3, 1), 0.3))
    >>> state, out.flatten()
    ({'0.v': tensor([[0.9000]])}, tensor([0., 0., 0.]))
    >>> run(model, state, torch.full((1, 3, 1), 0.3))[2].flatten()
    tensor([1., 0., 0.])
    """
    if not isinstance(model, SpikingNet):
        raise TypeError(f"run: model is a {type(model).__name__}, expected a SpikingNet")
    if state is not None and init is True:
        raise ValueError("run: init is True, which starts at rest, and a state is given. Leave one of them out")
    given = _of_model("params", params, dict(model.named_parameters()))
    kept = dict(model.named_buffers())
    copies = {name: each.clone() for name, each in (kept | _of_model("buffers", buffers, kept)).items()}
    whole = _Whole(model)
    tensors = {f"model.{name}": each for name, each in (given | copies).items()}
    start = state is None if init is None else init
    after, out = functional_call(whole, tensors, (state, x, start, lengths))
    return after, copies, out


def _of_model(what: str, given: Tensors | None, known: Tensors) -> dict[str, Tensor]:
    """Return tensors by name; raise ValueError if the model has no tensor of a name."""
    if unknown := {*(given or {})} - {*known}:
        names = ", ".join(known) or "none"
        raise ValueError(f"run: {what} names {', '.join(sorted(unknown))}, and those of the model are {names}")
    return dict(given or {})


class _Whole(nn.Module):
    """A network with its state as an argument and a result, for ``functional_call``."""

    def __init__(self, model: SpikingNet) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, state: Tensors | None, x: Tensor, init: bool | Tensor, lengths: Lengths | None
    ) -> tuple[dict[str, Tensor], Any]:
        """Return the state after the last step, and the outputs."""
        model, parts = self.model, Parts.of(self.model.net)
        # torch's stand-ins for modules, another one for each look at a module
        if torch.compiler.is_exporting() and any(hasattr(layer, "get_base") for layer in parts.layers):
            raise ValueError(
                "run: a module stands at two places of the network, and torch.export then hides which layer a state is "
                "of. Give each place a module of its own; second.weight = first.weight shares the weights"
            )
        frame = Frame(parts.layers, parts.places, is_pure=True)
        found = [each for module in parts.modules for each in vars(module).values()]
        generators = {each: each.get_state() for each in found if isinstance(each, torch.Generator)}

        def work() -> tuple[dict[str, Tensor], Any]:
            frame.memories.update(memories_of(model.net, dict(state or {})))
            with frame:
                out = model(x, init, lengths)
                after = state_of(model.net, with_graph=True)
            put_back()
            return after, out

        def put_back() -> None:
            for generator, before in generators.items():
                generator.set_state(before)

        return work() if torch.compiler.is_compiling() else model.alone(work, put_back)
