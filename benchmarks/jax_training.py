"""Training on digits in JAX: a loop of optax over minibatches, jitted whole, with neurons by ``spikingtorch.jax``."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.subject import Observation, Subject
from benchmarks.suite import BOTH, CONVOLUTIONS, CURRENTS, DECAY, TRAINING, Case
from examples.data import load
from spikingtorch import jax as snn

Weights = Any  # a list of arrays
Fire = Callable[[Any, Any, jax.Array], jax.Array]  # from a step, its state and currents (T, B, ...) to spikes
HIDDEN, MINIBATCHES = 1024, 8


def leaky(state: snn.LIFState, x: jax.Array) -> tuple[snn.LIFState, jax.Array]:
    """Advance LIF."""
    return snn.lif_step(state, x, decay=DECAY)


def currents(weights: Weights, images: jax.Array, T: int, fire: Fire) -> jax.Array:
    """Return the logits of images (B, 784): a product drives LIF at every step, and its rates are read."""
    constant = images @ weights[0]
    rates = fire(leaky, snn.LIFState, jnp.broadcast_to(constant, (T, *constant.shape))).mean(0)
    return rates @ weights[1]


def convolutions(weights: Weights, images: jax.Array, T: int, fire: Fire) -> jax.Array:
    """Return the spike counts of the tutorial's network for Poisson spikes of images (B, 784)."""
    key = jax.random.key(0)
    x = jax.random.bernoulli(key, images, (T, *images.shape)).astype(jnp.float32).reshape(-1, 1, 28, 28)

    def neurons(currents: jax.Array) -> jax.Array:
        return fire(snn.if_step, snn.IFState, currents.reshape(T, -1, *currents.shape[1:])).reshape(currents.shape)

    for weight, stride in zip(weights[:2], (2, 1), strict=True):
        x = neurons(jax.lax.conv_general_dilated(x, weight, (stride, stride), "VALID"))
    return neurons(x.reshape(len(x), -1) @ weights[2]).reshape(T, len(images), -1).sum(0)


# the network, the shapes of its weights, and a gain with which every layer spikes
MODELS: dict[str, tuple[Callable[..., jax.Array], list[tuple[int, ...]], float]] = {
    CURRENTS: (currents, [(784, HIDDEN), (HIDDEN, 10)], 1.0),
    CONVOLUTIONS: (convolutions, [(4, 1, 4, 4), (6, 4, 4, 4), (600, 10)], 2.0),
}


def drawn(model: str) -> Weights:
    """Return the first weights of a network, normal."""
    _, shapes, gain = MODELS[model]
    draw = np.random.default_rng(0)
    fan_in = [shape[0] if len(shape) == 2 else int(np.prod(shape[1:])) for shape in shapes]
    sizes = zip(shapes, fan_in, strict=True)
    return [jnp.asarray(gain / np.sqrt(n) * draw.standard_normal(shape), jnp.float32) for shape, n in sizes]


def subject(case: Case, backend: Any) -> Subject:
    """Return some minibatches of training as one jitted call; what of it is compared are the losses and the weights."""
    network, (T, B, _) = MODELS[case.model][0], case.size
    images, labels = load("digits")[0][: MINIBATCHES * B]
    data = jnp.asarray(images.numpy().reshape(MINIBATCHES, B, -1)), jnp.asarray(labels.int().numpy().reshape(-1, B))
    weights = drawn(case.model)
    optimizer = optax.adam(1e-3)

    def fire(step: Any, state: Any, currents: jax.Array) -> jax.Array:
        return snn.scan(step, state(jnp.zeros(currents.shape[1:])), currents, backend=backend)[1]

    def loss(weights: Weights, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = network(weights, images, T, fire)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def update(before: tuple[Weights, Any], minibatch: tuple[jax.Array, ...]) -> tuple[tuple[Weights, Any], jax.Array]:
        value, gradient = jax.value_and_grad(loss)(before[0], *minibatch)
        changes, state = optimizer.update(gradient, before[1])
        return (optax.apply_updates(before[0], changes), state), value

    train = jax.jit(lambda weights, data: jax.lax.scan(update, (weights, optimizer.init(weights)), data))

    wait: Callable[[Any], object] = jax.block_until_ready

    def call() -> object:
        return wait(train(weights, data))

    def observe(_: Any) -> Observation:
        (trained, _), losses = train(weights, data)
        return np.asarray(losses), [np.asarray(weight) for weight in trained]

    return Subject({TRAINING: call, BOTH: call}, observe)
