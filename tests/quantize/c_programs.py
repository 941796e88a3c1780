"""Generated C, compiled and run beside IntegerModel.run."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikingtorch.quantize import IntegerModel
from spikingtorch.quantize.c import to_c
from spikingtorch.quantize.neurons import Neuron

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def expected(model: IntegerModel, x: Any) -> list[list[int]]:
    """Return the lines that a main writes: of each neuron node spikes, v and i, and the output."""
    found = model.run(x, record=True)
    columns: list[Any] = []
    for node in model.nodes:
        if isinstance(node, Neuron):
            record = found.records[node.name]
            columns += [record.spikes, record.v, *([record.i] if node.decay_synapse is not None else [])]
    columns.append(found.out)
    flags = [np.zeros((*x.shape[:2], 1))] * any(getattr(node, "overflow", "") == "error" for node in model.nodes)
    lines = np.concatenate([each.reshape(*x.shape[:2], -1) for each in [*columns, *flags]], 2)
    return lines.reshape(-1, lines.shape[-1]).astype(int).tolist()


def stdin_of(x: Any) -> str:
    return "\n".join(f"{sample.shape[0]} " + " ".join(map(str, sample.ravel().tolist())) for sample in x)


def lines_of(text: str) -> list[list[int]]:
    return [[int(each) for each in line.split()] for line in text.splitlines()]


def compiled(model: IntegerModel, folder: Path, command: Sequence[str]) -> Path:
    to_c(model, folder / "net.c", main=True)
    program = folder / "net"
    done = subprocess.run([*command, str(folder / "net.c"), "-o", str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def ran(program: Path, x: Any, emulator: Sequence[str] = ()) -> list[list[int]]:
    done = subprocess.run([*emulator, str(program)], input=stdin_of(x), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return lines_of(done.stdout)
