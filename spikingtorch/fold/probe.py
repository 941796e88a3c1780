"""Decides whether a network may be handed all steps of a sequence as one batch.

Spiking layers are known to keep samples and steps apart. What lies between them is not, so a copy of the network, its
weights moved a little, is run on noise, step by step and folded, with every spiking layer replaced by outputs made up
at random, the same both ways. The network folds where the inputs of all layers, the output, and the gradients agree,
where a sample that is NaN touches no other, and where nothing was seen that could depend on the step.
"""

import contextlib
import copy
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.overrides import _pop_mode_temporarily
from torch.utils import _pytree as pytree

from spikingtorch.fold import rng
from spikingtorch.fold.batch_norm import RunningStatistics, StatisticsOfSteps
from spikingtorch.fold.rehearsal import N, Noise, Rehearsal, Replay, T, UnusableError, check_same, compare, taint
from spikingtorch.fold.snapshot import changed, snapshot
from spikingtorch.fold.static_rules import hooked, reason_to_step, with_side_effects
from spikingtorch.fold.watch import Watch
from spikingtorch.functional.core.modes import outside_transforms
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.fold_token import FoldError, participating

OWN_STATE = "changes "

Inputs: TypeAlias = tuple[list[tuple[int, ...]], pytree.TreeSpec]


class FoldDecision(NamedTuple):
    """What a probe found.

    Attributes:
        reason: why the network has to step, after "it"; None if it folds.
        inputs: for each spiking layer, by its path, the shapes of its inputs for one sample, and the form of the tree
            that they are the leaves of; a layer is missing where the probe did not come to its end.
        normalises: whether it has batch norm in training, whose statistics are those of each step.
    """

    reason: str | None
    inputs: dict[str, Inputs]
    normalises: bool = False


def probe(
    net: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, differentiates: bool
) -> FoldDecision:
    """Find out whether a network may be handed all steps at once.

    Args:
        net: as SpikingNet has it. It is copied; neither it nor any source of random numbers changes.
        shape: of one sample at one step.
        dtype: of the input.
        device: of the input.
        differentiates: whether gradients are recorded.
    """
    inputs: dict[str, Inputs] = {}
    if called := hooked(net) or with_side_effects(net):
        return FoldDecision(called, inputs)  # a trial would call them as well
    reason = reason_to_step(net)
    if any([isinstance(module, torch.jit.ScriptModule) for module in net.modules()]):
        return FoldDecision(reason, inputs)  # a copy of what is compiled does not take other weights
    own = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    problem = "nothing"
    # differences show best in float64 and on noise of several kinds, which some networks do not take
    for precision in dict.fromkeys((torch.float64, own)):
        for wild in (True, False):
            try:
                with _isolated(device, differentiates):
                    trial = _Trial(net, shape, precision, device, wild)
                    trial.run(inputs)
            except FoldError as error:
                return FoldDecision(reason or str(error), inputs)
            except UnusableError as error:
                problem = str(error)
            else:
                return FoldDecision(reason, inputs, trial.normalises)
    return FoldDecision(reason or f"does not run on a few samples of noise ({problem})", inputs)


class _Trial:
    """One network, on one kind of noise."""

    def __init__(
        self, net: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, wild: bool
    ) -> None:
        self.noise, self.normalises = Noise(wild), False
        with _explained():
            self.net = copy.deepcopy(net, _moved(net)).to(dtype)
        self.layers = {path: layer for path, layer in self.net.named_modules() if isinstance(layer, StatefulLayer)}
        self.names = {id(layer): path or type(layer).__name__ for path, layer in self.layers.items()}
        self.statistics = RunningStatistics(self.net.modules())
        self.x = self.noise.train(shape).to(device, dtype).requires_grad_(torch.is_grad_enabled())

    def run(self, inputs: dict[str, Inputs]) -> None:
        """Note what the inputs of the layers are, and raise what speaks against folding."""
        with _explained():
            self._step(Rehearsal(self.noise, Watch(N)), 1)  # what a network sets up at its first call
            start = {key: buffer.clone() for key, buffer in self.statistics.buffers.items()}
            watch = Watch(N)
            rehearsal = Rehearsal(self.noise, watch)
            outputs, state = self._step(rehearsal, T)
        for path, layer in self.layers.items():
            if id(layer) in rehearsal.inputs:
                shapes = [tuple(leaf.shape[1:]) for leaf in rehearsal.inputs[id(layer)][0]]
                inputs[path] = (shapes, rehearsal.forms[id(layer)])
        if state is None and rehearsal.unsteady is not None:
            raise FoldError(f"computes other parameters of {self.names[rehearsal.unsteady]} at each step")
        if state is None:
            before = snapshot(self.net, self.statistics.buffers)
            try:
                self._compare(rehearsal, outputs, watch, start)
            except (FoldError, UnusableError):
                raise
            except Exception as error:
                raise FoldError(f"fails with all steps at once ({_first_line(error)})") from error
            state = changed(before, snapshot(self.net, self.statistics.buffers))
        if state is not None:
            raise FoldError(f"{OWN_STATE}{state} while it runs: it keeps a state, or a record, of its own")

    def _step(self, rehearsal: Rehearsal, steps: int) -> tuple[list[Any], str | None]:
        """Return the output of each step, and the name of what changed between two steps."""
        outputs: list[Any] = []
        state = None
        seen, drawn = snapshot(self.net, self.statistics.buffers), rng.python_rng_state()
        with participating(rehearsal, list(self.layers.values())), rehearsal.watch as watch, self.statistics:
            for t in range(steps):
                rehearsal.t = t
                if t > 0:
                    watch.next_step()
                x_t = self.x.select(1, t).clone()
                outputs.append(self.net(x_t, t == 0))
                if x_t._version:
                    raise FoldError("writes on its input in place")
                with watch.looks_away():
                    seen, last = snapshot(self.net, self.statistics.buffers), seen
                state = state or changed(last, seen)
        if rng.python_rng_state() != drawn:
            raise FoldError("draws from the random numbers of Python or numpy")
        return outputs, state

    def _fold(self, rehearsal: Rehearsal, steps: list[Any], tainted: int | None = None) -> tuple[Replay, Watch, Any]:
        replay, watch = Replay(rehearsal, self.names, tainted), Watch(N * T, replayed=steps)
        x = taint(self.x.flatten(0, 1).clone(), tainted)
        norms = StatisticsOfSteps(replay, self.net.modules())
        with participating(replay, list(self.layers.values())), watch, norms:
            out = self.net(x, replay)
        norms.commit()
        self.normalises = norms.met
        if replay.refusal is not None:
            raise replay.refusal
        return replay, watch, out

    def _compare(self, rehearsal: Rehearsal, outputs: list[Any], watch: Watch, start: dict[int, Tensor]) -> None:
        ends = {key: buffer.clone() for key, buffer in self.statistics.buffers.items()}
        for key, buffer in self.statistics.buffers.items():
            buffer.data.copy_(start[key])
        replay, drawn, folded = self._fold(rehearsal, watch.steps)
        for key, buffer in self.statistics.buffers.items():
            check_same(buffer, ends[key], "the running statistics of batch norm")
        for given, of_steps in drawn.given:
            for tensor, *parts in zip(given, *of_steps, strict=True):
                compare(tensor, parts, "what it draws random numbers from")
        if len(replay.inputs) != len(rehearsal.inputs) or any(len(step) != len(drawn.given) for step in watch.steps):
            raise FoldError("calls fewer spiking layers, or draws fewer random numbers, with all steps at once")
        roots: list[tuple[Tensor, list[Tensor]]] = []
        for key, leaves in replay.inputs.items():
            roots += zip(leaves, map(list, zip(*rehearsal.inputs[key], strict=True)), strict=True)
            for root, parts in roots[-len(leaves) :]:
                compare(root, parts, f"the input of {self.names[key]}")
        compare(folded, outputs, "its output")
        self._compare_gradients([*roots, (folded, outputs)], rehearsal)
        self._compare_tainted(replay, folded, rehearsal, watch)

    def _compare_gradients(self, roots: list[tuple[Tensor, list[Tensor]]], rehearsal: Rehearsal) -> None:
        """Raise unless gradients of inputs, made-up outputs and weights agree, for random cotangents."""
        roots = [(root, parts) for root, parts in roots if root.requires_grad]
        weights = {name: weight for name, weight in self.net.named_parameters() if weight.requires_grad}
        if not roots:
            return
        cotangents = [self.noise.like(root) for root, _ in roots]
        parted = [c for each in cotangents for c in each.unflatten(0, (N, T)).unbind(1)]
        wanted = [self.x, *rehearsal.leaves, *weights.values()]
        with _explained():
            steps = [part for _, parts in roots for part in parts]
            want = torch.autograd.grad(steps, wanted, parted, allow_unused=True, materialize_grads=True)
        got = torch.autograd.grad(
            [root for root, _ in roots], wanted, cotangents, allow_unused=True, materialize_grads=True
        )
        names = ["its input", *["a layer's output"] * len(rehearsal.leaves), *weights]
        # batch norm takes off what a bias before it adds: such a gradient is zero but for rounding
        least = max([float(each.abs().max()) for each in want if each.numel()], default=0.0) if self.normalises else 0.0
        for one, other, name in zip(got, want, names, strict=True):
            with contextlib.suppress(UnusableError):
                check_same(one, other, f"the gradient of {name}", least)

    def _compare_tainted(self, replay: Replay, folded: Tensor, rehearsal: Rehearsal, watch: Watch) -> None:
        """Raise if a sample that is NaN touches another."""
        tainted = T + 1
        step = {*range(tainted % T, N * T, T)} if self.normalises else {tainted}  # over the samples of its step
        others = [row for row in range(N * T) if row not in step]
        try:
            with torch.no_grad():
                again, _, out = self._fold(rehearsal, watch.steps, tainted)
        except Exception:  # NaN is more than some networks take
            return
        pairs = [(out, folded, "its output")]
        for key, leaves in replay.inputs.items():
            pairs += [(a, b, f"the input of {self.names[key]}") for a, b in zip(again.inputs[key], leaves, strict=True)]
        for one, other, what in pairs:
            with contextlib.suppress(UnusableError):
                check_same(one.detach()[others], other.detach()[others], what)


def _moved(net: nn.Module) -> dict[int, Any]:
    """Return, by identity, a tensor for each weight and buffer: moved a little, for a weight of zero shows nothing.

    In a transform or an export, weights hold no numbers: there, any will do.
    """
    found: dict[int, Any] = {}
    generator = torch.Generator().manual_seed(0)
    for tensor in (*net.parameters(), *net.buffers()):
        plain = type(tensor) in (Tensor, nn.Parameter) and not is_functorch_wrapped_tensor(tensor)
        if plain and not tensor.is_meta:
            value = tensor.detach().clone()
        else:
            value = torch.rand(tensor.shape, generator=generator).to(tensor.dtype)
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value)
            value = value * (1.0 + 0.1 * noise) + 0.1 * noise
        found[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
    return found


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say of whatever goes wrong that it has nothing to do with folding."""
    try:
        yield
    except (FoldError, UnusableError):
        raise
    except Exception as error:
        raise UnusableError(_first_line(error)) from error


@contextlib.contextmanager
def _isolated(device: torch.device, differentiates: bool) -> Iterator[None]:
    """Leave random numbers as they are, and run outside of every transform, mode and compiler."""
    with contextlib.ExitStack() as stack:
        if torch.compiler.is_exporting():  # with a mode that writes down what is done here
            for _ in range(torch._C._len_torch_function_stack()):
                stack.enter_context(_pop_mode_temporarily())
        stack.enter_context(outside_transforms())
        if "torch._dynamo" in sys.modules:  # there may be something compiled in the network
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(rng.preserved(device))
        stack.enter_context(torch.set_grad_enabled(differentiates))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        yield


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
