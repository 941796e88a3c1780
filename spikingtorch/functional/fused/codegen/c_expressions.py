"""The expressions of a program in C, each printed where it changes."""

from collections.abc import Callable, Iterable, Sequence

from spikingtorch.functional.fused.ir import EXACT, Node, Program, operands

_SMALL = {"i8": "int8_t", "i16": "int16_t", "u8": "uint8_t"}
# a variable of a kernel, and a number of its arrays, which is as wide as one of the tensor
LOCAL = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "bool": "int", **_SMALL}
STORED = {
    **LOCAL,
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
_FINITE = {**dict.fromkeys(("f16", "bf16", "f32"), "fabsf({}) <= FLT_MAX"), "f64": "fabs({}) <= DBL_MAX"}
_LIBM = {"abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "round": "rint", "trunc": "trunc"}
_ONCE, _ROW, _NEURON, _STEP = range(4)  # how often a value changes


class Body:
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

    def cache_values(self, early: Iterable[int], late: Iterable[int]) -> None:
        """Choose the values that the late nodes take over from the early ones: those dear to compute a second time."""
        shared = {*self._program.live(early)} & {*self._program.live(late)}
        self.remembered = [k for k in sorted(shared) if self._is_expensive(k)]

    def _is_expensive(self, index: int) -> bool:
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
        arrays = [f"{LOCAL[self._program.nodes[index].dtype]} n{index}[BLOCK];" for index in sorted(self._arrays)]
        kept = [f"n{index}[i] = v{index};" for index in sorted(self._arrays)]
        starts = [
            f"START(const {STORED[dtype]}, p{k}, {number[f'p{k}']})"
            for k, (dtype, uniform) in enumerate(self._program.params)
            if not uniform
        ]
        return [*rows, *starts, *arrays, *(["INDEPENDENT EACH {", *neurons, *kept, "}"] if neurons else [])]

    def inputs(self, t: str) -> list[str]:
        """Return the pointers to the inputs of a step."""
        return [f"const {STORED[dtype]} *const x{k}_t = AT(x{k}, {t});" for k, dtype in enumerate(self._program.xs)]

    def finite_inputs(self) -> list[str]:
        """Return, for each input that can be otherwise, whether it is finite."""
        xs = [(f"x{k}_t[i]", dtype) for k, dtype in enumerate(self._program.xs)]
        return [_FINITE[dtype].format(load(place, dtype)) for place, dtype in xs if dtype in _FINITE]

    def each_step(self, wanted: Iterable[int], remembered: Sequence[int] = ()) -> list[str]:
        """Return the values that change with the step, as far as the wanted ones need them."""
        live = self._program.live(wanted, remembered)
        recalled = [f"const {LOCAL[self._program.nodes[k].dtype]} v{k} = m{k}[t][i];" for k in remembered]
        return [*recalled, *self._statements(_STEP, [index for index in live if index not in remembered])]

    def _statements(self, rate: int, live: Iterable[int], number: dict[str, int] | None = None) -> list[str]:
        chosen = [index for index in live if self._rate[index] == rate]
        nodes = self._program.nodes
        named = self.name if rate == _STEP else (lambda index: f"v{index}")
        return [
            f"const {LOCAL[nodes[i].dtype]} v{i} = {self._expression(nodes[i], named, number or {})};" for i in chosen
        ]

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
            return f"({LOCAL[node.dtype]}){node.args[0]}"
        args = [name(index) for index in operands(node)]
        return _operation(node, self._program.nodes[operands(node)[0]].dtype, args)

    def _input(self, node: Node, number: dict[str, int]) -> str:
        role, index = str(node.args[0]), int(node.args[1])
        states = len(self._program.states)
        if role == "state":
            return self._state.format(index)
        if role == "x":
            return load(f"x{index}_t[i]", self._program.xs[index])
        if role == "param":
            array, uniform = number[f"p{index}"], self._program.params[index][1]
            place = f"*FIRST(const {STORED[node.dtype]}, {array})" if uniform else f"p{index}[i * p{index}_neuron]"
            return load(place, node.dtype)
        if index < states:
            return f"g{index}[i]"
        return load(f"c{index}_t[i]", self._program.outs[index - states])


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
        "zeronan": f"{a} == {a} ? 0 : ({LOCAL[dtype]})NAN",
        "sign": f"({LOCAL[dtype]})(({a} > 0) - ({a} < 0))",
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
    return f"{value} ? 1 : ({LOCAL[after]})0" if before == "bool" else f"({LOCAL[after]}){value}"


def load(place: str, dtype: str) -> str:
    """Return what lies in memory, as a value; what counts as a true bool there is any byte but zero."""
    special = {"bool": f"{place} != 0", "bf16": f"load_bf16({place})", "f16": f"(float){place}"}
    return special.get(dtype, place)


def store(value: str, dtype: str) -> str:
    """Return a value as it is written to memory."""
    return {"bf16": f"store_bf16({value})", "f16": f"(_Float16){value}"}.get(dtype, value)
