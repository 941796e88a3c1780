"""The expressions of a program in C, each printed where its value changes."""

from collections.abc import Callable, Iterable, Sequence

from spikingtorch.functional.fused.codegen.schedule import Rate, Schedule
from spikingtorch.functional.fused.ir import Node, Program, operands

_SMALL = {"i8": "int8_t", "i16": "int16_t", "u8": "uint8_t"}
# the C types of a variable of a kernel, and of a number in its arrays, which has the tensor's width
LOCAL = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "bool": "int", **_SMALL}
STORED = {**LOCAL, "bool": "uint8_t", "f16": "_Float16", "bf16": "uint16_t"}
_INFIX = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="},
    **{"ne": "!=", "and": "&", "or": "|", "xor": "^"},
}
# an expression that is zero only for finite numbers
_ODD = {**dict.fromkeys(("f16", "bf16", "f32"), "odd_f32({})"), "f64": "odd_f64({})"}
_variable = "v{}".format
_LIBM = {"abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "round": "rint", "trunc": "trunc"}


class Body:
    """The expressions of a program in C, each printed where its value changes.

    ``wanted`` are the nodes that the pass computes, and ``state`` is the expression of a state, with a place for its
    number.
    """

    def __init__(self, program: Program, wanted: Iterable[int], state: str) -> None:
        self._program = program
        self._state = state
        self.schedule = Schedule(program, wanted)

    def name(self, index: int) -> str:
        """Return the expression of a value inside a step's loop over neurons."""
        return f"n{index}[i]" if index in self.schedule.arrays else f"v{index}"

    def once(self) -> list[str]:
        """Return the values that are the same for all neurons."""
        return self._statements(self.schedule.at(Rate.ONCE), _variable)

    def of_row(self, number: dict[str, int]) -> list[str]:
        """Return the values that are the same for all neurons of a row, and arrays for the values of each neuron."""
        nodes, params = self._program.nodes, enumerate(self._program.params)
        starts = [
            f"STATIC(const {STORED[dtype]}, p{k}, {number[f'p{k}']})" for k, (dtype, uniform) in params if not uniform
        ]
        arrays = [f"{LOCAL[nodes[k].dtype]} n{k}_all[GROUP][BLOCK];" for k in sorted(self.schedule.arrays)]
        return [*self._statements(self.schedule.at(Rate.ROW), _variable, number), *starts, *arrays]

    def before_time(self) -> list[str]:
        """Return the values of the neurons of a block that depend on parameters alone."""
        neurons = self._statements(self.schedule.at(Rate.NEURON), _variable)
        fills = [f"n{k}[i] = v{k};" for k in sorted(self.schedule.arrays)]
        return [*self.arrays_here(), "EACH {", *neurons, *fills, "}"] if neurons else []

    def arrays_here(self) -> list[str]:
        """Name the arrays of the values that ``before_time`` has computed for the neurons of a block."""
        nodes = self._program.nodes
        return [f"{LOCAL[nodes[k].dtype]} *const n{k} = n{k}_all[b];" for k in sorted(self.schedule.arrays)]

    def inputs(self, t: str) -> list[str]:
        """Return the pointers to the inputs of a step."""
        return [f"const {STORED[dtype]} *const x{k}_t = AT(x{k}, {t});" for k, dtype in enumerate(self._program.xs)]

    def odd_inputs(self) -> list[str]:
        """Return, for each input that can be NaN or infinite, an expression that is zero if the input is finite."""
        xs = [(f"x{k}_t[i]", dtype) for k, dtype in enumerate(self._program.xs)]
        return [_ODD[dtype].format(load(place, dtype)) for place, dtype in xs if dtype in _ODD]

    def each_step(self, wanted: Iterable[int], cached: Sequence[int] = ()) -> list[str]:
        """Return the values that change with the step, as far as the wanted ones need them."""
        recalled = [f"const {LOCAL[self._program.nodes[k].dtype]} v{k} = m{k}[t][i];" for k in cached]
        return [*recalled, *self._statements(self.schedule.of_step(wanted, cached), self.name)]

    def _statements(
        self, chosen: Iterable[int], name: Callable[[int], str], number: dict[str, int] | None = None
    ) -> list[str]:
        nodes = self._program.nodes
        return [
            f"const {LOCAL[nodes[i].dtype]} v{i} = {self._expression(nodes[i], name, number or {})};" for i in chosen
        ]

    def _expression(self, node: Node, name: Callable[[int], str], number: dict[str, int]) -> str:
        if node.op == "input":
            return self._input(node, number)
        if node.op == "scalar":
            return f"scalars[{node.args[0]}]"
        if node.op == "const":
            return f"({LOCAL[node.dtype]}){node.args[0]}"
        args = [name(index) for index in operands(node)]
        if node.op in ("min", "max") and node.dtype in ("f32", "f64") and self.schedule.is_uniform(operands(node)[0]):
            return f"{node.op}_{node.dtype}({args[0]}, {args[1]})"
        return _operation(node, self._program.nodes[operands(node)[0]].dtype, args)

    def _input(self, node: Node, number: dict[str, int]) -> str:
        role, index = str(node.args[0]), int(node.args[1])
        states = len(self._program.states)
        if role == "state":
            return self._state.format(index)
        if role == "x":
            return load(f"x{index}_t[i]", self._program.xs[index])
        if role == "param":
            uniform = self._program.params[index][1]
            row = f"*ROW(const {STORED[node.dtype]}, {number[f'p{index}']})" if uniform else ""
            place = row or f"p{index}_row[(first + i) * p{index}_neuron]"
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
        "flush": f"flush_{dtype}({a})",
        "sign": f"({LOCAL[dtype]})(({a} > 0) - ({a} < 0))",
        "cast": _cast(a, dtype, node.dtype),
    }
    if op in simple:
        return simple[op]
    if op == "abs" and dtype[0] == "i":
        return f"{a} < 0 ? -{a} : {a}"
    if op in _LIBM:
        return f"{_LIBM[op]}{suffix}({a})"
    if op in ("min", "max"):  # a NaN on either side is propagated
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
    """Return a number in memory as a value; in memory, a true bool is any byte except zero."""
    special = {"bool": f"{place} != 0", "bf16": f"load_bf16({place})", "f16": f"(float){place}"}
    return special.get(dtype, place)


def store(value: str, dtype: str) -> str:
    """Return a value as it is written to memory."""
    return {"bf16": f"store_bf16({value})", "f16": f"(_Float16){value}"}.get(dtype, value)
