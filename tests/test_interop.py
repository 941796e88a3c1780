"""Trees of tensors to JAX and back."""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.interop import to_jax, to_torch

TENSORS = [
    torch.rand(3, 4),
    torch.rand(3, 4).T,
    torch.rand(8, 4)[::2, 1:],
    torch.rand(1, 4).expand(3, 4),
    torch.rand(7)[3:],
    torch.tensor(2.5),
    torch.rand(0, 3),
    torch.rand(0, 3).to(torch.bfloat16),
    torch.zeros(3, 0, dtype=torch.bool),
    torch.zeros(0, dtype=torch.complex64),
    torch.rand(3).to(torch.bfloat16),
    torch.rand(3).half(),
    torch.tensor([True, False]),
    torch.tensor([1, -2], dtype=torch.int32),
    torch.tensor([3, 4], dtype=torch.uint8),
    torch.tensor([1 + 2j]),
    torch.tensor([1 + 2j]).conj(),
    torch.tensor([1 + 2j]).conj().imag,  # contiguous, with its sign pending
]


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda t: f"{t.dtype} {tuple(t.shape)} {t.stride()}")
def test_there_and_back(tensor: torch.Tensor) -> None:
    array = to_jax(tensor)
    assert isinstance(array, jax.Array)
    assert array.shape == tuple(tensor.shape)
    back = to_torch(array)
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)


# what does not cross, and what is said of it
REFUSED: list[tuple[Any, str]] = [
    (torch.rand(3, dtype=torch.float64), r"float64 tensor would lose half of its bits\. Wrap the call in `with jax"),
    (torch.arange(3), r"int64 tensor would lose half of its bits.*tensor\.int\(\)"),
    (torch.tensor([2**33 + 7], dtype=torch.uint64), r"int64 tensor would lose half of its bits.*tensor\.int\(\)"),
    ({"w": torch.ones(2, requires_grad=True)}, r"does not cross into JAX\. Hand over tensor\.detach\(\)"),
    (torch.ones(2, 3, device="meta"), r"shape \(2, 3\) has no numbers inside torch\.func or on the meta device"),
    (torch.ones(2).to_sparse(), r"layout torch\.sparse_coo, expected a dense one, tensor\.to_dense"),
    ({"event": F.event_linear}, r"event_linear has no counterpart in spikingtorch\.functional\.jax_reference"),
]


@pytest.mark.parametrize(("tree", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_does_not_cross(tree: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        to_jax(tree)


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad])
def test_tensors_of_a_transform_do_not_cross(transform: Any) -> None:
    with pytest.raises(TypeError, match=r"has no numbers inside torch\.func"):
        transform(to_jax)(torch.ones(2))


def test_64_bits_cross_where_jax_has_them() -> None:
    with jax.enable_x64(True):
        for tensor in (torch.rand(3, dtype=torch.float64), torch.arange(3)):
            assert torch.equal(to_torch(to_jax(tensor)), tensor)
        assert to_jax(torch.arange(3)).dtype == jnp.int64


def test_traced_arrays_do_not_cross() -> None:
    with pytest.raises(TypeError, match=r"is traced and has no numbers yet"):
        jax.jit(to_torch)(jnp.ones(2))


def test_large_arrays_are_shared() -> None:
    tensor = torch.rand(1024)
    if tensor.data_ptr() % 64 == 0:
        assert to_jax(tensor).unsafe_buffer_pointer() == tensor.data_ptr()
    array = jnp.ones(1024)
    assert to_torch(array).data_ptr() == array.unsafe_buffer_pointer()
    strided = torch.rand(64, 64)[:, 1:]
    assert to_jax(strided).unsafe_buffer_pointer() != strided.data_ptr()


def test_trees_keep_their_form() -> None:
    tree: dict[str, Any] = {"a": [torch.ones(2), (torch.zeros(1), None)], "b": 3, "c": "text"}
    there = to_jax(tree)
    assert isinstance(there["a"][1][0], jax.Array)
    assert (there["a"][1][1], there["b"], there["c"]) == (None, 3, "text")
    assert torch.equal(to_torch(there)["a"][0], tree["a"][0])
    for kept in (collections.defaultdict[str, Any](list, a=torch.ones(2)), collections.OrderedDict(a=torch.ones(2))):
        assert type(to_jax(kept)) is type(kept)
        assert isinstance(to_jax(kept)["a"], jax.Array)


def test_what_is_ours_becomes_its_twin() -> None:
    state = F.CoarseLIFState(v=torch.ones(2), s=torch.zeros(2))
    tree = (state, F.detached(F.by_subtraction), F.Arctan(3.0), F.lif_step, {"reset": F.none})
    there = to_jax(tree)
    assert isinstance(there[0], J.CoarseLIFState)
    assert J.Arctan(2.0).__eq__(J.Erf(2.0)) is False  # by type as well
    assert there[1:] == (J.detached(J.by_subtraction), J.Arctan(3.0), J.lif_step, {"reset": J.none})
    back = to_torch(there)
    assert isinstance(back[0], F.CoarseLIFState)
    assert torch.equal(back[0].v, state.v)
    assert back[1:] == tree[1:]
