"""Recurrent networks of Higuchi et al. (ICML 2024, arXiv:2402.14603), ours and their equations as a loop over time.

With a clone of https://github.com/AdaptiveAILab/brf-neurons in the variable ``BRF_NEURONS``, also their code, scripted.
"""

import importlib
import os
import sys
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.subject import Trained
from benchmarks.suite import OURS, Case, Size
from spikingtorch import SpikingNet
from spikingtorch.losses import per_step_cross_entropy
from spikingtorch.models import load_authors
from tests.models import higuchi

EQUATIONS, SCRIPTED = "eager loop", "their code, scripted"
CLONE = os.environ.get("BRF_NEURONS")
CONTESTANTS = (OURS, EQUATIONS, *([SCRIPTED] if CLONE else []))
REFERENCE, CHECKED, CHECKED_IN = EQUATIONS, Size(T=40, B=3, N=4), torch.float64
# the parameters of neurons, theirs and ours
NEURONS = {
    "BRF": (("omega", "omega"), ("b_offset", "offset")),
    "RF": (("omega", "omega"), ("b_offset", "damping")),
    "ALIF": (("tau_mem", "tau"), ("tau_adp", "tau_adaptation")),
}
# the class of their code
NETWORKS = {"BRF": "SimpleResRNN", "RF": "SimpleVanillaRFRNN", "ALIF": "SimpleALIFRNN"}
M, CLASSES = 36, 6


def drawn(model: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return weights in the form of theirs, drawn as for electrocardiograms."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        own = {"tau_mem": 20.0 + 0.5 * torch.randn(M), "tau_adp": 7.0 + 0.2 * torch.randn(M)}
        if model != "ALIF":
            own = {"omega": 3.0 + 2.0 * torch.rand(M), "b_offset": 0.1 + 0.9 * torch.rand(M)}
        weights = {f"hidden.{name}": value for name, value in own.items()}
        # resonate-and-fire neurons are silent before they have learned
        gain = 1.0 if model == "ALIF" else 60.0
        weights |= {"hidden.linear.weight": gain * nn.init.xavier_uniform_(torch.empty(M, 4 + M))}
        weights |= {"out.tau_mem": 20.0 + torch.randn(CLASSES)}
        weights |= {"out.linear.weight": nn.init.xavier_uniform_(torch.empty(CLASSES, M))}
    return {name: value.to(dtype) for name, value in weights.items()}


class Equations(nn.Module):
    """The equations step by step, on the parameters of a network of ours."""

    def __init__(self, net: SpikingNet, model: str) -> None:
        super().__init__()
        self.net, self.model = net, model

    def forward(self, xs: Tensor) -> Tensor:
        """Return membranes (N, T, classes)."""
        layers: Any = self.net.net
        hidden = layers.hidden
        own = {there: getattr(hidden, here) for there, here in NEURONS[self.model]}
        own |= {"linear.weight": torch.cat([layers.input.weight, hidden.recurrent.weight], 1)}
        weights = {f"hidden.{name}": value for name, value in own.items()}
        weights |= {"out.tau_mem": layers.readout.tau, "out.linear.weight": layers.output.weight}
        return higuchi.network(self.model.lower(), weights, xs)[1]


def _scripted(model: str, weights: dict[str, Tensor]) -> nn.Module:
    """Return their network in TorchScript, from the clone."""
    sys.path.insert(0, str(CLONE))
    models = importlib.import_module("snn").models

    net: Any = getattr(models, NETWORKS[model])(4, M, CLASSES)
    net.load_state_dict(weights, strict=False)
    found: nn.Module = torch.jit.script(net)
    return found


def trained(case: Case, dtype: torch.dtype = torch.float32) -> Trained:
    """Return a network of a case with spikes (N, T, 4), a label for each step, and the sum of cross entropies."""
    generator, (T, B, inputs) = torch.Generator().manual_seed(1), case.size
    x = (torch.rand(B, T, inputs, generator=generator) < 0.08).to(dtype)
    labels = torch.randint(CLASSES, (B, T), generator=generator)
    weights = drawn(case.model, dtype)

    def loss(out: Tensor) -> Tensor:
        return per_step_cross_entropy(out, labels) * float(T)

    ours = load_authors(f"higuchi2024-ecg-{case.model.lower()}", weights).train()
    if case.contestant != SCRIPTED:
        net: nn.Module = ours if case.contestant == OURS else Equations(ours, case.model)
        return Trained(net, lambda: net(x), loss)
    theirs, turned = _scripted(case.model, weights), x.transpose(0, 1).contiguous()
    torch.testing.assert_close(theirs(turned)[0][:40].transpose(0, 1), ours(x[:, :40]))
    return Trained(theirs, lambda: theirs(turned)[0].transpose(0, 1), loss)
