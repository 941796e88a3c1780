"""The twenty firing patterns of examples/izhikevich.py, each recognised by the times of its spikes."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from examples.izhikevich import PATTERNS, Pattern, Trace, observed_step, simulate
from spikingtorch import functional as F


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    return simulate()


@pytest.fixture
def fired(traces: dict[str, Trace]) -> dict[str, list[float]]:
    return {name: trace.times[trace.spikes > 0].tolist() for name, trace in traces.items()}


def gaps(times: list[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(times)]


def groups(times: list[float], apart: float) -> list[list[float]]:
    """Return the bursts: spikes less than so many ms apart."""
    found = [times[:1]]
    for gap, time in zip(gaps(times), times[1:], strict=True):
        found.append([]) if gap >= apart else None
        found[-1].append(time)
    return found


def grows(numbers: list[float]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def by_hand(pattern: Pattern, trace: Trace) -> list[float]:
    """Return the times of the spikes by the published loop, in floats."""
    decays = pattern.name != "accommodation"
    a, b = (pattern.a, pattern.b) if decays else (0.02, 1.0)
    v, u = pattern.start, b * pattern.start if decays else -16.0
    times = []
    for t, current in zip(trace.times.tolist(), trace.current.tolist(), strict=True):
        v = v + pattern.dt * (0.04 * v * v + pattern.slope * v + pattern.offset - u + current)
        u = u + pattern.dt * a * (b * v - u if decays else b * (v + 65.0))
        if v >= 30.0:
            v, u = pattern.c, u + pattern.d
            times.append(t)
    return times


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_spikes_are_as_published(pattern: Pattern, traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    assert fired[pattern.name] == pytest.approx(by_hand(pattern, traces[pattern.name]), abs=1.01 * pattern.dt)


def test_one_compiled_loop_runs_them_all() -> None:
    one = torch.ones(20, dtype=torch.float64)
    curve = F.IzhikevichCurve(slope=5 * one, offset=140 * one)
    params = {"a": one, "b": one, "d": one, "dt": one, "curve": curve, "reset": F.to_value(-65 * one)}
    report = F.explain_scan(observed_step, F.IzhikevichState(v=one, w=one), torch.ones(5, 20).double(), params=params)
    assert report.backend == "fused"


def settles(times: list[float], trace: Trace) -> bool:
    first, *_, second_last, last = gaps(times)
    return last == pytest.approx(second_last, rel=0.05) and first < last


def bursts_regularly(times: list[float], trace: Trace) -> bool:
    bursts = groups(times, apart=20)
    _, *between = gaps([burst[0] for burst in bursts])
    return [len(burst) >= 5 for burst in bursts] == [True] * 4 and between == pytest.approx([between[0]] * 2, abs=1)


def oscillates(times: list[float], trace: Trace) -> bool:
    after = trace.membrane[trace.times > times[0] + 5]
    return len(times) == 1 and bool((after.diff().sign().diff() != 0).sum() >= 5)


def is_high_after_its_spike(times: list[float], trace: Trace) -> bool:
    after, rest = trace.membrane[trace.times > times[0]], trace.membrane[0].item()
    rises = after.max() > max(after[0].item() + 3, rest + 10)
    return len(times) == 1 and bool(rises) and after[-1] == pytest.approx(rest, abs=1)


def fires_on_the_fast_ramp_alone(times: list[float], trace: Trace) -> bool:
    slow, fast = trace.current[trace.times < 200].max(), trace.current[trace.times == times[0]].item()
    return is_one(times, 300, 312.5) and bool(slow > 2 * fast)


def is_one(times: list[float], after: float, before: float = float("inf")) -> bool:
    return len(times) == 1 and after < times[0] < before


def all_within(times: list[float], after: float, before: float) -> bool:
    return after < times[0] <= times[-1] < before


# what is typical of each, by the times of its spikes and what came in and out
TYPICAL: dict[str, Callable[[list[float], Trace], bool]] = {
    "tonic spiking": settles,
    "phasic spiking": lambda times, _: is_one(times, 20, 50),
    "tonic bursting": bursts_regularly,
    "phasic bursting": lambda times, _: len(times) > 2 and max(gaps(times)) < 10 and all_within(times, 20, 70),
    "mixed mode": lambda times, _: [len(each) for each in groups(times, apart=20)] == [3, 1, 1, 1],
    "spike frequency adaptation": lambda times, _: grows(gaps(times)) and gaps(times)[-1] > 5 * gaps(times)[0],
    "class 1 excitability": lambda times, _: grows(gaps(times)[::-1]) and gaps(times)[0] > 2.5 * gaps(times)[-1],
    "class 2 excitability": lambda times, _: gaps(times)[0] < 2 * gaps(times)[-1],
    "spike latency": lambda times, trace: is_one(times, trace.times[trace.current > 0].max().item() + 10),
    "subthreshold oscillations": oscillates,
    "resonator": lambda times, _: is_one(times, 320, 350),  # for the pair at its own frequency
    "integrator": lambda times, _: is_one(times, 100 / 11 + 5, 25),  # for the close pair
    "rebound spike": lambda times, _: is_one(times, 25),
    "rebound burst": lambda times, _: len(times) > 3 and times[0] > 25 and max(gaps(times)) < 10,
    "threshold variability": lambda times, _: is_one(times, 80),  # inhibition comes before
    # one pulse starts it, and the next stops it
    "bistability": lambda times, _: all_within(times, 37.5, 216) and gaps(times) == pytest.approx([40.6] * 4, abs=0.5),
    "depolarizing after-potential": is_high_after_its_spike,
    "accommodation": fires_on_the_fast_ramp_alone,
    "inhibition-induced spiking": lambda times, _: (
        len(times) == 3 and min(gaps(times)) > 20 and all_within(times, 50, 250)
    ),
    "inhibition-induced bursting": lambda times, _: (
        [len(each) >= 5 for each in groups(times, apart=20)] == [True] * 2 and all_within(times, 50, 250)
    ),
}


@pytest.mark.parametrize("name", TYPICAL)
def test_spikes_are_typical_of_the_pattern(name: str, traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    assert TYPICAL[name](fired[name], traces[name])


def test_there_are_twenty_patterns() -> None:
    assert [pattern.name for pattern in PATTERNS] == [*TYPICAL]
    assert len(TYPICAL) == 20
