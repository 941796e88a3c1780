"""Sparse products, beside their equation in JAX and beside dense matrices: outputs, gradients, bits, errors."""

import copy
import pickle
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core import threads
from spikingtorch.functional.sparse import edges
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.testing import assert_close

# axes before the senders, receivers, senders, edges
CASES: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    "one step": ((3,), 5, 7, 20),
    "two steps": ((2, 3), 40, 33, 200),
    "seventeen steps": ((17, 2), 4, 3, 30),  # more edges than places: some are there twice
    "no axis": ((), 6, 6, 9),
    "empty rows": ((4,), 50, 60, 10),
    "no edges": ((4,), 5, 6, 0),
    "no samples": ((0,), 5, 6, 7),
    "no senders": ((2,), 5, 0, 0),
    "no receivers": ((2,), 0, 5, 0),
}


def drawn(case: str, dtype: torch.dtype = torch.float64, spikes: float = 0.3) -> tuple[Tensor, Tensor, F.Connections]:
    """Return inputs that are mostly zero, weights, and connections."""
    torch.manual_seed(len(case))
    axes, receivers, senders, count = CASES[case]
    indices = torch.stack([torch.randint(max(size, 1), (count,)) for size in (receivers, senders)])
    x = torch.randn(*axes, senders) * (torch.rand(*axes, senders) < spikes)
    return x.to(dtype), torch.randn(count).to(dtype), F.Connections(indices, (receivers, senders))


@partial(jax.jit, static_argnums=3)
def by_equation(x: Any, weight: Any, indices: Any, receivers: int) -> Any:
    """Add what each edge carries to its receiver."""
    to, sender = indices
    return jnp.zeros((*x.shape[:-1], receivers), x.dtype).at[..., to].add(weight * x[..., sender])


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_the_equation(case: str) -> None:
    x, weight, connections = drawn(case)
    leaves = x.requires_grad_(), weight.requires_grad_()
    out = F.sparse_linear(*leaves, connections)
    pull = torch.randn_like(out)
    found = torch.autograd.grad(out, leaves, pull)
    with jax.enable_x64(True):
        equation = partial(by_equation, indices=jnp.asarray(connections.indices), receivers=connections.shape[0])
        wanted, back = jax.vjp(equation, *to_jax([each.detach() for each in leaves]))
        assert_close([out, *found], to_torch([wanted, *back(to_jax(pull))]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("case", ["two steps", "seventeen steps"])
def test_a_dense_matrix_gives_the_same(case: str, dtype: torch.dtype) -> None:
    x, weight, connections = drawn(case, dtype)
    to, sender = connections.indices.long()
    dense = torch.zeros(connections.shape, dtype=torch.float64).index_put(
        (to, sender), weight.double(), accumulate=True
    )
    out = F.sparse_linear(x, weight, connections)
    assert out.dtype == dtype
    torch.testing.assert_close(out, (x.double() @ dense.t()).to(dtype))


@pytest.mark.parametrize("shape", [(), (1,)])
def test_edges_share_a_number_and_groups_share_theirs(shape: tuple[int, ...]) -> None:
    x, weight, connections = drawn("two steps")
    shared = torch.randn(shape, dtype=torch.double, requires_grad=True)
    groups, of_groups = torch.randint(3, (200,)), torch.randn(3, dtype=torch.double, requires_grad=True)
    for given, each in ((shared, shared.expand(200)), (of_groups[groups], of_groups[groups])):
        out, leaf = F.sparse_linear(x, given, connections), shared if given is shared else of_groups
        want = F.sparse_linear(x, each + 0.0 * weight, connections)
        pull = torch.randn_like(out)
        assert torch.equal(out, want)
        assert_close([*torch.autograd.grad(out, leaf, pull)], [*torch.autograd.grad(want, leaf, pull)])


def test_derivatives_of_every_order() -> None:
    x, weight, connections = drawn("one step")
    run = partial(F.sparse_linear, connections=connections)
    leaves = x.requires_grad_(), weight.requires_grad_()
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)
    once = torch.autograd.grad(run(*leaves).pow(3).sum(), leaves, create_graph=True)
    again = torch.autograd.grad(torch.stack([each.pow(3).sum() for each in once]).sum(), leaves)
    plain = partial(edges._by_torch, "g", connections)
    want = torch.autograd.grad(plain(*leaves).pow(3).sum(), leaves, create_graph=True)
    assert_close([*again], [*torch.autograd.grad(torch.stack([each.pow(3).sum() for each in want]).sum(), leaves)])


def test_transforms_and_compiled() -> None:
    x, weight, connections = drawn("two steps")
    run, x = partial(F.sparse_linear, connections=connections), x[0]
    out = run(x, weight)
    assert_close(torch.func.vmap(run, (0, None))(x, weight), out)
    per_sample = torch.func.vmap(run, (None, 0))(x, torch.stack([weight, 2.0 * weight]))
    assert_close(per_sample, torch.stack([out, 2.0 * out]))
    assert_close(torch.func.jvp(run, (x, weight), (x, weight))[1], 2.0 * out)
    assert_close(torch.compile(run, backend="aot_eager")(x, weight), out)


def test_bits_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "SERIAL", 0)
    results = []
    before = torch.get_num_threads()
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        x, weight, connections = drawn("two steps", torch.float32)
        leaves = x.requires_grad_(), weight.requires_grad_()
        out = F.sparse_linear(*leaves, connections)
        results.append([out, *torch.autograd.grad(out, leaves, torch.cos(out))])
    torch.set_num_threads(before)
    for each in results[1:]:
        assert all(map(torch.equal, each, results[0]))


def test_zero_times_infinity_is_not_zero() -> None:
    connections = F.Connections(torch.tensor([[0, 1], [0, 1]]), (2, 2))
    x, weight = torch.tensor([[0.0, 1.0]], requires_grad=True), torch.tensor([torch.inf, 2.0], requires_grad=True)
    out = F.sparse_linear(x, weight, connections)
    assert out.isnan().tolist() == [[True, False]]
    (found,) = torch.autograd.grad(F.sparse_linear(x, weight, connections), weight, torch.tensor([[torch.inf, 1.0]]))
    assert found.isnan().tolist() == [True, False]
    assert F.sparse_linear(torch.tensor([[torch.nan, 1.0]]), torch.zeros(2), connections).isnan().tolist() == [
        [True, False]
    ]


def test_views_and_copies() -> None:
    x, weight, connections = drawn("two steps")
    want = F.sparse_linear(x, weight, connections)
    apart = torch.stack([x, x], -1)[..., 0]
    assert torch.equal(F.sparse_linear(apart, torch.stack([weight, weight], -1)[:, 0], connections), want)
    for other in (copy.deepcopy(connections), pickle.loads(pickle.dumps(connections))):
        assert torch.equal(F.sparse_linear(x, weight, other), want)
    with torch.autocast("cpu"):
        assert torch.equal(F.sparse_linear(x, weight, connections), want)


def test_edges_are_sorted() -> None:
    given = torch.tensor([[2, 0, 2, 1], [1, 1, 0, 1]])
    connections = F.Connections(given, (3, 2))
    assert connections.indices.tolist() == [[2, 0, 1, 2], [0, 1, 1, 1]]
    assert torch.equal(given[:, connections.order], connections.indices.long())
    assert repr(connections) == "Connections(4 edges, shape=(3, 2))"


@pytest.mark.parametrize(
    ("indices", "shape", "message"),
    [
        ([[0, 3], [0, 0]], (3, 2), "the receiver of edge 1 is 3, expected 0 to 2 for shape=\\(3, 2\\)"),
        ([[0, 1], [0, -1]], (3, 2), "the sender of edge 1 is -1, expected 0 to 1"),
        ([[0, 1, 2]], (3, 2), "have shape \\(1, 3\\), expected \\(2, edges\\)"),
        ([[0.0], [0.0]], (3, 2), "are torch.float32, expected a tensor of whole numbers"),
        ([[0], [0]], (2**31, 2), "expected \\(receivers, senders\\), each at most 2147483647"),
        ([[0], [0]], (2,), "expected \\(receivers, senders\\)"),
    ],
)
def test_indices_that_are_none(indices: Any, shape: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"Connections: .*{message}"):
        F.Connections(torch.tensor(indices), shape)


def test_arguments_that_do_not_fit() -> None:
    x, weight, connections = drawn("one step")
    for given, message in (
        ((x[:, :6], weight, connections), r"x has shape \(3, 6\), expected \(..., 7\)"),
        ((x, weight[:19], connections), r"weight has shape \(19,\), expected \(20,\), one for each edge"),
        ((x.float(), weight, connections), "x is torch.float32 and weight torch.float64; convert one"),
        ((x.long(), weight, connections), "x is torch.int64, expected a tensor of floats"),
        ((x, weight, torch.zeros(2, 20)), r"connections is a Tensor, expected Connections\(indices, shape\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"sparse_linear: {message}"):
            F.sparse_linear(*given)
