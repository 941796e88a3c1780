"""Events as sequences beside a loop over events in exact fractions, the way back, and batches of sequences."""

import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from spikingtorch import spikeio as io

W, H, P = 5, 4, 2
SENSOR = (W, H, P)
TONIC = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
Array = np.ndarray[Any, Any]


def recording(E: int = 500, last: int = 1000, seed: int = 0, dtype: np.dtype[Any] = TONIC) -> Array:
    random = np.random.default_rng(seed)
    events = np.zeros(E, dtype)
    events["t"] = np.sort(random.integers(0, last + 1, E))
    for name, size in (("x", W), ("y", H), ("p", P)):
        events[name] = random.integers(0, size, E)
    return events


def columns(events: Array) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    t, x, y, p = (torch.from_numpy(events[name].astype(np.int64)) for name in "txyp")
    return t, x, y, p


def by_loop(events: Array, T: int, start: Fraction, dt: Fraction, closed: bool = False) -> Array:
    counts = np.zeros((T, P, H, W))
    for event in events:
        k = math.floor((Fraction(event["t"].item()) - start) / dt)
        counts[min(k, T - 1) if closed else k, int(event["p"]), event["y"], event["x"]] += 1
    return counts


TIMES = [np.int32, np.uint32, np.uint64, np.dtype(">i8"), np.uint16, np.float32, np.float64]
PLACES = [np.uint8, np.int8, np.uint16, np.int64]


@pytest.mark.parametrize("T", [1, 2, 7, 1001])
def test_counts_by_a_loop_over_events(T: int) -> None:
    events = recording()
    first, last = (Fraction(int(events["t"][i])) for i in (0, -1))
    cases: list[tuple[dict[str, Any], Fraction, Fraction, bool]] = [
        ({}, first, (last - first) / T, True),
        ({"start": -100}, Fraction(-100), (last + 100) / T, True),
        ({"duration": 1001, "start": 0}, Fraction(0), Fraction(1001, T), False),
        ({"duration": 1024.0}, first, Fraction(1024, T), False),
        ({"dt": 1001, "start": 0}, Fraction(0), Fraction(1001), False),
        ({"dt": np.int32(2000), "start": np.int64(-7)}, Fraction(-7), Fraction(2000), False),
    ]
    for options, start, dt, closed in cases:
        got = io.events_to_sequence(events, T, SENSOR, **options)
        want = by_loop(events, T, start, dt, closed)
        assert got.dtype == torch.float32
        assert got.shape == (T, P, H, W)
        assert got.sum() == len(events)
        assert np.array_equal(got.numpy(), want)
        binary = io.events_to_sequence(events, T, SENSOR, binary=True, **options)
        assert np.array_equal(binary.numpy(), np.minimum(want, 1))


@pytest.mark.parametrize("of_time", [np.int64, np.float64])
def test_clip_leaves_out_what_lies_outside(of_time: Any) -> None:
    events = recording(dtype=np.dtype([("x", int), ("y", int), ("t", of_time), ("p", bool)]))
    events["x"] -= 1  # from -1 to 3, on a sensor of 0 to 2
    kept = events[(events["x"] >= 0) & (events["x"] < 3) & (events["y"] < 2)]
    cases: list[tuple[dict[str, Any], Any, Any]] = [
        ({"dt": 50, "start": 100}, 100, 450),
        ({"dt": 33.3, "start": 100}, 100, Fraction(33.3) * 7 + 100),
        ({"duration": 420, "start": 0.5}, Fraction(1, 2), Fraction(841, 2)),
        ({"start": 100}, 100, 1e9),
        ({"dt": 10**18}, 0, math.inf),
        ({"dt": 10, "start": 2000}, 0, 0),
    ]
    for options, low, high in cases:
        got = io.events_to_sequence(events, 7, (3, 2, P), clip=True, **options)
        inside = kept[[low <= Fraction(float(t)) < high for t in kept["t"]]]
        assert len(inside) < len(kept) or options == {"dt": 10**18}
        dt = options.get("dt", options.get("duration", events["t"][-1] - 100) / 7)
        k = np.minimum((inside["t"] - options.get("start", events["t"][0])) // dt, 6).astype(int)
        want = np.zeros((7, P, 2, 3))
        np.add.at(want, (k, inside["p"].astype(int), inside["y"], inside["x"]), 1)
        assert np.array_equal(got.numpy(), want)
    assert not io.events_to_sequence(events[:0], 7, (3, 2, P), clip=True).any()
    whole = recording()
    assert torch.equal(io.events_to_sequence(whole, 7, SENSOR, clip=True), io.events_to_sequence(whole, 7, SENSOR))


def test_events_in_any_memory() -> None:
    events = recording()
    before, want = events.copy(), io.events_to_sequence(events, 7, SENSOR)
    stacked = torch.stack(columns(events), 1)  # columns that are no contiguous tensors
    given: list[Any] = [columns(events), stacked.unbind(1), np.repeat(events, 2)[::2]]
    for of_time, of_place in [*((t, np.int16) for t in TIMES), *((np.int64, place) for place in PLACES)]:
        dtype = np.dtype([("t", of_time), *((name, of_place) for name in "xyp")])
        given.append(events[[*"txyp"]].astype(dtype))
    given.append(events.copy())
    given[-1]["t"] += 2**61  # times that float64 cannot hold
    for each in given:
        assert torch.equal(io.events_to_sequence(each, 7, SENSOR), want)
    assert np.array_equal(events, before)
    huge = events.astype([("t", np.uint64), ("x", int), ("y", int), ("p", int)])
    huge["t"] += 2**63
    with pytest.raises(ValueError, match="does not fit int64"):
        io.events_to_sequence(huge, 7, SENSOR)


def test_borders_by_hand() -> None:
    events = np.zeros(5, TONIC)
    events["t"] = [0, 9, 10, 20, 29]

    def bins(**options: Any) -> list[int]:
        return [int(n) for n in io.events_to_sequence(events, 3, (1, 1, 1), **options).flatten()]

    assert bins(dt=10) == bins(duration=30) == [2, 1, 2]
    assert bins() == [2, 1, 2]  # bins of 29 / 3
    assert bins(dt=11, start=-1) == [2, 2, 1]
    events["t"][-1] = 30
    assert bins() == [2, 1, 2]  # the last event belongs to the last bin
    with pytest.raises(ValueError, match=r"last event is at t=30, expected times below start \+ duration = 30"):
        bins(dt=10)


def test_times_as_floats() -> None:
    t = torch.arange(10) / 10  # in float32, and borders in float64
    zeros = torch.zeros(10, dtype=torch.int64)
    for times in (t, t.double(), torch.arange(10, dtype=torch.float64) * 0.1):
        got = io.events_to_sequence((times, zeros, zeros, zeros), 10, (1, 1, 1), duration=1.0)
        edges = np.arange(11) * 1.0 / 10
        want = np.histogram(times.double().numpy(), edges)[0]
        assert got.flatten().tolist() == want.tolist()
    got = io.events_to_sequence((torch.arange(10), zeros, zeros, zeros), 4, (1, 1, 1), dt=2.5)
    assert got.flatten().tolist() == [3, 2, 3, 2]
    # float64 cannot hold these times, but their distance from the start
    got = io.events_to_sequence((2**61 + torch.arange(10), zeros, zeros, zeros), 4, (1, 1, 1), dt=2.5)
    assert got.flatten().tolist() == [3, 2, 3, 2]


def test_one_row_and_one_polarity() -> None:
    audio = np.zeros(4, np.dtype([("t", np.int64), ("x", np.int64), ("p", np.int64)]))
    audio["t"], audio["x"], audio["p"] = [0, 1, 2, 3], [3, 1, 1, 0], 1
    got = io.events_to_sequence(audio, 2, (4, 1, 1), dt=2)
    assert got[:, 0, 0].tolist() == [[0, 1, 0, 1], [1, 1, 0, 0]]
    audio["p"] = [0, 1, 1, 1]
    with pytest.raises(ValueError, match="event 1 has p=1, expected 0 to 0"):
        io.events_to_sequence(audio, 2, (4, 1, 1), dt=2)
    with pytest.raises(TypeError, match=r"without \['y'\]"):
        io.events_to_sequence(audio, 2, (4, 2, 2), dt=2)


# --- and back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_there_and_back(dtype: torch.dtype) -> None:
    counts = torch.randint(0, 3, (6, P, H, W), generator=torch.Generator().manual_seed(0)).to(dtype)
    steps: list[tuple[Any, Any]] = [(1, 0), (1000, -7), (np.int64(3), np.int64(5))]
    for dt, start in steps:
        events = io.sequence_to_events(counts, dt=dt, start=start)
        assert events.dtype.names == ("x", "y", "t", "p")
        assert len(events) == counts.sum()
        assert torch.equal(io.events_to_sequence(events, 6, SENSOR, dt=dt, start=start), counts.float())
    assert torch.equal(
        io.events_to_sequence(
            io.sequence_to_events(counts.permute(1, 0, 2, 3).contiguous().transpose(0, 1)), 6, SENSOR, dt=1, start=0
        ),
        counts.float(),
    )


@pytest.mark.parametrize("start", [0, 10, 0.7, -3.3, 1e6 / 3])
@pytest.mark.parametrize("dt", [0.1, 0.3, 1 / 3, 1e-3, 0.7, 123.4, np.float32(0.1)])
def test_there_and_back_in_floats(dt: float, start: float) -> None:
    counts = torch.ones(1000, 1, 1, 1)
    events = io.sequence_to_events(counts, dt=dt, start=start)
    assert events["t"].dtype == np.float64
    assert torch.equal(io.events_to_sequence(events, 1000, (1, 1, 1), dt=dt, start=start), counts)


def test_an_event_at_a_border_belongs_to_the_later_bin() -> None:
    k, zeros = torch.arange(1000, dtype=torch.float64), torch.zeros(1000, dtype=torch.int64)
    for dt in (0.1, 0.3, 1e-3):
        borders = 2.0 + k * dt
        below = torch.cat([borders[1:], torch.tensor([2.0 + 1000 * dt], dtype=torch.float64)]).nextafter(k * 0)
        for times in (borders, below):
            got = io.events_to_sequence((times, zeros, zeros, zeros), 1000, (1, 1, 1), dt=dt, start=2)
            assert got.flatten().tolist() == [1.0] * 1000
        with pytest.raises(ValueError, match="expected times below"):
            io.events_to_sequence((below.nextafter(below + 1), *[zeros] * 3), 1000, (1, 1, 1), dt=dt, start=2)


def test_events_by_hand() -> None:
    counts = torch.zeros(3, 2, 2, 3)
    counts[0, 1, 1, 2] = 2
    counts[2, 0, 0, 1] = 1
    events = io.sequence_to_events(counts, dt=10, start=5)
    assert events.tolist() == [(2, 1, 5, 1), (2, 1, 5, 1), (1, 0, 25, 0)]
    assert io.sequence_to_events(counts, dt=0.5)["t"].tolist() == [0.0, 0.0, 1.0]
    assert len(io.sequence_to_events(torch.zeros(3, 2, 2, 3))) == 0
    assert io.sequence_to_events(counts.requires_grad_())["t"].tolist() == [0, 0, 2]


# --- batches ------------------------------------------------------------------------------------------------------


def lots() -> list[tuple[Tensor, int]]:
    return [(torch.full((n, 2, 3), float(n)), n) for n in (4, 1, 3, 2, 7)]


@pytest.mark.sampled
@pytest.mark.parametrize("workers", [0, 1])
def test_padded_batches_of_a_dataloader(workers: int) -> None:
    lot: Any = lots()
    start = "spawn" if workers else None  # a fork would inherit the threads of jax
    options: Any = {"num_workers": workers, "multiprocessing_context": start}
    loader: Any = DataLoader(lot, batch_size=3, collate_fn=io.pad_sequences, **options)
    batches = list(loader)
    assert [tuple(x.shape) for x, _, _ in batches] == [(3, 4, 2, 3), (2, 7, 2, 3)]
    assert [lengths.tolist() for _, lengths, _ in batches] == [[4, 1, 3], [2, 7]]
    for x, lengths, targets in batches:
        assert lengths.dtype == torch.int64
        assert targets.tolist() == lengths.tolist()
        for one, length in zip(x, lengths.tolist(), strict=True):
            assert (one[:length] == length).all()
            assert not one[length:].any()


def test_pad_sequences_of_arrays_and_other_targets() -> None:
    pair = [(np.ones((2, 3), np.float32), {"label": 1}), (np.ones((4, 3), np.float32), {"label": 2})]
    x, lengths, targets = io.pad_sequences(pair)
    assert x.shape == (2, 4, 3)
    assert x.dtype == torch.float32
    assert lengths.tolist() == [2, 4]
    assert targets["label"].tolist() == [1, 2]
    assert pickle.loads(pickle.dumps(io.pad_sequences)) is io.pad_sequences
    assert io.SumDecoder(9)(x, lengths).tolist() == [[1.0] * 3, [2.0] * 3]
    assert io.pad_sequences([(torch.ones(2), 0), (torch.ones(1), 1)])[0].tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize(
    "change", [lambda a: a[::-1], lambda a: a[:1][::-1], lambda a: a.astype(">f4"), lambda a: a.T[:, ::2], np.float64]
)
def test_pad_sequences_of_arrays_in_any_layout(change: Callable[[Array], Array]) -> None:
    array = change(np.arange(12, dtype=np.float32).reshape(4, 3))
    x, lengths, _ = io.pad_sequences([(array, 0)])
    assert x[0].tolist() == array.tolist()
    assert lengths.tolist() == [len(array)]
