"""The neurons of ``spikingtorch.like`` as steps that ``to_neurons`` has nodes for: same numbers, other names.

``as_ours`` returns the step and the parameters of such a neuron. A leaky membrane becomes ``neurons.leaky_step``,

    u[t] = decay v[t-1] + gain x[t] + offset,

and one with a current ``cuba_lif_step``, with an offset as well. Without a threshold, both are readouts. A property
that changes spikes and has no number there is noted by ``Writing.lose``, which refuses it or leaves it out.
"""

from collections.abc import Callable
from typing import Any

from spikingtorch import functional as F
from spikingtorch.interop.nir import neurons
from spikingtorch.interop.nir.writing import Writing
from spikingtorch.like.steps import norse, sinabs, snntorch, spikingjelly
from spikingtorch.like.steps.recurrent import Shifted

Params = dict[str, Any]
Step = Callable[..., Any]


def as_ours(step: Step, params: Params, writing: Writing) -> tuple[Step, Params]:
    """Return the step and parameters of a neuron of ``like`` in our names; others unchanged."""
    inner, at_once = step, False
    while isinstance(inner, snntorch.Undelayed | Shifted):
        at_once |= isinstance(inner, snntorch.Undelayed)
        if isinstance(inner, Shifted):
            writing.lose("has a bias in its recurrent weights", "these weights without a bias")
        inner = inner.step
    if inner in _SNNTORCH:
        made, membrane = _SNNTORCH[inner]
        return made, membrane(params) | _snntorch_firing(inner, params, writing, at_once)
    if inner in _OTHERS:
        made, convert = _OTHERS[inner]
        return made, convert(params, writing)
    return step, params


def _leaky(decay: Any, gain: Any, offset: Any = 0.0) -> Params:
    return {"decay": decay, "gain": gain, "offset": offset}


def _firing(threshold: Any, surrogate: Any, reset: Any) -> Params:
    return {"threshold": threshold, "surrogate": surrogate, "reset": reset}


# -- snnTorch: a reset that is due a step later

_SNNTORCH: dict[Any, tuple[Step, Callable[[Params], Params]]] = {
    snntorch.leaky_step: (neurons.leaky_step, lambda p: _leaky(p["beta"], 1.0)),
    snntorch.fed_leaky_step: (neurons.leaky_step, lambda p: _leaky(p["beta"], 1.0)),
    snntorch.lapicque_step: (neurons.leaky_step, lambda p: _leaky(p["keep"], p["r"] * p["inverse"] * p["time_step"])),
    snntorch.synaptic_step: (
        F.cuba_lif_step,
        lambda p: {"decay_syn": p["alpha"], **_leaky(p["beta"], 1.0)},
    ),
}
_RULES = {"subtract": F.by_subtraction, "zero": F.to_zero, "none": F.none}


def _snntorch_firing(step: Step, p: Params, writing: Writing, at_once: bool) -> Params:
    """Return threshold, surrogate and reset.

    The delayed reset to zero of ``leaky_step`` removes what is left of the membrane, (1 - r) v, and nothing of the
    input: the next step begins from zero, as after a reset at once. The other delayed resets remove more, or less.
    """
    mechanism = p["reset_mechanism"]
    if not (at_once or mechanism == "none" or (mechanism == "zero" and step is snntorch.leaky_step)):
        writing.lose(
            f"resets by {mechanism!r} one step after its spike",
            'a reset to zero at once, reset_mechanism="zero" and reset_delay=False',
        )
    if at_once and (writing.array(p["threshold"]) <= 0.0).any():
        writing.lose("has a threshold of 0 or less, so that a membrane is reset without a spike", "one reset a spike")
    if (writing.array(p.get("factor", 1.0)) != 1.0).any():
        writing.lose("multiplies its spikes by graded_spikes_factor", "spikes of 1, and the factor in the next weights")
    return _firing(p["threshold"], p["surrogate"], _RULES[mechanism])


# -- Norse: Euler's method, with inverse time constants times dt


def _norse(p: Params, writing: Writing) -> Params:  # noqa: ARG001
    found = _leaky(1.0 - p["leak"], p["leak"], p["leak"] * p["v_leak"])
    found |= {"decay_syn": 1.0 + p["syn"]} if "syn" in p else {}
    if "v_th" not in p and "surrogate" not in p:
        return found
    by_subtraction = p.get("reset_method") is norse.reset_subtract
    rule: Any = F.by_subtraction if by_subtraction else F.to_value(p.get("v_reset", 0.0))
    return found | _firing(p.get("v_th", 1.0), p["surrogate"], rule)


# -- Sinabs: several spikes in a step, and a least membrane


def _sinabs(p: Params, writing: Writing) -> Params:
    spike_fn, reset_fn, threshold = p["spike_fn"], p["reset_fn"], p["spike_threshold"]
    counts = not isinstance(spike_fn, sinabs.Single)
    if not isinstance(spike_fn, sinabs.Single | sinabs.Multi) or getattr(spike_fn, "most", None) is not None:
        writing.lose(f"has spike_fn {spike_fn}", "MultiSpike, without a limit")
    rule = F.by_subtraction if isinstance(reset_fn, sinabs.MembraneSubtract) else F.to_zero
    if reset_fn not in (sinabs.MembraneSubtract(), sinabs.MembraneReset()):
        writing.lose(f"has reset_fn {reset_fn}", f"a reset {rule.__name__}")
    _check_floor(p, writing)
    surrogate: Any = F.MultiSpike() if counts else F.Sigmoid()
    gain = p["gain"] * p["decay_syn"] if "decay_syn" in p else p["gain"]  # its current is i times decay_syn
    own = {"decay_syn": p["decay_syn"]} if "decay_syn" in p else {}
    return own | _leaky(p["decay"], gain) | _firing(threshold, surrogate, rule)


def _check_floor(p: Params, writing: Writing) -> None:
    """Note the least membrane of an IAF, which the IF of the reader of Sinabs has; other ones are lost."""
    floor, counts = p["min_v_mem"], writing.target is not None and writing.target.counts
    if floor is None:
        return
    integrates = "decay_syn" not in p and (writing.array(p["decay"]) == 1.0).all()
    threshold = writing.array(p.get("spike_threshold", 0.0))
    writing.floored = bool(counts and integrates and (writing.array(floor) == -threshold).all())
    if not writing.floored:
        writing.lose("keeps its membrane at min_v_mem or above", "a membrane without a limit")


def _sinabs_readout(p: Params, writing: Writing) -> Params:
    _check_floor(p, writing)
    return _leaky(p["decay"], p["gain"])


# -- SpikingJelly: time constants in steps, or their inverse


def _spikingjelly(p: Params, writing: Writing) -> Params:  # noqa: ARG001
    charge = p["charge"]
    by_rate = charge in (spikingjelly.decayed_input_by_rate, spikingjelly.whole_input_by_rate)
    rate = p["tau"] if by_rate else 1.0 / p["tau"]
    whole = charge in (spikingjelly.whole_input, spikingjelly.whole_input_by_rate)
    return _leaky(1.0 - rate, 1.0 if whole else rate, rate * p["v_rest"]) | _firing(
        p["threshold"], p["surrogate"], p["reset"]
    )


_OTHERS: dict[Any, tuple[Step, Callable[[Params, Writing], Params]]] = {
    norse.lif_box_cell_step: (neurons.leaky_step, _norse),
    norse.lif_cell_step: (F.cuba_lif_step, _norse),
    norse.li_box_cell_step: (neurons.leaky_readout_step, _norse),
    norse.li_cell_step: (F.cuba_lif_step, _norse),
    sinabs.lif_layer_step: (neurons.leaky_step, _sinabs),
    sinabs.lif_current_layer_step: (F.cuba_lif_step, _sinabs),
    sinabs.exp_leak_step: (neurons.leaky_readout_step, _sinabs_readout),
    spikingjelly.lif_node_step: (neurons.leaky_step, _spikingjelly),
}
