"""spikingtorch itself: neurons through ``scan``, networks in every mode of ``SpikingNet``, and small calls of both."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import beside, convolutional
from benchmarks.networks import ARCHITECTURES, CLASSES, Builder, Stepped, Synapses, as_documented, network_subject
from benchmarks.neurons import NEURONS, OWN_LAMBDA, OWN_STEP, SURROGATE, Step, scanned
from benchmarks.subject import Call, Implementation, Subject, documented, neuron_subject, seconds, torch_subject
from benchmarks.suite import BETA, BOTH, CHANNELS_LAST, DECAY, OURS, TAU, THRESHOLD, Case, Size, draw, draw_weight
from spikingtorch import IF, LIF, SpikingNet, StepLayer
from spikingtorch.functional import LIFState, decay_from_tau, lif_step

BACKENDS = {f"{OURS}, loop": "loop", f"{OURS}, compile": "compile"}
MODES: dict[str, dict[str, Any]] = {OURS: {}, f"{OURS}, fold": {"mode": "fold"}, f"{OURS}, step": {"mode": "step"}}
MODES[f"{OURS}, sequence"] = {"mode": "fold", "statistics": "sequence"}
MODES[f"{OURS}, dense"] = {"event_driven": "off"}
MODES[f"{OURS}, fold by 8"] = {"mode": "fold", "time_chunk": 8}
TAUS = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 30.0)
ONE_CALL, SHARED_INPUT, OWN_INPUTS = SWEEP = ("one call", "vmap", "vmap, own inputs")
MORE_LAYERS = 4


def neuron(case: Case, backend: str) -> Subject:
    """Return a neuron of ``NEURONS``."""
    model = NEURONS[case.model]
    inputs = [torch.from_numpy(draw(case.size, drive, seed)) for seed, drive in enumerate(model.drives)]
    return torch_subject(Implementation(scanned(model.step, model.state, model.params, backend)), inputs)


def recurrent(case: Case, backend: str, plain: bool) -> Subject:
    """Return the LIF neuron whose spikes come back through a matrix."""
    from spikingtorch.functional import Recurrent, RecurrentState, dense

    step: Any = Recurrent(lif_step, dense)
    weight = torch.from_numpy(draw_weight(case.size.N)).clone().requires_grad_()
    params = {"decay": DECAY, "threshold": THRESHOLD, "surrogate": SURROGATE, "recurrent_weight": weight}
    run = scanned(step, lambda v: RecurrentState(LIFState(v), torch.zeros_like(v)), params, backend)
    made = Implementation(run, weight=weight)
    return neuron_subject(case.size, documented(made) if plain else made)


def products(case: Case) -> Subject:
    """Return the dense products of ``linear`` alone, that of the inputs and that of the weights' gradient."""
    T, B, N = case.size
    rows = torch.from_numpy(draw((T * B, N), 1.0))
    weight = torch.from_numpy(draw((N, N))).requires_grad_()
    g = torch.ones(T * B, N)
    return Subject({BOTH: lambda: torch.autograd.grad(nn.functional.linear(rows, weight), weight, g)}, NotImplemented)


def sweep(case: Case, backend: str) -> Subject:
    """Return LIF with eight time constants: one call of eight times the batch, or ``vmap``, with one input or eight."""
    taus = torch.tensor(TAUS, requires_grad=True)

    def lif(tau: Tensor, xs: Tensor) -> Tensor:
        return scanned(lif_step, LIFState, {"decay": decay_from_tau(tau)}, backend)(xs)

    made = {
        ONE_CALL: Implementation(lambda xs: lif(taus.reshape(-1, 1, 1), xs.expand(-1, len(TAUS), -1, -1))),
        SHARED_INPUT: Implementation(lambda xs: torch.func.vmap(lambda tau: lif(tau, xs[0]))(taus), time=1),
        OWN_INPUTS: Implementation(lambda xs: torch.func.vmap(lif)(taus, xs), time=1),
    }[ONE_CALL if backend == "loop" else case.model]
    count = 1 if case.model == SHARED_INPUT else len(TAUS)
    return torch_subject(made, [torch.from_numpy(draw(case.size)).unsqueeze(1).expand(-1, count, -1, -1)], [taus])


def network(options: dict[str, Any]) -> Builder:
    """Return the builder of a network in one mode of ``SpikingNet``."""

    def build(synapses: Synapses, decay: float) -> Implementation:
        neurons = [IF(THRESHOLD, BETA) if decay == 1.0 else LIF(v0=THRESHOLD, beta=BETA, decay=decay) for _ in synapses]
        linear = [module for module in nn.ModuleList(synapses).modules() if isinstance(module, nn.Linear)]
        return Implementation(SpikingNet(Stepped(synapses, neurons), linear[-1].out_features, **options), time=1)

    return build


def convolutional_network(options: dict[str, Any]) -> convolutional.Builder:
    """Return the builder of the network with batch norm in one mode of ``SpikingNet``."""

    def build(layers: convolutional.Layers) -> convolutional.Network:
        neurons = [LIF(tau=TAU, v0=THRESHOLD, beta=BETA, learnable="tau") for _ in layers.synapses]
        net = SpikingNet(convolutional.ReadOut(layers, neurons), CLASSES, **options)
        taus = [each.get_parameter("tau") for each in neurons]
        of_steps = options.get("statistics") != "sequence"
        return convolutional.Network(net, taus, leak, of_steps=of_steps, time=1)

    return build


def leak(tau: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decay and the gain of ``LIF(tau)``, as its documentation has them."""
    decay = torch.exp(-1.0 / tau)
    return decay, tau * (1.0 - decay)


def addition(case: Case) -> Subject:
    """Return ``b + s c`` on tensors of the size of the input, the yardstick of memory bandwidth; nothing to check."""
    b, c, out = (torch.ones(case.size) for _ in range(3))
    into: dict[str, Any] = {"out": out} if "preallocated" in case.model else {}
    return Subject({BOTH: lambda: torch.add(b, c, alpha=2.0, **into)}, NotImplemented)


class OwnLayer(StepLayer):
    """A layer of a user's own."""


class _Layers(nn.ModuleList):
    """Layers of neurons, one behind the other."""

    def forward(self, x: Tensor, init: Any) -> Tensor:
        for layer in self:
            x = layer(x, init) if isinstance(layer, StepLayer) else layer(x)
        return x


def by_scan(step: Step, size: Size, backend: str, learnable: bool = False) -> Subject:
    """Return a call of ``scan``, with a float or with a learnable decay for each neuron."""
    decay = torch.full((size.N,), DECAY, requires_grad=True)
    run = scanned(step, LIFState, {"decay": decay if learnable else DECAY}, backend)
    return torch_subject(Implementation(run), [torch.from_numpy(draw(size))], [decay] if learnable else [])


def by_net(
    layers: Callable[[int], list[nn.Module]], size: Size, backend: str, mode: Any = "fold", streams: bool = False
) -> Subject:
    """Return a call of ``SpikingNet``, of layers for N neurons, or a call for each step; the loop as backend steps."""
    net = SpikingNet(_Layers(layers(size.N)), size.N, mode="step" if backend == "loop" else mode)

    def stream(x: Tensor) -> Tensor:
        return torch.cat([net(each, t == 0) for t, each in enumerate(x.split(1, 1))], 1)

    made = Implementation(stream if streams else net, time=1)
    return torch_subject(made, [torch.from_numpy(draw(size))], list(net.parameters()))


def three_linear(N: int) -> list[nn.Module]:
    """Return three linear layers with IF neurons, the same ones each time."""
    torch.manual_seed(0)
    return [each for _ in range(3) for each in (nn.Linear(N, N), IF(THRESHOLD, BETA))]


def one_more_layer(size: Size, backend: str) -> Subject:
    """Return a folded layer inside a network: what each of several layers adds to a network of one."""
    # a threshold at which one spike makes the next layer spike
    more = [LIF(decay=DECAY, v0=0.5) for _ in range(MORE_LAYERS)]
    few = by_net(lambda _: [LIF(decay=DECAY)], size, backend)
    many = by_net(lambda _: [LIF(decay=DECAY), *more], size, backend)

    def difference(mode: str) -> Call:
        return lambda: (seconds(many.calls[mode]) - seconds(few.calls[mode])) / MORE_LAYERS

    return Subject({mode: difference(mode) for mode in many.calls}, many.observe)


# small calls, whose time is the way to the kernel and not the kernel; from a size and a backend
CALLS: dict[str, Callable[[Size, str], Subject]] = {
    "scan, lif_step": partial(by_scan, lif_step),
    "scan, learnable decay per neuron": partial(by_scan, lif_step, learnable=True),
    "scan, own step": partial(by_scan, OWN_STEP),
    "scan, lambda": partial(by_scan, OWN_LAMBDA),
    "one more folded layer": one_more_layer,
    "SpikingNet, LIF(decay)": partial(by_net, lambda _: [LIF(decay=DECAY)]),
    "SpikingNet in mode auto, LIF(decay)": partial(by_net, lambda _: [LIF(decay=DECAY)], mode="auto"),
    "SpikingNet, three Linear, IF": partial(by_net, three_linear, mode="auto"),
    "SpikingNet, LIF(decay), a call a step": partial(by_net, lambda _: [LIF(decay=DECAY)], mode="auto", streams=True),
    "SpikingNet, three Linear, IF, a call a step": partial(by_net, three_linear, mode="auto", streams=True),
    "SpikingNet, StepLayer of own step": partial(by_net, lambda _: [OwnLayer(OWN_STEP, LIFState, decay=DECAY)]),
    "SpikingNet, StepLayer of lambda": partial(by_net, lambda _: [OwnLayer(OWN_LAMBDA, LIFState, decay=DECAY)]),
    "SpikingNet, LIF(tau)": partial(by_net, lambda _: [LIF(tau=TAU)]),
    "SpikingNet, LIF(learnable=True)": partial(by_net, lambda _: [LIF(tau=TAU, learnable=True)]),
    "SpikingNet, LIF(Parameter per neuron)": partial(by_net, lambda N: [LIF(tau=nn.Parameter(torch.full((N,), TAU)))]),
}


def subject(case: Case, backend: str, plain: bool = False) -> Subject:
    """Return what a case is about, or our own loop; a plain loop for that itself, and for networks."""
    if not case.is_ours:
        return addition(case) if case.contestant == "torch.add" else products(case)
    if case.model in convolutional.VARIANTS:
        mode = MODES[case.contestant.removesuffix(CHANNELS_LAST)]
        return convolutional.subject(case, convolutional_network(mode), plain)
    if case.model in ARCHITECTURES:
        build = network(MODES[case.contestant.removesuffix(CHANNELS_LAST)])
        return network_subject(case, as_documented(build) if plain else build)
    backend = "loop" if plain else BACKENDS.get(case.contestant, backend)
    if case.model in beside.NEURONS:
        return beside.own_subject(case, backend)
    if case.model in CALLS:
        return CALLS[case.model](case.size, backend)
    if case.model in SWEEP:
        return sweep(case, backend)
    if case.model == "recurrent":
        return recurrent(case, backend, plain and case.contestant.endswith("loop"))
    return neuron(case, backend)
