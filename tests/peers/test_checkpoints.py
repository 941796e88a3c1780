"""State dicts of other libraries load into layers of spikingtorch.like, without a warning, and give the same spikes."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import norse.torch as norse
import pytest
import sinabs.layers as sinabs
import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import like

M = 6


class Checkpoint(NamedTuple):
    """A layer of theirs, ours with other numbers and weights, and how theirs runs over inputs (N, T, M)."""

    theirs: Callable[[], Any]
    ours: Callable[[], Any]
    run: Callable[[Any, Tensor], Tensor]


def _snntorch(layer: Any, x: Tensor) -> Tensor:
    layer.reset_mem()
    return torch.stack([layer(each)[0] for each in x.unbind(1)], 1)


def _spikingjelly(layer: Any, x: Tensor) -> Tensor:
    functional.reset_net(layer)
    return torch.stack([layer(each) for each in x.unbind(1)], 1)


def _norse(layer: Any, x: Tensor) -> Tensor:
    state, outs = None, []
    for each in x.unbind(1):
        out, state = layer(each, state)
        outs.append(out)
    return torch.stack(outs, 1)


def _sinabs(layer: Any, x: Tensor) -> Tensor:
    layer.reset_states()
    found: Tensor = layer(x)
    return found


ours, jelly = like.snntorch, like.spikingjelly
_IZHIKEVICH = norse.IzhikevichSpikingBehavior(
    norse.IzhikevichParameters(a=0.02, b=0.2, c=-65.0, d=6.0),
    norse.IzhikevichState(v=torch.tensor(-70.0), u=torch.tensor(-14.0)),
)
_OURS = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 6.0, "v_rest": -70.0, "u_rest": -70.0}
CHECKPOINTS = {
    "Leaky": Checkpoint(lambda: snntorch.Leaky(0.8, threshold=0.7), lambda: ours.Leaky(0.5), _snntorch),
    "Leaky learned": Checkpoint(
        lambda: snntorch.Leaky(0.8, learn_beta=True, learn_threshold=True),
        lambda: ours.Leaky(0.5, learn_beta=True, learn_threshold=True),
        _snntorch,
    ),
    "Lapicque": Checkpoint(lambda: snntorch.Lapicque(R=2.0, C=1.5), lambda: ours.Lapicque(R=1.0, C=2.0), _snntorch),
    "Synaptic": Checkpoint(lambda: snntorch.Synaptic(0.6, 0.8), lambda: ours.Synaptic(0.1, 0.2), _snntorch),
    "Alpha": Checkpoint(lambda: snntorch.Alpha(0.9, 0.6), lambda: ours.Alpha(0.5, 0.2), _snntorch),
    "RLeaky": Checkpoint(
        lambda: snntorch.RLeaky(0.8, linear_features=M), lambda: ours.RLeaky(0.5, linear_features=M), _snntorch
    ),
    "RLeaky one to one": Checkpoint(
        lambda: snntorch.RLeaky(0.8, V=0.4, all_to_all=False), lambda: ours.RLeaky(0.5, all_to_all=False), _snntorch
    ),
    "RLeaky fixed": Checkpoint(
        lambda: snntorch.RLeaky(0.8, V=0.4, all_to_all=False, learn_recurrent=False),
        lambda: ours.RLeaky(0.5, all_to_all=False, learn_recurrent=False),
        _snntorch,
    ),
    "RSynaptic": Checkpoint(
        lambda: snntorch.RSynaptic(0.7, 0.8, linear_features=M),
        lambda: ours.RSynaptic(0.5, 0.5, linear_features=M),
        _snntorch,
    ),
    "LIFNode": Checkpoint(lambda: neuron.LIFNode(3.0), lambda: jelly.LIFNode(3.0), _spikingjelly),
    "ParametricLIFNode": Checkpoint(
        lambda: neuron.ParametricLIFNode(3.0), lambda: jelly.ParametricLIFNode(), _spikingjelly
    ),
    "KLIFNode": Checkpoint(lambda: neuron.KLIFNode(), lambda: jelly.KLIFNode(), _spikingjelly),
    "SynapseFilter": Checkpoint(
        lambda: layer.SynapseFilter(4.0, learnable=True),
        lambda: jelly.SynapseFilter(9.0, learnable=True),
        _spikingjelly,
    ),
    "LinearRecurrentContainer": Checkpoint(
        lambda: layer.LinearRecurrentContainer(neuron.IFNode(), M, M),
        lambda: jelly.LinearRecurrentContainer(jelly.IFNode(), M, M),
        _spikingjelly,
    ),
    "LIFCell": Checkpoint(lambda: norse.LIFCell(), lambda: like.norse.LIFCell(), _norse),
    **{
        kind: Checkpoint(
            lambda kind=kind: getattr(norse, kind)(M, M),  # type: ignore[misc]
            lambda kind=kind: getattr(like.norse, kind)(M, M),  # type: ignore[misc]
            _norse,
        )
        for kind in (
            *("LIFRecurrentCell", "LIFRefracRecurrentCell", "LSNNRecurrentCell"),
            *("LIFExRecurrentCell", "LIFAdExRecurrentCell", "LIFAdExRefracRecurrentCell"),
        )
    },
    "IzhikevichRecurrentCell": Checkpoint(
        lambda: norse.IzhikevichRecurrentCell(M, M, _IZHIKEVICH),
        lambda: like.norse.IzhikevichRecurrentCell(M, M, like.norse.create_izhikevich_spiking_behavior(**_OURS)),
        _norse,
    ),
    "sinabs LIF": Checkpoint(
        lambda: sinabs.LIF(5.0, spike_threshold=torch.tensor(0.6), norm_input=False),
        lambda: like.sinabs.LIF(2.0, norm_input=False),
        _sinabs,
    ),
    "sinabs IAF": Checkpoint(lambda: sinabs.IAF(), lambda: like.sinabs.IAF(spike_threshold=2.0), _sinabs),
    "sinabs ALIF": Checkpoint(
        lambda: sinabs.ALIF(5.0, 8.0, norm_input=False), lambda: like.sinabs.ALIF(2.0, 3.0, norm_input=False), _sinabs
    ),
    "sinabs ExpLeak": Checkpoint(lambda: sinabs.ExpLeak(5.0), lambda: like.sinabs.ExpLeak(2.0), _sinabs),
    "sinabs LIFRecurrent": Checkpoint(
        lambda: sinabs.LIFRecurrent(5.0, nn.Linear(M, M), tau_syn=3.0),
        lambda: like.sinabs.LIFRecurrent(2.0, nn.Linear(M, M), tau_syn=2.0),
        _sinabs,
    ),
    "sinabs ALIFRecurrent": Checkpoint(
        lambda: sinabs.ALIFRecurrent(5.0, 8.0, nn.Linear(M, M)),
        lambda: like.sinabs.ALIFRecurrent(2.0, 3.0, nn.Linear(M, M)),
        _sinabs,
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_loads_without_a_warning(name: str) -> None:
    torch.manual_seed(0)
    case = CHECKPOINTS[name]
    theirs, mine = case.theirs(), case.ours()
    x = (50.0 if name.startswith("Izhikevich") else 4.0) * torch.rand(3, 30, M)
    want = case.run(theirs, x)  # and its state is in what it saves
    before, after = nn.Sequential(nn.Linear(M, M), theirs), nn.Sequential(nn.Linear(M, M), mine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after.load_state_dict(before.state_dict())
    with torch.no_grad():
        found = st.SpikingNet(nn.Sequential(mine))(x)
    assert want.any()
    torch.testing.assert_close(found, want.detach())


@pytest.mark.parametrize("kind", ["LIFRecurrentCell", "LSNNRecurrentCell"])
def test_a_seed_gives_the_weights_of_norse(kind: str) -> None:
    found = []
    for library in (norse, like.norse):
        torch.manual_seed(0)
        found.append(getattr(library, kind)(5, 7))
    assert torch.equal(found[1].input_weights, found[0].input_weights)
    assert torch.equal(found[1].recurrent_weights, found[0].recurrent_weights)
