"""Prints a program as C: one function ``run`` with the loop over time inside, forward or backward."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources

from spikingtorch.functional.fused.codegen.abi import AXES, BACKWARD, FORWARD, numbers
from spikingtorch.functional.fused.codegen.c_expressions import LOCAL, STORED, Body, load, store
from spikingtorch.functional.fused.ir import Program

# neurons that one thread takes through time together: their states, and in a backward pass those of a chunk, stay in
# the first two caches. A forward pass takes longer pieces of a row, as long as its arrays fit into the first
BLOCK, LONGEST, FIRST_CACHE = 256, 2048, 2**15
# steps between two stored states; the backward pass computes those between them anew
CHUNK = 16

# returns whether an input is NaN or infinite, where a forward pass reads it anyway
_FUNCTION = """
int run(const Layout *layout, const double *scalars) {
    const int64_t steps = layout->steps, neurons = layout->neurons;
    int64_t block = BLOCK;
    while (block > SHORTEST && layout->rows * ((neurons + block - 1) / block) < 4 * layout->threads) block /= 2;
    const int64_t blocks = (neurons + block - 1) / block, tasks = layout->rows * blocks;
    int odd = 0;
    %s
    #pragma omp parallel for schedule(static) reduction(|:odd) \\
        num_threads((int)layout->threads) if (layout->threads > 1)
    for (int64_t task = 0; task < tasks; task++) {
        const int64_t row = task / blocks, first = task %% blocks * block;
        const int n = (int)(neurons - first < block ? neurons - first : block);
        %s
    }
    return odd;
}
"""


def forward_source(program: Program) -> str:
    """Return the forward pass in C."""
    number = numbers(FORWARD, program)
    states, outs = list(enumerate(program.states)), list(enumerate(program.outs))
    body = Body(program, (*program.finals, *program.results), "s{}[i]")
    task = [
        *(f"{LOCAL[dtype]} s{k}[BLOCK];" for k, dtype in states),
        *(f"START(const {STORED[dtype]}, s{k}_before, {number[f's{k}']})" for k, dtype in states),
        *(f"START({STORED[dtype]}, s{k}_after, {number[f'f{k}']})" for k, dtype in states),
        *(_each(f"s{k}[i] = {_before(k, dtype)};") for k, dtype in states),
        *body.before_time(number),
        *(f"STREAM(const {STORED[dtype]}, x{k}, {number[f'x{k}']})" for k, dtype in enumerate(program.xs)),
        *(f"STREAM({STORED[dtype]}, y{k}, {number[f'y{k}']})" for k, dtype in outs),
        *(f"STREAM({STORED[dtype]}, k{k}, {number[f'k{k}']})" for k, dtype in states),
        *([f"const int keep = layout->arrays[{number['k0']}].data != 0;"] if states else []),
        "for (int64_t t = 0; t < steps; t++) {",
        *("if (keep && t % CHUNK == 0 && t) "
          + _each(f"AT(k{k}, t / CHUNK - 1)[i] = {store(f's{k}[i]', dtype)};") for k, dtype in states),
        *body.inputs("t"),
        *(f"FETCH(x{k}, t + CHUNK)" for k in range(len(program.xs))),
        *(f"{STORED[dtype]} *const y{k}_t = AT(y{k}, t);" for k, dtype in outs),
        "INDEPENDENT EACH {",
        *(f"odd |= !({finite});" for finite in body.finite_inputs()),
        *body.each_step((*program.finals, *program.results)),
        *(f"s{k}[i] = {body.name(node)};" for k, node in enumerate(program.finals)),
        *(f"y{k}_t[i] = {store(body.name(program.results[k]), dtype)};" for k, dtype in outs),
        "}",
        "}",
        *(_each(f"s{k}_after[i] = {store(f's{k}[i]', dtype)};") for k, dtype in states),
        *(f"if (layout->arrays[{number[f'z{k}']}].data) {{" + f"START({STORED[dtype]}, z{k}, {number[f'z{k}']}) "
          + _each(f"z{k}[i] = AT(y{k}, steps - 1)[i]; }}") for k, dtype in outs),
        *(line for k, dtype in outs for line in _count(k, dtype, number[f"w{k}"], number[f"b{k}"])),
    ]  # fmt: skip
    block, arrays = LONGEST, len(states) + len(body.schedule.arrays)
    while block > BLOCK and 4 * block * arrays > FIRST_CACHE:
        block //= 2
    return _source(body, task, block)


def backward_source(program: Program, wanted: Sequence[bool]) -> str:
    """Return the backward pass in C.

    Args:
        program: the program.
        wanted: for each parameter, whether its gradient is.
    """
    number = numbers(BACKWARD, program)
    of_states, of_xs, of_params = program.split_gradients()
    chosen = {k: node for k, node in enumerate(of_params) if wanted[k] and node >= 0}
    gradients = (*of_states, *of_xs, *chosen.values())
    body = Body(program, (*program.finals, *gradients), "h{}[t][i]")
    kept = program.reads_states(gradients)
    if kept:
        body.schedule.cache_values(program.finals, gradients)
    task = [
        *_before_backward(program, body, number, chosen, kept),
        "for (int64_t chunk = (steps - 1) / CHUNK; chunk >= 0; chunk--) {",
        "const int64_t start = chunk * CHUNK;",
        "const int last = (int)(steps - start < CHUNK ? steps - start : CHUNK) - 1;",
        *(_recompute(program, body) if kept else ()),
        "for (int t = last; t >= 0; t--) {",
        *_step_back(program, body, chosen, kept),
        "}",
        "}",
        *(f"if (layout->arrays[{number[f'd{k}']}].data) {{" + f"START({STORED[dtype]}, d{k}, {number[f'd{k}']}) "
          + _each(f"d{k}[i] = {store(f'g{k}[i]', dtype)}; }}") for k, dtype in enumerate(program.states)),
        *(f"START({STORED[program.params[k][0]]}, q{k}_sum, {number[f'q{k}']}) "
          + _each(f"q{k}_sum[i] = {store(f'q{k}[i]', program.params[k][0])};") for k in chosen),
    ]  # fmt: skip
    return _source(body, task, BLOCK)


def _before_backward(
    program: Program, body: Body, number: dict[str, int], chosen: Iterable[int], kept: bool
) -> list[str]:
    """Declare the arrays of a backward pass, and start with the gradients of the final states."""
    states, xs, of_xs = list(enumerate(program.states)), list(enumerate(program.xs)), program.split_gradients()[1]
    chosen = list(chosen)
    return [
        "int64_t unused[BLOCK];" if xs else "",
        *(f"{LOCAL[dtype]} h{k}[CHUNK + 1][BLOCK];" for k, dtype in states if kept),
        *(f"{LOCAL[program.nodes[k].dtype]} m{k}[CHUNK][BLOCK];" for k in body.schedule.cached),
        *(f"START(const {STORED[dtype]}, s{k}_before, {number[f's{k}']})" for k, dtype in states if kept),
        *(f"{LOCAL[dtype]} g{k}[BLOCK];" for k, dtype in states),
        *(f"{LOCAL[program.params[k][0]]} q{k}[BLOCK];" for k in chosen),
        *(_each(f"q{k}[i] = 0;") for k in chosen),
        *body.before_time(number),
        *(f"STREAM(const {STORED[dtype]}, x{k}, {number[f'x{k}']})" for k, dtype in xs),
        *(f"STREAM(const {STORED[dtype]}, k{k}, {number[f'k{k}']})" for k, dtype in states if kept),
        *(f"GIVEN({STORED[dtype]}, c{k}, {number[f'c{k}']})"
          for k, dtype in enumerate((*program.states, *program.outs))),
        *(f"WANTED({STORED[dtype]}, e{k}, {number[f'e{k}']})" for k, dtype in xs if of_xs[k] >= 0),
        *(_each(f"g{k}[i] = {load(f'c{k}[i]', dtype)};") for k, dtype in states),
    ]  # fmt: skip


def _step_back(program: Program, body: Body, chosen: Mapping[int, int], kept: bool) -> list[str]:
    """From the gradients of the states after a step to those before it, of its inputs, and of the chosen parameters."""
    of_states, of_xs, _ = program.split_gradients()
    xs, outs = list(enumerate(program.xs)), list(enumerate(program.outs, len(program.states)))
    return [
        *body.inputs("start + t"),
        *(f"FETCH(x{k}, start + t - CHUNK)" for k, _ in xs if not kept),
        *(f"FETCH(c{k}, start + t - CHUNK)" for k, _ in outs),
        *(f"const {STORED[dtype]} *const c{k}_t = AT(c{k}, start + t);" for k, dtype in outs),
        *(f"{STORED[dtype]} *const e{k}_t = AT(e{k}, start + t);" for k, dtype in xs if of_xs[k] >= 0),
        "INDEPENDENT EACH {",
        *body.each_step((*of_states, *of_xs, *chosen.values()), body.schedule.cached),
        *(f"q{k}[i] += {body.name(node)};" for k, node in chosen.items()),
        *(f"e{k}_t[i] = {store(body.name(of_xs[k]), dtype)};" for k, dtype in xs if of_xs[k] >= 0),
        *(f"g{k}[i] = {body.name(node) if node >= 0 else '0'};" for k, node in enumerate(of_states)),
        "}",
    ]


def _recompute(program: Program, body: Body) -> list[str]:
    """Fill h with the states before each step of a chunk, from the one that was kept."""
    kept = [load(f"AT(k{k}, chunk - 1)[i]", dtype) for k, dtype in enumerate(program.states)]
    first = [
        f"if (chunk) {{ {_each(f'h{k}[0][i] = {kept[k]};')} }} else {{ {_each(f'h{k}[0][i] = {_before(k, dtype)};')} }}"
        for k, dtype in enumerate(program.states)
    ]
    return [
        *first,
        f"for (int t = 0; t {'<=' if body.schedule.cached else '<'} last; t++) {{",
        *body.inputs("start + t"),
        *(f"FETCH(x{k}, start + t - CHUNK)" for k in range(len(program.xs))),
        "INDEPENDENT EACH {",
        *body.each_step(program.finals),
        *(f"m{k}[t][i] = v{k};" for k in body.schedule.cached),
        *(f"h{k}[t + 1][i] = {body.name(node)};" for k, node in enumerate(program.finals)),
        "}",
        "}",
    ]


def _count(k: int, dtype: str, number: int, before: int) -> list[str]:
    """Count the steps at which an output was not zero, as long as outputs are in the first caches."""
    return [
        f"if (layout->arrays[{number}].data) {{",
        f"START({STORED['i32']}, w{k}, {number})",
        f"const {STORED['i32']} *const b{k} ="
        f" layout->arrays[{before}].data ? FIRST(const {STORED['i32']}, {before}) : 0;",
        f"if (b{k}) {{ INDEPENDENT EACH w{k}[i] = b{k}[i]; }} else {{ EACH w{k}[i] = 0; }}",
        "for (int64_t t = 0; t < steps; t++) {",
        f"const {STORED[dtype]} *const y{k}_t = AT(y{k}, t);",
        f"INDEPENDENT EACH w{k}[i] += {load(f'y{k}_t[i]', dtype)} != 0;",
        "}",
        "}",
    ]


def _before(k: int, dtype: str) -> str:
    """Return a state before the first step."""
    return load(f"s{k}_before[i * s{k}_before_neuron]", dtype)


def _each(line: str) -> str:
    return f"EACH {line}"


def _source(body: Body, task: list[str], block: int) -> str:
    lines = (_FUNCTION % ("\n".join(body.once()), "\n".join(task))).splitlines()
    return _header(block) + "\n" + "\n".join(_indented(line.strip() for line in lines)) + "\n"


def _indented(lines: Iterable[str]) -> Iterable[str]:
    depth = 0
    for line in lines:
        depth -= line.startswith("}")
        if line:
            yield "    " * depth + line
        depth += line.count("{") - line.count("}") + line.startswith("}")


@lru_cache(maxsize=16)
def _header(block: int) -> str:
    folder = resources.files("spikingtorch.functional.fused.codegen")
    named = {"BLOCK": block, "SHORTEST": BLOCK, "CHUNK": CHUNK, "AXES": AXES}
    sizes = [f"#define {name} {size}" for name, size in named.items()]
    return "\n".join([*sizes, *((folder / name).read_text() for name in ("kernel.h", "vector_math.h"))])
