"""A layer whose neurons are split over processes: each process runs its own neurons.

The input is then a DTensor of ``torch.distributed.tensor``. Neurons are independent of each other, so the kernel runs
on the local part of the input, with the parts of the parameters that belong to it, and nothing is sent. The gradient of
a parameter that several processes use is the sum of theirs. At the end is what ``fully_shard`` takes from modules that
it has sharded, and what it lends them.
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.functional import per_channel
from spikingtorch.functional.core.torch_private import fsdp_state, is_pending, is_shard
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.core.undo import run_or_undo
from spikingtorch.functional.dispatch.backend import not_pointwise

T = TypeVar("T")
_GATHER = (
    "Give each process all neurons: ColwiseParallel(output_layouts=Replicate()) for the layer before it in the plan"
)


def is_plain(inputs: Any) -> bool:
    """Return True if no input of a layer can be a DTensor, or the result of a collective that has not ended."""
    return type(inputs) is Tensor or "torch.distributed.tensor" not in sys.modules


def is_split(inputs: Any) -> bool:
    """Return True if one of the inputs of a layer is a DTensor."""
    return any(map(is_shard, leaves_of(inputs)))


def arrived(inputs: T) -> T:
    """Return inputs after the collectives that compute them have ended; kernels read the memory itself."""
    # torch waits in the first operation that reads the numbers
    return tree_map(lambda x: x.clone() if is_pending(x) else x, inputs)


def on_shard(layer: Any, inputs: Any, work: Callable[[Any], T]) -> T:
    """Return the outputs of a layer as DTensors, placed like its inputs; plain inputs are the same on all processes.

    While ``work`` turns local inputs into local outputs, the parameters and buffers of the layer are the local ones.

    Raises:
        ValueError: the samples are split, the neurons of the layer depend on each other, or a parameter does not fit.
    """
    shard = _Shard.of(layer, inputs)
    given = tree_map(partial(shard.local, "x"), inputs)
    of_neurons = {*layer._names(), layer._recurrent_name}
    own: list[dict[str, Any]] = [layer._parameters, layer._buffers]
    before = [dict(each) for each in own]

    def put_back() -> None:
        for each, entries in zip(own, before, strict=True):
            each.update(entries)

    def run() -> T:
        for entries in own:
            for name, tensor in entries.items():
                if tensor is not None and (name in of_neurons or shard.broadcasts(tensor)):
                    entries[name] = shard.local(name, tensor)
        if shard.is_split:
            _check_independent(layer, given)
        out = work(given)
        put_back()
        return out

    return tree_map(shard.whole, run_or_undo(run, put_back))


class _Shard(NamedTuple):
    """The place of an input."""

    owner: str  # the class of the layer, for messages
    mesh: Any  # the processes
    placements: tuple[Any, ...]  # for each axis of the mesh: ``Shard`` of an axis of neurons, or ``Replicate``
    shape: Any  # of all neurons, (N, ...)
    stride: tuple[int, ...]  # of all neurons

    @classmethod
    def of(cls, layer: Any, inputs: Any) -> "_Shard":
        """Return the place of the first DTensor among the inputs."""
        from torch.distributed.tensor import Replicate, Shard

        owner, x = type(layer).__name__, next(filter(is_shard, leaves_of(inputs)))
        placements = tuple([Replicate() if each.is_partial() else each for each in x.placements])
        if any([type(each) not in (Shard, Replicate) or each == Shard(0) for each in placements]):
            raise ValueError(
                f"{owner}: the input is placed {tuple(x.placements)}, and a layer takes DTensors that are split along "
                "neurons, Shard(1) and further axes. Split samples by handing each process its own, as plain tensors"
            )
        return cls(owner, x.device_mesh, placements, x.shape, x.stride())

    @property
    def is_split(self) -> bool:
        """True if the processes hold different neurons."""
        return not all([each.is_replicate() for each in self.placements])

    def broadcasts(self, tensor: Tensor) -> bool:
        """Return True if a tensor broadcasts to all neurons."""
        sizes = zip(reversed(tensor.shape), reversed(self.shape), strict=False)
        return tensor.ndim <= len(self.shape) and all([own in (1, size) for own, size in sizes])

    def local(self, name: str, tensor: Any) -> Any:
        """Return the part of a tensor that belongs to the local neurons; the tensor broadcasts to all neurons."""
        from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

        if not isinstance(tensor, Tensor):
            return tensor
        checks.check_broadcast(self.owner, name, tensor, self.shape)
        if not is_shard(tensor):
            if tensor.numel() == 1 and not tensor.requires_grad:
                return tensor
            tensor = DTensor.from_local(tensor, self.mesh, [Replicate()] * self.mesh.ndim, run_check=False)
        there, gradients = [], []
        for each in self.placements:
            axis = each.dim - (len(self.shape) - tensor.ndim) if isinstance(each, Shard) else -1
            splits = axis >= 0 and tensor.shape[axis] > 1
            there.append(Shard(axis) if splits else Replicate())
            # neurons of several processes share the value, and each process has the gradient of its own neurons
            gradients.append(Partial() if isinstance(each, Shard) and not splits else there[-1])
        split: Any = tensor
        return split.redistribute(self.mesh, there).to_local(grad_placements=gradients)

    def whole(self, out: Any) -> Any:
        """Return an output as a DTensor."""
        from torch.distributed.tensor import DTensor

        return DTensor.from_local(
            out, self.mesh, self.placements, run_check=False, shape=self.shape, stride=self.stride
        )


def _check_independent(layer: Any, inputs: Any) -> None:
    """Raise ValueError unless each neuron of a layer depends on its own input alone."""
    if layer.synapse not in (None, per_channel):
        mixes = "recurrent= needs the spikes of all of them at each step"
    elif hasattr(layer, "parametrizations"):
        mixes = "it computes parameters from others (torch.nn.utils.parametrize), which are not split with them"
    elif layer.is_pointwise:
        return
    elif layer.runs_own_step:
        mixes = "it may mix them"
    else:
        step, params = layer.whole_step()
        found = not_pointwise(step, layer.initial_state(leaves_of(inputs)[0]), inputs, params)
        if found is None:
            return
        mixes = f"its step {found}"
    raise ValueError(f"{type(layer).__name__}: its neurons are split over processes, and {mixes}. {_GATHER}")


def without_views(module: nn.Module, outputs: Any) -> Any:
    """Return the outputs of a module; if it is sharded, copies of them.

    ``fully_shard`` hangs a hook on the outputs, which gathers the weights for the backward pass. A write in place on a
    view would lose the hook.
    """
    return outputs if fsdp_state(module) is None else tree_map(torch.clone, outputs)


def let_gather(modules: Iterable[nn.Module], inside: Any) -> None:
    """Let the backward pass that begins at tensors from inside of modules gather weights, and share gradients.

    ``fully_shard`` begins it at the outputs of a module. A loss may depend on what is inside without them.
    """
    for state in filter(None, map(fsdp_state, modules)):
        for tensor in leaves_of(inside):
            if tensor.requires_grad:
                tensor.register_hook(state._pre_backward)


def is_borrowed(module: nn.Module, parameter: Tensor) -> bool:
    """Return True if a parameter is a gathered copy that belongs to a sharded module around this one.

    A write on the copy would be lost. A module that is sharded itself has its own part at the start of a call.
    """
    return "_is_fsdp_managed_module" in vars(module) and fsdp_state(module) is None and not is_shard(parameter)
