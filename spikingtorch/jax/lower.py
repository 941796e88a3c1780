"""Lower a jaxpr to the nodes of a program, equation by equation."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.extend.source_info_util import summarize

from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.lower.builder import Builder, Value
from spikingtorch.jax.rules import RULES, chosen

NAMES = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "bool"}
NAMES |= {"int8": "i8", "int16": "i16", "uint8": "u8", "float16": "f16", "bfloat16": "bf16"}
# the primitives that hold a jaxpr which runs once on their operands, and the parameter that it is
_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "custom_jvp_call")
_CALLS += ("custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin")
# primitives that change the axes of length one
_VIEWS = ("reshape", "squeeze", "expand_dims", "broadcast_in_dim")
_SUMS = ("reduce_sum",)


class Lowering:
    """Lower jaxprs over the neurons of one shape with one builder.

    A value has a number for each neuron: an array of fewer axes, or of axes of length one, has the same number for many
    of them, as NumPy broadcasts.

    Args:
        neurons: their shape.
    """

    def __init__(self, neurons: tuple[int, ...]) -> None:
        self.neurons = neurons
        self.builder = Builder(scalars=0)
        self._numbers: dict[tuple[str, str], Value] = {}

    def run(self, jaxpr: Any, consts: Sequence[Value], operands: Sequence[Value], *, gradient: bool = False) -> list[Value]:
        """Return the values of the results of a jaxpr.

        Args:
            jaxpr: an open jaxpr.
            consts: values of its constants.
            operands: values of its arguments.
            gradient: whether it computes a gradient, which may sum over neurons.

        Raises:
            NotFusible: an equation is not elementwise; the text names its primitive and its place in the user's code.
        """
        known: dict[Any, Value] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *operands), strict=True))

        def read(atom: Any) -> Value:
            return self.number(atom.val, atom.aval.dtype) if isinstance(atom, core.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            try:
                results = self._equation(eqn, [read(atom) for atom in eqn.invars], gradient)
            except NotFusible as refusal:
                if " at " in str(refusal) or "in its gradient" in str(refusal):
                    raise
                raise NotFusible(f"{refusal}, {_place(eqn, gradient)}") from None
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def number(self, value: Any, dtype: Any) -> Value:
        """Return a number of the step's code; equal numbers are one value."""
        name, found = dtype_name(dtype), np.asarray(value)
        if found.shape != ():
            raise NotFusible(f"holds an array of shape {found.shape}")
        number = found.item()
        key = name, repr(number)
        if key not in self._numbers:
            # a zero has no sign in the text of a kernel
            plain = number in (0, 1) and repr(number) != "-0.0"
            make = self.builder.const if plain else self.builder.cast
            self._numbers[key] = make(int(number) if plain else number, name)
        return self._numbers[key]

    def _equation(self, eqn: Any, operands: list[Value], gradient: bool) -> list[Value]:
        name = eqn.primitive.name
        if eqn.effects:
            raise NotFusible(f"calls {name}, which has an effect")
        if name in _CALLS:
            inner = next(eqn.params[key] for key in _INLINED if key in eqn.params)
            return self._inner(inner, operands, gradient)
        if name == "cond":
            return self._cond(eqn, operands, gradient)
        if name not in RULES and name not in _VIEWS and not (gradient and name in _SUMS):
            raise NotFusible(f"calls {name}, which is not in the table of elementwise primitives")
        (out,) = eqn.outvars
        dtype = dtype_name(out.aval.dtype)
        self._check_shape(out.aval.shape)
        self._check_sums(eqn, operands)
        if name in _SUMS:
            return [self.builder.summed(operands[0])]
        if name in _VIEWS:
            self._check_view(eqn)
            return operands[:1]
        return [RULES[name](self.builder, dtype, *operands, **_own_params(eqn))]

    def _inner(self, inner: Any, operands: list[Value], gradient: bool) -> list[Value]:
        if isinstance(inner, core.ClosedJaxpr):
            for const in inner.consts:
                if np.ndim(const):
                    raise NotFusible(f"holds an array of shape {np.shape(const)}")
            consts = [self.number(const, np.asarray(const).dtype) for const in inner.consts]
            return self.run(inner.jaxpr, consts, operands, gradient=gradient)
        return self.run(inner, [], operands, gradient=gradient)

    def _cond(self, eqn: Any, operands: list[Value], gradient: bool) -> list[Value]:
        """Return the results of the chosen branch; every branch is computed, as ``jnp.where`` does."""
        which, *rest = operands
        branches = [self._inner(branch, rest, gradient) for branch in eqn.params["branches"]]
        results = []
        for out, cases in zip(eqn.outvars, zip(*branches, strict=True), strict=True):
            self._check_shape(out.aval.shape)
            results.append(chosen(self.builder, dtype_name(out.aval.dtype), which, cases))
        return results

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if not is_aligned(shape, self.neurons):
            raise NotFusible(f"makes an array of shape {shape} from neurons of shape {self.neurons}")

    def _check_sums(self, eqn: Any, operands: list[Value]) -> None:
        """Refuse to broadcast a sum over neurons to the neurons again."""
        (out,) = eqn.outvars
        for atom, value in zip(eqn.invars, operands, strict=True):
            if value.node in self.builder.pending_sums and atom.aval.size < out.aval.size:
                raise NotFusible("computes with a sum over neurons, for each of them")

    def _check_view(self, eqn: Any) -> None:
        """Refuse a view that gives a number to another neuron."""
        source, (out,) = eqn.invars[0].aval.shape, eqn.outvars
        if eqn.primitive.name == "broadcast_in_dim":
            axes = eqn.params["broadcast_dimensions"]
            places = [(out.aval.ndim - axis, size) for axis, size in zip(axes, source, strict=True) if size != 1]
            moved = places != _long_axes(source)
        else:
            moved = _long_axes(source) != _long_axes(out.aval.shape)
        if moved:
            raise NotFusible(f"calls {eqn.primitive.name}, which moves neurons, from {source} to {out.aval.shape}")


def dtype_name(dtype: Any) -> str:
    """Return the name of a dtype in programs."""
    name = dtype.name
    if name not in NAMES:
        raise NotFusible(f"computes in {name}")
    return NAMES[name]


def is_aligned(small: Sequence[int], large: Sequence[int]) -> bool:
    """Return True if a shape broadcasts to another; leading axes of length one are ignored."""
    shape = list(small)
    while len(shape) > len(large) and shape[0] == 1:
        shape.pop(0)
    rest = large[len(large) - len(shape) :]
    return len(shape) <= len(large) and all(a in (1, b) for a, b in zip(shape, rest, strict=True))


def _long_axes(shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return the axes that are longer than one: their place from the end, and their length."""
    return [(len(shape) - axis, size) for axis, size in enumerate(shape) if size != 1]


def _own_params(eqn: Any) -> dict[str, Any]:
    return {key: value for key, value in eqn.params.items() if key in ("y", "rounding_method")}


def _place(eqn: Any, gradient: bool) -> str:
    """Return a clause with the line of the user's code that an equation comes from."""
    return "in its gradient" if gradient else f"at {summarize(eqn.source_info)}"
