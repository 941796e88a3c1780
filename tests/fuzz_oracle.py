"""What a call of scan gives, what it has to give, and by how much it may be off.

The oracle is the loop on copies that share nothing. Where it is not the bits that count, results are compared by the
table of tolerances, and a result that is off counts only if it is steady: if relative noise on each operation of the
oracle, a thousand times what rounding does, leaves it within the tolerance. A spike that is about to flip does not.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikingtorch.testing import TOLERANCE, relative_error
from tests.fused import bits
from tests.fuzz_tensors import Tensors

NOISE = {torch.float64: 1e-13, torch.float32: 1e-6}
NOISES = 3
_ROUNDED = {"add", "sub", "rsub", "mul", "div", "reciprocal", "sum"}
_FUNCTIONS = {
    "exp",
    "tanh",
    "sigmoid",
    "sqrt",
    "log1p",
    "erf",
    "sin",
    "cos",
    "atan",
    "pow",
    "lerp",
    "addcmul",
    "softplus",
}


class Answer(NamedTuple):
    """Values of the results and gradients of the sources by name, the form of the results, and these themselves."""

    values: dict[str, Tensor]
    gradients: dict[str, Tensor]
    form: Any = None
    leaves: Mapping[str, Tensor] = {}


class Exactness(NamedTuple):
    """How near an answer has to come.

    Attributes:
        exact: whether the bits of the values count.
        loses_signs: whether that of a zero's sign does not.
        meets_infinity: whether gradients may be NaN where the oracle leaves out what nothing depends on.
    """

    exact: bool
    loses_signs: bool
    meets_infinity: bool = False


CLOSE = Exactness(exact=False, loses_signs=True)


class Noise(TorchDispatchMode):
    """Puts relative noise on what rounds: everything, or functions such as exp alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_all = True
        self._draw = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        function = func._opname in _FUNCTIONS or func._opname.endswith("_backward")
        if (function or (self.on_all and func._opname in _ROUNDED)) and out.dtype in NOISE:
            random = torch.randn(out.shape, dtype=out.dtype, generator=self._draw)
            out.mul_(1.0 + NOISE[out.dtype] * random)
        return out


def answer(
    run: Callable[[], Any],
    tensors: Tensors,
    order: int,
    *,
    noise: Noise | None = None,
    exact: bool = False,
    scale: Mapping[str, float] | None = None,
) -> Answer:
    """Return what a scan gives.

    Args:
        run: the scan.
        tensors: its arguments.
        order: of the derivatives, 0, 1 or 2.
        noise: on all operations; where ``exact``, only functions forward, because no result depends on one.
        exact: whether the results round in one way only.
        scale: factors of the cotangents, by the name of the result.
    """
    with noise or nullcontext():
        if noise:
            noise.on_all = not exact
        results = run()
        if noise:
            noise.on_all = True
        leaves = flat(results)
        values = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        gradients = differentiated(leaves, tensors, order, scale or {}) if order else {}
    return Answer(values, gradients, pytree.tree_structure(results), leaves)


def flat(results: tuple[Any, Any]) -> dict[str, Tensor]:
    """Return the results of a scan by name."""
    tree = {"state": results[0], "out": results[1]}
    return {pytree.keystr(path): leaf for path, leaf in pytree.tree_flatten_with_path(tree)[0]}


def differentiated(
    leaves: Mapping[str, Tensor], tensors: Tensors, order: int, scale: Mapping[str, float]
) -> dict[str, Tensor]:
    """Return the gradients of the sources that learn, for random cotangents on the results, and those of gradients."""
    learned, weights = tensors.learned, cotangents(leaves, tensors)
    pairs = [(leaves[name], scale.get(name, 1.0) * weight) for name, weight in weights.items()]
    first = _grad([(leaf, given) for leaf, given in pairs if leaf.requires_grad], learned, create_graph=order == 2)
    found = {f"d source {k}": grad for k, grad in enumerate(first)}
    if order == 2:
        draw = torch.Generator().manual_seed(tensors.call.seed)
        again = [(grad, torch.randn(grad.shape, generator=draw).to(grad.dtype)) for grad in first]
        second = _grad([(grad, given) for grad, given in again if grad.requires_grad], learned)
        found |= {f"dd source {k}": grad for k, grad in enumerate(second)}
    return found


def cotangents(leaves: Mapping[str, Tensor], tensors: Tensors) -> dict[str, Tensor]:
    """Return random cotangents of the floating results, of all but one now and then, in one layout or another."""
    seed, names = tensors.call.seed, [*leaves, ""]
    # where numbers are not finite, a result that is not used makes gradients NaN
    unused = names[seed % len(names)] if tensors.call.numbers != "special" and len(leaves) > 1 else ""
    return {
        name: _drawn(leaf, seed + index)
        for index, (name, leaf) in enumerate(leaves.items())
        if name != unused and leaf.is_floating_point()
    }


def _drawn(leaf: Tensor, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    if seed % 5 == 0:
        return torch.randn((), generator=draw).to(leaf.dtype).expand(leaf.shape)
    random = torch.randn(leaf.shape if seed % 5 > 1 else leaf.shape[::-1], dtype=torch.float64, generator=draw)
    return (random if seed % 5 > 1 else random.permute([*reversed(range(leaf.ndim))])).to(leaf.dtype)


def _grad(pairs: list[tuple[Tensor, Tensor]], learned: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in learned]
    results, cotangents = zip(*pairs, strict=True)
    options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
    return list(torch.autograd.grad(results, learned, cotangents, create_graph=create_graph, **options))


def compare(got: Answer, want: Answer, how: Exactness, noisy: Callable[..., Answer], counts: Counter[str]) -> None:
    """Assert that an answer is that of the oracle.

    Args:
        got: the answer.
        want: that of the oracle.
        how: how exact the values are.
        noisy: the oracle, which takes its noise.
        counts: where to count.
    """
    assert got.form in (None, want.form), f"results have the form {got.form}, expected {want.form}"
    wrong = [name for name, value in got.values.items() if not _agrees(value, want.values[name], how)]
    if how.exact:
        assert not wrong, _told(wrong[0], got.values[wrong[0]], want.values[wrong[0]])
    if how.meets_infinity:
        known = {
            name: gradient.where(~gradient.isnan(), want.gradients[name]) for name, gradient in got.gradients.items()
        }
        got = got._replace(gradients=known)
    ours, theirs = got.values | got.gradients, want.values | want.gradients
    wrong += [name for name, gradient in got.gradients.items() if not _agrees(gradient, want.gradients[name])]
    counts["gradients compared"] += sum(not name.startswith("dd") for name in got.gradients)
    counts["second derivatives"] += sum(name.startswith("dd") for name in got.gradients)
    if wrong:
        moved = [each.values | each.gradients for each in (noisy(noise=Noise(seed)) for seed in range(NOISES))]
        steady = [name for name in wrong if all(_agrees(each[name], theirs[name]) for each in moved)]
        assert not steady, _told(steady[0], ours[steady[0]], theirs[steady[0]])
        counts["discarded by margin"] += 1


def _agrees(got: Tensor, want: Tensor, how: Exactness = CLOSE) -> bool:
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    if not want.is_floating_point():
        return torch.equal(got, want)
    if how.loses_signs:
        got, want = got + 0.0, want + 0.0
    exact = torch.ones_like(want, dtype=torch.bool) if how.exact else ~want.isfinite()
    if ((bits(got) != bits(want)) & ~((got != got) & (want != want)) & exact).any():
        return False
    # gradients of half precision are rounded, and then summed where sources overlap
    allowed = TOLERANCE.get(want.dtype, 4 * torch.finfo(want.dtype).eps)
    return want.numel() == 0 or relative_error(got.masked_fill(exact, 0), want.masked_fill(exact, 0)) <= allowed


def _told(name: str, got: Tensor, want: Tensor) -> str:
    return f"{name} is wrong:\n{got}\nexpected\n{want}"
