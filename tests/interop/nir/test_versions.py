"""The package nir itself: missing, too old for this library, or new enough."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# what Sinabs 3.1.3 asks for: a reader of files that takes no other argument
OLD = """
__version__ = "1.0.4"
def read(filename): ...
"""


def said(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python where the modules in ``folder`` come first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=folder)


@pytest.mark.parametrize("command", [("-m", "spikingtorch", "nir", "a.nir"), ("-c", "import spikingtorch.interop.nir")])
def test_an_older_nir_is_refused_in_words(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "nir.py").write_text(OLD)
    done = said(tmp_path, *command)
    message = (
        "spikingtorch.interop.nir needs nir 1.0.7 or newer, and 1.0.4 is installed, whose neurons have another "
        "meaning: pip install --no-deps nir==1.0.8. Sinabs 3.1.3 asks for 1.0.4, and works with 1.0.8 as well."
    )
    assert done.stderr.rstrip().endswith(message)
    assert done.returncode == (2 if "-m" in command else 1)
    assert "-c" in command or done.stderr.strip() == message


def test_a_nir_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "nir.py").write_text("raise ModuleNotFoundError(name='nir')")
    done = said(tmp_path, "-m", "spikingtorch", "nir", "a.nir")
    assert done.stderr == "spikingtorch.interop.nir needs the package nir: pip install 'spikingtorch[nir]'\n"
    assert done.returncode == 2
