"""Max pooling that keeps one byte an output, beside torch's own: the same numbers, gradients and strides."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from spikingtorch.functional.sparse import pooling
from spikingtorch.functional.sparse.automatic import Automatic
from spikingtorch.functional.sparse.pooling import max_pool2d
from tests.surroundings import on_threads, saved_by

WINDOWS: dict[str, dict[str, Any]] = {
    "two by two": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 2, "padding": 1},
    "not square": {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)},
    "dilated": {"kernel_size": (2, 3), "stride": 1, "dilation": (3, 2), "padding": (1, 1)},
    "out of the image": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "with gaps": {"kernel_size": [2], "stride": [4]},
    "no stride": {"kernel_size": 2, "stride": []},
}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels-last": lambda x: x.to(memory_format=torch.channels_last),
    "every second": lambda x: x.repeat_interleave(2, 3)[..., ::2],
}


@pytest.fixture(autouse=True)
def small_images_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "LEAST", 1)


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    """Return spikes, of which several in a window are the largest, some numbers between, and a NaN."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(3, 5, 11, 14, generator=generator) < 0.2).to(dtype)
    x[1] = torch.rand(x.shape[1:], generator=generator, dtype=torch.float64).to(dtype) - 0.5
    x[2, 0, 4, 5] = float("nan")
    return x


def outcome(pool: Any, x: Tensor, **windows: Any) -> list[Tensor]:
    """Return outputs, their gradient, and the gradient of a number of that gradient."""
    x = x.detach().requires_grad_()
    out = pool(x, **windows)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype).requires_grad_()
    (of_x,) = torch.autograd.grad(out, x, g, create_graph=True)
    (of_g,) = torch.autograd.grad(of_x.pow(2).sum(), g)
    return [out, of_x, of_g]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("windows", WINDOWS.values(), ids=WINDOWS)
def test_as_torch(windows: dict[str, Any], layout: str) -> None:
    x = LAYOUTS[layout](images())
    got, want = outcome(max_pool2d, x, **windows), outcome(nnf.max_pool2d, x, **windows)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        assert a.stride() == b.stride()


def test_one_byte_an_output_is_kept() -> None:
    kept = saved_by(lambda: max_pool2d(images().requires_grad_(), 2))
    assert [(each.dtype, each.shape) for each in kept] == [(torch.uint8, (3, 5, 5, 7))]


def test_places_that_a_hook_has_laid_out_anew() -> None:
    x = images().to(memory_format=torch.channels_last).requires_grad_()
    with saved_tensors_hooks(lambda t: t.clone(memory_format=torch.contiguous_format), lambda t: t):
        out: Any = max_pool2d(x, 2)
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(*[torch.autograd.grad(each, x, g)[0] for each in (out, nnf.max_pool2d(x, 2))])


def test_an_input_may_be_written_on_afterwards() -> None:
    x = images().requires_grad_()
    (want,) = torch.autograd.grad(nnf.max_pool2d(x, 2).sum(), x)
    between = x * 1
    out: Any = max_pool2d(between, 2)
    between.mul_(2)
    (got,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("given", "windows"),
    [
        (images(torch.float64).requires_grad_(), {"kernel_size": 2}),
        (images(torch.bfloat16).requires_grad_(), {"kernel_size": 2}),
        (images().requires_grad_()[0], {"kernel_size": 2}),
        (images().requires_grad_(), {"kernel_size": 2, "return_indices": True}),
        (images().requires_grad_()[:0], {"kernel_size": 2}),
        (images().requires_grad_(), {"kernel_size": -1}),
        (images().requires_grad_(), {"kernel_size": (1, 2, 3)}),
        (torch.zeros(1, 1, 20, 20, requires_grad=True), {"kernel_size": (16, 17)}),
        (torch.zeros(1, 1, 3, 3, requires_grad=True), {"kernel_size": 2, "padding": 1, "dilation": 4}),
        (torch.zeros(1, 1, 2, 2, requires_grad=True, device="meta"), {"kernel_size": 2}),
    ],
    ids=[
        *("float64", "bfloat16", "one image", "indices", "no images", "negative", "three sizes"),
        *("too large a window", "nothing but padding", "another device"),
    ],
)
def test_left_to_torch(given: Tensor, windows: dict[str, Any]) -> None:
    assert max_pool2d(given, **windows) is None


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"padding": 2}, {"dilation": 0}, {"kernel_size": 0}], ids=str)
def test_wrong_windows_are_an_error_as_in_torch(wrong: dict[str, Any]) -> None:
    """Which sees them: the pool is left to it."""
    x = images().requires_grad_()
    windows: dict[str, Any] = {"kernel_size": 2} | wrong
    with pytest.raises(RuntimeError) as want:
        nnf.max_pool2d(x, **windows)
    with pytest.raises(RuntimeError, match=re.escape(str(want.value).splitlines()[0])), Automatic(always=False):
        nnf.max_pool2d(x, **windows)
    assert max_pool2d(x, **windows) is None


def numbers(generator: torch.Generator, shape: Sequence[int]) -> Tensor:
    """Return few numbers, of which many are equal, zeros of both signs, infinities, and sometimes NaN."""
    found = torch.randint(-2, 3, tuple(shape), generator=generator).float() * torch.tensor(-1.0)
    found[torch.rand(found.shape, generator=generator) < 0.2] = -math.inf
    found[torch.rand(found.shape, generator=generator) < 0.05] = math.inf
    if torch.rand((), generator=generator) < 0.3:
        found[torch.rand(found.shape, generator=generator) < 0.1] = math.nan
    return found


@pytest.mark.parametrize("seed", range(8))
def test_random_windows_as_in_torch(seed: int) -> None:
    """The numbers, and where they come from: bit by bit, whatever the windows, layouts and number of threads."""
    generator, compared = torch.Generator().manual_seed(seed), 0

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    with on_threads(1):
        for _ in range(60):
            torch.set_num_threads(draw(1, 3))
            sides = 60 if draw(0, 5) == 0 else 20
            x = numbers(generator, (draw(1, 3), draw(1, 20), draw(1, sides), draw(1, sides)))
            x = x.to(memory_format=torch.channels_last) if draw(0, 1) else x
            kernel = draw(1, 4), draw(1, 4)
            windows: dict[str, Any] = {"kernel_size": kernel, "stride": (draw(1, 5), draw(1, 5))}
            windows |= {"padding": tuple(draw(0, size // 2) for size in kernel), "ceil_mode": bool(draw(0, 1))}
            windows |= {"dilation": (draw(1, 3), draw(1, 3)) if draw(0, 2) == 0 else 1}
            x.requires_grad_()
            with torch.no_grad():
                out = max_pool2d(x, **windows)
            if out is None:
                continue
            compared += 1
            trained: Any = max_pool2d(x, **windows)
            want = nnf.max_pool2d(x, **windows)
            g = torch.randn(want.shape, generator=generator)
            pairs = [(out, want), (trained, want), [torch.autograd.grad(each, x, g)[0] for each in (trained, want)]]
            for got, wanted in pairs:
                torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)
                assert torch.equal(got.signbit(), wanted.signbit()) or wanted.isnan().any()
                assert got.stride() == wanted.stride()
    assert compared > 20


def test_left_alone_where_layers_are() -> None:
    x, pool = images().requires_grad_(), nn.MaxPool2d(2)
    with Automatic(always=False):
        assert pool(x).grad_fn.name() == "MaxPoolBackward"
        with torch.no_grad():
            assert pool(x).grad_fn is None
        with pytest.raises(RuntimeError, match="should not be zero"):
            nnf.max_pool2d(x, 0)
        out = checkpoint(pool, x, use_reentrant=False)
    (got,), (want,) = (torch.autograd.grad(each.nan_to_num().sum(), x) for each in (out, pool(x)))
    assert torch.equal(got, want)
