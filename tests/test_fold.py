"""All steps of a network at once: the same spikes, gradients and state as step by step, whatever the chunks."""

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close
from tests.fold_nets import (
    NETS,
    Chain,
    assert_as_exact,
    assert_gradients,
    assert_margins,
    cotangent_like,
    decided,
    lif,
    network,
    run,
    states,
    train,
)

MODES: tuple[Mode, ...] = ("step", "fold", "auto")
SIZES = [(N, T) for N in (1, 3) for T in (1, 2, 17)]


def gradients(out: Tensor, model: st.SpikingNet, *more: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a random sum of outputs, in the parameters and more."""
    variables = dict(model.named_parameters()) | {f"x{index}": x for index, x in enumerate(more)}
    found = torch.autograd.grad(
        out, list(variables.values()), cotangent_like(out), allow_unused=True, materialize_grads=True
    )
    return dict(zip(variables, found, strict=True))


# --- folded and stepwise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "T"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NETS)
def test_folded_is_stepwise(name: str, dtype: torch.dtype, N: int, T: int) -> None:
    stepwise, folded = (network(name, dtype, mode=mode) for mode in ("step", "fold"))
    x = decided(stepwise, N, T)
    assert_margins(stepwise, x)
    want, got = run(stepwise, x), run(folded, x)
    if T == 17:
        firing = {layer: float(s.mean()) for layer, s in want.spikes.items() if set(s.unique().tolist()) <= {0.0, 1.0}}
        assert firing
        assert all(0 < rate < 1 for layer, rate in firing.items()), firing
    for layer, spikes in want.spikes.items():
        if not isinstance(stepwise.net.get_submodule(layer), st.LI):
            assert torch.equal(got.spikes[layer], spikes), layer
        assert_close(got.spikes[layer], spikes, layer)
    if dtype == torch.float32:
        assert_as_exact(got.gradients, want.gradients, run(copy.deepcopy(stepwise).double(), x.double()).gradients)
    else:
        assert_gradients(got.gradients, want.gradients)
    assert_close(got.state, want.state, "state")
    auto = network(name, dtype)
    assert torch.equal(auto(x), got.out if T > 1 else want.out)
    assert auto.explain().mode == ("fold" if T > 1 else "step")


def test_the_margin_is_checked() -> None:
    model = network("linear")
    x = train(model, 3, 17)
    margin = 1e-15
    with torch.no_grad():
        layer: Any = model.get_submodule("net.first")
        model.mode = "step"
        model(x[:, :1])
        # the first membrane of the first neuron, which is b x at the first step, to within an error bound of v0
        current = model.net.get_submodule("l1")(x[:, 0])
        layer.v0 = float(layer.step_params()["gain"] * current[0, 0]) + margin
    with pytest.raises(AssertionError, match=r"within .* of its error bound"):
        assert_margins(model, x)


# --- chunks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [1, 3, 7, 20])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["linear", "CoarseLIF", "BioLIF, to_zero", "tutorial"])
def test_chunks_change_nothing(name: str, mode: Mode, K: int) -> None:
    whole, chunked = network(name, mode=mode), network(name, mode=mode, time_chunk=K)
    x = train(whole, 3, 7).requires_grad_()
    want, got = whole(x), chunked(x)
    assert_close(got, want)
    assert_gradients(gradients(got, chunked, x), gradients(want, whole, x))
    assert_close(states(chunked), states(whole))
    with torch.no_grad():
        assert_close(chunked(x), want.detach())


@pytest.mark.parametrize("K", [1, 3, 7, 20])
@pytest.mark.parametrize("mode", MODES)
def test_truncation_is_a_loop_that_detaches(mode: Mode, K: int) -> None:
    model, twin = network("LIF, learning", mode=mode, time_chunk=K, truncate=True), network("LIF, learning")
    x = train(model, 3, 7).requires_grad_()
    outputs = []
    for t in range(7):
        if t > 0 and t % K == 0:
            twin.detach_()
        outputs.append(twin.net(x[:, t], t == 0))
    want, got = torch.stack(outputs, 1), model(x)
    assert_close(got, want)
    assert_gradients(gradients(got, model, x), gradients(want, twin, x))


@pytest.mark.parametrize("mode", MODES)
def test_truncation_cuts_the_graph(mode: Mode) -> None:
    for truncate in (False, True):
        model = network("LIF, learning", mode=mode, time_chunk=3, truncate=truncate)
        x = train(model, 3, 7).requires_grad_()
        (gradient,) = torch.autograd.grad(model(x)[:, 5].sum(), x)
        early, late = gradient[:, :3].abs().sum(), gradient[:, 3:6].abs().sum()
        assert late > 0
        assert (early == 0) == truncate
        assert gradient[:, 6].abs().sum() == 0


# --- streams and state ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["linear", "CoarseLIF", "SpikingDecay", "BioLIF, none", "LI", "tutorial"])
def test_stream_is_one_long_call(name: str, mode: Mode) -> None:
    model = network(name, mode=mode)
    x = train(model, 3, 9)
    whole = model(x)
    last = states(model)
    parts = [model(x[:, a:b], init=a == 0) for a, b in ((0, 3), (3, 4), (4, 9))]
    assert_close(torch.cat(parts, 1), whole)
    assert_close(states(model), last)


@pytest.mark.parametrize("options", [{}, {"time_chunk": 2}])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["linear", "CoarseLIF", "BioLIF, by_subtraction", "tutorial"])
def test_init_of_some_samples(name: str, mode: Mode, options: dict[str, Any]) -> None:
    model, stepwise = network(name, mode=mode, **options), network(name, mode="step")
    x, more = train(model, 3, 5), train(model, 3, 4, seed=2).requires_grad_()
    anew = torch.tensor([True, False, True])
    found = []
    for each in (model, stepwise):
        each(x)
        out = each(more, init=anew)
        found.append((out, gradients(out, each, more), states(each)))
    (out, slopes, state), (want, want_slopes, want_state) = found
    assert_close(out, want)
    assert_gradients(slopes, want_slopes)
    assert_close(state, want_state)
    assert_close(out[anew], stepwise(more)[anew])
    stepwise(more)
    assert any(not torch.equal(value[~anew], state[name][~anew]) for name, value in states(stepwise).items())


def test_init_tensor_of_one_value() -> None:
    model = network("linear", mode="fold")
    x = train(model, 3, 5)
    first = model(x)
    for init in (torch.tensor(True), torch.tensor([True] * 3)):
        assert torch.equal(model(x, init=init), first)
    with pytest.raises(ValueError, match=r"init is a tensor of torch\.bool and shape \(2,\), expected .*\(3,\)"):
        model(x, init=torch.tensor([True, False]))
    with pytest.raises(ValueError, match=r"init is a tensor of torch\.float32"):
        model(x, init=torch.ones(3))


@pytest.mark.parametrize("mode", MODES)
def test_state_of_a_call_is_detached(mode: Mode) -> None:
    model = network("LIF, learning", mode=mode)
    x = train(model, 3, 5)
    out = model(x)
    assert all(not leaf.requires_grad for leaf in states(model).values())
    out.sum().backward()
    model(x, init=False).sum().backward()  # would fail through the graph of the first call


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chunk", [None, 2])
def test_carry_graph(mode: Mode, chunk: int | None) -> None:
    model = network("LIF, learning", mode=mode, time_chunk=chunk, carry_graph=True)
    x = train(model, 3, 8).requires_grad_()
    want = gradients(model(x), model, x)
    parts = torch.cat([model(x[:, :5]), model(x[:, 5:], init=False)], 1)
    assert all(leaf.requires_grad for leaf in states(model).values())
    assert_gradients(gradients(parts, model, x), want)
    model(x[:, :5])
    (early,) = torch.autograd.grad(model(x[:, 5:], init=False).sum(), x)
    assert early[:, :5].abs().sum() > 0


@pytest.mark.parametrize("chunk", [None, 2])
def test_activity_is_summed_over_steps_calls_and_chunks(chunk: int | None) -> None:
    found = []
    for mode in MODES:
        model = network("BioLIF, to_zero", mode=mode, time_chunk=chunk)
        x = train(model, 3, 7).requires_grad_()
        net: Any = model.net
        out = model(x)
        assert_close(net.second.act, out.sum(1))
        slopes = torch.autograd.grad(net.first.act.sum() + (net.second.act**2).sum(), [x, net.l1.weight])
        more = model(x, init=False)
        assert_close(net.second.act, out.sum(1) + more.sum(1))
        anew = torch.tensor([True, False, True])
        third = model(x, init=anew).sum(1)
        assert_close(net.second.act, torch.where(anew[:, None], third, out.sum(1) + more.sum(1) + third))
        found.append((slopes[0], slopes[1], net.first.act))
    for each in found[1:]:
        assert_gradients(dict(enumerate(each)), dict(enumerate(found[0])))  # type: ignore[arg-type]


# --- explain ----------------------------------------------------------------------------------------------------------


class Branching(Chain):
    """Does another thing at the first step."""

    def __init__(self) -> None:
        super().__init__(lif(), lif())

    def forward(self, x: Tensor, init: bool) -> Tensor:
        return super().forward(2 * x if init else x, init)


FOLDS = "nothing in the network mixes samples or steps"


@pytest.mark.parametrize("mode", MODES)
def test_explain_before_the_first_call(mode: Mode) -> None:
    model = network("linear", mode=mode)
    with pytest.raises(
        ValueError, match=r"SpikingNet: there is nothing to explain before the first call.*explain\(x\)"
    ):
        model.explain()
    found = model.explain(train(model, 3, 5))
    assert found == model.explain()
    assert found.mode == ("step" if mode == "step" else "fold")
    assert (found.reason == "as asked for") == (mode != "auto")
    model(train(model, 3, 5))
    assert model.explain() == found


def test_explain() -> None:
    model = network("tutorial")
    x = train(model, 3, 5)
    model(x)
    report = model.explain()
    assert report.mode == "fold"
    assert report.reason.startswith(FOLDS)
    assert [(line.path, line.kind, line.shape) for line in report.layers] == [
        ("sl1", "IF", (4, 13, 13)),
        ("sl2", "IF", (6, 10, 10)),
        ("sl3", "IF", (10,)),
    ]
    assert {line.backend.backend for line in report.layers} <= {"fused", "loop"}
    lines = str(report).splitlines()
    assert lines[0] == f"fold: {report.reason}"
    assert len(lines) == 4
    for line, text in zip(report.layers, lines[1:], strict=True):
        assert text.split()[:3] == [line.path, "IF", "x".join(map(str, line.shape))]
        assert text.endswith(str(line.backend))


def test_explain_names_the_layers_of_two_inputs() -> None:
    model = network("BioLIF, to_zero")
    assert [line.shape for line in model.explain(train(model, 3, 5)).layers] == [(6,), (3,)]


def test_explain_one_step() -> None:
    model = network("linear")
    report = model.explain(train(model, 3, 1))
    assert (report.mode, report.reason) == ("step", "the input has one step")


def test_explain_of_a_network_that_steps() -> None:
    model = st.SpikingNet(Branching(), 3)
    x = train(model, 3, 5)
    with pytest.warns(RuntimeWarning, match=r"Branching runs step.* because it branches on init\. .*mode='step'"):
        model(x)
    model(x)  # warns once
    assert str(model.explain()).splitlines()[0] == "step: the network branches on init"


def test_explain_of_forced_modes() -> None:
    x = train(network("linear"), 3, 5)
    for mode in ("step", "fold"):
        report = network("linear", mode=mode).explain(x)
        assert (report.mode, report.reason) == (mode, "as asked for")
    report = st.SpikingNet(Branching().double(), 3, mode="fold").explain(x)
    assert report.mode == "fold"
    assert report.reason == "as asked for; in mode 'auto' it would step because it branches on init"


def test_repr() -> None:
    def line(**options: Any) -> str:
        return repr(st.SpikingNet(Branching(), 3, **options)).splitlines()[1].strip()

    assert line() == "Nout=(3,)"
    assert line(mode="fold", time_chunk=4) == "Nout=(3,), mode='fold', time_chunk=4"
    assert (
        line(mode="step", time_chunk=4, truncate=True, carry_graph=True)
        == "Nout=(3,), mode='step', time_chunk=4, truncate=True, carry_graph=True"
    )


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "x"}, r"^SpikingNet: mode='x' is not one of 'auto', 'step', 'fold'$"),
        ({"mode": None}, r"^SpikingNet: mode=None is not one of"),
        ({"time_chunk": 0}, r"^SpikingNet: time_chunk=0, expected a whole number of steps, 1 or more$"),
        ({"time_chunk": -3}, r"^SpikingNet: time_chunk=-3, expected a whole number of steps"),
        ({"time_chunk": True}, r"^SpikingNet: time_chunk=True, expected a whole number of steps"),
        ({"time_chunk": 2.5}, r"^SpikingNet: time_chunk=2\.5, expected a whole number of steps"),
        ({"truncate": True}, r"^SpikingNet: truncate=True cuts the graph between chunks; .* with time_chunk=K$"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        st.SpikingNet(Branching(), 3, **options)


def test_time_chunk_may_be_of_numpy() -> None:
    assert network("linear", time_chunk=np.int64(3)).time_chunk == 3


def test_fold_of_a_network_that_branches() -> None:
    model = st.SpikingNet(Branching(), 3, mode="fold")
    with pytest.raises(
        ValueError, match=r"mode='fold' cannot run Branching because it branches on init\. mode='auto' runs"
    ):
        model(train(model, 3, 5))


class Faulty(Chain):
    """Goes wrong in its second half, in a way to choose."""

    def __init__(self, fault: Callable[[Tensor], Any]) -> None:
        super().__init__(lif(), lif())
        self.fault = [fault]

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out = self.first(self.l1(x), init)
        self.fault[0](out)
        last: Tensor = self.second(self.l2(out), init)
        return last


def large(x: Tensor) -> None:
    if len(x) == 15:
        raise RuntimeError("fifteen samples are too many")


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: x @ torch.ones(7, 7),
        lambda x: x.no_such_thing,
        lambda x: vars(x)["key"],
        lambda x: x + "a",
        lambda x: torch.cat([x, x[:, :1]]),
        lambda x: 1 / 0,
    ],
)
def test_an_error_of_the_network_is_the_same_in_all_modes(fault: Callable[[Tensor], Any]) -> None:
    found: list[Any] = []
    modes: tuple[Mode, ...] = ("step", "auto")
    for mode in modes:
        model = st.SpikingNet(Faulty(fault), 3, mode=mode)
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                model(train(model, 3, 5))
            error = caught.value
            found.append((type(error), str(error), getattr(error, "__notes__", [])))
    assert found == [found[0]] * 4
    assert found[0][0] is not AssertionError


def test_wrong_shape_is_the_same_error_in_all_modes() -> None:
    found = []
    for mode in MODES:
        model = st.SpikingNet(Chain(lif(), lif()), 4, mode=mode)
        with pytest.raises(ValueError, match=r"net returned shape \(\d+, 3\), expected \(N, \*Nout\)") as caught:
            model(train(model, 3, 5))
        found.append(str(caught.value))
    assert found[0] == found[2]


def test_network_that_fails_folded_goes_on_stepwise() -> None:
    model = st.SpikingNet(Faulty(large), 3)  # the probe has fewer samples
    twin = st.SpikingNet(Chain(lif(), lif()), 3, mode="step")
    twin.net.load_state_dict(model.net.state_dict())
    x = train(model, 3, 5)
    twin(x[:, :4])
    model(x[:, :4])
    assert model.explain().mode == "fold"
    before = states(model)
    assert_close(before, states(twin))
    with pytest.warns(
        RuntimeWarning, match=r"failed with all steps at once \(RuntimeError: fifteen samples are too many"
    ):
        got = model(x, init=False)
    assert_close(got, twin(x, init=False))
    assert_close(states(model), states(twin))
    assert model.explain().mode == "step"


@pytest.mark.parametrize("mode", ["fold", "auto"])
def test_state_after_a_failed_folded_call_is_as_before(mode: Mode) -> None:
    fault: list[Callable[[Tensor], Any]] = [lambda x: None]
    model = st.SpikingNet(Faulty(lambda x: fault[0](x)), 3, mode=mode)
    x = train(model, 3, 5)
    model(x)
    before = states(model)
    fault[0] = lambda x: x @ torch.ones(7, 7)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(x, init=False)
    for layer in ("first", "second"):
        assert model.net.get_submodule(layer)._fold is None
    if mode == "fold":
        assert_close(states(model), before)
    fault[0] = lambda x: None
    model(x, init=False)


# --- the probe --------------------------------------------------------------------------------------------------------


class Dropping(Chain):
    def __init__(self) -> None:
        super().__init__(lif(), lif())
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out: Tensor = self.second(self.l2(self.dropout(self.first(self.l1(x), init))), init)
        return out


def drawn() -> list[Any]:
    return [torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]]


def seed() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)


@pytest.mark.parametrize("make", [lambda: Chain(lif(), lif()), Dropping])
def test_the_probe_draws_no_random_numbers(make: Callable[[], nn.Module]) -> None:
    known = st.SpikingNet(make(), 3)
    x = train(known, 3, 5)
    known(x)
    fresh = copy.deepcopy(known)
    found = []
    for model in (known, fresh):
        seed()
        found.append((model(x).tolist(), drawn()))
    assert found[0] == found[1]
    seed()
    want = drawn()
    seed()
    copy.deepcopy(known).explain(x)
    assert drawn() == want


def everything(net: nn.Module) -> dict[str, Any]:
    """Return all that a network holds, tensors by identity, version and content."""
    found: dict[str, Any] = {}
    for path, module in net.named_modules():
        for name, value in vars(module).items():
            found[f"{path}.{name}"] = (value, pickle.dumps(value) if name in ("_parameters", "_buffers") else None)
            if isinstance(value, dict):
                found[f"{path}.{name}.ids"] = {key: id(item) for key, item in value.items()}
    return found


@pytest.mark.parametrize("training", [False, True])
def test_the_probe_leaves_the_network_alone(training: bool) -> None:
    class Mixed(Chain):
        def __init__(self) -> None:
            super().__init__(lif(learnable=True), st.CoarseLIF(4.0, 0.3))
            self.norm = nn.BatchNorm1d(6)
            self.dropout = nn.Dropout(0.2)
            self.note = {"a": [1, 2]}

        def forward(self, x: Tensor, init: bool) -> Tensor:
            return super().forward(self.dropout(x), init)

    net = Mixed().train(training)
    net.norm.train(not training)
    model = st.SpikingNet(net, 3, mode="step")
    x = train(model, 3, 5)
    model(x).sum().backward()
    before, flags = everything(net), [module.training for module in net.modules()]
    slopes = [parameter.grad for parameter in net.parameters()]
    memories = [net.first._memory, net.second._memory]
    model.explain(x)
    after = everything(net)
    assert before.keys() == after.keys()
    for name, (value, content) in ((n, v) for n, v in before.items() if isinstance(v, tuple)):
        assert after[name][0] is value or after[name][0] == value, name
        assert after[name][1] == content, name
    assert {n: v for n, v in before.items() if n.endswith(".ids")} == {
        n: v for n, v in after.items() if n.endswith(".ids")
    }
    assert [module.training for module in net.modules()] == flags
    assert all(a is b for a, b in zip(slopes, [p.grad for p in net.parameters()], strict=True))
    assert [net.first._memory, net.second._memory] == memories or all(
        a is b for a, b in zip([net.first._memory, net.second._memory], memories, strict=True)
    )


def test_the_probe_leaves_a_stream_alone() -> None:
    stepwise, model = network("linear", mode="step"), network("linear", mode="step")
    x = train(model, 3, 5)
    model(x)
    stepwise(x)
    model.mode = "auto"
    assert_close(model(x, init=False), stepwise(x, init=False))  # probed in the middle of the stream
    assert model.explain().mode == "fold"


# --- what the probe cannot see in one look ----------------------------------------------------------------------------


class Mixing(Chain):
    """Does something to its input that could mix samples; its readout tells small differences apart."""

    def __init__(self, mix: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__(lif(), st.LI())
        self.gate = nn.Parameter(torch.zeros(()))
        self.options = {"center": False}
        self.softmax = nn.Softmax(1)
        self.norm = nn.BatchNorm1d(4)
        self.mix = [mix]

    def forward(self, x: Tensor, init: bool) -> Tensor:
        return super().forward(self.mix[0](self, x), init)


def open_gate(net: Any) -> None:
    net.gate.data.fill_(1.0)


def center(net: Any) -> None:
    net.options["center"] = True


def turn_softmax(net: Any) -> None:
    net.softmax.dim = 0


def drop_statistics(net: Any) -> None:
    net.norm.running_mean = net.norm.running_var = None


@pytest.mark.filterwarnings("ignore:.*runs step by step:RuntimeWarning")
@pytest.mark.parametrize(
    ("mix", "change"),
    [
        (lambda net, x: x + net.gate * x.mean(0), open_gate),
        (lambda net, x: x - x.mean(0) if net.options["center"] else x, center),
        (lambda net, x: 3 * net.softmax(x), turn_softmax),
        (lambda net, x: net.norm(x), drop_statistics),
    ],
    ids=["gate that opens in training", "option in a dict", "dim of a module of torch", "statistics taken away"],
)
def test_network_that_comes_to_mix_samples_steps_from_then_on(mix: Any, change: Callable[[Any], None]) -> None:
    model = st.SpikingNet(Mixing(mix).eval(), 3)
    x = train(model, 3, 5)
    model(x)
    change(model.net)
    stepwise = st.SpikingNet(copy.deepcopy(model.net), 3, mode="step")
    assert_close(model(x), stepwise(x))


@pytest.mark.filterwarnings("ignore:.*runs step by step:RuntimeWarning")
@pytest.mark.parametrize(
    "mix",
    [
        lambda net, x: x / x.abs().max().clamp(min=1.0),
        lambda net, x: torch.where(x.mean() > 1, -x, x),
        lambda net, x: x + torch.relu(-x).mean(0),
        lambda net, x: x + x.square().mean().sub(1).clamp(min=0.0),
    ],
    ids=["clamped maximum", "where", "negative part", "positive part"],
)
def test_network_that_mixes_some_samples_only(mix: Any) -> None:
    model = st.SpikingNet(Mixing(mix).eval(), 3)
    x = 3 * train(model, 3, 5) * torch.linspace(-1, 1, 5)[:, None]
    stepwise = st.SpikingNet(copy.deepcopy(model.net), 3, mode="step")
    assert_close(model(x), stepwise(x))


def test_explain_after_chunks() -> None:
    model = network("linear", time_chunk=3)
    x = train(model, 3, 7)
    assert model.explain(x).mode == "fold"
    model(x)  # in chunks of 3, 3 and 1
    assert model.explain().mode == "fold"


@pytest.mark.parametrize("mode", MODES)
def test_explain_after_a_call(mode: Mode) -> None:
    model = network("linear", mode=mode)
    model(train(model, 3, 5))
    assert model.explain().mode == ("step" if mode == "step" else "fold")


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("mode", MODES)
def test_empty_batch(mode: Mode, chunk: int | None) -> None:
    model = network("linear", mode=mode, time_chunk=chunk)
    x = train(model, 3, 7)[:0].requires_grad_()
    out = model(x)
    assert out.shape == (0, 7, 3)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_half_precision() -> None:
    found = []
    models = [network("linear", torch.bfloat16, mode=mode) for mode in MODES]
    for model in models:
        out = model(train(model, 3, 17))
        assert out.dtype == torch.bfloat16
        assert all(value.dtype == torch.float32 for what, value in states(model).items() if what.endswith(".v"))
        found.append(out)
    assert models[-1].explain().mode == "fold"
    for out in found[1:]:
        assert (out != found[0]).double().mean() < 0.02
