"""The neurons beside LIF: ours, and those of other libraries that are the same neuron or the nearest one.

A neuron of a peer is made from a module: from the peer, or from ``spikingtorch.like``, which has it under the same name
with the same arguments. So a peer and the layer that equals it cannot have different parameters.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.subject import Implementation, Run, Subject, torch_subject
from benchmarks.suite import DRIVE, OURS, TAU, Case, draw

AS = f"{OURS}, as "  # in front of a peer's name: our layer that equals its neuron
LEARNED = "w"  # the only parameter that has a gradient, in every library: the time constant of a ParametricLIF
LONGEST = 32  # delay in steps

Range = tuple[float, float]
Make = Callable[[Any], Any]  # from the module that has the neuron


class Peer(NamedTuple):
    """A neuron of another library."""

    make: Make
    drive: Range = (0.0, DRIVE)  # its inputs are uniform in this range
    alike: bool = True  # spikingtorch.like has it


class Neuron(NamedTuple):
    """A neuron of ours with its peers by library."""

    make: Callable[[Any, int], Any]  # a layer, from spikingtorch and the number of neurons
    drive: Range = (0.0, DRIVE)
    peers: Mapping[str, Peer] = {}
    spikes: bool = True  # at least sometimes, and not always
    exact: bool = True  # nothing transcendental meets the membrane: the fused backend has the bits of the loop


def number(value: float) -> Tensor:
    """Return a parameter of Norse."""
    return torch.tensor(value)


def behavior(m: Any) -> Any:
    """Return an IzhikevichCell that spikes tonically."""
    p = m.IzhikevichParameters(a=0.02, b=0.2, c=-65.0, d=6.0)
    return m.IzhikevichSpikingBehavior(p, m.IzhikevichState(v=number(-70.0), u=number(-14.0)))


def adex(m: Any) -> Any:
    """Return the parameters of an LIFAdExCell that adapts."""
    adapts = {"adaptation_current": number(0.5), "adaptation_spike": number(0.1), "tau_ada_inv": number(20.0)}
    return m.LIFAdExParameters(**adapts, tau_mem_inv=number(125.0), tau_syn_inv=number(250.0))


def normed(m: Any) -> dict[str, Any]:
    """Return the settings of a layer of Sinabs with at most one spike a step."""
    return {"spike_fn": m.SingleSpike, "reset_fn": m.MembraneSubtract(), "norm_input": False}


def refractory(m: Any) -> Any:
    """Return an LIFRefracCell that rests for three steps."""
    lif = m.LIFParameters(tau_mem_inv=number(125.0), tau_syn_inv=number(250.0))
    return m.LIFRefracCell(m.LIFRefracParameters(lif, number(3.0)))


WIDE: Range = (0.0, 3.0)
MILLIVOLT: Range = (0.0, 20.0)
OSCILLATES: Range = (-40.0, 60.0)
EITHER_SIGN: Range = (-1.0, 1.0)

# fmt: off
NEURONS: dict[str, Neuron] = {
    "euler_lif": Neuron(
        lambda m, _: m.ParametricLIF(tau=TAU), WIDE, {
            "spikingjelly": Peer(lambda m: m.ParametricLIFNode(init_tau=TAU), WIDE),
            "norse": Peer(lambda m: m.LIFBoxCell(m.LIFBoxParameters(tau_mem_inv=number(125.0))), WIDE),
            "snntorch": Peer(lambda m: m.Lapicque(R=1.0, C=TAU, spike_grad=m.fast_sigmoid(5)), WIDE),
        }),
    "cuba_lif": Neuron(
        lambda m, _: m.CubaLIF(), (0.0, 0.2), {
            "spikingjelly": Peer(lambda m: m.CUBALIFNode(c_decay=0.75, v_decay=0.875), (0.0, 0.1)),
            "norse": Peer(
                lambda m: m.LIFCell(m.LIFParameters(tau_mem_inv=number(125.0), tau_syn_inv=number(250.0))), (0.0, 0.8)),
            "snntorch": Peer(lambda m: m.Synaptic(alpha=0.75, beta=0.875, spike_grad=m.fast_sigmoid(5)), (0.0, 0.1)),
            "sinabs": Peer(lambda m: m.LIF(tau_mem=TAU, tau_syn=4.0, **normed(m)), (0.0, 0.1)),
        }),
    "alpha_lif": Neuron(
        lambda m, _: m.AlphaLIF(), (0.0, 0.2),
        {"snntorch": Peer(lambda m: m.Alpha(alpha=0.9, beta=0.6, spike_grad=m.fast_sigmoid(5)), (0.0, 2.0))}),
    "alif": Neuron(
        lambda m, _: m.ALIF(), (0.0, 1.0), {
            "norse": Peer(lambda m: m.LSNNCell(m.LSNNParameters(
                number(250.0), number(125.0), tau_adapt_inv=number(20.0), beta=number(0.4))), (0.0, 1.0)),
            "sinabs": Peer(lambda m: m.ALIF(tau_mem=TAU, tau_adapt=80.0, **normed(m)), (0.0, 1.0)),
        }),
    "exponential_if": Neuron(
        lambda m, _: m.ExponentialIF(), (0.0, 2.0), {
            "spikingjelly": Peer(lambda m: m.EIFNode(tau=TAU, delta_T=0.2, theta_rh=0.5), (0.0, 2.0)),
            "norse": Peer(lambda m: m.LIFExCell(m.LIFExParameters(
                tau_mem_inv=number(125.0), tau_syn_inv=number(250.0)))),
        }, exact=False),
    "adex": Neuron(
        lambda m, _: m.AdEx(), (0.0, 3.0), {"norse": Peer(lambda m: m.LIFAdExCell(adex(m)), (0.0, 0.8))},
        exact=False),
    "quadratic_if": Neuron(
        lambda m, _: m.QuadraticIF(), (0.0, 2.0),
        {"spikingjelly": Peer(lambda m: m.QIFNode(tau=TAU), (0.0, 2.0))}),
    "izhikevich": Neuron(
        lambda m, _: m.Izhikevich(), MILLIVOLT, {
            "spikingjelly": Peer(lambda m: m.IzhikevichNode(tau=TAU, tau_w=40.0, a=0.1, b=0.1), (0.0, 2.0)),
            "norse": Peer(lambda m: m.IzhikevichCell(behavior(m)), MILLIVOLT),
        }),
    "resonate_and_fire": Neuron(
        lambda m, _: m.ResonateAndFire(), OSCILLATES,
        {"spikingjelly": Peer(lambda m: m.RAFNode(b=-1.0, omega=10.0, dt=0.01), (-0.4, 0.6), alike=False)}),
    "balanced_resonate_and_fire": Neuron(
        lambda m, _: m.BalancedResonateAndFire(), OSCILLATES,
        {"spikingjelly": Peer(lambda m: m.RAFNode(b=-1.0, omega=10.0, dt=0.01), (-0.4, 0.6), alike=False)}),
    "sigma_delta": Neuron(lambda m, _: m.SigmaDelta(), (-0.2, 0.2)),
    "stochastic_lif": Neuron(
        lambda m, _: m.StochasticLIF(), (0.0, DRIVE),
        {"snntorch": Peer(lambda m: m.Leaky(beta=0.875, spike_grad=m.SSO()), alike=False)}, exact=False),
    "short_term_plasticity": Neuron(lambda m, _: m.ShortTermPlasticity(), (0.0, 1.0), spikes=False),
    "exponential_synapse": Neuron(
        lambda m, _: m.ExponentialSynapse(), peers={
            "spikingjelly": Peer(lambda m: m.SynapseFilter(tau=4.0), (0.0, 1.0), alike=False),
            "norse": Peer(lambda m: m.LIBoxCell(m.LIBoxParameters(tau_mem_inv=number(250.0)))),
            "sinabs": Peer(lambda m: m.ExpLeak(tau_mem=4.0)),
        }, spikes=False),
    "alpha_synapse": Neuron(
        lambda m, _: m.AlphaSynapse(), peers={
            "norse": Peer(lambda m: m.LICell(m.LIParameters(tau_mem_inv=number(250.0), tau_syn_inv=number(500.0)))),
        }, spikes=False),
    "delay, 16 steps": Neuron(
        lambda m, _: m.Delay(16), peers={"spikingjelly": Peer(lambda m: m.Delay(16), alike=False)}, spikes=False),
    f"delay, up to {LONGEST} steps, one for each neuron": Neuron(
        lambda m, N: m.Delay(torch.linspace(0.0, LONGEST - 0.5, N), LONGEST), spikes=False),
    "lif, graded": Neuron(
        lambda m, _: m.LIF(tau=TAU, surrogate=m.functional.Graded()), peers={
            "spikingjelly": Peer(lambda m: m.LIAFNode(torch.relu, True, tau=TAU), WIDE),
        }),
    "lif, ternary": Neuron(
        lambda m, _: m.LIF(tau=TAU, surrogate=m.functional.Ternary()), EITHER_SIGN,
        {"spikingjelly": Peer(lambda m: m.TernaryLIFNode(tau=TAU, decay_input=False), EITHER_SIGN, alike=False)}),
    "lif, many spikes": Neuron(
        lambda m, _: m.LIF(tau=TAU, surrogate=m.functional.MultiSpike(), reset=m.functional.by_subtraction),
        (0.0, 0.8), {
            "spikingjelly": Peer(lambda m: m.ILIFNode(tau=TAU), (0.0, 0.8), alike=False),
            "sinabs": Peer(lambda m: m.LIF(tau_mem=TAU, norm_input=False), (0.0, 0.8)),
        }),
    "lif, refractory": Neuron(
        lambda m, _: m.LIF(tau=TAU, refractory=3.0), peers={"norse": Peer(refractory, (0.0, 0.8))}),
}
# fmt: on


def over_time(layer: Any, backend: Any) -> Run:
    """Return a layer of ours over time; the noise of a StochasticLIF is drawn at each call."""
    from spikingtorch.functional import delay_step, delayed, scan, stochastic_lif_step

    def run(xs: Tensor) -> Tensor:
        step, params = layer.whole_step()
        inputs: Any = xs
        if step is delay_step and backend != "loop":  # what a folded layer does
            return delayed(layer.initial_state(xs[0].detach()), xs, params["delay"])[1]
        if step is stochastic_lif_step:
            inputs = xs, torch.rand(xs.shape, generator=torch.Generator().manual_seed(0))
        return scan(step, layer.initial_state(xs[0].detach()), inputs, params=params, backend=backend)[1]

    return run


def learned(module: nn.Module) -> list[Tensor]:
    """Return the parameter that has a gradient, if there is one; no other has."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name == LEARNED)
    return [each for each in module.parameters() if each.requires_grad]


def made_subject(case: Case, drive: Range, run: Run, weights: list[Tensor], time: int = 0) -> Subject:
    """Return what runs over time with the inputs of a case."""
    low, high = drive
    return torch_subject(Implementation(run, time=time), [low + torch.from_numpy(draw(case.size, high - low))], weights)


def own_subject(case: Case, backend: Any) -> Subject:
    """Return our neuron, or our layer that equals the neuron of a peer, by a backend of ``scan``."""
    import spikingtorch  # here, because a checkout that is compared may be without some of the neurons

    neuron = NEURONS[case.model]
    library = case.contestant.removeprefix(AS)
    if library == case.contestant:
        layer, drive = neuron.make(spikingtorch, case.size.N), neuron.drive
    else:
        alike = importlib.import_module(f"spikingtorch.like.{library}")
        layer, drive = neuron.peers[library].make(alike), neuron.peers[library].drive
    return made_subject(case, drive, over_time(layer, backend), learned(layer))


def contestants(model: str) -> list[str]:
    """Return ours, the peers, and our layers that equal theirs."""
    peers = NEURONS[model].peers
    return [OURS, *(AS + name for name, peer in peers.items() if peer.alike), *peers]
