"""Print a program as Triton: one kernel ``forward`` or ``backward`` with the loop over time inside.

A lane is one neuron; all states stay in registers. The text holds no size: the number of steps, the sizes and the
strides of all arrays are arguments. Triton itself is not needed to print it.

The arrays are those of ``abi``, in its order. A missing array is None. Only for kept states, a sequence of a single
chunk has any array in their place. An array (batch..., time, neurons) has the argument ``_step`` for its stride along
time, ``_b0``, ``_b1``, ... along the axes of the batch. If neurons may share a value, the argument ``_neuron`` is 0 if
they do and 1 if they do not. ``walker`` says which arrays have strides in common.
"""

from collections.abc import Mapping, Sequence

from spikingtorch.functional.fused.codegen.abi import BACKWARD, FORWARD
from spikingtorch.functional.fused.codegen.triton_expressions import TYPE, Body, load, loaded_dtype
from spikingtorch.functional.fused.codegen.triton_layout import (
    at,
    definition,
    indented,
    lanes,
    named,
    offsets,
    place,
    signature,
)
from spikingtorch.functional.fused.ir import Program

# The options that give a kernel the bits of eager torch, by Triton's backend: products and sums are not fused, and
# subnormal numbers are not flushed to zero. Only one backend has the second option.
EXACT_OPTIONS: dict[str, dict[str, bool]] = {
    "cuda": {"enable_fp_fusion": False, "enable_reflect_ftz": False},
    "hip": {"enable_fp_fusion": False},
}
# lanes of a Triton program by backend: one for each thread of its four warps
BLOCK = {"cuda": 128, "hip": 256}
# the number of steps whose inputs a forward pass loads at the same time
STAGES = 4

_HEAD = """import triton
import triton.language as tl
from triton.language.extra import libdevice as lib

"""
_SLOPE = """
@triton.jit
def slope_of_sigmoid(x):
    e = lib.exp(tl.abs(x) * -1.0)
    below = (1.0 + e) * (1.0 + e)
    return tl.div_rn(e, below) if x.dtype == tl.float32 else e / below

"""


def chunk_of(program: Program) -> int:
    """Return how many steps lie between two stored states.

    The backward pass recomputes the states between and holds them in registers, so more states leave room for fewer
    steps.
    """
    return 8 if len(program.states) <= 1 else 4


def forward_signature(program: Program, axes: int = 1) -> dict[str, str]:
    """Return the arguments of the forward pass and their types, as Triton's compiler names them."""
    return signature(FORWARD, program, axes, _forward_body(program).scalars())


def backward_signature(program: Program, wanted: Sequence[bool], axes: int = 1) -> dict[str, str]:
    """Return the arguments of the backward pass and their types; see ``backward_source``."""
    return signature(BACKWARD, program, axes, _backward_body(program, wanted).scalars())


def forward_source(program: Program, axes: int = 1, chunk: int | None = None) -> str:
    """Return the forward pass in Triton, for arrays with ``axes`` batch axes, at least one.

    ``chunk`` is the number of steps between two stored states, that of ``chunk_of`` by default.
    """
    body = _forward_body(program)
    states, outs = list(enumerate(program.states)), list(enumerate(program.outs))
    names = [*named("sfk", program.states), *named("x", program.xs), *named("byzw", program.outs)]
    names += named("p", program.params)
    lines = [
        *lanes(axes),
        *offsets(axes, names, named("sp", (*program.states, *program.params))),
        *(f"s{k} = {load(place(f's{k}'), dtype)}" for k, dtype in states),
        *(f"w{k} = {_given(f'b{k}', place(f'b{k}'), 'i32', 'mask')}" for k, _ in outs),
        *body.before_time(),
        f"for t in tl.range(0, steps, num_stages={STAGES}):",
        *indented(_keep(program, chunk or chunk_of(program))),
        *indented(f"x{k} = {load(at(f'x{k}', 't'), program.xs[k])}" for k in _read(program, body, "x")),
        *indented(body.each_step((*program.finals, *program.results)).values()),
    ]
    for k, dtype in outs:
        value = body.block(program.results[k], "", dtype)
        last = ["if t == steps - 1:", f"    tl.store({place(f'z{k}')}, {value}, mask=mask)"]
        stores = [f"tl.store({at(f'y{k}', 't')}, {value}, mask=mask)", f"if z{k}_ptr is not None:", *indented(last)]
        counts = [f"w{k} += (({value}).to(y{k}_ptr.dtype.element_ty) != 0).to(tl.int32)"]
        lines += indented([*stores, f"if w{k}_ptr is not None:", *indented(counts)])
    lines += indented(f"s{k} = {body.block(program.finals[k], '', dtype)}" for k, dtype in states)
    lines += [f"tl.store({place(f'f{k}')}, s{k}, mask=mask)" for k, _ in states]
    for k, _ in outs:
        lines += [f"if w{k}_ptr is not None:", *indented([f"tl.store({place(f'w{k}')}, w{k}, mask=mask)"])]
    return _source("forward", forward_signature(program, axes), lines)


def backward_source(program: Program, wanted: Sequence[bool], axes: int = 1, chunk: int | None = None) -> str:
    """Return the backward pass in Triton; ``wanted`` says for each parameter whether its gradient is wanted.

    The steps of a chunk are printed one after the other, because Triton cannot index an array in registers by a number
    that is known only at run time. ``axes`` and ``chunk`` are those of the forward pass.
    """
    body, chosen = _backward_body(program, wanted), program.chosen(wanted)
    gradients = _gradients(program, wanted)
    kept = program.reads_states(gradients)
    chunk = (chunk or chunk_of(program)) if kept else 1
    states, outs = list(enumerate(program.states)), list(enumerate(program.outs, len(program.states)))
    names = [*named("cd", program.states), *named("xe", program.xs), *named("p", program.params)]
    names += [*(f"c{k}" for k, _ in outs), *(f"q{k}" for k in chosen), *(named("sk", program.states) if kept else ())]
    lines = [
        *lanes(axes),
        *offsets(axes, names, named("sp", (*program.states, *program.params))),
        *body.before_time(),
        *(f"g{k} = {_given(f'c{k}', place(f'c{k}'), dtype, 'mask')}" for k, dtype in states),
        *(f"q{k} = tl.full([BLOCK], 0, {TYPE[program.params[k][0]]})" for k in chosen),
        # one number for each lane: Triton's interpreter takes no mask from a comparison of single numbers
        "every_steps = tl.full([BLOCK], 0, tl.int32) + steps",
        f"chunks = (steps + {chunk - 1}) // {chunk}",
        "for back in tl.range(0, chunks):",
        *indented(["chunk = chunks - 1 - back", f"start = chunk * {chunk}"]),
        *indented(_chunk(program, body, chosen, chunk, kept)),
        *(
            line
            for k, _ in states
            for line in (f"if d{k}_ptr is not None:", f"    tl.store({place(f'd{k}')}, g{k}, mask=mask)")
        ),
        *(f"tl.store({place(f'q{k}')}, q{k}, mask=mask)" for k in chosen),
    ]
    return _source("backward", backward_signature(program, wanted, axes), lines)


def _chunk(program: Program, body: Body, chosen: Mapping[int, int], chunk: int, kept: bool) -> list[str]:
    """Return the steps of a chunk, forward for the states between and then backward for the gradients."""
    lines: list[str] = []
    if kept:
        first = [(f"s{k}_0", load(place(f"s{k}"), dtype)) for k, dtype in enumerate(program.states)]
        later = [(f"s{k}_0", load(at(f"k{k}", "(chunk - 1)"), dtype)) for k, dtype in enumerate(program.states)]
        lines += ["if chunk > 0:", *indented(f"{name} = {value}" for name, value in later)]
        lines += ["else:", *indented(f"{name} = {value}" for name, value in first)]
    for j in range(chunk):
        lines.append(f"mask_{j} = mask & (start + {j} < every_steps)")
        xs = _read(program, body, "x")
        lines += [f"x{k}_{j} = {load(at(f'x{k}', f'(start + {j})'), program.xs[k], f'mask_{j}')}" for k in xs]
    known: list[dict[int, str]] = [{} for _ in range(chunk)]
    for j in range(chunk - 1):
        known[j] = body.each_step(program.finals, f"_{j}")
        lines += known[j].values()
        after = list(zip(program.finals, program.states, strict=True))
        lines += [f"s{k}_{j + 1} = {body.block(node, f'_{j}', dtype)}" for k, (node, dtype) in enumerate(after)]
    for j in reversed(range(chunk)):
        lines += _step_back(program, body, chosen, j, known[j], guarded=chunk > 1)
    return lines


def _step_back(
    program: Program, body: Body, chosen: Mapping[int, int], j: int, known: Mapping[int, str], *, guarded: bool
) -> list[str]:
    """Return one step of a chunk backward; a guard skips the steps that the last chunk does not have."""
    of_states, of_xs, _ = program.split_gradients()
    mask, suffix = f"mask_{j}", f"_{j}"
    outs, read = list(enumerate(program.outs, len(program.states))), _read(program, body, "cotangent")
    lines = [
        f"c{k}_{j} = {_given(f'c{k}', at(f'c{k}', f'(start + {j})'), dtype, mask)}" for k, dtype in outs if k in read
    ]
    lines += body.each_step((*of_states, *of_xs, *chosen.values()), suffix, known).values()
    for k, dtype in enumerate(program.xs):
        if of_xs[k] >= 0:
            store = f"tl.store({at(f'e{k}', f'(start + {j})')}, {body.block(of_xs[k], suffix, dtype)}, mask={mask})"
            lines += [f"if e{k}_ptr is not None:", f"    {store}"]

    def only_steps(new: str, old: str) -> str:
        return f"tl.where({mask}, {new}, {old})" if guarded else new

    for k, node in chosen.items():
        lines.append(f"q{k} = {only_steps(f'q{k} + {body.block(node, suffix, program.params[k][0])}', f'q{k}')}")
    for k, node in enumerate(of_states):
        zero = f"tl.full([BLOCK], 0, {TYPE[program.states[k]]})"
        new = zero if node < 0 else body.block(node, suffix, program.states[k])
        lines.append(f"g{k}_before = {only_steps(new, f'g{k}')}")
    return lines + [f"g{k} = g{k}_before" for k in range(len(of_states))]


def _forward_body(program: Program) -> Body:
    return Body(program, (*program.finals, *program.results))


def _backward_body(program: Program, wanted: Sequence[bool]) -> Body:
    gradients = _gradients(program, wanted)
    return Body(program, (*program.finals, *gradients) if program.reads_states(gradients) else gradients)


def _gradients(program: Program, wanted: Sequence[bool]) -> tuple[int, ...]:
    of_states, of_xs, _ = program.split_gradients()
    return (*of_states, *of_xs, *program.chosen(wanted).values())


def _read(program: Program, body: Body, role: str) -> list[int]:
    """Return the numbers of the inputs of a role that a pass reads."""
    return [int(node.args[1]) for node in (program.nodes[i] for i in sorted(body.live)) if node.args[:1] == (role,)]


def _keep(program: Program, chunk: int) -> list[str]:
    """Return the lines that store the states before the first step of every chunk except the first."""
    due_at = f"(t // {chunk} - 1)"
    stores = [f"tl.store({at(f'k{k}', due_at)}, s{k}, mask=mask)" for k in range(len(program.states))]
    due = [f"if t > 0 and t % {chunk} == 0:", *indented(stores)]
    return ["if k0_ptr is not None:", *indented(due)] if stores else []


def _given(name: str, where: str, dtype: str, mask: str) -> str:
    """Return the value of an array that may be missing; a missing array reads as zero."""
    return f"{load(where, dtype, mask)} if {name}_ptr is not None else tl.full([BLOCK], 0, {TYPE[loaded_dtype(dtype)]})"


def _source(name: str, arguments: Mapping[str, str], lines: Sequence[str]) -> str:
    helper = _SLOPE if any("slope_of_sigmoid(" in line for line in lines) else ""
    return "\n".join([_HEAD + helper, *definition(name, arguments), *indented(lines), ""])
