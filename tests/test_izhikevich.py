"""The twenty firing patterns of examples/izhikevich.py, each recognised by the times of its spikes."""

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
def test_spikes_are_those_of_the_published_loop(
    pattern: Pattern, traces: dict[str, Trace], fired: dict[str, list[float]]
) -> None:
    assert fired[pattern.name] == pytest.approx(by_hand(pattern, traces[pattern.name]), abs=1.01 * pattern.dt)


def test_there_are_twenty_and_all_fire(fired: dict[str, list[float]]) -> None:
    assert len(fired) == len(PATTERNS) == 20
    assert all(fired.values())


def test_one_compiled_loop_runs_them_all() -> None:
    one = torch.ones(20, dtype=torch.float64)
    curve = F.IzhikevichCurve(slope=5 * one, offset=140 * one)
    params = {"a": one, "b": one, "d": one, "dt": one, "curve": curve, "reset": F.to_value(-65 * one)}
    report = F.explain_scan(observed_step, F.IzhikevichState(v=one, w=one), torch.ones(5, 20).double(), params=params)
    assert report.backend == "fused"


def test_tonic_spiking_becomes_regular(fired: dict[str, list[float]]) -> None:
    first, *_, second_last, last = gaps(fired["tonic spiking"])
    assert last == pytest.approx(second_last, rel=0.05)
    assert first < last


def test_phasic_spiking_is_one_spike_at_the_onset(fired: dict[str, list[float]]) -> None:
    (time,) = fired["phasic spiking"]
    assert 20 < time < 50


def test_tonic_bursting_goes_on(fired: dict[str, list[float]]) -> None:
    bursts = groups(fired["tonic bursting"], apart=20)
    assert len(bursts) == 4
    assert all(len(burst) >= 5 for burst in bursts)
    _, *between = gaps([burst[0] for burst in bursts])
    assert between == pytest.approx([between[0]] * len(between), abs=1)


def test_phasic_bursting_is_one_burst_at_the_onset(fired: dict[str, list[float]]) -> None:
    times = fired["phasic bursting"]
    assert len(times) > 2
    assert max(gaps(times)) < 10
    assert 20 < times[0] <= times[-1] < 70


def test_mixed_mode_is_a_burst_and_then_single_spikes(fired: dict[str, list[float]]) -> None:
    burst, *others = groups(fired["mixed mode"], apart=20)
    assert len(burst) == 3
    assert [len(other) for other in others] == [1, 1, 1]


def test_adaptation_lengthens_the_intervals(fired: dict[str, list[float]]) -> None:
    between = gaps(fired["spike frequency adaptation"])
    assert grows(between)
    assert between[-1] > 5 * between[0]


def test_class_1_starts_at_a_low_frequency_and_class_2_does_not(fired: dict[str, list[float]]) -> None:
    low, high = gaps(fired["class 1 excitability"]), gaps(fired["class 2 excitability"])
    assert grows(low[::-1])
    assert low[0] > 2.5 * low[-1]
    assert high[0] < 2 * high[-1]


def test_latency_is_one_spike_long_after_the_pulse(traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    (time,) = fired["spike latency"]
    trace = traces["spike latency"]
    assert time > trace.times[trace.current > 0].max() + 10


def test_membrane_oscillates_after_its_spike(traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    (time,) = fired["subthreshold oscillations"]
    trace = traces["subthreshold oscillations"]
    after = trace.membrane[trace.times > time + 5]
    turns = (after.diff().sign().diff() != 0).sum()
    assert turns >= 5


def test_resonator_fires_for_the_pair_at_its_own_frequency(fired: dict[str, list[float]]) -> None:
    (time,) = fired["resonator"]
    assert 320 < time < 350


def test_integrator_fires_for_the_close_pair(fired: dict[str, list[float]]) -> None:
    (time,) = fired["integrator"]
    assert 100 / 11 + 5 < time < 25


def test_rebounds_come_after_the_end_of_the_inhibition(fired: dict[str, list[float]]) -> None:
    (spike,), burst = fired["rebound spike"], fired["rebound burst"]
    assert spike > 25
    assert len(burst) > 3
    assert burst[0] > 25
    assert max(gaps(burst)) < 10


def test_inhibition_lowers_the_threshold(fired: dict[str, list[float]]) -> None:
    (time,) = fired["threshold variability"]
    assert time > 80


def test_one_pulse_starts_the_bistable_neuron_and_the_next_stops_it(fired: dict[str, list[float]]) -> None:
    times = fired["bistability"]
    assert len(times) == 5
    assert 37.5 < times[0] <= times[-1] < 216
    assert gaps(times) == pytest.approx([40.6] * 4, abs=0.5)


def test_membrane_is_above_rest_after_the_spike(traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    (time,) = fired["depolarizing after-potential"]
    trace = traces["depolarizing after-potential"]
    after = trace.membrane[trace.times > time]
    assert after[0] < after.max() - 3
    assert after.max() > trace.membrane[0] + 10
    assert after[-1] == pytest.approx(trace.membrane[0].item(), abs=1)


def test_accommodation_lets_the_fast_ramp_pass_alone(traces: dict[str, Trace], fired: dict[str, list[float]]) -> None:
    (time,) = fired["accommodation"]
    trace = traces["accommodation"]
    assert 300 < time < 312.5
    assert trace.current[trace.times < 200].max() > 2 * trace.current[trace.times == time].item()


def test_inhibition_induces_spikes_and_bursts(fired: dict[str, list[float]]) -> None:
    spikes, bursts = fired["inhibition-induced spiking"], groups(fired["inhibition-induced bursting"], apart=20)
    assert len(spikes) == 3
    assert min(gaps(spikes)) > 20
    assert len(bursts) == 2
    assert all(len(burst) >= 5 for burst in bursts)
    for times in (spikes, *bursts):
        assert 50 < times[0] <= times[-1] < 250
