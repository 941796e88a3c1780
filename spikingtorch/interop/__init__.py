"""Convert trees of torch tensors to JAX arrays and back, through DLPack.

Memory is shared if JAX can take it: a dense, contiguous tensor with an alignment of 64 bytes, as large tensors have.
Other strides or alignments, and bool tensors, are copied. Do not write to a shared array on either side: JAX relies on
arrays that never change. JAX is imported by the first call.
"""

import copy
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.dlpack
from torch import Tensor

from spikingtorch.functional.core.torch_private import is_functorch_wrapped_tensor
from spikingtorch.functional.core.tree import tree_map

if TYPE_CHECKING:
    import jax

_TORCH, _JAX = "spikingtorch.functional", "spikingtorch.functional.jax_reference"


def to_jax(tree: Any) -> Any:
    """Return the tree with JAX arrays in place of its tensors.

    States, surrogates and reset rules of ``spikingtorch.functional`` become their twins of the same name in
    ``spikingtorch.functional.jax_reference``. Everything else stays unchanged.

    Args:
        tree: tensors, in tuples, NamedTuples, lists and dicts.

    Raises:
        TypeError: a tensor requires a gradient, which cannot follow it; has 64 bits although JAX uses 32; or is not
            dense. Inside ``torch.func`` or on the meta device, it has no numbers.

    >>> to_jax({"spikes": torch.tensor([0.0, 1.0])})
    {'spikes': Array([0., 1.], dtype=float32)}
    """
    return tree_map(_to_array, _renamed(tree, _TORCH, _JAX))


def to_torch(tree: Any) -> Any:
    """Return the tree with torch tensors in place of its JAX arrays: the inverse of ``to_jax``.

    Raises:
        TypeError: an array is traced, inside ``jax.jit`` or ``jax.grad``, and so has no numbers yet.
    """
    import jax

    return tree_map(
        lambda leaf: _to_tensor(leaf) if isinstance(leaf, jax.Array) else leaf, _renamed(tree, _JAX, _TORCH)
    )


def _to_array(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    import jax.numpy as jnp

    if leaf.is_meta or is_functorch_wrapped_tensor(leaf):
        raise TypeError(
            f"to_jax: a tensor of shape {tuple(leaf.shape)} has no numbers inside torch.func or on the meta device. "
            "Convert outside of torch.func.vmap and torch.func.grad"
        )
    if leaf.layout != torch.strided:
        raise TypeError(f"to_jax: a tensor has the layout {leaf.layout}, expected a dense one, tensor.to_dense()")
    if leaf.requires_grad:
        raise TypeError(
            f"to_jax: a tensor of shape {tuple(leaf.shape)} requires a gradient, which does not cross into JAX. Hand "
            "over tensor.detach()"
        )
    if leaf.dtype.itemsize > (8 if leaf.is_complex() else 4) and jnp.result_type(float) != jnp.float64:
        raise TypeError(
            f"to_jax: a {leaf.dtype} tensor would lose half of its bits. Wrap the call in `with "
            "jax.enable_x64(True):`, or pass a narrower one, such as tensor.float() or tensor.int()"
        )
    if leaf.numel() == 0:
        return jnp.zeros(leaf.shape, str(leaf.dtype).removeprefix("torch."))
    if leaf.dtype == torch.bool:
        return jnp.asarray(leaf.detach().cpu().numpy())
    return jnp.from_dlpack(leaf.detach().resolve_conj().resolve_neg().contiguous())


def _to_tensor(array: "jax.Array") -> Tensor:
    import jax
    import jax.core

    if isinstance(array, jax.core.Tracer):
        raise TypeError(
            f"to_torch: {array} is traced and has no numbers yet. Convert outside of jax.jit, jax.grad and jax.vmap"
        )
    if array.size == 0:
        return torch.zeros(array.shape, dtype=getattr(torch, str(array.dtype)))
    if array.dtype == bool:
        return torch.tensor(jax.device_get(array))
    return torch.utils.dlpack.from_dlpack(array)


def _renamed(tree: Any, source: str, target: str) -> Any:
    """Return the tree with objects of the source package replaced by those of the same name in the target package."""
    kind = type(tree)
    if isinstance(tree, dict):
        copied = copy.copy(tree)  # keep the type, such as defaultdict or OrderedDict
        copied.update({key: _renamed(value, source, target) for key, value in tree.items()})
        return copied
    if isinstance(tree, list | tuple):
        parts = [_renamed(value, source, target) for value in tree]
        if not hasattr(kind, "_fields"):
            return kind(parts)
        if _belongs(kind, source):
            kind = _namesake(kind, target)
        return kind(*parts)
    if callable(tree) and _belongs(tree, source):
        return _namesake(tree, target)
    return tree


def _namesake(thing: Any, package: str) -> Any:
    """Return what has the same name in a package, or in a module that the package shows."""
    module, name = importlib.import_module(package), thing.__name__
    shown = [getattr(module, each) for each in module.__all__]
    for each in (module, *[each for each in shown if isinstance(each, ModuleType)]):
        if name in vars(each):
            return vars(each)[name]
    raise TypeError(f"{thing.__module__}.{name} has no counterpart in {package}")


def _belongs(thing: Any, package: str) -> bool:
    module = str(getattr(thing, "__module__", ""))
    return module.startswith(package + ".") and (package == _JAX or not module.startswith(_JAX))
