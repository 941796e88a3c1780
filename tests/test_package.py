"""What is in the wheel, what importing costs, and that every public name is documented."""

import importlib
import inspect
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import spikingtorch

ROOT = Path(__file__).parents[1]
PUBLIC = ("spikingtorch", "spikingtorch.functional", "spikingtorch.losses", "spikingtorch.metrics")


def test_wheel_has_one_top_level_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("spikingtorch", "examples", "tests"):
        shutil.copytree(ROOT / name, tree / name)
    (tree / "functional").symlink_to((ROOT / "functional").readlink())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"spikingtorch", wheel.stem.rsplit("-", 3)[0] + ".dist-info"}
    assert {f"spikingtorch/{name}" for name in ("py.typed", "functional/README.md", "functional/scan.py")} <= {*names}


def test_functional_is_a_link() -> None:
    assert (ROOT / "functional").is_symlink()
    assert (ROOT / "functional").resolve() == ROOT / "spikingtorch" / "functional"


IMPORTED = """
import sys, warnings, spikingtorch
print(sorted({"jax", "matplotlib", "mlxtend", "torchvision", "functional"} & set(sys.modules)))
warnings.simplefilter("ignore")
print([name for name in dir(spikingtorch) if not hasattr(spikingtorch, name)])
"""


def test_import_is_lean_and_every_name_in_sight_is_there() -> None:
    """Such as ``st.init``, which no script has imported yet."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORTED], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n[]\n"
    assert "init" in dir(spikingtorch)
    with pytest.raises(AttributeError, match="module 'spikingtorch' has no attribute 'plots'"):
        getattr(spikingtorch, "plots")  # noqa: B009


def test_functional_does_not_need_the_modules_above_it() -> None:
    for path in (ROOT / "spikingtorch" / "functional").rglob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("import spikingtorch", "from spikingtorch")):
                assert line.split()[1].startswith("spikingtorch.functional"), f"{path}: {line}"


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_documented(module: str) -> None:
    loaded = importlib.import_module(module)
    assert len({*loaded.__all__}) == len(loaded.__all__)
    for name in loaded.__all__:
        value = getattr(loaded, name)
        if inspect.ismodule(value) or inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{module}.{name} has no docstring"
        assert not (inspect.getdoc(value) or "").startswith(f"{name}("), f"{module}.{name} has no docstring of its own"


def test_version_is_that_of_the_distribution() -> None:
    assert f'version = "{spikingtorch.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_linter_sees_every_module() -> None:
    """A pattern meant for the link at the top, ``functional``, easily leaves out the package of that name too."""
    command = [sys.executable, "-m", "ruff", "check", "--show-files"]
    seen = {*subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()}
    assert {str(path) for path in (ROOT / "spikingtorch").rglob("*.py")} <= seen
    assert not [path for path in seen if path.startswith(str(ROOT / "functional"))]
