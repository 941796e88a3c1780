"""Trains the models of a table, seed by seed, and prints the table: ``python -m examples.papers ecg --seeds 5``.

A run that was killed goes on where it was. Each seed has a folder, ``runs/papers/ecg-brf/0``.
"""

import argparse
import csv
import datetime
import importlib
import platform
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import torch

from examples import checkpoint
from examples.papers.loop import COLUMNS, Seed, Settings
from examples.papers.picture import draw
from examples.training import positive

HERE = Path(__file__).parent
TABLES = ("ecg", "smnist", "speech", "events")
MACHINE = ("minutes", "parameters", "commit", "processor", "threads", "date")
RESULTS = ("model", "seed", "test_accuracy", *COLUMNS[:-1], *MACHINE)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="papers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--models", nargs="+", help="of the table (all)", metavar="MODEL")
    parser.add_argument("--seeds", type=positive, default=1, help="how many, from 0 on (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (%(default)s)")
    parser.add_argument("--epochs", type=positive, help="other than in the settings, to try it")
    parser.add_argument("--threads", type=positive, default=1, help="of torch (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs") / "papers")
    return parser.parse_args(arguments)


def read(path: Path) -> dict[str, Any]:
    """Return the settings of a file; what it does not say is that of the file that it is ``like``."""
    settings = tomllib.loads(path.read_text())
    model = settings.pop("like", None)
    return (read(HERE / f"{model}.toml") if model else {}) | settings


def settings_of(table: str) -> dict[str, Settings]:
    """Return the settings of each model of a table by name, or of its variants: "ecg-brf", "speech-lif/theo"."""
    found: dict[str, Settings] = {}
    for path in sorted(HERE.glob(f"{table}-*.toml")):
        settings = read(path)
        variants = settings.pop("variants", None)
        found |= {f"{path.stem}/{each}": settings | {"variant": each} for each in variants or ()} or {
            path.stem: settings
        }
    return found


def row(name: str, run: Seed, accuracy: float) -> list[str]:
    """Return the row of a seed, for ``results.csv``."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    minutes = sum(each[COLUMNS.index("seconds")] for each in run.rows) / 60.0
    parameters = sum(each.numel() for each in run.model.parameters())
    own = [f"{value:.6g}" for value in (accuracy, *run.chosen[:-1])]
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    machine = [commit.stdout.strip(), _processor(), str(torch.get_num_threads()), today]
    return [name, str(run.seed), *own, f"{minutes:.1f}", str(parameters), *machine]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what the command line asks for, and return the exit code."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    task, models = importlib.import_module(f"examples.papers.{args.table}").TASK, settings_of(args.table)
    asked = {f"{args.table}-{model}" for model in args.models or []} or {name.partition("/")[0] for name in models}
    chosen = {name: each for name, each in models.items() if asked & {name, name.partition("/")[0]}}
    try:
        for name, settings in chosen.items():
            reached = []
            for seed in range(args.first, args.first + args.seeds):
                used = {**settings, **({"epochs": args.epochs} if args.epochs else {})}
                run = Seed(task, used, seed, args.out / name / str(seed))
                accuracy = run.run(f"{name}, seed {seed}")
                reached.append(100.0 * accuracy)
                _note(args.out / "results.csv", row(name, run, accuracy))
                where = f"at epoch {run.chosen[0]:.0f}"
                print(f"{name}, seed {seed}: {reached[-1]:.2f} % of the test set, {where}", flush=True)
            print(f"{name}: {mean(reached):.2f} ± {pstdev(reached):.2f} % over {len(reached)} seeds", flush=True)
        draw(args.out / f"{args.table}.png", args.table, sorted({name.partition("/")[0] for name in chosen}), args.out)
    except (checkpoint.CheckpointError, FileNotFoundError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _note(path: Path, line: list[str]) -> None:
    """Put a line into a table of results, in the place of one of the same model and seed."""
    lines = [*csv.reader(path.read_text().splitlines())] if path.exists() else []
    kept = [each for each in lines[1:] if each[:2] != line[:2]]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([RESULTS, *sorted([*kept, line])])


if __name__ == "__main__":
    sys.exit(main())
