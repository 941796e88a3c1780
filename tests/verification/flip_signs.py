"""Flip every sign in the physics, one at a time, and see the verification turn red.

    python tests/flip_signs.py                 all places, some minutes on two cores
    python tests/flip_signs.py leaky reset     those in files with these names

A place is a plus or minus between two terms, or a minus before one, in a function of a neuron, a surrogate, a reset
rule or a coefficient, on the torch side or in the JAX twin. For each, a copy of the package has that one sign flipped,
and ``python -m spikingtorch verify`` runs on what the file is about. A flip that it lets pass is a hole in the
verification: the script lists it and exits with 1.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
PHYSICS = ("neurons/*.py", "spike.py", "surrogate.py", "closed_forms.py", "reset.py")  # on both sides
SURROGATES = ["Sigmoid", "FastSigmoid", "Arctan", "Triangular", "Gaussian", "Erf", "PiecewiseExponential"]
SURROGATES += ["StraightThrough", "FromPrimitive", "FromDerivative"]
# what to verify for a place in a file: the neurons and functions that the file defines
ABOUT = {
    "integrator": ["if"],
    "leaky": ["lif", "spiking_decay", "li", "decay_from_tau", "gain_from_tau"],
    "refractory": ["coarse_lif", "refractory_gain_from_tau"],
    "conductance": ["biolif"],
    "binary": ["mcpitts"],
    "reset": ["if"],
    "surrogate": SURROGATES,
    "closed_forms": SURROGATES,
    "spike": SURROGATES,
}


class Flip(NamedTuple):
    """A sign, and the file with the sign flipped."""

    path: Path
    line: int
    text: str
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.text}"


class _Flipper(ast.NodeTransformer):
    """Flip the sign with one number, counted in the order of the source."""

    def __init__(self, target: int) -> None:
        self.target, self.seen, self.line, self.text = target, -1, 0, ""

    def _is_target(self, node: ast.expr) -> bool:
        self.seen += 1
        if self.seen == self.target:
            self.line, self.text = node.lineno, ast.unparse(node)
        return self.seen == self.target

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if isinstance(node.op, ast.Add | ast.Sub) and self._is_target(node):
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.USub) and self._is_target(node):
            return self.generic_visit(node.operand)
        return self.generic_visit(node)


def flips(path: Path) -> Iterator[Flip]:
    """Yield every flip in a file."""
    target = 0
    while True:
        flipper = _Flipper(target)
        tree = flipper.visit(ast.parse((ROOT / path).read_text()))
        if flipper.seen < target:
            return
        yield Flip(path, flipper.line, flipper.text, ast.unparse(tree))
        target += 1


def verify(path: Path, source: str | None = None) -> str:
    """Verify a copy whose file has this source, and return "passed", "red", or "stopped" by an error."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "spikingtorch", Path(folder) / "spikingtorch")
        if source is not None:
            (Path(folder) / path).write_text(source)
        command = [sys.executable, "-m", "spikingtorch", "verify", "--only", *ABOUT[path.stem]]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": folder}
        done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return "passed"
        return "red" if "OUT OF TOLERANCE" in done.stdout else "stopped"


def main(names: list[str]) -> int:
    """Flip all signs, or those in files with these names, and return the exit code."""
    folder = ROOT / "spikingtorch" / "functional"
    paths = [
        p for pattern in PHYSICS for side in (".", "jax_reference") for p in sorted(folder.glob(f"{side}/{pattern}"))
    ]
    paths = [p.relative_to(ROOT) for p in dict.fromkeys(p.resolve() for p in paths) if not names or p.stem in names]
    places = [flip for path in paths for flip in flips(path)]
    if not places:
        print(f"No signs in files named {names}; there are {sorted(ABOUT)}.")
        return 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # unless everything passes as it is, red means nothing
        intact = {flip.path.stem: flip.path for flip in places}
        if set(pool.map(verify, intact.values())) != {"passed"}:
            print("The verification fails without any flip; run python -m spikingtorch verify.")
            return 1
        runs = pool.map(lambda flip: verify(flip.path, flip.source), places)
        results = list(tqdm(runs, total=len(places), unit="flip", disable=None))
    for flip, result in zip(places, results, strict=True):
        if result != "red":
            print(f"{result}: {flip}")
    red, stopped = results.count("red"), results.count("stopped")
    print(f"{len(places)} signs flipped: {red} turned the verification red, {stopped} stopped it with an error.")
    return 0 if red + stopped == len(places) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
