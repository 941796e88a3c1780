"""Prints a program as C: one function ``run`` with the loop over time inside, forward or backward."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import resources

from spikingtorch.functional.fused.program import EXACT, Node, Program, operands

_SMALL = {"i8": "int8_t", "i16": "int16_t", "u8": "uint8_t"}
_LOCAL = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "bool": "int", **_SMALL}
_STORED = {
    **_LOCAL,
    "bool": "uint8_t",
    "f16": "_Float16",
    "bf16": "uint16_t",
}
_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "and": "&",
    "or": "|",
    "xor": "^",
}
_LIBM = {"abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "round": "rint", "trunc": "trunc"}
_ONCE, _ROW, _NEURON, _STEP = range(4)  # how often a value changes
_FUNCTION = """
void run(const Layout *layout, const double *scalars) {
    const int64_t blocks = (layout->neurons + BLOCK - 1) / BLOCK, tasks = layout->rows * blocks;
    const int64_t steps = layout->steps;
    %s
    #pragma omp parallel for schedule(static) num_threads((int)layout->threads) if (layout->threads > 1)
    for (int64_t task = 0; task < tasks; task++) {
        const int64_t row = task / blocks, first = task %% blocks * BLOCK;
        const int n = (int)(layout->neurons - first < BLOCK ? layout->neurons - first : BLOCK);
        %s
    }
}
"""


def forward_arrays(program: Program) -> list[str]:
    """Return the arrays of the forward pass, in order.

    States s, inputs x and parameters p; states after the last step f, outputs y and checkpoints k of each state.
    """
    return _named(s=program.states, x=program.xs, p=program.params, f=program.states, y=program.outs, k=program.states)


def forward_source(program: Program) -> str:
    """Return the forward pass in C."""
    number = {name: index for index, name in enumerate(forward_arrays(program))}
    states, outs = list(enumerate(program.states)), list(enumerate(program.outs))
    body = _Body(program, (*program.finals, *program.results), "s{}[i]")
    task = [
        *(f"{_LOCAL[dtype]} s{k}[BLOCK];" for k, dtype in states),
        *(f"START(const {_LOCAL[dtype]}, s{k}_before, {number[f's{k}']})" for k, dtype in states),
        *(f"START({_LOCAL[dtype]}, s{k}_after, {number[f'f{k}']})" for k, dtype in states),
        *(_each(f"s{k}[i] = s{k}_before[i * s{k}_before_neuron];") for k, _ in states),
        *body.before_time(number),
        *(f"STREAM(const {_STORED[dtype]}, x{k}, {number[f'x{k}']})" for k, dtype in enumerate(program.xs)),
        *(f"STREAM({_STORED[dtype]}, y{k}, {number[f'y{k}']})" for k, dtype in outs),
        *(f"STREAM({_LOCAL[dtype]}, k{k}, {number[f'k{k}']})" for k, dtype in states),
        *([f"const int keep = layout->arrays[{number['k0']}].data != 0;"] if states else []),
        "for (int64_t t = 0; t < steps; t++) {",
        *(f"if (keep && t % CHUNK == 0 && t) "
          + _each(f"AT(k{k}, t / CHUNK - 1)[i] = s{k}[i];") for k, _ in states),
        *body.inputs("t"),
        *(f"FETCH(x{k}, t + CHUNK)" for k in range(len(program.xs))),
        *(f"{_STORED[dtype]} *const y{k}_t = AT(y{k}, t);" for k, dtype in outs),
        "INDEPENDENT EACH {",
        *body.each_step((*program.finals, *program.results)),
        *(f"s{k}[i] = {body.name(node)};" for k, node in enumerate(program.finals)),
        *(f"y{k}_t[i] = {_store(body.name(program.results[k]), dtype)};" for k, dtype in outs),
        "}",
        "}",
        *(_each(f"s{k}_after[i] = s{k}[i];") for k, _ in states),
    ]  # fmt: skip
    return _source(body, task)


def backward_arrays(program: Program) -> list[str]:
    """Return the arrays of the backward pass, in order.

    States s, inputs x, parameters p and checkpoints k; cotangents c of final states and outputs; gradients d of states,
    e of inputs and q of parameters.
    """
    outputs = (*program.states, *program.outs)
    states, xs, params = program.states, program.xs, program.params
    return _named(s=states, x=xs, p=params, k=states, c=outputs, d=states, e=xs, q=params)


def backward_source(program: Program, wanted: Sequence[bool]) -> str:
    """Return the backward pass in C.

    Args:
        program: the program.
        wanted: for each parameter, whether its gradient is.
    """
    number = {name: index for index, name in enumerate(backward_arrays(program))}
    states, xs = list(enumerate(program.states)), list(enumerate(program.xs))
    of_states, of_xs, of_params = program.split_gradients()
    chosen = {k: node for k, node in enumerate(of_params) if wanted[k] and node >= 0}
    gradients = (*of_states, *of_xs, *chosen.values())
    body = _Body(program, (*program.finals, *gradients), "h{}[t][i]")
    kept = program.reads_states(gradients)
    if kept:
        body.remember(program.finals, gradients)
    count = len(program.states)
    task = [
        "int64_t unused[BLOCK];" if xs else "",
        *(f"{_LOCAL[dtype]} h{k}[CHUNK + 1][BLOCK];" for k, dtype in states if kept),
        *(f"{_LOCAL[program.nodes[k].dtype]} m{k}[CHUNK][BLOCK];" for k in body.remembered),
        *(f"START(const {_LOCAL[dtype]}, s{k}_before, {number[f's{k}']})" for k, dtype in states if kept),
        *(f"{_LOCAL[dtype]} g{k}[BLOCK];" for k, dtype in states),
        *(f"{_LOCAL[program.params[k][0]]} q{k}[BLOCK];" for k in chosen),
        *(_each(f"q{k}[i] = 0;") for k in chosen),
        *body.before_time(number),
        *(f"STREAM(const {_STORED[dtype]}, x{k}, {number[f'x{k}']})" for k, dtype in xs),
        *(f"STREAM(const {_LOCAL[dtype]}, k{k}, {number[f'k{k}']})" for k, dtype in states if kept),
        *(f"GIVEN({_STORED[dtype]}, c{k}, {number[f'c{k}']})" for k, dtype in enumerate((*program.states, *program.outs))),
        *(f"WANTED({_STORED[dtype]}, e{k}, {number[f'e{k}']})" for k, dtype in xs if of_xs[k] >= 0),
        *(_each(f"g{k}[i] = c{k}[i];") for k, _ in states),
        "for (int64_t chunk = (steps - 1) / CHUNK; chunk >= 0; chunk--) {",
        "const int64_t start = chunk * CHUNK;",
        "const int last = (int)(steps - start < CHUNK ? steps - start : CHUNK) - 1;",
        *(_recompute(program, body) if kept else ()),
        "for (int t = last; t >= 0; t--) {",
        *body.inputs("start + t"),
        *(f"FETCH(x{k}, start + t - CHUNK)" for k, _ in xs if not kept),
        *(f"FETCH(c{k}, start + t - CHUNK)" for k in range(count, count + len(program.outs))),
        *(f"const {_STORED[dtype]} *const c{k}_t = AT(c{k}, start + t);" for k, dtype in enumerate(program.outs, count)),
        *(f"{_STORED[dtype]} *const e{k}_t = AT(e{k}, start + t);" for k, dtype in xs if of_xs[k] >= 0),
        "INDEPENDENT EACH {",
        *body.each_step(gradients, body.remembered),
        *(f"q{k}[i] += {body.name(node)};" for k, node in chosen.items()),
        *(f"e{k}_t[i] = {_store(body.name(of_xs[k]), dtype)};" for k, dtype in xs if of_xs[k] >= 0),
        *(f"g{k}[i] = {body.name(node) if node >= 0 else '0'};" for k, node in enumerate(of_states)),
        "}",
        "}",
        "}",
        *(f"if (layout->arrays[{number[f'd{k}']}].data) {{" + f"START({_LOCAL[dtype]}, d{k}, {number[f'd{k}']}) "
          + _each(f"d{k}[i] = g{k}[i]; }}") for k, dtype in states),
        *(f"START({_LOCAL[program.params[k][0]]}, q{k}_sum, {number[f'q{k}']}) "
          + _each(f"q{k}_sum[i] = q{k}[i];") for k in chosen),
    ]  # fmt: skip
    return _source(body, task)


def _recompute(program: Program, body: "_Body") -> list[str]:
    """Fill h with the states before each step of a chunk, from the one that was kept."""
    first = [
        f"if (chunk) {{ {_each(f'h{k}[0][i] = AT(k{k}, chunk - 1)[i];')} }} "
        f"else {{ {_each(f'h{k}[0][i] = s{k}_before[i * s{k}_before_neuron];')} }}"
        for k in range(len(program.states))
    ]
    return [
        *first,
        f"for (int t = 0; t {'<=' if body.remembered else '<'} last; t++) {{",
        *body.inputs("start + t"),
        *(f"FETCH(x{k}, start + t - CHUNK)" for k in range(len(program.xs))),
        "INDEPENDENT EACH {",
        *body.each_step(program.finals),
        *(f"m{k}[t][i] = v{k};" for k in body.remembered),
        *(f"h{k}[t + 1][i] = {body.name(node)};" for k, node in enumerate(program.finals)),
        "}",
        "}",
    ]


class _Body:
    """The expressions of a program, each printed where it changes: once, by row, by neuron or by step."""

    def __init__(self, program: Program, wanted: Iterable[int], state: str) -> None:
        self._program = program
        self._wanted = tuple(wanted)
        self._state = state
        self._live = program.live(self._wanted)
        self._rate: dict[int, int] = {}
        self.remembered: list[int] = []
        for index in self._live:
            node = program.nodes[index]
            own = self._rate_of_input(node) if node.op == "input" else _ONCE
            self._rate[index] = max([own, *(self._rate[arg] for arg in operands(node))])
        read = {arg for index in self._live if self._rate[index] == _STEP for arg in operands(program.nodes[index])}
        # what a neuron keeps through time lies in an array, if a step reads it or it is a result itself
        self._arrays = {index for index in (read | {*self._wanted}) & {*self._live} if self._rate[index] == _NEURON}

    def remember(self, early: Iterable[int], late: Iterable[int]) -> None:
        """Choose the values that the late nodes take over from the early ones: those dear to compute a second time."""
        shared = {*self._program.live(early)} & {*self._program.live(late)}
        self.remembered = [k for k in sorted(shared) if self._dear(k)]

    def _dear(self, index: int) -> bool:
        return self._rate[index] == _STEP and self._program.nodes[index].op not in EXACT

    def name(self, index: int) -> str:
        """Return the expression of a value inside the loop over neurons of a step."""
        return f"n{index}[i]" if index in self._arrays else f"v{index}"

    def once(self) -> list[str]:
        """Return the values that are the same for all neurons."""
        return self._statements(_ONCE, self._live)

    def before_time(self, number: dict[str, int]) -> list[str]:
        """Return the values that depend on parameters alone."""
        rows = self._statements(_ROW, self._live, number)
        neurons = self._statements(_NEURON, self._live, number)
        arrays = [f"{_LOCAL[self._program.nodes[index].dtype]} n{index}[BLOCK];" for index in sorted(self._arrays)]
        kept = [f"n{index}[i] = v{index};" for index in sorted(self._arrays)]
        starts = [
            f"START(const {_STORED[dtype]}, p{k}, {number[f'p{k}']})"
            for k, (dtype, uniform) in enumerate(self._program.params)
            if not uniform
        ]
        return [*rows, *starts, *arrays, *(["INDEPENDENT EACH {", *neurons, *kept, "}"] if neurons else [])]

    def inputs(self, t: str) -> list[str]:
        """Return the pointers to the inputs of a step."""
        return [f"const {_STORED[dtype]} *const x{k}_t = AT(x{k}, {t});" for k, dtype in enumerate(self._program.xs)]

    def each_step(self, wanted: Iterable[int], remembered: Sequence[int] = ()) -> list[str]:
        """Return the values that change with the step, as far as the wanted ones need them."""
        live = self._program.live(wanted, remembered)
        recalled = [f"const {_LOCAL[self._program.nodes[k].dtype]} v{k} = m{k}[t][i];" for k in remembered]
        return [*recalled, *self._statements(_STEP, [index for index in live if index not in remembered])]

    def _statements(self, rate: int, live: Iterable[int], number: dict[str, int] | None = None) -> list[str]:
        chosen = [index for index in live if self._rate[index] == rate]
        nodes = self._program.nodes
        named = self.name if rate == _STEP else (lambda index: f"v{index}")
        return [f"const {_LOCAL[nodes[i].dtype]} v{i} = {self._expression(nodes[i], named, number or {})};" for i in chosen]

    def _rate_of_input(self, node: Node) -> int:
        role, index = node.args
        if role != "param":
            return _STEP
        return _ROW if self._program.params[int(index)][1] else _NEURON

    def _expression(self, node: Node, name: Callable[[int], str], number: dict[str, int]) -> str:
        if node.op == "input":
            return self._input(node, number)
        if node.op == "scalar":
            return f"scalars[{node.args[0]}]"
        if node.op == "const":
            return f"({_LOCAL[node.dtype]}){node.args[0]}"
        args = [name(index) for index in operands(node)]
        return _operation(node, self._program.nodes[operands(node)[0]].dtype, args)

    def _input(self, node: Node, number: dict[str, int]) -> str:
        role, index = str(node.args[0]), int(node.args[1])
        states = len(self._program.states)
        if role == "state":
            return self._state.format(index)
        if role == "x":
            return _load(f"x{index}_t[i]", self._program.xs[index])
        if role == "param":
            array, uniform = number[f"p{index}"], self._program.params[index][1]
            if uniform:
                return f"*FIRST(const {_STORED[node.dtype]}, {array})"
            return f"p{index}[i * p{index}_neuron]"
        if index < states:
            return f"g{index}[i]"
        return _load(f"c{index}_t[i]", self._program.outs[index - states])


def _operation(node: Node, dtype: str, args: list[str]) -> str:
    """Return the expression of an operation on values of a dtype."""
    op, a = node.op, args[0]
    if op in _INFIX:
        return f"{a} {_INFIX[op]} {args[1]}"
    suffix = "f" if dtype == "f32" else ""
    simple = {
        "neg": f"-{a}",
        "not": f"!{a}",
        "inexact": a,
        "term": a,
        "zeronan": f"{a} == {a} ? 0 : ({_LOCAL[dtype]})NAN",
        "sign": f"({_LOCAL[dtype]})(({a} > 0) - ({a} < 0))",
        "cast": _cast(a, dtype, node.dtype),
    }
    if op in simple:
        return simple[op]
    if op == "abs" and dtype[0] == "i":
        return f"{a} < 0 ? -{a} : {a}"
    if op in _LIBM:
        return f"{_LIBM[op]}{suffix}({a})"
    if op in ("min", "max"):  # a NaN on either side comes through
        return f"{a} {'<' if op == 'min' else '>'} {args[1]} || {a} != {a} ? {a} : {args[1]}"
    if op == "where":
        return f"{a} ? {args[1]} : {args[2]}"
    if op == "fmod":
        return f"fmod{suffix}({a}, {args[1]})"
    return f"{op}_{dtype}({', '.join(args)})"


def _cast(value: str, before: str, after: str) -> str:
    if after == "bool":
        return f"{value} != 0"
    # a choice of two constants is one instruction, a conversion of integers two
    return f"{value} ? 1 : ({_LOCAL[after]})0" if before == "bool" else f"({_LOCAL[after]}){value}"


def _named(**groups: Sequence[object]) -> list[str]:
    return [f"{letter}{index}" for letter, group in groups.items() for index in range(len(group))]


def _each(line: str) -> str:
    return f"EACH {line}"


def _load(place: str, dtype: str) -> str:
    return {"bf16": f"load_bf16({place})", "f16": f"(float){place}"}.get(dtype, place)


def _store(value: str, dtype: str) -> str:
    return {"bf16": f"store_bf16({value})", "f16": f"(_Float16){value}"}.get(dtype, value)


def _source(body: _Body, task: list[str]) -> str:
    lines = (_FUNCTION % ("\n".join(body.once()), "\n".join(task))).splitlines()
    return _header() + "\n" + "\n".join(_indented(line.strip() for line in lines)) + "\n"


def _indented(lines: Iterable[str]) -> Iterable[str]:
    depth = 0
    for line in lines:
        depth -= line.startswith("}")
        if line:
            yield "    " * depth + line
        depth += line.count("{") - line.count("}") + line.startswith("}")


@cache
def _header() -> str:
    folder = resources.files("spikingtorch.functional.fused")
    return "\n".join((folder / name).read_text() for name in ("kernel.h", "vector_math.h"))
