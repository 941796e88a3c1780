"""The table of rounded weights, and the times of a training step."""

import pytest

from benchmarks import quantized

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.long
def test_the_table_has_a_row_for_each_seed_and_a_mean() -> None:
    lines = list(quantized.table(2, [2, 8], 0, 0))
    assert lines[0] == "| seed | float | 2 after | 2 trained | 8 after | 8 trained |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["0", "1", "mean"]
    # without any training, both ways to round are the same
    cells = [line.split("|")[2:-1] for line in lines[2:]]
    assert all(row[1] == row[2] and row[3] == row[4] for row in cells)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:SpikingNet")
def test_the_kinds_of_networks_are_timed() -> None:
    assert all(value > 0.0 for value in quantized.times(1).values())
    assert "parametrizations.weight.0.log2_scale" in str(quantized.tutorial("learned").state_dict().keys())
