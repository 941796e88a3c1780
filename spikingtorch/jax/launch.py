"""Call the kernels of a scan: where its arrays lie, and what is summed after them."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from spikingtorch.functional.fused.codegen.abi import AXES, BACKWARD, FORWARD, Group
from spikingtorch.functional.fused.ir import Program
from spikingtorch.jax import handler
from spikingtorch.jax.spec import ScanSpec

# fewer neurons that are adjacent in memory do not fill a vector: time moves to the front, and rows become neurons
_NARROW = 16
# the record of an array that a kernel does without
_NOTHING = [0] * (3 + AXES)

Arrays = Sequence[jax.Array]


def takes(spec: ScanSpec, batch: tuple[int, ...]) -> bool:
    """Return True if a kernel takes a scan of this size."""
    return spec.size * math.prod(batch) > 0 and len(batch) + spec.dim <= AXES


def forward(spec: ScanSpec, operands: Arrays, *, keep: bool) -> list[jax.Array]:
    """Return final states and outputs and, with ``keep``, the states that the backward pass starts from.

    Raise NoCompiler or CompileError if the kernel cannot be built.
    """
    batch = spec.batch_of(operands)
    place = _Placement(spec, batch)
    given = [place.operand(k, x) for k, x in enumerate(operands)]
    shapes = spec.results(batch, keep=keep)
    ends = spec.states, len(spec.step.results)
    results = [place.result(*each, over_time=k >= ends[0]) for k, each in enumerate(shapes)]
    states, xs, params = spec.states, spec.streams, len(operands)
    there = {
        **_numbered("states", given[:states]), **_numbered("xs", given[xs.start : xs.stop]),
        **_numbered("params", given[xs.stop : params]), **_numbered("finals", results[: ends[0]]),
        **_numbered("outs", results[ends[0] : ends[1]]), **_numbered("kept", results[ends[1] :]),
    }  # fmt: skip
    found = place.call(None, FORWARD, there, given, results)
    return [
        place.back(x, shape, over_time=k >= ends[0])
        for k, (x, (shape, _)) in enumerate(zip(found, shapes, strict=True))
    ]


def backward(
    spec: ScanSpec,
    operands: Arrays,
    kept: Arrays,
    cotangents: Arrays,
    given: tuple[bool, ...],
    wanted: tuple[bool, ...],
) -> list[jax.Array]:
    """Return the wanted gradients of floating operands, as ``reference.backward``; raise NoCompiler or CompileError."""
    batch = spec.batch_of([*operands, *kept, *cotangents])
    place = _Placement(spec, batch)
    arrays = [place.operand(k, x) for k, x in enumerate(operands)]
    kept_arrays = [place.stream(x) for x in kept]
    coming = dict(zip([k for k, has in zip(spec.float_results, given, strict=True) if has], cotangents, strict=True))
    placed = {k: place.stream(c) if k >= spec.states else place.own(c) for k, c in coming.items()}
    asked = [k for k, want in zip(spec.floats, wanted, strict=True) if want]
    has = [k for k in asked if spec.program.gradients[k] >= 0]
    dtypes = {k: operands[k].dtype for k in asked}
    whole = {k: (*batch, *(spec.over_time(spec.steps) if k in spec.streams else spec.neurons)) for k in has}
    results = {k: place.result(whole[k], dtypes[k], over_time=k in spec.streams) for k in has}
    xs = spec.streams
    there = {
        **_numbered("states", arrays[: spec.states]), **_numbered("xs", arrays[xs.start : xs.stop]),
        **_numbered("params", arrays[xs.stop :]), **_numbered("kept", kept_arrays),
        **{("of_finals", k): x for k, x in placed.items() if k < spec.states},
        **{("of_outs", k - spec.states): x for k, x in placed.items() if k >= spec.states},
        **{("of_states", k): x for k, x in results.items() if k < spec.states},
        **{("of_xs", k - xs.start): x for k, x in results.items() if k in xs},
        **{("of_params", k - xs.stop): x for k, x in results.items() if k >= xs.stop},
    }  # fmt: skip
    params = tuple(k in has for k in range(xs.stop, len(operands)))
    found = place.call(params, BACKWARD, there, [*arrays, *kept_arrays, *placed.values()], list(results.values()))
    grads = dict(zip(has, found, strict=True))

    def gradient(k: int) -> jax.Array:
        shape = spec.shape_of(k, batch)
        if k not in grads:
            return jnp.zeros(shape, dtypes[k])
        found = place.back(grads[k], whole[k], over_time=k in xs)
        if k not in xs:
            return summed(found, shape, len(batch))
        # time in front of the neurons' axes, of which the input may have the last ones alone
        at, first = len(batch) + spec.dim, len(batch)
        moved = (*batch, spec.steps, *spec.step.types[k].shape)
        return jnp.moveaxis(summed(jnp.moveaxis(found, at, first), moved, first + 1), first, at)

    return [gradient(k) for k in asked]


def begin(spec: ScanSpec, given: tuple[bool, ...] | None) -> None:
    """Begin to compile the kernel that is likely to follow, while JAX traces and compiles the rest.

    ``given`` says for each floating operand whether its gradient is wanted; it is None for the forward pass.
    """
    if math.prod(spec.neurons[spec.dim :]) < _NARROW:
        return
    first = spec.streams.stop
    wanted = None if given is None else dict(zip(spec.floats, given, strict=True))
    params = (
        None
        if wanted is None
        else tuple(wanted.get(k, False) and spec.program.gradients[k] >= 0 for k in range(first, len(spec.step.types)))
    )
    handler.begin(handler.Request(spec.text, params))


class _Placement:
    """The axes of a scan as its kernel has them: rows, time, neurons that are adjacent in memory.

    ``batch`` are the lengths of the axes of ``jax.vmap``.
    """

    def __init__(self, spec: ScanSpec, batch: tuple[int, ...]) -> None:
        self.spec, self.batch = spec, batch
        self.shape = (*batch, *spec.neurons)  # of one step
        self._time = len(batch) + spec.dim  # the axis of time of a stream
        narrow = math.prod(self.shape[self._time :]) < _NARROW and self._time > 0
        self._first = 0 if narrow else self._time  # the first axis of the shape that is adjacent in memory

    def operand(self, k: int, array: jax.Array) -> jax.Array:
        """Return an operand as the kernel reads it."""
        return (
            self.stream(array)
            if k in self.spec.streams
            else self.own(array)
            if k < self.spec.states
            else self.static(array)
        )

    def stream(self, array: jax.Array) -> jax.Array:
        """Return an array over time; the axes before time may have length one."""
        batch, axis = self.spec.batch, self._time
        front = jnp.moveaxis(array, axis, batch)  # time, and then the neurons' last axes
        missing = len(self.shape) + 1 - array.ndim
        aligned = front.reshape(*front.shape[: batch + 1], *(1,) * missing, *front.shape[batch + 1 :])
        placed = jnp.moveaxis(aligned, batch, axis)
        rows = self.shape[:axis] if self._first < axis else placed.shape[:axis]
        whole = jnp.broadcast_to(placed, (*rows, placed.shape[axis], *self.shape[axis:]))
        return jnp.moveaxis(whole, axis, 0) if self._first < axis else whole

    def static(self, array: jax.Array) -> jax.Array:
        """Return an array without time; its neurons have a value each, or one together."""
        own, missing = array.shape, len(self.shape) - array.ndim
        shape = (*own[: self.spec.batch], *(1,) * missing, *own[self.spec.batch :])
        array, tail = array.reshape(shape), shape[self._first :]
        return (
            array
            if math.prod(tail) == 1
            else jnp.broadcast_to(array, (*shape[: self._first], *self.shape[self._first :]))
        )

    def own(self, array: jax.Array) -> jax.Array:
        """Return an array without time in which each neuron has a value of its own."""
        rows = array.shape[: self._first]
        return jnp.broadcast_to(array, (*rows, *self.shape[self._first :]))

    def result(self, shape: tuple[int, ...], dtype: Any, *, over_time: bool) -> jax.ShapeDtypeStruct:
        """Return the type of a result for a shape of the caller."""
        if over_time and self._first < self._time:
            shape = (shape[self._time], *shape[: self._time], *shape[self._time + 1 :])
        return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]

    def back(self, array: jax.Array, shape: tuple[int, ...], *, over_time: bool) -> jax.Array:
        """Return a result in the shape of the caller."""
        moved = jnp.moveaxis(array, 0, self._time) if over_time and self._first < self._time else array
        assert moved.shape == shape
        return moved

    def call(
        self,
        wanted: tuple[bool, ...] | None,
        groups: tuple[Group, ...],
        there: dict[tuple[str, int], Any],
        operands: list[jax.Array],
        results: list[jax.ShapeDtypeStruct],
    ) -> list[jax.Array]:
        """Run a kernel, whose arrays have the order of ``groups``; return its results.

        ``wanted`` says for each parameter whether its gradient is wanted; it is None forward. ``there`` has the
        operands and results by their group and their number in it.
        """
        sizes, row = self.shape[: self._first], self.shape[self._first :]
        header = [0, self.spec.steps, math.prod(row), math.prod(sizes), len(sizes)]
        records = [*header, *sizes, *(0,) * (AXES - len(sizes))]
        pointers = []
        for group in groups:
            for number in range(len(getattr(self.spec.program, group.of))):
                array = there.get((group.name, number))
                if array is not None:
                    pointers.append(len(records))
                records += _NOTHING if array is None else self._record(array.shape, group.over_time)
        request = handler.Request(self._program(operands).to_text(), wanted)
        scalars = self.spec.scalars
        return handler.call(request, results, operands, records=records, pointers=pointers, scalars=scalars)

    def _program(self, operands: list[jax.Array]) -> Program:
        """Return the program, in which a parameter is one number if a row has one value of it."""
        program, first = self.spec.program, self.spec.streams.stop
        params = operands[first : first + len(program.params)]
        uniform = [math.prod(param.shape[self._first :]) == 1 for param in params]
        return program._replace(params=tuple((d, one) for (d, _), one in zip(program.params, uniform, strict=True)))

    def _record(self, shape: tuple[int, ...], over_time: bool) -> list[int]:
        """Return the record of an array: no address yet, its strides along time, neurons and rows."""
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        step = 0
        sizes = list(shape)
        if over_time:
            step = strides.pop(self._first)
            sizes.pop(self._first)
        # neurons that are one in all have a value each, unless the array has one for several rows or neurons
        neuron = int(over_time or math.prod(sizes[self._first :]) == math.prod(self.shape[self._first :]))
        rows = [stride if size > 1 else 0 for size, stride in zip(sizes, strides, strict=True)][: self._first]
        return [0, step, neuron, *rows, *(0,) * (AXES - len(rows))]


def _numbered(name: str, arrays: Sequence[Any]) -> dict[tuple[str, int], Any]:
    return {(name, number): array for number, array in enumerate(arrays)}


def summed(grad: jax.Array, shape: tuple[int, ...], batch: int) -> jax.Array:
    """Return a gradient in the shape of its operand, summed over the neurons that share a value."""
    missing = grad.ndim - len(shape)
    aligned = (*shape[:batch], *(1,) * missing, *shape[batch:])
    axes = tuple(k for k, (own, size) in enumerate(zip(aligned, grad.shape, strict=True)) if own != size)
    return jnp.sum(grad, axis=axes, keepdims=True).reshape(shape) if axes else grad.reshape(shape)
