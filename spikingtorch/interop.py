"""Trees of torch tensors to JAX arrays and back, through DLPack.

Memory is shared wherever JAX can take it: a dense, contiguous tensor on a boundary of 64 bytes, as large tensors have.
A copy is made where strides or alignment force one, and of bool tensors. Do not write on either side of a shared array:
JAX counts on arrays that never change. JAX is imported by the first call.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.utils.dlpack
from torch import Tensor

from spikingtorch.functional._tree import tree_map

if TYPE_CHECKING:
    import jax

_TORCH, _JAX = "spikingtorch.functional", "spikingtorch.functional.jax_reference"


def to_jax(tree: Any) -> Any:
    """Return the tree with JAX arrays in place of its tensors.

    What belongs to ``spikingtorch.functional`` (states, surrogates, reset rules) becomes its twin of the same name in
    ``spikingtorch.functional.jax_reference``; everything else stays as it is.

    Args:
        tree: tensors, in tuples, NamedTuples, lists and dicts.

    Raises:
        TypeError: a tensor requires a gradient, which cannot follow it, or is float64 while JAX has only float32.

    >>> to_jax({"spikes": torch.tensor([0.0, 1.0])})
    {'spikes': Array([0., 1.], dtype=float32)}
    """
    return tree_map(_to_array, _renamed(tree, _TORCH, _JAX))


def to_torch(tree: Any) -> Any:
    """Return the tree with torch tensors in place of its JAX arrays; the way back of ``to_jax``.

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

    if leaf.requires_grad:
        raise TypeError(
            f"to_jax: a tensor of shape {tuple(leaf.shape)} requires a gradient, which does not cross into JAX. Hand "
            "over tensor.detach()"
        )
    if leaf.dtype in (torch.float64, torch.complex128, torch.int64) and jnp.result_type(float) != jnp.float64:
        if leaf.dtype == torch.int64:
            raise TypeError("to_jax: an int64 tensor; JAX has only 32 bits. Use tensor.int(), or jax.enable_x64(True)")
        raise TypeError(
            f"to_jax: a {leaf.dtype} tensor would become 32 bits wide. Wrap the call in `with jax.enable_x64(True):`, "
            "or hand over tensor.float()"
        )
    if leaf.numel() == 0 or leaf.dtype == torch.bool:
        return jnp.asarray(leaf.detach().cpu().numpy())
    return jnp.from_dlpack(leaf.detach().contiguous())


def _to_tensor(array: "jax.Array") -> Tensor:
    import jax
    import jax.core

    if isinstance(array, jax.core.Tracer):
        raise TypeError(
            f"to_torch: {array} is traced and has no numbers yet. Convert outside of jax.jit, jax.grad and jax.vmap"
        )
    if array.size == 0 or array.dtype == bool:
        return torch.tensor(jax.device_get(array))
    return torch.utils.dlpack.from_dlpack(array)


def _renamed(tree: Any, source: str, target: str) -> Any:
    """Return the tree with what the source package defines replaced by its namesake in the target package."""
    import importlib

    kind = type(tree)
    if isinstance(tree, dict):
        return kind((key, _renamed(value, source, target)) for key, value in tree.items())
    if isinstance(tree, list | tuple):
        parts = [_renamed(value, source, target) for value in tree]
        if not hasattr(kind, "_fields"):
            return kind(parts)
        if _belongs(kind, source):
            kind = getattr(importlib.import_module(target), kind.__name__)
        return kind(*parts)
    if callable(tree) and _belongs(tree, source):
        return getattr(importlib.import_module(target), tree.__name__)
    return tree


def _belongs(thing: Any, package: str) -> bool:
    module = str(getattr(thing, "__module__", ""))
    return module.startswith(package + ".") and (package == _JAX or not module.startswith(_JAX))
