"""Real-time recurrent learning of a whole network.

Let S be the state of all layers and theta the weights. The influence P = dS/dtheta runs forward in time:

    P[t] = J[t] P[t-1] + M[t]          J = dS[t]/dS[t-1],  M = dS[t]/dtheta at fixed S[t-1]

Nothing is left out: states of other neurons and layers, recurrent weights, resets and delays are all entries of S. J
and M come from the graph of the step by one vector-Jacobian product for each entry of S. P has (weights x entries of S)
numbers, and with many weights, the product J P takes most of the time.

Source: R. J. Williams, D. Zipser, Neural Comput. 1 (1989), doi:10.1162/neco.1989.1.2.270.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import without_autocast
from spikingtorch.learning.online_step import Memories, Stepper, Tape
from spikingtorch.learning.online_synapses import check_leaves, with_graph

# entries of the state whose rows of J and M are computed together
_TOGETHER = 512
_NOT_LINEAR = (
    "learning.online: within a step, a backward pass is not linear in its gradient, as one that clamps it, and "
    "rule='exact' adds up the rows of a Jacobian. Change the gradients of the weights instead, after backward()"
)


class _Rows(NamedTuple):
    """The order of the entries of S, sample by sample; one sample if a tensor of it has no axis of samples."""

    shapes: dict[str, torch.Size]
    samples: int

    @classmethod
    def of(cls, state: dict[str, Tensor], samples: int) -> "_Rows":
        """Return the order for a state."""
        split = all(each.shape[:1] == (samples,) for each in state.values())
        return cls({name: each.shape for name, each in state.items()}, samples if split else 1)

    def join(self, state: dict[str, Tensor]) -> Tensor:
        """Return tensors of shape (..., *shape) as one, of shape (..., entries of S)."""
        first = next(iter(state))
        outer = state[first].shape[: state[first].ndim - len(self.shapes[first])]
        return torch.cat([state[name].reshape(*outer, self.samples, -1) for name in self.shapes], -1).flatten(-2)

    def split(self, joined: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors that ``join`` has joined, in the dtypes of others."""
        sizes = [shape.numel() // self.samples for shape in self.shapes.values()]
        parts = joined.unflatten(-1, (self.samples, -1)).split(sizes, -1)
        outer = joined.shape[:-1]
        return {
            name: part.reshape(*outer, *shape).to(like[name].dtype)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


class _Influence(NamedTuple):
    """P, of shape (entries of S, entries of theta), and the order of its rows."""

    rows: _Rows
    P: Tensor


class Exact:
    """The influence of every entry of every weight on the whole state."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.memories: Memories | None = None
        self.names: tuple[str, ...] = ()  # the weights, in the order of the columns
        self.before: _Influence | None = None
        self.now: _Influence | None = None
        self._tape: Tape | None = None

    def get_past(self) -> dict[str, Tensor]:
        """Return a copy of the influence on the state after the last step."""
        return {} if self.now is None else {"influence": self.now.P.clone()}

    def set_past(self, memories: Memories, past: Mapping[str, Tensor], samples: int) -> None:
        """Continue from memories, and from the influence of the weights that are trained now."""
        self.reset()
        trained = {name: each for name, each in self.stepper.model.named_parameters() if each.requires_grad}
        state = {key: each for key, each in self.stepper.named(memories).items() if each.is_floating_point()}
        size = (sum(map(Tensor.numel, state.values())), sum(map(Tensor.numel, trained.values())))
        expected = {"influence": size} if state and trained else {}
        if expected != {key: tuple(each.shape) for key, each in past.items()}:
            raise ValueError(
                "learning.online: the influence in the state is that of other weights. Hand over what get_state() of a "
                "learner with the same rule and network returned, with the same weights frozen"
            )
        self.memories, self.names = memories, tuple(trained)
        if expected:
            self.now = _Influence(_Rows.of(state, samples), past["influence"].detach().clone())

    def step(self, x: Tensor, init: bool | Tensor) -> Any:
        """Advance one step, and the influence; return the output with its graph."""
        with torch.enable_grad():
            tape = self.stepper.run(None if init is True else self.memories, x, init)
        known, names = dict(self.stepper.model.named_parameters()), self.names
        if tape.state is None:
            names = tuple(name for name, each in known.items() if each.requires_grad)
        before, now = None if tape.state is None else self.now, None
        weights: list[Any] = [known[name] for name in names]
        check_leaves("the state of the layers", tape.after, (*weights, *(tape.state or {}).values()))
        if names and any(each.is_floating_point() for each in tape.after.values()):
            hooks = [weight._backward_hooks for weight in weights]
            try:
                for weight in weights:
                    weight._backward_hooks = None  # they see the gradient, and not what it is computed from
                now = self._after(x, tape, weights, before)
            finally:
                for weight, own in zip(weights, hooks, strict=True):
                    weight._backward_hooks = own
        self.names, self.before, self.now, self.memories, self._tape = names, before, now, tape.memories, tape
        return tape.out

    def backward(self, grads: list[Tensor]) -> None:
        """Add the gradient of a loss to ``.grad``, from its gradients by the outputs of the step."""
        tape = self._tape
        assert tape is not None
        if not (outs := with_graph(tape.out, grads)):
            return
        torch.autograd.backward([out for out, _ in outs], [grad for _, grad in outs], retain_graph=True)
        signals = {key: leaf.grad for key, leaf in (tape.state or {}).items() if leaf.grad is not None}
        for leaf in (tape.state or {}).values():
            leaf.grad = None
        if self.before is not None and signals:
            self._add(self.before, signals)

    def _add(self, before: _Influence, signals: dict[str, Tensor]) -> None:
        """Add the gradient through the state before the step to ``.grad``."""
        rows, P = before
        whole = {name: signals.get(name, P.new_zeros(shape)) for name, shape in rows.shapes.items()}
        with without_autocast(P.device):
            found = rows.join(whole).to(P.dtype) @ P
        weights = [dict(self.stepper.model.named_parameters())[name] for name in self.names]
        for weight, part in zip(weights, found.split([each.numel() for each in weights]), strict=True):
            if weight.requires_grad:
                torch.autograd.backward([weight], [part.reshape(weight.shape).to(weight.dtype)])

    def _after(self, x: Tensor, tape: Tape, weights: list[Tensor], before: _Influence | None) -> _Influence:
        """Return the influence on the state after a step, by the graph of the step."""
        after = {name: each for name, each in tape.after.items() if each.is_floating_point()}
        moving = {name: (tape.state or {})[name] for name in (before.rows.shapes if before else ())}
        rows = _Rows.of(after, len(x))
        size = sum(map(Tensor.numel, after.values()))
        mix = 100.0 * torch.arange(size, device=x.device).cos()  # large, so that a limit is met
        asked = torch.cat([torch.eye(size, device=x.device), mix.unsqueeze(0)])
        parts = [_rows(after, rows.split(part, after), [*moving.values(), *weights]) for part in asked.split(_TOGETHER)]
        found = parts[0] if len(parts) == 1 else [torch.cat(each) for each in zip(*parts, strict=True)]
        del parts
        if not torch.is_autocast_enabled(mix.device.type) and all(each.dtype.itemsize > 2 for each in found):
            noise = 0.001 * sum(each[:-1].norm() for each in found)  # of sums that cancel; 16 bits have more
            sums = [mix.to(each.dtype) @ each[:-1].reshape(size, -1) - each[-1].flatten() for each in found]
            if any(off.norm() > 100 * (0.03 * each[:-1].norm() + noise) for off, each in zip(sums, found, strict=True)):
                raise ValueError(_NOT_LINEAR)
        found = [each[:-1] for each in found]
        dtype = rows.join(after).dtype
        M = torch.cat([each.reshape(size, -1) for each in found[len(moving) :]], 1).to(dtype)
        if before is not None:
            of_state = dict(zip(moving, found, strict=False))
            with without_autocast(M.device):
                _advance(M, before.rows.join(of_state).to(dtype), before.P, rows.samples)
        return _Influence(rows, M)


def _rows(after: dict[str, Tensor], cotangents: dict[str, Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Return the derivative of each entry of the state, for which there is a cotangent, by each input."""
    asked = {name: each for name, each in after.items() if each.requires_grad}
    count = len(next(iter(cotangents.values())))
    if not asked:
        return [each.new_zeros(count, *each.shape) for each in inputs]
    found = torch.autograd.grad(
        [*asked.values()],
        inputs,
        [cotangents[name] for name in asked],
        retain_graph=True,
        allow_unused=True,
        is_grads_batched=True,
    )
    return [
        each.new_zeros(count, *each.shape) if grad is None else grad for each, grad in zip(inputs, found, strict=True)
    ]


def _advance(M: Tensor, J: Tensor, P: Tensor, samples: int) -> None:
    """Add ``J P`` to M, sample by sample if no sample depends on another one."""
    blocks = J.unflatten(1, (samples, -1)).unflatten(0, (samples, -1))
    own = blocks.diagonal(dim1=0, dim2=2)  # (entries after, entries before, samples)
    if samples == 1 or own.count_nonzero() != J.count_nonzero():
        M.addmm_(J, P)
    else:
        M.unflatten(0, (samples, -1)).baddbmm_(own.permute(2, 0, 1), P.unflatten(0, (samples, -1)))
