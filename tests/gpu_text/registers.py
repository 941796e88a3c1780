"""The registers of every neuron's kernels, a table beside this file.

python -m tests.gpu_text.registers      compile all and write the table anew, three minutes
"""

from pathlib import Path

import triton

from spikingtorch.verification.cases import CASES, Case
from tests.gpu_text.compiled import GPUS, Compiled, compile_backward, compile_forward
from tests.programs import of_neuron

TABLE = Path(__file__).parent / "registers.md"
_TITLE = """# Registers of a lane

Of the kernels that are printed as Triton {version}, in float32 and with the gradients of all parameters; each cell has
the forward pass and the backward pass, and the bytes of a lane that spill to memory, where some do. `make
test-gpu-text` compares; after a change that is meant,
`.venv-triton/bin/python -m tests.gpu_text.registers` writes the table anew. Nothing here was run on a GPU.
"""


def both(case: Case, gpu: str) -> tuple[Compiled, Compiled]:
    """Return both passes of a neuron in machine code."""
    program = of_neuron(case)
    return compile_forward(program, gpu), compile_backward(program, gpu)


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
    slowest = 0.0
    for case in CASES:
        found = {gpu: both(case, gpu) for gpu in GPUS}
        slowest = max(slowest, *(each.seconds for passes in found.values() for each in passes))
        print(case.name, {gpu: [tuple(each[1:]) for each in passes] for gpu, passes in found.items()}, flush=True)
        states = len(of_neuron(case).states)
        lines.append(f"| {case.name} | {states} | {' | '.join(cell(found[gpu]) for gpu in GPUS)} |")
    TABLE.write_text("\n".join(lines) + "\n")
    print(f"the slowest kernel took {slowest:.1f} s to compile")


if __name__ == "__main__":
    main()
