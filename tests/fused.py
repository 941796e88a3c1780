"""The fused backend beside the loop: values by their bits, gradients with random cotangents on every result."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.testing import TOLERANCE, relative_error

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
NO_PARAMS: Mapping[str, Any] = {}
# puts a tensor, strides and all, into memory of its own
Placing: TypeAlias = Callable[[Tensor], Tensor]


class Scan(NamedTuple):
    """Arguments of ``scan``."""

    step: Callable[..., Any]
    state: Any
    xs: Any
    params: Mapping[str, Any] = NO_PARAMS
    dim: int = 0

    def run(self, backend: Any) -> tuple[Any, Any]:
        state, out = F.scan(self.step, self.state, self.xs, params=self.params, dim=self.dim, backend=backend)
        return state, out

    @property
    def exactness(self) -> str:
        found = F.explain_scan(self.step, self.state, self.xs, params=self.params, dim=self.dim, backend="fused")
        assert found.backend == "fused", found
        return found.exactness

    def watched(self, only: Collection[str] | None = None) -> tuple["Scan", dict[str, Tensor]]:
        """Return the scan with the named leaves (all floating ones by default) requiring gradients, and these by name.

        The leaves keep their memory, and so their strides.
        """
        tree = {"state": self.state, "xs": self.xs, "params": dict(self.params)}
        leaves, form = pytree.tree_flatten_with_path(tree)
        chosen: dict[str, Tensor] = {}
        replaced = []
        for path, leaf in leaves:
            name = pytree.keystr(path)
            if isinstance(leaf, Tensor):
                leaf = leaf.detach()
                if leaf.is_floating_point() and (only is None or name in only):
                    chosen[name] = leaf.requires_grad_()
            replaced.append(leaf)
        built = pytree.tree_unflatten(replaced, form)
        assert only is None or chosen.keys() == {*only}, f"no leaf is called {set(only) - chosen.keys()}"
        return Scan(self.step, built["state"], built["xs"], built["params"], self.dim), chosen

    def found(
        self,
        backend: Any,
        *,
        only: Collection[str] | None = None,
        of: Collection[str] | None = None,
        place: Placing = lambda tensor: tensor,
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return the results, and the gradients of leaves by name, for random cotangents on the results.

        Args:
            backend: what runs the scan.
            only: the names of the leaves.
            of: the results that have a cotangent, "state", "out", or what their names begin with.
            place: puts a cotangent into memory.
        """
        scan, leaves = self.watched(only)
        state, out = scan.run(backend)
        draw = torch.Generator().manual_seed(0)
        results, cotangents = [], []
        for path, result in pytree.tree_flatten_with_path({"state": state, "out": out})[0]:
            # most of them positive, so that a sum of them is not near zero
            cotangent = torch.rand(result.shape, dtype=torch.float64, generator=draw) - 0.2
            if result.requires_grad and (of is None or any(pytree.keystr(path).startswith(f"['{n}']") for n in of)):
                results.append(result)
                cotangents.append(place(cotangent.to(result)))
        assert results, "no result requires a gradient"
        found = torch.autograd.grad(
            results, list(leaves.values()), cotangents, allow_unused=True, materialize_grads=True
        )
        detached = pytree.tree_map(lambda result: result.detach(), (state, out))
        return detached, dict(zip(leaves, found, strict=True))

    def gradients(self, backend: Any, **options: Any) -> dict[str, Tensor]:
        """Return the gradients that ``found`` returns."""
        return self.found(backend, **options)[1]

    def converted(self, dtype: torch.dtype) -> "Scan":
        """Return the scan with its floating tensors in a dtype."""

        def convert(leaf: Any) -> Any:
            return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

        state, xs, params = pytree.tree_map(convert, (self.state, self.xs, dict(self.params)))
        return Scan(self.step, state, xs, params, self.dim)


def check(scan: Scan, *, exact: bool = True) -> None:
    """Assert that the fused backend is the loop, in bits and gradients, and that it says so."""
    assert (scan.exactness == "E") == exact
    agree(scan)


def agree(scan: Scan, place: Placing = lambda tensor: tensor) -> None:
    """Assert that the fused backend is the loop, at the first call and at one that it has prepared for."""
    results, gradients = scan.found("loop", place=place)
    for _ in range(2):
        with torch.no_grad():
            assert_same_bits(scan.run("fused"), results)
        # with a gradient to come, the forward pass keeps states on the way: it is to change nothing
        got = scan.found("fused", place=place)
        assert_same_bits(got[0], results)
        assert_close_gradients(got[1], gradients)


def check_gradients(scan: Scan, *, only: Collection[str] | None = None, of: Collection[str] | None = None) -> None:
    """Assert that the gradients are those of the loop."""
    got, want = (scan.gradients(backend, only=only, of=of) for backend in ("fused", "loop"))
    assert_close_gradients(got, want)


def assert_close_gradients(got: Mapping[str, Tensor], want: Mapping[str, Tensor]) -> None:
    """Assert that gradients agree to the tolerance; those of half precision are rounded to it on either side."""
    for name, gradient in want.items():
        mine, half = got[name], gradient.dtype not in TOLERANCE
        assert (mine.dtype, mine.shape) == (gradient.dtype, gradient.shape), name
        assert gradient.isfinite().all(), f"{name}: the loop's gradient is not finite, so nothing is compared"
        allowed = 2 * torch.finfo(gradient.dtype).eps + 1e-5 if half else TOLERANCE[gradient.dtype]
        error = relative_error(mine.float(), gradient.float()) if half else relative_error(mine, gradient)
        assert error <= allowed, f"{name}: relative error {error:.3g}, allowed {allowed:g}\n{mine}\n{gradient}"


def assert_same_bits(got: Any, want: Any) -> None:
    """Assert that two trees have the same form, dtypes, shapes and bits; a NaN equals any other."""
    (ours, form), (theirs, expected) = pytree.tree_flatten_with_path(got), pytree.tree_flatten_with_path(want)
    assert form == expected
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        name = pytree.keystr(path)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        wrong = (bits(a) != bits(b)) & ~((a != a) & (b != b))
        assert not wrong.any(), (
            f"{name}: {int(wrong.sum())} of {wrong.numel()} differ, first at {wrong.nonzero()[0].tolist()}: "
            f"{a[wrong][0].item()!r}, expected {b[wrong][0].item()!r}"
        )


def bits(tensor: Tensor) -> Tensor:
    """Return the bits of each element as an integer."""
    return tensor.detach().contiguous().view(_BITS[tensor.element_size()])


def ulps(got: Tensor, want: Tensor) -> Tensor:
    """Return how many units in the last place of ``want`` lie between two tensors; 0 where both are NaN."""
    a, b = _ordered(got), _ordered(want)
    distance = (a - b).abs().double()
    nan = torch.isnan(got), torch.isnan(want)
    distance = torch.where(nan[0] ^ nan[1], torch.inf, distance)
    return torch.where(nan[0] & nan[1], 0.0, distance)


def _ordered(tensor: Tensor) -> Tensor:
    """Return integers in the order of the floats, neighbours one apart, both zeros 0."""
    integers = bits(tensor).long()
    lowest = -(2**31) if tensor.dtype == torch.float32 else -(2**63)
    return torch.where(integers < 0, lowest - integers, integers)


def draw(*shape: int, dtype: torch.dtype = torch.float64, low: float = 0.0, high: float = 1.0, seed: int = 0) -> Tensor:
    """Draw evenly distributed numbers."""
    generator = torch.Generator().manual_seed(seed + 1000 * len(shape) + sum(shape))
    return (low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=generator)).to(dtype)


def special(dtype: torch.dtype) -> Tensor:
    """Return the numbers at which something happens."""
    info = torch.finfo(dtype)
    ends = [0.0, info.smallest_normal * info.eps, info.smallest_normal / 4, info.tiny, info.eps, info.max, torch.inf]
    near_one = [1.0 - info.eps / 2, 1.0, 1.0 + info.eps]
    usual = [1e-6, 0.3, 0.5, *near_one, 1.5, 2.0, 2.5, 17.0, 88.0, 100.0, 709.0, 1e6, 3e30]
    positive = torch.tensor([*ends, *usual], dtype=torch.float64).to(dtype)
    return torch.cat([positive, -positive, torch.tensor([torch.nan], dtype=dtype)])
