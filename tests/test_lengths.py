"""Padded batches: each sample as if it were alone, in outputs, states and gradients."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.functional import LIFState
from tests.folded_layer import Coded, One, conducted

N, T, M = 5, 9, 6
LENGTHS = torch.tensor([9, 1, 4, 8, 4])
WAYS: dict[str, dict[str, Any]] = {
    "auto": {},
    "step": {"mode": "step"},
    "fold": {"mode": "fold"},
    "chunks": {"time_chunk": 2},
    "chunks, stepped": {"time_chunk": 3, "mode": "step"},
    "chunks that run again": {"time_chunk": 2, "recompute": True},
    "time first": {"batch_first": False, "time_chunk": 2},
    "time first, stepped": {"batch_first": False, "mode": "step"},
}


def recurrent() -> nn.Linear:
    return nn.Linear(M, M, bias=False)


LAYERS: dict[str, Any] = {
    "IF": lambda: st.IF(v0=0.4),
    "LIF": lambda: st.LIF(tau=torch.rand(M) + 1.0, v0=0.4, learnable=True),
    "LI": lambda: st.LI(tau=2.0, learnable="tau"),
    "CoarseLIF": lambda: st.CoarseLIF(tau=2.0, v0=0.4, learnable=True),
    "SpikingDecay": lambda: st.SpikingDecay(tau=2.0, v0=0.4, learnable=True),
    "McPitts": lambda: st.McPitts(0.1, learnable=True),
    "BioLIF": lambda: One(st.BioLIF(nudt=0.4, v0=0.3, learnable="v0", track_act=True), conducted),
    "recurrent LIF": lambda: st.LIF(v0=0.4, recurrent=recurrent()),
    "recurrent LI": lambda: st.LI(tau=2.0, recurrent=recurrent()),
    "feedback": lambda: st.LIF(v0=0.4, recurrent=torch.rand(M)),
    "batch norm": lambda: nn.BatchNorm1d(M).eval(),
    "time norm": lambda: st.TimeBatchNorm1d(M).eval(),
    "threshold norm": lambda: st.ThresholdDependentBatchNorm(M, 0.4).eval(),
    "dropout": lambda: st.SequenceDropout(0.5).eval(),
}


def network(kind: str) -> nn.Sequential:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Linear(4, M), LAYERS[kind](), nn.Linear(M, M), st.LIF(tau=3.0, v0=0.2)).double()
    for module in layers.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return layers


def batch(nan: bool = True) -> tuple[Tensor, Tensor]:
    """Return a padded batch and a cotangent of the outputs."""
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(N, T, 4, generator=generator, dtype=torch.double) * 2 - 0.5
    cotangent = torch.rand(N, T, M, generator=generator, dtype=torch.double)
    padding = torch.arange(T) >= LENGTHS[:, None]
    x[padding] = float("nan") if nan else 0.0
    return x.requires_grad_(), cotangent


@pytest.mark.sampled
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", LAYERS)
def test_each_sample_is_as_if_alone(kind: str, way: str) -> None:
    net = network(kind)
    x, cotangent = batch()
    model = st.SpikingNet(copy.deepcopy(net), **WAYS[way])
    given = x if model.batch_first else x.transpose(0, 1)
    out = model(given, lengths=LENGTHS)
    out = out if model.batch_first else out.transpose(0, 1)
    found = torch.autograd.grad(out, [x, *model.parameters()], cotangent, allow_unused=True)
    assert out.isfinite().all()
    assert out.any()

    alone = st.SpikingNet(net, mode="step")
    total = [torch.zeros_like(each) for each in (x, *net.parameters())]
    for n, length in enumerate(LENGTHS.tolist()):
        one = alone(x[n : n + 1, :length])
        assert torch.allclose(out[n, :length], one[0], rtol=1e-12, atol=1e-12)
        assert not out[n, length:].any()
        mine, own = model.get_state(), alone.get_state()
        assert mine.keys() == own.keys()
        assert all(torch.allclose(mine[name][n], each[0], rtol=1e-12, atol=1e-12) for name, each in own.items())
        grads = torch.autograd.grad(one, [x, *net.parameters()], cotangent[n : n + 1, :length], allow_unused=True)
        for sum_, grad in zip(total, grads, strict=True):
            sum_ += 0.0 if grad is None else grad
    for one, other in zip(found, total, strict=True):
        assert torch.allclose(torch.zeros_like(other) if one is None else one, other, rtol=1e-12, atol=1e-12)
    assert (found[0][torch.arange(T) >= LENGTHS[:, None]] == 0.0).all()
    if way != "step":
        assert model.explain(torch.zeros_like(given)).mode == ("step" if "step" in way else "fold")


@pytest.mark.parametrize("mode", ["auto", "step"])
def test_a_stream_goes_on_from_where_each_sample_stopped(mode: Any) -> None:
    net = network("recurrent LIF")
    x = batch(nan=False)[0].detach()
    more = torch.rand(N, 3, 4, dtype=torch.double)
    model = st.SpikingNet(copy.deepcopy(net), mode=mode)
    model(x, lengths=LENGTHS)
    out = model(more, init=False, lengths=torch.tensor([3, 2, 1, 3, 3]))
    for n, length in enumerate(LENGTHS.tolist()):
        end = [3, 2, 1, 3, 3][n]
        alone = st.SpikingNet(net, mode="step")(torch.cat([x[n, :length], more[n, :end]])[None])[0, length:]
        assert torch.allclose(out[n, :end], alone, rtol=1e-12, atol=1e-12)


class Loop:
    """The statistics of batch norm over the samples that are running, from its equation.

    y = (x - mean) / sqrt(var + eps) * weight + bias,   running = 0.9 running + 0.1 new, var of these unbiased
    """

    def __init__(self, norm: Any, scale: float = 1.0) -> None:
        self.norm, self.scale = norm, scale
        self.mean, self.var = norm.running_mean.clone(), norm.running_var.clone()

    def __call__(self, rows: Tensor) -> Any:
        axes = [axis for axis in range(rows.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(rows.ndim)]
        mean, var = rows.mean(axes), rows.var(axes, unbiased=False)
        count = rows.numel() // rows.shape[1]
        self.mean = 0.9 * self.mean + 0.1 * mean.detach()
        self.var = 0.9 * self.var + 0.1 * var.detach() * count / (count - 1)
        normalised = (rows - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return normalised * (self.scale * self.norm.weight).view(shape) + self.norm.bias.view(shape)


NORMS: dict[str, Any] = {
    "1d": (lambda: nn.BatchNorm1d(3), (3,), True, ("auto", "step", "fold", "chunks", "chunks that run again")),
    "2d": (lambda: nn.BatchNorm2d(3), (3, 2, 2), True, ("auto", "step", "fold", "chunks")),
    "sequence": (lambda: nn.BatchNorm2d(3), (3, 2, 2), False, ("sequence",)),
    "time 1d": (lambda: st.TimeBatchNorm1d(3), (3,), False, ("auto", "fold", "sequence")),
    "time 2d": (lambda: st.TimeBatchNorm2d(3), (3, 2, 2), False, ("auto", "fold", "sequence")),
    "threshold": (lambda: st.ThresholdDependentBatchNorm(3, 0.5, 2.5), (3, 2, 2), False, ("auto", "fold", "sequence")),
}
CASES = [(kind, way) for kind, (*_, ways) in NORMS.items() for way in ways]


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 2, 3, 4])], ids=["all", "padded"])
@pytest.mark.parametrize(("kind", "way"), CASES)
def test_norms_in_training_are_those_of_the_samples_that_run(kind: str, way: str, lengths: Tensor | None) -> None:
    make, shape, by_step, _ = NORMS[kind]
    torch.manual_seed(5)
    norm = make().double()
    inner = getattr(norm, "norm", norm)
    nn.init.uniform_(inner.weight, 0.5, 1.5)
    nn.init.normal_(inner.bias)
    loop = Loop(copy.deepcopy(inner), getattr(norm, "scale", 1.0))
    options: Any = {"sequence": {"statistics": "sequence"}}.get(way, WAYS.get(way, {}))
    model = st.SpikingNet(nn.Sequential(norm, st.LI(tau=1.5).double()), **options)
    x = torch.rand(4, 4, *shape, dtype=torch.double, requires_grad=True)
    mask = torch.ones(4, 4, dtype=torch.bool) if lengths is None else torch.arange(4) < lengths[:, None]
    out = model(x, lengths=lengths)

    y = torch.zeros_like(x)
    if by_step:
        for t in range(4):
            y = y.index_put((mask[:, t].nonzero()[:, 0], torch.tensor(t)), loop(x[mask[:, t], t]))
    else:
        y = y.index_put((mask,), loop(x[mask]))
    expected = st.SpikingNet(nn.Sequential(st.LI(tau=1.5).double()), mode="step")(y)
    expected = torch.where(mask.view(4, 4, *(1,) * len(shape)), expected, 0.0)
    assert torch.allclose(out, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.rand_like(out)
    found = torch.autograd.grad(out, [x, inner.weight, inner.bias], cotangent)
    theirs = torch.autograd.grad(expected, [x, loop.norm.weight, loop.norm.bias], cotangent)
    for one, other in zip(found, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-11)
    assert torch.allclose(inner.running_mean, loop.mean, rtol=1e-12)
    assert torch.allclose(inner.running_var, loop.var, rtol=1e-12)
    assert int(inner.num_batches_tracked) == (4 if by_step else 1)


WRONG: dict[str, tuple[Any, type[Exception]]] = {
    r"lengths\[1\] is 0, expected at least 1": ([1, 0, 3, 4, 5], ValueError),
    r"lengths\[2\] is 10, expected at most T = 9": ([1, 1, 10, 4, 5], ValueError),
    r"lengths has shape \(4,\), expected \(5,\)": ([1, 1, 1, 4], ValueError),
    r"expected whole numbers": (torch.rand(5), TypeError),
}


@pytest.mark.parametrize("message", WRONG)
def test_lengths_that_cannot_be(message: str) -> None:
    lengths, error = WRONG[message]
    with pytest.raises(error, match=message):
        st.SpikingNet(network("IF"))(batch(nan=False)[0], lengths=lengths)


def test_nan_before_the_end_is_an_error_still() -> None:
    x = torch.zeros(N, T, 4, dtype=torch.double)
    x[0, 8] = float("nan")
    with pytest.raises(ValueError, match="x holds NaN"):
        st.SpikingNet(network("IF"))(x, lengths=LENGTHS)


def test_norms_that_cannot_be_told_of_the_padding() -> None:
    net = nn.Sequential(nn.Linear(4, M), nn.SyncBatchNorm(M), st.LIF()).double()
    with pytest.raises(ValueError, match="with lengths, 1 would take its statistics over the padding"):
        st.SpikingNet(net)(batch()[0], lengths=LENGTHS)
    st.SpikingNet(net.eval())(batch()[0], lengths=LENGTHS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["auto", "step"])
def test_other_precisions_and_forms_of_lengths(dtype: torch.dtype, mode: Any) -> None:
    net = network("recurrent LI").to(dtype)
    x = batch()[0].detach().to(dtype)
    outs = [
        st.SpikingNet(copy.deepcopy(net), mode=mode)(x, lengths=each)
        for each in (LENGTHS, LENGTHS.tolist(), LENGTHS.int())
    ]
    assert outs[0].dtype == dtype
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])
    alone = st.SpikingNet(net, mode="step")(x[3:4, :8])
    assert torch.allclose(outs[0][3, :8].float(), alone[0].float(), rtol=0.02, atol=0.02)
    assert st.SpikingNet(net)(x[:0], lengths=torch.zeros(0, dtype=torch.long)).shape == (0, T, M)


@pytest.mark.parametrize("around", [False, True], ids=["layers", "network"])
@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
def test_checkpoint_in_a_padded_batch_or_around_it(mode: Any, around: bool) -> None:
    def code(net: Any, x: Tensor, init: Any) -> Any:
        return checkpoint(net.layers, x, use_reentrant=False) if net.again else net.layers(x)

    grads = []
    for again in (False, True):
        model = st.SpikingNet(Coded(code, layers=network("recurrent LIF"), again=again and not around), mode=mode)
        x, cotangent = batch()
        given = (x, True, LENGTHS)
        out = checkpoint(model, *given, use_reentrant=False) if again and around else model(*given)
        grads.append(torch.autograd.grad(out, [x, *model.parameters()], cotangent))
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)


@pytest.mark.long
def test_compiled_and_vmapped() -> None:
    model = st.SpikingNet(network("LIF"))
    x, _ = batch()
    expected = model(x, lengths=LENGTHS)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x, lengths=LENGTHS), expected, rtol=1e-12, atol=1e-12)
    mapped = torch.func.vmap(lambda x, lengths: model(x, lengths=lengths))(x[:, None], LENGTHS[:, None])
    assert torch.allclose(mapped[:, 0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:scan")
@pytest.mark.parametrize("mode", ["auto", "step", "fold"])
def test_outputs_of_fewer_axes_and_in_trees(mode: Any) -> None:
    def step(state: LIFState, x: Tensor, *, decay: float) -> tuple[LIFState, Any]:
        v = decay * state.v + x
        return LIFState(v), {"sum": v.sum(-1), "v": v}

    model = st.SpikingNet(nn.Sequential(st.StepLayer(step, LIFState, decay=0.5)), mode=mode)
    x = torch.rand(3, 4, 3, 2)
    whole, out = model(x), model(x, lengths=[4, 2, 3])
    for name, leaf in whole.items():
        mask = (torch.arange(4) < torch.tensor([[4], [2], [3]])).view(3, 4, *(1,) * (leaf.ndim - 2))
        assert torch.equal(out[name], torch.where(mask, leaf, 0.0))


def test_batch_norm_without_samples_of_one_alone_and_of_torch_itself() -> None:
    model = st.SpikingNet(nn.Sequential(nn.BatchNorm1d(2), st.LIF()))
    assert model(torch.rand(0, 4, 2), lengths=[]).shape == (0, 4, 2)
    with pytest.raises(ValueError, match="one sample alone is still running at some step"):
        model(torch.rand(3, 4, 2), lengths=[2, 4, 1])

    net = Coded(lambda net, x, init: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False))
    with pytest.raises(ValueError, match="cannot run Coded with lengths: it calls"):
        st.SpikingNet(net, mode="step")(torch.rand(3, 4, 2), lengths=[4, 4, 4])
