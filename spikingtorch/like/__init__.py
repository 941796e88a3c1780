"""Layers that equal the neurons of other libraries: the same names and arguments, and bit-identical spikes.

    like.snntorch       snnTorch 1.0.0:       Leaky, Lapicque, Synaptic, Alpha, RLeaky, RSynaptic
    like.spikingjelly   SpikingJelly 2.0.0:   IFNode, LIFNode, ParametricLIFNode, QIFNode, EIFNode, IzhikevichNode, ...
    like.norse          Norse 1.1.0:          LIFCell, LIFRecurrentCell, IAFCell, LICell, LSNNCell, LIFAdExCell, ...
    like.sinabs         Sinabs 3.1.3:         LIF, IAF, ALIF, ExpLeak, LIFRecurrent, IAFRecurrent, ALIFRecurrent
    like.older          spikingtorch 0.1.3:   IF, LIF, McPitts, SpikingDecay, CoarseLIF

None of them imports the other library. A spike function of the other library is replaced by its equal here. Each is a
``StepLayer``: it is called as ``layer(x, init)``, keeps its state by itself, and runs inside a ``SpikingNet``. It takes
``recurrent=`` and ``returns=``, and loads the state dict of the neuron that it equals. Its step keeps the other
library's order of operations. docs/from_*.md has the equation of each neuron, and docs/unexpected.md
the errors of the other library.

>>> from spikingtorch import like
>>> like.spikingjelly.IFNode(v_reset=None)
IFNode(v_threshold=1.0, surrogate_function=Sigmoid(beta=4.0), reset=by_subtraction)
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["norse", "older", "sinabs", "snntorch", "spikingjelly"]


if TYPE_CHECKING:
    from spikingtorch.like import norse, older, sinabs, snntorch, spikingjelly
else:  # a type checker would accept every name

    def __getattr__(name: str) -> Any:
        """Import a submodule on demand."""
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """Return the names of the submodules."""
    return sorted(__all__)
