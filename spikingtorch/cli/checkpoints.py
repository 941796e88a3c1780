"""The command ``python -m spikingtorch checkpoints``: convert those of 1.0.0rc1, which are pickles."""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict_saver import save

from spikingtorch.checkpoints.storage import Writer, documents, is_pickled, named, steps


def main(arguments: list[str]) -> int:
    """Convert the checkpoints of a folder and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m spikingtorch checkpoints", description=(__doc__ or "").split(": ")[1]
    )
    parser.add_argument("command", choices=["convert"])
    parser.add_argument("folder", type=Path, help="where they are; it stays as it is")
    parser.add_argument("new", type=Path, help="a folder that does not exist yet, for checkpoints without pickles")
    given = parser.parse_args(arguments)
    try:
        found = [path for step in steps(given.folder) if is_pickled(path := named(given.folder, step))]
        print(f"{given.folder} has {len(found)} of 1.0.0rc1. To convert them runs the code that is in them.")
        if not found or input("Do you trust whoever wrote them? [y/N] ").strip().lower() not in ("y", "yes"):
            return 1
        given.new.mkdir(parents=True)
        for path in found:
            convert(path, given.new)
            print(given.new / path.name)
    except (EOFError, OSError, TypeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def convert(path: Path, folder: Path) -> None:
    """Write a checkpoint of 1.0.0rc1 into another folder. This runs the code that is in its pickles."""
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings(action="ignore"):
        dcp_to_torch_save(path, whole := Path(temporary, "whole.pt"))
        state: dict[str, Any] = torch.load(whole, weights_only=False)
    of_process, tensors = ("random", "streams", "buffers", "own"), dict[str, Tensor]()
    own = {int(rank): dict(zip(of_process, each, strict=True)) for rank, each in state["process"].items()}
    states = {"model": state["model"], "optimizer": {"state": {}, "param_groups": []} | state.get("optimizer", {})}
    states["shared"] = _with_numbers(state.get("shared", {}))
    written = documents({"processes": len(own), "versions": dict(state["versions"])}, states, own, tensors)
    writer = Writer(folder / path.name, folder / f"{path.name}.part", written, keep=2**60)
    with warnings.catch_warnings(action="ignore"):
        save(writer.stage(tensors), storage_writer=writer, no_dist=True)


def _with_numbers(state: Any) -> Any:
    """Return a state whose dicts have numbers as keys again, of which torch had made texts."""
    if not isinstance(state, dict):
        return state
    return {int(key) if str(key).isdecimal() else key: _with_numbers(each) for key, each in state.items()}
