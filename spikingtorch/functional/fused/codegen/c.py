"""Print a program as C: a function with the loop over time inside, forward or backward, that kernel.h runs."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources

from spikingtorch.functional.fused.codegen.abi import AXES, BACKWARD, FORWARD, numbers
from spikingtorch.functional.fused.codegen.c_expressions import LOCAL, STORED, Body, load, store
from spikingtorch.functional.fused.ir import Program

# The number of neurons that one thread takes through a chunk of time together: their states at all steps of the chunk
# stay in the first two caches. The adjacent blocks of a group all go through one chunk before the next chunk, so memory
# is read in long pieces. Their states in between stay in the second cache.
BLOCK, LARGEST_GROUP, GROUP_BYTES = 128, 64, 2**17
# the number of values above which an array over time does not stay in the second cache
FAR = 2**18
# steps between two stored states; the backward pass recomputes the states between them
CHUNK = 16

_FUNCTION = """
static int share(const Layout *layout, const double *scalars, int64_t number) {
    const int64_t steps = layout->steps, neurons = layout->neurons, blocks = (neurons + BLOCK - 1) / BLOCK;
    int64_t groups = (blocks + GROUP - 1) / GROUP;
    while (groups < blocks && layout->rows * groups %% layout->threads) groups++;  // the same work for each thread
    const int64_t group = (blocks + groups - 1) / groups, tasks = layout->rows * groups;
    const int far = layout->rows * steps * neurons >= FAR;
    int odd = 0;
    for (int64_t task = FIRST(tasks, number); task < FIRST(tasks, number + 1); task++) {
        const int64_t row = task / groups, begin = task %% groups * group * BLOCK;
        const int64_t left = (neurons - begin + BLOCK - 1) / BLOCK;
        const int count = (int)(left < group ? left : group);
        %s
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
        *body.of_row(number),
        *(f"{LOCAL[dtype]} s{k}_all[GROUP][BLOCK];" for k, dtype in states),
        *(f"STATIC(const {STORED[dtype]}, s{k}_before, {number[f's{k}']})" for k, dtype in states),
        *(f"STREAM(const {STORED[dtype]}, x{k}, {number[f'x{k}']})" for k, dtype in enumerate(program.xs)),
        *(f"STREAM({STORED[dtype]}, y{k}, {number[f'y{k}']})" for k, dtype in outs),
        *(f"STREAM({STORED[dtype]}, k{k}, {number[f'k{k}']})" for k, dtype in states),
        *([f"const int keep = layout->arrays[{number['k0']}].data != 0;"] if states else []),
        *_blocks(
            *_state_arrays(program),
            *(_each(f"s{k}[i] = {_before(k, dtype)};") for k, dtype in states),
            *body.before_time(),
        ),
        "for (int64_t start = 0; start < steps; start += CHUNK) {",
        "const int64_t end = start + CHUNK < steps ? start + CHUNK : steps;",
        *_blocks(*_chunk_forward(program, body, number)),
        "}",
        *_blocks(
            *_state_arrays(program),
            *(f"STORED({STORED[dtype]}, s{k}_after, {number[f'f{k}']}) " + _write(f"s{k}_after", f"s{k}", dtype)
              for k, dtype in states),
            *(f"if (layout->arrays[{number[f'z{k}']}].data) {{ STORED({STORED[dtype]}, z{k}, {number[f'z{k}']}) "
              f"HERE({STORED[dtype]}, y{k}) {_copy(f'z{k}', f'AT(y{k}, steps - 1)')} }}" for k, dtype in outs),
        ),
    ]  # fmt: skip
    counts = [f"COUNT({dtype}, {STORED[dtype]}, {load('y[i]', dtype)})" for dtype in dict.fromkeys(program.outs)]
    return _source(body, task, len(states), counts)


def _chunk_forward(program: Program, body: Body, number: dict[str, int]) -> list[str]:
    """Take a block through the steps from start to end."""
    states, outs = list(enumerate(program.states)), list(enumerate(program.outs))
    return [
        *_state_arrays(program),
        *body.arrays_here(),
        *(f"HERE(const {STORED[dtype]}, x{k})" for k, dtype in enumerate(program.xs)),
        *(f"HERE({STORED[dtype]}, y{k})" for k, dtype in outs),
        *(f"if (keep && start) {{ HERE({STORED[dtype]}, k{k}) "
          f"{_write(f'AT(k{k}, start / CHUNK - 1)', f's{k}', dtype)} }}" for k, dtype in states),
        "AHEAD(CHUNK)",
        "for (int64_t t = start; t < end; t++) {",
        *body.inputs("t"),
        *(f"FETCH(x{k}, t, 0)" for k, _ in enumerate(program.xs)),
        *(f"FETCH(y{k}, t, 1)" for k, _ in outs),
        *(f"{STORED[dtype]} *const y{k}_t = AT(y{k}, t);" for k, dtype in outs),
        "EACH {",
        *(f"odd |= {odd};" for odd in body.odd_inputs()),
        *body.each_step((*program.finals, *program.results)),
        *(f"s{k}[i] = {body.name(node)};" for k, node in enumerate(program.finals)),
        *(f"y{k}_t[i] = {store(body.name(program.results[k]), dtype)};" for k, dtype in outs),
        "}",
        "}",
        *(line for k, dtype in outs for line in _count(k, dtype, number[f"w{k}"], number[f"b{k}"])),
    ]  # fmt: skip


def backward_source(program: Program, wanted: Sequence[bool]) -> str:
    """Return the backward pass in C; ``wanted`` says for each parameter whether its gradient is wanted."""
    # longer than other functions, because it is one text in the order of execution
    number = numbers(BACKWARD, program)
    of_states, of_xs, _ = program.split_gradients()
    chosen = program.chosen(wanted)
    gradients = (*of_states, *of_xs, *chosen.values())
    body = Body(program, (*program.finals, *gradients), "h{}[t][i]")
    kept = program.reads_states(gradients)
    if kept:
        body.schedule.cache_values(program.finals, gradients)
    sums = [
        *(f"{LOCAL[dtype]} *const g{k} = g{k}_all[b];" for k, dtype in enumerate(program.states)),
        *(f"{LOCAL[program.params[k][0]]} *const q{k} = q{k}_all[b];" for k in chosen),
    ]
    task = [
        *_before_backward(program, body, number, chosen, kept),
        *_blocks(
            *sums,
            *(f"memset(q{k}, 0, sizeof q{k}_all[b]);" for k in chosen),
            *(f"HERE(const {STORED[dtype]}, c{k}) " + _read(f"g{k}", f"c{k}", dtype)
              for k, dtype in enumerate(program.states)),
            *body.before_time(),
        ),
        "for (int64_t chunk = (steps - 1) / CHUNK; chunk >= 0; chunk--) {",
        "const int64_t start = chunk * CHUNK;",
        "const int last = (int)(steps - start < CHUNK ? steps - start : CHUNK) - 1;",
        *_blocks(
            *sums,
            *body.arrays_here(),
            *_streams_here(program, kept),
            *(_recompute(program, body) if kept else ()),
            "for (int t = last; t >= 0; t--) {",
            *_step_back(program, body, chosen, kept),
            "}",
        ),
        "}",
        *_blocks(
            *sums,
            *(f"if (layout->arrays[{number[f'd{k}']}].data) {{ STORED({STORED[dtype]}, d{k}, {number[f'd{k}']}) "
              f"{_write(f'd{k}', f'g{k}', dtype)} }}" for k, dtype in enumerate(program.states)),
            *(f"STORED({STORED[program.params[k][0]]}, q{k}_sum, {number[f'q{k}']}) "
              + _write(f"q{k}_sum", f"q{k}", program.params[k][0]) for k in chosen),
        ),
    ]  # fmt: skip
    return _source(body, task, len(program.states) + len(chosen))


def _before_backward(
    program: Program, body: Body, number: dict[str, int], chosen: Iterable[int], kept: bool
) -> list[str]:
    """Declare the arrays of a backward pass, and load the gradients of the final states."""
    states, xs, of_xs = list(enumerate(program.states)), list(enumerate(program.xs)), program.split_gradients()[1]
    chosen = list(chosen)
    return [
        *body.of_row(number),
        "int64_t unused[BLOCK];" if xs else "",
        *(f"{LOCAL[dtype]} h{k}[CHUNK + 1][BLOCK];" for k, dtype in states if kept),
        *(f"{LOCAL[program.nodes[k].dtype]} m{k}[CHUNK][BLOCK];" for k in body.schedule.cached),
        *(f"{LOCAL[dtype]} g{k}_all[GROUP][BLOCK];" for k, dtype in states),
        *(f"{LOCAL[program.params[k][0]]} q{k}_all[GROUP][BLOCK];" for k in chosen),
        *(f"STATIC(const {STORED[dtype]}, s{k}_before, {number[f's{k}']})" for k, dtype in states if kept),
        *(f"STREAM(const {STORED[dtype]}, x{k}, {number[f'x{k}']})" for k, dtype in xs),
        *(f"STREAM(const {STORED[dtype]}, k{k}, {number[f'k{k}']})" for k, dtype in states if kept),
        *(f"GIVEN({STORED[dtype]}, c{k}, {number[f'c{k}']})"
          for k, dtype in enumerate((*program.states, *program.outs))),
        *(f"WANTED({STORED[dtype]}, e{k}, {number[f'e{k}']})" for k, dtype in xs if of_xs[k] >= 0),
    ]  # fmt: skip


def _streams_here(program: Program, kept: bool) -> list[str]:
    """Declare the pointers to the arrays that a backward pass reads and writes for a block."""
    of_xs = program.split_gradients()[1]
    return [
        "AHEAD(-CHUNK)",
        *(f"HERE(const {STORED[dtype]}, x{k})" for k, dtype in enumerate(program.xs)),
        *(f"HERE(const {STORED[dtype]}, k{k})" for k, dtype in enumerate(program.states) if kept),
        *(f"HERE(const {STORED[dtype]}, c{k})" for k, dtype in enumerate(program.outs, len(program.states))),
        *(f"HERE({STORED[dtype]}, e{k})" for k, dtype in enumerate(program.xs) if of_xs[k] >= 0),
    ]


def _step_back(program: Program, body: Body, chosen: Mapping[int, int], kept: bool) -> list[str]:
    """Print one step back: the gradients of the states before it, of its inputs and of the chosen parameters."""
    of_states, of_xs, _ = program.split_gradients()
    xs, outs = list(enumerate(program.xs)), list(enumerate(program.outs, len(program.states)))
    return [
        *body.inputs("start + t"),
        *(f"FETCH(x{k}, start + t, 0)" for k, _ in xs),
        *(f"FETCH(c{k}, start + t, 0)" for k, _ in outs if not kept),
        *(f"const {STORED[dtype]} *const c{k}_t = AT(c{k}, start + t);" for k, dtype in outs),
        *(f"FETCH(e{k}, start + t, 1)" for k, _ in xs if of_xs[k] >= 0),
        *(f"{STORED[dtype]} *const e{k}_t = AT(e{k}, start + t);" for k, dtype in xs if of_xs[k] >= 0),
        "EACH {",
        *body.each_step((*of_states, *of_xs, *chosen.values()), body.schedule.cached),
        *(f"q{k}[i] += {body.name(node)};" for k, node in chosen.items()),
        *(f"e{k}_t[i] = {store(body.name(of_xs[k]), dtype)};" for k, dtype in xs if of_xs[k] >= 0),
        *(f"g{k}[i] = {body.name(node) if node >= 0 else '0'};" for k, node in enumerate(of_states)),
        "}",
    ]


def _recompute(program: Program, body: Body) -> list[str]:
    """Fill h with the states before each step of a chunk, starting at the stored state."""
    first = [
        f"if (chunk) {{ {_read(f'h{k}[0]', f'AT(k{k}, chunk - 1)', dtype)} }} "
        f"else {{ {_each(f'h{k}[0][i] = {_before(k, dtype)};')} }}"
        for k, dtype in enumerate(program.states)
    ]
    return [
        *first,
        f"for (int t = 0; t {'<=' if body.schedule.cached else '<'} last; t++) {{",
        *body.inputs("start + t"),
        *(f"FETCH(c{k}, start + t, 0)" for k, _ in enumerate(program.outs, len(program.states))),
        "EACH {",
        *body.each_step(program.finals),
        *(f"m{k}[t][i] = v{k};" for k in body.schedule.cached),
        *(f"h{k}[t + 1][i] = {body.name(node)};" for k, node in enumerate(program.finals)),
        "}",
        "}",
    ]


def _count(k: int, dtype: str, number: int, earlier: int) -> list[str]:
    """Count the steps of a chunk at which an output was not zero, while the outputs are in the first caches.

    The first chunk continues the counts of an earlier call, if there are any.
    """
    i32 = STORED["i32"]
    return [
        f"if (layout->arrays[{number}].data) {{",
        f"STORED({i32}, w{k}, {number})",
        f"const {i32} *before = start ? w{k} : (const {i32} *)zeros;",
        f"if (!start && layout->arrays[{earlier}].data) {{ STORED(const {i32}, b{k}, {earlier}) before = b{k}; }}",
        f"count_{dtype}(AT(y{k}, start), y{k}_step, end - start, n, before, w{k});",
        "}",
    ]


def _copy(target: str, source: str) -> str:
    """Copy the numbers of a block by a library function; a loop in the text would take longer to compile."""
    return f"memcpy({target}, {source}, (size_t)n * sizeof *{source});"


def _read(target: str, source: str, dtype: str) -> str:
    """Read the numbers of a block from memory."""
    return _copy(target, source) if _is_plain(dtype) else _each(f"{target}[i] = {load(f'{source}[i]', dtype)};")


def _write(target: str, source: str, dtype: str) -> str:
    """Write the numbers of a block to memory."""
    return _copy(target, source) if _is_plain(dtype) else _each(f"{target}[i] = {store(f'{source}[i]', dtype)};")


def _is_plain(dtype: str) -> bool:
    """Return True if numbers have the same type in memory and in computations."""
    return LOCAL.get(dtype) == STORED[dtype]


def _blocks(*lines: str) -> list[str]:
    """Print a loop over the blocks of a group."""
    return ["for (int b = 0; b < count; b++) {", "BLOCK_OF(b)", *lines, "}"]


def _state_arrays(program: Program) -> list[str]:
    """Name the states of a block."""
    return [f"{LOCAL[dtype]} *const s{k} = s{k}_all[b];" for k, dtype in enumerate(program.states)]


def _before(k: int, dtype: str) -> str:
    """Return a state before the first step."""
    return load(f"s{k}_before_row[(first + i) * s{k}_before_neuron]", dtype)


def _each(line: str) -> str:
    return f"EACH {line}"


def _source(body: Body, task: list[str], kept: int, before: Iterable[str] = ()) -> str:
    """Return the whole text; ``kept`` is the number of further arrays that a group keeps from chunk to chunk."""
    group = LARGEST_GROUP
    while group > 1 and 8 * BLOCK * group * (kept + len(body.schedule.arrays)) > GROUP_BYTES:
        group //= 2
    lines = (_FUNCTION % ("\n".join(body.once()), "\n".join(task))).splitlines()
    return "\n".join([_header(group), *before, *_indented(line.strip() for line in lines), ""])


def _indented(lines: Iterable[str]) -> Iterable[str]:
    depth = 0
    for line in lines:
        depth -= line.startswith("}")
        if line:
            yield "    " * depth + line
        depth += line.count("{") - line.count("}") + line.startswith("}")


@lru_cache(maxsize=16)
def _header(group: int) -> str:
    package = resources.files("spikingtorch.functional.fused")
    files = ("build/float_mode.h", "codegen/kernel.h", "codegen/vector_math.h")
    named = {"BLOCK": BLOCK, "GROUP": group, "CHUNK": CHUNK, "FAR": FAR, "AXES": AXES}
    sizes = [f"#define {name} {size}" for name, size in named.items()]
    return "\n".join([*sizes, *((package / name).read_text() for name in files)])
