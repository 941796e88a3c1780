"""SpikingNet: an ordinary module, run over a train of spikes."""

import inspect
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch import _checks as checks
from spikingtorch.steplayer import StepLayer


class SpikingNet(nn.Module):
    """Run a network over time, one step after the other.

        out[:, t] = net(x[:, t], init)          init is True at t = 0 and False after it

    Args:
        net: a module whose ``forward(self, x, init)`` takes one step of a batch, (N, ...), hands ``init`` to each of
            its spiking layers, and returns (N, *Nout).
        Nout: shape of the output of one sample at one step; a tuple, or an int for one axis.
        carry_graph: keep the state of the layers attached to its graph when a call ends, so that the next one, with
            ``init=False``, differentiates through it. By default a call leaves plain numbers behind.

    Raises:
        TypeError: net is no module, or its ``forward`` takes no ``init``.

    >>> from spikingtorch import IF
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.neurons = IF()
    ...     def forward(self, x, init):
    ...         return self.neurons(x, init)
    >>> model = SpikingNet(Net(), (1,))
    >>> model(torch.full((1, 4, 1), 0.6)).flatten()
    tensor([0., 1., 0., 1.])
    """

    def __init__(self, net: nn.Module, Nout: int | Sequence[int], *, carry_graph: bool = False) -> None:
        super().__init__()
        _check_takes_init(net)
        self.net = net
        self.Nout = _shape(Nout)
        self.carry_graph = carry_graph

    def forward(self, x: Tensor, init: bool | Tensor = True) -> Tensor:
        """Run the network over a train.

        Args:
            x: floating, shape (N, T, ...), as the encoders make it; T is at least 1, N may be 0.
            init: True to start a new sequence, False to go on with the last one, or a bool tensor (N,) of the samples
                that start anew.

        Returns:
            The output at each step, shape (N, T, *Nout).

        Raises:
            ValueError: x has a wrong rank, no steps, NaN or infinities, or lies on another device than the network; the
                network returns another shape than Nout; a stream is to go on inside a ``torch.func`` transform.
            TypeError: x is not floating, or of another dtype than the network.
        """
        self._check_input(x)
        if init is True:
            self.reset()  # for a layer that is not handed init as well
        elif checks.functorch_active() and any(layer._memory is None for layer in self._layers()):
            raise ValueError(
                "SpikingNet: init is not True inside a torch.func transform, where no call leaves a state to go on "
                "from. Give the transform the whole train in one call, or use functional.scan, which returns the state"
            )
        elif not self.carry_graph:
            self.detach_()
        outputs: list[Tensor] = []
        for x_t in x.unbind(1):
            out = self._first_step(x_t, init) if not outputs else self.net(x_t, False)
            outputs.append(out)
        if not self.carry_graph or checks.functorch_active():
            for layer in self._layers():
                layer._end_of_sequence()
        return torch.stack(outputs, 1)

    def _first_step(self, x: Tensor, init: bool | Tensor) -> Tensor:
        try:
            out: Tensor = self.net(x, init)
        except RuntimeError as error:
            error.add_note(
                f"SpikingNet: raised in the first step, where net saw a batch of shape {tuple(x.shape)}. "
                "SpikingNet takes (N, T, ...); an encoder adds the steps"
            )
            raise
        self._check_output(out, x.shape[0])
        return out

    def reset(self) -> None:
        """Forget the state of every spiking layer."""
        for layer in self._layers():
            layer.reset()

    def detach_(self) -> None:
        """Cut the state of every spiking layer from the graph that computed it."""
        for layer in self._layers():
            layer.detach_()

    def _layers(self) -> Iterator[StepLayer]:
        return (module for module in self.net.modules() if isinstance(module, StepLayer))

    def _check_input(self, x: Tensor) -> None:
        checks.check_floating("SpikingNet", "x", x)
        checks.check_rank("SpikingNet", "x", x, "(N, T, ...): samples, steps, features; an encoder adds the steps", 2)
        if x.shape[1] == 0:
            raise ValueError(f"SpikingNet: x has shape {tuple(x.shape)}, which has no steps; T must be 1 or more")
        checks.value_range("SpikingNet", "x", x)
        weight = next(self.net.parameters(), None)
        if weight is None:
            return
        if x.device != weight.device:
            raise ValueError(
                f"SpikingNet: x is on {x.device}, the network on {weight.device}. Move one of them with .to(device)"
            )
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"SpikingNet: x is {x.dtype}, the network {weight.dtype}. Convert one of them with .to(dtype)"
            )

    def _check_output(self, out: Tensor, N: int) -> None:
        if not isinstance(out, Tensor):
            raise TypeError(f"SpikingNet: net returned a {type(out).__name__}, expected a tensor")
        if out.shape != (N, *self.Nout):
            raise ValueError(
                f"SpikingNet: net returned shape {tuple(out.shape)}, expected (N, *Nout) = {(N, *self.Nout)}. "
                "Change Nout, or flatten what forward returns"
            )

    def extra_repr(self) -> str:
        """Name the output shape."""
        return f"Nout={self.Nout}"


def _shape(Nout: int | Sequence[int]) -> tuple[int, ...]:
    sizes: Any = (Nout,) if isinstance(Nout, Integral) else Nout
    fits = isinstance(sizes, Sequence) and all(isinstance(n, Integral) and int(n) > 0 for n in sizes)
    if not fits or isinstance(Nout, bool):
        raise ValueError(f"SpikingNet: Nout={Nout!r}, expected the shape of one output, such as (10,) or 10")
    return tuple(int(n) for n in sizes)


def _check_takes_init(net: nn.Module) -> None:
    if not isinstance(net, nn.Module):
        hint = f"; make one of the class: {net.__name__}()" if isinstance(net, type) else ""
        raise TypeError(f"SpikingNet: net is a {type(net).__name__}, expected a torch.nn.Module{hint}")
    signature = inspect.signature(net.forward)
    try:
        signature.bind(None, True)
    except TypeError:
        raise TypeError(
            f"SpikingNet: {type(net).__name__}.forward{signature} must take two arguments, forward(self, x, init), and "
            "hand init to each spiking layer: s = self.layer(x, init)"
        ) from None
