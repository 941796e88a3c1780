"""FoldToken: the ``init`` that a network gets when all steps of a sequence run as one batch."""

from typing import Any, NoReturn

import torch
from torch import Tensor

from spikingtorch.functional.core.sharing import version_of
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import leaves_of


class FoldError(RuntimeError):
    """A network does something that only makes sense one step at a time; the message completes "it ..."."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.remedy = remedy  # the change that would let the network fold


_INIT = "pass init to the spiking layers only, and keep everything that is reset at init in the state of a layer"


class FoldToken:
    """The ``init`` of a folded call: these are T steps of N samples, merged into one batch of N T.

    It has no single truth value: it is true at the first step and false at all others. ``FoldError`` ends the fold if
    code asks for its value, or if code uses a layer so that the steps could get different results.
    """

    dim = 1  # axis of time in what ``split`` returns
    alone = False  # whether a layer by itself runs so, outside of a network
    is_together = False  # whether batch norm takes one statistic over all steps
    supports: Any = None  # collects the places where the derivatives of spikes are not zero, if needed
    refusal: FoldError | None = None  # the reason why the fold has ended

    def __init__(
        self,
        N: int,
        T: int,
        init: bool | Tensor,  # of the first step; it is False for the others
        detaches_state: bool = False,  # whether the last state is kept without its graph
        complete: bool = False,  # whether these are all steps of a sequence
        running: Tensor | None = None,  # mask (N, T), False where a sample is padded; None without padding
        eager: bool = False,  # whether nothing traces, compiles or transforms the call
    ) -> None:
        self.N, self.T, self.init = N, T, init
        self.detaches_state, self.complete, self.running = detaches_state, complete, running
        # whether one kernel can run all of it
        self.plain = eager and running is None and not isinstance(init, Tensor) and not self.alone
        self.called: dict[int, Any] = {}  # the layers that have been called, by their identity
        self.saved: list[tuple[Any, Tensor, int]] = []  # inputs that the backward pass reads, each with its version

    def copy(self) -> "FoldToken":
        """Return a token of the same fold with an empty record of calls."""
        return FoldToken(self.N, self.T, self.init, self.detaches_state, self.complete, self.running)

    def call(self, layer: Any, inputs: Any, init: object) -> Any:
        """Run a layer that takes part in this fold on its folded inputs, (N T, ...)."""
        leaves = self.admit(layer, inputs, init)
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return layer._advance_all(inputs, self)
        versions = [(layer, x, version_of(x)) for x in leaves]
        output = layer._advance_all(inputs, self)
        if any([out.requires_grad for out in leaves_of(output)]):
            self.saved += versions
        return output

    def check_saved(self) -> None:
        """Raise if the network has overwritten the input of a layer, whose old values the gradient needs."""
        for layer, x, version in self.saved:
            if version_of(x) != version:
                self.refuse(
                    f"writes in place on the input of {self.name(layer)}, which the gradient of all steps needs as it "
                    "was (write h = h + layer(h, init), not h += layer(h, init))"
                )

    def refuse(self, reason: str, remedy: str = "") -> NoReturn:
        """End the fold, even if the network catches the exception raised here."""
        self.refusal = FoldError(reason, remedy)
        raise self.refusal

    def admit(self, layer: Any, inputs: Any, init: object) -> list[Tensor]:
        """Return the tensors of an input; raise unless this call gives the same result folded and step by step."""
        if init is not self and not layer.memoryless:
            text = f"calls {self.name(layer)} without handing it the init that forward was given"
            self.refuse(text, "call it as layer(x, init)")
        if id(layer) in self.called:
            text = f"calls {self.name(layer)} twice in a step, and both calls change the same membranes"
            self.refuse(text, "make a layer for each call: each has membranes of its own, and so other results")
        leaves = leaves_of(inputs)
        for x in leaves:
            if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[0] != self.N * self.T:
                got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
                text = f"hands {self.name(layer)} an input ({got}) whose first axis is not the batch"
                self.refuse(text, "hand it (N, ...)")
        self.called[id(layer)] = layer
        return leaves

    def name(self, layer: Any) -> str:
        """Return the name of a layer for messages."""
        return f"a {type(layer).__name__} layer"

    def split(self, x: Tensor) -> Tensor:
        """Return (N, T, ...) for a folded tensor."""
        if torch.compiler.is_exporting():
            x = x.clone(memory_format=torch.contiguous_format)
        return x.view(self.N, self.T, *x.shape[1:])

    def merge(self, x: Tensor) -> Tensor:
        """Return the folded tensor for (N, T, ...)."""
        return x.reshape(self.N * self.T, *x.shape[2:])

    def steps(self, x: Tensor) -> Tensor:
        """Return (N, T, ...) for the rows of a fold, in whatever order they are."""
        found = self.split(x)
        return found if self.dim == 1 else found.transpose(0, 1)

    def rows(self, x: Tensor) -> Tensor:
        """Return the rows of a fold for (N, T, ...)."""
        return self.merge(x if self.dim == 1 else x.transpose(0, 1))

    def __repr__(self) -> str:
        return f"<init of {self.T} steps at once>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse(f"reads init.{name}", _INIT)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        fold = next(each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, FoldToken))
        fold.refuse(f"computes with init, in {getattr(func, '__name__', func)}", _INIT)


class TimeFirst(FoldToken):
    """The ``init`` of a fold whose rows are those of the first step, then those of the second one: (T N, ...).

    An exported program has it, because runtimes take the steps of such arrays apart without a copy.
    """

    dim = 0

    def split(self, x: Tensor) -> Tensor:
        """Return (T, N, ...) for a folded tensor; sizes may be symbols, and a view would ask for strides."""
        return x.clone(memory_format=torch.contiguous_format).view(self.T, self.N, *x.shape[1:])


def _refusing(reason: str) -> Any:
    def method(self: FoldToken, *_: object) -> NoReturn:
        self.refuse(reason, _INIT)

    return method


for _reason, _names in {
    "branches on init": "bool len hash",
    "compares init or combines it with something": "eq ne lt le gt ge and rand or ror xor rxor invert",
    "takes the value of init": "int float index complex neg pos abs iter getitem array",
    "computes with init": "add sub mul truediv floordiv mod pow matmul "
    "radd rsub rmul rtruediv rfloordiv rmod rpow rmatmul",
}.items():
    for _name in _names.split():
        setattr(FoldToken, f"__{_name}__", _refusing(_reason))
