"""The expressions of a program in Triton, each printed where its value changes."""

from collections.abc import Collection, Iterable

from spikingtorch.functional.fused.codegen.schedule import Rate, Schedule
from spikingtorch.functional.fused.ir import Node, Program, operands

# names of the dtypes of a value in the text of a kernel, and of an argument in its signature
TYPE = {
    **{"f32": "tl.float32", "f64": "tl.float64", "i32": "tl.int32", "i64": "tl.int64", "bool": "tl.int1"},
    **{"f16": "tl.float16", "bf16": "tl.bfloat16", "i8": "tl.int8", "i16": "tl.int16", "u8": "tl.uint8"},
}
SIGNATURE = {
    **{"f32": "fp32", "f64": "fp64", "i32": "i32", "i64": "i64", "bool": "i1"},
    **{"f16": "fp16", "bf16": "bf16", "i8": "i8", "i16": "i16", "u8": "u8"},
}
_HALVES = ("f16", "bf16")
_TINY = {"f32": 2.0**-126, "f64": 2.0**-1022}  # the least normal numbers
_INFIX = {
    **{"add": "+", "sub": "-", "mul": "*", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="},
    **{"and": "&", "or": "|", "xor": "^"},
}
# Triton's exp flushes subnormal numbers and is less accurate than the exp of the device's library
_LIBRARY = {name: name for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tanh", "erf")}
_LIBRARY |= {"atan": "atan", "pow": "pow", "fmod": "fmod", "round": "rint", "trunc": "trunc"}


class Body:
    """The expressions of a program in Triton, for the ``wanted`` nodes.

    A value has the name ``v`` and its number. A value that changes with the step has the step's suffix as well, because
    the steps of a chunk are printed one after the other.
    """

    def __init__(self, program: Program, wanted: Iterable[int]) -> None:
        wanted = tuple(wanted)
        self._program, self._wanted = program, frozenset(wanted)
        self.live = frozenset(program.live(wanted))
        self.schedule = Schedule(program, wanted)
        self._once = [index for rate in (Rate.ONCE, Rate.ROW, Rate.NEURON) for index in self.schedule.at(rate)]
        self._in_steps = frozenset(self.schedule.at(Rate.STEP))

    def scalars(self) -> dict[str, str]:
        """Return the arguments that are floats, and their dtypes.

        A slot is passed as float64, unless the program first rounds it to float32: then the host rounds it. Almost all
        slots are rounded, and float64 is slow on most devices.
        """
        found: dict[str, str] = {}
        for index in sorted(self.live):
            node = self._program.nodes[index]
            rounded = self._rounded_slot(node)
            if rounded is not None:
                found[f"a{rounded}_f32"] = "f32"
                continue
            used = [self._slot(arg) for arg in (*operands(node), *({index} & self._wanted))]
            found |= {f"a{slot}": "f64" for slot in used if slot is not None}
        return found

    def name(self, index: int, suffix: str = "") -> str:
        """Return the name of a value."""
        node = self._program.nodes[index]
        if node.op == "scalar":
            return f"a{node.args[0]}"
        rounded = self._rounded_slot(node)
        if rounded is not None:
            return f"a{rounded}_f32"
        return f"v{index}{suffix if index in self._in_steps else ''}"

    def block(self, index: int, suffix: str, dtype: str) -> str:
        """Return a value of each lane in a dtype, even if the program has one value for all lanes."""
        value, own = self.name(index, suffix), self._program.nodes[index].dtype
        if index not in self._in_steps:
            value = f"tl.broadcast_to({value}, [BLOCK])"
        return value if own == dtype else f"{value}.to({TYPE[dtype]})"

    def before_time(self) -> list[str]:
        """Return the values that do not change with the step."""
        return [line for index in self._once for line in self._statement(index, "")]

    def each_step(self, wanted: Iterable[int], suffix: str = "", known: Collection[int] = ()) -> dict[int, str]:
        """Return the values that change with the step and that the wanted values need, except the known ones."""
        chosen = [index for index in self.schedule.of_step(wanted) if index not in known]
        return {index: line for index in chosen for line in self._statement(index, suffix)}

    def _statement(self, index: int, suffix: str) -> list[str]:
        node = self._program.nodes[index]
        if node.op == "scalar" or self._rounded_slot(node) is not None:
            return []  # an argument
        return [f"{self.name(index, suffix)} = {self._expression(node, suffix)}"]

    def _expression(self, node: Node, suffix: str) -> str:
        if node.op == "input":
            return self._input(node, suffix)
        if node.op == "const":
            return f"tl.full([], {node.args[0]}, {TYPE[node.dtype]})"
        args = [self.name(index, suffix) for index in operands(node)]
        return operation(node, self._program.nodes[operands(node)[0]].dtype, args)

    def _input(self, node: Node, suffix: str) -> str:
        role, index = str(node.args[0]), int(node.args[1])
        if role == "param":
            return f"tl.load(p{index}_ptr + p{index}_at, mask=mask, other=0)"
        if role == "x":
            return f"x{index}{suffix}"
        if role == "state":
            return f"s{index}{suffix}"
        return f"g{index}" if index < len(self._program.states) else f"c{index}{suffix}"

    def _slot(self, index: int) -> int | None:
        node = self._program.nodes[index]
        return int(node.args[0]) if node.op == "scalar" else None

    def _rounded_slot(self, node: Node) -> int | None:
        """Return the slot that a node rounds to float32, if the node does only this."""
        return self._slot(operands(node)[0]) if node.op == "cast" and node.dtype == "f32" else None


def operation(node: Node, dtype: str, args: list[str]) -> str:
    """Return the expression of an operation on values of a dtype; raise ValueError if Triton has none."""
    op, a = node.op, args[0]
    if op in _INFIX:
        return f"{a} {_INFIX[op]} {args[1]}"
    simple = {
        # Triton negates by subtracting from zero, which loses the sign of a zero
        "neg": f"-{a}" if dtype[0] == "i" else f"{a} * -1.0",
        "not": f"{a} == 0",
        "inexact": a,
        "term": a,
        "abs": f"tl.abs({a})",
        "floor": f"tl.floor({a})",
        "ceil": f"tl.ceil({a})",
        "sqrt": f"tl.sqrt_rn({a})" if dtype == "f32" else f"tl.sqrt({a})",
        "zeronan": f"tl.where({a} == {a}, 0.0, float('nan')).to({TYPE[dtype]})",
        "flush": f"tl.where(tl.abs({a}) < {_TINY.get(dtype)!r}, 0.0, {a})",
        "sign": f"({a} > 0).to({TYPE[dtype]}) - ({a} < 0).to({TYPE[dtype]})",
        "cast": f"{a} != 0" if node.dtype == "bool" else f"{a}.to({TYPE[node.dtype]})",
        "sigmoid": _divided("1.0", f"1.0 + lib.exp({a} * -1.0)", dtype),
        "sigmoid_slope": f"slope_of_sigmoid({a})",
    }
    if op in simple:
        return simple[op]
    if op == "div":
        return _divided(a, args[1], dtype)
    if op in ("min", "max"):
        # propagates a NaN on either side, and of two zeros gives the second; the maximum of devices orders the zeros
        # instead
        first = f"{a} {'<' if op == 'min' else '>'} {args[1]}"
        return f"tl.where({first if dtype[0] == 'i' else f'({first}) | ({a} != {a})'}, {a}, {args[1]})"
    if op == "where":
        return f"tl.where({a}, {args[1]}, {args[2]})"
    if op in _LIBRARY:
        return f"lib.{_LIBRARY[op]}({', '.join(args)})"
    raise ValueError(f"Triton: got the operation {op!r}, which its printer does not know; add it to {__name__}")


def _divided(above: str, below: str, dtype: str) -> str:
    """Return a quotient. Triton's division does not round float32 correctly; div_rn does, but takes float32 only."""
    return f"tl.div_rn({above}, {below})" if dtype == "f32" else f"{above} / ({below})"


def load(place: str, dtype: str, mask: str = "mask") -> str:
    """Return a number in memory as a value: numbers of 16 bits become float32."""
    value = f"tl.load({place}, mask={mask}, other=0)"
    return f"{value}.to(tl.float32)" if dtype in _HALVES else value


def loaded_dtype(dtype: str) -> str:
    """Return the dtype of a value after it is loaded."""
    return "f32" if dtype in _HALVES else dtype
