"""Check the tensors of a recurrence; see ``runtime.checks``."""

from collections.abc import Hashable, Sequence

from torch import Tensor

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, from_text
from spikingtorch.functional.fused.recurrent.c_abi import available
from spikingtorch.functional.fused.recurrent.passes import kept_steps
from spikingtorch.functional.fused.recurrent.steps import Neuron, RecurrentArgs, with_synapse
from spikingtorch.functional.fused.recurrent.synapses import IN_C, SYNAPSES
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime.checks import check_count, check_tensor, check_wanted
from spikingtorch.functional.fused.runtime.layout import layouts_of
from spikingtorch.functional.recurrent import convolution, dense, misfit

_LIMIT = 1024
# forms of calls that passed the checks
_checked: LRUCache[bool] = LRUCache(_LIMIT)
_RULES = {"dense": dense, IN_C: dense, "convolution": convolution}


def check_forward(neuron: Neuron, synapse: str, given: RecurrentArgs) -> None:
    """Raise ValueError unless a recurrence takes these tensors."""
    key = (*_key(neuron, synapse, given), *layouts_of(given.flattened()))
    if _checked.get(key) is None:
        _check_given(neuron, synapse, given)
        _checked.keep(key, True)


def check_backward(
    neuron: Neuron, synapse: str, given: RecurrentArgs, trace: Tensors, cotangents: Gradients, wanted: Sequence[bool]
) -> None:
    """Raise ValueError unless the backward pass of a recurrence takes these tensors."""
    tensors = (*given.flattened(), *trace, *cotangents)
    key = (*_key(neuron, synapse, given), len(trace), *wanted, *layouts_of(tensors))
    if _checked.get(key) is None:
        _check_given(neuron, synapse, given)
        program, shape, steps = from_text(neuron.program), given.s.shape, len(given.xs[0])
        states, spikes = program.states, program.outs[0]
        check_count("trace", len(trace), 2 + len(states))
        _check_all("trace", trace[:2], [spikes, spikes], (steps, *shape))
        _check_all("trace", trace[2:], states, (kept_steps(synapse, steps), *shape), first=2)
        of_outs = len(states) + 1
        check_count("cotangents", len(cotangents), of_outs + len(program.outs))
        _check_all("cotangents", cotangents[:of_outs], [*states, spikes], shape)
        _check_all("cotangents", cotangents[of_outs:], program.outs, (steps, *shape), first=of_outs)
        check_wanted(wanted, with_synapse(neuron.differentiable, len(states), len(given.xs), True))
        _checked.keep(key, True)


def _key(neuron: Neuron, synapse: str, given: RecurrentArgs) -> tuple[Hashable, ...]:
    counts = len(neuron.scalars), len(given.states), len(given.xs), len(given.params)
    return neuron.program, neuron.differentiable, synapse, *counts


def _check_given(neuron: Neuron, synapse: str, given: RecurrentArgs) -> None:
    program = from_text(neuron.program)
    if synapse not in SYNAPSES or (synapse == IN_C and not available(given.s.dtype)):
        raise ValueError(f"scan: got synapse {synapse!r} for {given.s.dtype}, expected one of {', '.join(SYNAPSES)}")
    if not program.outs:
        raise ValueError(
            "scan: got a program without outputs, expected one whose first output feeds back through the synapse"
        )
    checks.check_count("scalars", len(neuron.scalars), program.scalars)
    shape = checks.check_forward(program, given.states, given.xs, given.params, 0)
    spikes, over_time = program.outs[0], (len(given.xs[0]), *shape)
    _check_all("states", given.states, program.states, shape)
    check_tensor("s", given.s, DTYPES[spikes], shape)
    _check_all("xs", given.xs, [spikes, *program.xs[1:]], over_time)
    check_tensor("weight", given.weight, DTYPES[spikes], given.weight.shape)
    if wrong := "there are none" if given.s.numel() == 0 else misfit(_RULES[synapse], shape, given.weight.shape):
        raise ValueError(f"scan: weight has shape {tuple(given.weight.shape)} for spikes of shape {shape}; {wrong}")
    flows = tuple([node >= 0 for node in program.gradients])
    if neuron.differentiable != flows:
        raise ValueError(f"scan: got differentiable {neuron.differentiable}, expected {flows}, which the program is")


def _check_all(
    name: str, tensors: Sequence[Tensor | None], dtypes: Sequence[str], shape: Sequence[int], first: int = 0
) -> None:
    for index, (tensor, dtype) in enumerate(zip(tensors, dtypes, strict=True), first):
        if tensor is not None:
            check_tensor(f"{name}[{index}]", tensor, DTYPES[dtype], shape)
