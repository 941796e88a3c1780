"""What encoders, decoders and events refuse: each error says what came, what is expected and how to fix it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikingtorch import spikeio as io
from tests.spikeio.test_decoders import DECODERS, T, spikes
from tests.spikeio.test_events import SENSOR, Array, recording
from tests.spikeio.test_timing_codes import ENCODERS

Row = tuple[Callable[[], object], str]
ONES: Any = torch.ones(2)
HALF: Any = torch.tensor(0.5)
GOOD, ZERO = recording(), torch.zeros(3, dtype=torch.int64)
IMAGES = r"expected images \(N, C, H, W\) or \(N, H, W\)"


def changed(name: str, i: int, value: int) -> Array:
    events = recording(dtype=np.dtype([(each, np.int64) for each in "txyp"]))
    events[name][i] = value
    return events


def to_sequence(events: Any, T: Any = 3, sensor: Any = SENSOR, **options: Any) -> Any:
    return io.events_to_sequence(events, T, sensor, **options)


def latency(*args: Any, **options: Any) -> Any:
    return io.LatencyEncoder(4, *args, **options)


def delta(x: Tensor) -> Any:
    return io.DeltaEncoder(1.0)(x)


def population(*args: Any, **options: Any) -> Any:
    return io.PopulationEncoder(4, *args, **options)


def to_events(counts: Any, **options: Any) -> Any:
    return io.sequence_to_events(counts, **options)


def padded(*samples: Any) -> Any:
    return io.pad_sequences([*samples])


CODES: list[Row] = [
    *((lambda n=n: io.Poisson2D(4)(torch.rand((2,) * n)), IMAGES) for n in (1, 2, 5)),
    (
        lambda: io.poisson_spikes(torch.rand(2, 3, device="meta"), 4, generator=torch.Generator()),
        r"the generator is on cpu, x on meta; .* torch\.Generator\('meta'\)",
    ),
    (lambda: io.PoissonEncoder(4, math.nan), "PoissonEncoder: scale=nan"),
    (lambda: io.poisson_spikes(ONES, 4, math.nan), "poisson_spikes: scale=nan"),
    (lambda: io.LatencyEncoder(0), "LatencyEncoder: nsteps=0"),
    (lambda: latency(math.nan), "LatencyEncoder: scale=nan"),
    (lambda: latency(code="log"), "code='log' is not one of 'linear', 'logarithmic'"),
    (lambda: latency(threshold=-0.1), "threshold=-0.1.*at least 0"),
    (lambda: latency(threshold=1.0), "threshold=1.0, expected a value below 1"),
    (lambda: latency(code="logarithmic", threshold=0.0), "threshold=0.0.*above 0"),
    (lambda: io.DeltaEncoder(0.0), "DeltaEncoder: threshold=0.0, expected a finite value above 0"),
    (lambda: delta(torch.ones(3)), r"shape \(3,\), expected \(N, T, \.\.\.\)"),
    (lambda: delta(torch.ones(3, 0, 1)), "has no steps"),
    (lambda: delta(torch.full((1, 2, 1), torch.nan)), "x holds NaN"),
    (lambda: delta(torch.ones(1, 2, 1).requires_grad_()), "x requires a gradient"),
    (lambda: population(2), "neurons=2, expected a whole number of 3 or more"),
    (lambda: population(2.5), "neurons=2.5"),
    (lambda: population(5, 1.0, 1.0), "expected low below high"),
    (lambda: population(5, beta=0.0), "beta=0.0.*above 0"),
    (lambda: population(5, low=math.inf), "low=inf"),
    (lambda: population(5, threshold=2.0), "threshold=2.0"),
]
CODES_OF_ANOTHER_TYPE: list[Row] = [
    (lambda: io.poisson_spikes(ONES, 4, ONES), "scale is a Tensor, expected a number"),
    (lambda: io.PoissonEncoder(4, ONES), "Encoder: scale is a Tensor, expected a number"),
    (lambda: io.PeriodicEncoder(4, ONES), "Encoder: scale is a Tensor, expected a number"),
    (lambda: latency(ONES), "Encoder: scale is a Tensor, expected a number"),
    (
        lambda: io.PoissonEncoder(4, generator=5)(ONES),  # type: ignore[arg-type]
        r"_spikes: generator is a int, expected a torch\.Generator.*manual_seed",
    ),
    (lambda: io.markov_spikes(ONES, 4, generator=5), "_spikes: generator is a int"),  # type: ignore[arg-type]
    (lambda: latency(threshold=HALF), "threshold is a Tensor"),
    (lambda: io.DeltaEncoder(HALF), "DeltaEncoder: threshold is a Tensor"),
    (lambda: delta(torch.ones(1, 2, 1).int()), "dtype torch.int32"),
    (lambda: population(5, high=HALF), "high is a Tensor"),
]
EVENTS: list[Row] = [
    (lambda: to_sequence(changed("x", 7, 5)), "event 7 has x=5, expected 0 to 4"),
    (lambda: to_sequence(changed("y", 7, -1)), "event 7 has y=-1, expected 0 to 3"),
    (lambda: to_sequence(changed("p", 2, -1)), "event 2 has p=-1, expected 0 to 1.*p > 0"),
    (lambda: to_sequence(changed("t", 9, 5000)), "times decrease from 5000 to .* at event 10.*argsort"),
    (lambda: to_sequence(GOOD[:0]), "there are no events"),
    (lambda: to_sequence(GOOD[:1]), "no event is later than the start.*Give duration or dt"),
    (lambda: to_sequence(GOOD, start=5000, clip=True), "no event is later than the start"),
    (lambda: to_sequence(changed("p", 2, -1), clip=True), "event 2 has p=-1"),
    (lambda: to_sequence(changed("t", 9, 5000), clip=True), "times decrease"),
    (lambda: to_sequence(GOOD, dt=1, duration=3), "duration=3 and dt=1 both say"),
    (lambda: to_sequence(GOOD, dt=0), "dt=0.*above 0"),
    (lambda: to_sequence(GOOD, dt=math.nan), "dt=nan"),
    (lambda: to_sequence(GOOD, duration=-1), "duration=-1"),
    (lambda: to_sequence(GOOD, dt=10), "the last event is at t=.*Raise nsteps or the width of a bin"),
    (lambda: to_sequence(GOOD, start=500), "the first event is at t=.*, before start=500"),
    (lambda: to_sequence(GOOD, 0), "nsteps=0"),
    (lambda: to_sequence(GOOD, sensor=(5, 4)), r"sensor_size=\(5, 4\), expected \(width, height"),
    (lambda: to_sequence(GOOD, sensor=None), "sensor_size=None, expected"),
    (lambda: to_sequence(GOOD, sensor=(5, 0, 2)), "sensor_size"),
    (lambda: to_sequence((ZERO, ZERO, ZERO, ZERO[:2])), "of the same length"),
    (lambda: to_sequence((ZERO.float() + math.nan, ZERO, ZERO, ZERO)), "t holds NaN"),
    (lambda: to_events(torch.zeros(2, 3, 2, 4, 4)), r"expected \(T, P, H, W\).*one sample"),
    (lambda: to_events(torch.full((1, 1, 1, 1), 0.5)), "entries that are not counts"),
    (lambda: to_events(torch.full((1, 1, 1, 1), -1)), "entries that are not counts"),
    (lambda: to_events(torch.full((1, 1, 1, 1), math.nan)), "entries that are not counts"),
    (lambda: to_events(torch.zeros(1, 1, 1, 1), dt=0), "dt=0"),
    (lambda: to_events(torch.ones(3, 1, 1, 1), dt=2**62), "too large for int64"),
    (lambda: to_events(torch.ones(3, 1, 1, 1), start=-(2**64)), "too large for int64"),
    (lambda: padded(), "the batch is empty"),
    (lambda: padded((torch.ones(()), 0)), r"sample 0 has shape \(\)"),
    (lambda: padded((torch.ones(2), 0), (torch.ones(0), 0)), "sample 1 .* has no steps"),
    (lambda: padded((torch.ones(2, 3), 0), (torch.ones(2, 4), 0)), r"shape \(4,\), that of"),
]
EVENTS_OF_ANOTHER_TYPE: list[Row] = [
    (lambda: to_sequence(GOOD, dt="1"), "dt is a str, expected a number"),
    (lambda: to_sequence(GOOD[["x", "y"]]), r"without \['p', 't'\]"),
    (lambda: to_sequence(np.zeros((4, 4))), r"with the fields \(\)"),
    (lambda: to_sequence(torch.zeros(4, 4)), "events is a Tensor, expected a structured array"),
    (lambda: to_sequence((ZERO, ZERO, ZERO)), "events is a tuple"),
    (lambda: to_sequence((ZERO, ZERO.float(), ZERO, ZERO)), "x has dtype torch.float32, expected integers"),
    (lambda: to_sequence((ZERO.bool(), ZERO, ZERO, ZERO)), "t has dtype torch.bool"),
    (lambda: to_events(np.zeros(3)), "is a ndarray"),
    (lambda: to_events(torch.ones(1, 1, 1, 1), dt=HALF), "dt is a Tensor"),
    (lambda: padded(torch.ones(3)), "sample 0 is a Tensor, expected a pair"),
    (lambda: padded(([1, 2], 0)), "the sequence of sample 0 is a list"),
    (lambda: padded((torch.ones(2), 0), (torch.ones(2).double(), 0)), "dtype torch.float64"),
]
BATCHES: list[tuple[Any, type[Exception], str]] = [
    (torch.ones(2, 3, dtype=torch.uint8), TypeError, r"x has dtype torch\.uint8.*x\.float\(\)"),
    (torch.ones(2, 3, dtype=torch.bool), TypeError, r"x has dtype torch\.bool"),
    (torch.tensor([[torch.nan]]), ValueError, "x holds NaN or infinite values"),
    (torch.tensor([[torch.inf]]), ValueError, "x holds NaN or infinite values"),
    (HALF, ValueError, r"x has shape \(\), expected \(N, \.\.\.\): a batch"),
    ([0.5], TypeError, r"x is a list, expected a torch\.Tensor"),
]
LENGTHS: list[tuple[Any, type[Exception], str]] = [
    ([0, 3], ValueError, r"lengths\[0\] is 0, expected at least 1 step"),
    ([3, -2], ValueError, r"lengths\[1\] is -2, expected at least 1 step"),
    ([3, 10], ValueError, r"lengths\[1\] is 10, expected at most T = 9"),
    ([3], ValueError, r"shape \(1,\), expected \(2,\)"),
    ([[3, 4]], ValueError, r"shape \(1, 2\), expected \(2,\)"),
    (3, ValueError, r"shape \(\), expected \(2,\)"),
    (torch.tensor(3), ValueError, r"shape \(\), expected \(2,\)"),
    ([3.0, 4.0], TypeError, r"dtype torch\.float64, expected whole numbers.*lengths\.long\(\)"),
    (torch.tensor([True, True]), TypeError, r"dtype torch\.bool.*mask\.sum\(1\)"),
    ("ab", TypeError, "lengths is a str"),
    ([3, "a"], TypeError, "a list of 2 whole numbers"),
    ([3, [4]], TypeError, "a list of 2 whole numbers"),
    ({3, 4}, TypeError, "lengths is a set"),
]
SEQUENCES: list[tuple[Tensor, type[Exception], str]] = [
    (torch.zeros(4), ValueError, r"has shape \(4,\), expected \(N, T, \.\.\.\)"),
    (HALF, ValueError, r"has shape \(\), expected"),
    (torch.zeros(2, 0, 3), ValueError, "has no steps on its axis 1"),
    (torch.zeros(2, 4, 3).long(), TypeError, r"dtype torch\.int64, expected a floating one"),
]


OF_VALUES = [(*row, ValueError) for row in CODES + EVENTS]
OF_TYPES = [(*row, TypeError) for row in CODES_OF_ANOTHER_TYPE + EVENTS_OF_ANOTHER_TYPE]


@pytest.mark.parametrize(("call", "message", "error"), [*OF_VALUES, *OF_TYPES])
def test_calls(call: Callable[[], object], message: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=message):
        call()


INPUTS = [(make, *row) for make, _ in ENCODERS.values() for row in BATCHES]
INPUTS += [(make, *row) for make in DECODERS.values() for row in SEQUENCES]


@pytest.mark.parametrize(("make", "x", "error", "message"), INPUTS)
def test_inputs(make: Callable[[int], Any], x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(4)(x)


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize(("lengths", "error", "message"), LENGTHS)
def test_lengths(make: Callable[[int], Any], lengths: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(T)(spikes(2, T, 3), lengths)
