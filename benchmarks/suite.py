"""The values that a benchmark is made of: inputs, sizes, cases, what came of them, and suites (see suites.py)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FORWARD, BOTH, TRAINING = "forward", "forward + backward", "training"
# settings of a process: as the libraries come, which has no name in tables, and with other arithmetic
DEFAULT, FLUSHED = "", "subnormal numbers taken for zero"
TIME, MEMORY, FIRST_CALL = "time", "memory", "first call"
DIFFERENCE = "difference"
OURS = "spikingtorch"
# spikingtorch.jax, by the backend under test and by lax.scan
IN_JAX, IN_JAX_LOOP = f"{OURS}, jax", f"{OURS}, jax, loop"
# behind a contestant's name: with weights, and so images, in channels-last format
CHANNELS_LAST = ", channels-last"
# networks that are trained in JAX, see jax_training.py
JAX_TRAINING = CURRENTS, CONVOLUTIONS = "one layer, constant currents", "the tutorial's network"

Array = npt.NDArray[np.float32]

TAU = 8.0
DECAY = math.exp(-1.0 / TAU)
THRESHOLD = 1.0
BETA = 5.0
# the neuron of three states: time constants of 8, 20 and 8 steps, and what a spike adds to its threshold
ADAPTIVE = {"decay_v": DECAY, "decay_a": math.exp(-1.0 / 20.0), "decay_i": DECAY, "jump": 0.1}
# inputs are uniform between zero and this: a LIF neuron of time constant TAU then spikes in about one step of eight
DRIVE = 0.4
# recurrent weights are normal with this over sqrt(N). With twice the gain, the gradient of a library that sends none
# through the reset outgrows float32 in 500 steps
RECURRENT_GAIN = 0.2


def draw(shape: Sequence[int], drive: float = DRIVE, seed: int = 0) -> Array:
    """Return an input, uniform between zero and the drive."""
    return np.float32(drive) * np.random.default_rng(seed).random(tuple(shape), dtype=np.float32)


def draw_gradient(shape: Sequence[int]) -> Array:
    """Return a random gradient of the output, normal."""
    return np.random.default_rng(2).standard_normal(tuple(shape), dtype=np.float32)


def draw_weight(N: int) -> Array:
    """Return the recurrent weights of N neurons, shape (N, N)."""
    return np.float32(RECURRENT_GAIN / math.sqrt(N)) * draw_gradient((N, N))


class Size(NamedTuple):
    """Number of steps, batch, and neurons or inputs of a network: the input has shape (T, B, N)."""

    T: int
    B: int
    N: int


class Case(NamedTuple):
    """One call that can be measured: ``mode`` of what ``contestant`` makes of ``model``, a neuron or a network."""

    contestant: str
    model: str
    size: Size
    mode: str = BOTH

    @property
    def batches(self) -> int:
        """Number of training steps in one call: a step on few digits takes but milliseconds."""
        return max(1, 512 // self.size.B) if self.model == "digits" else 1

    @property
    def name(self) -> str:
        """All of it."""
        return f"{self.contestant}, {self.model}, {self.mode}, {' x '.join(map(str, self.size))}"

    @property
    def is_ours(self) -> bool:
        """Whether spikingtorch computes."""
        return self.contestant.partition(",")[0] == OURS


@dataclass(frozen=True)
class Result:
    """What came of a case, under a setting of the process."""

    case: Case
    setting: str
    kind: str  # TIME, MEMORY, FIRST_CALL or DIFFERENCE
    samples: tuple[float, ...] = ()  # seconds, bytes, or differences
    note: str = ""  # says why samples are few, or why there are none

    def entry(self, key: str) -> Any:
        """Return the entry of that name: of the size, of the case, or of the result."""
        return next(getattr(part, key) for part in (self.case.size, self.case, self) if hasattr(part, key))


class Layout(NamedTuple):
    """Tables of results: one for each combination of the entries that are neither in the rows nor in the columns."""

    quantity: str = "milliseconds"  # a key of report.QUANTITIES
    rows: str = "contestant"
    columns: Sequence[str] = ("N",)
    across: bool = False  # multiples are those of the first column, and not of the first row


class Bar(NamedTuple):
    """A limit on the best of the rows ``of`` over the best of others; a lower one where more is better."""

    text: str
    quantity: str
    of: Sequence[Any]
    over: Sequence[Any]  # without any, the limit is one on the quantity itself
    limit: float
    where: Mapping[str, Sequence[Any]] = {}  # entries to which the bar is confined
    key: str = "contestant"  # what tells the rows apart
    worst: bool = False  # the worst of the rows ``of`` counts
    across: str = ""  # an entry of results: the median over its values counts


class Suite(NamedTuple):
    """A group of measurements, with its tables and bars."""

    title: str
    # contestants by neuron or network; those in a tuple share a process and take turns
    models: Mapping[str, Sequence[str | tuple[str, ...]]]
    sizes: Sequence[Size]
    layouts: Sequence[Layout] = (Layout(),)
    bars: Sequence[Bar] = ()
    modes: Sequence[str] = (BOTH,)
    kinds: Sequence[str] = (TIME,)
    settings: Sequence[str] = (DEFAULT,)
    in_turns: bool = False  # all models share a process and take turns, because only ratios count
    memory_runs: int = 1  # processes in which memory is measured
    threads: int | None = None  # in place of those of the command line
    block: int = 1  # a sample is the median of so many calls
    inputs: Mapping[str, int] = {}  # for models that do not take all sizes, the N that they take

    def sizes_of(self, quick: bool) -> Sequence[Size]:
        """Return the sizes, or small ones to try the harness."""
        own = [size for size in self.sizes if size.N < 8192]
        small = [s if s.T == 8 or s.N <= 64 else Size(min(s.T, 60 + s.T // 100), min(s.B, 4), s.N) for s in own]
        return small if quick else self.sizes

    def processes(self, size: Size) -> list[list[list[Case]]]:
        """Return, for each process, groups of cases that take turns."""
        fit = {model: every for model, every in self.models.items() if self.inputs.get(model, size.N) == size.N}
        names = [(model, (n,) if isinstance(n, str) else n) for model, every in fit.items() for n in every]
        found = [[[Case(n, model, size, mode) for n in group] for mode in self.modes] for model, group in names]
        return [[[case for groups in found for group in groups for case in group]]] if self.in_turns else found

    def cases(self, size: Size) -> list[Case]:
        """Return all cases at a size."""
        return [case for groups in self.processes(size) for group in groups for case in group]
