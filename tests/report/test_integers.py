"""The section of a report on a network in whole numbers: the integers and their certificate, or the refusal."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.quantize import IntegerModel, certify, prepare_qat, to_integer
from tests.report.networks import SECTIONS, Quickly, draw

pytestmark = pytest.mark.usefixtures("one_thread")


def neurons(bits: int = 12) -> st.FixedPointLIF:
    return st.FixedPointLIF((7, 3), threshold=0.25, fraction_bits=6, membrane_bits=bits)


def network(last: nn.Module) -> st.SpikingNet:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9), neurons(), nn.Linear(9, 4), last)
    return prepare_qat(st.SpikingNet(net), weight_bits=4)


def spikes(samples: int = 5) -> torch.Tensor:
    return (draw(samples, 7, 6) < 0.5).float()


def test_the_integers_and_their_certificate(quickly: Quickly) -> None:
    model, x = network(neurons()), spikes()
    page = quickly(model, [x])
    assert page.sections == [*SECTIONS[:4], "integers", *SECTIONS[4:]]
    integer = to_integer(model, x)
    certificate, table = certify(model, integer, x), integer.report()
    assert certificate.equal
    shown = page.table("The network beside its integers")
    assert shown[1:] == [[*certificate.cells(row)] for row in certificate.rows]
    assert [row[0] for row in shown] == ["layer", "1", "3"]
    assert page.table("The integers")[1:] == [[*table.cells(row)] for row in table.rows]
    assert '<span class="pass">The integers compute the same</span>: equal, bit for bit' in page.text
    assert "Every spike, membrane and current of the first 5 samples of 7 steps" in page.words
    assert f"{table.needs.memory_bytes:,} bytes of RAM" in page.words
    assert "weights of 0, 2 in 4 bits, neurons of 1, 3." in page.words


def test_padded_sequences_and_time_first(quickly: Quickly) -> None:
    model = network(neurons())
    model.batch_first = False
    page = quickly(model, [(spikes().transpose(0, 1), torch.tensor([7, 3, 7, 3, 3]), torch.arange(5) % 4)])
    assert '<span class="pass">The integers compute the same</span>: equal, bit for bit' in page.text
    assert "of the first 2 samples of 7 steps" in page.words


def test_a_difference_is_shown(quickly: Quickly, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(model: Any, x: torch.Tensor) -> Any:
        found = to_integer(model, x)
        one, two, three, four = found.nodes
        nodes = (one, two, cast(Any, replace)(three, weight=-cast(Any, three).weight), four)
        return IntegerModel(found.input_exponent, found.input_shape, found.input_range, nodes)

    monkeypatch.setattr("spikingtorch.report.measure.to_integer", other)
    page = quickly(network(neurons()), [spikes()])
    assert '<span class="fail">The integers differ</span>: different first at 3: ' in page.text
    assert any(int(row[6]) for row in page.table("The network beside its integers")[1:])


def test_integers_without_c(quickly: Quickly, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_c(_: IntegerModel) -> None:
        raise ValueError("no type of C has room")

    monkeypatch.setattr(IntegerModel, "report", no_c)
    page = quickly(network(neurons()), [spikes()])
    assert '<span class="pass">The integers compute the same</span>: equal, bit for bit' in page.text
    assert "There is no C of these integers: no type of C has room." in page.words
    assert "The integers" not in page.tables


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (st.LIF(), "layer &#39;3&#39;: LIF computes with numbers that are not whole"),
        (nn.Sequential(neurons(), nn.Softmax(-1)), "there are no integers for Softmax"),
    ],
)
def test_a_refusal_is_in_words(last: nn.Module, said: str, quickly: Quickly) -> None:
    page = quickly(network(last), [spikes()])
    assert "The network does not become integers." in page.words
    assert said in page.words
    assert "The rule is that" in page.words
    assert not [caption for caption in page.tables if "integers" in caption]


def test_inputs_off_the_grid_and_networks_in_float(quickly: Quickly) -> None:
    page = quickly(network(neurons()), [draw(5, 7, 6)])
    assert "Encode it as spikes, or round it" in page.words
    in_float = quickly(nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.3)), [spikes()])
    assert in_float.sections == SECTIONS
