"""Batch norm in training: folded, each step has its own statistics, as it has step by step."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.drawn import uniform
from tests.fold.corpus.effects import failure_at_once
from tests.nets_that_step import Own, Two, centred, through

N, T = 4, 5


class Images(nn.Module):
    """Two convolutions with a norm behind each."""

    def __init__(self, first: nn.Module, second: nn.Module | None = None) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.n1 = first
        self.n2 = first if second is None else second
        self.s1, self.s2, self.s3 = st.LIF(v0=0.4), st.LIF(v0=0.4), st.LIF(v0=0.2)
        self.out = nn.Linear(36, 3)

    def forward(self, x: Tensor, init: Any) -> Any:
        x = F.max_pool2d(self.s1(self.n1(self.c1(x)), init), 2)
        return self.s3(self.out(self.s2(self.n2(self.c2(x)), init).flatten(1)), init)


def functional(net: Any, x: Tensor, init: Any) -> Tensor:
    return F.batch_norm(x, net.mean, net.var, net.gain, training=True, momentum=0.3)


def tokens(net: Any, x: Tensor, init: Any) -> Tensor:
    """Normalise parts of a sample that were made samples of their own."""
    return net.module(x.reshape(-1, 2)).view(x.shape)


def buffers() -> dict[str, Any]:
    parts = {"mean": nn.Buffer(torch.zeros(4)), "var": nn.Buffer(torch.ones(4))}
    return {**parts, "gain": nn.Parameter(torch.rand(4) + 0.5)}


def normed(code: Any = through, **parts: Any) -> Any:
    """Return a network whose code finds a batch norm."""
    torch.manual_seed(0)
    return Two(code, module=nn.BatchNorm1d(4), **parts).double()


norm2d = nn.BatchNorm2d
compiled: Any = partial(torch.compile, backend="eager")
NETS: dict[str, Callable[[], nn.Module]] = {
    "1d": normed,
    "1d over a sequence": lambda: normed(lambda net, x, init: net.module(x[:, :, None])[..., 0]),
    "3d": lambda: Two(lambda net, x, init: net.module(x.view(-1, 2, 2, 1, 1)).flatten(1), module=nn.BatchNorm3d(2)),
    "tokens": lambda: Two(tokens, module=nn.BatchNorm1d(2)),
    "functional": lambda: Two(functional, **buffers()),
    "functional, untracked": lambda: Two(lambda net, x, init: F.batch_norm(x, None, None, training=True)),
    "2d": lambda: Images(norm2d(4), norm2d(4, momentum=0.37)),
    "shared": lambda: Images(norm2d(4)),
    "compiled": lambda: Images(compiled(norm2d(4)), norm2d(4)),
    "not affine": lambda: Images(norm2d(4, affine=False), norm2d(4)),
    "untracked": lambda: Images(norm2d(4, track_running_stats=False), norm2d(4)),
    "channels last": lambda: Images(norm2d(4), norm2d(4)).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
}
# their averages over all batches read a counter, which a network in mode "auto" steps for
AVERAGES: dict[str, Callable[[], nn.Module]] = {
    "averages": lambda: Images(norm2d(4, momentum=None), norm2d(4)),
    "averages, shared": lambda: Images(norm2d(4, momentum=None)),
}


def both(net: nn.Module, mode: Any = "auto", **options: Any) -> tuple[st.SpikingNet, st.SpikingNet]:
    """Return a network over time in some mode, and step by step."""
    folded = st.SpikingNet(copy.deepcopy(net), 3, mode=mode, warn_silent=False, **options)
    return folded, st.SpikingNet(net, 3, mode="step", warn_silent=False)


def inputs(net: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    shape = (1, 6, 6) if isinstance(net, Images) else (4,)
    scale = torch.arange(1.0, T + 1).view(T, *(1,) * len(shape))  # so that the statistics of steps differ
    return (scale * uniform(N, T, *shape, seed=seed)).to(dtype)


def numbers(model: st.SpikingNet, x: Tensor) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    """Return the output, all gradients in units of the largest one, and what the network holds afterwards."""
    x = x.clone().requires_grad_()
    out = model(x)
    cotangent = torch.cos(torch.arange(out.numel()).to(out)).view(out.shape)
    found = torch.autograd.grad(out, [x, *model.parameters()], cotangent, allow_unused=True, materialize_grads=True)
    # norms take away what a bias before them adds, so that its gradient is zero but for rounding
    largest = max(float(each.abs().max()) for each in found)
    held = {name: buffer.double() for name, buffer in model.named_buffers()}
    return out.detach(), [each / largest + 1.0 for each in found], held


@pytest.mark.sampled
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize(
    ("name", "mode"), [*((n, m) for n in NETS for m in ("auto", "fold")), *((n, "fold") for n in AVERAGES)]
)
def test_statistics_are_those_of_each_step(name: str, mode: str, chunk: int | None) -> None:
    torch.manual_seed(0)
    folded, stepped = both((NETS | AVERAGES)[name]().double(), mode, time_chunk=chunk)
    for seed in range(3):
        x = inputs(stepped.net, seed)
        assert_close(numbers(folded, x), numbers(stepped, x))
    report = folded.explain()
    assert report.mode == "fold", report.reason
    assert mode == "fold" or "batch norm takes the statistics of each step" in report.reason
    folded.eval()
    stepped.eval()
    assert torch.equal(folded(inputs(stepped.net, 9)), stepped(inputs(stepped.net, 9)))


def test_float32_and_bits_of_the_counter() -> None:
    torch.manual_seed(0)
    folded, stepped = both(Images(norm2d(4)))
    for seed in range(2):
        x = inputs(stepped.net, seed, torch.float32)
        assert torch.equal(folded(x), stepped(x))
    for name, buffer in folded.named_buffers():
        torch.testing.assert_close(buffer, stepped.get_buffer(name), rtol=1e-5, atol=1e-6)
    assert int(stepped.net.get_buffer("n1.num_batches_tracked")) == 2 * 2 * T


@pytest.mark.parametrize("name", ["2d", *AVERAGES])
def test_steps_of_no_samples_are_counted(name: str) -> None:
    torch.manual_seed(0)
    folded, stepped = both((NETS | AVERAGES)[name]().double(), "fold")
    for samples in (N, 0, N):
        x = inputs(stepped.net, samples)[:samples]
        assert_close(folded(x), stepped(x))
    assert_close(dict(folded.named_buffers()), dict(stepped.named_buffers()))


ONE_SAMPLE: dict[str, tuple[int, int | None, list[int]]] = {
    "at the last steps": (N, None, [1, T, 2, 1]),
    "at each chunk": (1, 1, [T]),
    "in the last chunk": (1, T - 1, [T]),
}


@pytest.mark.parametrize("mode", ["step", "fold"])
@pytest.mark.parametrize("which", ONE_SAMPLE)
def test_gradients_of_one_sample_do_not_depend_on_how_it_lies_in_memory(which: str, mode: Any) -> None:
    """Torch's own gradient is wrong for a single sample, channels last, whose first stride is shorter than it is."""
    samples, chunk, lengths = ONE_SAMPLE[which]
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm2d(4), st.LI(tau=3.0)).double()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = inputs(Images(norm2d(4)))[:samples]
    found = []
    for net in (plain, last):
        out = st.SpikingNet(net, mode=mode, time_chunk=chunk)(x, lengths=lengths if len(lengths) > 1 else None)
        cotangent = torch.cos(torch.arange(out.numel()).to(out)).view(out.shape)
        weights = net.get_parameter("0.weight"), net.get_parameter("1.weight")
        found.append(torch.autograd.grad(out, weights, cotangent))
    assert_close(found[1], found[0])


# --- statistics of a sequence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "fold"])
def test_statistics_are_in_turns_those_of_the_sequence_and_of_its_steps(mode: Any) -> None:
    model: Any = st.SpikingNet(normed(), 3, mode=mode, statistics="sequence", warn_silent=False)
    x = inputs(model.net)
    out = model(x)
    assert_close(model.net.module.running_mean, 0.1 * x.flatten(0, 1).mean(0))
    assert model.net.module.num_batches_tracked == 1
    if mode == "auto":
        assert "batch norm takes the statistics of all steps together" in str(model.explain())
    model.statistics = "step"
    model(x)
    assert model.net.module.num_batches_tracked == 1 + x.shape[1]
    model.statistics = "sequence"
    assert_close(model(x), out)


def test_in_evaluation_a_network_with_statistics_of_sequences_may_step() -> None:
    net = normed(lambda net, x, init: centred(net.module(x))).eval()
    x = inputs(net)
    wanted = st.SpikingNet(copy.deepcopy(net), 3, "step")(x)
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        assert torch.equal(st.SpikingNet(net, 3, statistics="sequence")(x), wanted)
    empty = st.SpikingNet(net.train(), 3, statistics="sequence")(x[:0])
    assert empty.shape == (0, T, 3)


def test_a_network_that_changes_at_each_call_is_proven_at_each_call() -> None:
    """Stepping some of the calls, as without statistics over all steps, would be other numbers."""
    net = normed(lambda net, x, init: net.module(x) + float(net.shift[0]))
    model = st.SpikingNet(net, 3, statistics="sequence", warn_silent=False)
    for k in range(10):
        net.shift = (0.1 * k,)
        model(inputs(net))
    assert net.module.num_batches_tracked == 10


def _reads_statistics(net: Any, x: Tensor, init: Any) -> Tensor:
    """Pad with what the norm makes of zeros, as networks do whose branches become one convolution for inference."""
    h, norm = net.module(x), net.module
    zero = norm.bias - norm.running_mean * norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return h + 20.0 * zero


@pytest.mark.parametrize("mode", ["auto", "fold"])
@pytest.mark.parametrize("lengths", [None, [T] * N], ids=["all", "padded"])
def test_statistics_of_a_sequence_that_are_read_fold(mode: Any, lengths: Any) -> None:
    """They change once, before they are read: torch's batch norm of all samples and steps, as one batch."""
    net = normed(_reads_statistics)
    x = inputs(net)
    by_hand: Any = Two(_reads_statistics, module=copy.deepcopy(net.module))
    h = _reads_statistics(by_hand, x.flatten(0, 1), True).unflatten(0, x.shape[:2])
    rest = Two(l1=net.l1, l2=net.l2)
    wanted = st.SpikingNet(rest, 3, "step", warn_silent=False)(h)
    model = st.SpikingNet(net, 3, mode, statistics="sequence", warn_silent=False)
    assert_close(model(x, lengths=lengths), wanted)
    assert_close(net.module.running_mean, by_hand.module.running_mean)
    assert net.module.num_batches_tracked == 1


def test_statistics_of_a_step_that_are_read_are_those_of_that_step_in_a_padded_batch_too() -> None:
    padded, plain = both(normed(_reads_statistics), "step")
    x = inputs(plain.net)
    assert_close(padded(x, lengths=[T] * N), plain(x))
    assert_close(dict(padded.named_buffers()), dict(plain.named_buffers()))


# --- errors, and what surrounds a network -----------------------------------------------------------------------------


# the network, options, samples, and the message
SEQUENCE = {"statistics": "sequence"}
ERRORS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], int, str]] = {
    "an input that is no batch": (
        lambda: normed(lambda net, x, init: x + net.module(net.weight)[0], weight=torch.rand(3, 4).double()),
        {"mode": "fold"},
        N,
        r"because it normalises an input of shape \(3, 4\), whose first axis is not the batch, with batch norm",
    ),
    "a scripted norm": (
        lambda: Images(torch.jit.script(norm2d(4)), norm2d(4)).double(),
        {"mode": "fold"},
        N,
        "because it holds n1, a scripted batch norm, whose statistics are out of reach",
    ),
    "another function of torch": (
        lambda: Two(lambda net, x, init: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)).double(),
        {"mode": "fold"},
        N,
        r"because it calls torch\.batch_norm, where torch\.nn\.functional\.batch_norm would fold",
    ),
    "a single value": (normed, {"mode": "fold"}, 1, "Expected more than 1 value per channel when training"),
    "a sequence that may be stepped": (
        Two,
        {"mode": "step", **SEQUENCE},
        N,
        r"statistics='sequence' needs the whole sequence in one call, and mode='step' runs it.*pass mode='fold'",
    ),
    "a sequence in parts": (
        normed,
        {"time_chunk": 2, **SEQUENCE},
        N,
        r"statistics='sequence' takes the statistics of all steps, and time_chunk=2 runs them in parts\. In training, ",
    ),
    "a network that steps": (
        lambda: normed(lambda net, x, init: centred(net.module(x))),
        SEQUENCE,
        N,
        r"in one call, and Two runs step by step because it works along the axis of the batch.*\. To let",
    ),
    "a network that fails with all steps": (
        lambda: Own(failure_at_once, module=nn.BatchNorm1d(4)).double(),
        SEQUENCE,
        N,
        "^takes one step$",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(name: str) -> None:
    make, options, samples, message = ERRORS[name]
    net = make()
    with pytest.raises(ValueError, match=message):
        st.SpikingNet(net, 3, **options)(inputs(net)[:samples])


def test_a_forced_fold_is_exported_unless_it_takes_statistics() -> None:
    model, x = st.SpikingNet(normed(), 3, mode="fold", warn_silent=False), torch.rand(N, T, 4).double()
    with pytest.raises(ValueError, match="takes the statistics of each step in batch norm, which torch"):
        torch.export.export(model, (x,), strict=False)
    model.eval()
    with torch.no_grad():
        assert torch.equal(torch.export.export(model, (x,), strict=False).module()(x), model(x))


def test_a_call_that_checkpoint_repeats_is_counted_twice_as_stepped() -> None:
    """Torch's own batch norm does so, as far as a repetition gets."""
    found: list[list[Tensor]] = []
    for model in both(normed(lambda net, x, init: x, between=through, l1=nn.Linear(4, 4), l2=nn.Linear(4, 3))):
        x = inputs(model.net).requires_grad_()
        out: Any = checkpoint(model, x, use_reentrant=False)
        once = [each.clone() for each in model.buffers()]
        out.sum().backward()
        found.append([*once, *model.buffers()])
    assert not torch.equal(found[0][0], found[0][3])
    assert_close(found[0], found[1])


@pytest.mark.parametrize("mode", ["auto", "fold"])
def test_an_ensemble_counts_batches_as_stepping_does(mode: Any) -> None:
    x = torch.rand(N, T, 1, 6, 6)

    def buffers(mode: Any) -> dict[str, Any]:
        torch.manual_seed(0)
        models = [st.SpikingNet(Images(nn.BatchNorm2d(4), nn.BatchNorm2d(4)), mode=mode) for _ in range(2)]
        params, buffers = torch.func.stack_module_state(models)
        for _ in range(2):
            torch.func.vmap(lambda p, b: torch.func.functional_call(models[0], (p, b), (x,)))(params, buffers)
        return buffers

    found = buffers(mode)
    assert found["net.n1.num_batches_tracked"].tolist() == [2 * T] * 2
    assert_close(found, buffers("step"))
