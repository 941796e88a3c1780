"""Lower a jaxpr to the nodes of a program, equation by equation."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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
_CALLS: tuple[str, ...] = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
_CALLS += ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin")
# primitives that have the same numbers in other axes
_VIEWS = ("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose")


class Array(NamedTuple):
    """An array of a jaxpr: one number for each neuron.

    An array of fewer axes than the neurons have, or of axes of length one, has one number for many of them.

    Attributes:
        value: the number of a neuron.
        places: for each axis, which axis of the neurons it is, counted from the end: 1 for the last one.
    """

    value: Value
    places: tuple[int, ...] = ()

    @classmethod
    def of(cls, value: Value, shape: Sequence[int]) -> "Array":
        """Return an array whose axes are the last ones of the neurons, as NumPy broadcasts them."""
        return cls(value, tuple(range(len(shape), 0, -1)))


class Lowering:
    """Lower jaxprs over ``neurons`` of one shape with one builder."""

    def __init__(self, neurons: tuple[int, ...]) -> None:
        self.neurons = neurons
        self.builder = Builder(scalars=0)
        self._numbers: dict[tuple[str, str], Value] = {}

    def input(self, role: str, index: int, aval: Any) -> Array:
        """Return an input of the program, for an array of a type."""
        return Array.of(self.builder.input(role, index, dtype_name(aval.dtype)), aval.shape)

    def values(self, closed: Any, operands: Sequence[Array], *, gradient: bool = False) -> list[Value]:
        """Return the numbers that a closed jaxpr, whose constants are numbers, computes for each neuron.

        With ``gradient``, it may sum over neurons. Raise NotFusible if an equation is not elementwise; the text names
        its primitive and its place in the user's code.
        """
        results = self._inner(closed, list(operands), gradient)
        for array, atom in zip(results, closed.jaxpr.outvars, strict=True):
            if _long_axes(array.places, atom.aval.shape) != _long_axes(
                Array.of(array.value, atom.aval.shape).places, atom.aval.shape
            ):
                raise NotFusible(f"moves neurons: a result of shape {atom.aval.shape} has them in another order")
        return [array.value for array in results]

    def _inner(self, inner: Any, operands: list[Array], gradient: bool) -> list[Array]:
        """Return the results of a jaxpr, closed or open, that runs once."""
        consts = inner.consts if isinstance(inner, core.ClosedJaxpr) else ()
        jaxpr: Any = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
        held = [Array(self._number(const, jax.typeof(const).dtype)) for const in consts]
        known: dict[Any, Array] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*held, *operands), strict=True))

        def read(atom: Any) -> Array:
            if not isinstance(atom, core.Literal):
                return known[atom]
            literal: Any = atom
            return Array(self._number(literal.val, literal.aval.dtype))

        for eqn in jaxpr.eqns:
            try:
                results = self._equation(eqn, [read(atom) for atom in eqn.invars], gradient)
            except NotFusible as refusal:
                raise (
                    refusal if isinstance(refusal, _Placed) else _Placed(f"{refusal}, {_place(eqn, gradient)}")
                ) from None
            known.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _number(self, value: Any, dtype: Any) -> Value:
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

    def _equation(self, eqn: Any, operands: list[Array], gradient: bool) -> list[Array]:
        name = eqn.primitive.name
        if eqn.effects:
            raise NotFusible(f"calls {name}, which has an effect")
        if name in _CALLS:
            return self._inner(next(eqn.params[key] for key in _INLINED if key in eqn.params), operands, gradient)
        if name == "cond":
            return self._cond(eqn, operands, gradient)
        if name not in RULES and name not in _VIEWS and not (gradient and name == "reduce_sum"):
            raise NotFusible(f"calls {name}, which is not in the table of elementwise primitives")
        (out,) = eqn.outvars
        self._check_sums(eqn, operands)
        if name == "reduce_sum":
            return [self._summed(eqn, operands[0])]
        if name in _VIEWS:
            return [self._view(eqn, operands[0])]
        places = self._common_places(eqn, operands)
        options = {key: eqn.params[key] for key in ("y", "rounding_method") if key in eqn.params}
        values = [operand.value for operand in operands]
        return [self._checked(RULES[name](self.builder, dtype_name(out.aval.dtype), *values, **options), places, out)]

    def _cond(self, eqn: Any, operands: list[Array], gradient: bool) -> list[Array]:
        """Return the results of the chosen branch; every branch is computed, as ``jnp.where`` does."""
        which, *rest = operands
        branches = [self._inner(branch, rest, gradient) for branch in eqn.params["branches"]]
        results = []
        for out, cases in zip(eqn.outvars, zip(*branches, strict=True), strict=True):
            places = {case.places for case in cases if case.places}
            if len(places) > 1:
                raise NotFusible("has the neurons in different orders in the branches of a condition")
            value = chosen(self.builder, dtype_name(out.aval.dtype), which.value, tuple(case.value for case in cases))
            results.append(Array(value, *places))
        return results

    def _common_places(self, eqn: Any, operands: list[Array]) -> tuple[int, ...]:
        """Return the places of the axes of an elementwise result."""
        arrays = [(x.places, atom.aval.shape) for x, atom in zip(operands, eqn.invars, strict=True) if atom.aval.shape]
        found: dict[int, int] = {}
        for places, shape in arrays:
            for axis, (place, size) in enumerate(zip(places, shape, strict=True)):
                if size != 1 and found.setdefault(axis, place) != place:
                    raise NotFusible(f"calls {eqn.primitive.name} of arrays that have the neurons in different orders")
        rank = eqn.outvars[0].aval.ndim
        return tuple(found[axis] if axis in found else rank - axis for axis in range(rank))

    def _view(self, eqn: Any, source: Array) -> Array:
        """Return an array with axes in another order, without axes of length one, or broadcast along new axes."""
        (atom, *_), (out,) = eqn.invars, eqn.outvars
        shape, name = out.aval.shape, eqn.primitive.name
        places = list(Array.of(source.value, shape).places)
        if name == "broadcast_in_dim":
            axes = eqn.params["broadcast_dimensions"]
            kept = {
                axis: place for axis, place, size in zip(axes, source.places, atom.aval.shape, strict=True) if size != 1
            }
        elif name == "transpose":
            kept = {axis: source.places[old] for axis, old in enumerate(eqn.params["permutation"])}
        else:
            long = _long_axes(source.places, atom.aval.shape)
            axes = [axis for axis, size in enumerate(shape) if size != 1]
            if [size for _, size in long] != [shape[axis] for axis in axes]:
                raise NotFusible(f"calls {name}, which moves neurons, from {atom.aval.shape} to {shape}")
            kept = {axis: place for axis, (place, _) in zip(axes, long, strict=True)}
        for axis, place in kept.items():
            places[axis] = place
        return self._checked(source.value, tuple(places), out)

    def _summed(self, eqn: Any, source: Array) -> Array:
        """Return the term of a sum over neurons."""
        shape, (out,) = eqn.invars[0].aval.shape, eqn.outvars
        node = self.builder.nodes[source.value.node]
        if (
            source.value.node not in self.builder.pending_sums
            and (node.op, node.args) != ("const", (0,))
            and math.prod(shape) != math.prod(self.neurons)
        ):
            raise NotFusible("sums over parameters")
        places = [place for axis, place in enumerate(source.places) if axis not in eqn.params["axes"]]
        return self._checked(self.builder.summed(source.value), tuple(places), out)

    def _checked(self, value: Value, places: tuple[int, ...], out: Any) -> Array:
        """Return an array whose axes are axes of the neurons."""
        long = _long_axes(places, out.aval.shape)
        lengths = dict(zip(range(len(self.neurons), 0, -1), self.neurons, strict=True))
        if len({place for place, _ in long}) < len(long) or any(lengths.get(place) != size for place, size in long):
            raise NotFusible(f"makes an array of shape {out.aval.shape} from neurons of shape {self.neurons}")
        return Array(value, places)

    def _check_sums(self, eqn: Any, operands: list[Array]) -> None:
        """Refuse to broadcast a sum over neurons to the neurons again."""
        (out,) = eqn.outvars
        for atom, operand in zip(eqn.invars, operands, strict=True):
            if operand.value.node in self.builder.pending_sums and atom.aval.size < out.aval.size:
                raise NotFusible("computes with a sum over neurons, for each of them")


class _Placed(NotFusible):
    """A refusal that says where."""


def dtype_name(dtype: Any) -> str:
    """Return the name of a dtype in programs."""
    name = dtype.name
    if name not in NAMES:
        raise NotFusible(f"computes in {name}")
    return NAMES[name]


def _long_axes(places: Sequence[int], shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the axes that are longer than one: the axis of the neurons that each is, and its length."""
    return tuple((place, size) for place, size in zip(places, shape, strict=True) if size != 1)


def _place(eqn: Any, gradient: bool) -> str:
    """Return a clause with the line of the user's code that an equation comes from."""
    return "in its gradient" if gradient else f"at {summarize(eqn.source_info)}"
