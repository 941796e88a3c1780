"""What is wrong, or unexpected, in the releases that spikingtorch.like equals; docs/unexpected.md tells of each."""

import copy
import gc
import math
import weakref
from typing import Any

import norse.torch as norse
import pytest
import sinabs.activation as activation
import sinabs.layers as sinabs
import snntorch
import torch
from norse.torch.functional.lif import LIFFeedForwardState, LIFState, lif_feed_forward_step, lif_step
from norse.torch.functional.threshold import threshold
from snntorch import surrogate
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from spikingtorch import like
from tests.peers.older_pairs import older


def _slope(function: object, *at: float) -> list[float]:
    u = torch.tensor(at, requires_grad=True)
    (found,) = torch.autograd.grad(function(u).sum(), u)  # type: ignore[operator]
    return [round(each, 6) for each in found.tolist()]


# ---- snnTorch 1.0.0


def test_snntorch_gives_float32_for_float64() -> None:
    spikes, membrane = snntorch.Leaky(beta=0.5)(torch.ones(1, dtype=torch.float64))
    assert (spikes.dtype, membrane.dtype) == (torch.float32, torch.float64)
    assert like.snntorch.Leaky(beta=0.5).double()(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


def test_snntorch_fires_above_the_threshold_though_its_documentation_says_at_it() -> None:
    spikes, _ = snntorch.Leaky(beta=0.5)(torch.ones(1))
    assert spikes.item() == 0.0
    assert surrogate.ATan.__doc__ is not None
    assert "U ≥ U" in surrogate.ATan.__doc__


def test_snntorch_sigmoid_is_nan_far_below_the_threshold() -> None:
    assert math.isnan(_slope(surrogate.sigmoid(slope=25), -4.0)[0])
    assert _slope(like.snntorch.sigmoid(slope=25), -4.0) == [0.0]


def test_snntorch_triangular_is_no_triangle() -> None:
    assert _slope(surrogate.triangular(threshold=1), -9.0, -0.1, 0.1, 9.0) == [1.0, 1.0, -1.0, -1.0]


def test_snntorch_lso_raises() -> None:
    with pytest.raises(TypeError):
        surrogate.LSO(slope=0.1)(torch.ones(1))


def test_snntorch_lapicque_does_not_decay_by_beta() -> None:
    for beta in (0.9, 0.3):
        layer = snntorch.Lapicque(beta=beta, threshold=10.0)
        _, membrane = layer(torch.zeros(1), torch.ones(1))
        assert membrane.item() == pytest.approx(1 + math.log(beta), abs=1e-6)
    assert membrane.item() < 0.0  # a beta below 1 / e turns the sign


def test_snntorch_lapicque_does_not_learn_beta() -> None:
    layer = snntorch.Lapicque(beta=0.9, threshold=10.0, learn_beta=True)
    before, _ = layer(torch.ones(1), torch.ones(1))[1], layer.reset_mem()
    with torch.no_grad():
        layer.beta.fill_(0.1)
    assert torch.equal(layer(torch.ones(1), torch.ones(1))[1], before)
    before.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        layer(torch.ones(1), torch.ones(1))[1].sum().backward()


def test_snntorch_alpha_cannot_learn_alpha() -> None:
    with pytest.raises(TypeError, match="cannot assign"):
        snntorch.Alpha(alpha=0.9, beta=0.8, learn_alpha=True)
    assert isinstance(like.snntorch.Alpha(alpha=0.9, beta=0.8, learn_alpha=True).alpha, torch.nn.Parameter)


def test_snntorch_alpha_subtracts_the_threshold_from_a_current() -> None:
    layer = snntorch.Alpha(alpha=0.9, beta=0.5, reset_mechanism="subtract")
    exciting, inhibiting, membrane = torch.ones(1), -0.5 * torch.ones(1), 1.5 * torch.ones(1)
    _, e, n, _ = layer(torch.zeros(1), exciting, inhibiting, membrane)
    assert (e.item(), n.item()) == (pytest.approx(0.9 - 1.0), 0.0)


def test_snntorch_rsynaptic_without_delay_raises() -> None:
    layer = snntorch.RSynaptic(alpha=0.5, beta=0.5, all_to_all=False, reset_delay=False)
    with pytest.raises(TypeError):
        layer(torch.ones(1))
    mended = like.snntorch.RSynaptic(alpha=0.5, beta=0.5, all_to_all=False, reset_delay=False)
    assert mended(torch.tensor([1.5])).item() == 1.0


def test_snntorch_beta_outside_of_its_range_gets_no_gradient() -> None:
    layer = snntorch.Leaky(beta=1.01, threshold=10.0, learn_beta=True)
    layer(torch.zeros(1), torch.ones(1))[1].sum().backward()
    assert layer.beta.grad.item() == 0.0


def test_snntorch_keeps_every_layer_that_was_ever_made() -> None:
    there = weakref.ref(snntorch.Leaky(beta=0.5))
    gc.collect()
    assert there() is not None
    gone = weakref.ref(like.snntorch.Leaky(beta=0.5))
    gc.collect()
    assert gone() is None


# ---- SpikingJelly 2.0.0


def test_spikingjelly_exponential_neuron_is_nan_after_an_overflow() -> None:
    inputs = [1.9, 0.0, 0.0]
    node = neuron.EIFNode(tau=2.0, delta_T=0.001)
    assert [math.isnan(node(torch.tensor([x])).item() + node.v.item()) for x in inputs] == [False, True, True]
    layer = like.spikingjelly.EIFNode(tau=2.0, delta_T=0.001)
    assert [layer(torch.tensor([x])).item() for x in inputs] == [0.0, 1.0, 0.0]


def test_spikingjelly_izhikevich_node_has_no_recovery_as_it_is() -> None:
    node = neuron.IzhikevichNode()
    for _ in range(20):
        node(torch.ones(1))
    assert node.w.item() == 0.0


def test_spikingjelly_liaf_node_gives_spikes_in_multi_step_mode() -> None:
    x = torch.full((4, 1), 1.5)
    outs = []
    for mode in ("s", "m"):
        node = neuron.LIAFNode(torch.relu, True, tau=2.0, step_mode=mode)
        outs.append(node(x) if mode == "m" else torch.stack([node(each) for each in x]))
    assert outs[1].unique().tolist() == [0.0, 1.0]
    assert not torch.equal(outs[0], outs[1])


def test_spikingjelly_takes_no_whole_numbers_and_does_not_say_so() -> None:
    with pytest.raises(AssertionError, match=r"^$"):
        neuron.LIFNode(tau=2)
    like.spikingjelly.LIFNode(tau=2)


# ---- Norse 1.1.0


def test_norse_fires_above_the_threshold() -> None:
    spikes, _ = norse.IAFCell(norse.IAFParameters(v_reset=torch.tensor(0.0)))(torch.ones(1))
    assert spikes.item() == 0.0


def test_norse_super_ignores_its_slope() -> None:
    slopes = [_slope(lambda u, alpha=alpha: threshold(u, "super", alpha), 0.1) for alpha in (1.0, 100.0)]
    assert slopes == [[round(1 / 1.1**2, 6)]] * 2


@pytest.mark.parametrize("method", ["tanh", "heavi_erfc"])
def test_norse_derivatives_lack_the_factor_of_their_slope(method: str) -> None:
    for alpha in (1.0, 4.0):
        steep = {"tanh": 0.5 * alpha, "heavi_erfc": alpha / math.sqrt(math.pi)}[method]  # of the function that it names
        found = _slope(lambda u, alpha=alpha: threshold(u, method, alpha), 0.0)[0]
        assert found == pytest.approx(2 * steep / alpha, abs=1e-5)


def test_norse_iaf_cell_changes_the_default_parameters_of_all_cells() -> None:
    default = norse.IAFParameters().v_reset
    default.requires_grad_(False)  # a test before this one may have made such a cell
    try:
        norse.IAFCell()(torch.ones(1))
        assert default.requires_grad
    finally:
        default.requires_grad_(False)


def _norse_gradient(recurrent: bool) -> tuple[list[float], list[float]]:
    x = torch.full((6, 1, 1), 4.0, requires_grad=True)
    p, zero = norse.LIFParameters(), torch.zeros(1, 1)
    state = LIFState(zero, zero, zero) if recurrent else LIFFeedForwardState(zero, zero)
    outs = []
    for each in x:
        if recurrent:
            out, state = lif_step(each, state, torch.eye(1), zero, p)
        else:
            out, state = lif_feed_forward_step(each, state, p)
        outs.append(out.sum())
    (slopes,) = torch.autograd.grad(torch.stack(outs).sum(), x)
    return [out.item() for out in outs], slopes.flatten().tolist()


def test_norse_detaches_the_reset_in_some_recurrent_cells_only() -> None:
    (spikes, detached), (others, attached) = _norse_gradient(True), _norse_gradient(False)
    assert spikes == others
    assert 1.0 in spikes
    assert detached != attached


def test_norse_lif_recurrent_cell_starts_in_float32() -> None:
    x = torch.ones(1, 2, dtype=torch.float64)
    state = norse.LIFRecurrentCell(2, 3).double().initial_state(x)
    assert (state.v.dtype, state.z.dtype) == (torch.float32, torch.float64)
    layer = like.norse.LIFRecurrentCell(2, 3).double()
    assert layer.initial_state(torch.ones(1, 3, dtype=torch.float64)).neuron.v.dtype == torch.float64


def test_norse_lsnn_cell_takes_its_input_a_step_later_than_lif_cell() -> None:
    x = torch.ones(1)
    assert norse.LIFCell()(x)[1].v.item() > 0.0
    assert norse.LSNNCell()(x)[1].v.item() == 0.0


def test_norse_refractory_cell_differentiates_the_count_of_steps() -> None:
    cell = norse.LIFRefracCell()
    x = torch.ones(1)
    state = cell.initial_state(x)
    rho = torch.full((1,), 3.0, requires_grad=True)
    _, after = cell(x, state._replace(rho=rho))
    (found,) = torch.autograd.grad(after.rho.sum(), rho)
    assert found.item() == pytest.approx(1 - 1 / 16)  # that of a count is 1


# ---- Sinabs 3.1.3


def test_sinabs_gives_float32_for_float64() -> None:
    assert sinabs.IAF().double()(torch.ones(1, 1, 1, dtype=torch.float64)).dtype == torch.float32


def test_sinabs_membrane_reset_adds_its_value_at_every_step() -> None:
    layer = sinabs.IAF(reset_fn=activation.MembraneReset(reset_value=0.25))
    layer(torch.zeros(1, 3, 1))
    assert layer.v_mem.item() == 0.75


def test_sinabs_loses_the_gradient_of_the_threshold() -> None:
    layer = sinabs.IAF(spike_threshold=torch.tensor(1.0), reset_fn=activation.MembraneReset())
    layer.spike_threshold.requires_grad_()
    spikes = layer(torch.full((1, 5, 1), 0.4, requires_grad=True))
    assert torch.autograd.grad(spikes.sum(), layer.spike_threshold, allow_unused=True) == (None,)


def test_sinabs_multi_spike_has_the_slope_of_the_first_threshold() -> None:
    x = torch.tensor([1.0, 3.0]).reshape(2, 1, 1).requires_grad_()
    (found,) = torch.autograd.grad(sinabs.IAF()(x).sum(), x)
    assert found.flatten().tolist() == pytest.approx([2.0, 2.0 * math.exp(-4.0)])


def _recorded(norm_input: bool, *inputs: float) -> dict[str, Tensor]:
    layer = sinabs.ALIF(tau_mem=10.0, tau_adapt=10.0, tau_syn=10.0, norm_input=norm_input, record_states=True)
    layer(torch.tensor(inputs).reshape(1, -1, 1))
    return {name: each.flatten() for name, each in layer.recordings.items()}


def test_sinabs_alif_normalises_its_current_at_every_step() -> None:
    for norm_input, gain in ((False, 1.0), (True, 1 - math.exp(-0.1))):
        current = _recorded(norm_input, 1.0, 0.0, 0.0)["i_syn"]
        assert (current[1] / current[0]).item() == pytest.approx(math.exp(-0.1) * gain)


def test_sinabs_alif_records_the_current_of_the_next_step() -> None:
    alone, followed = _recorded(False, 1.0)["i_syn"], _recorded(False, 1.0, 0.0)["i_syn"]
    assert alone[0].item() == pytest.approx(math.exp(-0.1))
    assert followed.tolist() == pytest.approx([math.exp(-0.2)] * 2)


def test_sinabs_alif_forgets_its_current_between_calls() -> None:
    layer = sinabs.ALIF(tau_mem=10.0, tau_adapt=10.0, tau_syn=10.0)
    x = torch.ones(1, 6, 1)
    layer(x)
    whole = layer.v_mem.clone()
    layer.reset_states()
    for part in x.split(3, dim=1):
        layer(part)
    assert not torch.equal(layer.v_mem, whole)
    ours: Any = like.sinabs.ALIF(tau_mem=10.0, tau_adapt=10.0, tau_syn=10.0)
    for step in x.unbind(1):
        ours(step)
    torch.testing.assert_close(ours.v, whole)


def test_sinabs_recurrent_layers_forget_what_comes_back_between_calls() -> None:
    connect = nn.Linear(1, 1)
    nn.init.constant_(connect.weight, 0.5)
    nn.init.constant_(connect.bias, 0.25)
    theirs = sinabs.IAFRecurrent(connect, spike_threshold=torch.tensor(10.0))
    x = torch.zeros(1, 4, 1)
    theirs(x)
    assert theirs.v_mem.item() == 0.75  # the bias of three steps out of four
    theirs.reset_states()
    for part in x.split(2, dim=1):
        theirs(part)
    assert theirs.v_mem.item() == 0.5
    ours: Any = like.sinabs.IAFRecurrent(connect, spike_threshold=10.0)
    for step in x.unbind(1):
        ours(step)
    assert ours.v.item() == 0.75


def test_sinabs_sum_pool_gives_no_gradient_to_windows_of_zeros() -> None:
    for pool in (sinabs.SumPool2d(2), like.sinabs.SumPool2d(2)):
        x = torch.zeros(1, 1, 2, 4)
        x[..., :2] = 1.0
        x.requires_grad_()
        out = pool(x)
        assert out.flatten().tolist() == [4.0, 0.0]
        (found,) = torch.autograd.grad(out.sum(), x)
        assert found[0, 0, 0].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_sinabs_draws_states_when_the_batch_size_changes() -> None:
    layer = sinabs.IAF(spike_threshold=torch.tensor(100.0))
    layer(torch.arange(8.0).reshape(8, 1, 1))
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        again = copy.deepcopy(layer)
        again(torch.zeros(4, 1, 1))
        drawn.append(again.v_mem.flatten().tolist())
    assert drawn[0] != drawn[1]


# ---- spikingtorch 0.1.3


def test_older_gives_half_a_spike_at_the_threshold() -> None:
    assert older().IF()(torch.ones(1), init=True).item() == 0.5
    assert like.older.IF()(torch.ones(1)).item() == 1.0


def test_older_spiking_decay_gives_out_the_spike_before() -> None:
    layer = older().SpikingDecay(tau=2.0)
    assert [layer(torch.tensor([1.5]), init=(t == 0)).item() for t in range(3)] == [0.0, 1.0, 1.0]
