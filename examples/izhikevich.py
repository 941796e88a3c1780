"""The twenty firing patterns of cortical neurons by one model, all in one scan.

The Izhikevich neuron has four parameters. With twenty choices of them, it does what twenty kinds of neurons do: fire
regularly, once or in bursts, adapt, wait, resonate, rebound. Here the twenty are one tensor of neurons. They differ in
their parameters, in the length of their step, and in their input.

E. M. Izhikevich, "Which model to use for cortical spiking neurons?", IEEE Trans. Neural Netw. 15 (2004),
doi:10.1109/TNN.2004.832719. Parameters and inputs are those of its figure 1, as its author's
script has them.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from examples.pictures import ACCENT, INK, save
from spikingtorch import functional as F

PICTURE = Path("runs/izhikevich/patterns.png")
PEAK = 30.0  # mV, where a spike is cut off


class Pattern(NamedTuple):
    """A neuron and its input: time in ms, membranes in mV.

    Attributes:
        name: what the neuron does.
        a: rate of the recovery.
        b: recovery per unit of the membrane.
        c: membrane after a spike.
        d: recovery that a spike adds.
        start: membrane at the start.
        dt: length of a step.
        duration: of the input.
        current: the input at given times.
        slope: of the membrane's parabola, 0.04 v^2 + slope v + offset.
        offset: of the same.
        v_recovery: membrane that the recovery is measured from.
        recovery: at the start; b times the membrane there by default.
    """

    name: str
    a: float
    b: float
    c: float
    d: float
    start: float
    dt: float
    duration: float
    current: Callable[[Tensor], Tensor]
    slope: float = 5.0
    offset: float = 140.0
    v_recovery: float = 0.0
    recovery: float | None = None


class Trace(NamedTuple):
    """What came in and out at each step, shape (steps,)."""

    times: Tensor
    current: Tensor
    membrane: Tensor
    spikes: Tensor


def step(start: float, height: float) -> Callable[[Tensor], Tensor]:
    """Return a current that is switched on."""
    return lambda t: height * (t > start)


def pulses(length: float, *heights: tuple[float, float], base: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Return a current of pulses, each given by its start and its height."""

    def current(t: Tensor) -> Tensor:
        total = torch.full_like(t, base)
        for start, height in heights:
            total = total + height * ((t > start) & (t < start + length))
        return total

    return current


def ramp(start: float, rate: float, base: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Return a current that grows from a time on."""
    return lambda t: base + rate * (t - start).clamp(min=0.0)


def slow_and_fast_ramp(t: Tensor) -> Tensor:
    """Return a current that grows to 8 in 200 ms, and once more to 4, in 12.5 ms."""
    return t / 25 * (t < 200) + (t - 300) / 12.5 * 4 * ((t >= 300) & (t < 312.5))


def dip(t: Tensor) -> Tensor:
    """Return a current that is lower from 50 to 250 ms."""
    return 80.0 - 5.0 * ((t >= 50) & (t <= 250))


PARABOLA: dict[str, float] = {"slope": 4.1, "offset": 108.0}
PATTERNS = (
    Pattern("tonic spiking", 0.02, 0.2, -65, 6, -70, 0.25, 100, step(10, 14)),
    Pattern("phasic spiking", 0.02, 0.25, -65, 6, -64, 0.25, 200, step(20, 0.5)),
    Pattern("tonic bursting", 0.02, 0.2, -50, 2, -70, 0.25, 220, step(22, 15)),
    Pattern("phasic bursting", 0.02, 0.25, -55, 0.05, -64, 0.2, 200, step(20, 0.6)),
    Pattern("mixed mode", 0.02, 0.2, -55, 4, -70, 0.25, 160, step(16, 10)),
    Pattern("spike frequency adaptation", 0.01, 0.2, -65, 8, -70, 0.25, 85, step(8.5, 30)),
    Pattern("class 1 excitability", 0.02, -0.1, -55, 6, -60, 0.25, 300, ramp(30, 0.075), **PARABOLA),
    Pattern("class 2 excitability", 0.2, 0.26, -65, 0, -64, 0.25, 300, ramp(30, 0.015, base=-0.5)),
    Pattern("spike latency", 0.02, 0.2, -65, 6, -70, 0.2, 100, pulses(3, (10, 7.04))),
    Pattern("subthreshold oscillations", 0.05, 0.26, -60, 0, -62, 0.25, 200, pulses(5, (20, 2))),
    Pattern(
        "resonator", 0.1, 0.26, -60, -1, -62, 0.25, 400, pulses(4, (40, 0.65), (60, 0.65), (280, 0.65), (320, 0.65))
    ),
    Pattern(
        "integrator",
        *(0.02, -0.1, -55, 6, -60, 0.25, 100),
        pulses(2, (100 / 11, 9), (100 / 11 + 5, 9), (70, 9), (80, 9)),
        **PARABOLA,
    ),
    Pattern("rebound spike", 0.03, 0.25, -60, 4, -64, 0.2, 200, pulses(5, (20, -15))),
    Pattern("rebound burst", 0.03, 0.25, -52, 0, -64, 0.2, 200, pulses(5, (20, -15))),
    Pattern("threshold variability", 0.03, 0.25, -60, 4, -64, 0.25, 100, pulses(5, (10, 1), (70, -6), (80, 1))),
    Pattern("bistability", 0.1, 0.26, -60, 0, -61, 0.25, 300, pulses(5, (37.5, 1), (216, 1), base=0.24)),
    Pattern("depolarizing after-potential", 1, 0.2, -60, -21, -70, 0.1, 50, pulses(2, (9, 20))),
    # published with a recovery that does not decay, w' = 0.02 (v + 65): the limit of a small a with a b = 0.02
    Pattern("accommodation", 1e-6, 2e4, -55, 4, -65, 0.5, 400, slow_and_fast_ramp, v_recovery=-65, recovery=-16),
    Pattern("inhibition-induced spiking", -0.02, -1, -60, 8, -63.8, 0.5, 350, dip),
    Pattern("inhibition-induced bursting", -0.026, -1, -45, -2, -63.8, 0.5, 350, dip),
)


def observed_step(
    state: F.IzhikevichState, x: Tensor, **params: Any
) -> tuple[F.IzhikevichState, tuple[Tensor, Tensor]]:
    """Advance Izhikevich neurons by one step, and give out the membrane beside the spikes."""
    state, spikes = F.izhikevich_step(state, x, **params)
    return state, (state.v, spikes)


def simulate(patterns: Sequence[Pattern] = PATTERNS) -> dict[str, Trace]:
    """Run all neurons at once, and return the trace of each by its name.

    Every neuron takes the same number of steps, of a length of its own. A short input stays what it is at its end, and
    what a neuron does after that is cut off.
    """

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(each, name) for each in patterns], dtype=torch.float64)

    dt = column("dt")
    counts = [1 + round(each.duration / each.dt) for each in patterns]
    times = torch.minimum(torch.arange(max(counts), dtype=torch.float64)[:, None] * dt, column("duration"))
    currents = torch.stack([each.current(t) for each, t in zip(patterns, times.T, strict=True)], 1)
    recovery = torch.tensor([each.b * each.start if each.recovery is None else each.recovery for each in patterns])
    params = {name: column(name) for name in ("a", "b", "d", "dt", "v_recovery")}
    curve = F.IzhikevichCurve(slope=column("slope"), offset=column("offset"))
    rules: dict[str, Any] = {"curve": curve, "reset": F.to_value(column("c"))}
    rest = F.IzhikevichState(v=column("start"), w=recovery.double())
    _, (membranes, spikes) = F.scan(observed_step, rest, currents, params=params | rules)
    rows = zip(patterns, counts, times.T, currents.T, membranes.T, spikes.T, strict=True)
    return {each.name: Trace(*[row[:count] for row in four]) for each, count, *four in rows}


def draw(path: Path, traces: Mapping[str, Trace]) -> None:
    """Draw the membrane of each neuron, and its input below."""
    figure = Figure(figsize=(13, 9.2), layout="constrained")
    boxes: Any = figure.subfigures(4, 5, wspace=0.03, hspace=0.03)
    for box, (name, trace) in zip(boxes.flat, traces.items(), strict=True):
        above, below = box.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (4, 1)})
        membrane = torch.where(trace.spikes > 0, PEAK, trace.membrane)
        above.plot(trace.times, membrane, color=INK, linewidth=0.9)
        above.set_title(name, fontsize=10)
        above.set(ylim=(-95, 35))
        below.plot(trace.times, trace.current, color=ACCENT, linewidth=1.4)
        for axes in (above, below):
            axes.set_axis_off()
        scale_bar(above, float(trace.times[-1]))
    save(figure, path)


def scale_bar(axes: Axes, end: float, length: float = 20.0) -> None:
    """Draw a bar of so many ms below the end of the membrane."""
    axes.plot([end - length, end], [-93, -93], color="gray", linewidth=2, solid_capstyle="butt")
    axes.annotate(f"{length:g} ms", (end, -91), ha="right", va="bottom", fontsize=7, color="gray")


def main() -> None:
    """Run the neurons, say when each fires, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    traces = simulate()
    for name, trace in traces.items():
        fired = trace.times[trace.spikes > 0].tolist()
        shown = ", ".join(f"{time:g}" for time in fired[:8]) + (", ..." if len(fired) > 8 else "")
        print(f"{name:30}{len(fired):3} spikes, at {shown} ms")
    draw(options.picture, traces)
    print(f"The picture is {options.picture}")


if __name__ == "__main__":
    main()
