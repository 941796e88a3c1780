"""A spiking layer as a module of Equinox: any step, whose parameters learn, in ``spikingtorch.jax.scan``.

It needs JAX, optax and Equinox: .venv/bin/pip install 'spikingtorch[jax-examples]'.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import torch

from examples.jax_training import load, minibatches, say
from examples.training import parse_options
from spikingtorch import jax as snn

NSTEPS = 8


class Spiking(eqx.Module):
    """Neurons over time: a step, the type of its state, and parameters, which learn."""

    step: Callable[..., Any] = eqx.field(static=True)
    state: Callable[..., Any] = eqx.field(static=True)
    params: dict[str, jax.Array]

    def __call__(self, xs: jax.Array) -> jax.Array:
        """Map currents (T, ...) to spikes."""
        spikes: jax.Array = snn.scan(self.step, self.state(jnp.zeros(xs.shape[1:])), xs, params=self.params)[1]
        return spikes


def leaky(state: snn.LIFState, x: jax.Array, *, log_tau: jax.Array) -> tuple[snn.LIFState, jax.Array]:
    """Advance LIF, whose time constant stays positive whatever its logarithm learns."""
    return snn.lif_step(state, x, decay=jnp.exp(-jnp.exp(-log_tau)))


class Network(eqx.Module):
    """Two convolutions and a linear layer, each with neurons behind it."""

    layers: list[tuple[Any, Spiking]]

    def __init__(self, key: jax.Array) -> None:
        conv1, conv2, linear = jax.random.split(key, 3)
        last = eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(1200, 10, key=linear)])
        synapses = [eqx.nn.Conv2d(1, 8, 4, stride=2, key=conv1), eqx.nn.Conv2d(8, 12, 4, key=conv2), last]
        self.layers = [(each, Spiking(leaky, snn.LIFState, {"log_tau": jnp.log(8.0)})) for each in synapses]

    def __call__(self, image: jax.Array) -> jax.Array:
        """Map an image (1, 28, 28), which is a constant current, to counts of spikes (10,)."""
        x = jnp.broadcast_to(image, (NSTEPS, *image.shape))
        for synapses, neurons in self.layers:
            x = neurons(jax.vmap(synapses)(x))
        return x.sum(0)


@eqx.filter_jit
def counts(model: Network, images: jax.Array) -> jax.Array:
    """Return the counts of spikes of images (N, 1, 28, 28)."""
    return jax.vmap(model)(images)


@eqx.filter_jit
def update(optimizer: Any, model: Network, state: Any, images: jax.Array, labels: jax.Array) -> tuple[Network, Any]:
    """Take one step of training on the cross entropy of the counts."""

    def loss(model: Network) -> jax.Array:
        losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(counts(model, images), labels)
        return losses.mean()

    changes, state = optimizer.update(eqx.filter_grad(loss)(model), state)
    return eqx.apply_updates(model, changes), state


def main() -> None:
    """Train on the command line's options."""
    options = parse_options(__doc__)
    torch.manual_seed(0)  # it shuffles the images
    train, (images, labels) = load(options)
    model = Network(jax.random.key(0))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.008, options.epochs * len(train) // 32))
    state = optimizer.init(eqx.filter(model, eqx.is_array))
    for epoch in range(1, options.epochs + 1):
        for _, batch in minibatches(train, options, epoch):
            model, state = update(optimizer, model, state, *batch)
        say(epoch, options, (counts(model, images).argmax(1) == labels).mean())


if __name__ == "__main__":
    main()
