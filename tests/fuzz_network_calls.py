"""Calls that the fuzzer makes of a network, and what it compares of them."""

import copy
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from spikingtorch import SpikingNet
from spikingtorch.fold import rng
from spikingtorch.layers.steplayer import StepLayer
from tests.fuzz_network_inputs import Run, cotangent

Results = dict[str, Any]


def snapshot(model: SpikingNet) -> Results:
    """Return buffers, and v, s and act of each spiking layer."""
    found: Results = {f"buffer {name}": value for name, value in model.named_buffers() if isinstance(value, Tensor)}
    for name, layer in model.net.named_modules():
        if isinstance(layer, StepLayer):
            shown = {f"{name}.{what}": getattr(layer, what, None) for what in ("v", "s", "act")}
            found |= {f"{what}.{k}": leaf for what, tree in shown.items() for k, leaf in enumerate(tree_leaves(tree))}
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in found.items()}


def call(model: SpikingNet, run: Run) -> Results:
    """Call a model, write on what it was given or gave, and go back."""
    shape = shape_of(model)
    x = run.train(shape)
    with run.recording():
        whole = run.then == "checkpoint" and run.init == "new"
        out = checkpoint(model, x, use_reentrant=False) if whole else model(x, run.starts())
        other = model(run.train(shape, 1)) if run.then == "call again" else None
    found: Results = {"out": out.detach().clone(), "differentiable": out.requires_grad, "x": x.detach().clone()}
    if run.then == "write on input" and model.mode != "step" and run.layout != "expanded":
        x.detach().fill_(7.0)
    elif run.then == "write on output" and model.mode != "step":
        out.detach().fill_(7.0)
    if other is not None:
        found |= {f"other {name}": value for name, value in gradients(model, run, other, x).items()}
    found |= gradients(model, run, out, x)
    return found


def gradients(model: SpikingNet, run: Run, out: Tensor, *xs: Tensor) -> Results:
    """Return the gradients of inputs and weights, for random cotangents of all that carries a graph."""
    roots = [root for root in (out, *attached(model)) if root.requires_grad]
    leaves = wanted(model, run, *xs)
    if not roots or not leaves:
        return {}
    found: Results = {}
    cotangents = [cotangent(root, run.seed + k) for k, root in enumerate(roots)]
    if run.then == "backward":
        torch.autograd.backward(roots, cotangents, retain_graph=True)
        found = {f"d {name}": leaf.grad for name, leaf in leaves.items() if leaf.is_leaf and leaf.grad is not None}
        model.zero_grad()
        return found
    for turn in range(1 + (run.then == "backward twice")):
        each = torch.autograd.grad(
            roots, [*leaves.values()], cotangents, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        found |= {f"d {name}{' again' * turn}": value for name, value in zip(leaves, each, strict=True)}
    return found


def attached(model: SpikingNet) -> list[Tensor]:
    """Return what layers remember with its graph."""
    layers = [layer for layer in model.net.modules() if isinstance(layer, StepLayer)]
    kept = tree_leaves([getattr(layer, what, None) for layer in layers for what in ("v", "s", "act")])
    return [value for value in kept if isinstance(value, Tensor) and value.requires_grad]


def wanted(model: SpikingNet, run: Run, *xs: Tensor) -> dict[str, Tensor]:
    leaves = {f"x{k}": x for k, x in enumerate(xs)} | dict(model.named_parameters())
    if run.grad in ("weights", "input"):
        leaves = {name: leaf for name, leaf in leaves.items() if (name == "x0") == (run.grad == "input")}
    return {name: leaf for name, leaf in leaves.items() if leaf.requires_grad and not leaf.is_inference()}


def stream(model: SpikingNet, run: Run) -> Results:
    """Hand a train over in parts, and then as a whole."""
    x = run.train(shape_of(model))
    with run.recording():
        parts = [model(part, init=(k == 0)) for k, part in enumerate(x.split(1 + run.seed % 4, 1))]
        out = torch.cat(parts, 1)
    found = {"out": out.detach().clone()} | gradients(model, run, out, x)
    with run.recording():
        return found | {"whole": model(x).detach().clone()}


def threads(model: SpikingNet, run: Run) -> Results:
    """Call a model from several threads at once, the reference from one after another."""
    xs = [run.train(shape_of(model), salt) for salt in range(4)]
    found: Results = {}

    def work(k: int) -> None:
        try:
            with run.recording():
                out = model(xs[k])
            found.update({f"{name} in thread {k}": value for name, value in gradients(model, run, out, xs[k]).items()})
            found[f"out of thread {k}"] = out.detach().clone()
        except Exception as error:
            found[f"out of thread {k}"] = error

    workers = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(len(xs))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for worker in workers:
        worker.start()
        if model.mode == "step":
            worker.join()
    for worker in workers:
        worker.join(timeout=60.0)
        assert not worker.is_alive(), "a thread hangs"
    sys.setswitchinterval(interval)
    model.reset()
    return found


def transformed(model: SpikingNet, run: Run) -> Results:
    """Differentiate with torch.func, for all samples together and for each by itself."""
    # inside a transform, nobody sees a NaN
    x = run._replace(layout="plain").train(shape_of(model)).detach()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    if model.mode == "step":  # inside a transform, nobody can look at a margin
        with rng.preserved(x.device), suppress(Exception):
            copy.deepcopy(model)(x.clone())  # for the network may write on its input

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, weights, (x,))
        return (out.flatten(1) * torch.linspace(-1, 1, out.shape[1:].numel(), dtype=out.dtype)).sum()

    grad, vmap = torch.func.grad, torch.func.vmap
    several = {name: torch.stack([weight, 1.1 * weight]) for name, weight in weights.items()}
    ways: list[Callable[[], Any]] = [
        lambda: grad(loss)(weights, x),
        lambda: vmap(grad(loss), (None, 0))(weights, x.unsqueeze(1)),
        lambda: vmap(grad(loss), (0, None))(several, x),
        lambda: torch.func.jvp(loss, (weights, x), (weights, torch.ones_like(x)))[1],
    ]
    try:
        found = tree_leaves(ways[run.seed % len(ways)]())
    finally:
        model.reset()
    return {f"d {k}": value.detach() for k, value in enumerate(found)}


def curvature(model: SpikingNet, run: Run) -> Results:
    """Differentiate twice."""
    x = run.train(shape_of(model))
    out = model(x)
    leaves = list(wanted(model, run, x).values())
    if not (out.requires_grad and leaves):
        return {}
    given = cotangent(out, run.seed)
    first = torch.autograd.grad(out, leaves, given, create_graph=True, allow_unused=True, materialize_grads=True)
    size = sum([(each * each).sum() for each in first], torch.zeros((), dtype=torch.float64))
    if not size.requires_grad:
        return {}
    second = torch.autograd.grad(size, leaves, allow_unused=True, materialize_grads=True)
    return {f"d d {k}": each.detach() for k, each in enumerate(second)}


WAYS: dict[str, Callable[[SpikingNet, Run], Results]] = {
    "call": call,
    "stream": stream,
    "threads": threads,
    "transform": transformed,
    "second derivatives": curvature,
}


def shape_of(model: SpikingNet) -> tuple[int, ...]:
    net: Any = model.net
    shape: tuple[int, ...] = net.takes
    return shape
