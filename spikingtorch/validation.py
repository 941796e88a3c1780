"""Checks of users' arguments; each error says what came, what is expected and how to fix it."""

import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, UntypedStorage, nn

from spikingtorch.foreign import neuron_of_theirs, surrogate_of_theirs
from spikingtorch.functional.core.modes import is_written_down
from spikingtorch.functional.core.torch_private import (
    counts_of,
    maybe_current_level,
    maybe_get_level,
    tracing_state,
    transforms_active,
)
from spikingtorch.functional.firing import Strict

TakesInit: TypeAlias = Literal["second", "by name", "not"]
# not its other subclasses, whose values may mean anything
_WITH_VALUES = (Tensor, nn.Parameter)


# tells whether a ``torch.func`` transform such as vmap or grad is running
functorch_active = transforms_active


def outlived_transform(tensor: Tensor) -> bool:
    """Return True if the tensor is a wrapper of a ``torch.func`` transform that has ended, and cannot be used."""
    # a plain tensor has level -1; the wrapper of an ended grad has -2, that of an ended vmap a level above the current
    level = maybe_get_level(tensor)
    return level != -1 and (level == -2 or level > (maybe_current_level() or 0))


def is_traced() -> bool:
    """Return True if ``torch.jit.trace`` runs, which TensorBoard's graphs and the older ONNX export use as well."""
    return tracing_state() is not None


def has_values(tensor: Tensor, eager: bool = False) -> bool:
    """Return True if Python can read the values: not in traced or transformed code, or of tensors without data.

    Args:
        tensor: whose values.
        eager: whether the call is known to be neither traced, compiled nor transformed.
    """
    if not eager and (torch.compiler.is_compiling() or transforms_active() or is_traced() or is_written_down()):
        return False
    return type(tensor) in _WITH_VALUES and not tensor.is_meta and tensor.numel() > 0


def value_range(owner: str, name: str, x: Tensor) -> tuple[float, float] | None:
    """Return (min, max) of x, or None if Python cannot read x; raise if x holds NaN or infinities."""
    if not has_values(x):
        return None
    if x.numel() == 1:
        low = high = float(x.item())
    else:  # aminmax propagates NaN and reads every element once: a tenth of the time of isfinite().all()
        low, high = (float(bound) for bound in torch.aminmax(x.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f"{owner}: {name} holds NaN or infinite values (shape {tuple(x.shape)}). Look at the data, or for weights "
            "that diverged: a lower learning rate or torch.nn.utils.clip_grad_norm_ often helps"
        )
    return low, high


def is_held(tensor: Tensor, memory: UntypedStorage) -> bool:
    """Return True if the tensor or its storage has other owners, such as a backward pass.

    The answer comes from torch's reference counts. Without counts, it is True.
    """
    counts = counts_of(tensor, memory)
    owners = 2 if tensor._base is None else 3  # the tensor, ``memory``, and the base of which the tensor is a view
    return counts is None or counts[0] > owners or counts[1] > 1


def check_finite(owner: str, name: str, x: Tensor, eager: bool = False) -> None:
    """Raise if x holds NaN or infinities and Python can read it; see ``has_values``."""
    # a sum is finite only if all terms are, and takes half as long as the bounds
    if has_values(x, eager) and not math.isfinite((x.detach() if x.requires_grad else x).sum().item()):
        value_range(owner, name, x)


def check_floating(owner: str, name: str, x: Tensor) -> None:
    """Raise unless x is a floating tensor, dense and of one shape."""
    if isinstance(x, Tensor) and x.is_floating_point():
        if x.is_nested:
            raise TypeError(
                f"{owner}: {name} is a nested tensor, expected one of a single shape: "
                f"torch.nested.to_padded_tensor({name}, 0.0), and lengths= for a SpikingNet"
            )
        if x.layout is not torch.strided:
            raise TypeError(f"{owner}: {name} has the layout {x.layout}, expected a dense one, {name}.to_dense()")
        return
    if not isinstance(x, Tensor):
        raise TypeError(f"{owner}: {name} is a {type(x).__name__}, expected a torch.Tensor{_instead(name, x)}")
    if x.is_complex():
        raise TypeError(f"{owner}: {name} has dtype {x.dtype}, expected a real one")
    raise TypeError(f"{owner}: {name} has dtype {x.dtype}, expected a floating one; convert it with {name}.float()")


def _instead(name: str, x: object) -> str:
    """Return the code that converts an object to a tensor."""
    if isinstance(x, np.ndarray):
        return f"; make one with torch.from_numpy({name})"
    if isinstance(x, tuple) and x and all([isinstance(each, Tensor) for each in x]):
        of_one = ": a layer with returns=('v',) gives out a tuple of one tensor"
        return f"; take {name}[0]{of_one if len(x) == 1 else f', or another of its {len(x)} tensors'}"
    return ""


def check_rank(owner: str, name: str, x: Tensor, axes: str, least: int) -> None:
    """Raise unless x has at least ``least`` axes, which the text ``axes`` names."""
    if x.ndim < least:
        raise ValueError(f"{owner}: {name} has shape {tuple(x.shape)}, expected {axes}")


def check_count(owner: str, name: str, count: int) -> int:
    """Return a number of steps; raise unless it is whole and positive."""
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise ValueError(f"{owner}: {name}={count!r}, expected a whole number of steps, 1 or more")
    return int(count)


def check_init(owner: str, init: object, samples: Sequence[int]) -> None:
    """Raise unless init is a bool, or a bool tensor of the shape of the samples, (N,), or of a single bool."""
    if not isinstance(init, bool | np.bool_ | Tensor):
        raise TypeError(
            f"{owner}: init={init!r} is a {type(init).__name__}, expected a bool, or a bool tensor with one value for "
            "each sample"
        )
    if isinstance(init, Tensor) and (init.dtype != torch.bool or init.shape not in ((), tuple(samples))):
        raise ValueError(
            f"{owner}: init is a tensor of {init.dtype} and shape {tuple(init.shape)}, expected torch.bool and "
            f"shape {tuple(samples)}, one for each sample. A layer keeps its state by itself, so do not pass the "
            "state"
        )


def check_lengths(owner: str, lengths: Tensor | np.ndarray[Any, Any] | Sequence[int], N: int, T: int) -> Tensor:
    """Return the lengths of a batch of sequences as a tensor of int64, or raise.

    Sample n of a padded batch (N, T, ...) is its first ``lengths[n]`` steps; later steps are padding.

    Args:
        owner: name of the caller, for messages.
        lengths: whole numbers of shape (N,), each from 1 to T: a tensor, an array or a list.
        N: number of samples.
        T: number of steps of the padded batch.

    Returns:
        The lengths, int64, shape (N,), on the device where they were.

    Raises:
        TypeError: lengths are not whole numbers.
        ValueError: lengths have another shape than (N,), or one is below 1 or above T.

    >>> check_lengths("Decoder", [3, 5], N=2, T=5)
    tensor([3, 5])
    """
    found = _as_lengths(owner, lengths, N)
    if found.dtype == torch.bool or found.is_floating_point() or found.is_complex():
        hint = "sum a mask of steps over them: mask.sum(1)" if found.dtype == torch.bool else "convert: lengths.long()"
        raise TypeError(f"{owner}: lengths has dtype {found.dtype}, expected whole numbers such as torch.int64; {hint}")
    if found.shape != (N,):
        order = ". If its axes are the other way round, batch_first= says so" if found.shape == (T,) else ""
        raise ValueError(
            f"{owner}: lengths has shape {tuple(found.shape)}, expected ({N},): one number of steps for each sample of "
            f"the batch{order}"
        )
    found = found.long()
    if has_values(found):
        # one read of the values, which waits for the device once
        low, high = (int(bound) for bound in torch.stack(torch.aminmax(found)).tolist())
        if low < 1:
            where = int(found.argmin())
            raise ValueError(
                f"{owner}: lengths[{where}] is {low}, expected at least 1 step. Leave empty sequences out of the batch"
            )
        if high > T:
            where = int(found.argmax())
            raise ValueError(
                f"{owner}: lengths[{where}] is {high}, expected at most T = {T}, the steps of the padded "
                "batch. Pad to the longest sequence"
            )
    return found


def _as_lengths(owner: str, lengths: Any, N: int) -> Tensor:
    """Return the argument as a tensor of any dtype and shape."""
    if isinstance(lengths, Tensor):
        return lengths
    expected = f"expected a tensor, an array or a list of {N} whole numbers, one number of steps for each sample"
    if isinstance(lengths, str | bytes) or not isinstance(lengths, np.ndarray | Sequence | np.generic | Real):
        raise TypeError(f"{owner}: lengths is a {type(lengths).__name__}, {expected}")
    try:
        given = np.asarray(lengths)
        # torch.compile does not trace dtypes of arrays, and converts them by itself
        if isinstance(lengths, np.ndarray) and not torch.compiler.is_compiling():
            # torch takes neither negative strides, nor a foreign byte order, nor read-only arrays
            given = np.array(given, given.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(given if given.size else given.astype(np.int64))
    except (TypeError, ValueError):
        raise TypeError(f"{owner}: lengths={lengths!r}, {expected}") from None


def check_parameter(
    owner: str,
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Raise unless value is a finite number, or a floating tensor of them, above one limit and between the others."""
    if isinstance(value, Tensor):
        check_floating(owner, name, value)
        bounds = value_range(owner, name, value)
    elif isinstance(value, Real):
        bounds = (float(value), float(value))
    else:
        raise TypeError(
            f"{owner}: {name} is a {type(value).__name__}, expected a float, or a tensor that broadcasts to the neurons"
        )
    if bounds is None:
        return
    low, high = bounds
    if not (math.isfinite(low) and (above is None or low > above) and least <= low and high <= most):
        limits = [f"above {above:g}"] if above is not None and above >= least else []
        limits += [f"at least {least:g}"] if least > -math.inf else []
        limits += [f"at most {most:g}"] if most < math.inf else []
        came = f"={value!r}"
        if isinstance(value, Tensor):
            came = f"={low:g}" if value.numel() == 1 else f" has values from {low:g} to {high:g}"
        raise ValueError(f"{owner}: {name}{came}, expected a finite value {' and '.join(limits)}".rstrip())


def check_broadcast(owner: str, name: str, value: object, shape: torch.Size) -> None:
    """Raise unless value is a number or a tensor that broadcasts to the shape without enlarging it."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return
    fits = value.ndim <= len(shape) and all(
        p in (1, n) for p, n in zip(reversed(value.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(
            f"{owner}: {name} of shape {tuple(value.shape)} does not broadcast to the input of shape {tuple(shape)}. "
            "One value per channel of images (N, C, H, W) has shape (C, 1, 1)"
        )


def check_surrogate(owner: str, surrogate: object, name: str = "surrogate") -> None:
    """Raise unless the surrogate, an argument of this name, turns numbers into spikes."""
    hint = "; for instance, take Arctan(alpha=2.0) of spikingtorch.functional"
    theirs = surrogate_of_theirs(surrogate, name)
    if theirs is not None and not _makes_spikes(surrogate):
        raise TypeError(f"{owner}: {name} is {theirs}")
    if isinstance(surrogate, type):
        kind = surrogate.__name__
        applies = issubclass(surrogate, torch.autograd.Function)
        remedy = f"hand over {kind}.apply" if applies else f"make one of it: {kind}()"
        raise TypeError(f"{owner}: {name}={kind} is a class; {remedy}")
    if not callable(surrogate):
        raise TypeError(f"{owner}: {name}={surrogate!r} cannot be called{hint}")
    if hasattr(surrogate, "fire") or isinstance(surrogate, Strict):
        check_plain(owner, getattr(surrogate, "surrogate", None))
    if hasattr(surrogate, "fire"):
        return
    spikes = _at(surrogate, -1.0, 0.0, 1.0)
    wanted = (0.0, 0.0 if isinstance(surrogate, Strict) else 1.0, 1.0)
    if not all(isinstance(s, Tensor) and bool((s == each).all()) for s, each in zip(spikes, wanted, strict=True)):
        came = [each.tolist() if isinstance(each, Tensor) else each for each in spikes]
        remedy = "A smooth function becomes a surrogate with FromPrimitive(function)"
        if callable(came[0]):  # its result is a surrogate
            kind = getattr(surrogate, "__name__", "function")
            raise TypeError(f"{owner}: {name}={kind} makes a surrogate when it is called; write {name}={kind}()")
        if came == [0.0, 0.0, 1.0]:
            remedy = "Compare with u >= 0; Strict(surrogate) makes a spike function fire only above the threshold"
        raise ValueError(
            f"{owner}: {name}={_shown(surrogate)} maps -1, 0, 1 to {came}, expected the spikes 0, 1, 1. {remedy}"
        )


def _shown(function: Any) -> str:
    """Return a function's name for users; a method of a class, such as ``apply`` of a Function, has both names."""
    owner = getattr(function, "__self__", None)
    return f"{owner.__name__}.{function.__name__}" if isinstance(owner, type) else repr(function)


def _makes_spikes(surrogate: Any) -> bool:
    """Return True if an object of another library works as a surrogate; some raise errors for these arguments."""
    try:
        return not isinstance(surrogate, type) and _at(surrogate, -1.0, 0.0, 1.0) == [0.0, 1.0, 1.0]
    except Exception:
        return False


def _at(function: Callable[[Tensor], Any], *numbers: float) -> list[Any]:
    """Return the values of an elementwise function, which may hold a tensor with a value per neuron, one by one."""
    # from numpy, so that it is on the CPU, whatever the default device
    return [function(torch.from_numpy(np.array(number, dtype=np.float32))) for number in numbers]


def check_plain(owner: str, surrogate: object) -> None:
    """Raise unless the surrogate turns numbers into spikes of 0 and 1."""
    if hasattr(surrogate, "fire"):
        raise TypeError(f"{owner}: surrogate={surrogate!r} makes more than spikes of 0 and 1; a plain one is expected")
    check_surrogate(owner, surrogate)


def check_escape(owner: str, surrogate: object) -> None:
    """Raise unless the surrogate's primitive is a probability."""
    primitive = getattr(surrogate, "primitive", None)
    ends = [] if primitive is None or isinstance(surrogate, type) else _at(primitive, -1e6, 1e6)
    if not (ends and bool((ends[0].abs() < 1e-3).all() and ((ends[1] - 1.0).abs() < 1e-3).all())):
        raise ValueError(
            f"{owner}: surrogate={surrogate!r} has no primitive that goes from 0 to 1, the probability of a spike. "
            "Sigmoid, Arctan, Triangular, Gaussian, Erf and PiecewiseExponential have one"
        )


def check_reset(owner: str, rule: object) -> None:
    """Raise unless the rule maps membrane, spike and threshold to a membrane."""
    hint = (
        "expected a rule (u, spike, threshold) -> v, such as to_zero, by_subtraction, none, to_value(0.0) or "
        "detached(to_zero)"
    )
    if not callable(rule) or isinstance(rule, type):
        raise TypeError(f"{owner}: reset={rule!r}, {hint}")
    try:
        v = rule(torch.zeros(1), torch.zeros(1), 1.0)
    except TypeError:
        v = None
    if not isinstance(v, Tensor):
        raise TypeError(f"{owner}: reset={getattr(rule, '__name__', rule)} is no reset rule; {hint}")


def check_shape(owner: str, name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return a shape as a tuple; raise unless it is one positive number or several."""
    sizes: Any = (shape,) if isinstance(shape, Integral) else shape
    fits = isinstance(sizes, Sequence) and all(isinstance(n, Integral) and int(n) > 0 for n in sizes)
    if not fits or isinstance(shape, bool):
        raise ValueError(f"{owner}: {name}={shape!r}, expected the shape of one output, such as (10,) or 10")
    return tuple(int(n) for n in sizes)


def check_takes_init(net: nn.Module, spikes: bool) -> TakesInit:
    """Find out how a network's forward takes init.

    Args:
        net: the network.
        spikes: whether it contains a spiking layer.

    Returns:
        "second" if it comes after x, or "by name" if it is another argument. "not" if forward takes only x; then the
        spiking layers take the network's init by themselves.

    Raises:
        TypeError: net is not a module, or forward takes neither x nor init; or no part of net would know when a
            sequence starts.
    """
    if not isinstance(net, nn.Module):
        hint = f"; make one of the class: {net.__name__}()" if isinstance(net, type) else ""
        raise TypeError(f"SpikingNet: net is a {type(net).__name__}, expected a torch.nn.Module{hint}")
    while (inner := _wrapped(net)) is not None:
        net = inner
    signature = signature_of(net)
    second, init = [*signature.parameters.values()][1:2], signature.parameters.get("init")
    if init is not None and (second != [init] or init.kind is inspect.Parameter.KEYWORD_ONLY):
        if _binds(signature, None, init=True):
            return "by name"
    elif _binds(signature, None, True):
        if init is not None or not second or second[0].default is inspect.Parameter.empty:
            return "second"
    elif _binds(signature, None) and spikes:
        return "not"
    theirs = [(path, *found) for path, each in net.named_modules() if (found := neuron_of_theirs(each)) is not None]
    if theirs and not spikes:
        path, title, remedy = theirs[0]
        raise TypeError(
            f"SpikingNet: {type(net).__name__} holds no spiking layer of ours, and {path or 'the network'} is {title}; "
            f"take {remedy} in its place"
        )
    hint = "" if spikes else ". It may take only x if it contains spiking layers, which then take init by themselves"
    raise TypeError(
        f"SpikingNet: {type(net).__name__}.forward{signature} must take two arguments, forward(self, x, init), "
        f"and pass init to each spiking layer: s = self.layer(x, init){hint}"
    )


def signature_of(module: nn.Module) -> inspect.Signature:
    """Return the signature of a module's forward; for a traced module, or a copy of a scripted one, use its schema."""
    try:
        return inspect.signature(module.forward)
    except ValueError:
        if not isinstance(module, torch.jit.ScriptModule):
            raise
    forward: Any = module.forward
    _, *arguments = forward.schema.arguments
    return inspect.Signature([_parameter(argument) for argument in arguments])


def _parameter(argument: Any) -> inspect.Parameter:
    """Return an argument of TorchScript as a parameter of Python."""
    kind = inspect.Parameter.KEYWORD_ONLY if argument.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
    return inspect.Parameter(argument.name, kind, default=default)


def _wrapped(net: nn.Module) -> nn.Module | None:
    """Return the module inside a wrapper: of torch.compile, DistributedDataParallel or AveragedModel."""
    if isinstance(net, torch.jit.ScriptModule):
        return None
    if (compiled := net._modules.get("_orig_mod")) is not None:
        return compiled
    kinds = [each.kind for each in inspect.signature(net.forward).parameters.values()]
    hands_all_on = kinds == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]
    return net._modules.get("module") if hands_all_on else None


def _binds(signature: inspect.Signature, *args: object, **kwargs: object) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True
