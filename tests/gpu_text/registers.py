"""The registers of every neuron's kernels, a table beside this file.

python -m tests.gpu_text.registers      compile all and write the table anew, three minutes
"""

from pathlib import Path

import triton

from spikingtorch.verification.cases import CASES
from tests.gpu_text.compiled import GPUS, Compiled, both_quickly
from tests.programs import of_neuron

TABLE = Path(__file__).parent / "registers.md"
_TITLE = """# Registers of a lane

Of the kernels that are printed as Triton {version}, in float32 and with the gradients of all parameters; each cell has
the forward pass and the backward pass, and the bytes of a lane that spill to memory, where some do. `make
test-gpu-text` compares; after a change that is meant,
`.venv-triton/bin/python -m tests.gpu_text.registers` writes the table anew. Nothing here was run on a GPU.
"""


def cell(passes: tuple[Compiled, Compiled]) -> str:
    """Return what the table says of both passes."""
    spilled = [f" ({each.spilled} spilled)" * bool(each.spilled) for each in passes]
    return " / ".join(f"{each.registers}{more}" for each, more in zip(passes, spilled, strict=True))


def known() -> dict[tuple[str, str], str]:
    """Return the cells of the table, by neuron and GPU."""
    rows = [
        [each.strip() for each in line.strip("|").split("|")] for line in TABLE.read_text().splitlines() if "|" in line
    ]
    return {(row[0], gpu): value for row in rows[2:] for gpu, value in zip(GPUS, row[2:], strict=True)}


def main() -> None:
    """Write the table."""
    lines = [_TITLE.format(version=triton.__version__)]
    lines += [f"| neuron | states | {' | '.join(GPUS)} |", f"|---|---|{'---|' * len(GPUS)}"]
    for case in CASES:
        program = of_neuron(case)
        found = {gpu: both_quickly(program, gpu) for gpu in GPUS}
        print(case.name, {gpu: [tuple(each[1:]) for each in passes] for gpu, passes in found.items()}, flush=True)
        lines.append(f"| {case.name} | {len(program.states)} | {' | '.join(cell(found[gpu]) for gpu in GPUS)} |")
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
