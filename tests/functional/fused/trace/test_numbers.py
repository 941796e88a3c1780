"""Steps that look at a float otherwise than by arithmetic see one, as on the loop, and its value is compiled in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikingtorch import SpikingNet, StepLayer
from spikingtorch import functional as F
from tests.fused import assert_same_bits

XS = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))


class Odd:
    """Something that asks for the type of what it is called with."""

    def __call__(self, gain: Any, surrogate: Any) -> bool:
        return isinstance(gain, float)


def matched(gain: Any, surrogate: Any) -> bool:
    match gain:
        case float():
            return True
    return False


LOOKS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda gain, surrogate: type(gain) is float,
    "isinstance": lambda gain, surrogate: isinstance(gain, float),
    "class": lambda gain, surrogate: gain.__class__.__name__ == "float",
    "of a field": lambda gain, surrogate: isinstance(surrogate.alpha, float),
    "hash": lambda gain, surrogate: hash(gain) == hash(2.5),
    "hash of a surrogate": lambda gain, surrogate: hash(surrogate) == hash(F.Arctan(3.0)),
    "text": lambda gain, surrogate: str(gain) == "2.5",
    "format": lambda gain, surrogate: f"{gain}" == "2.5",
    "repr": lambda gain, surrogate: repr(surrogate) == "Arctan(alpha=3.0)",
    "key": lambda gain, surrogate: {2.5: True}.get(gain, False),
    "set": lambda gain, surrogate: gain in {2.5, 3.5},
    "method": lambda gain, surrogate: hasattr(gain, "hex"),
    "pattern": matched,
    "object": Odd(),
    "inside": lambda gain, surrogate: any(isinstance(each, float) for each in (gain,)),
}


def step_of(looks: Callable[[Any, Any], bool]) -> Any:
    def step(state: Any, x: Tensor, gain: Any, surrogate: Any) -> Any:
        fired = F.fire(state.v + gain * (x if looks(gain, surrogate) else -x), 1.0, surrogate, F.to_zero)
        return F.IFState(fired.v), fired.out

    return step


def run(step: Any, backend: Any, gain: float = 2.5, surrogate: Any = F.Arctan(3.0)) -> Tensor:  # noqa: B008
    params = {"gain": gain, "surrogate": surrogate}
    return F.scan(step, F.IFState(torch.zeros(3)), XS, params=params, backend=backend)[1]


def kept(x: Tensor, a: float) -> Tensor:
    leak = 1 - a
    gain = leak
    gain *= 0.1
    return leak * x + gain


# what drives a neuron, of an input and a float
COMPUTED: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "numpy": lambda x, a: x * np.exp(-1 / a),
    "over a tensor": lambda x, a: a / (1 + x.abs()),
    "over floats": lambda x, a: x * (2 / a),
    "as a tensor": lambda x, a: (1 - torch.as_tensor(a)) * x + torch.tensor(a) * 3,
    "as a tensor of a dtype": lambda x, a: torch.as_tensor(a, dtype=x.dtype) * x + a,
    "a tensor of a list": lambda x, a: x * torch.tensor([a]),
    "a new tensor of a list": lambda x, a: x * x.new_tensor([a]) + x.new([a]),
    "a tensor of the class": lambda x, a: x * torch.Tensor([a]),
    "a power": lambda x, a: x * a**3 + a**-2,
    "the rest": lambda x, a: x * ((-a) % 1.0),
    "comparisons": lambda x, a: x * ((a > 0.1) + (a > 0.2)),
    "kept": kept,
    "is_tensor": lambda x, a: x * (a.clamp(0, 1) if torch.is_tensor(a) else a),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_with_floats_has_the_bits_of_the_loop(name: str) -> None:
    def step(state: Tensor, x: Tensor, a: float) -> Any:
        v = 0.5 * state + COMPUTED[name](x, a)
        return v, v

    for a in (0.3, 0.45, 0.123, 0.9, 1.0, 10.0):
        for xs in (XS - 0.5, XS.double() - 0.5):
            backends: list[Any] = ["fused", "loop"]
            got, want = (F.scan(step, torch.zeros_like(xs[0]), xs, params={"a": a}, backend=b) for b in backends)
            assert_same_bits(got, want)


@pytest.mark.parametrize("name", LOOKS)
def test_a_float_is_a_float(name: str) -> None:
    step = step_of(LOOKS[name])
    want = run(step, "loop")
    assert want.any()
    assert torch.equal(run(step, "fused"), want)


@pytest.mark.parametrize("name", ["hash", "key", "of a field"])
def test_another_value_is_another_program(name: str) -> None:
    step = step_of(LOOKS[name])
    for gain, surrogate in ((2.5, F.Arctan(3.0)), (0.75, F.Arctan(3.0)), (2.5, F.Arctan(torch.tensor(3.0)))):
        for _ in range(2):
            assert torch.equal(run(step, "auto", gain, surrogate), run(step, "loop", gain, surrogate))


def test_none_is_compared_by_identity() -> None:
    """And so are other constants."""

    def step(state: Any, x: Tensor, gain: Any, surrogate: Any) -> Any:
        v = state.v + gain * x
        v = v if surrogate is None else v + surrogate
        v = v if gain is not None else x
        return F.IFState(v), v

    for shift in (None, 0.25):
        assert torch.equal(run(step, "fused", 0.5, shift), run(step, "loop", 0.5, shift))


# what drives a neuron, and gains by which its loop cannot divide
DIVISIONS: dict[str, tuple[Callable[[float, Any], Any], tuple[float, ...]]] = {
    "by a parameter": (lambda gain, x: 1.0 / gain * x, (0.0,)),
    "by a negative zero": (lambda gain, x: (2.0 - 1 / gain) * x, (-0.0,)),
    "of floats": (lambda gain, x: (gain + 1.0) / gain * x, (0.0,)),
    "by what is computed": (lambda gain, x: 1.0 / (gain - 0.5) * x, (0.5,)),
    "by nothing": (lambda gain, x: x * (gain / 0), (0.0, 2.5, 3.5)),
    "of neurons, as torch divides tensors": (lambda gain, x: x / gain, ()),
}


@pytest.mark.parametrize("layer", [False, True], ids=["scan", "layer"])
@pytest.mark.parametrize("name", DIVISIONS)
def test_a_float_is_not_divided_by_zero(name: str, layer: bool) -> None:
    divided, wrong = DIVISIONS[name]

    def step(state: Any, x: Tensor, gain: Any, rest: float) -> Any:
        v = 0.5 * state.v + divided(gain, x) + rest
        return F.IFState(v), v

    made = StepLayer(step, F.IFState, gain=1.0, rest=0.0)
    model = SpikingNet(nn.Sequential(made))

    def out(gain: float, mode: Any) -> Any:
        if layer:
            made.gain, model.mode = gain, mode
            return model(XS.unsqueeze(0))
        backend: Any = "auto" if mode == "fold" else "loop"
        return F.scan(step, F.IFState(torch.zeros(3)), XS, params={"gain": gain, "rest": 0.0}, backend=backend)[1]

    zero = wrong[0] if wrong else -0.0
    for gain in (2.5, 3.5, zero, 3.5, zero):
        if gain not in wrong:
            assert torch.equal(out(gain, "fold"), out(gain, "step"))
            continue
        for mode in ("step", "fold"):
            with pytest.raises(ZeroDivisionError):
                out(gain, mode)
