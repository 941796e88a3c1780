"""Check the arguments of scan and the result of a step."""

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import torch
from torch import Tensor

from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.functional.core.shapes import differ
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import tree_map

S = TypeVar("S")
Out = TypeVar("Out")

_REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def check_inputs(state: Any, xs: Any, params: dict[str, Any], dim: int) -> int:
    """Return the number of steps T, or raise an error if the arguments of scan do not fit."""
    streams = _named_tensors("xs", xs)
    if not streams:
        raise ValueError("scan: xs holds no tensor; give at least one input with a time axis")
    for name, x in streams.items():
        if not -x.ndim <= dim < x.ndim:
            raise ValueError(f"scan: {name} has shape {tuple(x.shape)}, which has no time axis dim={dim}")
    lengths = {name: x.shape[dim] for name, x in streams.items()}
    if differ(lengths.values()):
        raise ValueError(f"scan: inputs differ in length along dim={dim}: {lengths}")
    if not any(_is_floating(x) for x in streams.values()):
        got = ", ".join(f"{name} is {x.dtype}" for name, x in streams.items())
        raise TypeError(f"scan: no input is floating: {got}. Convert it, for instance with xs.float()")
    check_kinds(streams, state, params)
    return next(iter(lengths.values()))


def check_kinds(xs: Any, state: Any, params: dict[str, Any]) -> None:
    """Raise if the state holds anything but tensors, or if devices or floating precisions are mixed."""
    streams = xs if isinstance(xs, dict) else _named_tensors("x", xs)
    states = _named_tensors("state", state)
    values = {f"params[{name!r}]": value for name, value in params.items() if isinstance(value, Tensor) and value.ndim}
    _check_same_kind(streams | states | values)


def output_dtype(xs: Any) -> torch.dtype:
    """Return the dtype that outputs are rounded to: the promoted floating dtype of the inputs."""
    dtype: torch.dtype = reduce(torch.promote_types, (x.dtype for x in pytree.tree_leaves(xs) if _is_floating(x)))
    return dtype


def checked(step: Callable[..., tuple[S, Out]]) -> Callable[..., tuple[S, Out]]:
    """Return the step with checks of its contract: it returns a pair, keeps the state's form and overwrites nothing.

    Scan checks one step of a sequence: a pure function that fulfils the contract once always fulfils it.
    """

    def advance(state: S, x: Any, **params: Any) -> tuple[S, Out]:
        versions = _versions((state, x, params))
        result = _call(step, state, x, params)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"scan: {step_name(step)} returned {type(result).__name__}; a step returns the pair (state, output)"
            )
        if _versions((state, x, params)) != versions:
            raise ValueError(
                f"scan: {step_name(step)} wrote on its state, input or parameters in place. A step is a pure function: "
                "write v = v + x, not v += x, and v.clamp(...), not v.clamp_(...)"
            )
        _check_form(step, state, result[0], params)
        for name, leaf in _named_leaves("output", result[1]).items():
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"scan: {step_name(step)} returned {name} = {leaf!r}; outputs are tensors or trees of them"
                )
        return result

    return advance


def _call(step: Callable[..., Any], state: Any, x: Any, params: dict[str, Any]) -> Any:
    try:
        return step(state, x, **params)
    except RuntimeError as error:
        tensors = _named_leaves("state", state) | _named_leaves("x", x) | _named_leaves("params", params)
        shapes = ", ".join(f"{name}: {tuple(t.shape)}" for name, t in tensors.items() if isinstance(t, Tensor))
        error.add_note(f"scan: raised in the first step of {step_name(step)}, called with shapes {shapes}")
        raise
    except (AttributeError, LookupError, TypeError) as error:  # for instance a tuple, where the step reads state.v
        floats = [name for name, value in params.items() if type(value) is float]
        if floats and "must be Tensor, not float" in str(error):
            error.add_note(
                f"scan: raised in the first step of {step_name(step)}. {', '.join(floats)}: a parameter given as a "
                "float is a float inside the step as well, which torch's functions do not take. For exp(-1 / tau) "
                "there is decay_from_tau(tau) of spikingtorch.functional, which takes both; or give it as "
                "torch.tensor(...)"
            )
        else:
            error.add_note(
                f"scan: raised in the first step of {step_name(step)}, called with a {type(state).__name__} for its "
                f"state, {_form(state)}, and for x a {type(x).__name__}, {_form(x)}"
            )
        raise


def _check_form(step: Callable[..., Any], before: Any, after: Any, params: dict[str, Any]) -> None:
    was, now = _named_leaves("state", before), _named_leaves("state", after)
    if was.keys() != now.keys() or pytree.tree_structure(before) != pytree.tree_structure(after):
        raise _other_form(step, before, after)
    for name, old in was.items():
        new = now[name]
        if not isinstance(new, Tensor):
            raise TypeError(f"scan: {step_name(step)} returned {name} = {new!r}, expected a tensor")
        if new.shape != old.shape:
            given = ", ".join(f"{key} {tuple(p.shape)}" for key, p in params.items() if isinstance(p, Tensor))
            raise ValueError(
                f"scan: {step_name(step)} turned {name} of shape {tuple(old.shape)} into {tuple(new.shape)}. The "
                "initial state needs the shape of one input, as zeros_state(type, x) makes it, "
                "and parameters must broadcast to it" + (f" (they have the shapes: {given})" if given else "")
            )
        if new.dtype != old.dtype:
            remedy = "give the initial state the dtype that the step computes in"
            if new.is_complex():
                field = name.rpartition(".")[2]
                remedy = (
                    f"write it in two parts, as two fields of the state, {field}_re and {field}_im, as "
                    "resonate_and_fire_step does, and kernels run it. A layer starts both at zero, or where its "
                    "rest_state says. To stay complex, without kernels, return zeros of that dtype in rest_state"
                )
            raise TypeError(f"scan: {step_name(step)} turned {name} from {old.dtype} into {new.dtype}; {remedy}")


def check_kind(step: Callable[..., Any], before: Any, after: Any) -> None:
    """Raise if a step inside another one has returned a state of another type than it received."""
    if type(before) is not type(after):
        raise _other_form(step, before, after)


def _other_form(step: Callable[..., Any], before: Any, after: Any) -> TypeError:
    came = f"{step_name(step)} was given the state {_form(before)} and returned {_form(after)}"
    while type(before) is type(after) and hasattr(before, "_fields"):  # a wrapper's state, around the neuron's
        inside = zip(before, after, strict=True)
        before, after = next(
            pair for pair in inside if pytree.tree_structure(pair[0]) != pytree.tree_structure(pair[1])
        )
    kind, fields = type(before).__name__, getattr(before, "_fields", None)
    remedy = f"return a {kind}, output" if fields is None else f"return {kind}({', '.join(fields)}), output"
    if hasattr(after, "_fields"):
        remedy += f", or start from a {type(after).__name__}"
    return TypeError(f"scan: {came}. A step returns its state in the form that it was given: {remedy}")


def _check_same_kind(tensors: dict[str, Tensor]) -> None:
    """Raise if devices or floating precisions are mixed."""
    devices = {name: str(t.device) for name, t in tensors.items() if t.ndim or not t.is_cpu}
    if len(set(devices.values())) > 1:
        one = next(iter(devices.values()))
        raise ValueError(f"scan: mixed devices: {devices}. Move them to one, for instance with .to({one!r})")
    dtypes = {name: lifted_dtype(t) for name, t in tensors.items() if _is_floating(t)}
    if len({_REAL.get(dtype, dtype) for dtype in dtypes.values()}) > 1:
        listed = {name: str(dtype) for name, dtype in dtypes.items()}
        one = next(iter(listed.values()))
        raise TypeError(f"scan: mixed dtypes: {listed}. Convert them to one, for instance with .to({one})")


def _named_leaves(root: str, tree: Any) -> dict[str, Any]:
    leaves, _ = pytree.tree_flatten_with_path(tree)
    return {root + pytree.keystr(path): leaf for path, leaf in leaves}


def _named_tensors(root: str, tree: Any) -> dict[str, Tensor]:
    leaves = _named_leaves(root, tree)
    for name, leaf in leaves.items():
        if not isinstance(leaf, Tensor):
            raise TypeError(f"scan: {name} is a {type(leaf).__name__}, expected a tensor: {leaf!r}")
        if leaf.is_nested:
            raise TypeError(
                f"scan: {name} is a nested tensor, expected one of a single shape, such as "
                f"torch.nested.to_padded_tensor({name}, 0.0)"
            )
    return leaves


def _versions(tree: Any) -> list[int]:
    """Return the number of in-place writes on each tensor; inference tensors and compiled code keep no count."""
    if torch.compiler.is_compiling():
        return []
    return [t._version for t in pytree.tree_leaves(tree) if isinstance(t, Tensor) and not t.is_inference()]


def _is_floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _form(tree: Any) -> str:
    return str(tree_map(lambda t: tuple(t.shape) if isinstance(t, Tensor) else t, tree))
