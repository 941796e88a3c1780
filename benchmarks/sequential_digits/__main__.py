"""Trains what is not trained yet, and writes table and figure of accuracy, memory and time.

python -m benchmarks.sequential_digits                  28 permuted pixels a step, two seeds, half an hour on one core
python -m benchmarks.sequential_digits --pixels 1       one pixel a step, 784 steps: many hours
python -m benchmarks.sequential_digits --table          the page, of what is trained
"""

import argparse
import json
import os
from pathlib import Path

import torch

from benchmarks.launch import HERE
from benchmarks.sequential_digits import page
from benchmarks.sequential_digits.recipe import Options, train_all
from examples.training import positive


def main(arguments: list[str] | None = None) -> None:
    """Train, measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequential_digits", description=__doc__)
    parser.add_argument("--epochs", type=positive, default=4)
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--pixels", type=int, choices=(1, 2, 4, 7, 8, 14, 16, 28, 49, 56), default=28)
    parser.add_argument("--digits", type=positive, default=4000, help="so many in an epoch")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of page and results")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "docs" / "images" / "sequential_digits.png")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options, path = Options(given.epochs, given.pixels, given.digits), given.output / "sequential-digits.json"
    found = train_all(path, 0 if given.table else given.seeds, options)
    costs = page.costs_of(found)
    path.write_text(json.dumps(found, indent=1))
    reached = page.curves(found, options)
    page.draw(given.figure, reached, costs)
    link = Path(os.path.relpath(given.figure, given.output)).as_posix()
    text = page.page(reached, costs, options, link, page.machine())
    (given.output / "sequential-digits.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
