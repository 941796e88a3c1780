"""Ways to call scan: in threads, on deep copies, in pieces, on tensors that were used before, under torch.func."""

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.scan import one_step
from tests.fuzz_calls import Call
from tests.fuzz_oracle import Answer, answer, cotangents, flat
from tests.fuzz_source import Built
from tests.fuzz_steps import Step
from tests.fuzz_tensors import Tensors

Answers = list[tuple[int, Answer]]  # each with the number of its member of a batch


class Case:
    """A call of a step."""

    def __init__(self, step: Step, built: Built, call: Call) -> None:
        self.step, self.built, self.call = step, built, call
        self.function = built.step(call.factor)
        self.order = {"no_grad": 0, "inference": 0, "deepcopy": 0, "second": 2}.get(call.mode, 1)
        axes = len(call.shape) + 1
        self.dim = call.dim % axes - axes * (call.dim < 0)

    def tensors(self, member: int = 0) -> Tensors:
        """Return the arguments, always the same ones."""
        return Tensors(self.step, self.built, self.call, member)

    def scan(self, tensors: Tensors, backend: Any, **options: Any) -> tuple[Any, Any]:
        """Run the call."""
        return self.scanned(backend, *tensors.arguments(**options))

    def scanned(self, backend: Any, state: Any, xs: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        """Run the call on some arguments."""
        found: tuple[Any, Any] = F.scan(self.function, state, xs, params=params, dim=self.dim, backend=backend)
        return found

    def stepped(self, tensors: Tensors) -> tuple[Any, list[Any]]:
        """Run the call step by step, as layers do, and return the outputs of each step."""
        state, xs, params = tensors.arguments()
        outs = []
        for t in range(self.call.T):
            x = pytree.tree_map(lambda leaf, t=t: leaf.select(self.dim, t), xs)
            state, out = one_step(self.function, state, x, params, check=not t)
            outs.append(out)
        return state, outs

    def oracle(self, member: int = 0, **options: Any) -> Answer:
        """Return what the loop gives on copies that share nothing."""
        tensors = self.tensors(member)
        return answer(partial(self.scan, tensors, "loop", copied=True), tensors, self.order, **options)

    def explained(self) -> F.Explanation:
        """Return what scan says of the call."""
        state, xs, params = self.tensors().arguments()
        return F.explain_scan(self.function, state, xs, params=params, dim=self.dim, backend="fused")


def overwrite(tensor: Tensor) -> None:
    """Write other numbers on a tensor."""
    with torch.no_grad():
        if tensor.dtype == torch.bool:
            tensor.logical_not_()
        else:
            tensor.fill_(5)


def _once(case: Case, backend: str, want: Answer) -> Answers:
    tensors = case.tensors()
    return [(0, answer(partial(case.scan, tensors, backend), tensors, case.order))]


def _no_grad(case: Case, backend: str, want: Answer) -> Answers:
    with torch.no_grad():
        return _once(case, backend, want)


def _inference(case: Case, backend: str, want: Answer) -> Answers:
    """Call in inference mode, on tensors that were made in it or outside."""
    outside = case.tensors()
    with torch.inference_mode():
        tensors = outside if case.call.seed % 2 else case.tensors()
        return [(0, answer(partial(case.scan, tensors, backend), tensors, 0))]


def _thread(case: Case, backend: str, want: Answer) -> Answers:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_once, case, backend, want).result()


def _threads(case: Case, backend: str, want: Answer) -> Answers:
    """Call in several threads at once, some times in each, on tensors of their own."""
    start = threading.Barrier(3)

    def run(thread: int) -> Answers:
        given = [case.tensors(thread % 2) for _ in range(4)]
        start.wait()
        runs = [partial(case.scan, tensors, backend) for tensors in given]
        return [(thread % 2, answer(run, tensors, 1)) for run, tensors in zip(runs, given, strict=True)]

    with ThreadPoolExecutor(3) as pool:
        return [each for answers in pool.map(run, range(3)) for each in answers]


def _deepcopy(case: Case, backend: str, want: Answer) -> Answers:
    """Call, copy step and arguments, write on the originals, and call again on the copies."""
    tensors = case.tensors()
    with torch.no_grad():
        arguments = tensors.arguments()
        first = answer(partial(case.scanned, backend, *arguments), tensors, 0)
        function, *copies = copy.deepcopy((case.function, *arguments))
        for source in tensors.sources:
            overwrite(source)
        again = Case(case.step, case.built, case.call)
        again.function = function
        return [(0, first), (0, answer(partial(again.scanned, backend, *copies), tensors, 0))]


def _stream(case: Case, backend: str, want: Answer) -> Answers:
    """Call on the first half of the steps, and go on from its state with the second half."""
    half = case.call.T // 2
    if not half:
        return _once(case, backend, want)
    tensors = case.tensors()

    def run() -> tuple[Any, Any]:
        state, xs, params = tensors.arguments()
        outs = []
        for start, length in ((0, half), (half, case.call.T - half)):
            part = pytree.tree_map(lambda x, s=start, n=length: x.narrow(case.dim, s, n), xs)
            state, out = case.scanned(backend, state, part, params)
            outs.append(out)
        return state, pytree.tree_map(lambda *parts: torch.cat(parts, case.dim), *outs)

    return [(0, answer(run, tensors, case.order))]


def _steps(case: Case, backend: str, want: Answer) -> Answers:
    """Call step by step, as layers do."""
    if not case.call.T:
        return _once(case, backend, want)
    tensors = case.tensors()

    def run() -> tuple[Any, Any]:
        state, outs = case.stepped(tensors)
        return state, pytree.tree_map(lambda *leaves: torch.stack(leaves, case.dim), *outs)

    return [(0, answer(run, tensors, case.order))]


def _reuse(case: Case, backend: str, want: Answer) -> Answers:
    """Call, write other numbers on the arguments, and call again on the same tensors."""
    tensors, others = case.tensors(), case.tensors(1)
    run = partial(case.scanned, backend, *tensors.arguments())
    first = answer(run, tensors, case.order)
    with torch.no_grad():
        for source, other in zip(tensors.sources, others.sources, strict=True):
            source.copy_(other)
    return [(0, first), (1, answer(run, tensors, case.order))]


def _transform(case: Case, backend: str, want: Answer) -> Answers:
    """Call under torch.func: vmap over some of the sources, grad, or vmap of grad."""
    members = [case.tensors(member) for member in (0, 1)]
    sources = [source.detach() for source in members[0].sources]
    learned = tuple(k for k, source in enumerate(members[0].sources) if source.requires_grad)
    in_dims = tuple(0 if members[0].is_mapped(k) else None for k in range(len(sources)))
    pairs = zip(sources, members[1].sources, in_dims, strict=True)
    stacked = [a if dim is None else torch.stack([a, b.detach()]) for a, b, dim in pairs]
    weights = cotangents(want.values, members[0])

    def values(*given: Tensor) -> dict[str, Tensor]:
        return flat(case.scan(members[0], backend, sources=given))

    def total(*given: Tensor) -> Tensor:
        found = values(*given)
        weighted = [(weight * found[name]).sum() for name, weight in weights.items()]
        return sum(weighted, start=torch.zeros((), requires_grad=True))

    kind = case.call.seed % 3 if learned else 0
    if kind == 0:
        found = torch.func.vmap(values, in_dims)(*stacked)
        return [(m, Answer({name: value[m] for name, value in found.items()}, {})) for m in (0, 1)]
    gradient = torch.func.grad(total, learned)
    if kind == 1:
        return [(0, _gradients(gradient(*sources)))]
    each = torch.func.vmap(gradient, in_dims)(*stacked)
    return [(m, _gradients([grad[m] for grad in each])) for m in (0, 1)]


def _gradients(found: Any) -> Answer:
    return Answer({}, {f"d source {k}": grad for k, grad in enumerate(found)})


MODES: dict[str, Callable[[Case, str, Answer], Answers]] = {
    "grad": _once,
    "second": _once,
    "no_grad": _no_grad,
    "inference": _inference,
    "thread": _thread,
    "threads": _threads,
    "deepcopy": _deepcopy,
    "stream": _stream,
    "steps": _steps,
    "reuse": _reuse,
    "transform": _transform,
}
