"""State dicts of other libraries load into layers of spikingtorch.like, without a warning, and give the same spikes."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
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


def _of(theirs: Any, ours: Any, run: Callable[[Any, Tensor], Tensor], kind: str) -> Callable[..., Checkpoint]:
    """Return what makes a checkpoint of a class that has the same name in a library and in ours."""

    def checkpoint(there: Sequence[Any] = (), here: Sequence[Any] = (), **options: Any) -> Checkpoint:
        """Take positional arguments of theirs and of ours, and options of both, made anew where they are functions."""

        def made() -> dict[str, Any]:
            return {key: each() if callable(each) else each for key, each in options.items()}

        return Checkpoint(
            lambda: getattr(theirs, kind)(*there, **made()), lambda: getattr(ours, kind)(*here, **made()), run
        )

    return checkpoint


_snn, _node = partial(_of, snntorch, like.snntorch, _snntorch), partial(_of, neuron, jelly, _spikingjelly)
_cell, _sinabs_layer = partial(_of, norse, like.norse, _norse), partial(_of, sinabs, like.sinabs, _sinabs)
CHECKPOINTS = {
    "Leaky": _snn("Leaky")([0.8], [0.5]),
    "Leaky learned": _snn("Leaky")([0.8], [0.5], learn_beta=True, learn_threshold=True),
    "Lapicque": Checkpoint(lambda: snntorch.Lapicque(R=2.0, C=1.5), lambda: ours.Lapicque(R=1.0, C=2.0), _snntorch),
    "Synaptic": _snn("Synaptic")([0.6, 0.8], [0.1, 0.2]),
    "Alpha": _snn("Alpha")([0.9, 0.6], [0.5, 0.2]),
    "RLeaky": _snn("RLeaky")([0.8], [0.5], linear_features=M),
    "RLeaky one to one": _snn("RLeaky")([0.8, 0.4], [0.5], all_to_all=False),
    "RLeaky fixed": _snn("RLeaky")([0.8, 0.4], [0.5], all_to_all=False, learn_recurrent=False),
    "RSynaptic": _snn("RSynaptic")([0.7, 0.8], [0.5, 0.5], linear_features=M),
    "LIFNode": _node("LIFNode")([3.0], [3.0]),
    "ParametricLIFNode": _node("ParametricLIFNode")([3.0]),
    "KLIFNode": _node("KLIFNode")(),
    "SynapseFilter": _of(layer, jelly, _spikingjelly, "SynapseFilter")([4.0], [9.0], learnable=True),
    "LinearRecurrentContainer": Checkpoint(
        lambda: layer.LinearRecurrentContainer(neuron.IFNode(), M, M),
        lambda: jelly.LinearRecurrentContainer(jelly.IFNode(), M, M),
        _spikingjelly,
    ),
    "LIFCell": _cell("LIFCell")(),
    **{
        kind: _cell(kind)([M, M], [M, M])
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
    "sinabs ALIF": _sinabs_layer("ALIF")([5.0, 8.0], [2.0, 3.0], norm_input=False),
    "sinabs ExpLeak": _sinabs_layer("ExpLeak")([5.0], [2.0]),
    "sinabs LIFRecurrent": Checkpoint(
        lambda: sinabs.LIFRecurrent(5.0, nn.Linear(M, M), tau_syn=3.0),
        lambda: like.sinabs.LIFRecurrent(2.0, nn.Linear(M, M), tau_syn=2.0),
        _sinabs,
    ),
    "sinabs ALIFRecurrent": _sinabs_layer("ALIFRecurrent")([5.0, 8.0], [2.0, 3.0], rec_connect=lambda: nn.Linear(M, M)),
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
