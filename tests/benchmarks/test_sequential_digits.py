"""The recipe by which all ways to a gradient train the same networks, its results and their page."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.sequential_digits import figure, page, recipe
from benchmarks.sequential_digits.recipe import SETTINGS, WAYS, Options, Setting, network, sequences

OPTIONS = Options(epochs=2, pixels=28, digits=100)


def gradients(way: str, recurrent: bool, steps: int) -> torch.Tensor:
    torch.manual_seed(0)
    model = network(7, Setting("rows", (6, 5), recurrent)).double()
    WAYS[way](model)(torch.rand(4, steps, 7).double(), torch.tensor([0, 3, 9, 3]))
    return torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


@pytest.mark.parametrize("recurrent", [False, True])
def test_all_ways_have_one_loss(recurrent: bool) -> None:
    """The exact rule has the gradient of BPTT, and so has each for one step. The others leave something out."""
    for way in WAYS:
        torch.testing.assert_close(
            gradients(way, recurrent, 1), gradients("BPTT", recurrent, 1), rtol=1e-12, atol=1e-14
        )
    true = gradients("BPTT", recurrent, 9)
    assert true.abs().max() > 1e-3
    torch.testing.assert_close(gradients("exact", recurrent, 9), true, rtol=1e-12, atol=1e-14)
    # the leak of these neurons is a constant
    same = gradients("presynaptic", recurrent, 9), gradients("diagonal", recurrent, 9)
    torch.testing.assert_close(*same, rtol=1e-12, atol=1e-14)
    for way in ("diagonal", "presynaptic", "last_step"):
        assert (gradients(way, recurrent, 9) - true).norm() > 1e-3 * true.norm()


def test_a_second_sequence_starts_anew() -> None:
    torch.manual_seed(0)
    model = network(7, Setting("rows", (6,), True))
    gradient, x, y = WAYS["diagonal"](model), torch.rand(4, 9, 7), torch.tensor([0, 3, 9, 3])
    found = []
    for _ in range(2):
        gradient(x, y)
        found.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]))
        model.zero_grad()
    assert torch.equal(*found)


@pytest.mark.parametrize("pixels", [1, 8, 28])
def test_a_permutation_has_every_pixel_once_and_is_the_same_for_all(pixels: int) -> None:
    image = torch.arange(784.0).reshape(1, 1, 28, 28)
    one = sequences("permuted", image, pixels)
    assert one.shape == (1, 784 // pixels, pixels)
    assert one.flatten().sort().values.equal(torch.arange(784.0))
    assert not one.flatten().equal(torch.arange(784.0))
    assert sequences("permuted", torch.cat([image, image + 1000.0]), pixels)[1].equal(one[0] + 1000.0)


def test_rows_arrive_from_above() -> None:
    image = torch.arange(784.0).reshape(1, 1, 28, 28)
    assert sequences("rows", image)[0, 3].equal(torch.arange(84.0, 112.0))
    assert sequences("small rows", image)[0, 1, 0] == (56 + 57 + 84 + 85) / 4


def test_a_rerun_trains_what_is_missing_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, str, int]] = []

    def train(name: str, way: str, seed: int, options: Options) -> list[float]:
        trained.append((name, way, seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return [0.5] * options.epochs

    monkeypatch.setattr(recipe, "train", train)
    path = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        recipe.train_all(path, 2, OPTIONS)
    assert len(json.loads(path.read_text())) == 2
    found = recipe.train_all(path, 2, OPTIONS)
    total = 2 * sum(len(each.ways) for each in SETTINGS.values())
    assert len(found) == total == len(trained) - 1
    assert recipe.train_all(path, 2, OPTIONS) == found
    assert len(trained) == total + 1
    recipe.train_all(path, 1, OPTIONS._replace(pixels=14))  # others
    assert len(trained) == 1.5 * total + 1


def test_training_repeats_and_learns() -> None:
    one, two = (recipe.train("rows, feed-forward", "BPTT", 0, Options(2, 28, 1000)) for _ in range(2))
    assert one == two
    assert one[-1] > 0.15  # ten digits


def test_page_and_figure(tmp_path: Path) -> None:
    found = {
        OPTIONS.key(name, way, seed): [0.25, 0.5 + 0.1 * seed]
        for name, setting in SETTINGS.items()
        for way in setting.ways
        for seed in range(2)
        if way != "last_step"
    }
    costs = page.costs_of(found, lambda name, way: page.Cost(1.0, 2.0, 3.0))
    assert page.costs_of(found, lambda name, way: page.Cost(0.0, 0.0, 0.0)) == costs  # measured once
    reached = page.curves(found, OPTIONS)
    text = page.page(reached, costs, OPTIONS, "picture.png", "a machine")
    assert "55.0 ± 7.1" in text
    assert "| recurrent, diagonal (e-prop)" in text
    assert "-20.1" in text  # that of neuroseqbench
    figure.draw(tmp_path / "figure.png", reached, costs)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_cost_is_measured() -> None:
    cost = page.cost("small rows, recurrent", "last_step", (2, 4))
    assert 0.0 < cost.short < 10.0
    assert cost.long < 1.1 * cost.short  # memory does not grow with the steps
    assert cost.seconds > 0.0
    many = page.cost("small rows, recurrent", "BPTT", (20, 40))
    assert many.long > 1.6 * many.short
