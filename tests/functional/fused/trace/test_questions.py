"""What a step asks of tensors, floats and objects, which a trace would answer otherwise than the loop."""

import operator
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikingtorch import functional as F

XS = torch.randn(6, 3, 40, generator=torch.Generator().manual_seed(0))
LOOPS = "on the Python loop"


def scan(step: Any, backend: Any, xs: Tensor = XS, **params: Any) -> list[Tensor]:
    """Return the last state and the outputs."""
    state, out = F.scan(step, torch.zeros_like(xs[0]), xs, params=params, backend=backend)
    return [state, out]


def same(step: Any, xs: Tensor = XS, **params: Any) -> None:
    """Assert that a step has the bits of the loop, and is as finite."""
    for got, want in zip(scan(step, "auto", xs, **params), scan(step, "loop", xs, **params), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert torch.equal(got, want)


def of(current: Callable[..., Tensor]) -> Any:
    """Return a step that integrates a current."""

    def step(state: Tensor, x: Tensor, **params: Any) -> Any:
        v = 0.5 * state + current(x, **params)
        return v, v

    return step


def written(x: Tensor) -> Tensor:
    u = x * 1.0
    u.data = u.detach().clamp(0, 1)
    return u


def written_through_numpy(x: Tensor) -> Tensor:
    u = x * 1.0
    numbers = u.detach().numpy()
    np.clip(numbers, 0, 1, out=numbers)
    return u


def widened(x: Tensor) -> Tensor:
    v = x * 1.0
    v *= x.double() * 0.1 + 1
    return v


def kept(x: Tensor, a: float) -> Tensor:
    leak = 1 - a
    gain = leak
    gain *= 0.1
    return leak * x + gain


def caught(x: Tensor) -> Tensor:
    try:
        return x.view(3, 5, 8).view(3, 40) * 2
    except RuntimeError:
        return x


CURRENTS: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
    "numpy of a float": (lambda x, a: x * np.exp(-1 / a), {"a": 10.0}),
    "numpy of an input": (lambda x: x / float(np.abs(x.detach().numpy()).max()), {}),
    "numbers of an input": (lambda x: x * (2.0 if x.tolist()[0][0] > 0.5 else 1.0), {}),
    "a tensor's number": (lambda x, n: x * n.tolist(), {"n": torch.tensor(5)}),
    "text of a tensor": (lambda x: x * len(str(x)), {}),
    "apply": (lambda x: x.detach().clone().apply_(lambda a: float(a > 0.3)), {}),
    "data": (written, {}),
    "memory": (written_through_numpy, {}),
    "bits": (lambda x: (x.view(torch.int32) < 0).float(), {}),
    "wider in place": (widened, {}),
    "a float over a tensor": (lambda x, a: a / (1 + x.abs()), {"a": 0.3}),
    "a float over floats": (lambda x, a: x * (2 / a), {"a": 0.3}),
    "as a tensor": (lambda x, a: (1 - torch.as_tensor(a)) * x + torch.tensor(a) * 3, {"a": 0.123}),
    "as a tensor of a dtype": (lambda x, a: torch.as_tensor(a, dtype=x.dtype) * x + a, {"a": 0.123}),
    "a tensor of a list": (lambda x, a: x * torch.tensor([a]), {"a": 0.3}),
    "a new tensor of a list": (lambda x, a: x * x.new_tensor([a]) + x.new([a]), {"a": 0.3}),
    "a tensor of the class": (lambda x, a: x * torch.Tensor([a]), {"a": 0.3}),
    "a list of tensors": (lambda x, n: x * torch.tensor([[n]], dtype=x.dtype), {"n": torch.tensor(5)}),
    "a power of a float": (lambda x, a: x * a**3 + a**-2, {"a": 0.7}),
    "the rest of a float": (lambda x, a: x * ((-a) % 1.0), {"a": 1.0}),
    "comparisons of floats": (lambda x, a: x * ((a > 0.1) + (a > 0.2)), {"a": 0.5}),
    "a float kept": (kept, {"a": 0.9}),
    "is_tensor": (lambda x, a: x * (a.clamp(0, 1) if torch.is_tensor(a) else a), {"a": 1.2}),
    "an error caught": (caught, {}),
    "a size by name": (lambda x: x * 2 if getattr(x, "shape")[-1] > 10 else x, {}),  # noqa: B009
    "a size by an operator": (lambda x: x * 2 if operator.attrgetter("shape")(x)[-1] > 10 else x, {}),
}


@pytest.mark.filterwarnings(f"ignore:scan. .*{LOOPS}")
@pytest.mark.parametrize("name", CURRENTS)
def test_answers_are_those_of_the_loop(name: str) -> None:
    current, params = CURRENTS[name]
    step = of(current)
    for k in (1.0, 1.5):  # a second call has other floats
        given = {name: k * value if isinstance(value, float) else value for name, value in params.items()}
        same(step, XS.clone(), **given)
        if name in ("a float over floats", "a power of a float"):
            same(step, XS.double(), **given)


@pytest.mark.filterwarnings(f"ignore:scan. .*{LOOPS}")
def test_transposed_inputs_are_copied_as_on_the_loop() -> None:
    def step(state: Tensor, x: Tensor) -> Any:
        u = 0.5 * state + x
        w = u.contiguous()
        w += 1
        return u, u

    xs, rest = XS.transpose(1, 2), torch.zeros(3, 40).t()
    got, want = (F.scan(step, rest, xs, backend=backend)[1] for backend in ("auto", "loop"))
    assert torch.equal(got, want)


def sloped(backward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the identity with a gradient of its own."""

    class Sloped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 1.0

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return backward(g)

    return lambda x: Sloped.apply(x)  # type: ignore[no-untyped-call]


class Scaled(torch.autograd.Function):
    """A gradient with a scale that somebody may change."""

    scale = 10.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return g * Scaled.scale


def gradient(current: Callable[[Tensor], Tensor], backend: Any) -> Tensor:
    xs = XS.clone().requires_grad_()
    out = scan(of(current), backend, xs)[1]
    return torch.autograd.grad((out * torch.linspace(-1, 1, 40)).sum(), xs)[0]


@pytest.mark.filterwarnings(f"ignore:scan. .*{LOOPS}")
@pytest.mark.parametrize(
    "backward",
    [
        lambda g: g.sum().expand_as(g),
        lambda g: g * g.sum(-1, keepdim=True),
        lambda g: g / (1 + float(np.abs(g.numpy()).max())),
    ],
    ids=["sum", "times a sum", "numpy"],
)
def test_gradients_are_those_of_the_loop(backward: Callable[[Tensor], Tensor]) -> None:
    current = sloped(backward)
    torch.testing.assert_close(gradient(current, "auto"), gradient(current, "loop"))


def test_what_a_function_reads_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    current: Any = lambda x: Scaled.apply(x)  # type: ignore[no-untyped-call]  # noqa: E731
    step = of(current)
    for scale in (10.0, 100.0):
        monkeypatch.setattr(Scaled, "scale", scale)
        found = []
        for backend in ("fused", "loop"):
            xs = XS.clone().requires_grad_()
            found.append(torch.autograd.grad(scan(step, backend, xs)[1].sum(), xs)[0])
        torch.testing.assert_close(*found)


@pytest.mark.filterwarnings(f"ignore:scan. .*{LOOPS}")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.Generator().manual_seed(0),
        lambda: np.random.default_rng(0),
        lambda: iter(range(100)),
    ],
    ids=["torch", "numpy", "iterator"],
)
def test_what_is_drawn_is_drawn_by_the_loop_alone(make: Callable[[], Any]) -> None:
    def step(state: Tensor, x: Tensor, source: Any) -> Any:
        if isinstance(source, torch.Generator):
            noise: Any = torch.randn(3, 40, generator=source)
        else:
            noise = next(source) if isinstance(source, Iterator) else float(source.normal())
        v = 0.5 * state + x + noise
        return v, v

    assert torch.equal(scan(step, "auto", source=make())[1], scan(step, "loop", source=make())[1])


class Mode(Enum):
    HARD = 1
    SOFT = 2


class Decaying(nn.Module):
    """A module that counts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.tau = nn.Parameter(torch.tensor(10.0), requires_grad=False)
        self.decay = 0.9

    def forward(self, state: Tensor, x: Tensor) -> Any:
        v = self.decay * state + x
        return v, v


def by_mode(state: Tensor, x: Tensor, mode: Mode) -> Any:
    v = 0.5 * state + (x if mode is Mode.HARD else 2 * x)
    return v, v


def test_what_nobody_need_refuse_is_fused() -> None:
    """Members of an Enum are what they are, and so are modules that do not change themselves."""
    rest = torch.zeros(3, 40)
    assert F.explain_scan(Decaying(), rest, XS).backend == "fused"
    for mode in Mode:
        assert F.explain_scan(by_mode, rest, XS, params={"mode": mode}).backend == "fused"
        same(by_mode, mode=mode)
