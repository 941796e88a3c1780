"""Networks of the tutorials and examples of other libraries as streams: one step a call, theirs and ours.

A call goes on from the state that the one before has left, without its graph. Ours is called as a user does, with one
step of a sequence, (B, 1, ...), and ``init=False``.
"""

import functools
import importlib
import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import tutorials
from benchmarks.subject import Run, Subject
from benchmarks.suite import BOTH, FORWARD, Array, Case, Size, draw_gradient
from benchmarks.tutorials import Network


def _node(m: Any) -> nn.Module:
    return m.LIFNode(v_threshold=0.5)  # half of the inputs reach it


_FOUND = {"SpikingJelly, LIF": Network("spikingjelly", (784,), _node, tutorials.of_counts, 1.0)}
_FOUND |= {name: tutorials.NETWORKS[name] for name in ("snnTorch, tutorial 5", "Norse, memory task", "Norse, ConvNet")}
# under other names than in tutorials.NETWORKS, where a call takes a whole sequence
NETWORKS = {f"{name}, a call a step": network for name, network in _FOUND.items()}
CHECKED = Size(T=12, B=3, N=0)
# inputs that calls take in turns
STEPS = 16


class Stream(NamedTuple):
    """A network with inputs."""

    step: Run
    xs: list[Tensor]
    weights: list[Tensor]

    def differentiated(self, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """Return the output of a step, and the gradients of weights, or of the input where there are none.

        A weight that acts on later steps alone has no gradient.
        """
        out = self.step(x)
        return out, [*torch.autograd.grad(out, [*self.weights] or [x], pull(out.shape), allow_unused=True)]


@functools.cache
def pull(shape: torch.Size) -> Tensor:
    """Return the gradient of an output."""
    return torch.from_numpy(draw_gradient(shape))


def stream(case: Case, trains: bool) -> Stream:
    """Return a network at rest."""
    network = NETWORKS[case.model]
    net = tutorials.built(network, case.is_ours).train(trains)
    xs = tutorials.inputs(network, case.size, torch.Generator().manual_seed(1))
    if case.is_ours:
        from spikingtorch import SpikingNet

        xs, step = xs.unsqueeze(2), functools.partial(SpikingNet(net).train(trains), init=False)
    else:
        step = importlib.import_module(f"benchmarks.peers.{network.peer}").stream(net)
    weights = dict(net.named_parameters())
    learns = trains and not weights
    return Stream(step, [x.clone().requires_grad_(learns) for x in xs], [weights[name] for name in sorted(weights)])


def subject(case: Case) -> Subject:
    """Return a step without gradients, in evaluation, and one with its gradients, in training."""
    whole = case._replace(size=case.size._replace(T=STEPS))
    evaluated, trained = stream(whole, trains=False), stream(whole, trains=True)
    xs, ys = itertools.cycle(evaluated.xs), itertools.cycle(trained.xs)

    def forward() -> None:
        with torch.no_grad():
            evaluated.step(next(xs))

    return Subject({FORWARD: forward, BOTH: lambda: trained.differentiated(next(ys))}, NotImplemented)


def observed(case: Case) -> list[Array]:
    """Return the outputs of all steps, and the gradients that there are of each."""
    found = stream(case, trains=True)
    outs, gradients = zip(*[found.differentiated(x) for x in found.xs], strict=True)
    own = [each for each in zip(*gradients, strict=True) if each[0] is not None]
    return [torch.stack(each).flatten(1).detach().numpy() for each in (outs, *own)]
