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
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close
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

    def forward(self, x: Tensor, init: Any) -> Tensor:
        x = F.max_pool2d(self.s1(self.n1(self.c1(x)), init), 2)
        found: Tensor = self.s3(self.out(self.s2(self.n2(self.c2(x)), init).flatten(1)), init)
        return found


def functional(net: Any, x: Tensor, init: Any) -> Tensor:
    return F.batch_norm(x, net.mean, net.var, net.gain, training=True, momentum=0.3)


def bare(net: Any, x: Tensor, init: Any) -> Tensor:
    return torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)


def tokens(net: Any, x: Tensor, init: Any) -> Tensor:
    """Normalise parts of a sample that were made samples of their own."""
    found: Tensor = net.module(x.reshape(-1, 2)).view(x.shape)
    return found


norm2d = nn.BatchNorm2d
compiled: Any = partial(torch.compile, backend="eager")
buffers: dict[str, Any] = {
    "mean": nn.Buffer(torch.zeros(4)),
    "var": nn.Buffer(torch.ones(4)),
    "gain": nn.Parameter(torch.rand(4) + 0.5),
}
NETS: dict[str, Callable[[], nn.Module]] = {
    "1d": lambda: Two(through, module=nn.BatchNorm1d(4)),
    "1d over a sequence": lambda: Two(lambda net, x, init: net.module(x[:, :, None])[..., 0], module=nn.BatchNorm1d(4)),
    "3d": lambda: Two(lambda net, x, init: net.module(x.view(-1, 2, 2, 1, 1)).flatten(1), module=nn.BatchNorm3d(2)),
    "tokens": lambda: Two(tokens, module=nn.BatchNorm1d(2)),
    "functional": lambda: Two(functional, **copy.deepcopy(buffers)),
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


def inputs(net: nn.Module, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    shape = (1, 6, 6) if isinstance(net, Images) else (4,)
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1.0, T + 1).view(T, *(1,) * len(shape))  # so that the statistics of steps differ
    return (scale * torch.rand(N, T, *shape, generator=generator)).to(dtype)


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
def test_statistics_are_those_of_each_step(name: str, mode: Mode, chunk: int | None) -> None:
    torch.manual_seed(0)
    net = (NETS | AVERAGES)[name]().double()
    folded = st.SpikingNet(copy.deepcopy(net), 3, mode=mode, time_chunk=chunk, warn_silent=False)
    stepped = st.SpikingNet(net, 3, mode="step", warn_silent=False)
    for seed in range(3):
        x = inputs(net, seed)
        assert_close(numbers(folded, x), numbers(stepped, x))
    report = folded.explain()
    assert report.mode == "fold", report.reason
    assert mode == "fold" or "batch norm takes the statistics of each step" in report.reason
    for model in (folded, stepped):
        model.eval()
    assert torch.equal(folded(inputs(net, 9)), stepped(inputs(net, 9)))


def test_float32_and_bits_of_the_counter() -> None:
    torch.manual_seed(0)
    net = Images(norm2d(4))
    folded = st.SpikingNet(copy.deepcopy(net), 3, warn_silent=False)
    stepped = st.SpikingNet(net, 3, mode="step", warn_silent=False)
    for seed in range(2):
        x = inputs(net, seed, torch.float32)
        assert torch.equal(folded(x), stepped(x))
    for name, buffer in folded.named_buffers():
        torch.testing.assert_close(buffer, stepped.get_buffer(name), rtol=1e-5, atol=1e-6)
    assert int(net.get_buffer("n1.num_batches_tracked")) == 2 * 2 * T


@pytest.mark.parametrize("name", ["2d", *AVERAGES])
def test_steps_of_no_samples_are_counted(name: str) -> None:
    torch.manual_seed(0)
    net = (NETS | AVERAGES)[name]().double()
    folded = st.SpikingNet(copy.deepcopy(net), 3, mode="fold", warn_silent=False)
    stepped = st.SpikingNet(net, 3, mode="step", warn_silent=False)
    for samples in (N, 0, N):
        x = inputs(net, samples)[:samples]
        assert_close(folded(x), stepped(x))
    assert_close(dict(folded.named_buffers()), dict(stepped.named_buffers()))


ONE_SAMPLE: dict[str, tuple[int, int | None, list[int]]] = {
    "at the last steps": (N, None, [1, T, 2, 1]),
    "at each chunk": (1, 1, [T]),
    "in the last chunk": (1, T - 1, [T]),
}


@pytest.mark.parametrize("mode", ["step", "fold"])
@pytest.mark.parametrize("which", ONE_SAMPLE)
def test_gradients_of_one_sample_do_not_depend_on_how_it_lies_in_memory(which: str, mode: Mode) -> None:
    """Torch's own gradient is wrong for a single sample, channels last, whose first stride is shorter than it is."""
    samples, chunk, lengths = ONE_SAMPLE[which]
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm2d(4), st.LI(tau=3.0)).double()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = inputs(Images(norm2d(4)), 0)[:samples]
    found = []
    for net in (plain, last):
        model = st.SpikingNet(net, mode=mode, time_chunk=chunk)
        out = model(x, lengths=lengths) if len(lengths) > 1 else model(x)
        cotangent = torch.cos(torch.arange(out.numel()).to(out)).view(out.shape)
        weights = net.get_parameter("0.weight"), net.get_parameter("1.weight")
        found.append(torch.autograd.grad(out, weights, cotangent))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("mode", ["auto", "fold"])
def test_a_sequence_has_statistics_of_its_own_on_request(mode: Mode) -> None:
    net = Two(through, module=nn.BatchNorm1d(4)).double()
    x = inputs(net, 0)
    model: Any = st.SpikingNet(net, 3, mode=mode, statistics="sequence", warn_silent=False)
    out = model(x)
    assert_close(model.net.module.running_mean, 0.1 * x.flatten(0, 1).mean(0))
    assert model.net.module.num_batches_tracked == 1
    by_module = Two(through, module=st.TimeBatchNorm1d(4)).double()
    by_module.load_state_dict(copy.deepcopy(net.state_dict()))
    assert torch.equal(st.SpikingNet(by_module, 3, warn_silent=False)(x), out)
    if mode == "auto":
        assert "batch norm takes the statistics of all steps together" in str(model.explain())
    model.statistics = "step"
    model(x)
    assert model.net.module.num_batches_tracked == 1 + x.shape[1]
    model.statistics = "sequence"
    assert_close(model(x), out)


def test_in_evaluation_a_network_with_statistics_of_sequences_may_step() -> None:
    net = Two(lambda net, x, init: centred(net.module(x)), module=nn.BatchNorm1d(4)).double().eval()
    x = inputs(net, 0)
    wanted = st.SpikingNet(copy.deepcopy(net), 3, "step")(x)
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        assert torch.equal(st.SpikingNet(net, 3, statistics="sequence")(x), wanted)
    empty = st.SpikingNet(net.train(), 3, statistics="sequence")(x[:0])
    assert empty.shape == (0, T, 3)


def test_a_network_that_changes_at_each_call_is_proven_at_each_call() -> None:
    """Stepping some of the calls, as without statistics over all steps, would be other numbers."""
    net: Any = Two(lambda net, x, init: net.module(x) + float(net.shift[0]), module=nn.BatchNorm1d(4)).double()
    model: Any = st.SpikingNet(net, 3, statistics="sequence", warn_silent=False)
    x = inputs(net, 0)
    for k in range(20):
        net.shift = (0.1 * k,)
        model(x)
    assert model.net.module.num_batches_tracked == 20


def _fails_at_once(net: Any, x: Tensor, init: Any) -> Tensor:
    h = net.module(x)
    if "steps at once" in repr(init) and "of 1 steps" not in repr(init):  # as in no trace of it
        raise ValueError("takes one step")
    found: Tensor = net.sl2(net.l2(net.sl1(net.l1(h), init)), init)
    return found


def test_a_folded_call_that_fails_leaves_no_statistics_behind() -> None:
    net = Own(_fails_at_once, module=nn.BatchNorm1d(4)).double()
    folded = st.SpikingNet(copy.deepcopy(net), 3, warn_silent=False)
    stepped = st.SpikingNet(net, 3, mode="step", warn_silent=False)
    x = inputs(net, 0)
    with pytest.warns(RuntimeWarning, match="failed with all steps at once .*takes one step"):
        got = folded(x)
    assert torch.equal(got, stepped(x))
    assert_close(dict(folded.named_buffers()), dict(stepped.named_buffers()))


def test_samples_that_mix_elsewhere_are_still_seen() -> None:
    net = Two(lambda net, x, init: centred(net.module(x)), module=nn.BatchNorm1d(4)).double()
    model = st.SpikingNet(net, 3, mode="auto", warn_silent=False)
    assert model.explain(inputs(net, 0)).mode == "step"


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "an input that is no batch": (
        lambda: st.SpikingNet(
            Two(lambda net, x, init: x + net.module(net.weight)[0], module=nn.BatchNorm1d(4), weight=torch.rand(3, 4)),
            *(3, "fold"),
        )(torch.rand(N, T, 4)),
        r"because it normalises an input of shape \(3, 4\), whose first axis is not the batch, with batch norm",
    ),
    "a scripted norm": (
        lambda: st.SpikingNet(Images(torch.jit.script(norm2d(4)), norm2d(4)), 3, "fold")(torch.rand(N, T, 1, 6, 6)),
        r"because it holds n1, a scripted batch norm, whose statistics are out of reach",
    ),
    "another function of torch": (
        lambda: st.SpikingNet(Two(bare), 3, "fold")(torch.rand(N, T, 4)),
        r"because it calls torch\.batch_norm, where torch\.nn\.functional\.batch_norm would fold",
    ),
    "a single value": (
        lambda: st.SpikingNet(Two(through, module=nn.BatchNorm1d(4)), 3, "fold")(torch.rand(1, T, 4)),
        r"Expected more than 1 value per channel when training",
    ),
    "a sequence that may be stepped": (
        lambda: st.SpikingNet(Two(), 3, "step", statistics="sequence"),
        r"statistics='sequence' needs the whole sequence in one call, and mode='step' runs it.*pass mode='fold'",
    ),
    "a sequence in parts": (
        lambda: st.SpikingNet(Two(through, module=nn.BatchNorm1d(4)), 3, time_chunk=2, statistics="sequence")(
            torch.rand(N, T, 4)
        ),
        r"statistics='sequence' takes the statistics of all steps, and time_chunk=2 runs them in parts\. In training, ",
    ),
    "a network that steps": (
        lambda: st.SpikingNet(
            Two(lambda net, x, init: centred(net.module(x)), module=nn.BatchNorm1d(4)), 3, statistics="sequence"
        )(torch.rand(N, T, 4)),
        r"in one call, and Two runs step by step because it works along the axis of the batch.*\. To let",
    ),
    "a network that fails with all steps": (
        lambda: st.SpikingNet(Own(_fails_at_once, module=nn.BatchNorm1d(4)), 3, statistics="sequence")(
            torch.rand(N, T, 4)
        ),
        r"^takes one step$",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(name: str) -> None:
    run, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        run()


def test_a_forced_fold_is_exported_unless_it_takes_statistics() -> None:
    net = Two(through, module=nn.BatchNorm1d(4))
    model, x = st.SpikingNet(net, 3, mode="fold", warn_silent=False), torch.rand(N, T, 4)
    with pytest.raises(ValueError, match="takes the statistics of each step in batch norm, which torch"):
        torch.export.export(model, (x,), strict=False)
    model.eval()
    with torch.no_grad():
        assert torch.equal(torch.export.export(model, (x,), strict=False).module()(x), model(x))


def test_a_call_that_checkpoint_repeats_is_counted_twice_as_stepped() -> None:
    """Torch's own batch norm does so, as far as a repetition gets."""

    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l1, self.l2, self.norm = nn.Linear(5, 6), nn.Linear(6, 6), nn.BatchNorm1d(6)
            self.s1, self.s2 = st.LIF(), st.LIF()

        def forward(self, x: Tensor, init: Any) -> Any:
            return self.s2(self.norm(self.l2(self.s1(4 * self.l1(x), init))), init)

    found: list[list[Any]] = []
    modes: Any = ("auto", "step")
    for mode in modes:
        torch.manual_seed(0)
        net = Between().double()
        model = st.SpikingNet(net, mode=mode)
        x = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        out: Any = checkpoint(model, x, use_reentrant=False)
        once = net.norm.running_mean.clone()  # type: ignore[union-attr]
        out.sum().backward()
        found.append([once, net.norm.running_mean, net.norm.running_var, net.norm.num_batches_tracked])
    assert not torch.equal(found[0][0], found[0][1])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("mode", ["auto", "fold"])
def test_an_ensemble_counts_batches_as_stepping_does(mode: Mode) -> None:
    x = torch.rand(N, T, 1, 6, 6)

    def buffers(mode: Mode) -> dict[str, Any]:
        torch.manual_seed(0)
        models = [st.SpikingNet(Images(nn.BatchNorm2d(4), nn.BatchNorm2d(4)), mode=mode) for _ in range(2)]
        params, buffers = torch.func.stack_module_state(models)
        for _ in range(2):
            torch.func.vmap(lambda p, b: torch.func.functional_call(models[0], (p, b), (x,)))(params, buffers)
        return buffers

    found = buffers(mode)
    assert found["net.n1.num_batches_tracked"].tolist() == [2 * T] * 2
    assert_close(found, buffers("step"))


def _reads_statistics(net: Any, x: Tensor, init: Any) -> Tensor:
    """Pad with what the norm makes of zeros, as networks do whose branches become one convolution for inference."""
    h = net.module(x)
    norm = net.module
    zero = norm.bias - norm.running_mean * norm.weight / torch.sqrt(norm.running_var + norm.eps)
    found: Tensor = net.sl2(net.l2(net.sl1(net.l1(h + 20.0 * zero), init)), init)
    return found


@pytest.mark.parametrize("mode", ["auto", "fold"])
@pytest.mark.parametrize("lengths", [None, [T] * N], ids=["all", "padded"])
def test_statistics_of_a_sequence_that_are_read_fold(mode: Mode, lengths: Any) -> None:
    """They change once, before they are read: torch's batch norm of all samples and steps, as one batch."""
    net: Any = Own(_reads_statistics, module=nn.BatchNorm1d(4)).double()
    x = inputs(net, 0)
    by_hand = copy.deepcopy(net.module)
    normal = by_hand(x.flatten(0, 1))
    zero = by_hand.bias - by_hand.running_mean * by_hand.weight / torch.sqrt(by_hand.running_var + by_hand.eps)
    h = (normal + 20.0 * zero).unflatten(0, x.shape[:2])
    rest = Own(lambda net, x, init: net.sl2(net.l2(net.sl1(net.l1(x), init)), init), module=nn.Identity()).double()
    rest.load_state_dict(net.state_dict(), strict=False)
    wanted = st.SpikingNet(rest, 3, "step", warn_silent=False)(h)
    model = st.SpikingNet(net, 3, mode, statistics="sequence", warn_silent=False)
    assert_close(model(x, lengths=lengths), wanted)
    assert_close(net.module.running_mean, by_hand.running_mean)
    assert net.module.num_batches_tracked == 1


def test_statistics_of_a_step_that_are_read_are_those_of_that_step_in_a_padded_batch_too() -> None:
    nets = [Own(_reads_statistics, module=nn.BatchNorm1d(4)).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    x = inputs(nets[0], 0)
    plain, padded = (st.SpikingNet(net, 3, "step", warn_silent=False) for net in nets)
    assert_close(padded(x, lengths=[x.shape[1]] * x.shape[0]), plain(x))
    assert_close(dict(padded.named_buffers()), dict(plain.named_buffers()))


def into_every_second_entry(net: Any, x: Tensor, init: Any) -> Tensor:
    mean, variance = x.new_zeros(8)[::2], x.new_ones(8)[::2]
    out: Tensor = torch.ops.aten.native_batch_norm(x, None, None, mean, variance, True, 0.1, 1e-5)[0]
    return out


@pytest.mark.filterwarnings("ignore:SpikingNet:RuntimeWarning")
def test_statistics_that_no_operation_writes_in_their_place() -> None:
    model = st.SpikingNet(Two(into_every_second_entry).double(), 3)
    model(torch.rand(5, 3, 4, dtype=torch.float64))
    assert "updates running statistics in a call that cannot be folded" in model.explain().reason
