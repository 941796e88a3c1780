"""The tutorial's network trained in JAX, on the twin; its weights then move to torch and give the same spikes.

It needs JAX and optax: .venv/bin/pip install jax optax.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from examples.data import load
from examples.if_mnist import Net
from examples.training import parse_options
from spikingtorch import SpikingNet
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.spikeio import poisson_spikes

Weights = dict[str, Any]
NSTEPS = 8


def fire(currents: jax.Array) -> jax.Array:
    """Return the spikes of integrate-and-fire neurons driven by currents (T * N, ...)."""
    trains = currents.reshape(NSTEPS, -1, *currents.shape[1:])
    _, spikes = J.scan(J.if_step, J.zeros_state(J.IFState, trains[0]), trains)
    return spikes.reshape(currents.shape)


def convolve(x: jax.Array, weight: jax.Array, bias: jax.Array, stride: int) -> jax.Array:
    """Return the convolution of images (N, C, H, W), as torch has it."""
    out: jax.Array = jax.lax.conv_general_dilated(x, weight, (stride, stride), "VALID")
    return out + bias[:, None, None]


def network(w: Weights, spikes: jax.Array) -> jax.Array:
    """Map input spikes (N, T, 1, 28, 28) to output spikes (N, T, 10)."""
    x = jnp.moveaxis(spikes, 1, 0).reshape(-1, *spikes.shape[2:])  # time is part of the batch between the neurons
    x = fire(convolve(x, w["conv1.weight"], w["conv1.bias"], stride=2))
    x = fire(convolve(x, w["conv2.weight"], w["conv2.bias"], stride=1))
    x = fire(x.reshape(len(x), -1) @ w["l1.weight"].T)
    return jnp.moveaxis(x.reshape(NSTEPS, -1, 10), 0, 1)


def loss(w: Weights, spikes: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the cross entropy of the spike counts."""
    losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(network(w, spikes).sum(1), labels)
    return losses.mean()


@partial(jax.jit, static_argnums=0)
def update(
    optimizer: optax.GradientTransformation, w: Weights, state: Any, spikes: jax.Array, labels: jax.Array
) -> tuple[Weights, Any]:
    """Take one step of training."""
    changes, state = optimizer.update(jax.grad(loss)(w, spikes, labels), state)
    updated: Any = optax.apply_updates(w, changes)
    return updated, state


def encode(images: Tensor, labels: Tensor) -> tuple[jax.Array, jax.Array]:
    """Return input spikes and labels as JAX arrays."""
    arrays: tuple[jax.Array, jax.Array] = to_jax((poisson_spikes(images, NSTEPS), labels.int()))
    return arrays


def main() -> None:
    """Train on the command line's options in JAX, then compare with torch."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    train, test = load(options.dataset)
    net = Net()
    # a copy: an array that shares memory with a parameter must not change with it
    w: Weights = jax.tree.map(jnp.copy, to_jax({name: weight.detach() for name, weight in net.named_parameters()}))
    optimizer = optax.adam(0.005)
    state = optimizer.init(w)
    spikes, labels = encode(*test.tensors)
    run = jax.jit(network)
    for epoch in range(1, options.epochs + 1):
        for batch, (images, targets) in enumerate(DataLoader(train, batch_size=32, shuffle=True)):
            if batch == options.batches:
                break
            w, state = update(optimizer, w, state, *encode(images, targets))
        reached = (run(w, spikes).sum(1).argmax(1) == labels).mean()
        print(f"epoch {epoch:2}/{options.epochs}   test accuracy {reached:6.1%}", flush=True)

    net.load_state_dict(net.state_dict() | to_torch(w))
    with torch.no_grad():
        out = SpikingNet(net, 10)(to_torch(spikes))
    equal = (out == to_torch(run(w, spikes))).float().mean()
    reached = (out.sum(1).argmax(1) == test.tensors[1]).float().mean().item()
    print(f"in torch     test accuracy {reached:6.1%}   {equal:.3%} of the output spikes are the same")


if __name__ == "__main__":
    main()
