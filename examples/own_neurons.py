"""Neurons of your own: one with dendrites, which you write, and a layer in which no two neurons are alike.

A point moves along a ring of sixteen sensors, and networks learn to tell its direction. No single step shows it: it
takes a memory. The neurons of the first network have three compartments, two dendrites and a soma. Those of the second
one are LIF neurons whose time constants and thresholds are drawn at random, and learn (N. Perez-Nieves et al., Nat.
Commun. 12 (2021), doi:10.1038/s41467-021-26022-3). Those of a third have no memory, and have to guess.
"""

import argparse
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples.training import accuracy, positive, train_epoch
from spikingtorch import LI, LIF, McPitts, SpikingNet, StepLayer
from spikingtorch import functional as F
from spikingtorch.testing import check_smooth, check_twin

SENSORS, STEPS, HIDDEN = 16, 30, 64


class Compartments(NamedTuple):
    """State of a neuron with dendrites: its three membranes. Any, since its twin in JAX has the same state."""

    soma: Any
    basal: Any
    apical: Any


class Currents(NamedTuple):
    """Input of a neuron with dendrites: a current into each of the two."""

    basal: Tensor
    apical: Tensor


def dendritic_step(
    state: Compartments,
    x: Currents,
    *,
    leak: Tensor | float,
    leak_apical: Tensor | float,
    coupling: Tensor | float,
    threshold: Tensor | float = 1.0,
    surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
    reset: F.Reset = F.by_subtraction,
) -> tuple[Compartments, Tensor]:
    """Advance a neuron of three compartments by one step of Euler's method.

        b[t] = b[t-1] + leak (x_basal[t] - b[t-1] + coupling (v[t-1] - b[t-1]))
        a[t] = a[t-1] + leak_apical (x_apical[t] - a[t-1] + coupling (v[t-1] - a[t-1]))
        u[t] = v[t-1] + leak (-v[t-1] + coupling (b[t-1] + a[t-1] - 2 v[t-1]))
        s[t] = H(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    A leak is the length of a step over a time constant. Conductances are in units of that of the leak.
    """
    v, b, a = state
    u = v + leak * (-v + coupling * (b + a - 2 * v))
    b = b + leak * (x.basal - b + coupling * (v - b))
    a = a + leak_apical * (x.apical - a + coupling * (v - a))
    v, spike, _, _ = F.fire(u, threshold, surrogate, reset)
    return Compartments(v, b, a), spike


def check() -> None:
    """Compare the step with its equations, written once more in JAX, and its gradient with finite differences."""
    import jax.numpy as jnp

    from spikingtorch.functional import jax_reference as J

    def twin(state: Compartments, x: Any, *, leak: Any, leak_apical: Any, coupling: Any) -> Any:
        g, rates = coupling, jnp.array([leak, leak, leak_apical])
        matrix = jnp.array([[-1 - 2 * g, g, g], [g, -1 - g, 0], [g, 0, -1 - g]])
        membranes = jnp.stack(state)
        inputs = jnp.stack([jnp.zeros_like(x[0]), x[0], x[1]])
        u, b, a = membranes + rates[:, None] * (matrix @ membranes + inputs)
        v, spike, _, _ = J.fire(u, 1.0, J.Sigmoid(5.0), J.by_subtraction)
        return Compartments(v, b, a), spike

    draws = torch.Generator().manual_seed(0)
    xs = Currents(*(4 * torch.rand(2, 12, 5, dtype=torch.float64, generator=draws)))
    state = F.zeros_state(Compartments, xs.basal[0])
    values = {"leak": 0.3, "leak_apical": 0.1, "coupling": 0.8}
    params = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    errors = check_twin(dendritic_step, twin, state, xs, params=params)
    print(f"dendritic_step and its twin agree to {max(errors.values()):.0e} in {', '.join(errors)}")
    check_smooth(dendritic_step, state, Currents(xs.basal[:4], xs.apical[:4]), params=params)
    print("scan:", F.explain_scan(dendritic_step, state, xs, params=params))


def moving_points(n: int) -> TensorDataset:
    """Return spikes (n, steps, sensors) of a point that moves along the ring, and its direction, 0 or 1."""
    labels, speeds = torch.randint(2, (n, 1)), 0.15 + 0.35 * torch.rand(n, 1)
    places = SENSORS * torch.rand(n, 1) + (2 * labels - 1) * speeds * torch.arange(STEPS)
    seen = nn.functional.one_hot(places.floor().long() % SENSORS, SENSORS)
    noise = torch.rand(n, STEPS, SENSORS)
    return TensorDataset(torch.where(noise < 0.05, 1 - seen, seen).float(), labels.flatten())


class DendriticNet(nn.Module):
    """One step of the first network: spikes of sensors (N, 16) to membranes (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.basal, self.apical = nn.Linear(SENSORS, HIDDEN), nn.Linear(SENSORS, HIDDEN)
        rates: dict[str, Any] = {"leak": 0.5, "leak_apical": 0.12, "coupling": torch.ones(HIDDEN)}
        self.neurons = StepLayer(dendritic_step, Compartments, surrogate=F.Arctan(), learnable=True, **rates)
        self.votes, self.readout = nn.Linear(HIDDEN, 2), LI(tau=20.0)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        """Advance one step."""
        spikes = self.neurons(Currents(10 * self.basal(x), 10 * self.apical(x)), init)
        membranes: Tensor = self.readout(self.votes(spikes), init)
        return membranes


def mixed_neurons(n: int) -> LIF:
    """Return LIF neurons whose time constants are gamma and whose thresholds are log-normally distributed."""
    tau = 1.0 + torch.distributions.Gamma(3.0, 3.0 / 5.0).sample((n,))
    threshold = (0.3 * torch.randn(n)).exp()
    return LIF(tau=tau, threshold=threshold, surrogate=F.Arctan(), learnable=("tau", "threshold"))


def network(neurons: nn.Module) -> nn.Module:
    """Return a network of other neurons; a layer in an nn.Sequential is handed init by SpikingNet."""
    inputs = nn.Linear(SENSORS, HIDDEN)
    nn.init.normal_(inputs.weight)
    return nn.Sequential(inputs, neurons, nn.Linear(HIDDEN, 2), LI(tau=20.0))


class Mean(nn.Module):
    """Decode membranes (N, T, 2) by their mean over time."""

    def forward(self, membranes: Tensor) -> Tensor:
        """Return the score of each class, shape (N, 2)."""
        return membranes.mean(1)


def main() -> None:
    """Train both networks, and one without a memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=positive, default=8)
    parser.add_argument("--batches", type=positive, help="stop each epoch after so many batches of 32 (default: all)")
    parser.add_argument("--check", action="store_true", help="check dendritic_step first; takes the package jax")
    options = parser.parse_args()
    if options.check:
        check()
    torch.manual_seed(0)
    train, test = moving_points(2000), moving_points(1000)
    mixed, memoryless = mixed_neurons(HIDDEN), McPitts(threshold=1.0, surrogate=F.Arctan())
    nets = {"dendrites": DendriticNet(), "mixed LIF": network(mixed), "no memory": network(memoryless)}
    for name, net in nets.items():
        model = SpikingNet(net, 2)
        print(model.explain(test[:1][0]))
        classify, optimizer = nn.Sequential(model, Mean()), torch.optim.Adam(net.parameters(), lr=0.005)
        loader = DataLoader(train, batch_size=32, shuffle=True)
        for epoch in range(1, options.epochs + 1):
            label = f"{name}   epoch {epoch:2}/{options.epochs}"
            loss = train_epoch(classify, loader, optimizer, label, options.batches)
            print(f"{label}   loss {loss:.3f}   test accuracy {accuracy(classify, test):6.1%}", flush=True)
    taus = mixed.get_parameter("tau").tolist()
    print(f"time constants of the LIF neurons: {min(taus):.1f} to {max(taus):.1f} steps")


if __name__ == "__main__":
    main()
