"""Random steps in JAX, called at random: spikingtorch.jax.scan is lax.scan, or raises.

A short run, the same one each time, is a test. For hours, with others each time,

    python -m tests.fuzz.jax_scan --minutes 60 --seed 1

The oracle is ``jax.lax.scan``, and an unrolled loop for second derivatives. A result that is off counts only if it is
steady: if noise on each line of the step, a thousand times what rounding does, leaves the oracle within the tolerance.
A spike that is about to flip does not.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import tests.xla  # noqa: F401 - before JAX compiles
from spikingtorch import jax as snn
from tests.fuzz.driver import Fuzzer, main
from tests.fuzz.jax_steps import JaxStep, space_of, steps
from tests.jax.oracle import LIMITS, Scan, cotangents, is_floating, named, on, plain, relative_error, unrolled, weighted

Shape = tuple[int, ...]
Leaves = dict[str, Any]
SHAPES: list[Shape] = [(3,), (), (1,), (2, 3), (2, 1, 2), (0,), (2, 0), (300,), (3, 130)]
PARAMETERS = ["float", "0-d", "neurons", "full", "channel", "int"]
# relative noise on what a line computes
NOISE = {"float64": 1e-13, "float32": 1e-6}
VALUES = ["eager", "jit", "vmap xs", "vmap state", "vmap params", "vmap arrays", "vmap", "vmap(vmap)", "scan around"]
SLOPES = ["vjp", "jit(vjp)", "vmap(vjp)", "vmap(vjp) xs", "vmap(vjp) params", "grad(vmap)", "checkpoint", "cond around"]
SLOPES += ["jacrev", "vjp of states"]
SECOND = ["grad(grad)", "jvp(grad)"]
FORWARD = ["jvp", "jacfwd"]


class Call(NamedTuple):
    """A call of scan."""

    precision: str  # dtype of the floating inputs; half precisions go with a float32 state
    shape: Shape  # of the neurons
    T: int
    dim: int  # axis of time, negative ones from the end
    params: tuple[str, ...]  # kinds of the parameters
    numbers: str  # what the arrays hold
    seed: int  # of the numbers
    factor: float  # of the numbers that the step closes over
    mode: str  # how scan is called
    weak: bool  # whether the first state is weakly typed
    x64: bool  # float64 has it in any case


class Given(NamedTuple):
    """The arguments of a call, and the arrays that its step closes over."""

    state: Any
    xs: Any
    params: dict[str, Any]
    arrays: list[Any]


class Case:
    """A call of a step, whose source has been run."""

    def __init__(self, step: JaxStep, call: Call, space: dict[str, Any]) -> None:
        self.step, self.call, self.space = step, call, space
        axes = len(call.shape) + 1
        self.dim = call.dim % axes - axes * (call.dim < 0)
        self.wide = "float64" if call.precision == "float64" else "float32"

    def given(self, member: int = 0) -> Given:
        """Return the arguments, always the same ones; members of a batch differ in their numbers."""
        call, shape, draw = self.call, self.call.shape, np.random.default_rng([self.call.seed, member])
        shapes = {"0-d": (), "neurons": shape[-1:], "full": shape, "channel": (*shape[:-1], *(1,) * bool(shape))}
        state = [self.array(draw, shape, name, self.wide) for name in self.step.states]
        # in lax.scan, a weak state is float64 where that is on; here it has the precision of the inputs
        if call.weak and self.step.states[0] == "float" and (self.wide == "float64" or not call.x64):
            state[0] = jnp.full(shape, 0.25 + member)
        axis = self.dim % (len(shape) + 1)
        over_time = (*shape[:axis], call.T, *shape[axis:])
        xs = [self.array(draw, over_time, name, call.precision) for name in self.step.xs]
        params: dict[str, Any] = {}
        for k in range(self.step.numbers):
            kind, number = call.params[k % len(call.params)], {"float": 0.7 + 0.1 * member, "int": 1 + member}
            params[f"p{k}"] = number[kind] if kind in number else self.array(draw, shapes[kind], "float", self.wide)
        arrays = [self.array(draw, shapes[kind], "float", self.wide) for kind in self.step.arrays]
        return Given(self.space["make_State"](*state), self.space["make_X"](*xs), params, arrays)

    def array(self, draw: Any, shape: Shape, dtype: str, floating: str) -> Any:
        if dtype != "float":
            return jnp.asarray(draw.integers(0, 2 if dtype == "bool" else 4, shape), dtype)
        numbers, kind = np.asarray(draw.standard_normal(shape) + 0.3), self.call.numbers
        if kind == "special":
            odd = draw.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40], shape)
            numbers = np.where(draw.random(shape) < 0.1, odd, numbers)
        numbers = {"grid": np.round(2.0 * numbers) / 2.0, "zeros": np.zeros(shape)}.get(kind, numbers)
        return jnp.asarray(numbers, floating)

    def function(self, arrays: list[Any]) -> Any:
        return self.space["make"](*[self.call.factor * c for c in self.step.constants.values()], *arrays)

    def run(self, scan: Scan, leaves: Leaves) -> Any:
        """Run the scan on the leaves of its arguments, by name."""
        form = jax.tree.structure(self.given())
        given: Given = jax.tree.unflatten(form, leaves.values())
        return scan(self.function(given.arrays), given.state, given.xs, params=given.params, dim=self.dim)

    # --- modes ---

    def result(self, scan: Scan) -> Any:
        """Return what the mode of the call computes with a scan."""
        leaves, mode = named(self.given()), self.call.mode
        others = {name: leaf for name, leaf in leaves.items() if not is_floating(leaf)}
        part = {name: leaf for name, leaf in leaves.items() if name not in others}

        def run(some: Leaves) -> Any:
            return self.run(scan, {name: (leaves | some)[name] for name in leaves})

        def pulled(some: Leaves) -> Any:
            learned = {name: leaf for name, leaf in some.items() if name in part}
            results, pull = jax.vjp(lambda learned: run(some | learned), learned)
            return results, pull(cotangents(results))

        total: Any = lambda some: weighted(run(some))  # noqa: E731
        states = {name: leaf for name, leaf in part.items() if name.startswith(".state")}
        halved: Any = lambda some: total(jax.tree.map(lambda x: 0.5 * x, some))  # noqa: E731
        modes: dict[str, Callable[[], Any]] = {
            "eager": lambda: run(leaves),
            "jit": lambda: jax.jit(run)(leaves),
            "vjp": lambda: pulled(leaves),
            "jit(vjp)": lambda: jax.jit(lambda part: pulled(leaves | part))(part),
            "vjp of states": lambda: jax.jit(jax.grad(total))(states),
            "checkpoint": lambda: jax.jit(jax.grad(jax.checkpoint(total)))(part),
            "cond around": lambda: jax.jit(jax.grad(lambda p, yes: jax.lax.cond(yes, total, halved, p)))(part, True),
            "jacrev": lambda: jax.jit(jax.jacrev(lambda p: few(run(p))))(part),
            "jvp": lambda: jax.jvp(lambda p: floats(run(p)), (part,), (cotangents(part, 3),)),
            "jacfwd": lambda: jax.jit(jax.jacfwd(lambda p: few(run(p))))(states),
            "grad(grad)": lambda: jax.jit(jax.grad(lambda p: weighted(jax.grad(total)(p), 4)))(part),
            "jvp(grad)": lambda: jax.jit(lambda t: jax.jvp(jax.grad(total), (part,), (t,)))(cotangents(part, 3)),
            "scan around": lambda: self.around(run, leaves),
        }
        return modes[mode]() if mode in modes else self.mapped(run, pulled, leaves)

    def around(self, run: Any, leaves: Leaves) -> Any:
        """Go on from the last state, twice, inside lax.scan."""
        form = jax.tree.structure(self.given().state)
        names = [name for name in leaves if name.startswith(".state")]

        def body(state: Any, factor: Any) -> Any:
            again = dict(zip(names, jax.tree.leaves(state), strict=True))
            return run(again | {n: x * factor.astype(x.dtype) for n, x in leaves.items() if n.startswith(".xs")})

        start = jax.tree.unflatten(form, [leaves[name] for name in names])
        return jax.jit(lambda: jax.lax.scan(body, start, jnp.asarray([1, 1])))()

    def mapped(self, run: Any, pulled: Any, leaves: Leaves) -> Any:
        """Map over some of the arguments."""
        kind, _, which = self.call.mode.partition(" ")
        both = jax.tree.map(lambda *each: jnp.stack([jnp.asarray(x) for x in each]), leaves, named(self.given(1)))
        axes = {name: 0 if name.startswith(f".{which}") else None for name in leaves}
        if None not in axes.values() and self.call.seed % 2:
            axes = {name: None if name.startswith(".arrays") else 0 for name in leaves}
        given = {name: both[name] if axes[name] == 0 else leaf for name, leaf in leaves.items()}
        if 0 not in axes.values():
            return run(leaves)
        if kind == "vmap":
            return jax.jit(jax.vmap(run, (axes,)))(given)
        if kind == "vmap(vjp)":
            return jax.jit(jax.vmap(pulled, (axes,)))(given)
        if kind == "grad(vmap)":
            part = {name: leaf for name, leaf in given.items() if is_floating(leaf)}
            return jax.jit(jax.grad(lambda part: weighted(jax.vmap(run, (axes,))(given | part))))(part)
        outer = {name: 0 if name.startswith((".params", ".arrays")) else None for name in leaves}
        inner = {name: 0 if name.startswith(".xs") else None for name in leaves}
        mapped = jax.vmap(run, (inner,))
        given = {name: leaves[name] if outer[name] is inner[name] else both[name] for name in leaves}
        return jax.jit(jax.vmap(mapped, (outer,)) if 0 in outer.values() else mapped)(given)

    # --- what has to be right ---

    def oracle(self) -> Any:
        return self.result(unrolled if self.call.mode in SECOND and self.call.T else plain)

    def check(self, counts: Counter[str]) -> None:
        """Assert that a call gives what the oracle gives, or raises where that raises."""
        try:
            want = self.oracle()
        except Exception as error:
            self.check_raises(error)
            counts["errors alike"] += 1
            return
        given = self.given()
        told = snn.explain_scan(
            self.function(given.arrays), given.state, given.xs, params=given.params, dim=self.dim, backend="auto"
        )
        counts.update([f"mode {self.call.mode}", told.backend, f"{told.backend}, {self.call.precision}"])
        asks = told.backend == "fused" and self.call.mode not in (*FORWARD, *SECOND)
        for backend in ("auto", *["fused"] * asks):
            got = self.result(on(backend))
            forms: list[Any] = [jax.tree.structure(tree) for tree in (got, want)]
            assert forms[0] == forms[1], "the results have another form"
            self.compare(named(got), named(want), counts, f"backend {backend!r}; explain_scan says {told}")

    def check_raises(self, error: Exception) -> None:
        for backend in ("auto", "fused"):
            try:
                self.result(on(backend))
            except Exception:
                continue
            raise AssertionError(f"backend={backend!r} raises nothing, and lax.scan raises {error!r}")

    def compare(self, got: Leaves, want: Leaves, counts: Counter[str], how: str) -> None:
        wrong = [name for name in want if not self.agrees(got[name], want[name])]
        counts["arrays compared"] += len(want)
        if not wrong:
            return
        moved = []
        for seed in range(3):
            noisy = Case(self.step, self.call, space_of(self.step, noise(seed, NOISE[self.wide])))
            moved.append([*named(noisy.oracle()).values()])
        rows = {name: row for row, name in enumerate(want)}
        steady = [name for name in wrong if all(self.agrees(each[rows[name]], want[name]) for each in moved)]
        if steady:
            name = steady[0]
            raise AssertionError(f"{how}\n{name} is wrong:\n{got[name]!r}\nexpected\n{want[name]!r}")
        counts["discarded by margin"] += 1

    def agrees(self, got: Any, want: Any) -> bool:
        got, want = np.asarray(got), np.asarray(want)
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            return False
        if self.call.numbers == "special" and self.call.mode not in VALUES and is_floating(got):
            # where numbers are not finite, a result that is not used makes gradients NaN
            want = np.where(np.isnan(got.astype(np.float64)), got, want)
        return relative_error(got, want) <= LIMITS.get(str(want.dtype), 0.0)


def floats(results: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(results) if is_floating(leaf)]


def few(results: Any) -> list[Any]:
    """Return a few numbers of the results: a Jacobian of all of them is large."""
    return [jnp.ravel(leaf)[:2] for leaf in floats(results)]


def noise(seed: int, size: float) -> Callable[[Any], Any]:
    """Return what multiplies floating values by 1 and a little."""
    draw = np.random.default_rng(seed)

    def over(value: Any) -> Any:
        if not is_floating(value):
            return value
        return value * jnp.asarray(1.0 + size * draw.standard_normal(), jnp.result_type(value))

    return over


def run(case: tuple[JaxStep, list[Call]], counts: Counter[str]) -> None:
    """Assert that all calls of a step are right."""
    step, several = case
    try:
        space = space_of(step)
        for call in several:
            with warnings.catch_warnings(), jax.enable_x64(call.x64 or call.precision == "float64"):
                warnings.filterwarnings("ignore", "scan: ", RuntimeWarning)
                Case(step, call, space).check(counts)
    except Exception as error:
        error.add_note(f"{step.source}\n# numbers, to be multiplied by the factor: {step.constants}")
        raise
    finally:
        jax.clear_caches()  # type: ignore[no-untyped-call]
    counts["calls"] += len(several)
    counts["calls of steps that look at other neurons"] += len(several) * step.mixing


@st.composite
def calls(pick: st.DrawFn) -> list[Call]:
    """Draw calls of one step: a first one, and further ones like that before but for a thing or two."""
    draw: dict[str, st.SearchStrategy[Any]] = {
        "precision": st.sampled_from(["float64", "float64", "float32", "float64", "float16", "bfloat16"]),
        "shape": st.sampled_from(SHAPES),
        "T": st.sampled_from([2, 3, 1, 17, 5, 0]),
        "dim": st.integers(0, 2) | st.integers(-3, -1),
        "params": st.tuples(*[st.sampled_from(PARAMETERS)] * 2),
        "numbers": st.sampled_from(["normal", "normal", "normal", "grid", "zeros", "special"]),
        "seed": st.integers(0, 99),
        "factor": st.sampled_from([1.0, 0.7]),
        "mode": st.sampled_from(VALUES) | st.sampled_from(SLOPES) | st.sampled_from([*SLOPES, *FORWARD, *SECOND]),
        "weak": st.sampled_from([False, False, False, True]),
        "x64": st.booleans(),
    }
    found = [Call(**{name: pick(strategy) for name, strategy in draw.items()})]
    for _ in range(pick(st.integers(0, 2))):
        changed = {"mode", pick(st.sampled_from(sorted(draw)))}
        found.append(found[-1]._replace(**{name: pick(draw[name]) for name in sorted(changed)}))
    # an unrolled loop is slow to compile
    return [call._replace(T=min(call.T, 3)) if call.mode in SECOND else call for call in found]


FUZZER = Fuzzer("tests.fuzz.jax_scan", st.tuples(steps(), calls()), run, threads=1, size=20)

if __name__ == "__main__":
    sys.exit(main(FUZZER, __doc__))
