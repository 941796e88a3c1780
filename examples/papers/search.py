"""Scores recipes for the table of speech, by voices that no test hears: ``python -m examples.papers.search``.

A network learns from four of six speakers, and is scored on the two others. The recipe for a test speaker is the one
with the best mean score on other speakers, over the networks that have not heard the test speaker either. So nothing
that is known of a test speaker chooses the recipe. Twelve pairs of speakers give each one four others.
"""

import argparse
import csv
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean

import torch

from examples.papers.__main__ import HERE, read
from examples.papers.loop import Seed
from examples.papers.speech import TASK

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
PAIRS = [pair for pair in combinations(SPEAKERS, 2) if (SPEAKERS.index(pair[1]) - SPEAKERS.index(pair[0])) != 3]
COLUMNS = ("recipe", "seed", "test", "scored", "accuracy")
Row = tuple[str, int, str, str, float]


def choose(rows: Sequence[Row]) -> dict[str, tuple[str, float]]:
    """Return the recipe for each test speaker, and its mean score on the others."""
    found = {}
    for test in {row[2] for row in rows}:
        scores = {recipe: mean(row[4] for row in rows if row[0] == recipe and row[2] == test) for recipe, *_ in rows}
        best = max(scores, key=lambda recipe: scores[recipe])
        found[test] = best, scores[best]
    return found


def main() -> None:
    """Score all recipes, write a row for each score, and print the recipe for each test speaker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipes", nargs="+", help="of search.toml (all)")
    parser.add_argument("--out", type=Path, default=Path("runs") / "papers" / "search")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base, given = read(HERE / "speech-lif.toml"), read(HERE / "search.toml")
    rows: list[Row] = []
    for recipe in args.recipes or given:
        for a, b in PAIRS:
            for seed in range(2):
                settings = {**base, **given[recipe], "variant": f"{a}+{b}"}
                run = Seed(TASK, settings, seed, args.out / recipe / f"{a}+{b}" / str(seed))
                run.run(f"{recipe}, {a} and {b}, seed {seed}")
                for test, scored in ((a, b), (b, a)):
                    _, accuracy = run.evaluate(TASK.data({**settings, "variant": scored}, seed)[2])
                    rows.append((recipe, seed, test, scored, round(accuracy, 4)))
        with (args.out / "search.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
        print(f"{recipe}: {mean(row[4] for row in rows if row[0] == recipe):.1%} of voices never heard", flush=True)
    for test, (recipe, score) in sorted(choose(rows).items()):
        print(f"{test}: {recipe}, {score:.1%} of the others", flush=True)


if __name__ == "__main__":
    main()
