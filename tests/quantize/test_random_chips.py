"""Random layers of the chips' neurons beside the oracle: every spike, membrane and current is the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from tests.quantize.descriptions import Linear, Loihi, Network, Speck, Whole, Xylo
from tests.quantize.float_networks import F32, F64, filled, real, unequal
from tests.quantize.oracle import run
from tests.quantize.random_chips import draw_loihi, draw_speck, draw_xylo

pytestmark = pytest.mark.sampled

DRAWS: dict[str, Callable[[int], Network]] = {"loihi": draw_loihi, "xylo": draw_xylo, "speck": draw_speck}
every_chip = pytest.mark.parametrize("chip", DRAWS)


def neurons(node: Loihi | Xylo | Speck, bits: int, dtype: torch.dtype) -> tuple[st.StepLayer, int]:
    """Return the layer for some bits of fraction, and the exponent of its weights."""
    if isinstance(node, Loihi):
        du, dv = torch.as_tensor(node.du), torch.as_tensor(node.dv)
        threshold, bias = real(node.vth, bits - 6, dtype), real(node.bias, bits, dtype)
        return st.LoihiLIF(du, dv, threshold, bias, fraction_bits=bits), bits - 6
    if isinstance(node, Speck):
        unit = 2.0**-bits
        return st.SpeckIAF(threshold=node.threshold * unit, v_min=node.low * unit, fraction_bits=bits), bits
    options: dict[str, Any] = {"most_spikes": node.max_spikes, "fraction_bits": bits}
    options |= {} if node.bias is None else {"bias": real(node.bias, bits, dtype)}
    if node.recurrent is not None:
        M = len(node.recurrent)
        options["recurrent"] = filled(nn.Linear(M, M, bias=False), real(node.recurrent, bits, dtype))
    shifts = (torch.as_tensor(node.dash_mem), torch.as_tensor(node.dash_syn))
    return st.XyloLIF(*shifts, real(node.threshold, bits, dtype), **options), bits


def build(network: Network, bits: int, dtype: torch.dtype, **options: Any) -> st.SpikingNet:
    linear, node = network.nodes
    assert isinstance(linear, Linear)
    assert isinstance(node, (Loihi, Xylo, Speck))
    layer, exponent = neurons(node, bits, dtype)
    outputs, inputs = linear.weight.shape
    bias: Whole | None = linear.bias
    dense = nn.Linear(inputs, outputs, bias is not None)
    weights = [real(each, exponent, dtype) for each in (linear.weight, bias) if each is not None]
    return st.SpikingNet(nn.Sequential(filled(dense, *weights), layer.to(dtype)), **options)


def different(network: Network, bits: int, dtype: torch.dtype, **options: Any) -> int:
    (trace,), (_, node) = run(network), network.nodes
    model = build(network, bits, dtype, **options)
    names = ("spikes", "v") if isinstance(node, Speck) else ("spikes", "v", "i")
    with torch.no_grad():
        seen = st.record(model, real(network.x, 0, dtype), names)["1"]
    wrong = unequal(seen["spikes"], trace.spikes, 0) + unequal(seen["v"], trace.v, bits)
    return wrong if isinstance(node, Speck) else wrong + unequal(seen["i"], trace.i, bits)


@every_chip
@pytest.mark.parametrize("seed", range(25))
def test_step_by_step(chip: str, seed: int) -> None:
    bits = (12, 8, 6, 14)[seed % 4]
    assert different(DRAWS[chip](seed), bits, F64 if seed % 5 == 4 else F32, mode="step") == 0


@every_chip
def test_in_kernels(chip: str) -> None:
    assert [different(DRAWS[chip](seed), 8, F32, mode="auto") for seed in range(8)] == [0] * 8


@pytest.mark.long
@every_chip
def test_many(chip: str) -> None:
    networks = [DRAWS[chip](seed) for seed in range(100, 500)]
    assert [different(network, 8, F32, mode="step") for network in networks] == [0] * 400
    assert [different(network, 10, F64, mode="auto") for network in networks] == [0] * 400
