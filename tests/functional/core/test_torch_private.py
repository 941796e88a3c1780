"""Private names of torch stand in one file, which says which is missing."""

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikingtorch.functional.core import torch_private

ROOT = Path(__file__).parents[3]
FILE = Path(torch_private.__file__)
# private names of Python's own, and of tuples with names
_OF_PYTHON = {"_replace", "_asdict", "_make", "_fields", "_field_defaults", "_getframe", "_slotnames"}
_OF_PYTHON |= {"_GeneratorContextManager", "_handle"}
_OPERATIONS = {"_unsafe_view"}


@pytest.fixture(scope="module")  # and no longer, because the garbage collector goes through all of them
def nodes() -> list[tuple[Path, ast.AST]]:
    """Return what the files of the library consist of, but the one with the private names."""
    files = [path for path in sorted((ROOT / "spikingtorch").rglob("*.py")) if path != FILE]
    return [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def test_no_other_file_reaches_into_torch(nodes: list[tuple[Path, ast.AST]]) -> None:
    found = []
    for path, node in nodes:
        names = []
        if isinstance(node, ast.Attribute) and node.attr[:1] == "_":
            names = [ast.unparse(node)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{each.name}" for each in node.names]
        private = [name for name in names if re.fullmatch(r"(torch|nn)[\w.]*\._[a-z]\w*[\w.]*", name, re.I)]
        found += [f"{path.name}: {name}" for name in private if not name.startswith("torch.ops.")]
    assert not found


def test_all_private_attributes_are_listed(nodes: list[tuple[Path, ast.AST]]) -> None:
    """Whatever private attribute the library reads it has defined itself, or the list says that torch has it."""
    read: dict[str, str] = {}
    own: set[str] = set()
    for path, node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
        elif isinstance(node, ast.Attribute) and node.attr[:1] == "_" and node.attr[:2] != "__":
            read[node.attr] = f"{path.name}:{node.lineno}"
    listed = {name for names in torch_private.ATTRIBUTES.values() for name in names}
    assert {name: where for name, where in read.items() if name not in own | listed | _OF_PYTHON | _OPERATIONS} == {}


def test_objects_of_torch_have_the_attributes() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return 2.0 * x

    tensor: Any = torch.ones(2, requires_grad=True)
    out = Twice.apply(tensor)  # type: ignore[no-untyped-call]  # alive, for torch 2.12 tells nothing of other nodes
    state = importlib.import_module("torch.distributed.fsdp._fully_shard._fsdp_state").FSDPState()
    state.init((), torch.device("cpu"), importlib.import_module("torch.distributed.fsdp").MixedPrecisionPolicy(), True)
    of_torch = tensor.untyped_storage(), torch.ops.aten.add.Tensor, out.grad_fn, state
    objects = (nn.Identity(), nn.Conv2d(1, 1, 1), tensor, *of_torch)
    for thing, names in zip(objects, torch_private.ATTRIBUTES.values(), strict=True):
        assert not [name for name in names if not hasattr(thing, name)]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (torch._C, "_len_torch_function_stack"),
        (torch.autograd.graph, "_engine_run_backward"),
        (torch.utils, "_pytree"),
        (torch.autograd.forward_ad, "_current_level"),
    ],
)
def test_a_missing_name_is_said_in_words(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> None:
    monkeypatch.delattr(place, name)
    monkeypatch.setitem(sys.modules, f"torch.utils.{name}", None)
    spec: Any = importlib.util.spec_from_file_location("another_torch_private", FILE)
    with pytest.raises(
        ImportError, match=rf"torch {re.escape(torch.__version__)} does not have.*{name}.*2\.12 to 2\.1"
    ):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_versions_are_those_of_the_package() -> None:
    ranges = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lowest, highest = torch_private.SEEN
    torch_range = next(each for each in ranges if each.startswith("torch"))
    assert torch_range == f"torch>={lowest},<{'.'.join([highest.split('.')[0], str(int(highest.split('.')[1]) + 1)])}"
