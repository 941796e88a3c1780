"""The gradient of weights from inputs that are mostly zero, for who has no layer: the synapses of a recurrence."""

from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.sparse import kernels
from spikingtorch.functional.sparse.autograd import marked
from spikingtorch.functional.sparse.choose import can_run, objection_to_sizes
from spikingtorch.functional.sparse.crossover import most_events
from spikingtorch.functional.sparse.operations import Operation


def weight_gradient(operation: Operation, g: Tensor, x: Tensor, weight: Tensor) -> Tensor | None:
    """Return the gradient of a layer's weights where kernels that skip zeros are faster, None where torch is.

    Args:
        operation: the layer.
        g: gradient of its outputs.
        x: its input.
        weight: its weights.
    """
    if not can_run(g, x, weight) or (operation.misfit(x, weight) or objection_to_sizes(operation, x, weight)):
        return None
    s = operation.shape(x.shape, weight.shape)
    most = most_events(s)
    events = marked(operation, x, weight, most) if most else None
    if events is None:
        return None
    found = kernels.weight_gradient(s, events, memory.contiguous(operation.in_memory(g)))
    return None if found is None else found.view(weight.shape)
