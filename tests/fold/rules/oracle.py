"""Whether a function of a batch keeps its samples apart, found out by numbers; and what the proof says of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.fold.copied import CallForm
from spikingtorch.fold.proof import FoldDecision, prove
from tests.fold.corpus.entry import Between

Code = Callable[[Tensor], Tensor]
SIZES = (7, 11, 1, 2, 3, 4, 5, 6, 8, 64, 100)  # all sizes of the samples' own axes are among them


def noise(N: int, shape: Sequence[int], seed: int) -> Tensor:
    """Return samples of random numbers."""
    return torch.rand((N, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Decided(NamedTuple):
    """What the proof says of a network.

    Attributes:
        decision: about a few samples.
        net: the network.
    """

    decision: FoldDecision
    net: nn.Module

    @property
    def reason(self) -> str | None:
        """Why it steps."""
        return self.decision.reason

    def folds(self, N: int) -> bool:
        """Say whether it folds for a number of samples."""
        sizes = self.decision.sizes
        return self.reason is None and (sizes is None or sizes.objection_to(N, self.net) is None)


def decide(code: Code, shape: Sequence[int], gradients: bool = True) -> Decided:
    """Return what the proof says of a network that calls code between two spiking layers."""
    torch.manual_seed(0)
    net = Between(lambda net, x: net.own(x), own=code).to(torch.float64)
    call_form = CallForm(tuple(shape), torch.float64, torch.device("cpu"), (gradients, gradients), None)
    return Decided(prove(net, call_form, {}), net)


def folding(code: Code, shape: Sequence[int], sizes: Sequence[int] = SIZES, gradients: bool = True) -> list[int]:
    """Return the numbers of samples for which the proof lets a network fold."""
    found = decide(code, shape, gradients)
    return [N for N in sizes if found.folds(N)]


def _agree(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return all(each is None or not each.any() for each in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-7, atol=1e-9, equal_nan=True)


def _with_gradient(code: Code, x: Tensor, place: int, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
    """Return a sample of what comes out, and gradients of a random function of it."""
    x = x.clone().requires_grad_()
    torch.manual_seed(5)
    out = code(x)
    if out.shape[0] != len(x):
        raise ValueError(f"{tuple(out.shape)} comes out of {len(x)} samples")
    one = out[place]
    if not one.requires_grad or not one.numel():
        return one.detach(), [None] * (1 + len(weights))
    if one.is_complex():
        one = torch.view_as_real(one)
    cotangent = torch.rand(one.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    grads = torch.autograd.grad(one, (x, *weights), cotangent.to(one.dtype), allow_unused=True)
    return one.detach(), list(grads)


def mixing(
    code: Code, shape: Sequence[int], sizes: Sequence[int] = SIZES, weights: Sequence[Tensor] = (), draws: bool = False
) -> str:
    """Return how code mixes samples, in words; "" if it keeps them apart for all of these numbers of samples.

    Args:
        code: returns, for each sample of a batch, something of it.
        shape: of a sample.
        sizes: numbers of samples.
        weights: what else is differentiated.
        draws: whether it draws random numbers, which are others at another place.
    """
    first, wanted = sizes[0], noise(1, shape, 0)[0]
    reference: tuple[Tensor, list[Tensor | None]] | None = None
    for N in sizes:
        for seed, place in ((1, N // 2), (2, N // 2), (3, N - 1), (4, 0)):
            x = noise(N, shape, seed)
            x[place] = wanted
            try:
                out, (grad, *of_weights) = _with_gradient(code, x, place, weights)
            except Exception as error:
                return f"fails for {N} samples, other than for {first}: {str(error).splitlines()[0][:100]}"
            if grad is not None:
                own, grad = grad[place].clone(), grad.clone()
                grad[place] = 0
                if grad.any():
                    return f"has a gradient of other samples, for {N} samples"
                grad = own
            if draws and (place != N // 2 or first != N):
                continue
            reference = reference or (out, [grad, *of_weights])
            if not _agree(out, reference[0]):
                return f"makes something else of the same sample, for sample {place} of {N}"
            if not all(_agree(a, b) for a, b in zip([grad, *of_weights], reference[1], strict=True)):
                return f"has another gradient for the same sample, for sample {place} of {N}"
    return _mixed_gradients(code, shape, first, weights) or (_shared_draw(code, shape, first) if draws else "")


def _mixed_gradients(code: Code, shape: Sequence[int], N: int, weights: Sequence[Tensor]) -> str:
    """Say whether the gradients of a sum over all samples are other than a sum of the gradients of each."""
    x = noise(N, shape, 6)

    def grads(places: Sequence[int]) -> list[Tensor | None]:
        leaf = x.clone().requires_grad_()
        torch.manual_seed(5)
        out = code(leaf)
        if not out.requires_grad:
            return []
        out = torch.view_as_real(out) if out.is_complex() else out
        cotangent = torch.zeros_like(out)
        generator = torch.Generator().manual_seed(9)
        whole = torch.rand(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
        cotangent[list(places)] = whole[list(places)]
        return list(torch.autograd.grad(out, (leaf, *weights), cotangent, allow_unused=True))

    whole, parts = grads(range(N)), [grads([place]) for place in range(N)]
    for index, grad in enumerate(whole):
        each = [part[index] for part in parts if part[index] is not None]
        total = torch.stack([one for one in each if one is not None]).sum(0) if each else None
        if not _agree(grad, total):
            return "has gradients that are no sum over the samples"
    return ""


def _shared_draw(code: Code, shape: Sequence[int], N: int) -> str:
    """Say whether equal samples come out equal, so that they share their random numbers."""
    torch.manual_seed(5)
    out = code(noise(1, shape, 0).repeat(N, *[1] * len(shape)))
    return "shares random numbers between samples" if (out == out[:1]).all() else ""
