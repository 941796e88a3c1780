"""Flip every sign in the physics, one at a time, and see the verification turn red.

    python -m tests.verification.flip_signs                 all places, some minutes on two cores
    python -m tests.verification.flip_signs leaky reset     those in files with these names

A place is a plus or minus in a function of a neuron, a surrogate, a reset rule or a coefficient, on the torch side or
in the JAX twin. For each, a copy of the package has that one sign flipped, and ``python -m spikingtorch verify`` runs
on what the file is about. A flip that it lets pass is a hole in the verification: the script lists it and exits with 1.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

ROOT = Path(__file__).parents[2]
PHYSICS = ("neurons/*.py", "spike.py", "surrogate.py", "closed_forms.py", "reset.py")  # on both sides
SURROGATES = ["Sigmoid", "FastSigmoid", "Arctan", "Triangular", "Gaussian", "Erf", "PiecewiseExponential"]
SURROGATES += ["StraightThrough", "FromPrimitive", "FromDerivative"]
# what to verify for a place in a file: the neurons and functions that the file defines; periodic.py has no twin
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


def flips(path: Path) -> Iterator[Flip]:
    """Yield every flip in a file."""
    source = (ROOT / path).read_text()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.OP and token.string in "+-":
            lines, (row, column) = source.splitlines(keepends=True), token.start
            flipped = "-" if token.string == "+" else "+"
            text = lines[row - 1]
            lines[row - 1] = f"{text[:column]}{flipped}{text[column + 1 :]}"
            yield Flip(path, row, text.strip(), "".join(lines))


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
    files = [
        p for pattern in PHYSICS for side in (".", "jax_reference") for p in sorted(folder.glob(f"{side}/{pattern}"))
    ]
    stems = set(names or ABOUT) & ABOUT.keys()
    wanted = [p.relative_to(ROOT) for p in dict.fromkeys(p.resolve() for p in files) if p.stem in stems]
    places = [flip for path in wanted for flip in flips(path)]
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
            print(f"{result}: {flip.path}:{flip.line}  {flip.text}")
    red, stopped = results.count("red"), results.count("stopped")
    print(f"{len(places)} signs flipped: {red} turned the verification red, {stopped} stopped it with an error.")
    return 0 if red + stopped == len(places) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
