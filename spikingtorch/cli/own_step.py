"""``python -m spikingtorch verify --mine module:step``: check the user's own step, by names in its module."""

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.cli import CommandError, function_of
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.testing import check_smooth
from spikingtorch.verification.cells import ALLOWED, Cell
from spikingtorch.verification.page import HEAD, Line
from spikingtorch.verification.trial import Trial, Way, backend_errors, errors_by_backend

LENGTH, NEURONS = 17, 8
# finite differences by every number are slow
SHORT, FEW = 4, 3


class Mine(NamedTuple):
    """A step of the user."""

    name: str  # of the step in its module
    step: Callable[..., Any]
    twin: Callable[..., Any] | None  # ``<step>_twin``, the same in JAX
    smooth: Callable[..., Any] | None  # ``<step>_smooth``, the step with a smooth function in place of its spike
    # ``<step>_state``, or the annotation: the type of the state, or a function that makes one from the input of a step
    state: Any
    params: dict[str, Any]  # ``<step>_params``
    inputs: Any  # type of the input, if it is a NamedTuple

    def draw(self, length: int, neurons: int) -> tuple[Any, Any]:
        """Return the initial state and random inputs with time first."""
        generator = torch.Generator().manual_seed(0)

        def stream() -> Tensor:
            return torch.rand(length, neurons, generator=generator, dtype=torch.float64) * 2.0 - 0.6

        xs = stream() if self.inputs is None else self.inputs(*[stream() for _ in self.inputs._fields])
        first = tree_map(lambda x: x[0], xs)
        like = leaves_of(first)[0]
        state = F.zeros_state(self.state, like) if hasattr(self.state, "_fields") else self.state(first)
        return tree_map(_double, state), xs


def find(text: str) -> Mine:
    """Return the step of ``module:step``, with the definitions of its module; raise CommandError if one is missing."""
    module, step = function_of(text, "--mine takes module:step, such as my_neurons:my_step", "_step")
    module_name, _, name = text.partition(":")
    parts = {part: getattr(module, f"{name}_{part}", None) for part in ("twin", "smooth", "state", "params")}
    signature, hints = _described(step)
    if len(signature) < 2:
        raise CommandError(f"{name} takes {len(signature)} arguments; a step takes (state, x, *, parameters)")
    first, second = list(signature)[:2]
    params = tree_map(_double, dict(parts["params"] or {}))
    _refuse_missing(name, signature, params)
    inputs = hints.get(second) if hasattr(hints.get(second), "_fields") else None
    state = parts["state"] or hints.get(first)
    if not (hasattr(state, "_fields") or (parts["state"] and callable(state))):
        raise CommandError(
            f"the type of the state of {name} is not known. Annotate its argument {first!r} with a NamedTuple, or "
            f"write {name}_state = MyState in {module_name}"
        )
    return Mine(name, step, parts["twin"], parts["smooth"], state, params, inputs)


def verify_step(text: str) -> int:
    """Check a step, print the results, and return the exit code; raise CommandError if it cannot be checked."""
    mine = find(text)
    try:
        state, xs = mine.draw(LENGTH, NEURONS)
        out = F.scan(mine.step, state, xs, params=mine.params, backend="loop")[1]
        explained = F.explain_scan(mine.step, state, xs, params=mine.params)
    except Exception as error:
        shape = f"inputs of shape ({LENGTH}, {NEURONS}) in float64"
        raise CommandError(f"{mine.name} fails on {shape}: {type(error).__name__}: {error}") from error
    backends: tuple[Way, ...] = ("loop", "fused") if explained.backend == "fused" else ("loop",)
    trial = Trial(mine.step, mine.twin or mine.step, state, xs, mine.params)
    passed = _against_twin(mine, trial, backends) if mine.twin else _against_differences(mine)
    print(f"scan runs it as {explained}")
    if explained.backend == "fused":
        passed &= _fused_agrees(trial, explained.exactness)
    for words in _unchecked(mine, out):
        print(f"not checked: {words}")
    return 0 if passed else 1


def _against_twin(mine: Mine, trial: Trial, backends: tuple[Way, ...]) -> bool:
    try:
        found = errors_by_backend([trial], (*backends, "jax"))
    except Exception as error:
        print(f"{mine.name} and its twin cannot be compared: {type(error).__name__}: {error}")
        return False
    cells = [Cell(mine.name, "", "", backend, errors) for backend, (errors,) in found.items()]
    line = Line(mine.name, cells)
    print(f"{HEAD}\n{line}")
    for cell in cells:
        for quantity, off in cell.errors.items():
            if not off <= ALLOWED:
                print(f"  {quantity} on the {cell.backend} backend differs from the twin by {off:.1e}")
    ran = "one compiled time loop, as by jax.lax.scan" if found["jax"][0] else "jax.lax.scan alone"
    print(f"spikingtorch.jax.scan runs {mine.name}_twin as {ran}")
    return not line.is_wrong()


def _against_differences(mine: Mine) -> bool:
    state, xs = mine.draw(SHORT, FEW)
    try:
        check_smooth(mine.step, state, xs, params=mine.params, smooth=mine.smooth)
    except AssertionError as error:
        print(f"{mine.name:26} OUT OF TOLERANCE\n  {error}")
        return False
    except TypeError as error:
        raise CommandError(
            f"the gradient of {mine.name} cannot be checked: {error}. In the module, that is {mine.name}_smooth; or "
            f"write a second implementation in JAX, {mine.name}_twin"
        ) from error
    print(f"{mine.name:26} its gradient equals the gradient of its smooth version, by finite differences")
    return True


def _fused_agrees(trial: Trial, exactness: str) -> bool:
    errors = backend_errors(trial, "loop", "fused")
    allowed = {name: 0.0 if exactness == "E" and not name.startswith("d ") else ALLOWED for name in errors}
    wrong = {name: error for name, error in errors.items() if not error <= allowed[name]}
    for name, error in wrong.items():
        print(f"  {name}: the compiled loop differs from the Python loop by {error:.1e}, allowed {allowed[name]:g}")
    if not wrong:
        print(f"the compiled loop and the Python loop agree, with {max(errors.values()):.1e} between them at most")
    return not wrong


def _unchecked(mine: Mine, out: Any) -> list[str]:
    """Return the parts of the step that no check covers, in words."""
    found = []
    if mine.twin is None:
        found.append(
            f"the equation itself. Finite differences compare the gradient with the step as it is written; for a "
            f"second implementation write {mine.name}_twin in JAX"
        )
    if not [x for x in leaves_of(mine.params) if isinstance(x, Tensor) and x.is_floating_point()]:
        found.append(
            f"gradients of parameters, because none of them is a tensor; write tensors in {mine.name}_params, such as "
            f'{{"decay": torch.full(({NEURONS},), 0.9)}}'
        )
    outputs = [each for each in leaves_of(out) if isinstance(each, Tensor) and each.numel()]
    still = [each.flatten()[0].item() for each in outputs if not (each != each.flatten()[0]).any()]
    return found + [f"spikes and resets, because the output was {value:g} throughout" for value in still]


def _described(step: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Return the arguments of a step, with their annotations if these are known."""
    function: Any = step if inspect.isfunction(step) else getattr(type(step), "__call__", step)  # noqa: B004
    signature = dict(inspect.signature(step).parameters)
    try:
        return signature, typing.get_type_hints(function)
    except Exception:  # an annotation with a name that the module does not have
        return signature, {}


def _refuse_missing(name: str, signature: Mapping[str, inspect.Parameter], params: Mapping[str, Any]) -> None:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    takes = {each: p for each, p in list(signature.items())[2:] if p.kind not in kinds}
    missing = [each for each, p in takes.items() if p.default is p.empty and each not in params]
    if missing:
        pasted = ", ".join(f'"{each}": ...' for each in missing)
        raise CommandError(f"{name} needs {', '.join(missing)}; write {name}_params = {{{pasted}}} in its module")
    unknown = set(params) - takes.keys()
    if unknown and not any([p.kind is p.VAR_KEYWORD for p in signature.values()]):
        raise CommandError(f"{name}_params has {', '.join(sorted(unknown))}, which {name} does not take")


def _double(leaf: Any) -> Any:
    return leaf.detach().double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf
