"""A call of scan in some mode beside its oracle, and what may be written on before and after.

The oracle is the loop on copies that share nothing. Where it is not the bits that count, results are compared by the
table of tolerances, and a result that is off counts only if it is steady: if relative noise on each operation of the
oracle, a thousand times what rounding does, leaves it within the tolerance. A spike that is about to flip does not.
"""

import copy
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from spikingtorch import functional as F
from spikingtorch.functional.scan import one_step
from spikingtorch.testing import TOLERANCE, relative_error
from tests.fused import bits
from tests.fuzz.steps import Built, Step
from tests.fuzz.tensors import Call, Tensors, cotangent, gradients

Named = Mapping[str, Tensor]
NOTHING: Named = {}
MODES = ["grad", "no_grad", "inference", "second", "thread", "threads", "deepcopy", "stream", "steps", "reuse"]
MODES += ["transform"]
NOISE = {torch.float64: 1e-13, torch.float32: 1e-6}
_ROUNDED = {"add", "sub", "rsub", "mul", "div", "reciprocal", "sum"}
_FUNCTIONS = {"exp", "tanh", "sigmoid", "sqrt", "log1p", "erf", "sin", "cos", "atan", "pow", "lerp", "addcmul"}


class Answer(NamedTuple):
    values: Named  # of the results, by name
    gradients: Named  # of the sources
    form: Any = None  # of the results
    leaves: Named = NOTHING  # the results themselves, by name
    member: int = 0  # of a batch


class Noise(TorchDispatchMode):
    """Puts relative noise on what rounds: on everything, or on functions such as exp alone until there are results."""

    def __init__(self, seed: int, exact: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.on_all = not exact
        self._draw = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._opname
        function = name in _FUNCTIONS or name == "softplus" or name.endswith("_backward")
        if (function or (self.on_all and name in _ROUNDED)) and out.dtype in NOISE:
            random = torch.randn(out.shape, dtype=out.dtype, generator=self._draw)
            out.mul_(1.0 + NOISE[out.dtype] * random)
        return out


class Case:
    """A call of a step."""

    def __init__(self, step: Step, built: Built, call: Call, counts: Counter[str]) -> None:
        self.step, self.built, self.call, self.counts = step, built, call, counts
        self.function = built.step(call.factor)
        self.order = {"no_grad": 0, "inference": 0, "deepcopy": 0, "second": 2}.get(call.mode, 1)
        axes = len(call.shape) + 1
        self.dim = call.dim % axes - axes * (call.dim < 0)

    def tensors(self, member: int = 0) -> Tensors:
        """Return the arguments, always the same ones."""
        return Tensors(self.step, self.built, self.call, member)

    def scan(self, tensors: Tensors, backend: str, **options: Any) -> Any:
        return self.scanned(backend, *tensors.arguments(**options))

    def scanned(self, backend: Any, state: Any, xs: Any, params: dict[str, Any]) -> Any:
        return F.scan(self.function, state, xs, params=params, dim=self.dim, backend=backend)

    def stepped(self, tensors: Tensors) -> tuple[Any, list[Any]]:
        """Run the call step by step, as layers do, and return the outputs of each step."""
        state, xs, params = tensors.arguments()
        outs = []
        for t in range(self.call.T):
            x = pytree.tree_map(lambda leaf, t=t: leaf.select(self.dim, t), xs)
            state, out = one_step(self.function, state, x, params, check=not t)
            outs.append(out)
        return state, outs

    def answer(self, run: Callable[[], Any], tensors: Tensors, **how: Any) -> Answer:
        """Return the results of a scan and their derivatives."""
        results = run()
        leaves = flat(results)
        values = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        found = differentiated(leaves, tensors, self.order, **how) if self.order else {}
        return Answer(values, found, pytree.tree_structure(results), leaves)

    def oracle(self, member: int = 0, noise: Noise | None = None, **how: Any) -> Answer:
        """Return what the loop gives on copies that share nothing."""
        tensors = self.tensors(member)

        def run() -> Any:
            results = self.scan(tensors, "loop", copied=True)
            if noise:
                noise.on_all = True
            return results

        with noise or nullcontext():
            return self.answer(run, tensors, **how)

    # --- modes, each with what it gives ---

    def grad(self, backend: str, member: int = 0) -> list[Answer]:
        tensors = self.tensors(member)
        return [self.answer(partial(self.scan, tensors, backend), tensors)._replace(member=member)]

    second = grad

    def no_grad(self, backend: str) -> list[Answer]:
        with torch.no_grad():
            return self.grad(backend)

    def inference(self, backend: str) -> list[Answer]:
        """Call in inference mode, on tensors that were made in it or outside."""
        outside = self.tensors()
        with torch.inference_mode():
            tensors = outside if self.call.seed % 2 else self.tensors()
            return [self.answer(partial(self.scan, tensors, backend), tensors)]

    def thread(self, backend: str) -> list[Answer]:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.grad, backend).result()

    def threads(self, backend: str) -> list[Answer]:
        """Call in several threads at once, some times in each, on tensors of their own."""
        start = threading.Barrier(3)

        def run(thread: int) -> list[Answer]:
            given = [self.tensors(thread % 2) for _ in range(4)]
            start.wait()
            return [self.answer(partial(self.scan, tensors, backend), tensors) for tensors in given]

        with ThreadPoolExecutor(3) as pool:
            found = enumerate(pool.map(run, range(3)))
            return [answer._replace(member=thread % 2) for thread, answers in found for answer in answers]

    def deepcopy(self, backend: str) -> list[Answer]:
        """Call, copy step and arguments, write on the originals, and call again on the copies."""
        tensors = self.tensors()
        with torch.no_grad():
            arguments = tensors.arguments()
            first = self.answer(partial(self.scanned, backend, *arguments), tensors)
            again = Case(self.step, self.built, self.call, self.counts)
            again.function, *copies = copy.deepcopy((self.function, *arguments))
            for source in tensors.sources:
                overwrite(source)
            return [first, self.answer(partial(again.scanned, backend, *copies), tensors)]

    def stream(self, backend: str) -> list[Answer]:
        """Call on the first half of the steps, and go on from its state with the second half."""
        half, tensors = self.call.T // 2, self.tensors()

        def run() -> tuple[Any, Any]:
            state, xs, params = tensors.arguments()
            outs = []
            for start, length in ((0, half), (half, self.call.T - half)):
                part = pytree.tree_map(lambda x, s=start, n=length: x.narrow(self.dim, s, n), xs)
                state, out = self.scanned(backend, state, part, params)
                outs.append(out)
            return state, pytree.tree_map(lambda *parts: torch.cat(parts, self.dim), *outs)

        return [self.answer(run, tensors)] if half else self.grad(backend)

    def steps(self, backend: str) -> list[Answer]:
        tensors = self.tensors()

        def run() -> tuple[Any, Any]:
            state, outs = self.stepped(tensors)
            return state, pytree.tree_map(lambda *leaves: torch.stack(leaves, self.dim), *outs)

        return [self.answer(run, tensors)] if self.call.T else self.grad(backend)

    def reuse(self, backend: str) -> list[Answer]:
        """Call, write other numbers on the arguments, and call again on the same tensors."""
        tensors = self.tensors()
        run = partial(self.scanned, backend, *tensors.arguments())
        first = self.answer(run, tensors)
        with torch.no_grad():
            for source, other in zip(tensors.sources, self.tensors(1).sources, strict=True):
                source.copy_(other)
        return [first, self.answer(run, tensors)._replace(member=1)]

    def transform(self, backend: str) -> list[Answer]:
        """Call under torch.func: vmap over some of the sources, grad, or vmap of grad."""
        tensors, other = self.tensors(), self.tensors(1)
        sources = [source.detach() for source in tensors.sources]
        learned = tuple(k for k, source in enumerate(tensors.sources) if source.requires_grad)
        in_dims = tuple(0 if tensors.is_mapped(k) else None for k in range(len(sources)))
        pairs = zip(sources, other.sources, in_dims, strict=True)
        stacked = [a if dim is None else torch.stack([a, b.detach()]) for a, b, dim in pairs]
        weights = cotangents(self.oracle().values, tensors)

        def values(*given: Tensor) -> Named:
            return flat(self.scan(tensors, backend, sources=given))

        def total(*given: Tensor) -> Tensor:
            found = values(*given)
            weighted = [(weight * found[name]).sum() for name, weight in weights.items()]
            return sum(weighted, start=torch.zeros((), requires_grad=True))

        def gradients(grads: Any) -> Named:
            return {f"d source {k}": grad for k, grad in enumerate(grads)}

        kind = self.call.seed % 3 if learned else 0
        if kind == 0:
            both = torch.func.vmap(values, in_dims)(*stacked)
            return [Answer({name: both[name][m] for name in both}, {}, member=m) for m in (0, 1)]
        gradient = torch.func.grad(total, learned)
        if kind == 1:
            return [Answer({}, gradients(gradient(*sources)))]
        each = torch.func.vmap(gradient, in_dims)(*stacked)
        return [Answer({}, gradients([grad[m] for grad in each]), member=m) for m in (0, 1)]

    # --- what has to be right ---

    def check(self, kept: list[Answer]) -> None:
        """Assert that a call gives what the oracle gives; the answers are added to those that are kept."""
        state, xs, params = self.tensors().arguments(copied=True)
        try:
            self.scanned("loop", state, xs, params)
        except Exception as error:
            self.check_raises("auto", type(error))
            self.check_raises("fused", type(error), ValueError)
            self.counts["errors alike"] += 1
            return
        state, xs, params = self.tensors().arguments()
        told = F.explain_scan(self.function, state, xs, params=params, dim=self.dim, backend="fused")
        fused = told.backend == "fused"
        self.counts.update([f"mode {self.call.mode}", *(["fused", f"class {told.exactness}"] if fused else ["loop"])])
        if not fused and self.call.T:
            self.check_raises("fused", ValueError)
        exact = told.exactness == "E" if fused else self.step.exact
        wanted = [self.oracle(member) for member in (0, 1)]
        for backend in ("auto", "auto", *["fused"] * fused):
            for got in getattr(self, self.call.mode)(backend):
                self.compare(got, wanted[got.member], exact, member=got.member)
                kept.append(got)
            self.check_memory(backend)
            if self.call.write and self.order:
                self.check_written_before_backward(backend, exact)

    def check_raises(self, backend: str, *expected: type[Exception]) -> None:
        arguments = self.tensors().arguments()
        try:
            self.scanned(backend, *arguments)
        except expected:
            return
        raise AssertionError(f"backend={backend!r} raises nothing, expected {expected}")

    def check_memory(self, backend: str) -> None:
        """Assert that results share no memory with arguments or each other, and can be written on."""
        with torch.set_grad_enabled(self.order > 0), torch.inference_mode(self.call.mode == "inference"):
            tensors = self.tensors()
            if self.call.mode == "steps" and self.call.T:
                state, outs = self.stepped(tensors)
                leaves = flat((state, outs[-1]))
            else:
                leaves = flat(self.scan(tensors, backend))
            values = {name: leaf.detach().clone() for name, leaf in leaves.items()}
            for index, source in enumerate(tensors.sources):
                overwrite(source)
                check_unchanged(leaves, values, f"source {index}, of shape {tuple(source.shape)}")
            for name in sorted(leaves):
                overwrite(leaves.pop(name))
                check_unchanged(leaves, values, name)

    def check_written_before_backward(self, backend: str, exact: bool) -> None:
        """Assert that a write between call and backward pass raises an error that says so, or changes no gradient."""
        tensors, doubled = self.tensors(), list[str]()
        leaves = flat(self.scan(tensors, backend))
        try:
            if self.call.write == "numbers":
                self.built.step(2.0 * self.call.factor)
            elif self.call.write == "input":
                overwrite(tensors.sources[self.call.seed % len(tensors.sources)])
            else:
                doubled = [name for name, leaf in leaves.items() if self.call.write in name and leaf.requires_grad][:1]
                for name in doubled:
                    leaves[name].mul_(2.0)
            got = differentiated(leaves, tensors, self.order)
        except RuntimeError as error:
            if not re.search("in-?place|has changed between|has no second derivative", str(error)):
                raise
            self.counts["errors after a write"] += 1
            return
        finally:
            self.built.step(self.call.factor)
        self.compare(Answer({}, got), self.oracle(doubled=doubled), exact, doubled=doubled)

    def compare(self, got: Answer, want: Answer, exact: bool, **of_oracle: Any) -> None:
        """Assert that an answer is that of the oracle."""
        assert got.form in (None, want.form), f"results have the form {got.form}, expected {want.form}"
        ours, theirs = {**got.values, **got.gradients}, {**want.values, **want.gradients}
        signs = not self.step.loses_signs
        wrong = [name for name, value in got.values.items() if not _agrees(value, theirs[name], exact, signs)]
        assert not (exact and wrong), _told(wrong[0], ours, theirs)
        for name, gradient in got.gradients.items():
            # a division by zero makes an infinity as well; where the oracle leaves out what nothing depends on, NaN
            finite = gradient.isnan().logical_not() | (self.call.numbers not in ("special", "zeros"))
            wrong += [name] * (not _agrees(gradient.where(finite, theirs[name]), theirs[name]))
            self.counts["second derivatives" if name.startswith("dd") else "gradients compared"] += 1
        if wrong:
            noisy = [self.oracle(noise=Noise(seed, exact), **of_oracle) for seed in range(3)]
            moved = [{**each.values, **each.gradients} for each in noisy]
            steady = [name for name in wrong if all(_agrees(each[name], theirs[name]) for each in moved)]
            assert not steady, _told(steady[0], ours, theirs)
            self.counts["discarded by margin"] += 1


def flat(results: tuple[Any, Any]) -> dict[str, Tensor]:
    """Return the results of a scan by name."""
    tree = {"state": results[0], "out": results[1]}
    return {pytree.keystr(path): leaf for path, leaf in pytree.tree_flatten_with_path(tree)[0]}


def overwrite(tensor: Tensor) -> None:
    """Write other numbers on a tensor."""
    with torch.no_grad():
        tensor.copy_(tensor.logical_not() if tensor.dtype == torch.bool else torch.tensor(5))


def check_unchanged(leaves: Named, values: Named, what: str) -> None:
    """Assert that results are what they were."""
    for name, leaf in leaves.items():
        assert torch.equal(bits(leaf), bits(values[name])), f"{name} changed with {what}"


def differentiated(leaves: Named, tensors: Tensors, order: int, doubled: Sequence[str] = ()) -> dict[str, Tensor]:
    """Return the gradients of the sources that learn, for random cotangents on the results, and those of gradients."""
    learned, weights = tensors.learned, cotangents(leaves, tensors)
    pairs = [(leaves[name], (1 + (name in doubled)) * weight) for name, weight in weights.items()]
    first = gradients(pairs, learned, create_graph=order == 2)
    found = {f"d source {k}": grad for k, grad in enumerate(first)}
    if order == 2:
        again = [(grad, cotangent(grad, tensors.call.seed + 3)) for grad in first]
        found |= {f"dd source {k}": grad for k, grad in enumerate(gradients(again, learned))}
    return found


def cotangents(leaves: Named, tensors: Tensors) -> dict[str, Tensor]:
    """Return random cotangents of the floating results, of all but one now and then."""
    seed, names = tensors.call.seed, [*leaves, ""]
    # where numbers are not finite, a result that is not used makes gradients NaN
    unused = names[seed % len(names)] if tensors.call.numbers != "special" and len(leaves) > 1 else ""
    used = [(k, name, leaf) for k, (name, leaf) in enumerate(leaves.items()) if name != unused]
    return {name: cotangent(leaf, seed + k) for k, name, leaf in used if leaf.is_floating_point()}


def _agrees(got: Tensor, want: Tensor, exact: bool = False, signs: bool = False) -> bool:
    """Say whether numbers agree, by their bits where they are to be exact or are not finite; 0 is -0 without signs."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    if not want.is_floating_point():
        return torch.equal(got, want)
    if not signs:
        got, want = got + 0.0, want + 0.0
    by_bits = torch.ones_like(want, dtype=torch.bool) if exact else ~want.isfinite()
    if ((bits(got) != bits(want)) & ~((got != got) & (want != want)) & by_bits).any():
        return False
    # gradients of half precision are rounded, and then summed where sources overlap
    allowed = TOLERANCE.get(want.dtype, 4 * torch.finfo(want.dtype).eps)
    return want.numel() == 0 or relative_error(got.masked_fill(by_bits, 0), want.masked_fill(by_bits, 0)) <= allowed


def _told(name: str, got: Named, want: Named) -> str:
    return f"{name} is wrong:\n{got[name]}\nexpected\n{want[name]}"
