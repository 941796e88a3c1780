"""Calls of kernels from JAX made by hand, for a step that torch has traced: arrays (T, B, N) and states (B, N)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import torch

from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.fused.codegen.abi import AXES, BACKWARD, FORWARD, Group, arrays
from spikingtorch.functional.fused.codegen.c import CHUNK
from spikingtorch.functional.fused.ir import Program, from_text
from spikingtorch.functional.fused.trace.examples import Spec
from spikingtorch.functional.fused.trace.programs import Arguments, trace_step
from spikingtorch.jax import handler

_shaped: Any = jax.ShapeDtypeStruct  # without types
_DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16", "f16": "float16", "i32": "int32"}


class Kernels(NamedTuple):
    """The two kernels of a step with float parameters."""

    program: str
    scalars: tuple[float, ...]

    @classmethod
    def of(cls, step: Callable[..., Any], state: Any, dtype: torch.dtype = torch.float32, **params: Any) -> "Kernels":
        """Trace a step on states of two axes; inputs and outputs are of ``dtype``, as are states unless it is half."""
        half = dtype if dtype in (torch.float16, torch.bfloat16) else None
        leaves, form = pytree.tree_flatten(state)
        states = tuple(Spec.of(torch.float32 if half else dtype, (2, 2)) for _ in leaves)
        values, forms = pytree.tree_flatten(params)
        given = Arguments(
            states, (Spec.of(dtype, (2, 2)),), tuple(values), (form, pytree.tree_flatten(0)[1], forms), half
        )
        found = trace_step(step, given)
        assert found.floats_are_inputs
        return cls(found.program, (*(v for v in values if isinstance(v, float)), *found.literals))

    @property
    def _read(self) -> Program:
        return from_text(self.program)

    def forward(self, states: Sequence[Any], xs: Sequence[Any], keep: bool = True) -> dict[str, list[Any]]:
        """Return the results of a forward pass, by the names of their groups."""
        kept = [] if not keep else ["kept"]
        return self._call(
            handler.Request(self.program), FORWARD, {"states": states, "xs": xs}, ["finals", "outs", *kept]
        )

    def backward(self, **given: Sequence[Any]) -> dict[str, list[Any]]:
        """Return the gradients of states and inputs, from what ``forward`` has got and returned and the cotangents."""
        request = handler.Request(self.program, (False,) * len(self._read.params))
        return self._call(request, BACKWARD, given, ["of_states", "of_xs"])

    def _call(
        self, request: handler.Request, groups: tuple[Group, ...], given: dict[str, Any], wanted: list[str]
    ) -> dict[str, list[Any]]:
        T, *shape = given["xs"][0].shape
        rows, neurons = math.prod(shape[:-1]), shape[-1]
        records = [0, T, neurons, rows, 1, rows, *[0] * (AXES - 1)]
        pointers, operands, results = [], [], []
        counts = dict.fromkeys([group.name for group in groups], 0)
        for _, group, dtype in arrays(groups, self._read):
            number = counts[group.name]
            counts[group.name] += 1
            there = group.name in wanted if group.written else number < len(given.get(group.name, ()))
            if not there:
                records += [0] * (3 + AXES)
                continue
            pointers.append(len(records))
            records += [0, rows * neurons if group.over_time else 0, 1, neurons, *[0] * (AXES - 1)]
            if group.written:
                steps = [(T + CHUNK - 1) // CHUNK - 1 if group.name == "kept" else T] if group.over_time else []
                results.append((group.name, _shaped((*steps, *shape), jnp.dtype(_DTYPES[group.dtype or dtype]))))
            else:
                operands.append(given[group.name][number])
        shapes = [spec for _, spec in results]
        found = handler.call(request, shapes, operands, records=records, pointers=pointers, scalars=self.scalars)
        by_name: dict[str, list[Any]] = {name: [] for name in wanted}
        for (name, _), array in zip(results, found, strict=True):
            by_name[name].append(array)
        return by_name

    def both(self, v: Any, x: Any, of_final: Any, of_out: Any) -> tuple[Any, ...]:
        """Return final state, output, and the gradients of state and input of a step with one of each."""
        found = self.forward([v], [x])
        back = self.backward(states=[v], xs=[x], kept=found["kept"], of_finals=[of_final], of_outs=[of_out])
        return *found["finals"], *found["outs"], *back["of_states"], *back["of_xs"]
