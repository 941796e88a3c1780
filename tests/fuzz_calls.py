"""Random calls for the fuzzer of scan."""

import math
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st

Shape = tuple[int, ...]
SHAPES: list[Shape] = [(3,), (), (1,), (2, 3), (5, 1, 2), (2, 3, 2, 2), (0, 2), (4, 2, 3, 3)]
LARGE: list[Shape] = [(300,), (1100, 2), (512, 257)]
LENGTHS = [2, 3, 1, 17, 5, 0, 33]
PRECISIONS = ["float64", "float32", "float64", "float16", "bfloat16"]
NUMBERS = ["normal", "grid", "zeros", "special"]
LAYOUTS = ["plain", "transposed", "strided", "offset", "expanded", "channels last", "broadcast", "overlapping"]
LAYOUTS += ["negated", "shared", "slice"]
PARAMETERS = ["float", "no axes", "channel", "full", "expanded", "row", "int", "numpy", "other precision"]
MODES = [
    "grad",
    "no_grad",
    "inference",
    "second",
    "thread",
    "threads",
    "deepcopy",
    "stream",
    "steps",
    "reuse",
    "transform",
]
WRITES = ["", "input", "out", "state", "numbers"]


class Call(NamedTuple):
    """A call of scan.

    Attributes:
        precision: dtype of the floating inputs; half precisions go with a float32 state.
        shape: of the neurons.
        T: number of steps.
        dim: axis of time, negative ones from the end.
        layouts: how states, inputs and full parameters lie in memory, in this order, again and again.
        params: kinds of the other parameters, again and again.
        numbers: what the tensors hold.
        seed: of the numbers, and of choices of no consequence.
        factor: of the numbers that the step holds.
        learned: which sources require a gradient, bit by bit.
        mode: how scan is called.
        write: what is written on before the backward pass.
        default: torch's default dtype.
    """

    precision: str
    shape: Shape
    T: int
    dim: int
    layouts: tuple[str, ...]
    params: tuple[str, ...]
    numbers: str
    seed: int
    factor: float
    learned: int
    mode: str
    write: str
    default: str

    @property
    def half(self) -> bool:
        """Whether the inputs are of a half precision."""
        return self.precision in ("float16", "bfloat16")

    def dtype(self, name: str, stream: bool = False) -> torch.dtype:
        """Return a dtype of a step in this call."""
        own = self.precision if stream or not self.half else "float32"
        found: torch.dtype = getattr(torch, own if name == "float" else name)
        return found


@st.composite
def calls(pick: st.DrawFn) -> list[Call]:
    """Draw calls of one step: a first one, and each further one like that before but for a thing or two."""
    layout = st.sampled_from(LAYOUTS)
    draw: dict[str, st.SearchStrategy[Any]] = {
        "precision": st.sampled_from(PRECISIONS),
        "shape": st.sampled_from(SHAPES) | st.sampled_from(SHAPES) | st.sampled_from([*SHAPES[3:], *LARGE]),
        "T": st.sampled_from(LENGTHS),
        "dim": st.integers(0, 3) | st.integers(-3, -1),
        "layouts": st.tuples(layout) | st.lists(st.just("plain") | layout, min_size=1, max_size=5).map(tuple),
        "params": st.lists(st.sampled_from(PARAMETERS), min_size=2, max_size=2).map(tuple),
        "numbers": st.sampled_from(NUMBERS),
        "learned": st.integers(0, 127) | st.just(127),
    }
    often: dict[str, st.SearchStrategy[Any]] = {
        "seed": st.integers(0, 99),
        "factor": st.sampled_from([1.0, 0.7]),
        "mode": st.sampled_from(MODES),
        "write": st.sampled_from(WRITES),
        "default": st.sampled_from(["float32", "float32", "float64"]),
    }
    found = [Call(**{name: pick(strategy) for name, strategy in (draw | often).items()})]
    for name in pick(st.lists(st.sampled_from(["seed", *draw]), max_size=7)):
        changed = {name, *often}
        found.append(found[-1]._replace(**{each: pick((draw | often)[each]) for each in sorted(changed)}))
    # so many neurons are for one step, which runs fused where they are many
    return [call._replace(T=1) if math.prod(call.shape) > 2**16 else call for call in found]
