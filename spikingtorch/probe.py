"""Finds out whether a network may be handed all steps of a train as one batch.

Spiking layers are known to keep samples and steps apart. What lies between them is not, so a copy of the network is run
on noise, step by step and folded, with every spiking layer replaced by spikes drawn at random, the same both ways.
Where the input of each layer and the output agree, and nothing was seen that could depend on the step, it folds.
"""

import contextlib
import copy
import random
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor, peek_interpreter_stack
from torch.utils import _pytree as pytree

from spikingtorch.folding import Fold, FoldError, part_of
from spikingtorch.footprint import changed, footprint
from spikingtorch.functional._tree import tree_map
from spikingtorch.independence import objection
from spikingtorch.statefullayer import StatefulLayer
from spikingtorch.watch import Watch

# samples and steps of the noise
_N, _T = 3, 4
# of the largest entry; both ways differ in the order in which matrix products add up
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


Inputs: TypeAlias = tuple[list[tuple[int, ...]], pytree.TreeSpec]


class Finding(NamedTuple):
    """What a probe found.

    Attributes:
        reason: why the network has to step, after "it"; None if it folds.
        inputs: for each spiking layer, by its path, the shapes of its inputs for one sample, and the form of the tree
            that they are the leaves of; a layer is missing where the probe did not come to its end.
    """

    reason: str | None
    inputs: dict[str, Inputs]


class _UnusableError(Exception):
    """The network does not run on noise of this precision."""


class _Rehearsal:
    """What spiking layers are part of while the network steps: it notes their inputs and makes up their outputs."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator  # of numpy, whose draws the watch does not take for the network's
        self.inputs: dict[int, list[list[Tensor]]] = {}
        self.outputs: dict[int, list[Any]] = {}
        self.forms: dict[int, pytree.TreeSpec] = {}

    def call(self, layer: Any, inputs: Any, _init: object) -> Any:
        # one sample tells the form of the output
        sample = layer.advance(tree_map(lambda x: x[:1], inputs), True)
        out = tree_map(self._spikes, sample)
        leaves, self.forms[id(layer)] = pytree.tree_flatten(inputs)
        self.inputs.setdefault(id(layer), []).append([leaf.detach() for leaf in leaves])
        self.outputs.setdefault(id(layer), []).append(out)
        return out

    def _spikes(self, like: Tensor) -> Tensor:
        if like.shape[:1] != (1,):
            raise FoldError("holds a spiking layer whose output is not a batch")
        return torch.from_numpy(self.generator.integers(0, 2, (_N, *like.shape[1:]))).to(like)


class _Replay(Fold):
    """A fold that notes the inputs of the layers and gives out the outputs of a rehearsal."""

    def __init__(self, rehearsal: _Rehearsal, names: dict[int, str]) -> None:
        super().__init__(_N, _T, True)
        self.names = names
        self.rehearsal = rehearsal
        self.inputs: list[list[Tensor]] = []

    def name(self, layer: Any) -> str:
        return self.names[id(layer)]

    def call(self, layer: Any, inputs: Any, init: object) -> Any:
        self.admit(layer, inputs, init)
        if len(self.rehearsal.inputs.get(id(layer), [])) != _T:
            raise FoldError(f"calls {self.name(layer)} at some steps only, or several times in one")
        self.inputs.append([leaf.detach() for leaf in pytree.tree_leaves(inputs)])
        return tree_map(lambda *outs: torch.stack(outs, 1).flatten(0, 1), *self.rehearsal.outputs[id(layer)])

    def compare(self) -> None:
        """Raise unless the layers were given what they were given step by step."""
        for layer, leaves in zip(self.called, self.inputs, strict=True):
            steps = self.rehearsal.inputs[id(layer)]
            for x, rehearsed in zip(leaves, zip(*steps, strict=True), strict=True):
                _compare(x, rehearsed, f"the input of {self.name(layer)}")
        if len(self.called) != len(self.rehearsal.inputs):
            raise FoldError("calls fewer spiking layers with all steps at once")


def _compare(folded: Any, steps: Any, what: str) -> None:
    """Raise unless a folded tensor holds what the steps had."""
    if any(not isinstance(x, Tensor) or x.shape[:1] != (_N,) for x in steps):
        raise FoldError(f"makes {what} of something that is not a batch")
    want = torch.stack(list(steps), 1).flatten(0, 1).detach()
    if not isinstance(folded, Tensor) or (folded.shape, folded.dtype) != (want.shape, want.dtype):
        raise FoldError(f"computes {what} in another shape or dtype with all steps at once")
    scale = float(want.nan_to_num().abs().max()) if want.numel() else 0.0
    tolerance = _TOLERANCE.get(want.dtype, 0.0) * scale
    if not torch.allclose(folded.detach(), want, rtol=0.0, atol=tolerance, equal_nan=True):
        raise FoldError(f"computes {what} differently with all steps at once: something mixes steps or samples")


def probe(net: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Finding:
    """Find out whether a network may be handed all steps at once.

    Args:
        net: as SpikingNet has it. It is copied; neither it nor any source of random numbers changes.
        shape: of one sample at one step.
        dtype: of the input.
        device: of the input.
    """
    inputs: dict[str, Inputs] = {}
    reason = objection(net)
    own = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    problem = "nothing"
    # differences show best in float64, which some networks do not take
    for precision in dict.fromkeys((torch.float64, own)):
        try:
            with _undisturbed(device):
                found = _try_out(net, shape, precision, device, inputs)
        except _UnusableError as error:
            problem = str(error)
        else:
            return Finding(reason or found, inputs)
    return Finding(reason or f"does not run on a few samples of noise ({problem})", inputs)


def _try_out(
    net: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, inputs: dict[str, Inputs]
) -> str | None:
    """Run both ways, note the inputs of the layers, and return what speaks against folding."""
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.random((_N, _T, *shape))).to(device, dtype)
    try:
        net = copy.deepcopy(net, _stand_ins(net)).to(dtype)
        layers = {path: layer for path, layer in net.named_modules() if isinstance(layer, StatefulLayer)}
        _run_steps(net, layers, x, _Rehearsal(generator))  # what a network sets up at its first call
        rehearsal = _Rehearsal(generator)
        outputs, state = _run_steps(net, layers, x, rehearsal)
    except FoldError as error:
        return str(error)
    except Exception as error:
        raise _UnusableError(_first_line(error)) from error
    for path, layer in layers.items():
        if id(layer) in rehearsal.inputs:
            leaves = rehearsal.inputs[id(layer)][0]
            inputs[path] = ([tuple(leaf.shape[1:]) for leaf in leaves], rehearsal.forms[id(layer)])
    try:
        if state is None:
            before = footprint(net)
            _run_folded(net, layers, x, outputs, rehearsal)
            state = changed(before, footprint(net))
        return None if state is None else f"changes {state} while it runs: it keeps a state, or a record, of its own"
    except FoldError as error:
        return str(error)
    except Exception as error:
        return f"fails with all steps at once ({_first_line(error)})"


def _run_steps(
    net: nn.Module, layers: dict[str, StatefulLayer], x: Tensor, rehearsal: _Rehearsal
) -> tuple[list[Any], str | None]:
    """Return the output of each step, and the name of what changed between two steps."""
    outputs: list[Any] = []
    state = None
    seen = footprint(net)
    drawn = _drawn()
    with part_of(rehearsal, list(layers.values())), Watch(_N, reads=True):
        for t, x_t in enumerate(x.unbind(1)):
            outputs.append(net(x_t, t == 0))
            seen, last = footprint(net), seen
            state = state or changed(last, seen)
    if _drawn() != drawn:
        raise FoldError("draws from the random numbers of Python or numpy")
    return outputs, state


def _run_folded(
    net: nn.Module, layers: dict[str, StatefulLayer], x: Tensor, outputs: list[Any], rehearsal: _Rehearsal
) -> None:
    """Raise unless the network computes the same with all steps at once."""
    replay = _Replay(rehearsal, {id(layer): path or type(layer).__name__ for path, layer in layers.items()})
    with part_of(replay, list(layers.values())), Watch(_N * _T, reads=False):
        folded = net(x.flatten(0, 1), replay)
    replay.compare()
    _compare(folded, outputs, "its output")


def _stand_ins(net: nn.Module) -> dict[int, Any]:
    """Return tensors of the same shape for weights that hold no numbers here, as in a transform or an export."""
    return {
        id(tensor): torch.rand(tensor.shape).to(tensor.dtype)
        if tensor.is_floating_point()
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for tensor in (*net.parameters(), *net.buffers())
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta or is_functorch_wrapped_tensor(tensor)
    }


@contextlib.contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Leave random numbers as they are and nothing for autograd, outside of every transform, mode and compiler."""
    python, array = random.getstate(), np.random.get_state()
    with contextlib.ExitStack() as stack:
        if peek_interpreter_stack() is not None:
            from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

            stack.enter_context(temporarily_clear_interpreter_stack())
        if torch._C._len_torch_dispatch_stack():
            from torch.utils._python_dispatch import _disable_current_modes

            stack.enter_context(_disable_current_modes())
        if "torch._dynamo" in sys.modules:  # there may be something compiled in the network
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng([] if device.type == "cpu" else [device]))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)


def _drawn() -> tuple[Any, str]:
    """Return where the generators of Python and numpy are."""
    return random.getstate(), str(np.random.get_state())


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
