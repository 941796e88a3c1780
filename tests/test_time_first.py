"""Sequences (T, N, ...): whatever takes ``batch_first=False`` equals what takes (N, T, ...), axes exchanged."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import init, metrics, plot, spikeio
from spikingtorch.watching.recording import Recording
from tests.drawn import uniform
from tests.every_layer import leaves_of
from tests.folded_layer import Coded
from tests.losses.cases import CASES, Case

N, T, M = 3, 7, 5


def two(net: Any, x: Tensor, init: Any) -> tuple[Tensor, Tensor]:
    """Return two outputs, the latter one of images."""
    spikes = net.a(net.first(x), init)
    return spikes, net.b(net.second(spikes), init).unflatten(1, (M, 1))


def pair(mode: Any = "auto", **options: Any) -> tuple[st.SpikingNet, st.SpikingNet]:
    """Return one network twice, samples first and time first."""
    torch.manual_seed(0)
    neurons = {"a": st.LIF(tau=3.0, v0=0.3), "b": st.LI(tau=3.0)}
    net = Coded(two, first=nn.Linear(4, M), second=nn.Linear(M, M), **neurons).double()
    late = st.SpikingNet(copy.deepcopy(net), mode=mode, batch_first=False, **options)
    return st.SpikingNet(net, mode=mode, **options), late


def swapped(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.transpose(0, 1), tree)


drawn = functools.partial(uniform, seed=1, dtype=torch.float64)


@pytest.mark.parametrize("lengths", [None, [7, 2, 5]])
def test_records(lengths: Any) -> None:
    ours, theirs = pair()
    x = drawn(N, T, 4)
    options = {} if lengths is None else {"lengths": lengths}
    wanted = st.record(ours, x, ("spikes", "v"), steps=slice(1, None, 2), **options)
    got = st.record(theirs, x.transpose(0, 1), ("spikes", "v"), steps=slice(1, None, 2), **options)
    assert (wanted.batch_first, got.batch_first) == (True, False)
    for layer, records in wanted.items():
        for name, each in records.items():
            assert got[layer][name].shape == (3, N, M)
            assert torch.equal(got[layer][name], each.transpose(0, 1))
    assert all(map(torch.equal, leaves_of(got.out), leaves_of(swapped(wanted.out))))


def test_what_looks_at_a_network() -> None:
    torch.manual_seed(0)
    recurrent = st.LIF(recurrent=nn.Linear(64, 64, bias=False))  # each spike but those of the last step comes back
    net = nn.Sequential(nn.Linear(4, 64), recurrent, nn.Linear(64, 32), st.LIF())
    ours, theirs = st.SpikingNet(net), st.SpikingNet(copy.deepcopy(net), batch_first=False)
    x = drawn(N, T, 4).float()
    y = x.transpose(0, 1)
    assert st.summary(theirs, y) == st.summary(ours, x)
    assert init.to_rate_(theirs, y.repeat(1, 20, 1), 0.2) == init.to_rate_(ours, x.repeat(20, 1, 1), 0.2)
    pictures = [plot.overview(model, each).axes for model, each in ((ours, x), (theirs, y))]
    for wanted, got in zip(*pictures, strict=True):
        assert points(got) == points(wanted)


def test_nir() -> None:
    nir = pytest.importorskip("spikingtorch.interop.nir")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, M), st.LIF(v0=0.3))
    graph = nir.to_nir(st.SpikingNet(net, batch_first=False), drawn(T, N, 4).float())
    assert nir.verify_nir(graph, drawn(N, T, 4).float()).equal


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("lengths", [None, [6, 1, 4]])
def test_losses(case: Case, lengths: Any) -> None:
    x, target = case.draw(3, 6, torch.float64)
    x.requires_grad_()
    y = x.detach().transpose(0, 1).contiguous().requires_grad_()
    late = target.transpose(0, 1) if target is not None and target.ndim > 1 else target
    wanted, got = case.call(x, target, lengths), case.call(y, late, lengths, batch_first=False)
    assert torch.equal(got, wanted)
    cotangent = torch.randn_like(wanted)
    for out in (wanted, got):
        out.backward(cotangent)
    assert torch.equal(y.grad, x.grad.transpose(0, 1))  # type: ignore[arg-type, union-attr]


def test_metrics() -> None:
    spikes, target = (drawn(N, T, 4) < 0.4).double(), torch.tensor([0, 3, 1])
    for lengths in (None, [7, 2, 5]):
        for metric in (metrics.rate_accuracy, metrics.first_spike_accuracy):
            wanted = metric(spikes, target, lengths, reduction="none")
            got = metric(spikes.transpose(0, 1), target, lengths, reduction="none", batch_first=False)
            assert torch.equal(got, wanted)
        rate = metrics.firing_rate(spikes.transpose(0, 1), lengths, batch_first=False)
        assert torch.equal(rate, metrics.firing_rate(spikes, lengths))


DECODERS: list[Callable[..., nn.Module]] = [
    functools.partial(spikeio.SumDecoder, T),
    functools.partial(spikeio.RateDecoder, T),
    spikeio.FirstSpikeDecoder,
    spikeio.MaxMembraneDecoder,
]


@pytest.mark.parametrize("make", DECODERS)
@pytest.mark.parametrize("lengths", [None, [7, 2, 5]])
def test_decoders(make: Callable[..., nn.Module], lengths: Any) -> None:
    spikes = (drawn(N, T, 4) < 0.3).double()
    decoder = make(batch_first=False)
    assert torch.equal(decoder(spikes.transpose(0, 1), lengths), make()(spikes, lengths))
    assert "batch_first=False" in repr(decoder)
    assert "batch_first" not in repr(make())


ENCODERS: list[Callable[..., nn.Module]] = [
    functools.partial(spikeio.ConstantEncoder, T),
    functools.partial(spikeio.PoissonEncoder, T),
    functools.partial(spikeio.Poisson2D, T),
    functools.partial(spikeio.PeriodicEncoder, T),
    functools.partial(spikeio.LatencyEncoder, T),
    functools.partial(spikeio.PopulationEncoder, T, 4),
]


@pytest.mark.parametrize("make", ENCODERS)
def test_encoders(make: Callable[..., nn.Module]) -> None:
    x = drawn(N, 2, 4, 4)
    torch.manual_seed(0)
    wanted = make()(x)
    torch.manual_seed(0)
    got = make(batch_first=False)(x)
    assert torch.equal(got, wanted.transpose(0, 1))
    assert repr(make(batch_first=False)) == repr(make())[:-1] + ", batch_first=False)"


def test_delta_encoder() -> None:
    x = drawn(N, T, 4)
    got = spikeio.DeltaEncoder(0.3, batch_first=False)(x.transpose(0, 1))
    assert torch.equal(got, spikeio.DeltaEncoder(0.3)(x).transpose(0, 1))


def test_a_padded_batch() -> None:
    pairs = [(torch.rand(n, 2), n) for n in (3, 5)]
    x, lengths, targets = spikeio.pad_sequences(pairs)
    y, *others = spikeio.pad_sequences(pairs, batch_first=False)
    assert torch.equal(y, x.transpose(0, 1))
    assert [each.tolist() for each in others] == [lengths.tolist(), targets.tolist()]


def points(ax: Any) -> list[Any]:
    """Return where the marks and the lines of a picture are."""
    marks = [np.asarray(each.get_offsets()).tolist() for each in ax.collections]
    return marks + [line.get_xydata().tolist() for line in ax.lines]


def test_pictures() -> None:
    spikes = (drawn(N, T, 4) < 0.4).float()
    late = spikes.transpose(0, 1)

    recording = Recording({"a": {"spikes": late, "v": late}}, late, batch_first=False)
    same: list[tuple[Any, Any]] = [
        (plot.raster(spikes), plot.raster(late, batch_first=False)),
        (plot.raster({"a": spikes}), plot.raster(recording)),
        (plot.rates({"a": spikes}), plot.rates(recording)),
        (plot.rates(spikes), plot.rates(late, batch_first=False)),
        (
            plot.traces(spikes, spikes=spikes, threshold=0.5 * spikes),
            plot.traces(late, spikes=late, threshold=0.5 * late, batch_first=False),
        ),
    ]
    layers = {"a": {"spikes": spikes, "v": spikes}}
    pages = [plot.overview_of(layers, spikes, spikes), plot.overview_of(recording, late, late)]
    same += list(zip(*[page.axes for page in pages], strict=True))
    for wanted, got in same:
        assert points(got) == points(wanted)


def test_recordings_in_one_order_are_drawn_together() -> None:
    assert points(plot.raster({"input": LATE, **RECORDING}, batch_first=False))


NET, LATE = nn.Sequential(nn.Linear(4, 2), st.LIF()), (drawn(T, N, 4) < 0.4).float()
MODEL, RECORDING = st.SpikingNet(NET, batch_first=False), Recording({"a": {"spikes": LATE}}, LATE, batch_first=False)
SPIKES, STEPS = torch.ones(5, 2, 3), r"expected \(T, N, \.\.\.\): steps, samples, features"
LAYERS, NEURONS = {"hidden": {"spikes": SPIKES}}, r"expected \(T, N, \*neurons\): steps, samples, and at least one"
TAKEN = r"shape \(5, 2, 7\), taken as \(T, N, \.\.\.\): 2 samples of 5 steps"
# what is said, and what is done
REFUSED: list[tuple[str, Callable[[], object]]] = [
    (rf"shape \(4,\), {STEPS}", lambda: MODEL(torch.rand(4))),
    (r"shape \(0, 3, 4\), which has no steps", lambda: MODEL(torch.rand(0, 3, 4))),
    (r"\(T, N, \.\.\.\): 3 samples of 7 steps of shape \(9,\), which layer 0", lambda: MODEL(torch.rand(T, N, 9))),
    (r"lengths has shape \(7,\), expected \(3,\).* batch_first= says so", lambda: MODEL(LATE, lengths=[1] * T)),
    (r"init is a tensor .* expected torch.bool and shape \(3,\)", lambda: MODEL(LATE, torch.ones(T).bool())),
    (STEPS, lambda: st.summary(MODEL, torch.rand(4))),
    *[(TAKEN, functools.partial(look, MODEL, torch.rand(5, 2, 7))) for look in (st.summary, plot.overview)],
    (
        rf"out has shape \(5, 2\), {NEURONS}.*out\[:, None\].*\(T, N\)",
        lambda: plot.overview_of(LAYERS, SPIKES[..., 0], SPIKES, batch_first=False),
    ),
    (
        rf"x has shape \(5, 0, 3\), with no samples in it, {NEURONS}",
        lambda: plot.overview_of(LAYERS, SPIKES, SPIKES[:, :0], batch_first=False),
    ),
    (rf"spikes has shape \(5, 2\), {NEURONS}", lambda: plot.raster(SPIKES[..., 0], batch_first=False)),
    (
        r"raster: some recordings are \(T, N, \.\.\.\), .* pass batch_first=False",
        lambda: plot.raster({"input": LATE, **RECORDING}),
    ),
    (r"rates: batch_first=True, and record has noted", lambda: plot.rates(RECORDING, batch_first=True)),
    *[(r"has no steps on its axis 0", lambda make=make: make(batch_first=False)(LATE[:0])) for make in DECODERS],
    (
        r"shape \(7, 3, 4\) has 7 steps on its axis 0, expected 3",
        lambda: spikeio.SumDecoder(N, batch_first=False)(torch.zeros(T, N, 4)),
    ),
]


@pytest.mark.parametrize(("message", "call"), REFUSED)
def test_an_error_has_the_order_of_the_axes(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_no_order() -> None:
    for make in (lambda: st.SpikingNet(NET, batch_first=0), lambda: spikeio.RateDecoder(batch_first="no")):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"batch_first=.* expected True for sequences \(N, T, \.\.\.\) or False"):
            make()
    assert MODEL(torch.rand(5, 0, 4)).shape == (5, 0, 2)
    assert "Nout=(2,), batch_first=False" in repr(MODEL).splitlines()[1]
