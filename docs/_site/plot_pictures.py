"""Draw the pictures of docs/plots.md from the code above each of them: ``python docs/_site/plot_pictures.py``."""

import argparse
import doctest
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

DOCS = Path(__file__).parents[1]
sys.path[:0] = [str(DOCS.parent)]

from examples.pictures import save  # noqa: E402

PICTURE = re.compile(r"!\[[^\]]*\]\((images/plots/[a-z_]+\.(?:png|gif))\)")


def pieces() -> list[tuple[str, str]]:
    """Return the code before each picture of the page, and the name of the picture."""
    parts = PICTURE.split((DOCS / "plots.md").read_text())
    code = ["".join(example.source for example in doctest.DocTestParser().get_examples(part)) for part in parts[::2]]
    return [*zip(code, parts[1::2], strict=False)]


def draw(folder: Path) -> list[Path]:
    """Run the page, and write what it draws under a folder."""
    names: dict[str, Any] = {}
    written = []
    for code, name in pieces():
        exec(compile(code, name, "exec"), names)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = re.findall(r"\b(ax|figure|path) = plot\.", code)[-1]
        if drawn == "path":
            shutil.copy(names["path"], path)
        else:
            figure = names["figure"] if drawn == "figure" else names["ax"].figure
            save(figure, path)
        written.append(path)
    return written


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DOCS)
    torch.set_num_threads(1)
    for path in draw(parser.parse_args().folder):
        print(f"{path.stat().st_size / 1000:5.0f} kB  {path}")


if __name__ == "__main__":
    main()
