"""Random steps in JAX, as source: states, inputs and outputs of several dtypes, in trees of many kinds."""

from textwrap import indent
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.fuzz.steps import Draft, Tree

# slots: floats a and b, bools p and q, integers n and m, any number k, a number c of Python, an array w that the step
# closes over, a surrogate s
FLOATS = [
    *("{a} + {b}", "{k} * {a}", "{a} - {b}", "{k} - {a}", "-{a}", "{a} + {k}", "{a} * jnp.clip({b}, -1.5, 1.5)"),
    *("{c} * {a} + {b}", "{a} * {c} - {b} / {c}", "{a} / (jnp.abs({b}) + 0.7)", "{w} * {a}", "{a} + {w}", "{a} / {k}"),
    *("jnp.abs({a})", "jnp.sign({a}) * {b}", "jnp.floor({a})", "jnp.round({a})", "jnp.minimum({a}, {b})"),
    *("jnp.maximum({a}, {k})", "jnp.clip({a}, -1.0, {c} + 2.0)", "jax.nn.relu({a} - {k})", "jnp.square({a})"),
    *("jnp.clip({a}, -2.0, 2.0) ** 2", "jax.lax.integer_pow(jnp.clip({a}, -1.5, 1.5), 3)", "1.0 / (1.0 + {a} ** 2)"),
    *("jnp.where({p}, {a}, {b})", "jnp.where({p}, {k}, {a})", "jax.lax.select_n({p}, {a}, {a} * {b})", "{a} * {p}"),
    *("{a} * {n}", "jnp.float32(1.5) * {a}", "{p}.astype({a}.dtype)", "{n}.astype({a}.dtype) * {a}", "+{a}"),
    *("jax.lax.stop_gradient({a}) * {b}", "{a} - jax.lax.stop_gradient({a} - {b})", "jnp.zeros_like({a}) + {k}"),
    *("jnp.full_like({a}, {c})", "jnp.ones_like({a}) * {b}", "jnp.copysign({a}, {b})", "jnp.hypot({a}, 0.5)"),
    *("{s}({a} - {k})", "{s}({a} - {b})", "J.to_zero({a}, {s}({a}), {k})", "J.by_subtraction({a}, {s}({b}), {k})"),
    *("J.detached(J.to_zero)({a}, {s}({a} - {k}), {k})", "J.Triangular()({a})", "J.heaviside({a} - {k})"),
    *("jnp.nan_to_num({a})", "jax.nn.leaky_relu({a}, 0.1)", "jax.nn.hard_tanh({a})", "jnp.fmod({a}, 1.3)", "{a} % 1.7"),
    *("jnp.exp(jnp.clip({a}, -3.0, 1.0))", "jnp.tanh({a})", "jax.nn.sigmoid({k} * {a})"),
    *("jnp.sqrt(jnp.abs({a}) + 0.2)", "jnp.log1p(jnp.abs({a}))", "jax.lax.erf({a})", "jnp.sin({a})"),
    *("jnp.cos({a} * {k})", "jnp.arctan({a})", "jax.nn.softplus({a})", "jax.nn.silu({a})", "jax.nn.gelu({a})"),
    *("jax.nn.elu({a})", "jnp.expm1(jnp.minimum({a}, 1.0))", "jnp.log(jnp.abs({a}) + 0.3)"),
    *("jnp.clip(jnp.abs({a}) + 0.4, 0.0, 4.0) ** 1.3", "jax.lax.rsqrt(jnp.abs({a}) + 0.5)"),
    *("jnp.arctan2({a}, {b} + 3.0)", "jnp.logaddexp({a}, {b})", "jnp.cbrt({a})", "jax.lax.logistic({a})"),
    *("jnp.tan(0.3 * {a})", "bent({a})", "bent({a} - {b})", "clipped({a}, {b})", "clipped({a}, {k})"),
    *("stairs({a}) * {b}", "compiled({a}, {b})", "remat({a}, {b})", "inner_scope({a})"),
    *("twice(lambda v: jnp.sin(v) + {w})({a})", "jax.vmap(jnp.sin)({a}[None])[0]"),
    *("jax.jvp(jnp.sin, ({a},), ({b},))[1]", "jax.grad(lambda v: jnp.sum(jnp.sin(v) * {b}))({a})", "jnp.real({a})"),
]
# on scalars alone: a step that branches on a number
CONDITIONS = [
    "jax.lax.cond({c} > 0.4, lambda v: v * 2.0, lambda v: v - 1.0, {a})",
    "jax.lax.cond(True, lambda v: v, lambda v: jnp.tanh(v), {a})",
    "jax.lax.switch(1, [jnp.sin, jnp.cos, jnp.tanh], {a})",
    "jax.lax.cond(jnp.sum({w}) > 0.2, lambda v: v * 0.5, lambda v: jnp.cos(v), {a})",
    "jax.lax.cond(jnp.reshape({k0}, -1)[0] > 0.2, lambda v: v * 0.5, lambda v: jnp.cos(v), {a})",
]
# what looks beyond its own neuron, or at its shape: lax.scan has to run it
MIXING = [
    *("{a} - jnp.sum({a})", "{a} * jnp.mean({b})", "{a} - jnp.max({b})", "{a} / {a}.size", "{a} * (1 + {b}.ndim)"),
    *("{a} * len({a}.shape)", "jnp.cumsum({a}.reshape(-1)).reshape({a}.shape)"),
    *("{a}.reshape(-1)[::-1].reshape({a}.shape)", "{a} + jnp.arange({a}.size).reshape({a}.shape)"),
    *("jnp.sort({a}.reshape(-1)).reshape({a}.shape)", "{a} * {b}.reshape(-1)[0]", "{a}.at[...].multiply(2.0)"),
    *("jax.lax.fori_loop(0, 3, lambda i, v: v * 0.9 + i, {a})", "jnp.flip({a})", "{a} + jnp.vdot({a}, {b})"),
    *("(jnp.eye({a}.size) @ {a}.reshape(-1)).reshape({a}.shape)", "jnp.roll({a}, 1)"),
    *("{a} + jax.random.uniform(jax.random.key(3), {a}.shape, {a}.dtype)", "{a} * (2.0 if {a}.ndim > 1 else 3.0)"),
    *("softmax({a})", "{a} * jnp.prod(jnp.asarray({b}.shape))"),
    *("jax.lax.while_loop(lambda v: jnp.max(v) > 1.0, lambda v: 0.5 * v, {a})", "jnp.linalg.norm({a}) * {b}"),
    "jnp.concatenate([{a}.reshape(-1)[1:], {a}.reshape(-1)[:1]]).reshape({a}.shape)",
    "{a} * jnp.where(jnp.any({p}), 1.0, 2.0)",
]
BOOLS = [
    *("{a} > {b}", "{a} >= {k}", "{a} == {b}", "{a} != {a}", "jnp.isnan({a})", "jnp.isfinite({a})", "{a}.astype(bool)"),
    *("{p} & {q}", "{p} | ~{q}", "{p} ^ {q}", "~{p}", "jnp.logical_not({p})", "jnp.where({p}, {q}, {a} > {k})"),
    *("{n} > {a}", "{n} > 0", "{n} <= {m}", "{n} == 2", "jnp.logical_and({p}, {a} > 0)", "jnp.zeros_like({p})"),
    "jnp.signbit({a})",
]
INTEGERS = [
    *("{n} + 1", "jnp.maximum({n} - 1, 0)", "{n} + {m}", "{n} - {m}", "-{n}", "jnp.abs({n})", "{n} * {p}", "{n} + {p}"),
    *("jnp.minimum({n}, 5) * jnp.minimum({m}, 5)", "jnp.where({p}, {n}, {m})", "jnp.where({p}, 3, {n} - 1)", "{n} & 3"),
    *("jnp.zeros_like({n})", "{n} % 3", "{n} // 2", "{p}.astype(jnp.int32)", "jnp.clip({n}, -2, 4)"),
    *("jnp.int32(2) * {n}", "jnp.clip({a}, -9.0, 9.0).astype(jnp.int32)", "{n} ^ 5", "{n} << 1", "jnp.sign({n})"),
    *("{n} | {m}", "jnp.square({n}) % 7"),
]
DTYPES = st.sampled_from(["float"] * 6 + ["bool", "int32", "int32", "uint8", "int8"])
TREES = st.sampled_from(["bare", "tuple", "list", "dict", "named", "nested", "dataclass", "none"])
HEAD = """\
import dataclasses
from typing import NamedTuple
import jax
import jax.numpy as jnp
from spikingtorch.functional import jax_reference as J


@jax.custom_jvp
def stairs(u):
    return jnp.floor(2.0 * u)


@stairs.defjvp
def _(primals, tangents):
    return stairs(*primals), jnp.cos(primals[0]) * tangents[0]


@jax.custom_vjp
def bent(u):
    return jnp.where(u > 0.3, u, 0.1 * u)


bent.defvjp(lambda u: (bent(u), u), lambda u, g: (g / (1.0 + jnp.abs(u)),))


@jax.custom_vjp
def clipped(u, v):
    return jnp.clip(u, -1.0, 1.0) * v


clipped.defvjp(lambda u, v: (clipped(u, v), (u, v)), lambda kept, g: (
    J_like(g * kept[1] * 0.5, kept[0]), J_like(g * jnp.tanh(kept[0]), kept[1])))


def J_like(g, primal):
    # what was broadcast is summed
    shape = jnp.shape(primal)
    g = jnp.sum(g, tuple(range(g.ndim - len(shape)))) if g.ndim > len(shape) else g
    axes = tuple(k for k, size in enumerate(shape) if size != g.shape[k])
    return (jnp.sum(g, axes, keepdims=True) if axes else g).astype(jnp.result_type(primal))


@jax.jit
def compiled(u, v):
    return jnp.where(u > v, u - v, 0.5 * v)


@jax.checkpoint
def remat(u, v):
    return jnp.sin(u) * v


def inner_scope(u):
    with jax.named_scope("inner"):
        return u * 1.1


def twice(function):
    return lambda u: function(function(u))


def softmax(u):
    return jax.nn.softmax(u.reshape(-1)).reshape(u.shape)


def r(value):
    return value


"""


class JaxTree(Tree):
    """A tree that may be a registered dataclass, or hold None."""

    def packed(self, texts: Any) -> str:
        row = ", ".join(texts)
        known = {"dataclass": f"{self.name}({row})", "none": f"{{'left': None, 'right': [None, {row}]}}"}
        return known.get(self.kind) or super().packed(texts)

    def unpacked(self, root: str) -> list[str]:
        if self.kind == "dataclass":
            return [f"{field} = {root}.{field}" for field in self.fields]
        if self.kind == "none":
            return [f"{field} = {root}['right'][{k + 1}]" for k, field in enumerate(self.fields)]
        return super().unpacked(root)

    def helpers(self) -> str:
        text = super().helpers().replace("Tensor", "object")
        if self.kind != "dataclass":
            return text
        fields = "".join(f"    {field}: object\n" for field in self.fields)
        head = f"@jax.tree_util.register_dataclass\n@dataclasses.dataclass\nclass {self.name}:\n{fields}\n"
        return head + text.split("\n", 1)[1]


class JaxStep(NamedTuple):
    source: str
    constants: dict[str, float]  # numbers that it closes over
    arrays: list[str]  # the shapes of arrays that it closes over: those of PARAMETERS
    states: list[str]  # dtype of each, "float" for that of the call
    xs: list[str]
    numbers: int  # parameters
    mixing: bool  # whether it looks beyond its own neuron


class JaxDraft(Draft):
    """A step that is being drawn, without any computation: the kind of each name is known from its line."""

    TO_INTEGER = ".astype(jnp.int32)"

    def __init__(self, pick: st.DrawFn) -> None:
        self.pick = pick
        self.xs = ["float", *pick(st.lists(DTYPES, max_size=2))]
        self.states = pick(st.lists(DTYPES, min_size=0, max_size=4)) or ["float"]
        self.numbers = pick(st.integers(0, 2))
        self.arrays = pick(st.lists(st.sampled_from(["0-d", "neurons", "full", "channel"]), max_size=2))
        self.constants: dict[str, float] = {}
        self.kinds = {f"x{k}": kind_of(name) for k, name in enumerate(self.xs)}
        self.kinds |= {f"s{k}": kind_of(name) for k, name in enumerate(self.states)}
        self.mixes = pick(st.sampled_from([False] * 5 + [True]))

    def step(self) -> JaxStep:  # type: ignore[override]
        pick, lines = self.pick, []
        floats = st.sampled_from(FLOATS)
        operations: Any = floats | floats | floats | st.sampled_from(BOOLS) | st.sampled_from(INTEGERS)
        texts = [pick(operations) for _ in range(pick(st.integers(0, 9)))]
        if pick(st.integers(0, 5)) == 0:
            texts.append(pick(st.sampled_from(CONDITIONS)))
        if self.mixes:
            texts.append(pick(st.sampled_from(MIXING)))
        for k, text in enumerate(texts):
            kind = "bool" if text in BOOLS else "int" if text in INTEGERS else "float"
            lines.append(f"a{k} = r({self.filled(text)})")
            self.kinds[f"a{k}"] = kind
        finals = [self.final(f"s{k}", name) for k, name in enumerate(self.states)]
        kinds = pick(st.lists(st.sampled_from(["float", "float", "bool", "int"]), min_size=1, max_size=3))
        kinds += ["float"] * ("float" not in kinds)
        state, xs = JaxTree(pick(TREES), "State", len(self.states)), JaxTree(pick(TREES), "X", len(self.xs))
        out = JaxTree(pick(TREES), "Out", len(kinds))
        outs = [self.operand(kind) for kind in kinds]
        if self.mixes:
            outs[kinds.index("float")] = f"a{len(texts) - 1}"
        body = self.read(lines, f"{state.packed(finals)}, {out.packed(outs)}")
        body = [*state.unpacked("state"), *xs.unpacked("x"), *body]
        names = [*self.constants, *(f"w{k}" for k in range(len(self.arrays)))]
        given = ", ".join(["state", "x", *(["*", *(f"p{k}" for k in range(self.numbers))] if self.numbers else [])])
        function = f"def step({given}):\n" + indent("\n".join(body), "    ") + "\n"
        source = f"def make({', '.join(names)}):\n{indent(function, '    ')}    return step\n"
        helpers = state.helpers() + xs.helpers() + out.helpers()
        return JaxStep(
            helpers + source, self.constants, self.arrays, self.states, self.xs, self.numbers, mixing=self.mixes
        )

    def slot(self, name: str) -> str:
        if name == "w" and self.arrays:
            return f"w{self.pick(st.integers(0, len(self.arrays) - 1))}"
        return super().slot(name)

    def spike(self) -> str:
        return f"J.{self.pick(st.sampled_from(['Sigmoid(4.0)', 'Arctan()', 'FastSigmoid()', 'StraightThrough()']))}"

    def number(self, number: float) -> str:
        if self.pick(st.booleans()):
            return f"({number})"
        self.constants[f"c{len(self.constants)}"] = number
        return f"c{len(self.constants) - 1}"

    def final(self, name: str, dtype: str) -> str:
        """Return the next value of a state, in its dtype and bounded."""
        kind = kind_of(dtype)
        text = self.operand(kind)
        if kind == "float":
            mixed = f"0.8 * {name} + 0.2 * jnp.clip({text}, -4.0, 4.0)" if self.pick(st.booleans()) else text
            return f"({mixed}).astype({name}.dtype)" if self.pick(st.booleans()) else mixed
        return f"jnp.clip({text}, 0, 100).astype(jnp.{dtype})" if kind == "int" else text


steps = st.composite(lambda pick: JaxDraft(pick).step())


def kind_of(dtype: str) -> str:
    return "float" if dtype == "float" else "bool" if dtype == "bool" else "int"


def space_of(step: JaxStep, noise: Any = None) -> dict[str, Any]:
    """Return the names of a step's source. Noise, a function, goes over each value that a line computes."""
    space: dict[str, Any] = {"__name__": "a_step_of_the_fuzzer"}
    exec(compile(HEAD + step.source, "<a step of the fuzzer>", "exec"), space)
    space["r"] = noise or space["r"]
    return space
