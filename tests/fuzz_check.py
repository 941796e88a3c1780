"""A call of scan compared with the oracle, and what may be written on before and after."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.fused import bits
from tests.fuzz_modes import MODES, Case, overwrite
from tests.fuzz_oracle import Answer, Exactness, compare, differentiated, flat
from tests.fuzz_tensors import Tensors

COUNTS: Counter[str] = Counter()


def check(case: Case, kept: list[Answer]) -> None:
    """Assert that a call gives what the oracle gives; the answers are added to those that are kept."""
    arguments = case.tensors().arguments(copied=True)
    try:
        case.scanned("loop", *arguments)
    except Exception as error:
        _check_raises(case, "auto", type(error))
        _check_raises(case, "fused", (type(error), ValueError))
        COUNTS["errors alike"] += 1
        return
    want = case.oracle()
    explanation = case.explained()
    fused = explanation.backend == "fused"
    exact = explanation.exactness == "E" if fused else case.step.exact
    # a division by zero makes an infinity as well
    exactness = Exactness(exact, case.step.loses_signs, case.call.numbers in ("special", "zeros"))
    COUNTS.update([f"mode {case.call.mode}", *(["fused", f"class {explanation.exactness}"] if fused else ["loop"])])
    if not fused and case.call.T:
        _check_raises(case, "fused", ValueError)
    wanted = [want, case.oracle(1)]
    for backend in ("auto", "auto", *["fused"] * fused):
        for member, got in MODES[case.call.mode](case, backend, want):
            noisy = partial(case.oracle, member, exact=exactness.exact)
            compare(got, wanted[member], exactness, noisy, COUNTS)
            kept.append(got)
        check_memory(case, backend)
        if case.call.write and case.order:
            check_written_before_backward(case, backend, exactness)


def _check_raises(case: Case, backend: str, expected: type[Exception] | tuple[type[Exception], ...]) -> None:
    arguments = case.tensors().arguments()
    try:
        case.scanned(backend, *arguments)
    except expected:
        return
    raise AssertionError(f"backend={backend!r} raises nothing, expected {expected}")


def check_unchanged(leaves: Mapping[str, Tensor], values: Mapping[str, Tensor], what: str) -> None:
    """Assert that results are what they were."""
    for name, leaf in leaves.items():
        assert torch.equal(bits(leaf), bits(values[name])), f"{name} changed with {what}"


def check_memory(case: Case, backend: str) -> None:
    """Assert that results share no memory with arguments or each other, and can be written on."""
    with torch.set_grad_enabled(case.order > 0), torch.inference_mode(case.call.mode == "inference"):
        tensors = case.tensors()
        leaves = flat(_last(case, tensors, backend))
        values = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        for index, source in enumerate(tensors.sources):
            overwrite(source)
            check_unchanged(leaves, values, f"source {index}, of shape {tuple(source.shape)}")
        for name in sorted(leaves):
            overwrite(leaves.pop(name))
            check_unchanged(leaves, values, name)


def _last(case: Case, tensors: Tensors, backend: str) -> tuple[Any, Any]:
    """Return the results of a call, or those of its last step where it goes step by step."""
    if case.call.mode == "steps" and case.call.T:
        state, outs = case.stepped(tensors)
        return state, outs[-1]
    return case.scan(tensors, backend)


def check_written_before_backward(case: Case, backend: str, exactness: Exactness) -> None:
    """Assert that a write between call and backward pass raises an error that says so, or leaves the gradient right."""
    tensors, scale = case.tensors(), {}
    leaves = flat(case.scan(tensors, backend))
    try:
        if case.call.write == "numbers":
            case.built.step(2.0 * case.call.factor)
        elif case.call.write == "input":
            overwrite(tensors.sources[case.call.seed % len(tensors.sources)])
        else:
            names = [name for name, leaf in leaves.items() if case.call.write in name and leaf.requires_grad]
            scale = dict.fromkeys(names[:1], 2.0)
            for name in scale:
                leaves[name].mul_(2.0)
        got = differentiated(leaves, tensors, case.order, {})
    except RuntimeError as error:
        if not re.search("in-?place|has changed between|has no second derivative", str(error)):
            raise
        COUNTS["errors after a write"] += 1
        return
    finally:
        case.built.step(case.call.factor)
    noisy = partial(case.oracle, exact=exactness.exact, scale=scale)
    compare(Answer({}, got), case.oracle(scale=scale), exactness, noisy, COUNTS)
