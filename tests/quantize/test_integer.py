"""IntegerModel: its bounds, its files, its refusals, and layers of chips; test_integer_oracle.py has its arithmetic."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator
from torch import Tensor, nn

from spikingtorch import SpeckIAF, SpikingNet, XyloLIF
from spikingtorch.quantize import IntegerError, IntegerModel, to_integer
from spikingtorch.quantize.neurons import RESETS, ROUNDINGS, Neuron, State, advance
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Flatten, Linear
from spikingtorch.quantize.proof import stays_in_register
from tests.quantize.float_networks import filled, random_model


def neuron(**changed: Any) -> Neuron:
    base = Neuron(
        name="n",
        kind="lif",
        shape=(1,),
        exponent=2,
        fraction_bits=1,
        decay=(3, 2),
        decay_synapse=None,
        low=-8,
        high=7,
        threshold=5,
        strict=False,
        reset="zero",
        v_reset=0,
        rounding="floor",
        overflow="saturate",
        recurrent=None,
        bound=100,
    )
    return replace(base, **changed)


@pytest.mark.parametrize("seed", range(20))
def test_no_sum_leaves_its_bounds(seed: int) -> None:
    model, x = random_model(seed)
    s: Any = x
    for node, (low, high) in zip(model.nodes, model.reaches, strict=True):
        s = replace(model, nodes=model.nodes[: model.nodes.index(node) + 1]).run(x).out
        assert low <= s.min()
        assert s.max() <= high


@pytest.mark.parametrize("seed", range(8))
def test_a_file_keeps_a_network(seed: int, tmp_path: Path) -> None:
    model, x = random_model(seed)
    model.save(tmp_path / "net.npz")
    again = IntegerModel.load(tmp_path / "net.npz")
    assert (again.run(x).out == model.run(x).out).all()
    assert again.input_range == model.input_range
    for before, after in zip(model.nodes, again.nodes, strict=True):
        assert type(before) is type(after)
        if isinstance(before, Linear | Conv2d):
            assert before.weight.dtype == getattr(after, "weight").dtype  # noqa: B009


def test_another_file_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", weight=np.ones(3))
    IntegerModel(0, (1,), (0, 1), (wire(), neuron())).save(tmp_path / "whole.npz")
    with np.load(tmp_path / "whole.npz") as found:
        arrays: Any = dict(found)
    text = str(arrays["network"])
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-100])
    (tmp_path / "empty.npz").write_bytes(b"")
    for name, part, instead in (("float", '"low": -8', '"low": -8.5'), ("later", "quantize 1", "quantize 3")):
        assert part in text
        arrays["network"] = np.array(text.replace(part, instead))
        np.savez(tmp_path / f"{name}.npz", **arrays)
    for name, words in (
        *[(each, f"{each}.npz is damaged, or no network of IntegerModel.save") for each in ("other", "half", "empty")],
        ("float", "is damaged, .* expected a whole number"),
        ("later", "is a network of a newer spikingtorch"),
    ):
        with pytest.raises(ValueError, match=words):
            IntegerModel.load(tmp_path / f"{name}.npz")


def wire(outs: int = 1, exponent: int = 2) -> Linear:
    return Linear("w", np.ones((outs, 1), np.int8), np.zeros(outs, np.int32), exponent)


WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("n: the shape of a sample is \\(2,\\), expected \\(1,\\)", (wire(2), neuron())),
    ("n: sums of up to 1 in units of 2\\*\\*-3 arrive, and the node is for 100", (wire(exponent=3), neuron())),
    ("n: sums of up to 1 .* and the node is for 0 in", (wire(), neuron(bound=0))),
    ("each with a name of its own", (wire(), wire())),
    ("each with a name of its own", ()),
]


@pytest.mark.parametrize(("words", "nodes"), WRONG)
def test_a_chain_that_does_not_fit_is_refused(words: str, nodes: Any) -> None:
    with pytest.raises(ValueError, match=words):
        IntegerModel(0, (1,), (0, 1), nodes)


WRONG_NEURONS: list[tuple[str, dict[str, Any]]] = [
    ("kind is 'adex', expected one of if, lif", {"kind": "adex"}),
    ("rounding is 'up', expected", {"rounding": "up"}),
    ("a register that wraps round has 2\\*\\*b values, not -7 to 7", {"overflow": "wrap", "low": -7}),
    ("decay_synapse is None for neurons of kind 'cuba'", {"kind": "cuba"}),
    ("fire once a step, not 3 times", {"max_spikes": 3}),
    ("need thresholds above zero", {"kind": "speck", "threshold": 0}),
    ("threshold is an array \\(3,\\), expected one number, or one a neuron \\(1,\\)", {"threshold": np.ones(3, int)}),
    ("expected \\(k, m\\) with m from 0 to 31", {"decay": (3, 70)}),
]


@pytest.mark.parametrize(("words", "changed"), WRONG_NEURONS)
def test_neurons_that_do_not_fit_are_refused(words: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=words):
        neuron(**changed)


def test_arrays_are_whole_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="w: weight has dtype float64, expected whole numbers"):
        Linear("w", np.ones((1, 1)), np.zeros(1, np.int32), 0)
    given = np.ones((1, 1), np.int8)
    node = Linear("w", given, np.zeros(1, np.int32), 0)
    given[0, 0] = 5
    assert node.weight[0, 0] == 1
    with pytest.raises(TypeError, match=r"n: threshold is 0.5, expected a whole number"):
        neuron(threshold=0.5)
    for each in (node, copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        with pytest.raises(ValueError, match="read-only"):
            each.weight[0, 0] = 3


def test_a_report_counts() -> None:
    weight, bias = np.full((2, 1, 2, 2), 3, np.int8), np.zeros(2, np.int32)
    image = Conv2d("c", weight, bias, 1, (1, 1), (0, 0), (1, 1), 1, (1, 3, 3), (2, 2, 2))
    cells = neuron(shape=(2, 2, 2), exponent=1)
    report = IntegerModel(0, (1, 3, 3), (0, 1), (image, cells, Flatten("f", (2, 2, 2)))).report()
    # each of two rows (and columns) of a kernel meets two rows of outputs: 16 pairs, each with two channels
    assert (report.rows[0].additions, report.rows[1].updates) == (32, 8)
    assert (report.rows[0].bits, report.rows[1].bits, report.rows[0].bound) == (3, 4, 12)
    assert "32 additions, 8 updates" in str(report)


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


def draw(rng: Generator) -> tuple[Neuron, tuple[int, int]]:
    """Return one neuron with a register of 2 to 5 bits, and the least and the largest input."""
    half, m = 2 ** int(rng.integers(1, 5)), int(rng.integers(4))
    kind, reset, rounding = (str(rng.choice(each)) for each in (("if", "lif", "cuba"), RESETS, ROUNDINGS))
    decay, second = ((int(k), m) for k in rng.integers(-1, 2**m + 2, size=2))
    numbers: dict[str, Any] = {"threshold": int(rng.integers(-1, half)), "strict": bool(rng.integers(2))}
    numbers |= {"v_reset": int(rng.choice([-half, half - 1])), "fraction_bits": int(rng.integers(-1, 2))}
    numbers |= {"decay": (1, 0) if kind == "if" else decay, "decay_synapse": second if kind == "cuba" else None}
    back = Diagonal("back", rng.integers(-3, 4, 1), 0) if rng.random() < 0.3 else None
    numbers |= {"recurrent": back, "low": -half, "high": half - 1, "overflow": "error"}
    node = Neuron("n", kind, (1,), 0, reset=reset, rounding=rounding, bound=9, **numbers)
    return node, (-int(rng.integers(4)) * int(rng.integers(2)), int(rng.integers(6)))


def overflows(node: Neuron, span: tuple[int, int]) -> bool:
    """Return whether a state that the neuron reaches from rest overflows for some input."""
    seen, states = {(0, 0, 0)}, [(0, 0, 0)]
    x = np.arange(span[0], span[1] + 1)[:, None]
    while states:
        i, v, s = (np.full_like(x, each) for each in states.pop())
        try:
            after, _, fires = advance(node, State(i, v), node.current(x, s))
        except OverflowError:
            return True
        new = {*zip(*(each.ravel().tolist() for each in (after.i, after.v, fires)), strict=True)} - seen
        seen |= new
        states += new
    return False


def test_a_proof_holds_for_all_states_and_fails_for_few_others() -> None:
    rng, counts = np.random.default_rng(0), {(True, False): 0, (False, True): 0, (False, False): 0}
    for _ in range(2000):
        drawn = draw(rng)
        counts[stays_in_register(*drawn), overflows(*drawn)] += 1  # a proof of what overflows is a KeyError
    assert counts[True, False] > 2 * counts[False, False]
