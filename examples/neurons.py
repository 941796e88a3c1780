"""Draw what each neuron of the library does with an input: the pictures of docs/responses.md and its neighbours.

A layer is taken apart into its step and its parameters. A step that gives out its state as well then goes through scan.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import spikingtorch as st
from examples.pictures import ACCENT, INK, save
from spikingtorch import functional as F
from spikingtorch import plot

FOLDER = Path("runs/neurons")
GRAY = "#666666"


class Line(NamedTuple):
    """A broken line beside the membrane: its name, and its values, computed from the states."""

    name: str
    values: Callable[[Any], Tensor]


class Panel(NamedTuple):
    """A neuron to draw.

    Attributes:
        title: above the panel.
        layer: the neuron.
        xs: its input, shape (T,) or (T, runs), or a pair of inputs.
        shows: "membrane" with spikes above it, "output" as a line or "bars".
        threshold: at which the membrane fires: a number, or computed from the states.
        beside: a second line.
    """

    title: str
    layer: st.StepLayer
    xs: Any
    shows: str = "membrane"
    threshold: float | Callable[[Any], Tensor] | None = 1.0
    beside: Line | None = None


class Watched(NamedTuple):
    """A neuron over time: its states, each of whose fields has shape (T, ...), and its outputs (T, ...)."""

    states: Any
    out: Tensor


def watch(layer: st.StepLayer, xs: Any) -> Watched:
    """Run a layer over its inputs, and return the state after each step beside the output."""
    step, params = layer.whole_step()

    def watched(state: Any, x: Any) -> tuple[Any, Watched]:
        state, out = step(state, x, **params)
        return state, Watched(state, out)

    first = xs[0][0] if isinstance(xs, tuple) else xs[0]
    with torch.no_grad():
        # one short sequence: not worth compiling a loop for
        seen: Watched = F.scan(watched, layer.initial_state(first), xs, backend="loop")[1]
    return seen


def draw(path: Path, panels: Sequence[Panel]) -> None:
    """Draw neurons side by side, the input below each."""
    # a panel by itself is as wide as two
    figure = Figure(figsize=(3.2 * max(2, len(panels)), 2.9), layout="constrained")
    boxes: Any = figure.subfigures(1, len(panels), squeeze=False)
    for box, panel in zip(boxes.flat, panels, strict=True):
        above, below = box.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
        draw_neuron(above, panel, watch(panel.layer, panel.xs))
        draw_input(below, panel.xs)
        for axes, ticks in ((above, 4), (below, 2)):
            axes.spines[["top", "right"]].set_visible(False)
            axes.locator_params(axis="y", nbins=ticks)
            axes.tick_params(labelsize=8)
    save(figure, path)


def draw_neuron(axes: Axes, panel: Panel, seen: Watched) -> None:
    """Draw membrane, threshold and spikes, or the output; of many runs the spikes alone."""
    axes.set_title(panel.title, fontsize=9, loc="left")
    states = getattr(seen.states, "neuron", seen.states)
    if seen.out.ndim == 2:
        plot.raster(seen.out.unsqueeze(0), ax=axes)
        axes.set_ylabel("run", fontsize=8)
    elif panel.shows == "membrane":
        threshold = panel.threshold(seen.states).reshape(1, -1, 1) if callable(panel.threshold) else panel.threshold
        v, spikes = (each.reshape(1, -1, 1) for each in (states.v, seen.out))
        plot.traces(v, spikes=spikes, threshold=threshold, ax=axes)
        axes.set_ylabel("")
    elif panel.shows == "bars":
        axes.vlines(torch.arange(len(seen.out)), 0, seen.out, color=INK, linewidth=1.6)
    else:
        axes.plot(seen.out, color=INK, linewidth=1.3)
    if panel.beside is not None:
        axes.plot(panel.beside.values(seen.states), color=GRAY, linewidth=1.2, linestyle="--")
        axes.set_title(f"- - {panel.beside.name}", fontsize=8, loc="right", color=GRAY)
    axes.set_xlabel("")


def draw_input(axes: Axes, xs: Any) -> None:
    """Draw an input, spikes as bars and currents as lines; the second of a pair is dotted."""
    first = xs[0] if isinstance(xs, tuple) else xs
    if first.ndim == 2:
        axes.plot(first[:, 0], color=ACCENT, linewidth=1.4)
    elif bool((first[1:] * first[:-1] == 0).all()):
        axes.vlines(first.nonzero().flatten(), 0, first[first != 0], color=ACCENT, linewidth=1.6)
        axes.axhline(0, color=ACCENT, linewidth=0.8)
    else:
        axes.plot(first, color=ACCENT, linewidth=1.4)
    if isinstance(xs, tuple) and first.ndim == 1:
        axes.plot(xs[1], color=ACCENT, linewidth=1.4, linestyle=":")
    axes.set_xlabel("time (steps)", fontsize=8)


def relative_lif(jump: float, decay: float) -> st.StepLayer:
    """Return LIF neurons whose threshold jumps at a spike: F.RelativeRefractory as a layer."""
    step: Any = F.RelativeRefractory(F.lif_step, jump, decay)
    return st.StepLayer(step, F.LIFState, decay=F.decay_from_tau(8.0), gain=F.gain_from_tau(8.0))


def step_current(height: float, steps: int = 100) -> Tensor:
    """Return a current that flows for seven tenths of the time."""
    t = torch.arange(steps)
    return height * ((t >= 0.1 * steps) & (t < 0.8 * steps)).float()


def spikes_at(*times: int, steps: int = 100, height: float = 1.0) -> Tensor:
    """Return an input of single spikes."""
    x = torch.zeros(steps)
    x[list(times)] = height
    return x


BURSTS = spikes_at(10, 14, 18, 22, 26, 30, 60, 64, 68)
WAVE = torch.sin(torch.arange(100) / 8.0)


def neurons() -> dict[str, list[Panel]]:
    """Return the panels of the pictures of neurons by their names."""
    current = step_current(0.17)
    # at the neuron's own frequency, and at twice that
    pulses = spikes_at(20, 83, 146, 250, 281, 312, steps=400)
    noise = torch.rand(100, 20, generator=torch.Generator().manual_seed(0))
    excitatory, inhibitory = spikes_at(*range(5, 100, 3)), 2.0 * (torch.arange(100) > 50)
    return {
        "leaky": [
            Panel("IF()", st.IF(), step_current(0.09)),
            Panel("LIF(tau=8)", st.LIF(tau=8.0), current),
            Panel("ParametricLIF(tau=8)", st.ParametricLIF(tau=8.0), 8 * current),
            Panel("LI(tau=8)", st.LI(tau=8.0), current, "output"),
        ],
        "other": [
            Panel("McPitts(threshold=0.5)", st.McPitts(threshold=0.5), WAVE, "bars"),
            Panel("SpikingDecay(tau=1.2)", st.SpikingDecay(tau=1.2), 1.3 * current),
            Panel("CoarseLIF(tau=8)", st.CoarseLIF(tau=8.0), 2 * current),
            Panel("BioLIF(nudt=0.2, threshold=0.25)", st.BioLIF(0.2, 0.25), (excitatory, inhibitory), threshold=0.25),
        ],
        "adaptive": [
            Panel(
                "ALIF(adaptation=6)",
                st.ALIF(adaptation=6.0),
                step_current(0.4),
                threshold=lambda states: 1.0 + 6.0 * states.a,
            ),
            Panel(
                "AdEx(b=0.15)", st.AdEx(b=0.15), step_current(0.9), beside=Line("current w", lambda states: states.w)
            ),
        ],
        "upstroke": [
            Panel("QuadraticIF()", st.QuadraticIF(), step_current(0.4)),
            Panel("ExponentialIF()", st.ExponentialIF(), step_current(0.6)),
            Panel("Izhikevich(dt=0.5)", st.Izhikevich(dt=0.5), step_current(14.0, 400), threshold=None),
        ],
        "oscillating": [
            Panel("ResonateAndFire()", st.ResonateAndFire(), 50 * pulses),
            Panel(
                "BalancedResonateAndFire()",
                st.BalancedResonateAndFire(),
                60 * pulses,
                threshold=lambda states: 1.0 + states.q,
            ),
        ],
        "synaptic": [
            Panel("CubaLIF()", st.CubaLIF(), 0.3 * BURSTS, beside=Line("current i", lambda states: states.i)),
            Panel("AlphaLIF()", st.AlphaLIF(), 0.3 * BURSTS, beside=Line("current i", lambda states: states.i)),
        ],
        "chance": [
            Panel(
                "StochasticLIF(), 20 runs",
                st.StochasticLIF(),
                F.StochasticInput(step_current(0.15)[:, None].expand(100, 20), noise),
            )
        ],
        "numbers": [
            Panel("LIF(surrogate=Graded())", st.LIF(surrogate=F.Graded()), torch.linspace(0.0, 0.8, 100), "bars"),
            Panel(
                "SigmaDelta(0.2)",
                st.SigmaDelta(0.2),
                WAVE.diff(prepend=torch.zeros(1)),
                threshold=None,
                beside=Line("sum sent", lambda states: states.sent),
            ),
        ],
    }


def parts() -> dict[str, list[Panel]]:
    """Return the panels of the pictures of what goes before, into or around a neuron."""
    current, one_wave = step_current(0.3), 2.0 * torch.sin(torch.arange(50) / 7.96)
    functions = (F.Sigmoid(), F.Graded(), F.Ternary(), F.MultiSpike())
    rules: dict[str, F.Reset] = {"to_zero": F.to_zero, "by_subtraction": F.by_subtraction}
    rules |= {"to_value(-0.5)": F.to_value(-0.5), "none": F.none}
    return {
        "synapses": [
            Panel("ExponentialSynapse(tau=6)", st.ExponentialSynapse(tau=6.0), BURSTS, "output"),
            Panel("AlphaSynapse(tau_rise=4, tau=6)", st.AlphaSynapse(tau_rise=4.0, tau=6.0), BURSTS, "output"),
            Panel("Delay(12)", st.Delay(12.0), BURSTS, "bars"),
        ],
        "plasticity": [
            Panel("ShortTermPlasticity(0.5, 1, 60)", st.ShortTermPlasticity(0.5, 1.0, 60.0), BURSTS, "bars"),
            Panel("ShortTermPlasticity(0.1, 60, 4)", st.ShortTermPlasticity(0.1, 60.0, 4.0), BURSTS, "bars"),
        ],
        "spike_functions": [
            Panel(f"{type(each).__name__}()", st.LIF(surrogate=each, reset=F.by_subtraction), one_wave, "bars")
            for each in functions
        ],
        "resets": [Panel(f"reset={name}", st.LIF(reset=rule), step_current(0.36)) for name, rule in rules.items()],
        "refractory": [
            Panel("LIF()", st.LIF(), current),
            Panel("LIF(refractory=8)", st.LIF(refractory=8.0), current),
            Panel("F.RelativeRefractory", relative_lif(1.0, 0.9), current, threshold=lambda states: 1.0 + states.r),
        ],
    }


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    pictures = neurons() | parts()
    for name, panels in pictures.items():
        draw(options.folder / f"{name}.png", panels)
    print(f"{len(pictures)} pictures are in {options.folder}")


if __name__ == "__main__":
    main()
