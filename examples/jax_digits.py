"""The tutorial's network trained in JAX with plain functions and optax; its weights then give the same spikes in torch.

It needs JAX and optax: .venv/bin/pip install 'spikingtorch[jax-examples]'.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch

from examples.if_mnist import Net
from examples.jax_training import Batch, load, minibatches, say
from examples.training import parse_options
from spikingtorch import SpikingNet
from spikingtorch import jax as snn
from spikingtorch.interop import to_jax, to_torch

Weights = dict[str, Any]
NSTEPS, OPTIMIZER = 8, optax.adam(0.005)


def fire(currents: jax.Array) -> jax.Array:
    """Return the spikes of integrate-and-fire neurons driven by currents (T * N, ...)."""
    trains = currents.reshape(NSTEPS, -1, *currents.shape[1:])
    _, spikes = snn.scan(snn.if_step, snn.IFState(jnp.zeros_like(trains[0])), trains)
    return spikes.reshape(currents.shape)


def convolve(x: jax.Array, weight: jax.Array, bias: jax.Array, stride: int) -> jax.Array:
    """Return the convolution of images (N, C, H, W), as torch has it."""
    out: jax.Array = jax.lax.conv_general_dilated(x, weight, (stride, stride), "VALID")
    return out + bias[:, None, None]


def network(w: Weights, spikes: jax.Array) -> jax.Array:
    """Map input spikes (T, N, 1, 28, 28) to output spikes (T, N, 10)."""
    x = spikes.reshape(-1, *spikes.shape[2:])  # time is part of the batch between the neurons
    x = fire(convolve(x, w["conv1.weight"], w["conv1.bias"], stride=2))
    x = fire(convolve(x, w["conv2.weight"], w["conv2.bias"], stride=1))
    return fire(x.reshape(len(x), -1) @ w["l1.weight"].T).reshape(NSTEPS, -1, 10)


def encode(key: jax.Array, images: jax.Array) -> jax.Array:
    """Return Poisson spikes (T, N, 1, 28, 28) at the rates of images."""
    return jax.random.bernoulli(key, images, (NSTEPS, *images.shape)).astype(images.dtype)


@jax.jit
def update(w: Weights, state: Any, key: jax.Array, batch: Batch) -> tuple[Weights, Any]:
    """Take one step of training on the cross entropy of the spike counts."""

    def loss(w: Weights) -> jax.Array:
        counts = network(w, encode(key, batch[0])).sum(0)
        losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(counts, batch[1])
        return losses.mean()

    changes, state = OPTIMIZER.update(jax.grad(loss)(w), state)
    updated: Any = optax.apply_updates(w, changes)
    return updated, state


def main() -> None:
    """Train on the command line's options in JAX, then compare with torch."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    train, (images, labels) = load(options)
    net, spikes, run = Net(), encode(jax.random.key(0), images), jax.jit(network)
    # a copy: an array that shares memory with a parameter must not change with it
    w: Weights = jax.tree.map(jnp.copy, to_jax({name: weight.detach() for name, weight in net.named_parameters()}))
    state = OPTIMIZER.init(w)
    for epoch in range(1, options.epochs + 1):
        for key, batch in minibatches(train, options, epoch):
            w, state = update(w, state, key, batch)
        say(epoch, options, (run(w, spikes).sum(0).argmax(1) == labels).mean())

    net.load_state_dict(net.state_dict() | to_torch(w))
    with torch.no_grad():
        out = SpikingNet(net, 10, batch_first=False)(to_torch(spikes))
    equal = (out == to_torch(run(w, spikes))).float().mean()
    print(f"in torch, {equal:.3%} of the output spikes are the same")


if __name__ == "__main__":
    main()
