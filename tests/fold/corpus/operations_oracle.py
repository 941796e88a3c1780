"""Whether code keeps the samples of a batch apart: what numbers say, and what a network that calls it says."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import spikingtorch as st
from tests.fold.corpus.entry import Between

Code = Callable[[Tensor], Tensor]
SIZES = (7, 11, 1, 2, 3, 4, 5, 6, 8, 64, 100)  # all sizes of the samples' own axes are among them


def noise(N: int, shape: Sequence[int], seed: int) -> Tensor:
    """Return samples of random numbers."""
    return torch.rand((N, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Judged:
    """A network that calls code between two layers, and what it says of itself.

    Attributes:
        reason: why it steps; "" if it folds for some number of samples.
    """

    def __init__(self, code: Code, shape: Sequence[int] = (6,)) -> None:
        net = Between(lambda net, x: net.of_samples(x), of_samples=code)
        self.shape, self.model = shape, st.SpikingNet(net.double(), warn_silent=False)
        report = self._report(7)
        self.reason = "" if report.mode == "fold" or self.folds(100) else report.reason

    def _report(self, N: int) -> Any:
        x = noise(N, (2, *self.shape), 0)
        return self.model.explain(x.requires_grad_(torch.is_grad_enabled()))

    def folds(self, N: int) -> bool:
        """Say whether it folds for a number of samples."""
        return bool(self._report(N).mode == "fold")

    def sizes(self, among: Sequence[int] = SIZES) -> list[int]:
        """Return the numbers of samples for which it folds."""
        return [] if self.reason else [N for N in among if self.folds(N)]


def _agree(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return all(each is None or not each.any() for each in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-7, atol=1e-9, equal_nan=True)


def _drawn(code: Code, x: Tensor) -> Tensor:
    torch.default_generator.manual_seed(5)  # torch.manual_seed notes the whole stack for other devices
    return code(x)


def _with_gradient(code: Code, x: Tensor, place: int, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
    """Return a sample of what comes out, and gradients of a random function of it."""
    x = x.clone().requires_grad_()
    out = _drawn(code, x)
    if out.shape[0] != len(x):
        raise ValueError(f"{tuple(out.shape)} comes out of {len(x)} samples")
    one = out[place]
    if not one.requires_grad or not one.numel():
        return one.detach(), [None] * (1 + len(weights))
    grads = torch.autograd.grad(one, (x, *weights), noise(1, one.shape, 3)[0].to(one), allow_unused=True)
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

    def grads(places: Sequence[int]) -> list[Tensor | None]:
        leaf = noise(N, shape, 6).requires_grad_()
        out = _drawn(code, leaf)
        if not out.requires_grad:
            return []
        cotangent = torch.zeros_like(out)
        cotangent[list(places)] = noise(N, out.shape[1:], 9).to(out)[list(places)]
        return list(torch.autograd.grad(out, (leaf, *weights), cotangent, allow_unused=True))

    whole, parts = grads(range(N)), [grads([place]) for place in range(N)]
    for index, grad in enumerate(whole):
        each = [found for part in parts if (found := part[index]) is not None]
        if not _agree(grad, torch.stack(each).sum(0) if each else None):
            return "has gradients that are no sum over the samples"
    return ""


def _shared_draw(code: Code, shape: Sequence[int], N: int) -> str:
    """Say whether equal samples come out equal, so that they share their random numbers."""
    out = _drawn(code, noise(1, shape, 0).repeat(N, *[1] * len(shape)))
    return "shares random numbers between samples" if (out == out[:1]).all() else ""
