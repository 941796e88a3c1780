"""A network run step by step and folded, with its spiking layers replaced by made-up outputs, to be compared."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch.fold.watch import Watch
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.layers.fold_token import FoldError, FoldToken

# samples and steps of the noise
N, T = 3, 3
# of the largest entry; both ways differ in the order in which matrix products add up
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


class UnusableError(Exception):
    """The network does not run on this noise, or shows nothing on it."""


class Noise:
    """Inputs and outputs of layers that a network has not made itself.

    Args:
        wild: steps differ in kind: half of the neurons active, none, and graded values up to 3. Some networks take
            nothing but zeros and ones.
    """

    def __init__(self, wild: bool) -> None:
        self._generator = np.random.default_rng(0)
        self._wild = wild

    def spikes(self, like: Tensor, t: int) -> Tensor:
        """Return the output of a layer for N samples, given that of one sample."""
        if like.shape[:1] != (1,):
            raise FoldError("holds a spiking layer whose output is not a batch")
        shape = (N, *like.shape[1:])
        spikes = self._generator.integers(0, 2, shape).astype(np.float64)
        kind = t % 3 if self._wild else 0
        return torch.from_numpy((spikes, 0.0 * spikes, 3.0 * self._generator.random(shape))[kind]).to(like)

    def train(self, shape: tuple[int, ...]) -> Tensor:
        """Return an input (N, T, ...)."""
        scale = np.array([1.0, 0.0, 4.0]) if self._wild else np.ones(T)
        return torch.from_numpy(self._generator.random((N, T, *shape)) * scale.reshape(T, *(1,) * len(shape)))

    def like(self, tensor: Tensor) -> Tensor:
        """Return a cotangent."""
        return torch.from_numpy(self._generator.standard_normal(tuple(tensor.shape))).to(tensor)


class Rehearsal:
    """What spiking layers are part of while the network steps: it keeps their inputs and makes up their outputs."""

    def __init__(self, noise: Noise, watch: Watch) -> None:
        self.noise = noise
        self.watch = watch
        self.t = 0
        self.inputs: dict[int, list[list[Tensor]]] = {}
        self.outputs: dict[int, list[Any]] = {}
        self.forms: dict[int, pytree.TreeSpec] = {}
        self.unsteady: int | None = None  # a layer whose parameters differ from step to step
        self._params: dict[int, list[Any]] = {}

    thread = None  # of any: nobody else knows the copy that is on trial

    def call(self, layer: Any, inputs: Any, _init: object) -> Any:
        """Return a made-up output of a layer for one step."""
        leaves, self.forms[id(layer)] = pytree.tree_flatten(inputs)
        self._compare_params(layer)
        with self.watch.looks_away(), torch.no_grad():
            # one sample tells the form of the output; only the network is on trial, not what the layer makes of noise
            sample = layer._advance_one(tree_map(lambda x: torch.zeros_like(x[:1]), inputs), True)
            out = tree_map(lambda like: self.noise.spikes(like, self.t), sample)
        if torch.is_grad_enabled():
            tree_map(lambda x: x.requires_grad_() if x.is_floating_point() else x, out)
        # copies, for a network may write on what it is given
        self.inputs.setdefault(id(layer), []).append([leaf.clone() for leaf in leaves])
        self.outputs.setdefault(id(layer), []).append(out)
        return tree_map(torch.clone, out)

    def _compare_params(self, layer: Any) -> None:
        """Note a layer whose parameters are not those of the first step."""
        with self.watch.looks_away(), torch.no_grad():
            now = pytree.tree_leaves(layer.whole_step()[1])
        before = self._params.setdefault(id(layer), now)
        for one, other in zip(before, now, strict=True):
            numbers = isinstance(one, Tensor) and isinstance(other, Tensor)
            if not (torch.equal(one, other) if numbers else one is other or bool(one == other)):
                self.unsteady = id(layer)

    def refuse(self, reason: str) -> None:
        """End the trial."""
        raise FoldError(reason)

    @property
    def leaves(self) -> list[Tensor]:
        """The outputs that were made up."""
        return [leaf for leaf in pytree.tree_leaves(list(self.outputs.values())) if leaf.requires_grad]


class Replay(FoldToken):
    """A fold that keeps the inputs of the layers and hands out the outputs of a rehearsal.

    Args:
        rehearsal: of the same network.
        names: of the layers, by their identity.
        tainted: a sample of the folded batch whose outputs are NaN.
    """

    def __init__(self, rehearsal: Rehearsal, names: dict[int, str], tainted: int | None = None) -> None:
        super().__init__(N, T, True)
        self.rehearsal = rehearsal
        self.names = names
        self.tainted = tainted
        self.inputs: dict[int, list[Tensor]] = {}

    def name(self, layer: Any) -> str:
        """Return what messages call a layer."""
        return self.names[id(layer)]

    def call(self, layer: Any, inputs: Any, init: object) -> Any:
        """Return the outputs of the rehearsal, folded."""
        self.admit(layer, inputs, init)
        if len(self.rehearsal.inputs.get(id(layer), [])) != T:
            self.refuse(f"calls {self.name(layer)} at some steps only, or several times in one")
        self.inputs[id(layer)] = [leaf.clone() for leaf in pytree.tree_leaves(inputs)]
        out = tree_map(lambda *outs: torch.stack(outs, 1).flatten(0, 1), *self.rehearsal.outputs[id(layer)])
        return tree_map(lambda x: taint(x, self.tainted), out)


def taint(x: Tensor, sample: int | None) -> Tensor:
    """Return x with NaN in one sample: what mixes samples hands it on, whatever it multiplies it with."""
    if sample is None or not x.is_floating_point():
        return x
    return x.index_fill(0, torch.tensor([sample], device=x.device), torch.nan)


def compare(folded: Any, steps: Any, what: str) -> None:
    """Raise unless a folded tensor holds what the steps had."""
    if any(not isinstance(x, Tensor) or x.shape[:1] != (N,) for x in steps):
        raise FoldError(f"makes {what} of something that is not a batch")
    want = torch.stack([x.detach() for x in steps], 1).flatten(0, 1)
    if not isinstance(folded, Tensor) or (folded.shape, folded.dtype) != (want.shape, want.dtype):
        raise FoldError(f"computes {what} in another shape or dtype with all steps at once")
    if any(x.requires_grad != folded.requires_grad for x in steps):
        raise FoldError(f"differentiates {what} at some steps only")
    check_same(folded.detach(), want, what)


def check_same(got: Tensor, want: Tensor, what: str, least: float = 0.0) -> None:
    """Raise unless two tensors are the same up to rounding, of numbers of that size at least."""
    finite = want[want.isfinite()] if want.is_floating_point() else want.flatten()
    if not finite.numel():
        if want.numel():
            raise UnusableError(f"{what} is nowhere finite")
        return
    sizes = finite[finite != 0].abs().double()
    # a few huge entries, such as those that mask others, must not hide the rest
    some = sizes[:: 1 + sizes.numel() // 10**6]
    scale = min(float(sizes.max()), 1e4 * float(some.quantile(0.1))) if sizes.numel() else 1.0
    tolerance = _TOLERANCE.get(want.dtype, 0.0)
    if not torch.allclose(got, want, rtol=tolerance, atol=tolerance * max(scale, least), equal_nan=True):
        raise FoldError(f"computes {what} differently with all steps at once: something mixes steps or samples")
