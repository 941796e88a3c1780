"""Layers of chips as integers: beside their float layers, and beside the oracle of the chips' own order of events."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikingtorch import LoihiLIF, SpeckIAF, SpikingNet, XyloLIF
from spikingtorch.quantize import IntegerError, IntegerModel, certify, proof, to_integer
from tests.quantize import random_chips
from tests.quantize.descriptions import Linear, Loihi, Network, Speck, Xylo
from tests.quantize.float_networks import F32, filled, real
from tests.quantize.oracle import run
from tests.quantize.oracle_chips import xylo_by_events

pytestmark = pytest.mark.sampled

# bits after the point of the layers' membranes
N = 8


def network(seed: int, chip: str) -> Network:
    found: Network = getattr(random_chips, f"draw_{chip}")(seed)
    return found


def model_of(described: Network) -> tuple[SpikingNet, Tensor]:
    """Return the layer of a chip behind its weights, and its input."""
    given, node = described.nodes
    assert isinstance(given, Linear)
    bits = N - 6 if isinstance(node, Loihi) else N
    weight = real(given.weight, bits, F32)
    bias = None if given.bias is None else real(given.bias, bits, F32)
    fc = filled(nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None), weight, bias)
    layer: Any
    if isinstance(node, Loihi):
        decays = torch.as_tensor(node.du), torch.as_tensor(node.dv)
        layer = LoihiLIF(*decays, real(node.vth, bits, F32), real(node.bias, N, F32), fraction_bits=N)
    elif isinstance(node, Xylo):
        dashes = torch.as_tensor(node.dash_mem), torch.as_tensor(node.dash_syn)
        options: dict[str, Any] = {"most_spikes": node.max_spikes, "fraction_bits": N}
        if node.bias is not None:
            options["bias"] = real(node.bias, N, F32)
        if node.recurrent is not None:
            size = len(node.recurrent)
            options["recurrent"] = filled(nn.Linear(size, size, bias=False), real(node.recurrent, N, F32))
        layer = XyloLIF(*dashes, real(node.threshold, N, F32), **options)
    else:
        assert isinstance(node, Speck)
        layer = SpeckIAF(node.threshold * 2.0**-N, node.low * 2.0**-N, fraction_bits=N)
    return SpikingNet(nn.Sequential(fc, layer), mode="step", warn_silent=False), real(described.x, 0, F32)


def lowered(described: Network) -> tuple[IntegerModel | None, SpikingNet, Tensor]:
    model, x = model_of(described)
    try:
        return to_integer(model, x, described.input_range), model, x
    except IntegerError as error:
        if error.rule not in ("sums", "events"):
            raise
        return None, model, x


@pytest.mark.parametrize("chip", ["loihi", "speck"])
def test_a_chip_equals_its_layer_and_the_oracle(chip: str) -> None:
    proven = spikes = 0
    for seed in range(12):
        described = network(seed, chip)
        integer, model, x = lowered(described)
        if integer is None:
            continue
        found = certify(model, integer, x)
        assert found.equal, f"{seed}\n{found}"
        trace = run(described)[0]
        assert (integer.run(x).out == trace.spikes).all(), seed
        proven, spikes = proven + 1, spikes + found.rows[0].spikes
    assert proven > 4
    assert spikes > 100


def quiet(seed: int) -> Network:
    """Return a layer of Xylo with small weights, whose current cannot saturate in many draws."""
    described = network(seed, "xylo")
    given, node = described.nodes
    assert isinstance(given, Linear)
    assert isinstance(node, Xylo)
    rng = np.random.default_rng(seed)
    weight = rng.integers(-40, 80, given.weight.shape)
    recurrent = None if node.recurrent is None else rng.integers(-4, 4, node.recurrent.shape)
    numbers = (rng.integers(1, 3, len(weight)), np.clip(node.threshold, 1, 300), node.bias, node.max_spikes)
    layer = Xylo(node.shape, node.dash_mem, numbers[0], numbers[1], numbers[2], numbers[3], recurrent)
    return Network((Linear(weight, None, 0), layer), described.input_shape, 0, described.input_range, described.x, seed)


def test_xylo_equals_its_layer_and_the_chips_own_order_of_events() -> None:
    proven = spikes = 0
    for seed in range(16):
        described = quiet(seed)
        integer, model, x = lowered(described)
        if integer is None:
            continue
        assert certify(model, integer, x).equal, seed
        given, node = described.nodes
        assert isinstance(given, Linear)
        assert isinstance(node, Xylo)
        trace = xylo_by_events(node, described.x, given.weight)
        assert (integer.run(x).out == trace.spikes).all(), seed
        proven, spikes = proven + 1, spikes + int(trace.spikes.sum())
    assert proven > 4
    assert spikes > 100


def test_xylo_is_refused_where_the_order_of_events_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [seed for seed in range(12) if lowered(network(seed, "xylo"))[0] is None][:8]
    assert len(refused) > 4
    with pytest.raises(IntegerError, match="layer '1': its current saturates at each event, and may reach") as caught:
        to_integer(*model_of(network(refused[0], "xylo")))
    assert caught.value.rule == "events"
    monkeypatch.setattr(proof, "_check_events", lambda *_: None)
    different = 0
    for seed in refused:
        described = network(seed, "xylo")
        integer = lowered(described)[0]
        given, node = described.nodes
        assert isinstance(given, Linear)
        assert isinstance(node, Xylo)
        if integer is not None:
            own_order = xylo_by_events(node, described.x, given.weight)
            different += bool((integer.run(described.x).out != own_order.spikes).any())
    assert different > 0


@pytest.mark.parametrize("dash", [0, 1, 3])
def test_the_bound_of_xylos_current_is_exact_to_a_unit(dash: int) -> None:
    # (weight + 1) 2**dash is just within the register, and one more is not
    fits = (2**15 - 1 >> dash) - 1
    for weight in (fits, fits + 1):
        fc = filled(nn.Linear(1, 1, bias=False), torch.full((1, 1), weight * 2.0**-N))
        layer = XyloLIF(1, dash, 100.0, fraction_bits=N)
        model = SpikingNet(nn.Sequential(fc, layer), mode="step", warn_silent=False)
        x = torch.ones(1, 200, 1)
        if weight > fits:
            with pytest.raises(IntegerError, match=f"may reach {(weight + 1) << dash} on the way"):
                to_integer(model, x)
            continue
        i = to_integer(model, x).run(x, record=True).records["1"].i
        assert (fits - 1) << dash <= i.max() + weight < 2**15


def speck(x: Tensor, **options: Any) -> SpikingNet:
    fc: Any = filled(nn.Linear(2, 2, bias=False), torch.eye(2))
    return SpikingNet(nn.Sequential(fc, SpeckIAF(**options)), mode="step", warn_silent=False).to(x.dtype)


def test_speck_with_a_recurrence_is_refused_because_its_numbers_grow_without_a_bound() -> None:
    back: Any = filled(nn.Linear(2, 2, bias=False), 3 * torch.eye(2))
    x = torch.ones(1, 20, 2)
    with pytest.raises(IntegerError, match="its sums have no bound"):
        to_integer(speck(x, recurrent=back), x)
    narrow, wide = (speck(each, recurrent=back)(each).double() for each in (x, x.double()))
    assert torch.equal(wide[0, :, 0], (3.0 ** torch.arange(1, 21).double() - 1) / 2)
    assert (narrow != wide).any()


def test_speck_with_several_lower_limits_is_refused_because_a_register_has_one() -> None:
    x = torch.tensor([-1.0, 1.0]).repeat_interleave(5).repeat(4)[None, :, None].expand(1, 40, 2)
    model = speck(x, v_min=torch.tensor([-1.0, -2.0]))
    with pytest.raises(IntegerError, match="its v_min differs from neuron to neuron"):
        to_integer(model, x)
    for limit in (-1.0, -2.0):
        written = to_integer(speck(x, v_min=limit), x)
        assert (model(x).detach().numpy() != written.run(x).out).any()
