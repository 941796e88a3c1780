"""The equality checks without which nothing is timed."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks import beside, convolutional, papers, peers, streaming, tutorials
from benchmarks.networks import ARCHITECTURES, DEEP_DIGITS
from benchmarks.neurons import NEURONS
from benchmarks.ours import CALLS, SWEEP
from benchmarks.subject import Observation, Subject, observed_training
from benchmarks.suite import CHANNELS_LAST, IN_JAX, JAX_TRAINING, Array, Case, Size

# odd lengths, so that no block of a kernel comes out even
SIZE = Size(T=203, B=3, N=257)
# few steps and neurons where one spike that rounding moves reaches others
SIZES = {"digits": Size(T=8, B=5, N=784)}
SIZES |= dict.fromkeys(["deep", DEEP_DIGITS], Size(T=8, B=3, N=3 * 8 * 8))
SIZES |= dict.fromkeys(["recurrent", "linear", *SWEEP], Size(T=67, B=3, N=65))
SIZES |= dict.fromkeys(CALLS, Size(T=17, B=3, N=11))
SIZES |= dict.fromkeys(JAX_TRAINING, Size(T=8, B=4, N=784))
SIZES |= dict.fromkeys(convolutional.CHECKED, Size(T=8, B=3, N=12 * 12))

# largest error of a gradient over its largest entry. A time constant's is a sum over a whole input, of either sign;
# another library rounds elsewhere
GRADIENT, SWEEP_GRADIENT, JAX_GRADIENT, PEER_GRADIENT = 1e-5, 1e-4, 1e-4, 1e-3
# share of neurons whose spikes may differ, where one rounding error near threshold changes all that follows
NEAR_THRESHOLD = 0.01
COUNT = 0.02
# of a library whose neuron subtracts the threshold, a step after the spike
COUNTS = {"spyx": 0.05}
# of losses in training, over the largest
LOSSES = 1e-4
# of a readout, and of what goes through batch norm, over the largest entry. Channels-last, torch's sums over a batch of
# all steps round to 1e-4
READOUT, NORMED_GRADIENT = 1e-5, 3e-4
# of what is computed in float64 in the same order
EXACT = 1e-9
# contestants that compute the same with batch norm, and the statistics of each step or one for all
SAME = {"spikingtorch": "spikingtorch, step", "spikingjelly": "spikingtorch, sequence"}


def demand(condition: bool, message: str) -> None:
    """Raise ValueError with the message if the condition does not hold."""
    if not condition:
        raise ValueError(message)


def check(contestant: str, model: str, backend: str) -> None:
    """Do the check of a model, its own or that of all others; raise ValueError if something differs."""
    if contestant.startswith(("torch.", "ReLU")):
        return  # yardsticks, which are no neurons
    OWN_CHECKS.get(model, check_spikes)(contestant, model, backend)


def check_spikes(contestant: str, model: str, backend: str) -> None:
    """Compare a contestant with a plain loop, and our networks with their steps."""
    case = Case(contestant, model, SIZES.get(model, SIZE))
    found = peers.subject(case, backend)
    spikes = found.observe(None)[0]
    demand(set(np.unique(spikes)) == {0.0, 1.0}, "spikes other than 0 and 1, or all the same")
    demand_rate(spikes)
    compare(model, found, peers.subject(case, backend, plain=True), *_tolerance(case, backend))
    if case.is_ours and model in ARCHITECTURES:
        steps = peers.subject(case._replace(contestant="spikingtorch, step"), backend)
        compare(model, found, steps, GRADIENT, NEAR_THRESHOLD)
    elif not case.is_ours and model not in ARCHITECTURES:
        loop = peers.subject(case._replace(contestant="spikingtorch, loop"), backend)
        more = float(spikes.sum() / loop.observe(None)[0].sum()) - 1.0
        limit = COUNTS.get(contestant, COUNT)
        demand(abs(more) <= limit, f"{more:+.1%} more spikes than our loop, and {limit:.0%} is the limit")


def _tolerance(case: Case, backend: str) -> tuple[float, float]:
    """Return how far a gradient may be off, and the share of neurons whose spikes may differ."""
    if case.model in ARCHITECTURES or not case.is_ours or case.contestant.endswith("loop"):
        return JAX_GRADIENT if case.contestant.startswith("jax.lax.scan") else PEER_GRADIENT, NEAR_THRESHOLD
    if case.contestant == IN_JAX and backend == "loop":
        return JAX_GRADIENT, NEAR_THRESHOLD  # XLA contracts products and sums
    exact = NEURONS[case.model].exact if case.model in NEURONS else case.model != "recurrent"
    return SWEEP_GRADIENT if case.model in SWEEP else GRADIENT, 0.0 if exact else NEAR_THRESHOLD


def demand_rate(out: Array, least: float = 0.01, most: float = 0.5) -> None:
    """Raise ValueError if neurons are silent, or fire in too few or too many steps."""
    rate = float((out != 0.0).mean())
    demand(rate > 0.0 and least <= rate <= most, f"spikes in {rate:.1%} of the steps, not in {least:.0%} to {most:.0%}")


def compare(
    model: str, one: Subject, other: Subject, limit: float, differing: float = 0.0, rounding: float = 0.0
) -> None:
    """Compare outputs, and the gradients of those neurons, or samples of connected neurons, whose outputs agree."""
    (out, found), (others, expected) = one.observe(None), other.observe(None)
    same = np.abs(out - others) <= rounding * np.abs(others).max()
    # the few neurons at the end of a network would count too much
    differ = 1.0 - float(np.mean(same if model in ARCHITECTURES else same.all(axis=0)))
    demand(differ <= differing, f"other outputs in {differ:.2%} of the neurons, and {differing:.2%} is the limit")
    if differ:
        connected = model == "recurrent" or model in ARCHITECTURES
        kept = same.all(axis=(0, 2) if connected else 0, keepdims=True).astype(np.float32)
        demand(bool(kept.any()), "in no sample do all outputs agree")
        found, expected = one.observe(kept)[1], other.observe(kept)[1]
    near("gradient", found, expected, limit)


def near(what: str, found: Sequence[Array], expected: Sequence[Array], limit: float) -> None:
    """Raise ValueError if one of some arrays is farther from another than the limit."""
    demand(len(found) == len(expected), f"{what}: {len(found)} arrays and not {len(expected)}")
    error = max(map(error_of, found, expected))
    demand(error <= limit, f"{what} off by {error:.1e} of its largest entry, and {limit:.0e} is the limit")


def error_of(found: Array, expected: Array) -> float:
    """Return the largest difference over the largest entry, infinite where a gradient is not finite or is zero."""
    largest = float(np.abs(expected).max())
    if not np.isfinite(found).all() or largest == 0.0 or not found.any():
        return float("inf")
    return float(np.abs(found - expected).max()) / largest


def check_convolutional(contestant: str, _: str, backend: str) -> None:
    """Compare the network with batch norm with a plain loop, and with another contestant that computes the same.

    The readout, all gradients and the running statistics are compared, in training without dropout and with a fixed
    mask, and in evaluation. Masks at random differ: a network that folds draws those of all steps at once. Contestants
    that take the statistics of each step do not compute what those compute that take one for all, but in evaluation.
    The constant that its neurons learn is a library's own: its gradient is compared with that of the loop alone.
    """
    name = contestant.removesuffix(CHANNELS_LAST)
    for variant in convolutional.CHECKED:
        case = Case(contestant, variant, SIZES[variant])
        found = peers.subject(case, backend).observe(None)
        same_readout(variant, found, peers.subject(case, backend, plain=True).observe(None))
        if name in SAME:
            out, others = peers.subject(case._replace(contestant=SAME[name]), backend).observe(None)
            shared = slice(None) if case.is_ours else slice(-len(convolutional.CHANNELS))
            same_readout(f"{variant}, {SAME[name]}", (found[0], found[1][shared]), (out, others[shared]))


def same_readout(what: str, found: Observation, expected: Observation) -> None:
    """Compare readouts, and gradients and running statistics."""
    near(f"{what}: readout", found[:1], expected[:1], READOUT)
    near(f"{what}: gradient or running statistic", found[1], expected[1], NORMED_GRADIENT)


def check_beside(contestant: str, model: str, backend: str) -> None:
    """Compare a neuron beside LIF with a loop: ours with our own, that of a peer with the layer of ours that equals it.

    Of a peer's neuron that is only the nearest one, see that it spikes and that its gradient is finite.
    """
    case, neuron = Case(contestant, model, SIZE), beside.NEURONS[model]
    found = peers.subject(case, backend)
    out, gradients = found.observe(None)
    demand(bool(np.isfinite(out).all()), "an output is not finite")
    demand_rate(out, *(() if neuron.spikes else (0.0, 1.0)))
    demand(all(np.isfinite(each).all() and each.any() for each in gradients), "a gradient is zero or not finite")
    if case.is_ours or neuron.peers[contestant].alike:
        rounds = () if neuron.exact and neuron.spikes else (NEAR_THRESHOLD, READOUT)
        loop, limit = peers.subject(case, backend, plain=True), GRADIENT if case.is_ours else PEER_GRADIENT
        compare(model, found, loop, limit, *rounds)


def check_whole(contestant: str, model: str, _: str) -> None:
    """Compare a network, as ours or in another form, with the same as its library has it."""
    there = peers.WHOLE[model]
    if contestant in (there.REFERENCE, papers.SCRIPTED):
        return  # the latter is compared where it is made
    cases = [Case(name, model, there.CHECKED) for name in (contestant, there.REFERENCE)]
    found, expected = (observed_training(there.trained(case, there.CHECKED_IN)) for case in cases)
    near("output or gradient", found, expected, EXACT if there.CHECKED_IN is torch.float64 else PEER_GRADIENT)


def check_stream(contestant: str, model: str, _: str) -> None:
    """Compare a network of ours that is called for each step with the library's."""
    cases = [Case(name, model, streaming.CHECKED) for name in (contestant, tutorials.THEIRS)]
    found, expected = map(streaming.observed, cases)
    near("output or gradient", found, expected, PEER_GRADIENT)


def check_training(contestant: str, model: str, backend: str) -> None:
    """Compare the losses of training in JAX with those by lax.scan."""
    case = Case(contestant, model, SIZES[model])
    found, expected = (peers.subject(case, backend, plain).observe(None)[0] for plain in (False, True))
    demand(expected[-1] != expected[0], "the loss stays the same")
    near("losses", [found], [expected], LOSSES)


# what compares the contestants of a model that are not told apart by their neurons alone
OWN_CHECKS: dict[str, Callable[[str, str, str], None]] = {convolutional.MODEL: check_convolutional}
OWN_CHECKS |= dict.fromkeys(beside.NEURONS, check_beside)
OWN_CHECKS |= dict.fromkeys(peers.WHOLE, check_whole)
OWN_CHECKS |= dict.fromkeys(streaming.NETWORKS, check_stream)
OWN_CHECKS |= dict.fromkeys(JAX_TRAINING, check_training)
