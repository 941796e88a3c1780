"""Networks whose branches meet in sums: integers and C beside the oracle in int64, and the sums that are refused."""

from collections import Counter
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.functional import Sigmoid, none
from spikingtorch.quantize import IntegerError, IntegerModel, RoundedInput, certify, fold_norms, prepare_qat, to_integer
from spikingtorch.quantize.nodes import Sum
from tests.folded_layer import Coded
from tests.quantize import descriptions
from tests.quantize.c_programs import SANITIZED, STRICT, compiled, expected, ran
from tests.quantize.descriptions import Trace, Whole
from tests.quantize.float_networks import F32, module, real
from tests.quantize.oracle import Signal, neurons, summed
from tests.quantize.random_networks import form, neuron, numbers, offsets

C_COMMAND = ("gcc", *STRICT, *SANITIZED)
# of the input
SPANS = ((0, 1), (0, 7), (-4, 3))


def plus(a: Signal, b: Signal) -> Signal:
    exponent = max(a.exponent, b.exponent)
    return Signal((a.values << (exponent - a.exponent)) + (b.values << (exponent - b.exponent)), exponent)


def draw(seed: int) -> tuple[nn.Module, Whole, Signal, dict[str, Trace]]:
    """Return parts that each take the sum of some values before; an input; the output, and traces of the neurons."""
    rng, parts, traces = np.random.default_rng(seed), dict[str, nn.Module](), dict[str, Trace]()
    image, taken = rng.random() < 0.4, list[list[int]]()
    shape = (int(rng.integers(1, 4)), 5, 4) if image else (int(rng.integers(1, 9)),)
    x = rng.integers(*SPANS[seed % 3], (int(rng.integers(1, 4)), int(rng.choice([1, 2, 9])), *shape), endpoint=True)
    x.flat[0] = 1  # so that its unit is 1
    values = [Signal(x, 0)]
    for name in [f"part{place}" for place in range(int(rng.integers(3, 8)))]:
        taken.append([len(values) - 1, *rng.integers(len(values), size=int(rng.choice([0, 1, 1, 2]))).tolist()])
        arriving, way = reduce(plus, [values[each] for each in taken[-1]]), rng.integers(5)
        node: Any = None
        if way < 2:
            weight = numbers(rng, (shape[0], shape[0], *((3, 3) if image else ()))).clip(-7, 7)
            bias, finer = offsets(rng, weight) if rng.random() < 0.5 else None, int(rng.integers(4))
            padded = descriptions.Conv2d(weight, bias, finer, padding=(1, 1))
            node = padded if image else descriptions.Linear(weight, bias, finer)
            arriving = summed(node, arriving)
        elif way < 4:
            own = form(rng)._replace(overflow=str(rng.choice(["saturate", "wrap"])))
            bits, level = int(rng.integers(5)), float(np.abs(arriving.values).mean()) + 0.5
            grids, level = (bits, arriving.exponent), level * 2.0 ** (bits - arriving.exponent)
            node = neuron(rng, own, shape, int(rng.choice([4, 6, 10])), grids, level)
            traces[name] = neurons(node, arriving)
            arriving = Signal(traces[name].spikes, 0)
        values.append(arriving)
        parts[name] = nn.Identity() if way == 4 else module(node, arriving.exponent, F32, Sigmoid(beta=2.0))

    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        values = [x]
        for name, places in zip(parts, taken, strict=True):
            part, total = getattr(net, name), sum(values[each] for each in places)
            values.append(part(total, init) if isinstance(part, st.StepLayer) else part(total))
        return values[-1]

    return Coded(code, **parts), x, values[-1], traces


def compare(seed: int, folder: Path, counts: Counter[str]) -> None:
    net, whole, output, traces = draw(seed)
    model, x = st.SpikingNet(net, mode="step", warn_silent=False), real(whole, 0, F32)
    try:
        integer = to_integer(model, x, SPANS[seed % 3])
    except IntegerError as error:
        counts[error.rule] += 1
        return
    run = integer.run(x, record=True)
    assert (run.out * 2.0**-integer.output_exponent == output.values * 2.0**-output.exponent).all(), seed
    for name, record in run.records.items():
        for what in ("spikes", "u", "v", "i"):
            assert (getattr(record, what) == getattr(traces[name], what)).all(), (seed, name, what)
    assert certify(model, integer, x).equal, seed
    if seed % 5 == 0:
        integer.save(folder / "net.npz")
        again = IntegerModel.load(folder / "net.npz")
        assert ran(compiled(again, folder, C_COMMAND), whole) == expected(integer, whole)
    counts["added"] += sum(isinstance(node, Sum) for node in integer.nodes)


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(1000, 1400), marks=pytest.mark.long)], ids=len)
def test_random_branches_equal_the_oracle(seeds: range, tmp_path: Path) -> None:
    counts = Counter[str]()
    for seed in seeds:
        compare(seed, tmp_path, counts)
    assert counts["added"] > max(len(seeds), 10 * (counts["chain"] + counts["sums"]))


class Residual(nn.Module):
    """A block with batch norm in both branches, which fires before and after their sum."""

    def __init__(self, ins: int, outs: int, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(ins, outs, 3, padding=1), nn.BatchNorm2d(outs))
        self.skip = nn.Sequential(nn.Conv2d(ins, outs, 1, bias=False), nn.BatchNorm2d(outs))
        self.inner, self.first, self.last = inner or nn.Identity(), neurons_of(), neurons_of(recurrent=None)

    def forward(self, x: Tensor, init: Any = None) -> Tensor:
        spikes: Tensor = self.first(self.main(x) + self.skip(x), init)
        return spikes + self.last(self.inner(spikes) + spikes, init)


def neurons_of(**options: Any) -> st.FixedPointLIF:
    return st.FixedPointLIF(decay=(7, 3), threshold=0.5, fraction_bits=6, membrane_bits=12, **options)


def test_a_residual_network_trains_and_becomes_integers_and_c(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inner = Residual(3, 3)
    net = nn.Sequential(Residual(1, 3, inner), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3), neurons_of())
    x, y = (torch.rand(16, 6, 1, 4, 4) < 0.5).float(), torch.arange(16) % 3
    model = st.SpikingNet(net)
    model(x)  # running statistics
    fold_norms(model)
    prepare_qat(model, 6)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(x).sum(1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    integer = to_integer(model, x)
    found = certify(model, integer, x)
    assert found.equal
    assert len(found.rows) == 5
    assert all(row.spikes for row in found.rows)
    assert max(high for _, high in integer.reaches if high < 8) > 1  # a spike and a spike
    assert ran(compiled(integer, tmp_path, C_COMMAND), x.long().numpy()) == expected(integer, x.long().numpy())


def each(weight: float, bias: float = 0.0) -> nn.Linear:
    layer = nn.Linear(4, 4)
    layer.weight.data, layer.bias.data = weight * torch.eye(4), torch.full((4,), bias)
    return layer


def test_parts_beyond_a_sum_and_sums_that_two_nodes_read(tmp_path: Path) -> None:
    def code(net: Any, x: Tensor, init: Any) -> Any:
        total = net.up(x) + net.down(x)
        assert total.data.shape == x.shape  # nothing is written through it
        return net.last(net.first(total, init) + total, init)

    neurons = {"first": neurons_of(recurrent=-0.5 * torch.eye(4)[0]), "last": neurons_of(reset=none)}
    model, x = st.SpikingNet(Coded(code, up=each(0.5, 100.5), down=each(0.5, -100.5), **neurons)), torch.ones(2, 9, 4)
    integer = to_integer(model, x)
    assert certify(model, integer, x).equal
    assert ran(compiled(integer, tmp_path, C_COMMAND), x.long().numpy()) == expected(integer, x.long().numpy())


def keeping(net: Any, x: Tensor, init: Any) -> Any:
    before = x if init is True else net.kept
    net.kept = net.up(x)
    return net.neurons(net.kept + before, init)


def written(net: Any, x: Tensor, init: Any) -> Any:
    current = net.up(x)
    current[:, 0].data.mul_(2)
    return net.neurons(current, init)


def negating(net: Any, x: Tensor, init: Any) -> Any:
    net.up.weight.neg_()
    return net.neurons(net.up(x), init)


def resetting(net: Any, x: Tensor, init: Any) -> Any:
    net.neurons.reset()
    return net.neurons(net.up(x), init)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            lambda net, x, init: net.neurons(net.up(x) + net.fine(x), init),
            "'neurons: sum': its sums may reach 16777217",
        ),
        (lambda net, x, init: net.neurons(net.up(x) - x, init), "'neurons': its input is the result of sub .*up"),
        (lambda net, x, init: net.neurons(net.up(x)[:1] + x, init), r"'neurons': its input is the result of add "),
        (keeping, "its second step makes other calls than the first"),
        (
            lambda net, x, init: net.neurons(net.up(x) if x.sum() > 3 else x, init),
            "it reads a number of a tensor",
        ),
        (lambda net, x, init: net.neurons(torch.cat(net.up(x).chunk(2, 1), 1), init), "is the result of cat "),
        (written, "'neurons': its input does not come from the input of this step, or was written on"),
        (lambda net, x, init: net.neurons(net.round(x + x), init), "round"),
        (negating, "its forward changes its weights"),
        (
            lambda net, x, _: net.neurons(net.up(x), True),
            "'neurons': its forward restarts it or sets its state at each",
        ),
        (resetting, "'neurons': its forward restarts it or sets its state"),
        (lambda net, x, init: [net.neurons(net.up(x), init), net.neurons.v.mul_(0.5)][0], "sets its state"),
    ],
)
def test_sums_that_are_refused(code: Any, words: str) -> None:
    parts = {"up": each(2.0**12), "fine": each(2.0**-12), "round": RoundedInput(3), "neurons": neurons_of()}
    with pytest.raises(IntegerError, match=words):
        to_integer(st.SpikingNet(Coded(code, **parts)), torch.ones(2, 3, 4))
