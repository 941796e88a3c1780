"""Layers of chips as integers: where their registers end, and which layers no register can hold."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import SpeckIAF, SpikingNet, XyloLIF
from spikingtorch.quantize import IntegerError, to_integer
from tests.quantize.float_networks import filled

# bits after the point of the layers' membranes
N = 8


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
