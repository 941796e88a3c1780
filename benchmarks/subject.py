"""What is timed and checked: a neuron or a network of some library with its inputs."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.suite import BETA, BOTH, DECAY, FORWARD, THRESHOLD, TRAINING, Array, Size, draw, draw_gradient

Call = Callable[[], object]
Run = Callable[[Tensor], Tensor]
# the spikes (T, B, N), and the gradient of each input and weight
Observation = tuple[Array, list[Array]]


def trace_a_sine() -> None:
    """Import torch's own tracer, and set it up."""
    from torch.fx.experimental.proxy_tensor import make_fx

    make_fx(lambda x: torch.autograd.grad(x.sin().sum(), x)[0])(torch.ones(2, requires_grad=True))


class Subject(NamedTuple):
    """What can be measured, by mode; and what the call BOTH computes, with a factor on the gradient of the spikes."""

    calls: dict[str, Call]
    observe: Callable[[Array | None], Observation]
    tracer: Call = trace_a_sine  # what a process pays once, before its first call


def logistic(u: Tensor) -> Tensor:
    """Return the function whose derivative is the surrogate of spikingtorch, of the eager loops and of SpikingJelly."""
    return torch.sigmoid(BETA * u)


class Implementation(NamedTuple):
    """A neuron or a network, and what it says that it computes."""

    run: Callable[..., Tensor]  # from inputs to spikes
    primitive: Run = logistic  # the function whose derivative is its surrogate
    time: int = 0  # its axis of time
    gain: float = 1.0  # on the input of its neurons; the inputs, or the weights, are divided by it beforehand
    detached: bool = False  # no gradient flows through its reset
    weight: Tensor | None = None  # through which its spikes come back


def loop(spike_of: Run, decay: float, implementation: Implementation) -> Run:
    """Return a plain loop over time, time first, that computes what an implementation says that it computes."""
    gain, detached, weight = implementation[3:]

    def run(xs: Tensor) -> Tensor:
        v = spike = torch.zeros_like(xs[0])
        back = weight if weight is None or gain == 1.0 else gain * weight
        spikes = []
        for x in (xs if gain == 1.0 else gain * xs).unbind(0):
            current = x if back is None else x + torch.nn.functional.linear(spike, back)
            u = v + current if decay == 1.0 else decay * v + current
            spike = spike_of(u - THRESHOLD)
            v = (1.0 - (spike.detach() if detached else spike)) * u
            spikes.append(spike)
        return torch.stack(spikes)

    return run


def documented(implementation: Implementation, decay: float = DECAY) -> Implementation:
    """Return the plain loop of what an implementation says that it computes."""

    def spike_of(u: Tensor) -> Tensor:
        phi = implementation.primitive(u)
        return (u >= 0.0).to(u.dtype) + (phi - phi.detach())

    return implementation._replace(run=loop(spike_of, decay, implementation), time=0)


def laid_out(tensor: Tensor, axis: int) -> Tensor:
    """Return a copy, at torch's own alignment, whose time is on another axis than the first."""
    return tensor.movedim(0, axis).clone(memory_format=torch.contiguous_format)


def torch_subject(
    implementation: Implementation, xs: Sequence[Tensor], weights: Sequence[Tensor] = (), inputs_learn: bool = True
) -> Subject:
    """Return an implementation with inputs, time first, on the default device; and with others that have a gradient."""
    run, axis, default = implementation.run, implementation.time, torch.get_default_device()
    scale = 1.0 / implementation.gain if inputs_learn else 1.0
    inputs = [(scale * laid_out(x, axis)).to(default).requires_grad_(inputs_learn) for x in xs]
    sources = [*(inputs if inputs_learn else ()), *weights]
    is_neuron = inputs_learn and xs[0].ndim == 3  # with as many outputs as inputs

    @functools.cache
    def gradient() -> Tensor:
        with torch.no_grad():
            like = (inputs[0] if is_neuron else run(*inputs)).movedim(axis, 0)
        return laid_out(torch.from_numpy(draw_gradient(like.shape)), axis).to(like)

    def forward() -> None:
        with torch.no_grad():
            run(*inputs)

    def both() -> None:
        torch.autograd.grad(run(*inputs), sources, gradient())

    def observe(kept: Array | None) -> Observation:
        spikes = run(*inputs).movedim(axis, 0)
        wanted = gradient().movedim(axis, 0)
        found = torch.autograd.grad(spikes, sources, wanted if kept is None else wanted * torch.from_numpy(kept))
        turned = [tensor.movedim(axis, 0) if k < len(xs) and inputs_learn else tensor for k, tensor in enumerate(found)]
        return spikes.detach().numpy(), [tensor.numpy() for tensor in turned]

    if is_neuron:
        gradient()  # now, because the first call may be timed
    return Subject({FORWARD: forward, BOTH: both}, observe)


def from_rest(reset: Callable[[], object], run: Run) -> Run:
    """Return what runs after a reset."""

    def resetting(xs: Tensor) -> Tensor:
        reset()
        return run(xs)

    return resetting


def neuron_subject(size: Size, implementation: Implementation) -> Subject:
    """Return a neuron with the input of its size."""
    weights = [] if implementation.weight is None else [implementation.weight]
    return torch_subject(implementation, [torch.from_numpy(draw(size))], weights)


def seconds(call: Call, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long a call takes, with the release of what it returns; or what a call says that times itself."""
    start = clock()
    found = call()
    own = found if isinstance(found, float) else None
    del found
    return clock() - start if own is None else own


def descent(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Call:
    """Return a step of training."""

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


class Trained(NamedTuple):
    """A network that a side has as a whole, with its inputs."""

    net: nn.Module  # has the weights
    readout: Callable[[], Tensor]  # what it makes of the inputs
    loss: Callable[[Tensor], Tensor]  # of the readout
    reset: Callable[[], object] = lambda: None  # what a sequence leaves behind


def training_subject(trained: Trained) -> Subject:
    """Return steps of training: forward, loss, backward, SGD, reset."""
    step = descent(torch.optim.SGD(trained.net.parameters(), lr=1e-4), lambda: trained.loss(trained.readout()))

    def train() -> None:
        step()
        trained.reset()

    return Subject({TRAINING: train, BOTH: train}, NotImplemented)


def observed_training(trained: Trained) -> list[Array]:
    """Return the readout of a network in training, and the gradients of all weights by its loss."""
    torch.manual_seed(0)  # of dropout
    out = trained.readout()
    # the weights of convolutions and linear layers: a bias in front of batch norm has a gradient of rounding alone
    weights = {name: each for name, each in trained.net.named_parameters() if each.ndim > 1}
    found = torch.autograd.grad(trained.loss(out), [weights[name] for name in sorted(weights)])
    return [each.detach().numpy() for each in (out, *found)]


def in_turns(
    ways: Mapping[str, Call], rounds: int, warm_up: int = 1, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of calls that take turns in this process, each time in the opposite order."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm_up + rounds):
        for name in [*ways][:: -1 if turn % 2 else 1]:
            taken = seconds(ways[name], clock)
            found[name] += [taken] if turn >= warm_up else []
    return found
